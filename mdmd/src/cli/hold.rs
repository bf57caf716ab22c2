//! `mdmd hold list|release`: who waits for us, and letting one go.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, seconds_between, span, table};

/// For so long it is asked what a release means before it is done.
const LOOK: Duration = Duration::from_secs(3);

/// Devices that wait for us during their set-up.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Hold {
    /// List them, oldest first.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Let one go now, whatever is missing.
    Release {
        /// Its serial number.
        serial: String,
        /// Only say what that means: which steps are open, and which apps go with their data.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Hold) -> Done {
    match command {
        Hold::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/holds", "holds").await?;
            super::print(common, &answer, |answer| {
                let now = &answer["now"];
                let lines: Vec<Value> = answer["holds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|hold| line(hold, now))
                    .collect();
                table(
                    &Value::Array(lines),
                    &[
                        ("SERIAL", "serial"),
                        ("STATE", "state"),
                        ("HELD FOR", "held"),
                        ("LONGEST", "left"),
                        ("ATTENTION", "attention"),
                    ],
                );
            });
        }
        Hold::Release {
            serial,
            dry_run: true,
            place,
        } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .get(&format!("/api/v1/holds/{}", super::in_path(serial)))
                .await?;
            super::print(common, &answer, |answer| look(&answer["open"]));
        }
        Hold::Release { serial, place, .. } => {
            let client = Client::acting(common, place).await?;
            // Said before it is done; that it cannot be said, or not soon, keeps no device.
            let path = format!("/api/v1/holds/{}", super::in_path(serial));
            let looked = tokio::time::timeout(LOOK, client.get(&path)).await;
            let open = looked.ok().and_then(Result::ok);
            let path = format!("/api/v1/holds/{}/release", super::in_path(serial));
            let said = match open.as_ref().and_then(|it| it["open"]["sentence"].as_str()) {
                Some(sentence) => format!(
                    "the device leaves its set-up: {sentence}. What is missing becomes an exception."
                ),
                None => {
                    "the device leaves its set-up; what is missing becomes an exception.".to_owned()
                }
            };
            let answer = client.act(&path, &json!({}), &said).await?;
            super::print(common, &answer, |answer| {
                println!(
                    "{}; `mdmd device show {serial}` shows when the device has confirmed it",
                    done(&answer["release"])
                );
            });
        }
    }
    Ok(())
}

/// What letting it go means, for people.
fn look(open: &Value) {
    println!("{}", open["sentence"].as_str().unwrap_or_default());
    table(
        &open["going"],
        &[("APP", "bundle_id"), ("NAME", "name"), ("WHY", "why")],
    );
}

/// What was done, for people.
fn done(release: &Value) -> &str {
    match release.as_str() {
        Some("asked") => "asked",
        Some("under_way") => "it was asked before, and is woken once more",
        Some("late") => "no set-up of it is in a hold, but it said last that it waits: asked",
        _ => "done",
    }
}

/// A hold for people: how long it has waited, and how long it may still.
fn line(hold: &Value, now: &Value) -> Value {
    // States with data are objects with one key, the name.
    let name = |value: &Value| match value {
        Value::Object(map) => json!(map.keys().next()),
        other => other.clone(),
    };
    json!({
        "serial": hold["serial"],
        "state": name(&hold["state"]),
        "held": seconds_between(&hold["hold_began"], now).map(span),
        "left": seconds_between(now, &hold["ceiling_at"]).map(|s| format!("{} more", span(s.max(0)))),
        "attention": name(&hold["attention"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_that_has_just_begun_shows_seconds() {
        let hold = json!({
            "serial": "C02X",
            "state": { "holding": { "steps": {} } },
            "hold_began": "2026-12-10T17:00:00Z",
            "ceiling_at": "2026-12-10T17:45:00Z",
            "attention": null,
        });
        let line = line(&hold, &json!("2026-12-10T17:00:42.500Z"));
        assert_eq!(line["held"], "42s");
        assert_eq!(line["left"], "44m more");
        assert_eq!(line["state"], "holding");
    }
}
