//! `mdmd device lock|clear-lock|rotate-filevault`: Activation Locks, lifted with proof, and recovery keys that are changed.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Which lock is lifted, and why.
#[derive(clap::Args, Debug)]
pub(crate) struct ClearLock {
    /// Serial number of the device.
    serial: String,
    /// Why; the record has it.
    #[arg(long)]
    reason: String,
    /// Wait so many seconds until it is read as off; the work goes on at the server all the same.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    place: Where,
}

/// Which Mac makes another recovery key, and why.
#[derive(clap::Args, Debug)]
pub(crate) struct Rotate {
    /// Serial number of the Mac.
    serial: String,
    /// Why; the record has it.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    place: Where,
}

/// Has a lock lifted and waits for the proof.
pub(super) async fn clear(common: &Common, args: &ClearLock) -> Done {
    let client = Client::acting(common, &args.place).await?;
    let body = json!({ "serial": args.serial, "reason": args.reason });
    let said = "Apple lifts the lock: whoever has the device can set it up.";
    let answer = client
        .act("/api/v1/secrets/clear-lock", &body, said)
        .await?;
    if !answer["approval"].is_null() {
        super::print(common, &answer, |answer| {
            println!("waits as approval {}", cell(&answer["approval"]));
        });
        return super::approval::waits(&answer["approval"]);
    }
    let end = super::client::until(args.wait);
    let path = format!("/api/v1/devices/{}/lock", super::in_path(&args.serial));
    let lock = loop {
        let lock = client.get(&path).await?;
        if lock["settled"] == true || Instant::now() >= end {
            break lock;
        }
        tokio::time::sleep(LOOK).await;
    };
    super::print(common, &lock, show);
    verdict(&lock)
}

/// What is known of a lock.
pub(super) async fn look(common: &Common, place: &Where, serial: &str) -> Done {
    let client = Client::looking(common, place).await?;
    let path = format!("/api/v1/devices/{}/lock", super::in_path(serial));
    let lock = client.get(&path).await?;
    super::print(common, &lock, show);
    match lock["proof"].is_null() {
        true => Ok(()),
        false => verdict(&lock),
    }
}

fn show(lock: &Value) {
    println!("{}", cell(&lock["meaning"]));
    for (name, sight) in [
        ("at Apple", &lock["apple"]),
        ("by its own word", &lock["device"]),
    ] {
        if !sight.is_null() {
            println!(
                "{name:<16} {}, {}",
                cell(&sight["word"]),
                cell(&sight["at"])
            );
        }
    }
    for code in lock["clearing"]["tried"].as_array().into_iter().flatten() {
        let became = match &code["refused"] {
            Value::Null => "Apple took it".to_owned(),
            status => format!("Apple refused it ({})", cell(status)),
        };
        println!("{:<16} {became}", cell(&code["kind"]));
    }
}

/// Only what was read as off ends well.
fn verdict(lock: &Value) -> Done {
    let why = || anyhow!("{}", cell(&lock["meaning"]));
    let ended: Result<(), Ended> = match lock["proof"].as_str() {
        Some("off") => Ok(()),
        Some("still-on" | "refused") => Err(why()).means(Exit::Disagrees),
        _ => Err(why()).means(Exit::NeverEnded),
    };
    ended
}

/// Has a Mac make another recovery key.
pub(super) async fn rotate(common: &Common, args: &Rotate) -> Done {
    let client = Client::acting(common, &args.place).await?;
    let path = format!(
        "/api/v1/devices/{}/rotate-filevault",
        super::in_path(&args.serial)
    );
    let body = json!({ "reason": args.reason });
    let said = "the recovery key that is in force now opens nothing once it has answered.";
    let answer = client.act(&path, &body, said).await?;
    super::print(common, &answer, |answer| {
        let how = match answer["already"] == true {
            true => "waits already",
            false => "queued",
        };
        println!("{how} as {}", cell(&answer["uuid"]));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_that_was_read_as_off_ends_well() {
        for (proof, exit) in [
            (json!("off"), None),
            (json!("still-on"), Some(Exit::Disagrees)),
            (json!("refused"), Some(Exit::Disagrees)),
            (json!("asked"), Some(Exit::NeverEnded)),
            (json!("cleared-not-read"), Some(Exit::NeverEnded)),
            (json!(null), Some(Exit::NeverEnded)),
        ] {
            let lock = json!({ "proof": proof, "meaning": "x" });
            let ended = verdict(&lock).map_err(|ended| ended.exit).err();
            assert_eq!(ended, exit, "{proof}");
        }
    }
}
