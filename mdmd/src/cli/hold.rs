//! `mdmd hold list|release`: who waits for us, and letting one go.

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, seconds_between, span, table};

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
        Hold::Release { serial, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/holds/{serial}/release");
            let said = "the device leaves its set-up; what is missing becomes an exception.";
            let answer = client.act(&path, &json!({}), said).await?;
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
