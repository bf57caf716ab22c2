//! For which devices a command is: serial numbers on the command line, or a CSV file. A bad file does nothing at all.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::ids::Serial;

use super::{Ended, Exit, Means as _};
use crate::csv;

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
            return csv::serials(&content)
                .with_context(|| file.display().to_string())
                .means(Exit::BadInput);
        }
        let mut all = Vec::new();
        for text in &self.serials {
            let serial = Serial::parse(text)
                .map_err(|error| anyhow!("{text}: {error}"))
                .means(Exit::BadInput)?;
            if all.contains(&serial) {
                return Err(anyhow!("{serial}: is named twice")).means(Exit::BadInput);
            }
            all.push(serial);
        }
        Ok(all)
    }
}
