//! Merging the layers: defaults, file, environment, flags. The defaults are also the list of what is allowed.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_saphyr::Spanned;

use super::fault::{Error, Fault, join};
use super::placeholder::{self, Outside, ReadFile};
use super::tree::{Kind, Node, Place, Source, is_secret};
use super::yaml::{self, Tree};
use crate::kafka::Profile;

/// The defaults, every key documented; also what the editor's schema and the tests read.
pub const DEFAULT_YAML: &str = include_str!("../../../configs/default.yaml");

/// What is laid over the defaults, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layers<'l> {
    /// The configuration file: its name and its text.
    pub file: Option<(&'l str, &'l str)>,
    /// Further files, each laid over those before; their pipelines add up.
    pub folder: &'l [(String, String)],
    /// Reads the files that stand for values; `None` refuses them.
    pub read: Option<ReadFile>,
    /// The environment of the process; only `EXPRESSWAY_…` is a layer, the rest fills placeholders.
    pub environment: &'l [(String, String)],
    /// Flags: dotted path of the key, value, and the flag's name for messages.
    pub flags: &'l [(String, String, String)],
}

/// The defaults as a tree in which `pipelines` is empty, and the template of one pipeline.
pub(crate) fn defaults() -> (Node, Node) {
    static DEFAULTS: LazyLock<(Node, Node)> = LazyLock::new(read_defaults);
    DEFAULTS.clone()
}

fn read_defaults() -> (Node, Node) {
    let value = yaml::parse(DEFAULT_YAML).expect("default.yaml is compiled in, and a test parses it");
    let mut tree = Node::new(value, &Source::Default);
    let pipelines = tree.member_mut("pipelines").expect("default.yaml has the section pipelines");
    let Kind::List(entries) = &mut pipelines.kind else { unreachable!("pipelines is a list in default.yaml") };
    let template = entries.pop().expect("default.yaml has one template pipeline");
    (tree, template)
}

/// The merged tree.
pub(crate) fn merged(layers: &Layers<'_>) -> Result<Node, Error> {
    let (mut tree, template) = defaults();
    let mut faults = Vec::new();
    let outside = Outside { environment: layers.environment, read: layers.read.unwrap_or(no_files) };
    let folder = layers.folder.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    for (name, text) in layers.file.into_iter().chain(folder) {
        let mut overlay = parse(name, text)?;
        placeholder::fill("", &mut overlay, outside, &mut faults);
        add_file(&mut tree, overlay, &template, &mut faults);
    }
    for (path, variable) in variables(&tree) {
        if let Some((_, value)) = layers.environment.iter().find(|(name, _)| *name == variable) {
            set(&mut tree, &path, value, &Source::Environment(variable.as_str().into()), &template, &mut faults)?;
        }
    }
    for (path, value, flag) in layers.flags {
        set(&mut tree, path, value, &Source::Flag(flag.as_str().into()), &template, &mut faults)?;
    }
    read_secrets(&mut tree, outside.read, &mut faults);
    add_profile(&mut tree);
    if faults.is_empty() { Ok(tree) } else { Err(Error::Faults(faults)) }
}

fn no_files(path: &Path) -> Result<String, String> {
    Err(format!("the file {} is not read here", path.display()))
}

/// Lays a file over those before it; its pipelines come behind theirs.
fn add_file(tree: &mut Node, overlay: Node, template: &Node, faults: &mut Vec<Fault>) {
    let earlier = pipelines(tree).map(std::mem::take).unwrap_or_default();
    lay_over("", tree, overlay, template, faults);
    match pipelines(tree) {
        Some(entries) => drop(entries.splice(0..0, earlier)),
        // The key was named and left empty.
        None => tree.member_mut("pipelines").expect("default.yaml has the section pipelines").kind = Kind::List(earlier),
    }
}

fn pipelines(tree: &mut Node) -> Option<&mut Vec<Node>> {
    match &mut tree.member_mut("pipelines")?.kind {
        Kind::List(entries) => Some(entries),
        _ => None,
    }
}

/// What the name of a client option ends with whose value stands in a file.
const FILE_SUFFIX: &str = "_file";

/// Replaces each client option `NAME_file` by `NAME` with what the file holds.
fn read_secrets(tree: &mut Node, read: ReadFile, faults: &mut Vec<Fault>) {
    let Some(Node { kind: Kind::Map(options), .. }) = tree.member_mut("kafka").and_then(|kafka| kafka.member_mut("client_options")) else { return };
    let names: Vec<String> = options.iter().map(|(name, _)| name.clone()).collect();
    for (name, node) in options {
        let Some(option) = name.strip_suffix(FILE_SUFFIX) else { continue };
        let path = join("kafka.client_options", name);
        let Kind::Text(file) = &node.kind else {
            faults.push(Fault::new(&path, &node.source, "takes the path of a file"));
            continue;
        };
        if names.iter().any(|other| other == option) {
            faults.push(Fault::new(&path, &node.source, format!("\"{option}\" is set too; one of them is enough")));
            continue;
        }
        match read(&node.source.resolve(file)) {
            Ok(text) => {
                let place = match &node.source {
                    Source::File(place) | Source::Filled(place) | Source::Secret(place) => place.clone(),
                    source => Place::file(&source.to_string()),
                };
                (*name, *node) = (option.to_owned(), Node::text(&text, Source::Secret(place)));
            }
            Err(problem) => faults.push(Fault::new(&path, &node.source, problem)),
        }
    }
}

/// Adds the options of the profile to the client options, below all that were set. A profile that there is not is told by who reads the key.
fn add_profile(tree: &mut Node) {
    let Some(kafka) = tree.member_mut("kafka") else { return };
    let Some(Kind::Text(name)) = kafka.member("profile").map(|node| &node.kind) else { return };
    let Some(profile) = Profile::named(name) else { return };
    let Some(Node { kind: Kind::Map(options), .. }) = kafka.member_mut("client_options") else { return };
    let added = profile.options_below(options.iter().map(|(name, _)| name.as_str()));
    options.extend(added.into_iter().map(|(option, value)| (option, Node { kind: Kind::Text(value), source: Source::Profile(profile.name()) })));
}

/// Every key outside of lists with the environment variable that sets it.
pub(crate) fn variables(tree: &Node) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    leaves("", tree, &mut paths);
    let variable = |path: &str| format!("EXPRESSWAY_{}", path.replace('.', "_").to_ascii_uppercase());
    paths.iter().map(|path| (path.clone(), variable(path))).collect()
}

fn leaves(path: &str, node: &Node, out: &mut Vec<String>) {
    match &node.kind {
        Kind::Map(members) if !is_open(path) => members.iter().for_each(|(key, member)| leaves(&join(path, key), member, out)),
        _ => out.push(path.to_owned()),
    }
}

fn parse(name: &str, text: &str) -> Result<Node, Error> {
    let file: Arc<str> = name.into();
    let place = Place { file: Arc::clone(&file), line: 0 };
    let syntax = |message: String| Error::Syntax { source: Source::File(place.clone()), message };
    let tree: Spanned<Tree> = yaml::parse_as(text).map_err(syntax)?;
    match &tree.value {
        Tree::Object(_) => Ok(Node::placed(tree, &file)),
        // A file of comments only is an empty layer.
        Tree::Scalar(value) if value.is_null() => Ok(Node { kind: Kind::Map(Vec::new()), source: Source::File(place) }),
        _ => Err(syntax("the top level must be a mapping of sections".to_owned())),
    }
}

fn lay_over(path: &str, base: &mut Node, overlay: Node, template: &Node, faults: &mut Vec<Fault>) {
    match (&mut base.kind, overlay.kind) {
        // Any key goes in the open map, and a later layer adds to what an earlier one put there.
        (Kind::Map(members), Kind::Map(added)) if is_open(path) => {
            for (key, node) in added {
                match members.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, member)) => *member = node,
                    None => members.push((key, node)),
                }
            }
            base.source = overlay.source;
        }
        (Kind::Map(members), Kind::Map(added)) => {
            for (key, node) in added {
                if let Some((_, member)) = members.iter_mut().find(|(name, _)| *name == key) {
                    lay_over(&join(path, &key), member, node, template, faults);
                } else {
                    let allowed: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                    faults.push(Fault::unknown(path, &key, &node, &allowed));
                }
            }
        }
        // A section that is named but left empty changes nothing.
        (Kind::Map(_), Kind::Null) => {}
        (Kind::Map(members), kind) => {
            // A text in place of the client's options, or of a section with secrets, may hold one.
            let found = if is_open(path) || members.iter().any(|(key, _)| is_secret(key)) {
                "the hidden value".to_owned()
            } else {
                Node { kind, source: overlay.source.clone() }.inline()
            };
            faults.push(Fault::new(path, &overlay.source, format!("{found} is not allowed; it takes a mapping of keys")));
        }
        (_, Kind::List(items)) if path == "pipelines" => {
            let items = items.into_iter().enumerate().map(|(index, item)| pipeline(index, item, template, faults)).collect();
            *base = Node { kind: Kind::List(items), source: overlay.source };
        }
        (_, kind) if path == "pipelines" && kind != Kind::Null => {
            faults.push(Fault::new(path, &overlay.source, "not allowed; it takes a list of pipelines, each entry beginning with \"- name:\""))
        }
        // A placeholder, a variable or a flag gives text where the file would give a number or a truth value.
        (Kind::Number(_), Kind::Text(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            *base = Node { kind: Kind::Number(text), source: overlay.source }
        }
        (Kind::Bool(_), Kind::Text(text)) if text == "true" || text == "false" => *base = Node { kind: Kind::Bool(text == "true"), source: overlay.source },
        (_, kind) => *base = Node { kind, source: overlay.source },
    }
}

/// The one map with free keys.
fn is_open(path: &str) -> bool {
    path == "kafka.client_options"
}

fn pipeline(index: usize, overlay: Node, template: &Node, faults: &mut Vec<Fault>) -> Node {
    let mut entry = template.clone();
    let source = overlay.source.clone();
    lay_over(&format!("pipelines[{index}]"), &mut entry, overlay, template, faults);
    entry.source = source;
    entry
}

/// Sets one key from a text: scalars are taken as they are, lists and maps are YAML.
fn set(tree: &mut Node, path: &str, text: &str, source: &Source, template: &Node, faults: &mut Vec<Fault>) -> Result<(), Error> {
    // Below the open map, the rest of the path is one key, dots and all.
    let open = path.strip_prefix("kafka.client_options.");
    let steps: Vec<&str> = open.map_or_else(|| path.split('.').collect(), |option| vec!["kafka", "client_options", option]);
    let is_container = !path.is_empty() && open.is_none() && node_at(tree, &steps).is_some_and(|node| matches!(node.kind, Kind::List(_) | Kind::Map(_)));
    let mut overlay = if is_container {
        let value = yaml::parse(text).map_err(|message| Error::Syntax { source: source.clone(), message })?;
        Node::new(value, source)
    } else {
        Node::text(text, source.clone())
    };
    for step in steps.iter().rev() {
        overlay = Node { kind: Kind::Map(vec![((*step).to_owned(), overlay)]), source: source.clone() };
    }
    lay_over("", tree, overlay, template, faults);
    Ok(())
}

fn node_at<'t>(tree: &'t Node, steps: &[&str]) -> Option<&'t Node> {
    steps.iter().try_fold(tree, |node, step| node.member(step))
}
