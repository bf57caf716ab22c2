//! The result file of an activity. Apple documents no columns: they are found by name and by content, and the file is
//! kept as it came.

use std::collections::HashSet;

/// A result file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActivityReport {
    /// The file as it came.
    pub raw: Vec<u8>,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows below them.
    pub rows: Vec<ReportRow>,
}

/// One row of a result file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportRow {
    /// Its cells, in the order of the columns; shorter or longer if the row was.
    pub cells: Vec<String>,
}

impl ActivityReport {
    /// Reads a CSV file (RFC 4180) with commas, semicolons or tabs, with or without a byte-order mark. Whatever the
    /// bytes, there is a result.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw));
        let mut rows = records(&text, separator(&text));
        rows.retain(|cells| cells.iter().any(|cell| !cell.is_empty()));
        let mut rows = rows.into_iter();
        let columns = rows.next().unwrap_or_default();
        Self {
            raw: raw.to_vec(),
            columns,
            rows: rows.map(|cells| ReportRow { cells }).collect(),
        }
    }

    /// The column that holds serial numbers: the one with most of the `expected` ones, else one whose name says so.
    #[must_use]
    pub fn serial_column(&self, expected: &[String]) -> Option<usize> {
        let expected: HashSet<String> = expected
            .iter()
            .map(|serial| serial.trim().to_ascii_uppercase())
            .collect();
        let hits = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
            cells
                .filter(|cell| expected.contains(&cell.trim().to_ascii_uppercase()))
                .count()
        };
        let width = self
            .rows
            .iter()
            .map(|row| row.cells.len())
            .max()
            .unwrap_or(0)
            .max(self.columns.len());
        // The first of equally good ones.
        let best = (0..width)
            .rev()
            .max_by_key(|column| hits(*column))
            .filter(|column| hits(*column) > 0);
        best.or_else(|| self.column("serial"))
    }

    /// The first column whose name contains this, without regard to case.
    #[must_use]
    pub fn column(&self, part_of_name: &str) -> Option<usize> {
        let part = part_of_name.to_ascii_lowercase();
        self.columns
            .iter()
            .position(|name| name.to_ascii_lowercase().contains(&part))
    }

    /// The serial numbers whose row looks like a failure: a cell of a column named like *status* or *result* that
    /// speaks of failure or error. Evidence for people; the devices themselves are the proof.
    #[must_use]
    pub fn failed_serials(&self, expected: &[String]) -> Vec<String> {
        let Some(serials) = self.serial_column(expected) else {
            return Vec::new();
        };
        let Some(status) = self.column("status").or_else(|| self.column("result")) else {
            return Vec::new();
        };
        let failed = |row: &&ReportRow| {
            row.cells.get(status).is_some_and(|cell| {
                let cell = cell.to_ascii_lowercase();
                ["fail", "error", "not_", "invalid", "unsuccessful"]
                    .iter()
                    .any(|word| cell.contains(word))
            })
        };
        self.rows
            .iter()
            .filter(failed)
            .filter_map(|row| row.cells.get(serials))
            .map(|s| s.trim().to_owned())
            // A failure that names nobody is for people to read in the file.
            .filter(|s| !s.is_empty())
            .collect()
    }
}

/// What separates the cells, judged by the first line.
fn separator(text: &str) -> char {
    let first = text.lines().next().unwrap_or_default();
    let count = |separator: char| first.matches(separator).count();
    if count(',') >= count(';').max(count('\t')) {
        ','
    } else if count(';') >= count('\t') {
        ';'
    } else {
        '\t'
    }
}

fn records(text: &str, separator: char) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut rest) = (false, text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            _ if quoted => cell.push(c),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            _ if c == separator => record.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serials(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn columns_are_found_by_content_and_by_name() {
        let file = "\u{feff}Serial Number,Device,Operation Status,Note\r\nABC1,\"Mac, 14\"\"\",SUCCESS,x\r\nABC2,iPhone,FAILED,\"two\nlines\"\r\n";
        let report = ActivityReport::parse(file.as_bytes());
        assert_eq!(report.columns.len(), 4);
        assert_eq!(report.rows[0].cells[1], "Mac, 14\"");
        assert_eq!(report.rows[1].cells[3], "two\nlines");
        assert_eq!(report.serial_column(&serials(&["abc2"])), Some(0));
        assert_eq!(report.failed_serials(&serials(&["ABC1", "ABC2"])), ["ABC2"]);
        assert_eq!(report.raw, file.as_bytes());
    }

    #[test]
    fn the_content_beats_the_name() {
        let report =
            ActivityReport::parse(b"Order serial;Geraet;Result\n1;ABC1;ok\n2;ABC2;error 5\n");
        assert_eq!(report.serial_column(&serials(&["ABC1", "ABC2"])), Some(1));
        assert_eq!(report.serial_column(&[]), Some(0));
        assert_eq!(report.failed_serials(&serials(&["ABC1"])), ["ABC2"]);
        let nothing = ActivityReport::parse(b"");
        assert_eq!((nothing.serial_column(&[]), nothing.rows.len()), (None, 0));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_there_is_a_result(raw: Vec<u8>) {
            let report = ActivityReport::parse(&raw);
            prop_assert!(report.failed_serials(&[String::from("A")]).len() <= report.rows.len());
            prop_assert_eq!(report.raw, raw);
        }

        #[test]
        fn quoted_cells_are_read_back(cells in proptest::collection::vec("[ -~\n]{1,12}", 1..6)) {
            let line: Vec<String> = cells.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
            let read = records(&line.join(","), ',');
            prop_assert_eq!(read, vec![cells]);
        }
    }
}
