//! What only a Map in distributed mode has (spec/asl.md 7.3). It is checked and then forgotten: this engine runs no such Map.

use crate::hir::limits::{BATCH_BYTES_MAX, MAP_ITEMS_MAX};

use super::ast::Place;
use super::reader::{Member, Node, Reader};

const INPUT_TYPES: [&str; 5] = ["CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"];

const BATCH_SIZES: [&str; 4] = ["MaxItemsPerBatch", "MaxItemsPerBatchPath", "MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"];

const DELIMITERS: [&str; 5] = ["COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"];

const READER_CONFIG_FIELDS: [&str; 9] =
    ["InputType", "ManifestType", "Transformation", "CSVHeaderLocation", "CSVDelimiter", "CSVHeaders", "ItemsPointer", "MaxItems", "MaxItemsPath"];

impl Reader<'_> {
    /// `ItemReader`
    pub(super) fn item_reader(&mut self, node: &Node) {
        for member in self.members_with(node, &["Resource"]) {
            match member.name.as_str() {
                "Resource" => self.integration(&member.node, &["s3:getObject", "s3:listObjectsV2"]),
                "Parameters" => {
                    self.template(&member.node);
                }
                "ReaderConfig" => self.reader_config(&member.node),
                _ => self.unsupported(&node.place, &member, &["Resource", "Parameters", "ReaderConfig"]),
            }
        }
    }

    fn reader_config(&mut self, node: &Node) {
        let members = self.members(node);
        self.at_most_one(&node.place, &members, &["MaxItems", "MaxItemsPath"]);
        let is_given = |member: &Member| member.name == "CSVHeaderLocation" && self.text_of(&member.node).as_deref() == Some("GIVEN");
        if members.iter().any(is_given) && !members.iter().any(|member| member.name == "CSVHeaders") {
            self.schema(&node.place, "These fields are required: [CSVHeaders]");
        }
        for member in &members {
            let value = &member.node;
            match member.name.as_str() {
                "InputType" => self.one_of(value, &INPUT_TYPES),
                "ManifestType" => self.one_of(value, &["S3_INVENTORY", "ATHENA_DATA"]),
                "Transformation" => self.one_of(value, &["NONE", "LOAD_AND_FLATTEN"]),
                "CSVHeaderLocation" => self.one_of(value, &["FIRST_ROW", "GIVEN"]),
                "CSVDelimiter" => self.one_of(value, &DELIMITERS),
                "CSVHeaders" => {
                    for header in self.some_elements(value) {
                        self.string(&header);
                    }
                }
                "ItemsPointer" => {
                    self.string(value);
                }
                // Zero is accepted here and fails when the items are read.
                "MaxItems" => {
                    self.integer(value, 0, MAP_ITEMS_MAX);
                }
                "MaxItemsPath" => {
                    self.reference_path(value);
                }
                _ => self.unsupported(&node.place, member, &READER_CONFIG_FIELDS),
            }
        }
    }

    /// `ItemBatcher`
    pub(super) fn item_batcher(&mut self, node: &Node) {
        let members = self.members(node);
        self.at_most_one(&node.place, &members, &["MaxItemsPerBatch", "MaxItemsPerBatchPath"]);
        self.at_most_one(&node.place, &members, &["MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"]);
        if self.is_object(node) && !members.iter().any(|member| BATCH_SIZES.contains(&member.name.as_str())) {
            self.schema(&node.place, format!("This object should have at least one of the following fields: [{}]", BATCH_SIZES.join(", ")));
        }
        for member in &members {
            let value = &member.node;
            match member.name.as_str() {
                "BatchInput" => {
                    self.template(value);
                }
                "MaxItemsPerBatch" => {
                    self.integer(value, 1, MAP_ITEMS_MAX);
                }
                "MaxInputBytesPerBatch" => {
                    self.integer(value, 1, BATCH_BYTES_MAX);
                }
                "MaxItemsPerBatchPath" | "MaxInputBytesPerBatchPath" => {
                    self.reference_path(value);
                }
                _ => self.unsupported(
                    &node.place,
                    member,
                    &["BatchInput", "MaxItemsPerBatch", "MaxItemsPerBatchPath", "MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"],
                ),
            }
        }
    }

    /// `ResultWriter`
    pub(super) fn result_writer(&mut self, node: &Node) {
        for member in self.members_with(node, &[]) {
            match member.name.as_str() {
                "Resource" => self.integration(&member.node, &["s3:putObject"]),
                "Parameters" => {
                    self.template(&member.node);
                }
                "WriterConfig" => self.writer_config(&member.node),
                _ => self.unsupported(&node.place, &member, &["Resource", "Parameters", "WriterConfig"]),
            }
        }
    }

    fn writer_config(&mut self, node: &Node) {
        for member in self.members(node) {
            match member.name.as_str() {
                "OutputType" => self.one_of(&member.node, &["JSON", "JSONL"]),
                "Transformation" => self.one_of(&member.node, &["NONE", "COMPACT", "FLATTEN"]),
                _ => self.unsupported(&node.place, &member, &["OutputType", "Transformation"]),
            }
        }
    }

    /// The members of an object, some of which are required.
    fn members_with(&mut self, node: &Node, required: &[&str]) -> Vec<Member> {
        let members = self.members(node);
        let missing: Vec<&str> = required.iter().copied().filter(|field| !members.iter().any(|member| member.name == *field)).collect();
        if self.is_object(node) && !missing.is_empty() {
            self.schema(&node.place, format!("These fields are required: [{}]", missing.join(", ")));
        }
        members
    }

    fn at_most_one(&mut self, place: &Place, members: &[Member], fields: &[&str]) {
        if members.iter().filter(|member| fields.contains(&member.name.as_str())).count() > 1 {
            self.schema(place, format!("There should only be one of the following fields: [{}]", fields.join(", ")));
        }
    }

    fn one_of(&mut self, node: &Node, words: &[&str]) {
        self.word(node, words);
    }

    /// An ARN of one of a few integrations.
    fn integration(&mut self, node: &Node, known: &[&str]) {
        let Some(text) = self.string(node) else { return };
        let is_known = text.contains("${") || known.iter().any(|action| text.starts_with("arn:") && text.ends_with(&format!(":states:::{action}")));
        if !is_known {
            self.schema(&node.place, format!("Value should be one of the following integrations: [{}]", known.join(", ")));
        }
    }
}
