//! The texts of a source file's statements that read, for tests of their plans. A statement that a test does not find is one
//! that it does not watch over; so whoever writes one writes it as the others are.

/// The sources that both databases share.
pub(super) const ALIKE: [&str; 19] = [
    include_str!("alike/acme.rs"),
    include_str!("alike/apple.rs"),
    include_str!("alike/audit.rs"),
    include_str!("alike/commands.rs"),
    include_str!("alike/declarations.rs"),
    include_str!("alike/devices.rs"),
    include_str!("alike/enrollments.rs"),
    include_str!("alike/hooks.rs"),
    include_str!("alike/library.rs"),
    include_str!("alike/moves.rs"),
    include_str!("alike/organisations.rs"),
    include_str!("alike/originals.rs"),
    include_str!("alike/people.rs"),
    include_str!("alike/removals.rs"),
    include_str!("alike/repeats.rs"),
    include_str!("alike/secrets.rs"),
    include_str!("alike/server_certificates.rs"),
    include_str!("alike/set_ups.rs"),
    include_str!("alike/waves.rs"),
];

/// What `rows!` gets, behind `columns`, and whole statements. `words` are what a database says in its own way in the middle of
/// a text, as it is written and as it reads.
pub(super) fn statements(source: &str, columns: &str, words: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    // A quotation mark within a statement is no end of it.
    let source = source.replace("\\\"", "\u{1}");
    let mut pieces = source.split('"');
    let mut before = pieces.next().unwrap_or_default();
    while let (Some(text), mut after) = (pieces.next(), pieces.next().unwrap_or_default()) {
        let mut text = text.to_owned();
        let gap = |c: char| c == ',' || c.is_whitespace();
        while let Some((rest, says)) = words.iter().find_map(|(written, says)| {
            let rest = after.trim_start_matches(gap).strip_prefix(written)?;
            Some((rest, says))
        }) {
            text.push_str(says);
            after = rest;
            if rest.trim_matches(gap).is_empty() {
                text.push_str(pieces.next().unwrap_or_default());
                after = pieces.next().unwrap_or_default();
            }
        }
        let text = text.replace("\\\n", "").replace('\u{1}', "\"");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let arguments = before.rsplit("rows!(").next().unwrap_or_default();
        let of_rows = before.contains("rows!(") && !arguments.contains(')');
        if of_rows {
            found.push(format!("SELECT {columns} FROM {text}"));
        } else if text.starts_with("SELECT ") || text.starts_with("WITH RECURSIVE") {
            found.push(text);
        }
        before = after;
    }
    found
}

#[test]
fn every_shared_source_is_watched_over() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/alike");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), ALIKE.len());
    // Every call of `rows!` is found, and none is cut where a database's own words stand.
    let words = [
        ("ids!(2)", "IDS"),
        ("texts!(2)", "TEXTS"),
        ("by_bytes!(serial)", "SERIAL"),
        ("by_bytes!(name)", "NAME"),
    ];
    for source in ALIKE {
        let all = statements(source, "x", &words);
        let asked = all.iter().filter(|sql| sql.starts_with("SELECT x FROM "));
        assert_eq!(asked.count(), source.matches("rows!(").count(), "{all:?}");
        let ends = |word: &str| all.iter().any(|sql| sql.ends_with(word));
        assert!(!ends("AND id") && !ends("ORDER BY"), "{all:?}");
    }
}
