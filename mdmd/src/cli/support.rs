//! `mdmd support-bundle`: one archive for whoever helps, without secrets, serial numbers and names. What will be in it is listed before anything is
//! written.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::evidence::pack::plain_archive;
use serde_json::{Map, Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _};
use crate::reports::SERVER;

/// How much of the end of a log is taken.
const LOG: u64 = 2 * 1024 * 1024;
/// Lines of the record.
const LINES: u32 = 500;
/// A run of signs that is longer may be a key, a token or a fingerprint.
const LONGEST_WORD: usize = 24;

/// Gather what somebody needs who helps: version, configuration, checklist, the end of record and log, sizes. Without secrets,
/// serial numbers and names.
#[derive(clap::Args, Debug)]
pub(crate) struct SupportBundle {
    /// The archive (tar); must not be there. Without it only says what would be in it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The server's log, of which the end is taken; without it none is.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, bundle: &SupportBundle) -> Done {
    let config = super::config::load(common);
    // A stopped directory that is of another version, or has no database, is not changed by whoever looks what is wrong with it.
    let client = Client::looking(common, &bundle.place).await;
    let scrub = match &client {
        Ok(client) => Scrub::of(client).await?,
        Err(_) => Scrub::default(),
    };
    let mut files: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    let mut add = |name, about, content: Value| {
        files.push((name, about, format!("{content:#}\n").into_bytes()));
    };
    add("version.json", "version, system and processors", version());
    match &config {
        Ok(config) => {
            let shown = without_secrets(serde_json::to_value(config)?);
            add(
                "configuration.json",
                "every key that holds, secrets and passwords left out",
                scrub.value(shown),
            );
            let sizes = sizes(&config.data_directory);
            add(
                "sizes.json",
                "files of the data directory by name and size, and the database",
                sizes,
            );
        }
        Err(ended) => {
            let why = scrub.text(&format!("{:#}", ended.why));
            add(
                "configuration.json",
                "why the configuration cannot be read",
                json!({ "problem": why }),
            );
        }
    }
    match &client {
        Ok(client) => {
            let list = client.get("/api/v1/checklist").await;
            let list =
                list.unwrap_or_else(|ended| json!({ "problem": format!("{:#}", ended.why) }));
            add(
                "checklist.json",
                "what `mdmd doctor` says",
                scrub.value(items(&list)),
            );
            if bundle.out.is_some() {
                add(
                    "checkpoint.json",
                    "the newest seal of the record, which says that this left",
                    seal(common, bundle, &scrub).await,
                );
            }
            let record = client
                .get(&format!("/api/v1/audit?newest=true&limit={LINES}"))
                .await;
            let record = record.unwrap_or_default();
            add(
                "record.json",
                "the end of the record: when, what, from and to; no names, no details",
                lines(&record),
            );
        }
        Err(ended) => {
            let why = scrub.text(&format!("{:#}", ended.why));
            add(
                "checklist.json",
                "why nothing could be asked",
                json!({ "problem": why }),
            );
        }
    }
    if let Some(log) = &bundle.log {
        let text = tail(log)
            .with_context(|| log.display().to_string())
            .means(Exit::BadInput)?;
        let about = "the end of the log; serial numbers, addresses and long words replaced";
        files.push(("log.txt", about, scrub.text(&text).into_bytes()));
    }
    let shown: Vec<Value> = files
        .iter()
        .map(|(name, about, content)| json!({ "name": name, "about": about, "bytes": content.len() }))
        .collect();
    let answer = json!({ "server": SERVER, "files": shown, "out": bundle.out });
    super::print(common, &answer, |answer| {
        super::table(
            &answer["files"],
            &[("FILE", "name"), ("BYTES", "bytes"), ("WHAT", "about")],
        );
    });
    let Some(out) = &bundle.out else {
        eprintln!("nothing was written; --out names the archive");
        return Ok(());
    };
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, _, content)| (*name, &content[..]))
        .collect();
    let archive = plain_archive(&files, SystemClock.now()).means(Exit::Failure)?;
    super::report::into_file(out, async |to| Ok(to.write_all(&archive)?)).await?;
    eprintln!(
        "written to {}; look into it before you send it",
        out.display()
    );
    Ok(())
}

/// The record's newest seal, made now; or why there is none.
async fn seal(common: &Common, bundle: &SupportBundle, scrub: &Scrub) -> Value {
    let why = "the record is sealed, and says that a seal of it left.";
    let nothing = json!({});
    let sealed = async {
        let client = Client::exporting(common, &bundle.place).await?;
        client.act("/api/v1/audit/checkpoints", &nothing, why).await
    };
    match sealed.await {
        Ok(sealed) => json!({ "seal": sealed["seal"], "at": sealed["at"], "hash": sealed["hash"] }),
        Err(ended) => json!({ "problem": scrub.text(&format!("{:#}", ended.why)) }),
    }
}

fn version() -> Value {
    json!({
        "server": SERVER, "openssl": openssl::version::version(), "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "at": SystemClock.now(),
    })
}

/// Names of keys whose values may be secret, or lead to one.
fn is_secret(name: &str) -> bool {
    let words = [
        "key",
        "secret",
        "password",
        "token",
        "pin",
        "credential",
        "header",
    ];
    words.iter().any(|word| name.contains(word))
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(all) => {
            let all = all.into_iter().map(|(name, value)| {
                let kept = match (name.as_str(), &value) {
                    // Its URL may hold a password.
                    ("database", Value::String(url)) => json!(url.split(':').next()),
                    (name, Value::String(_)) if is_secret(name) => json!("(left out)"),
                    _ => without_secrets(value),
                };
                (name, kept)
            });
            Value::Object(all.collect::<Map<String, Value>>())
        }
        Value::Array(all) => all.into_iter().map(without_secrets).collect(),
        Value::String(text) if text.contains('@') => json!("(left out)"),
        other => other,
    }
}

/// The checklist without the words of people: how the later parts of the way stand is told by names.
fn items(list: &Value) -> Value {
    let all = list["items"].as_array().into_iter().flatten().map(|item| {
        let early = ["install", "connect", "prepare", "learn"];
        let early = early.iter().any(|stage| item["stage"] == *stage);
        let mut kept =
            json!({ "stage": item["stage"], "state": item["state"], "ends": item["ends"] });
        if early {
            kept["item"] = item["item"].clone();
            kept["fact"] = item["fact"].clone();
        }
        kept
    });
    match list["problem"].is_null() {
        true => {
            json!({ "missing": list["missing"], "latest_deadline": list["latest_deadline"], "items": all.collect::<Vec<_>>() })
        }
        false => list.clone(),
    }
}

/// Lines of the record without who and whom.
fn lines(record: &Value) -> Value {
    let all = record["entries"].as_array().into_iter().flatten();
    let all = all.map(|entry| {
        let (actor, detail) = (
            entry["actor"].as_str().unwrap_or_default(),
            &entry["detail"],
        );
        let kind = match actor {
            "device" | "worker" | "watchdog" | "stop rule" => actor,
            _ => "person",
        };
        let steps = detail["steps"].as_object();
        let steps: Vec<&String> = steps.into_iter().flat_map(|s| s.keys()).collect();
        json!({
            "at": entry["at"], "by": kind, "what": entry["what"], "from": detail["from"],
            "to": detail["to"], "cause": detail["cause"], "steps": steps,
        })
    });
    all.collect::<Vec<_>>().into()
}

fn sizes(directory: &Path) -> Value {
    let mut all = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                open.push(entry.path());
            } else if let Ok(name) = entry.path().strip_prefix(directory) {
                all.push(json!({ "file": name.display().to_string(), "bytes": about.len() }));
            }
        }
    }
    all.sort_by_key(|file| file["file"].to_string());
    // Files of packages are named by what nobody may guess.
    all.retain(|file| {
        !file["file"]
            .as_str()
            .is_some_and(|name| name.starts_with("packages"))
    });
    all.into()
}

/// Names of accounts, devices and commands are such.
fn is_uuid(word: &str) -> bool {
    uuid::Uuid::try_parse(word).is_ok()
}

fn tail(log: &Path) -> std::io::Result<String> {
    use std::io::Seek as _;
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(LOG)))?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is replaced wherever it stands.
#[derive(Default)]
struct Scrub {
    serials: BTreeSet<String>,
    names: Vec<String>,
}

impl Scrub {
    async fn of(client: &Client) -> Result<Self, super::Ended> {
        let mut scrub = Self::default();
        let devices = client.pages("/api/v1/devices", "devices").await?;
        for device in devices["devices"].as_array().into_iter().flatten() {
            if let Some(serial) = device["serial"].as_str() {
                scrub.serials.insert(serial.to_owned());
            }
            scrub
                .names
                .extend(device["name"].as_str().map(str::to_owned));
        }
        let organisations = client
            .pages("/api/v1/organisations", "organisations")
            .await?;
        for organisation in organisations["organisations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            scrub
                .names
                .extend(organisation["name"].as_str().map(str::to_owned));
        }
        scrub.names.retain(|name| name.chars().count() > 2);
        // The longer one first: one may begin with another.
        scrub
            .names
            .sort_by_key(|name| std::cmp::Reverse(name.len()));
        scrub.names.dedup();
        Ok(scrub)
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in &self.names {
            text = text.replace(name.as_str(), "(name)");
        }
        let mut said = String::with_capacity(text.len());
        let sign = |c: char| c.is_alphanumeric() || "@._%+-=/".contains(c);
        for piece in text.split_inclusive(|c: char| !sign(c)) {
            let end = piece
                .char_indices()
                .find(|(_, c)| !sign(*c))
                .map_or(piece.len(), |(at, _)| at);
            let (word, rest) = piece.split_at(end);
            said.push_str(self.word(word));
            said.push_str(rest);
        }
        said
    }

    fn word<'a>(&self, word: &'a str) -> &'a str {
        let parts = || word.split(|c: char| !c.is_ascii_alphanumeric());
        let longest = parts().map(str::len).max().unwrap_or(0);
        let address = word.parse::<std::net::IpAddr>();
        if address.is_ok_and(|a| !a.is_loopback() && !a.is_unspecified()) {
            "(address)"
        } else if word.contains('@') {
            "(mail)"
        } else if parts().any(|part| self.serials.contains(part)) {
            "(serial number)"
        } else if longest > LONGEST_WORD || word.split(['.', '/']).any(is_uuid) {
            "(long word)"
        } else {
            word
        }
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(&text).into(),
            Value::Array(all) => all.into_iter().map(|v| self.value(v)).collect(),
            Value::Object(all) => {
                let all = all.into_iter().map(|(k, v)| (self.text(&k), self.value(v)));
                Value::Object(all.collect::<Map<String, Value>>())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_named_and_no_word_may_be_a_key() {
        let scrub = Scrub {
            serials: ["C02X".to_owned()].into(),
            names: vec!["Eva's Mac".to_owned()],
        };
        let text = "C02X at 192.0.2.7, 127.0.0.1: Eva's Mac <eva@example.com> \
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA BUSINESSAPI.e59af6fe-77fc-4b40-9428-9a1996126e65 C02XY https://mdm.example.com:8443/mdm/C02X/x";
        let said = scrub.text(text);
        for gone in [
            "C02X at",
            "192.0.2.7",
            "Eva",
            "eva@",
            "AAAA",
            "e59af6fe",
            "/C02X/",
        ] {
            assert!(!said.contains(gone), "{gone}: {said}");
        }
        for stays in ["127.0.0.1", "C02XY"] {
            assert!(said.contains(stays), "{stays}: {said}");
        }
        let config = json!({ "database": "postgres://a:hunter2@db/x", "push": { "key": "hunter2", "host": "api" }, "mail": "a@b" });
        let kept = without_secrets(config).to_string();
        assert!(
            !kept.contains("hunter2") && !kept.contains("a@b") && kept.contains("\"api\""),
            "{kept}"
        );
        assert!(kept.contains("postgres"));
    }
}
