//! Programs as listings: what the compiler makes of each construct.
//!
//! `golden/listings/NAME.asl.json` has its listing beside it in `NAME.txt`; `UPDATE_GOLDEN=1` writes them anew.

use std::fs;
use std::path::Path;

use crate::support::program;

#[test]
fn golden_definitions_compile_to_golden_listings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/listings");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("the folder of golden listings") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".asl.json") else { continue };
        let listing = program(&fs::read_to_string(&path).expect("a readable definition")).listing();
        // The version is a hash of the whole definition: stable, but noise in a review.
        let listing = listing.lines().map(|line| line.split(" version ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n") + "\n";
        let golden = folder.join(format!("{stem}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &listing).expect("a writable folder");
        }
        assert_eq!(fs::read_to_string(&golden).unwrap_or_default(), listing, "{stem}: renew with UPDATE_GOLDEN=1 and read the difference");
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} golden listings were found");
}

#[test]
fn the_version_names_the_meaning_not_the_layout() {
    let compact = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
    let spaced = compact.replace(',', " ,\n ");
    assert_eq!(program(compact).version(), program(&spaced).version());
    assert_ne!(program(compact).version(), program(&compact.replace("\"Type\":\"Pass\"", "\"Type\":\"Pass\",\"Result\":1")).version());
    assert_eq!(program(compact).version().len(), 16);
}
