//! What pages say of tests and sources is so: every test that the threat model names is there, it says something of each kind of
//! threat that there is, and the sources compare secrets in one way.

use std::collections::BTreeSet;
use std::path::Path;

/// Names of tests in every source file below a folder.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(tests_of(&text).into_iter().map(str::to_owned));
        }
    }
}

/// Functions that stand behind the mark of a test, and those that a macro makes tests of by their names, one a line.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let name = line.split_once("fn ").map(|(_, rest)| rest);
        let name = name.and_then(|rest| rest.split(['(', '<']).next());
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(name) = name.filter(|_| !line.starts_with("//")) {
            if marked {
                found.insert(name);
            }
            marked = false;
        }
    }
    if let Some((_, told)) = text.split_once("\non_both! {\n") {
        let told = told.lines().take_while(|line| *line != "}");
        found.extend(told.map(str::trim));
    }
    found
}

#[test]
fn what_is_marked_is_a_test_and_nothing_else() {
    let text = "#[test]\n#[ignore = \"x\"]\nfn one() {}\nfn two() {}\n    #[tokio::test(flavor = \"a\")]\n    async fn three() {\n\
                on_both! {\n    four\n    five\n}\nasync fn six(base: &Base) {}\n";
    let expected = ["five", "four", "one", "three"];
    assert_eq!(tests_of(text), BTreeSet::from(expected));
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
                tests_below(&folder, &mut there);
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

/// What the threat model must speak of, by words of the rows that do.
const THREATS: &[(&str, &str)] = &[
    ("the PROXY protocol", "PROXY"),
    ("requests that a fuzzer makes", "whole requests"),
    ("evidence packs", "evidence pack"),
    ("hand-off bundles", "hand-off bundle"),
    ("tokens of partners", "partner"),
    ("several organisations", "of one organisation"),
    ("a stolen backup", "stolen backup"),
    (
        "a service that devices leave, and means harm",
        "original service",
    ),
    ("an owner of a device who means harm", "owner of a device"),
    ("an operator who wants too much", "one person who"),
    ("what comes with the code of others", "supply chain"),
];

#[test]
fn every_kind_of_threat_has_a_row_with_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    for (what, words) in THREATS {
        let mut rows = page.lines().filter(|line| line.contains(words));
        assert!(rows.any(|row| !named(row).is_empty()), "{what}");
    }
    // Nor does a row of a table of threats come without one.
    let head = "| threat | what we do | test |";
    for table in page.split(head).skip(1) {
        let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
        for row in rows {
            assert_eq!(named(row).len(), 1, "{row}");
        }
    }
}

/// Words of what is secret, or is the hash of something secret that somebody shows.
const SECRETS: &[&str] = &[
    "expose()",
    "expose_text()",
    "token_hash",
    "code_hash",
    "browser_hash",
    "nonce_hash",
    "state_hash",
    "challenge_hash",
    "verifier",
];

/// Lines that compare one of them by its bytes, one after the other, until they differ.
fn compared(text: &str) -> Vec<&str> {
    let sources = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = sources.lines().filter(|line| {
        let code = line.split("//").next().unwrap_or_default();
        let compares = code.contains(" == ") || code.contains(" != ");
        // Something that is no secret is looked for within one.
        let within = code.contains(".windows(");
        compares && !within && !code.contains("same(") && SECRETS.iter().any(|s| code.contains(s))
    });
    lines.collect()
}

#[test]
fn nothing_secret_is_compared_byte_by_byte() {
    fn look(folder: &Path, found: &mut Vec<String>) -> usize {
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.contains("tests") {
                read += look(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = compared(&text).into_iter();
                found.extend(lines.map(|line| format!("{}: {line}", path.display())));
                read += 1;
            }
        }
        read
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for part in ["abm-client", "mdm-core", "mdmd"] {
        assert!(
            look(&root.join(part).join("src"), &mut found) > 20,
            "{part}"
        );
    }
    assert_eq!(found, Vec::<String>::new());
    // It finds what it is for.
    assert_eq!(compared("if shown.expose() == kept.expose() {").len(), 1);
    assert!(compared("if same(&row.token_hash, hash) == wanted {").is_empty());
}

/// Whether a line of a script builds or checks something.
fn builds(line: &&str) -> bool {
    let starts = [
        "cargo clippy",
        "cargo test",
        "cargo doc",
        "cargo package",
        "cargo deny",
    ];
    let within = [" cargo doc ", " cargo build "];
    !line.starts_with('#')
        && (starts.iter().any(|start| line.starts_with(start))
            || within.iter().any(|call| line.contains(call)))
}

#[test]
fn everything_of_others_comes_from_one_registry_with_its_checksum() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = std::fs::read_to_string(root.join(lock)).unwrap();
        let mut ours = BTreeSet::new();
        let mut others = 0;
        for package in text.split("[[package]]").skip(1) {
            let value = |key: &str| {
                let lines = package.lines();
                let mut values =
                    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
                values.next().map(|value| value.trim_matches('"'))
            };
            let name = value("name").unwrap();
            match value("source") {
                None => _ = ours.insert(name),
                Some(source) => {
                    let registry = "registry+https://github.com/rust-lang/crates.io-index";
                    assert_eq!(source, registry, "{lock}: {name}");
                    let checksum = value("checksum").unwrap_or_default();
                    assert_eq!(checksum.len(), 64, "{lock}: {name}");
                    others += 1;
                }
            }
        }
        assert!(others > 100, "{lock} is not read");
        let known = [
            "abm-client",
            "abm-client-fuzz",
            "fixtures",
            "mdm-core",
            "mdmd",
            "tests",
        ];
        assert!(ours.iter().all(|name| known.contains(name)), "{ours:?}");
    }
    // What is built and checked is what the lock file says, and where it may come from is a rule that is checked.
    for script in ["check.sh", ".ci/run", "fuzz/run.sh"] {
        let text = std::fs::read_to_string(root.join(script)).unwrap();
        let built: Vec<&str> = text.lines().map(str::trim).filter(builds).collect();
        assert!(!built.is_empty(), "{script} is not read");
        for line in built {
            assert!(line.contains("--locked"), "{script}: {line}");
        }
    }
    let rules = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    for rule in ["unknown-registry = \"deny\"", "unknown-git = \"deny\""] {
        assert!(rules.contains(rule), "{rule}");
    }
}
