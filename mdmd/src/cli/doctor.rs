//! `mdmd doctor`: what a migration needs, in order, with what is missing and the fix; works beside a server that runs and on a stopped data
//! directory. `--probe URL` looks at an address from any machine and needs neither.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::organisation::Der;
use openssl::x509::X509;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell, seconds_between, span};
use crate::probe::{self, Wanted};
use crate::reports::SERVER;

/// Say what is missing, in order, and how to mend it; exit 3 when something is.
#[derive(clap::Args, Debug)]
pub(crate) struct Doctor {
    /// Look at this address from here, as a device would; asks no server of ours anything else. May be given more than once.
    #[arg(long, value_name = "URL")]
    probe: Vec<String>,
    /// Certificates (PEM) that are trusted beside the system's, for --probe.
    #[arg(long, value_name = "FILE", requires = "probe")]
    anchors: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, doctor: &Doctor) -> Done {
    if !doctor.probe.is_empty() {
        return probe_all(common, doctor).await;
    }
    let list = match Client::looking(common, &doctor.place).await {
        Ok(client) => match client.get("/api/v1/checklist").await {
            // Whoever asked must say something else, as which of several organisations is meant: nothing is missing.
            Err(ended) if ended.exit == Exit::BadInput => return Err(ended),
            list => list,
        },
        Err(ended) => Err(ended),
    };
    let list = match list {
        Ok(list) => list,
        // What keeps the list from being made is the first thing on it.
        Err(ended) => install(common, ended),
    };
    super::print(common, &list, show);
    match list["missing"].as_u64().unwrap_or(0) {
        0 => Ok(()),
        missing => Err(anyhow!("{missing} things are missing")).means(Exit::Precondition),
    }
}

/// A list of one thing: that nothing can be looked at.
fn install(common: &Common, ended: Ended) -> Value {
    let there = super::config::load(common).is_ok_and(|config| config.data_directory.is_dir());
    let fix = match ended.exit {
        Exit::BadInput => "mend the configuration: `mdmd config check`",
        _ if there => {
            "mend what is said of the data directory, or name another with --data; `mdmd serve` serves it, --url names a server elsewhere"
        }
        _ => {
            "`mdmd init` makes a data directory, `mdmd serve` serves it, --url names a server elsewhere"
        }
    };
    let item = json!({
        "stage": "install", "item": "server", "state": "missing",
        "fact": format!("{:#}", ended.why), "fix": fix,
    });
    json!({ "items": [item], "missing": 1, "server": SERVER, "latest_deadline": null })
}

fn show(list: &Value) {
    if !list["latest_deadline"].is_null() {
        println!("latest deadline {}", cell(&list["latest_deadline"]));
    }
    let mut stage = String::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let of = cell(&item["stage"]);
        if of != stage {
            println!("{of}");
            stage = of;
        }
        let sign = match item["state"].as_str() {
            Some("done") => "done   ",
            Some("warn") => "look   ",
            Some("later") => "later  ",
            _ => "MISSING",
        };
        let mut line = format!("  {sign}  {}: {}", cell(&item["item"]), cell(&item["fact"]));
        if let Some(age) = seconds_between(&item["at"], &list["at"]) {
            line += &format!(" ({} ago)", span(age));
        }
        println!("{line}");
        if !item["fix"].is_null() {
            println!("           {}", cell(&item["fix"]));
        }
    }
}

async fn probe_all(common: &Common, doctor: &Doctor) -> Done {
    for url in &doctor.probe {
        let read: Option<hyper::Uri> = url.parse().ok();
        if read.is_none_or(|uri| uri.scheme().is_none() || uri.host().is_none()) {
            let why = anyhow!("--probe: must be an address like https://mdm.example.com:8443/");
            return Err(why).means(Exit::BadInput);
        }
        // It is printed beside what was seen.
        if url.contains('@') {
            let why = anyhow!(
                "--probe: must have no name and password in it: an address like https://mdm.example.com:8443/"
            );
            return Err(why).means(Exit::BadInput);
        }
    }
    let mut anchors = Vec::new();
    if let Some(file) = &doctor.anchors {
        let name = || file.display().to_string();
        let pem = std::fs::read(file)
            .with_context(name)
            .means(Exit::BadInput)?;
        let stack = X509::stack_from_pem(&pem)
            .with_context(name)
            .means(Exit::BadInput)?;
        for certificate in stack {
            anchors.push(Der(certificate.to_der()?));
        }
    }
    let mut rows = Vec::new();
    for url in &doctor.probe {
        for (name, url, wanted) in addresses(url) {
            let seen = probe::look(&name, &url, &anchors, wanted).await;
            rows.push(serde_json::to_value(seen)?);
        }
    }
    let wrong = rows.iter().filter(|row| !row["problem"].is_null()).count();
    let answer = json!({ "endpoints": rows, "wrong": wrong, "server": SERVER });
    super::print(common, &answer, |answer| {
        for row in answer["endpoints"].as_array().into_iter().flatten() {
            let word = match row["problem"].is_null() {
                true => "answers",
                false => "WRONG  ",
            };
            println!("{word}  {}  {}", cell(&row["name"]), cell(&row["url"]));
            for (name, key) in [
                ("problem", "problem"),
                ("trusted by", "trusted_by"),
                ("ends", "ends"),
                ("clock ahead s", "clock_ahead"),
            ] {
                if !row[key].is_null() {
                    println!("         {name:<14} {}", cell(&row[key]));
                }
            }
        }
    });
    match wrong {
        0 => Ok(()),
        wrong => {
            Err(anyhow!("{wrong} addresses do not answer as they should")).means(Exit::Precondition)
        }
    }
}

/// What is looked at for an address: of one with an organisation's path its three doors, of any other the address itself.
fn addresses(url: &str) -> Vec<(String, String, Wanted)> {
    let plain = url.trim_end_matches('/');
    let rest = plain.split_once("/mdm/").map(|(_, rest)| rest);
    let door = |name: &str, wanted| vec![(name.to_owned(), url.to_owned(), wanted)];
    match rest {
        // One door, as the checklist shows it.
        Some(rest) if rest.ends_with("/checkin") => door("check-in", Wanted::Refusal),
        Some(rest) if rest.ends_with("/enrol") => door("enrolment", Wanted::Refusal),
        Some(rest) if rest.contains("/scep?") => door("SCEP", Wanted::Good),
        Some(code) if !code.is_empty() && !code.contains('/') => vec![
            (
                "check-in".to_owned(),
                format!("{plain}/checkin"),
                Wanted::Refusal,
            ),
            (
                "enrolment".to_owned(),
                format!("{plain}/enrol"),
                Wanted::Refusal,
            ),
            (
                "SCEP".to_owned(),
                format!("{plain}/scep?operation=GetCACaps"),
                Wanted::Good,
            ),
        ],
        _ => door("address", Wanted::Any),
    }
}
