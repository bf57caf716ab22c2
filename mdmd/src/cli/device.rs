//! `mdmd device list|show|tag|invite|lock|clear-passcode|retry-step|give-up`: what is known of devices, the single-object report with its timeline, their
//! tags, enrolment by download, and passcodes that somebody has forgotten.

use anyhow::anyhow;
use mdm_core::ca::acme::APPLE_ROOT_SHA256;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::act::{self, Acceptance};
use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Exit, Means as _, cell, table};

/// Devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Device {
    /// List them. The ADE profile is in Apple's words: empty, assigned, pushed (the device has fetched it), or removed, which a
    /// device is too that has come into our list and is offered its migration later.
    List {
        /// Only those that have left for another service for good.
        #[arg(long)]
        moved: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Everything about one.
    Show {
        /// Its serial number.
        serial: String,
        /// With everything that happened, oldest first.
        #[arg(long)]
        timeline: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Tag devices: they get what the library has for their tags.
    Tag {
        /// A tag that they get.
        #[arg(long, value_name = "TAG", required_unless_present = "take")]
        add: Vec<String>,
        /// A tag that they lose.
        #[arg(long, value_name = "TAG")]
        take: Vec<String>,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Invite one device to enrol by download: one that Apple's service does not know, or that is past its Setup Assistant.
    Invite {
        /// Its serial number.
        serial: String,
        /// For how many days, at most 30.
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// Also where nobody knows a device of this serial number yet: from then on there is one.
        #[arg(long)]
        unknown: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Which secrets of one are kept; never what they are.
    Secrets {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
    /// Show a secret of one. More than ten a day take another person, who confirms each.
    Reveal(super::approval::Reveal),
    /// The return ticket: calls back what has not begun, and starts a new migration of what is here toward the service that it
    /// came from. In the hold nothing can be taken back.
    Return {
        #[command(flatten)]
        devices: Serials,
        /// When Apple enforces the return of devices that are here, e.g. 2026-12-10T17:00:00Z; at most 90 days ahead.
        #[arg(long, value_name = "TIME")]
        deadline: Option<String>,
        /// The service to return to, by its identifier at Apple (`business services`); the one that each came from when left out.
        #[arg(long, value_name = "ID")]
        to: Option<String>,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Have a step of a device's set-up done again that is stuck, was given up or was skipped.
    RetryStep {
        /// Its serial number.
        serial: String,
        /// The step, as `device show` names it, such as apps-required.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(
            mdm_core::migration::StepId::ALL.map(mdm_core::migration::StepId::as_str)
        ))]
        step: String,
        #[command(flatten)]
        place: Where,
    },
    /// End the attempt of one that never comes, or never comes back, where nothing else can: its wave and project can be closed
    /// then. Nothing is asked of Apple or of the device; what is kept of it stays.
    GiveUp(super::give_up::GiveUp),
    /// Its Activation Lock: as read at Apple, as the device says, and how far a clearing is.
    Lock {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
    /// Have its Activation Lock lifted with the bypass codes that are kept, and read back. More than ten a day take another
    /// person.
    ClearLock(super::lock::ClearLock),
    /// Have a Mac make a new recovery key.
    #[command(name = "rotate-filevault")]
    RotateFilevault(super::lock::Rotate),
    /// Take the passcode of an iPhone or iPad away.
    ClearPasscode {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Device) -> Done {
    match command {
        Device::List { moved, place } => list(common, place, *moved).await,
        Device::Show {
            serial,
            timeline,
            place,
        } => show(common, place, serial, *timeline).await,
        Device::Return {
            devices,
            deadline,
            to,
            reason,
            acceptance,
            place,
        } => {
            let deadline = deadline.as_deref();
            let deadline = deadline.map(|text| super::migration::moment("--deadline", text));
            let body = json!({
                "act": "return", "serials": devices.some()?, "deadline": deadline.transpose()?,
                "to": to, "reason": reason,
            });
            let client = Client::acting(common, place).await?;
            act::run(common, &client, "/api/v1/migrations", body, acceptance).await
        }
        Device::Tag {
            add,
            take,
            devices,
            place,
        } => tag(common, place, add, take, devices).await,
        Device::Invite {
            serial,
            days,
            unknown,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "serial": serial, "days": days, "unknown": unknown });
            let said = "whoever has the code may enrol this device, once.";
            let answer = client.act("/api/v1/invitations", &body, said).await?;
            super::print(common, &answer, |answer| {
                let (page, code) = (cell(&answer["page"]), cell(&answer["code"]));
                println!("open {page}#{code}");
                println!("code {code}, good until {}", cell(&answer["expires"]));
            });
            Ok(())
        }
        Device::Secrets { serial, place } => super::approval::kept(common, place, serial).await,
        Device::Reveal(args) => super::approval::reveal(common, args).await,
        Device::RetryStep {
            serial,
            step,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/devices/{}/retry-step", super::in_path(serial));
            let said = "what it asked before is taken back, and its exceptions are forgotten.";
            let answer = client.act(&path, &json!({ "step": step }), said).await?;
            super::print(common, &answer, |_| {
                println!("{step} begins again; `mdmd device show {serial}` shows how it goes");
            });
            Ok(())
        }
        Device::GiveUp(args) => super::give_up::run(common, args).await,
        Device::Lock { serial, place } => super::lock::look(common, place, serial).await,
        Device::ClearLock(args) => super::lock::clear(common, args).await,
        Device::RotateFilevault(args) => super::lock::rotate(common, args).await,
        Device::ClearPasscode { serial, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/devices/{}/clear-passcode", super::in_path(serial));
            let said = "the device has no passcode once it has come.";
            let answer = client.act(&path, &json!({}), said).await?;
            super::print(common, &answer, |answer| {
                println!("queued as {}", cell(&answer["uuid"]));
            });
            Ok(())
        }
    }
}

async fn tag(
    common: &Common,
    place: &Where,
    add: &[String],
    take: &[String],
    devices: &Serials,
) -> Done {
    let body = json!({ "serials": devices.some()?, "add": add, "take": take });
    let client = Client::acting(common, place).await?;
    let said =
        "the devices get what the library has for their tags, and lose what it no longer has.";
    let answer = client.act("/api/v1/devices/tags", &body, said).await?;
    super::print(common, &answer, |answer| {
        println!("tagged {}", cell(&answer["tagged"]));
        for serial in answer["unknown"].as_array().into_iter().flatten() {
            println!("unknown {}", cell(serial));
        }
    });
    match answer["unknown"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        unknown => Err(anyhow!("{} not known", counted(unknown, "device"))).means(Exit::Disagrees),
    }
}

async fn list(common: &Common, place: &Where, moved: bool) -> Done {
    let client = Client::looking(common, place).await?;
    let path = match moved {
        true => "/api/v1/devices?moved=true",
        false => "/api/v1/devices",
    };
    let answer = client.pages(path, "devices").await?;
    super::print(common, &answer, |answer| {
        if moved {
            let columns = [
                ("SERIAL", "serial"),
                ("PLATFORM", "platform"),
                ("NAME", "name"),
                ("MOVED AWAY", "moved"),
            ];
            return table(&answer["devices"], &columns);
        }
        table(
            &answer["devices"],
            &[
                ("SERIAL", "serial"),
                ("PLATFORM", "platform"),
                ("OS", "os_version"),
                ("NAME", "name"),
                ("ENROLLED", "enrolled"),
                ("MIGRATING", "migrating"),
                ("ADE PROFILE", "profile_status"),
            ],
        );
    });
    Ok(())
}

async fn show(common: &Common, place: &Where, serial: &str, timeline: bool) -> Done {
    let client = Client::looking(common, place).await?;
    let mut report = client
        .get(&format!("/api/v1/devices/{}", super::in_path(serial)))
        .await?;
    if !timeline && let Some(object) = report.as_object_mut() {
        object.remove("timeline");
    }
    super::print(common, &report, |report| {
        let device = &report["device"];
        let line = |name: &str, value: &Value| println!("{name:<16} {}", cell(value));
        line("serial number", &device["serial"]);
        line("state", &report["state"]);
        line("product", &device["facts"]["product"]);
        line("system", &device["facts"]["os_version"]);
        line("UDID", &device["facts"]["udid"]);
        if let Some(attested) = device["attested"].as_object() {
            let whose = if attested["root"] == APPLE_ROOT_SHA256 {
                "by Apple"
            } else {
                "by another root than Apple's"
            };
            println!("{:<16} {} {whose}", "attested", cell(&attested["at"]));
            for (name, value) in attested {
                if !matches!(name.as_str(), "at" | "root") {
                    println!("  {:<22} {}", name.replace('_', " "), cell(value));
                }
            }
        }
        if let Value::Object(leaving) = &device["leaving"] {
            println!(
                "{:<16} to {} by {}, asked {} by {}",
                "leaving",
                cell(&leaving["to"]),
                cell(&leaving["deadline"]),
                cell(&leaving["asked"]),
                cell(&leaving["by"])
            );
        }
        if !report["moved"].is_null() {
            println!("{:<16} since {}", "moved away", cell(&report["moved"]));
        }
        line("last heard", &report["heard"]);
        line("facts learned", &device["facts"]["learned"]);
        line("profile", &device["record"]["profile_status"]);
        line("seen at Apple", &device["record"]["seen"]);
        let enrolments = report["enrollments"].as_array().map_or(0, Vec::len);
        line("enrolments", &json!(enrolments));
        println!("{:<16} {}", "set-up", stage(&report["set_up"]["state"]));
        let verdict = &report["set_up"]["verdict"];
        if !verdict.is_null() {
            println!("{:<16} {}", "verdict", cell(&verdict["kind"]));
            for reason in verdict["reasons"].as_array().into_iter().flatten() {
                println!("{:<16} {}", "", cell(reason));
            }
        }
        println!("{:<16} {}", "attempt", stage(&report["attempt"]["state"]));
        if !report["attempt"]["ended"].is_null() {
            line("attempt ended", &report["attempt"]["ended"]);
        }
        let given_up = &report["given_up"];
        if !given_up.is_null() {
            let other = match &given_up["confirmed_by"] {
                Value::Null => String::new(),
                other => format!(", confirmed by {}", cell(other)),
            };
            println!(
                "{:<16} {} by {}{other}: {}",
                "given up",
                cell(&given_up["at"]),
                cell(&given_up["by"]),
                cell(&given_up["reason"])
            );
        }
        for mark in report["marks"].as_array().into_iter().flatten() {
            let (name, state) = (cell(&mark["mark"]), cell(&mark["state"]).replace('_', " "));
            println!("{name:<16} {state}: {}", cell(&mark["why"]));
        }
        match report["recovery_key"].as_str() {
            Some("new") => println!("{:<16} new: made for us, and opened", "recovery key"),
            Some("old") => println!(
                "{:<16} old: still valid, from the service that it left",
                "recovery key"
            ),
            Some(_) => println!("{:<16} none", "recovery key"),
            None => {}
        }
        for secret in report["secrets"].as_array().into_iter().flatten() {
            let old = match (&secret["destroyed"], &secret["replaced"]) {
                (Value::Null, Value::Null) => "",
                (Value::Null, _) => ", replaced",
                _ => ", destroyed",
            };
            println!(
                "{:<16} {} since {}{old}",
                "holds",
                cell(&secret["kind"]),
                cell(&secret["created"])
            );
        }
        super::failures::show(&report["failures"]);
        if let Some(entries) = report["timeline"].as_array() {
            println!();
            for entry in entries {
                println!(
                    "{}  {:<10} {:<24} {}",
                    cell(&entry["at"]),
                    cell(&entry["actor"]),
                    cell(&entry["what"]),
                    told(&entry["detail"])
                );
            }
        }
    });
    Ok(())
}

/// A line of the record: from where to where because of what, then the rest as it is.
fn told(detail: &Value) -> String {
    let Some(object) = detail.as_object().filter(|o| o.contains_key("cause")) else {
        return detail.to_string();
    };
    let mut rest = object.clone();
    let mut take = |key: &str| rest.remove(key).unwrap_or_default();
    let (from, to, cause) = (take("from"), take("to"), take("cause"));
    let evidence = take("evidence");
    rest.retain(|_, value| !(value.is_null() || *value == json!([]) || *value == json!({})));
    let mut said = match from == to {
        true => format!("{} by {}", cell(&to), cell(&cause)),
        false => format!("{} -> {} by {}", cell(&from), cell(&to), cell(&cause)),
    };
    if !evidence.is_null() {
        said += &format!("  evidence {evidence}");
    }
    if !rest.is_empty() {
        said += &format!("  {}", Value::Object(rest));
    }
    said
}

/// Where a set-up or an attempt stands, for people: its name, since when, and how far its steps are.
fn stage(state: &Value) -> String {
    let plain = |name: &str| name.replace('_', " ");
    if let Some(name) = state.as_str() {
        return plain(name);
    }
    let Some((name, inner)) = state.as_object().and_then(|object| object.iter().next()) else {
        return cell(state);
    };
    if let Some(end) = inner.as_str() {
        return format!("{}: {}", plain(name), plain(end));
    }
    let mut said = plain(name);
    if !inner["since"].is_null() {
        said += &format!(" since {}", cell(&inner["since"]));
    }
    for (key, word) in [
        ("activity", "activity"),
        ("why", "because"),
        ("tries", "try"),
    ] {
        if !inner[key].is_null() {
            said += &format!(", {word} {}", cell(&inner[key]));
        }
    }
    let blockers = inner["blockers"].as_array().into_iter().flatten();
    for blocker in blockers {
        said += &format!("; {}", cell(blocker));
    }
    if inner["from"].is_object() {
        said += &format!(", was {}", stage(&inner["from"]));
    }
    let Some(steps) = inner["steps"].as_object() else {
        return said;
    };
    let word = |step: &Value| match &step["status"] {
        Value::String(word) => word.clone(),
        Value::Object(object) => object.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let all = |wanted: &str| {
        let of = steps.iter().filter(|(_, step)| word(step) == wanted);
        of.map(|(name, _)| plain(name)).collect::<Vec<_>>()
    };
    let over = all("done").len() + all("skipped").len();
    said += &format!("; {over} of {} steps done", steps.len());
    for (status, told) in [("running", "under way"), ("excepted", "given up")] {
        let names = all(status);
        if !names.is_empty() {
            said += &format!("; {told}: {}", names.join(", "));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_set_up_stands_is_said_in_words() {
        let steps = json!({
            "identify": { "status": { "done": { "evidence": "x" } } },
            "escrow_filevault": { "status": "running" },
            "apps": { "status": "waiting" },
            "verify": { "status": { "excepted": { "why": "x" } } },
        });
        let since = "2026-12-10T09:00:00Z";
        for (state, told) in [
            (json!(null), "-".to_owned()),
            (json!("planned"), "planned".to_owned()),
            (
                json!({ "ended": "proved_with_exceptions" }),
                "ended: proved with exceptions".to_owned(),
            ),
            (
                json!({ "holding": { "since": since, "steps": steps } }),
                format!(
                    "holding since {since}; 1 of 4 steps done; under way: escrow filevault; given up: verify"
                ),
            ),
            (
                json!({ "stalled": { "since": since, "from": { "enrolling": { "since": since } } } }),
                format!("stalled since {since}, was enrolling since {since}"),
            ),
            (
                json!({ "submit_failed": { "since": since, "why": "NOT_ELIGIBLE" } }),
                format!("submit failed since {since}, because NOT_ELIGIBLE"),
            ),
        ] {
            assert_eq!(stage(&state), told);
        }
    }
}
