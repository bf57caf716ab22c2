//! `mdmd approval list|confirm|decline|always|when-many` and `mdmd device secrets|reveal`: what takes two persons.

use std::path::PathBuf;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Exit, Means as _, act, cell, table};

/// What takes two persons: asked for by one, confirmed by another.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Approval {
    /// What waits for a second person, or was confirmed and is not used yet.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Confirm what somebody else has asked for: an act is done at once, as it was planned; a secret is then theirs to look at.
    Confirm {
        /// Its number in `approval list`.
        number: i64,
        /// Wait so many seconds for the proof of an act; the work goes on at the server all the same.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// Refuse it, or take back what you asked for yourself.
    Decline {
        /// Its number in `approval list`.
        number: i64,
        #[command(flatten)]
        place: Where,
    },
    /// Every reveal of a secret, every cancellation and every attempt that is given up takes two persons from now on.
    Always {
        #[command(flatten)]
        place: Where,
    },
    /// Only many of them do. That takes two persons itself where it was always so.
    WhenMany {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Approval) -> Done {
    match command {
        Approval::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/approvals", "approvals").await?;
            super::print(common, &answer, |answer| {
                let rows = answer["approvals"].as_array().into_iter().flatten();
                table(
                    &rows.map(line).collect(),
                    &[
                        ("NUMBER", "id"),
                        ("WHAT", "what"),
                        ("ASKED BY", "by"),
                        ("UNTIL", "over"),
                        ("STATE", "state"),
                        ("WHY", "reason"),
                    ],
                );
            });
            Ok(())
        }
        Approval::Confirm {
            number,
            wait,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/approvals/{number}/confirm");
            let said = "what somebody else has asked for is done.";
            let mut answer = client.act(&path, &json!({}), said).await?;
            let done = answer["done"].take();
            if done.is_null() {
                super::print(common, &answer, |answer| {
                    println!("confirmed: {}", cell(&line(&answer["approval"])["what"]));
                });
                return Ok(());
            }
            act::prove(common, &client, done, super::client::until(*wait)).await
        }
        Approval::Decline { number, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/approvals/{number}/decline");
            let said = "nothing of it is done.";
            let answer = client.act(&path, &json!({}), said).await?;
            super::print(common, &answer, |answer| {
                println!("declined: {}", cell(&line(&answer["approval"])["what"]));
            });
            Ok(())
        }
        Approval::Always { place } => demand(common, place, true).await,
        Approval::WhenMany { place } => demand(common, place, false).await,
    }
}

async fn demand(common: &Common, place: &Where, always: bool) -> Done {
    let client = Client::acting(common, place).await?;
    let said = match always {
        true => "nobody looks at a secret, cancels a migration or gives one up alone any more.",
        false => "one person may look at a few secrets, and cancel a few migrations, alone.",
    };
    let body = json!({ "always": always });
    let answer = client.act("/api/v1/two-persons", &body, said).await?;
    super::print(common, &answer, |answer| {
        println!("two persons always  {}", cell(&answer["always"]));
    });
    waits(&answer["approval"])
}

/// Exit 3 where another person must confirm first.
pub(super) fn waits(approval: &Value) -> Done {
    if approval.is_null() {
        return Ok(());
    }
    let number = cell(approval);
    let why = anyhow!(
        "nothing was done: another person must confirm it, with `mdmd approval confirm {number}`"
    );
    Err(why).means(Exit::Precondition)
}

/// One of them for people.
fn line(row: &Value) -> Value {
    let wanted = &row["wanted"];
    let devices = wanted["serials"].as_array().map_or(0, Vec::len);
    let what = match wanted["act"].as_str() {
        Some("force") => format!(
            "deadline of {} earlier, {}",
            counted(devices, "device"),
            cell(&wanted["deadline"])
        ),
        Some("cancel") => format!("cancel {}", counted(devices, "device")),
        Some("return") => format!("return {}", counted(devices, "device")),
        Some("reveal") => format!("{} of {}", cell(&wanted["kind"]), cell(&wanted["serial"])),
        Some("clear-lock") => format!("lift the lock of {}", cell(&wanted["serial"])),
        Some("give-up") => format!("give up {}", cell(&wanted["serial"])),
        Some("hand-over") => format!(
            "to {}: everything that is known of devices that move away, keys included",
            cell(&wanted["url"])
        ),
        Some("export") if devices == 0 => "export every device, keys included".to_owned(),
        Some("export") => format!("export {}, keys included", counted(devices, "device")),
        Some("alone") => "two persons only for many".to_owned(),
        _ => cell(&wanted["act"]),
    };
    json!({
        "id": row["id"], "what": what, "by": row["by"], "over": row["over"], "reason": row["reason"],
        "state": row["state"]["state"],
    })
}

/// Which secrets of a device are kept.
pub(super) async fn kept(common: &Common, place: &Where, serial: &str) -> Done {
    let client = Client::looking(common, place).await?;
    let path = format!("/api/v1/devices/{}/secrets", super::in_path(serial));
    let answer = client.get(&path).await?;
    super::print(common, &answer, |answer| {
        table(
            &answer["secrets"],
            &[
                ("KIND", "kind"),
                ("SINCE", "created"),
                ("REPLACED", "replaced"),
                ("USED", "used"),
                ("CONFIRMED", "confirmed"),
                ("CAN BE SHOWN", "shown_on_demand"),
            ],
        );
    });
    Ok(())
}

/// Which secret, why, and where it goes.
#[derive(clap::Args, Debug)]
pub(crate) struct Reveal {
    /// Serial number of the device.
    serial: String,
    /// recovery_key, device_bypass_code, server_bypass_code, recovery_lock_password or firmware_password.
    kind: String,
    /// Why; the record has it.
    #[arg(long)]
    reason: String,
    /// What another person has confirmed, where one had to.
    #[arg(long, value_name = "NUMBER")]
    approval: Option<i64>,
    /// Write it to this new file (mode 0600) instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// Shows a secret of a device.
pub(super) async fn reveal(common: &Common, args: &Reveal) -> Done {
    let client = Client::acting(common, &args.place).await?;
    let body = json!({
        "serial": args.serial, "kind": args.kind, "reason": args.reason, "approval": args.approval,
    });
    let out = NewFile::maybe(args.out.as_deref(), 0o600)?;
    let said = "the record has who saw it, and why.";
    let mut answer = client.act("/api/v1/secrets/reveal", &body, said).await?;
    if !answer["approval"].is_null() {
        super::print(common, &answer, |answer| {
            println!("then again with --approval {}", cell(&answer["approval"]));
        });
        return waits(&answer["approval"]);
    }
    if let Some(out) = out {
        answer["file"] = json!(out.path());
        let secret = answer["secret"].take();
        out.fill(secret.as_str().unwrap_or_default().as_bytes())?;
    }
    super::print(common, &answer, |answer| {
        if answer["secret"].is_null() {
            println!("written to {}", cell(&answer["file"]));
        } else {
            println!("{}", cell(&answer["secret"]));
        }
    });
    Ok(())
}
