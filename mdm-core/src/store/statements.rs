//! The texts of a source file's statements that read, for tests of their plans. A statement that a test does not find is one
//! that it does not watch over; so whoever writes one writes it as the others are.

/// What `rows!` gets, behind `columns`, and whole statements.
pub(super) fn statements(source: &str, columns: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A quotation mark within a statement is no end of it.
    let source = source.replace("\\\"", "\u{1}");
    let mut pieces = source.split('"');
    let mut before = pieces.next().unwrap_or_default();
    while let (Some(text), after) = (pieces.next(), pieces.next().unwrap_or_default()) {
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
