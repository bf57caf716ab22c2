//! Lists of devices that people import as CSV. Includes no parser: whoever includes this file has it as `crate::csv`, so that
//! the fuzzer needs nothing of the server but that one file, and the server's tests play the same law.

use crate::csv::{cell, column, rows};

/// Reads a file as a list of serial numbers, and as rows; what was read is written and read again.
pub fn lists(data: &[u8]) {
    let length = data.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 2;
    match rows(data) {
        Ok(found) => {
            let mut written = String::new();
            for row in &found {
                assert_eq!(row.cells.len(), found[0].cells.len(), "a ragged row");
                assert!(row.line >= 1 && row.line <= length, "line {}", row.line);
                let cells: Vec<String> = row.cells.iter().map(|c| quoted(c)).collect();
                written.push_str(&cells.join(","));
                written.push('\n');
            }
            let again = rows(written.as_bytes()).expect("what is written is read");
            let cells = |rows: &[crate::csv::Row]| -> Vec<Vec<String>> {
                rows.iter().map(|r| r.cells.clone()).collect()
            };
            assert_eq!(cells(&again), cells(&found), "it is read back");
            for text in found.iter().flat_map(|r| &r.cells).take(20) {
                let line = format!("x,{}\n", cell(text));
                let shown = rows(line.as_bytes()).expect("a cell of ours is read");
                assert!(
                    !shown[0].cells[1].starts_with(['=', '+', '-', '@', '\t', '\r']),
                    "a formula: {line}"
                );
            }
        }
        Err(error) => {
            assert!(
                error.line >= 1 && error.line <= length,
                "line {}",
                error.line
            );
            assert!(error.column >= 1, "{error}");
        }
    }
    let serials = column(data, &["serial", "serialnumber"], |cell| {
        let cell = cell.trim();
        match !cell.is_empty()
            && cell.len() <= 64
            && cell.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            true => Ok(cell.to_ascii_uppercase()),
            false => Err("no serial number".to_owned()),
        }
    });
    match serials {
        Ok(serials) => {
            assert!(!serials.is_empty(), "nothing is no list");
            // As in `lib.rs`: no file of the corpus lists so many.
            let planted = option_env!("FUZZ_PLANTED").is_some() && serials.len() == 5;
            assert!(!planted, "the planted panic");
            let different: std::collections::BTreeSet<&String> = serials.iter().collect();
            assert_eq!(different.len(), serials.len(), "twice in the list");
        }
        Err(error) => {
            assert!(
                error.line >= 1 && error.line <= length,
                "line {}",
                error.line
            );
            assert!(error.problem.len() < 400, "a long problem");
        }
    }
}

/// A cell in quotation marks, whatever it holds.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
