//! Reads comma-separated values as spreadsheets write them: quotes, either line end, a byte order mark, commas, semicolons or
//! tabs. Wholly or not at all: what is wrong is named with its line and column. Knows no devices; what a cell means is the
//! caller's. Stands alone, so that it can be fuzzed alone.
//!
//! <https://www.rfc-editor.org/rfc/rfc4180>

use std::collections::BTreeMap;
use std::fmt;

/// A file may have so many rows; a fleet has fewer.
const MOST_ROWS: usize = 2_000_000;
/// A row may have so many cells.
const MOST_CELLS: usize = 1_000;
/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsvError {
    /// The line, from 1.
    pub line: usize,
    /// The cell within its row, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            problem,
        } = self;
        write!(f, "line {line}, column {column}: {problem}")
    }
}

impl std::error::Error for CsvError {}

fn wrong(line: usize, column: usize, problem: impl Into<String>) -> CsvError {
    CsvError {
        line,
        column,
        problem: problem.into(),
    }
}

/// A row and the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a row and its place")]
pub struct Row {
    /// The line, from 1.
    pub line: usize,
    /// Its cells, as many as the heading has.
    pub cells: Vec<String>,
}

/// All rows of a file; empty lines are left out. Every row has as many cells as the first.
///
/// # Errors
/// For text that is not UTF-8 or has a NUL character, a quote in the wrong place or without end, a row of another length, too many rows.
pub fn rows(content: &[u8]) -> Result<Vec<Row>, CsvError> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        wrong(line, 1, "is not UTF-8; save the file as \"CSV UTF-8\"")
    })?;
    if let Some(at) = content.iter().position(|b| *b == 0) {
        let line = content[..at].iter().filter(|b| **b == b'\n').count() + 1;
        let problem = "has a NUL character; save the file as \"CSV UTF-8\"";
        return Err(wrong(line, 1, problem));
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut rest = Reader {
        text: text.chars().peekable(),
        separator: separator(text),
        line: 1,
    };
    while let Some(row) = rest.row()? {
        if row.cells.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if let Some(heading) = rows.first()
            && heading.cells.len() != row.cells.len()
        {
            let (wanted, found) = (heading.cells.len(), row.cells.len());
            let problem = format!("the row has {found} cells, the first one {wanted}");
            return Err(wrong(row.line, found.min(wanted) + 1, problem));
        }
        if rows.len() == MOST_ROWS {
            return Err(wrong(row.line, 1, format!("more than {MOST_ROWS} rows")));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What separates the cells of the first row. What stands in quotation marks says nothing of it, line ends neither.
fn separator(text: &str) -> char {
    let mut quoted = false;
    let mut other = None;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '\n' | '\r' => break,
            ',' => return ',',
            ';' => other = Some(';'),
            '\t' => other = other.or(Some('\t')),
            _ => {}
        }
    }
    other.unwrap_or(',')
}

struct Reader<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    separator: char,
    line: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Option<Row>, CsvError> {
        if self.text.peek().is_none() {
            return Ok(None);
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            let (cell, ended) = self.cell(cells.len() + 1)?;
            cells.push(cell);
            if cells.len() > MOST_CELLS {
                return Err(wrong(line, MOST_CELLS, "the row has too many cells"));
            }
            if ended {
                return Ok(Some(Row { line, cells }));
            }
        }
    }

    /// One cell, and whether it was the last of its row.
    fn cell(&mut self, column: usize) -> Result<(String, bool), CsvError> {
        let quoted = self.text.next_if_eq(&'"').is_some();
        let (begun, mut cell) = (self.line, String::new());
        if quoted {
            loop {
                match self.text.next() {
                    Some('"') if self.text.next_if_eq(&'"').is_some() => cell.push('"'),
                    Some('"') => break,
                    Some(c) => {
                        self.line += usize::from(c == '\n');
                        cell.push(c);
                    }
                    None => return Err(wrong(begun, column, "the quotation mark has no end")),
                }
            }
        }
        loop {
            match self.text.next() {
                None => return Ok((cell, true)),
                Some(c) if c == self.separator => return Ok((cell, false)),
                Some('\r') if self.text.peek() == Some(&'\n') => {}
                Some('\n' | '\r') => {
                    self.line += 1;
                    return Ok((cell, true));
                }
                Some(_) if quoted => {
                    let problem = "text after the closing quotation mark";
                    return Err(wrong(self.line, column, problem));
                }
                Some('"') => {
                    return Err(wrong(
                        self.line,
                        column,
                        "a quotation mark within the cell; the whole cell must be quoted",
                    ));
                }
                Some(c) => cell.push(c),
            }
        }
    }
}

/// The different values of one column: the one under a heading of `headings` (small letters, without signs between them), or
/// all of the file when it has one column and no such heading. `parse` says what a cell means, or what is wrong with it.
///
/// # Errors
/// As [`rows`]; for a file without such a column or with several, an empty one, a cell that `parse` refuses or whose value occurs twice.
pub fn column<T: Ord + Clone + fmt::Display>(
    content: &[u8],
    headings: &[&str],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, CsvError> {
    let rows = rows(content)?;
    let Some(first) = rows.first() else {
        return Err(wrong(1, 1, "the file is empty"));
    };
    let plain = |cell: &String| -> String {
        cell.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let mut named = (0..).zip(&first.cells).filter(|(_, cell)| {
        let cell = plain(cell);
        headings.contains(&cell.as_str())
    });
    let heading = named.next().map(|(index, _)| index);
    if let (Some(index), Some((other, _))) = (heading, named.next()) {
        let problem = format!(
            "columns {} and {} both have such a heading; leave one of them",
            index + 1,
            other + 1
        );
        return Err(wrong(first.line, other + 1, problem));
    }
    let (index, data) = match heading {
        Some(index) => (index, &rows[1..]),
        None if first.cells.len() == 1 => (0, &rows[..]),
        None => {
            let problem = format!("no column has one of the headings {}", headings.join(", "));
            return Err(wrong(first.line, 1, problem));
        }
    };
    let mut lines: BTreeMap<T, usize> = BTreeMap::new();
    let mut all = Vec::with_capacity(data.len());
    for row in data {
        // Every row has as many cells as the first.
        let cell = row.cells.get(index).map(String::as_str).unwrap_or_default();
        let value = parse(cell).map_err(|problem| {
            let shown: String = cell.chars().take(40).filter(|c| !c.is_control()).collect();
            wrong(row.line, index + 1, format!("\"{shown}\": {problem}"))
        })?;
        if let Some(before) = lines.insert(value.clone(), row.line) {
            let problem = format!("{value} stands on line {before} already");
            return Err(wrong(row.line, index + 1, problem));
        }
        all.push(value);
    }
    if all.is_empty() {
        return Err(wrong(
            first.line + 1,
            index + 1,
            "no row follows the heading",
        ));
    }
    Ok(all)
}

/// A cell as it is written: quoted where it must be. A cell that a spreadsheet would take for a formula gets an apostrophe
/// before it, because what devices call themselves is not ours.
#[must_use]
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains(['"', ',', ';', '\n', '\r', '\t']);
    let mark = if formula { "'" } else { "" };
    if quoted {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{mark}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters and digits, raised.
    fn serials(content: &[u8]) -> Result<Vec<String>, CsvError> {
        column(
            content,
            &["serial", "serialnumber", "deviceserialnumber"],
            |cell| {
                let cell = cell.trim();
                match !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_alphanumeric()) {
                    true => Ok(cell.to_ascii_uppercase()),
                    false => Err("must be letters and digits".to_owned()),
                }
            },
        )
    }

    fn check(content: &str, wanted: &[&str]) {
        let found = serials(content.as_bytes()).map_err(|e| format!("{content:?}: {e}"));
        assert_eq!(found.unwrap(), wanted, "{content:?}");
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        check("C02A\nC02B\n", &["C02A", "C02B"]);
        check("serial\r\nC02A\r\n\r\nc02b", &["C02A", "C02B"]);
        check("\u{feff}Name;Serial Number\nAnna;C02A\n", &["C02A"]);
        check("Device Serial-Number\tx\nC02A\t1\n", &["C02A"]);
        check(
            "note,serial\n\"a, \"\"b\"\"\nc\",C02A\nd,C02B\n",
            &["C02A", "C02B"],
        );
        check("\"serial\"\n\"C02A\"\n", &["C02A"]);
    }

    fn refused(content: &[u8], line: usize, column: usize, problem: &str) {
        let error = serials(content).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_column() {
        refused(b"", 1, 1, "empty");
        refused(b"serial\n", 2, 1, "no row");
        refused(b"name,room\nx,y\n", 1, 1, "no column");
        refused(b"name,serial\nx,C02A\ny,C0 2B\n", 3, 2, "C0 2B");
        refused(b"name,serial\nx,C02A\ny,\n", 3, 2, "must be letters");
        refused(b"name,serial\nx,C02A\ny\n", 3, 2, "has 1 cells");
        refused(b"serial\nC02A\nC02B\nc02a\n", 4, 1, "on line 2 already");
        refused(b"note,serial\n\"a\nb,C02A\n", 2, 1, "no end");
        refused(b"note,serial\n\"a\nb\"c,C02A\n", 3, 1, "after the closing");
        refused(b"note,serial\na\"b,C02A\n", 2, 1, "within the cell");
        refused(b"serial\nC02A\n\xff\n", 3, 1, "UTF-8");
        refused(b"name,serial\nx,C02A\na\0b,C02B\n", 3, 1, "NUL");
        refused(b"serial,name,Serial Number\nC02A,x,C02B\n", 1, 3, "1 and 3");
    }

    #[test]
    fn what_is_written_is_read_back_and_is_no_formula() {
        for text in ["a", "a,b", "say \"x\"", "two\nlines", ""] {
            let written = format!("h,{}\n", cell(text));
            assert_eq!(rows(written.as_bytes()).unwrap()[0].cells[1], text);
        }
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@a,b"), "\"'@a,b\"");
    }

    #[test]
    fn no_input_makes_it_panic_and_lines_lie_within_the_file() {
        let pieces: [&[u8]; 9] = [
            b"\"", b",", b"\n", b"\r\n", b"C02A", b";", b"\xff", b"serial", b"\r",
        ];
        // Every sequence of five pieces.
        for mut n in 0..pieces.len().pow(5) {
            let mut content = Vec::new();
            for _ in 0..5 {
                content.extend_from_slice(pieces[n % pieces.len()]);
                n /= pieces.len();
            }
            if let Err(error) = serials(&content) {
                assert!(error.line <= 7 && error.column >= 1, "{content:?}: {error}");
            }
        }
    }
}
