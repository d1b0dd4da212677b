//! Says where the pipeline's sources lie: in the package they belong to, or, for runs that must fail, in a copy with a deliberate bug.

use std::path::PathBuf;
use std::{env, fs};

const VARIABLE: &str = "EXPRESSWAY_SIMULATION_PIPELINE";

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let sources = env::var_os(VARIABLE).map_or_else(|| package.join("../../ingest/src"), PathBuf::from);
    let sources = sources.canonicalize().expect("the sources lie there");
    let module = |lints: &str, folder: &str, name: &str, file: &str| {
        let reason = "reason = \"written for the service, which uses more of it\"";
        let unused = if lints.is_empty() { String::new() } else { format!("#[expect({lints}, {reason})]\n") };
        format!("{unused}#[path = {:?}]\npub(crate) mod {name};\n", sources.join(folder).join(file))
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let write = |name: &str, text: String| fs::write(out.join(name), text).expect("the folder can be written to");
    write("pipeline.rs", module("dead_code, unreachable_pub, unused_imports", "pipeline", "pipeline", "mod.rs"));
    let files = [("dead_code, unused_imports", "client"), ("dead_code", "bundle"), ("dead_code, unreachable_pub", "protocol"), ("", "failure")];
    write("client.rs", files.iter().map(|(lints, name)| module(lints, "kafka", name, &format!("{name}.rs"))).collect());
    println!("cargo::rustc-check-cfg=cfg(has_bug)");
    if env::var_os(VARIABLE).is_some() {
        println!("cargo::rustc-cfg=has_bug");
    }
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
}
