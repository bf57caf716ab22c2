//! `mdmd config example|reference|check`, and reading the configuration for every other command.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::{Common, Done, Ended, Exit, Means as _};
use crate::config::Config as Settings;

/// Show or check the configuration.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Config {
    /// Print a file with every key, its default and its meaning.
    Example,
    /// Print the reference page (Markdown).
    Reference,
    /// Read file, environment and flags, and say what holds.
    Check,
}

pub(crate) fn run(common: &Common, command: &Config) -> Done {
    match command {
        Config::Example => {
            let answer = json!({ "file": Settings::example_file() });
            super::print(common, &answer, |_| print!("{}", Settings::example_file()));
        }
        Config::Reference => {
            super::print(common, &Settings::reference(), |_| {
                print!("{}", Settings::reference_page());
            });
        }
        Config::Check => {
            let config = load(common)?;
            if common.json {
                let shown = serde_json::json!({
                    "data_directory": config.data_directory,
                    "database": format!("{:?}", config.database),
                    "listeners": config.listeners,
                    "public": config.public,
                });
                println!("{shown:#}");
            } else {
                println!("data directory  {}", config.data_directory.display());
                println!("database        {:?}", config.database);
                for listener in &config.listeners {
                    println!(
                        "listener        {} {}",
                        listener.address,
                        listener.duty.as_str()
                    );
                }
                println!("devices         {}", config.public.device_url);
                println!("enrolment       {}", config.public.enrol_url);
            }
            return files(&config).means(Exit::Precondition);
        }
    }
    Ok(())
}

/// That the files are there which the server reads when it starts: what it would refuse then is said now.
fn files(config: &Settings) -> anyhow::Result<()> {
    crate::tls::check(config)?;
    for (key, path) in config.named_files() {
        if key.starts_with("tls.") || key.starts_with("listener ") {
            continue;
        }
        std::fs::File::open(&path).with_context(|| format!("{key} {}", path.display()))?;
    }
    Ok(())
}

/// The configuration of this command line.
pub(crate) fn load(common: &Common) -> Result<Settings, Ended> {
    let environment = environment();
    let mut flags = Vec::new();
    if let Some(directory) = &common.data {
        let text = directory
            .to_str()
            .context("--data: must be UTF-8")
            .means(Exit::BadInput)?;
        flags.push(("data_directory".to_owned(), text.to_owned()));
    }
    for pair in &common.set {
        let (key, value) = pair
            .split_once('=')
            // What stands there instead of a key may be anything.
            .context("--set: must be KEY=VALUE")
            .means(Exit::BadInput)?;
        flags.push((key.to_owned(), value.to_owned()));
    }
    let file = file(common)?.map(|(_, text)| text);
    Settings::load(file.as_deref(), &environment, &flags).means(Exit::BadInput)
}

/// What the configuration would be without environment and flags.
pub(crate) fn load_file_only(common: &Common) -> Result<Settings, Ended> {
    let file = file(common)?.map(|(_, text)| text);
    Settings::load(file.as_deref(), &BTreeMap::new(), &[]).means(Exit::BadInput)
}

/// The configuration file and its text. `None` when there is none.
pub(crate) fn file(common: &Common) -> Result<Option<(PathBuf, String)>, Ended> {
    let name = |path: &Path| format!("configuration file {}", path.display());
    if let Some(path) = &common.config {
        let text = std::fs::read_to_string(path)
            .with_context(|| name(path))
            .means(Exit::BadInput)?;
        return Ok(Some((path.clone(), text)));
    }
    // The one file that may be missing: everything has a default.
    let directory = common
        .data
        .clone()
        .or_else(|| environment().get("MDMD_DATA_DIRECTORY").map(Into::into))
        .unwrap_or_else(|| "/var/lib/mdmd".into());
    let path = directory.join("mdmd.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(anyhow!(error).context(name(&path))).means(Exit::BadInput),
    }
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
