//! A table of a report as CSV. Every row says when it was true and who says so, for rows are copied out of their files.

use mdm_core::evidence::ReportRow;

use super::{SERVER, words};
use crate::csv::cell;

pub(super) fn heading(columns: &[&str]) -> String {
    let all = columns.iter().copied().chain(["report at", "server"]);
    line(all.map(str::to_owned))
}

pub(super) fn rows(rows: &[ReportRow], at: &str) -> String {
    rows.iter()
        .map(|row| {
            let own = [at.to_owned(), SERVER.to_owned()];
            line(row.iter().map(words).chain(own))
        })
        .collect()
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|text| cell(&text)).collect();
    cells.join(",") + "\r\n"
}
