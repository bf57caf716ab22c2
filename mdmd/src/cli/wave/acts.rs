//! What each `mdmd wave` command asks for, and what it says of the answer.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use mdm_core::shell;
use serde_json::{Value, json};

use super::super::act;
use super::super::client::Client;
use super::super::migration::moment;
use super::super::{Common, Done, Ended, Exit, Means as _, cell, many};
use super::changes::{Change, word};
use super::steered::{gate, later, pause};
use super::submitted::{submit, waiver};
use super::{Wave, find, notices, plan, shown};

pub(crate) async fn run(common: &Common, command: &Wave) -> Done {
    match command {
        Wave::New {
            name,
            project,
            preset,
            ade_profile,
            place,
        } => {
            let ade = ade_profile.as_deref().map(options).transpose()?;
            let client = Client::acting(common, place).await?;
            let project = super::super::project::number(&client, project).await?;
            let body = json!({ "project": project, "name": name, "preset": preset, "ade": ade });
            let said = "a draft: nothing is asked of anybody before it is submitted.";
            let made = client.act("/api/v1/waves", &body, said).await?;
            super::super::print(common, &made, |made| {
                println!("wave {} is {}", cell(&made["id"]), cell(&made["name"]));
            });
            Ok(())
        }
        Wave::Set {
            wave,
            ade_profile,
            no_ade_profile: _,
            place,
        } => {
            let options = ade_profile.as_deref().map(options).transpose()?;
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let said = match options {
                Some(_) => {
                    "its own ADE profile is defined at Apple and read back; its devices get it at their next assignment."
                }
                None => "its devices get the organisation's ADE profile at their next assignment.",
            };
            let path = format!("{}/ade-profile", found.path);
            let answer = client
                .act(&path, &json!({ "options": options }), said)
                .await?;
            super::super::print(common, &answer, |answer| match &answer["ade"] {
                Value::Null => println!(
                    "{} gets the organisation's ADE profile",
                    cell(&answer["name"])
                ),
                own => println!("{} has its own ADE profile: {own}", cell(&answer["name"])),
            });
            Ok(())
        }
        Wave::List { place } => {
            let client = Client::looking(common, place).await?;
            let all = client.pages("/api/v1/waves", "waves").await?;
            super::super::print(common, &all, shown::list);
            Ok(())
        }
        Wave::Add(add) => plan::add(common, add).await,
        Wave::Plan(how) => plan::run(common, how).await,
        Wave::Remove {
            wave,
            devices,
            reason,
            place,
        } => {
            let who = json!({ "serials": devices.some()? });
            let means =
                "these members leave the wave; one whose migration is at Apple already is refused.";
            let change = Change::leaving(who, reason.as_deref(), means);
            change.ask(common, place, wave).await
        }
        Wave::Withdraw {
            wave,
            reason,
            place,
        } => {
            let means = "every member of which nothing was submitted leaves the wave for good; the others stay. A draft is closed with that.";
            let change = Change::leaving(json!({ "all": true }), reason.as_deref(), means);
            change.ask(common, place, wave).await
        }
        Wave::Move {
            wave,
            to,
            devices,
            place,
        } => {
            let serials = devices.some()?;
            let client = Client::acting(common, place).await?;
            let to = find(&client, to).await?.number;
            let change = Change {
                path: "members/move",
                body: json!({ "to": to, "serials": serials }),
                counted: "moved",
                means: "these members go with the other wave; what was accepted of both is void.",
                nobody: "",
            };
            change.ask(common, place, wave).await
        }
        Wave::Met {
            wave,
            prerequisite,
            evidence,
            not,
            devices,
            place,
        } => {
            let mut body = word(devices, evidence.as_deref(), not.as_deref())?;
            body["name"] = json!(prerequisite);
            let (counted, means) = match not {
                Some(_) => (
                    "taken_back",
                    "what was said to be met counts as not met again, and keeps these devices back.",
                ),
                None => (
                    "met",
                    "what was to be done at the original service counts as done for these devices.",
                ),
            };
            let change = Change {
                path: "prerequisites",
                body,
                counted,
                means,
                nobody: "",
            };
            change.ask(common, place, wave).await
        }
        Wave::Cleaned {
            wave,
            evidence,
            not,
            devices,
            place,
        } => {
            let (means, nobody) = match not {
                Some(_) => (
                    "these devices are on the list for the original service again.",
                    "of none of them it was said, so there is nothing to take back",
                ),
                None => (
                    "these devices leave the list of what the original service still has to clean up.",
                    "of all of them it was said already",
                ),
            };
            let change = Change {
                path: "clean-up",
                body: word(devices, evidence.as_deref(), not.as_deref())?,
                counted: "cleaned",
                means,
                nobody,
            };
            change.ask(common, place, wave).await
        }
        Wave::Whatif {
            wave,
            requests,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let what_if = client
                .post(&format!("{}/what-if", found.path), &json!({}))
                .await?;
            super::super::print(common, &what_if, |w| shown::what_if(w, *requests));
            shown::verdict(&what_if)
        }
        Wave::Accept {
            wave,
            digest,
            waive,
            reason,
            place,
        } => {
            let waivers: Result<Vec<Value>, Ended> = waive.iter().map(|w| waiver(w)).collect();
            let reason = reason.as_deref().unwrap_or_default();
            let body = json!({ "digest": digest, "waivers": waivers?, "reason": reason });
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let said = "whoever submits the wave may do exactly what was shown under this digest; any change voids it.";
            let path = format!("{}/acceptance", found.path);
            let accepted = client.act(&path, &body, said).await?;
            super::super::print(common, &accepted, |accepted| {
                println!(
                    "accepted by {}: {} would be submitted, {} stay behind",
                    cell(&accepted["acceptance"]["by"]),
                    many(&accepted["going"], "device"),
                    cell(&accepted["staying"])
                );
                let name = shell::word(&found.name);
                match accepted["going"].as_u64() {
                    Some(0) => println!(
                        "every member stays behind, so there is nothing to submit: `mdmd wave whatif {name}` says what keeps each; mend that, or \
                         accept it with --waive, where somebody may"
                    ),
                    _ => println!("`mdmd wave submit {name} --confirm {name}` does it"),
                }
            });
            Ok(())
        }
        Wave::Submit {
            wave,
            confirm,
            wait,
            place,
        } => submit(common, place, wave, confirm.as_deref(), *wait).await,
        Wave::Notices(asked) => notices::notices(common, asked).await,
        Wave::Calendar(asked) => notices::calendar(common, asked).await,
        Wave::Status { wave, place } => {
            let client = Client::looking(common, place).await?;
            let found = find(&client, wave).await?;
            let mut standing = client.get(&format!("{}/standing", found.path)).await?;
            standing["failures"] = client
                .get(&format!("{}/failures?limit=20", found.path))
                .await?;
            super::super::print(common, &standing, shown::standing);
            Ok(())
        }
        Wave::Extend {
            wave,
            deadline,
            acceptance,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let deadline = moment("--deadline", deadline)?;
            let body = json!({ "act": "extend", "wave": found.number, "deadline": deadline });
            act::run(common, &client, "/api/v1/migrations", body, acceptance).await
        }
        Wave::Later { wave, lists, place } => later(common, place, wave, lists.as_deref()).await,
        Wave::Force {
            wave,
            devices,
            deadline,
            reason,
            acceptance,
            place,
        } => {
            let serials = devices.some()?;
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let path = format!("{}/members", found.path);
            let members = client.pages(&path, "members").await?;
            let is_member = |serial: &mdm_core::ids::Serial| {
                let mut all = members["members"].as_array().into_iter().flatten();
                all.any(|m| m["serial"] == serial.as_str())
            };
            if let Some(stranger) = serials.iter().find(|s| !is_member(s)) {
                let why = anyhow!("{stranger}: is not in the wave {}", found.name);
                return Err(why).means(Exit::BadInput);
            }
            let body = json!({
                "act": "force", "serials": serials, "deadline": moment("--deadline", deadline)?, "reason": reason,
            });
            act::run(common, &client, "/api/v1/migrations", body, acceptance).await
        }
        Wave::Cancel {
            wave,
            acceptance,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let found = find(&client, wave).await?;
            let body = json!({ "act": "cancel", "wave": found.number });
            act::run(common, &client, "/api/v1/migrations", body, acceptance).await
        }
        Wave::Gate {
            wave,
            sign,
            despite,
            place,
        } => gate(common, place, wave, sign.as_deref(), *despite).await,
        Wave::Pause {
            wave,
            reason,
            place,
        } => pause(common, place, wave, true, reason).await,
        Wave::Resume {
            wave,
            reason,
            place,
        } => pause(common, place, wave, false, reason).await,
    }
}

/// What an ADE profile is to say, from a file.
fn options(file: &Path) -> Result<Value, Ended> {
    let name = || file.display().to_string();
    let text = std::fs::read(file)
        .with_context(name)
        .means(Exit::BadInput)?;
    serde_json::from_slice(&text)
        .with_context(name)
        .means(Exit::BadInput)
}
