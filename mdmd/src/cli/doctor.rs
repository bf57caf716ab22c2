//! `mdmd doctor`: what a migration needs, in order, with what is missing and the fix; works beside a server that runs and on a stopped data
//! directory. `--probe URL` looks at an address from any machine and needs neither.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::checklist::Endpoint;
use mdm_core::counted::{agree, counted};
use mdm_core::organisation::Der;
use openssl::x509::X509;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell, seconds_between, span};
use crate::probe::{self, Wanted};
use crate::reports::SERVER;
use crate::walls;

/// What is said of a door that answers each code alike.
const REACHED: &str = "a door of mdmd, which says the same for a code that no organisation has: whether there is one shows at its SCEP address (…/mdm/CODE on the port of enrolment)";
/// What is said of a door that is none of those of the port that was named.
const ABSENT: &str = "is not at this port: where doors have ports of their own name the port of each, as `mdmd doctor` shows them on the server";

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
            Ok(mut list) if client.only_looks() => {
                shut(&mut list);
                Ok(list)
            }
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
        missing => Err(anyhow!("{} missing", counted(missing, "thing"))).means(Exit::Precondition),
    }
}

/// The address that an item of the checklist is about, where it is a door.
fn door(item: &Value) -> Option<&str> {
    let name = item["item"].as_str()?;
    let from = name.find(" at http")?;
    Some(&name[from + " at ".len()..])
}

/// Of a data directory that nothing serves the doors are shut: neither name nor proxy is to be mended before it is served. Where
/// identities come from elsewhere, that door is somebody else's.
fn shut(list: &mut Value) {
    let code = |url: &str| organisation(url).map(|(_, code)| code);
    let items = list["items"].as_array().into_iter().flatten();
    let mut doors = items.filter_map(door);
    let check_in = doors.find(|url| url.ends_with("/checkin"));
    let ours = check_in.and_then(code);
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let is_ours = ours.is_some() && door(item).and_then(code) == ours;
        if is_ours && item["state"] == "missing" {
            item["fix"] = json!(
                "nothing serves this data directory here: start it with `mdmd serve`, and look again"
            );
        }
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
        let Some(uri) = read.filter(|uri| uri.scheme().is_some() && uri.host().is_some()) else {
            let why = anyhow!("--probe: must be an address like https://mdm.example.com:8443/");
            return Err(why).means(Exit::BadInput);
        };
        // Nobody asked for what answers where no port is named.
        if walls::port(&uri, 443).is_none() {
            let why = anyhow!("--probe: the port must be a number from 1 to 65535");
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
        // Looked at without any, everything would be wrong for want of trust.
        if stack.is_empty() {
            let why = anyhow!("--anchors {}: holds no certificate (PEM)", name());
            return Err(why).means(Exit::BadInput);
        }
        for certificate in stack {
            anchors.push(Der(certificate.to_der()?));
        }
    }
    let mut looked = Vec::new();
    for url in &doctor.probe {
        let mut found = Vec::new();
        for (name, url, wanted) in addresses(url) {
            found.push((probe::look(&name, &url, &anchors, wanted).await, wanted));
        }
        looked.push(found);
    }
    let rows = judged(looked)?;
    let wrong = rows.iter().filter(|row| !row["problem"].is_null()).count();
    let answer = json!({ "endpoints": rows, "wrong": wrong, "server": SERVER });
    super::print(common, &answer, |answer| {
        for row in answer["endpoints"].as_array().into_iter().flatten() {
            let word = match row["state"].as_str() {
                Some("wrong") => "WRONG".to_owned(),
                _ => cell(&row["state"]),
            };
            println!("{word:<7}  {}  {}", cell(&row["name"]), cell(&row["url"]));
            for (name, key) in [
                ("problem", "problem"),
                ("note", "note"),
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
            let do_not = agree(wrong, "address does not", "addresses do not");
            Err(anyhow!("{wrong} {do_not} answer as they should")).means(Exit::Precondition)
        }
    }
}

/// What was seen of the addresses, each list that of one that was named, with what it comes to.
fn judged(looked: Vec<Vec<(Endpoint, Wanted)>>) -> anyhow::Result<Vec<Value>> {
    // Only where identities come from an organisation is told from one that is not there.
    let known: Vec<_> = looked
        .iter()
        .flatten()
        .filter(|(seen, wanted)| {
            seen.problem.is_none() && matches!(wanted, Wanted::Good | Wanted::GoodOrElsewhere)
        })
        .filter_map(|(seen, _)| organisation(&seen.url))
        .collect();
    let mut rows = Vec::new();
    for found in looked {
        // Where none of its doors is the whole of it is wrong.
        let one_is_there = found.iter().any(|(seen, _)| seen.problem.is_none());
        for (mut seen, wanted) in found {
            let elsewhere = seen.problem.as_deref() == Some(probe::NOTHING_THERE);
            let (state, note) = if one_is_there && elsewhere {
                seen.problem = None;
                ("absent", Some(ABSENT))
            } else if seen.problem.is_some() {
                ("wrong", None)
            } else if wanted == Wanted::Refusal
                && organisation(&seen.url).is_none_or(|it| !known.contains(&it))
            {
                ("reached", Some(REACHED))
            } else {
                ("answers", None)
            };
            let mut row = serde_json::to_value(seen)?;
            row["state"] = json!(state);
            row["note"] = json!(note);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The host of an address and the code of the organisation that is named there.
fn organisation(url: &str) -> Option<(String, String)> {
    let host = url.parse::<hyper::Uri>().ok()?.host()?.to_ascii_lowercase();
    let (_, rest) = url.split_once("/mdm/")?;
    let code = rest.split('/').next()?;
    Some((host, code.to_owned()))
}

/// What is looked at for an address: of one with an organisation's path its four doors, of any other the address itself.
fn addresses(url: &str) -> Vec<(String, String, Wanted)> {
    let plain = url.trim_end_matches('/');
    let rest = plain.split_once("/mdm/").map(|(_, rest)| rest);
    let door = |name: &str, wanted| vec![(name.to_owned(), url.to_owned(), wanted)];
    match rest {
        // One door, as the checklist shows it.
        Some(rest) if rest.ends_with("/checkin") => door("check-in", Wanted::Refusal),
        Some(rest) if rest.ends_with("/enrol") => door("enrolment", Wanted::Refusal),
        Some(rest) if rest.contains("/scep?") => door("SCEP", Wanted::Good),
        Some(rest) if rest.ends_with("/acme/directory") => door("ACME", Wanted::Good),
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
            (
                "ACME".to_owned(),
                format!("{plain}/acme/directory"),
                Wanted::GoodOrElsewhere,
            ),
        ],
        _ => door("address", Wanted::Any),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address, what a good answer is there, and what was wrong.
    type Looked<'a> = (&'a str, Wanted, Option<&'a str>);

    /// What rows come to, of these addresses with what was wrong with each.
    fn states(looked: &[&[Looked<'_>]]) -> Vec<String> {
        let seen = |(url, wanted, problem): &Looked<'_>| {
            let seen = Endpoint {
                name: String::new(),
                url: (*url).to_owned(),
                problem: problem.map(str::to_owned),
                trusted_by: None,
                ends: None,
                chain: None,
                clock_ahead: None,
            };
            (seen, *wanted)
        };
        let looked = looked
            .iter()
            .map(|found| found.iter().map(seen).collect::<Vec<_>>());
        let rows = judged(looked.collect()).unwrap();
        rows.iter().map(|row| cell(&row["state"])).collect()
    }

    #[test]
    fn a_door_at_another_port_is_not_wrong_and_one_that_knows_no_codes_proves_none() {
        const ELSEWHERE: Option<&str> = Some(probe::NOTHING_THERE);
        let (of_devices, of_scep) = (
            "https://mdm.test:8443/mdm/code/checkin",
            "https://mdm.test:8444/mdm/code/scep?operation=GetCACaps",
        );
        let check_in = (of_devices, Wanted::Refusal, None);
        let scep = (of_scep, Wanted::Good, None);
        let absent = (of_scep, Wanted::Good, ELSEWHERE);
        assert_eq!(states(&[&[check_in, absent]]), ["reached", "absent"]);
        assert_eq!(states(&[&[check_in], &[scep]]), ["answers", "answers"]);
        // Another organisation's, and one that no organisation is.
        let other = (
            "https://mdm.test:8443/mdm/else/checkin",
            Wanted::Refusal,
            None,
        );
        assert_eq!(states(&[&[other], &[scep]]), ["reached", "answers"]);
        let unknown = (of_scep, Wanted::Good, Some("answers that there is none"));
        assert_eq!(states(&[&[check_in, unknown]]), ["reached", "wrong"]);
        // Named by itself, or with none of the doors there, it is wrong.
        assert_eq!(states(&[&[absent]]), ["wrong"]);
        assert_eq!(states(&[&[absent, absent]]), ["wrong", "wrong"]);
    }

    #[test]
    fn only_our_own_doors_are_mended_by_serving() {
        let item = |name: &str| json!({ "item": name, "state": "missing", "fix": "look there" });
        let doors = [
            ("check-in at https://mdm.test:8443/mdm/code/checkin", true),
            ("enrolment at https://enrol.test/mdm/code/enrol", true),
            (
                "SCEP at https://enrol.test/mdm/code/scep?operation=GetCACaps",
                true,
            ),
            ("SCEP at https://ca.test/scep?operation=GetCACaps", false),
            ("ACME at https://other.test/mdm/else/acme/directory", false),
            ("push certificate", false),
        ];
        let items: Vec<Value> = doors.iter().map(|(name, _)| item(name)).collect();
        let mut list = json!({ "items": items });
        shut(&mut list);
        for (item, (name, ours)) in list["items"].as_array().unwrap().iter().zip(doors) {
            let said = item["fix"].as_str().unwrap();
            assert_eq!(said.contains("`mdmd serve`"), ours, "{name}: {said}");
        }
    }

    #[test]
    fn an_organisation_is_looked_at_by_all_of_its_doors_and_any_other_address_by_itself() {
        let of = |url: &str| {
            let all = addresses(url).into_iter();
            all.map(|(name, url, wanted)| format!("{name} {url} {wanted:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("https://mdm.test/mdm/code/"),
            [
                "check-in https://mdm.test/mdm/code/checkin Refusal",
                "enrolment https://mdm.test/mdm/code/enrol Refusal",
                "SCEP https://mdm.test/mdm/code/scep?operation=GetCACaps Good",
                "ACME https://mdm.test/mdm/code/acme/directory GoodOrElsewhere",
            ]
        );
        for (url, seen) in [
            ("https://mdm.test/mdm/code/acme/directory", "ACME"),
            ("https://mdm.test/mdm/code/checkin", "check-in"),
            ("https://mdm.test/acme/directory", "address"),
            ("https://mdm.test/", "address"),
        ] {
            let all = of(url);
            assert!(all.len() == 1 && all[0].starts_with(seen), "{all:?}");
        }
    }
}
