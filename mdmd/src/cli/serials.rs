//! For which devices a command is: serial numbers on the command line, or a CSV file. A bad file does nothing at all.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::ids::Serial;

use super::{Ended, Exit, Means as _};
use crate::csv::{self, CsvError};

/// Headings under which spreadsheets and other services keep serial numbers, in small letters without signs between them.
const HEADINGS: [&str; 5] = [
    "serial",
    "serialnumber",
    "serialno",
    "deviceserialnumber",
    "seriennummer",
];

/// Devices, by serial number.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Serials {
    /// Serial numbers.
    #[arg(value_name = "SERIAL")]
    serials: Vec<String>,
    /// A CSV file with a column "serial" (or one column and no heading); `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "serials")]
    csv: Option<PathBuf>,
}

impl Serials {
    /// Them; at least one.
    pub(crate) fn some(&self) -> Result<Vec<Serial>, Ended> {
        let all = self.any()?;
        if all.is_empty() {
            let why = anyhow!("no device is named: give serial numbers or --csv FILE");
            return Err(why).means(Exit::BadInput);
        }
        Ok(all)
    }

    /// Them; none means that none was named.
    pub(crate) fn any(&self) -> Result<Vec<Serial>, Ended> {
        if let Some(file) = &self.csv {
            let content = if file.as_os_str() == "-" {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin(), &mut content).map(|_| content)
            } else {
                std::fs::read(file)
            };
            let content = content
                .with_context(|| file.display().to_string())
                .means(Exit::BadInput)?;
            return in_csv(&content)
                .with_context(|| file.display().to_string())
                .means(Exit::BadInput);
        }
        let mut all = Vec::new();
        let mut named = BTreeSet::new();
        for text in &self.serials {
            let serial = Serial::parse(text)
                .map_err(|error| anyhow!("{text}: {error}"))
                .means(Exit::BadInput)?;
            if !named.insert(serial.clone()) {
                return Err(anyhow!("{serial}: is named twice")).means(Exit::BadInput);
            }
            all.push(serial);
        }
        Ok(all)
    }
}

/// The serial numbers of a CSV file.
fn in_csv(content: &[u8]) -> Result<Vec<Serial>, CsvError> {
    csv::column(content, &HEADINGS, |cell| {
        Serial::parse(cell).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_stand_under_a_heading_or_alone() {
        for content in ["C02A\nc02b\n", "Name;Serial Number\nAnna;c02a\nBo;C02B\n"] {
            let found = in_csv(content.as_bytes()).unwrap();
            let found: Vec<&str> = found.iter().map(Serial::as_str).collect();
            assert_eq!(found, ["C02A", "C02B"], "{content:?}");
        }
        let error = in_csv(b"serial\nC02A\nC0 2B\n").unwrap_err();
        assert_eq!((error.line, error.column), (3, 1));
        assert!(error.problem.contains("1 to 64 letters"), "{error}");
    }
}
