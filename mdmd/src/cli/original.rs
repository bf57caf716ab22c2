//! Brings in what the original service knew of devices: for `mdmd apps import` and `mdmd inventory import`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::clock::Timestamp;
use mdm_core::counted::counted;
use mdm_core::original::Said;
use serde_json::{Value, json};

use super::client::{Client, Where, announce};
use super::{Common, Done, Ended, Exit, Means as _, cell, table};
use crate::originals;

/// Devices of one request: within the API's limit, also with many apps each.
const AT_ONCE: usize = 500;
/// The largest file.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// An export of another service.
#[derive(clap::Args, Debug)]
pub(crate) struct File {
    /// CSV, or JSON: a list of devices, or an object with one under `devices`. `-` reads standard input.
    file: PathBuf,
    /// What the source is called: it is shown beside each fact.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// When the export was made; the age of the file when left out.
    #[arg(long, value_name = "TIME")]
    taken: Option<String>,
}

/// When an export was true: as somebody says, or as it says itself. Tells aloud of columns that are left out.
pub(super) fn taken(
    said: Option<&str>,
    age: Option<Timestamp>,
    unknown: &[String],
) -> Result<Timestamp, Ended> {
    let taken = match said {
        Some(text) => originals::moment(text).ok_or_else(|| {
            anyhow!("--taken: must be a moment like 2026-12-10T17:00:00Z, or a day like 2026-12-10")
        }),
        None => age.ok_or_else(|| anyhow!("--taken: must say when this was true")),
    };
    if !unknown.is_empty() {
        eprintln!(
            "mdmd: columns that are not known here are left out: {}",
            unknown.join(", ")
        );
    }
    taken.means(Exit::BadInput)
}

pub(crate) async fn import(common: &Common, file: &File, place: &Where, apps: bool) -> Done {
    let (devices, unknown, age) = read(file)?;
    if apps && devices.iter().all(|device| device.apps.is_none()) {
        let why = anyhow!(
            "{}: says nothing of apps; it needs a column \"bundle id\"",
            file.file.display()
        );
        return Err(why).means(Exit::BadInput);
    }
    let taken = taken(file.taken.as_deref(), age, &unknown)?;
    let client = Client::acting(common, place).await?;
    let means = format!(
        "what {} said of {} at {taken} is kept as facts for the what-if; nothing is sent to anybody.",
        file.from,
        counted(devices.len(), "device")
    );
    announce("/api/v1/originals", &means);
    let (mut changed, mut unchanged, mut rejected) = (0, 0, Vec::new());
    for devices in devices.chunks(AT_ONCE) {
        let body = json!({ "from": file.from, "taken": taken, "devices": devices });
        let mut answer = client.post("/api/v1/originals", &body).await?;
        changed += answer["changed"].as_u64().unwrap_or(0);
        unchanged += answer["unchanged"].as_u64().unwrap_or(0);
        if let Value::Array(rows) = answer["rejected"].take() {
            rejected.extend(rows);
        }
    }
    let refused = rejected.len();
    let answer = json!({ "changed": changed, "unchanged": unchanged, "rejected": rejected });
    super::print(common, &answer, |answer| {
        println!("changed    {}", cell(&answer["changed"]));
        println!("unchanged  {}", cell(&answer["unchanged"]));
        println!("rejected   {refused}");
        if refused > 0 {
            table(&answer["rejected"], &[("SERIAL", "serial"), ("WHY", "why")]);
        }
    });
    if refused > 0 {
        return Err(anyhow!(
            "{} of the file not taken",
            counted(refused, "device")
        ))
        .means(Exit::Disagrees);
    }
    Ok(())
}

type Read = (Vec<Said>, Vec<String>, Option<Timestamp>);

fn read(file: &File) -> Result<Read, Ended> {
    use std::io::Read as _;
    let name = || file.file.display().to_string();
    let mut content = Vec::new();
    let age = if file.file.as_os_str() == "-" {
        std::io::stdin()
            .take(LARGEST)
            .read_to_end(&mut content)
            .with_context(name)
            .means(Exit::BadInput)?;
        None
    } else {
        let opened = std::fs::File::open(&file.file);
        let opened = opened.with_context(name).means(Exit::BadInput)?;
        let modified = opened.metadata().and_then(|about| about.modified()).ok();
        let mut limited = opened.take(LARGEST);
        let done = limited.read_to_end(&mut content);
        done.with_context(name).means(Exit::BadInput)?;
        let since = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
        since.and_then(|s| Some(Timestamp::from_millis(i64::try_from(s.as_millis()).ok()?)))
    };
    let first = content.trim_ascii_start().first();
    if !matches!(first, Some(b'[' | b'{')) {
        let (rows, unknown) = originals::read_csv(&content)
            .with_context(name)
            .means(Exit::BadInput)?;
        return Ok((rows, unknown, age));
    }
    let mut reader = serde_json::Deserializer::from_slice(&content);
    let rows = match first {
        Some(b'[') => serde_path_to_error::deserialize::<_, Vec<Said>>(&mut reader),
        _ => serde_path_to_error::deserialize::<_, Devices>(&mut reader).map(|d| d.devices),
    };
    let rows = rows
        .map_err(|error| anyhow!("{}: {}: {}", name(), error.path(), error.inner()))
        .means(Exit::BadInput)?;
    if rows.is_empty() {
        return Err(anyhow!("{}: has no devices", name())).means(Exit::BadInput);
    }
    Ok((rows, Vec::new(), age))
}

#[derive(serde::Deserialize)]
struct Devices {
    devices: Vec<Said>,
}
