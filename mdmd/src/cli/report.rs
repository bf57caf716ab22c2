//! `mdmd report whatif|wave|device|exceptions|holds|unheard|at-risk|requests|clean-up|evidence`: what auditors, spreadsheets and the next morning's meeting are
//! shown. A report goes to standard output or into a file as it is read, however long it is.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::store::StoreError;
use serde_json::json;

use super::client::{Client, Where, announce};
use super::new_file::create;
use super::{Common, Done, Ended, Exit, Means as _};
use crate::out::Paper;
use crate::reports::Format;

/// Reports: each with the time, the server's version and the age of every fact.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Report {
    /// What stands for and against the members of a wave.
    #[command(name = "whatif")]
    WhatIf {
        #[command(flatten)]
        wave: OfWave,
        #[command(flatten)]
        how: How,
    },
    /// Where the members of a wave are: funnel, days, states, deadlines, marks, and every member.
    Wave {
        #[command(flatten)]
        wave: OfWave,
        #[command(flatten)]
        how: How,
    },
    /// Everything about one device: facts, marks, steps, and every transition with cause and evidence.
    Device {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        how: How,
    },
    /// What did not come true, whose it is, and what to do next.
    Exceptions {
        #[command(flatten)]
        wave: MaybeWave,
        #[command(flatten)]
        how: How,
    },
    /// How long holds took, which step took what, and what ended them.
    Holds {
        #[command(flatten)]
        wave: MaybeWave,
        #[command(flatten)]
        how: How,
    },
    /// Devices and addresses that were not heard from, or were refused; unknown serial numbers too.
    Unheard {
        /// Devices of which nothing was heard for so many days.
        #[arg(long, default_value_t = 7)]
        days: u32,
        #[command(flatten)]
        how: How,
    },
    /// Members whose deadline is near and that have not begun, with why, and whom to reach.
    #[command(name = "at-risk")]
    AtRisk {
        /// Deadlines that are at most so many days away.
        #[arg(long, default_value_t = 3)]
        days: u32,
        #[command(flatten)]
        wave: MaybeWave,
        #[command(flatten)]
        how: How,
    },
    /// Every request to Apple that changes something.
    Requests {
        #[command(flatten)]
        wave: MaybeWave,
        #[command(flatten)]
        how: How,
    },
    /// The clean-up list: devices that the services that they left may still list, and who removes them.
    #[command(name = "clean-up")]
    CleanUp {
        #[command(flatten)]
        wave: MaybeWave,
        #[command(flatten)]
        how: How,
    },
    /// The evidence pack of a wave: one signed archive, which `mdmd audit verify` checks without the server.
    Evidence {
        #[command(flatten)]
        wave: OfWave,
        /// The archive; must not be there.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Pseudonyms in place of these; the same one for the same device or person within the pack.
        #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = ["actors", "owners", "serials"])]
        redact: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
}

/// Which wave.
#[derive(clap::Args, Debug)]
pub(crate) struct OfWave {
    /// Its name or number.
    #[arg(long, value_name = "WAVE")]
    wave: String,
}

/// Which wave, if not all.
#[derive(clap::Args, Debug)]
pub(crate) struct MaybeWave {
    /// Only of this wave, by its name or number.
    #[arg(long, value_name = "WAVE")]
    wave: Option<String>,
}

/// How it is wanted.
#[derive(clap::Args, Debug)]
pub(crate) struct How {
    /// How it is written; text when left out, or JSON with --json.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Of a CSV: one of the small tables, such as `funnel`, and not the long one.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// A file, which must not be there; standard output when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// What is taken along is in the record, and the record is sealed for it: also in a stopped data directory.
pub(crate) async fn run(common: &Common, command: &Report) -> Done {
    match command {
        Report::WhatIf { wave, how } => {
            let client = Client::exporting(common, &how.place).await?;
            let id = super::wave::number(&client, &wave.wave).await?;
            fetch(
                common,
                &client,
                &format!("/api/v1/waves/{id}/report/what-if"),
                how,
            )
            .await
        }
        Report::Wave { wave, how } => {
            let client = Client::exporting(common, &how.place).await?;
            let id = super::wave::number(&client, &wave.wave).await?;
            fetch(common, &client, &format!("/api/v1/waves/{id}/report"), how).await
        }
        Report::Device { serial, how } => {
            let client = Client::exporting(common, &how.place).await?;
            let path = format!("/api/v1/devices/{}/report", super::in_path(serial));
            fetch(common, &client, &path, how).await
        }
        Report::Exceptions { wave, how } => some(common, "exceptions", wave, how).await,
        Report::Holds { wave, how } => some(common, "holds", wave, how).await,
        Report::CleanUp { wave, how } => some(common, "clean-up", wave, how).await,
        Report::Requests { wave, how } => some(common, "requests", wave, how).await,
        Report::Evidence {
            wave,
            out,
            redact,
            place,
        } => {
            let client = Client::exporting(common, place).await?;
            let id = super::wave::number(&client, &wave.wave).await?;
            let path = format!("/api/v1/waves/{id}/evidence");
            let body = serde_json::to_vec(&json!({ "redact": redact }))?;
            announce(
                &path,
                "the record will say that it was exported, and by whom.",
            );
            let fetch = async |to: &mut File| client.download("POST", &path, body, to).await;
            into_file(out, fetch).await?;
            super::audit::verify_file(common, out, None, None)
        }
        Report::AtRisk { days, wave, how } => {
            some(common, &format!("at-risk?days={days}"), wave, how).await
        }
        Report::Unheard { days, how } => {
            let client = Client::exporting(common, &how.place).await?;
            let path = format!("/api/v1/reports/unheard?days={days}");
            fetch(common, &client, &path, how).await
        }
    }
}

/// A report of one wave or of all.
async fn some(common: &Common, name: &str, wave: &MaybeWave, how: &How) -> Done {
    let client = Client::exporting(common, &how.place).await?;
    let mut path = format!("/api/v1/reports/{name}");
    if let Some(wave) = &wave.wave {
        let id = super::wave::number(&client, wave).await?;
        let joint = if path.contains('?') { '&' } else { '?' };
        path += &format!("{joint}wave={id}");
    }
    fetch(common, &client, &path, how).await
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn fetch(common: &Common, client: &Client, path: &str, how: &How) -> Done {
    let format = match (how.format, common.json) {
        (Some(format), _) => format,
        (None, true) => Format::Json,
        (None, false) => Format::Text,
    };
    if how.table.is_some() && format != Format::Csv {
        return Err(anyhow!("--table: is for --format csv")).means(Exit::BadInput);
    }
    let name = match format {
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Html => "html",
        Format::Text => "text",
    };
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut path = format!("{path}{joint}format={name}");
    if let Some(table) = &how.table {
        path += &format!("&table={}", escaped(table));
    }
    match &how.out {
        None if client.only_looks() => {
            // What is on paper cannot be taken back: it is whole before anything of it is shown.
            let place = std::env::temp_dir();
            let mut whole = tempfile::tempfile_in(&place)
                .with_context(|| format!("a temporary file in {}", place.display()))?;
            read(client, &path, &mut whole).await?;
            whole.rewind()?;
            std::io::copy(&mut whole, &mut Paper)?;
            Ok(())
        }
        None => client.download("GET", &path, Vec::new(), &mut Paper).await,
        Some(file) => {
            into_file(file, async |to| read(client, &path, to).await).await?;
            let answer = json!({ "file": file, "format": name });
            super::print(common, &answer, |_| {
                eprintln!("the report is in {}", file.display());
            });
            Ok(())
        }
    }
}

/// Reads a report into a file as it comes. In a stopped data directory a row that cannot be read breaks the first one off that meets it: a
/// command knows nothing of those that earlier ones met. Then it is begun anew, without that row, and names it.
async fn read(client: &Client, path: &str, to: &mut File) -> Result<(), Ended> {
    match client.download("GET", path, Vec::new(), to).await {
        Err(ended) if ended.why.is::<StoreError>() => {
            to.rewind()?;
            to.set_len(0)?;
            client.download("GET", path, Vec::new(), to).await
        }
        // What there is not, or cannot be asked for, there is not the second time.
        first => first,
    }
}

/// Writes a file that must not be there; one that is not whole does not stay.
pub(crate) async fn into_file(
    file: &Path,
    write: impl AsyncFnOnce(&mut File) -> Result<(), Ended>,
) -> Result<(), Ended> {
    // As any new file is: who may read it, the mask of whoever asks says.
    let mut to = create(file, 0o666)?;
    let mut done = write(&mut to).await;
    if done.is_ok() {
        done = to
            .sync_all()
            .with_context(|| file.display().to_string())
            .map_err(Ended::from);
    }
    if done.is_err() {
        // Nothing is lost that was not lost already.
        let _ = std::fs::remove_file(file);
    }
    done
}
