//! What pages say of tests is so: every test that the threat model names is there.

use std::collections::BTreeSet;
use std::path::Path;

/// Names of functions in every source file below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1);
            let names = names.filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// The last cell of each row of the page's tables that is a name of a test.
fn named(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let names = cells
        .map(str::trim)
        .filter_map(|cell| cell.strip_prefix('`'));
    names.filter_map(|cell| cell.strip_suffix('`')).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut there = BTreeSet::new();
    for part in ["abm-client", "mdm-core", "mdmd", "tests"] {
        for folder in ["src", "tests"] {
            let folder = root.join(part).join(folder);
            if folder.is_dir() {
                functions(&folder, &mut there);
            }
        }
    }
    let named = named(&page);
    assert!(named.len() > 30, "the tables are not read: {named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !there.contains(**name))
        .collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

#[test]
fn a_row_names_its_test_in_the_last_cell() {
    let page = "text `no`\n| a | b | `yes_it_does` |\n| c | `no` | d |\n";
    assert_eq!(named(page), ["yes_it_does"]);
}
