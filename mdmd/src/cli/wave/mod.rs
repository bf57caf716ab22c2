//! `mdmd wave …`: waves of a project, made, filled, planned, looked at, accepted by name, submitted and steered.

mod notices;
mod plan;
mod shown;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::act::{self, Acceptance};
use super::client::{Client, Where, until};
use super::migration::moment;
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, cell, id_of};

pub(super) use notices::{Text, text};
pub(super) use shown::{COLUMNS, row};

/// Waves: devices that go together.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Wave {
    /// Make a wave of a project, without members.
    New {
        /// What people call it.
        name: String,
        /// The project, by its name or number.
        #[arg(long, value_name = "PROJECT")]
        project: String,
        /// What it is for; the later ones wait for the gates of those before them.
        #[arg(long, value_parser = ["pilot", "early", "main", "rest"])]
        preset: Option<String>,
        /// What its ADE profile says, if not what the organisation's says: JSON as `mdmd assignment ade-profile` takes it.
        #[arg(long, value_name = "FILE")]
        ade_profile: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Give a wave an ADE profile of its own, or take it back. What was accepted of the wave is void.
    Set {
        /// The wave, by its name or number.
        wave: String,
        /// What it says: JSON as `mdmd assignment ade-profile` takes it.
        #[arg(long, value_name = "FILE", required_unless_present = "no_ade_profile")]
        ade_profile: Option<PathBuf>,
        /// Have it get what the organisation's says.
        #[arg(long, conflicts_with = "ade_profile")]
        no_ade_profile: bool,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// What owners of its devices are told, as CSV for a mail merge.
    Notices(notices::Notices),
    /// Its deadlines as a calendar (iCalendar).
    Calendar(notices::Notices),
    /// Put devices into a wave, by serial number or by what they have in common.
    Add(Box<plan::Add>),
    /// Take devices out before anything of them is at Apple.
    Remove {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        devices: Serials,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Move members that are not submitted to another wave.
    Move {
        /// The wave, by its name or number.
        wave: String,
        /// The other one.
        #[arg(long, value_name = "WAVE")]
        to: String,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Spread members over deadlines, in the office hours of their owners; or give them one.
    Plan(Box<plan::Plan>),
    /// Say that something was done for members at the service that they leave.
    Met {
        /// The wave, by its name or number.
        wave: String,
        /// One of the project's prerequisites.
        #[arg(long, value_name = "NAME")]
        prerequisite: String,
        /// What shows it.
        #[arg(long, value_name = "SENTENCE", required_unless_present = "not")]
        evidence: Option<String>,
        /// Take that word back, and why; goes into the record.
        #[arg(long, value_name = "WHY", conflicts_with = "evidence")]
        not: Option<String>,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Say that the service that members left does not list them any more: `report clean-up` names them.
    Cleaned {
        /// The wave, by its name or number.
        wave: String,
        /// What shows it.
        #[arg(long, value_name = "SENTENCE", required_unless_present = "not")]
        evidence: Option<String>,
        /// Take that word back, and why; goes into the record.
        #[arg(long, value_name = "WHY", conflicts_with = "evidence")]
        not: Option<String>,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Have the what-if run: what stands for and against each member, what has changed since, what would be sent.
    Whatif {
        /// The wave, by its name or number.
        wave: String,
        /// The requests as they would be sent, too.
        #[arg(long)]
        requests: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Accept what the what-if found, in your name; void when anything of it changes.
    Accept {
        /// The wave, by its name or number.
        wave: String,
        /// The digest that `wave whatif` shows.
        #[arg(long, value_name = "DIGEST")]
        digest: String,
        /// A finding that is no reason to stay behind: of all members, or of one with CHECK@SERIAL.
        #[arg(long, value_name = "CHECK[@SERIAL]=WHY")]
        waive: Vec<String>,
        /// Why it is accepted; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Submit what was accepted; shows the exact requests first, and waits for the proof.
    Submit {
        /// The wave, by its name or number.
        wave: String,
        /// The name of the wave, typed once more: without it the requests are shown and nothing is sent (exit 3).
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// Wait so many seconds for the proof; the work goes on at the server all the same.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// How a wave stands: where its members are, its gate, its drift, how it goes on.
    Status {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        place: Where,
    },
    /// Give every member that is at Apple more time.
    Extend {
        /// The wave, by its name or number.
        wave: String,
        /// The later deadline.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Propose later deadlines for what has not begun: with the reason, and never an earlier one. Changes nothing.
    Later {
        /// The wave, by its name or number.
        wave: String,
        /// Write a list of devices for each proposed deadline into this new directory, for `mdmd migration extend --csv`.
        #[arg(long, value_name = "DIRECTORY")]
        lists: Option<std::path::PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Take time away from members of a wave: takes a list of them and a reason.
    Force {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        devices: Serials,
        /// The earlier deadline; it may have passed.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Take every member out that is not at Apple.
    Withdraw {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Call every member back that has not begun, and prove the return to the original service.
    Cancel {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Whether the waves after this one may go; exit 3 when they may not.
    Gate {
        /// The wave, by its name or number.
        wave: String,
        /// Sign that they may: takes a reason.
        #[arg(long, value_name = "REASON")]
        sign: Option<String>,
        /// With `--sign`: open the gate though the wave does not stand as was wanted. The record says what stood against it.
        #[arg(long, requires = "sign")]
        despite: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Offer no more of its devices their migration. Those that were offered it go on.
    Pause {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
    /// Go on with the offers of a paused wave.
    Resume {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
}

/// A wave that is named or numbered, by its path in the API, with its row.
struct Found {
    number: i64,
    path: String,
    name: String,
}

async fn find(client: &Client, named: &str) -> Result<Found, Ended> {
    let all = client.pages("/api/v1/waves", "waves").await?;
    let rows: Vec<&Value> = all["waves"].as_array().into_iter().flatten().collect();
    let number: Option<i64> = named.parse().ok();
    let by_number = |row: &&&Value| number.is_some() && id_of(&row["id"]) == number;
    // Of those of one name the one that is open: a closed wave may have been called the same.
    let open = |row: &&&Value| row["name"] == named && !row["state"].is_object_with("closed");
    let any = |row: &&&Value| row["name"] == named;
    let row = rows
        .iter()
        .find(by_number)
        .or_else(|| rows.iter().find(open))
        .or_else(|| rows.iter().rfind(any))
        .with_context(|| format!("there is no wave called {named}: `mdmd wave list`"))
        .means(Exit::Precondition)?;
    let number = id_of(&row["id"]).unwrap_or_default();
    Ok(Found {
        number,
        path: format!("/api/v1/waves/{number}"),
        name: cell(&row["name"]),
    })
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

/// The number of a wave that is named or numbered.
pub(super) async fn number(client: &Client, named: &str) -> Result<i64, Ended> {
    find(client, named).await.map(|found| found.number)
}

/// Whether a value is an object with this key.
trait IsObjectWith {
    fn is_object_with(&self, key: &str) -> bool;
}

impl IsObjectWith for Value {
    fn is_object_with(&self, key: &str) -> bool {
        self.as_object()
            .is_some_and(|object| object.contains_key(key))
    }
}

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
            let project = super::project::number(&client, project).await?;
            let body = json!({ "project": project, "name": name, "preset": preset, "ade": ade });
            let said = "a draft: nothing is asked of anybody before it is submitted.";
            let made = client.act("/api/v1/waves", &body, said).await?;
            super::print(common, &made, |made| {
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
            super::print(common, &answer, |answer| match &answer["ade"] {
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
            super::print(common, &all, shown::list);
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
            let body = json!({ "serials": devices.some()?, "reason": reason.as_deref().unwrap_or_default() });
            let said =
                "these members leave the wave; one whose migration is at Apple already is refused.";
            change(
                common,
                place,
                wave,
                "members/remove",
                &body,
                "removed",
                said,
            )
            .await
        }
        Wave::Withdraw {
            wave,
            reason,
            place,
        } => {
            let body = json!({ "all": true, "reason": reason.as_deref().unwrap_or_default() });
            let said = "every member of which nothing was submitted leaves the wave for good; the others stay.";
            change(
                common,
                place,
                wave,
                "members/remove",
                &body,
                "removed",
                said,
            )
            .await
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
            let body = json!({ "to": to, "serials": serials });
            let said = "these members go with the other wave; what was accepted of both is void.";
            change(common, place, wave, "members/move", &body, "moved", said).await
        }
        Wave::Met {
            wave,
            prerequisite,
            evidence,
            not,
            devices,
            place,
        } => {
            let serials = devices.any()?;
            let body = json!({
                "name": prerequisite, "evidence": evidence, "not": not, "all": serials.is_empty(), "serials": serials,
            });
            let what = match not {
                Some(_) => "taken_back",
                None => "met",
            };
            let said = match not {
                Some(_) => {
                    "what was said to be met counts as not met again, and keeps these devices back."
                }
                None => {
                    "what was to be done at the original service counts as done for these devices."
                }
            };
            change(common, place, wave, "prerequisites", &body, what, said).await
        }
        Wave::Cleaned {
            wave,
            evidence,
            not,
            devices,
            place,
        } => {
            let serials = devices.any()?;
            let body = json!({
                "evidence": evidence, "not": not, "all": serials.is_empty(), "serials": serials,
            });
            let said = match not {
                Some(_) => "these devices are on the list for the original service again.",
                None => {
                    "these devices leave the list of what the original service still has to clean up."
                }
            };
            change(common, place, wave, "clean-up", &body, "cleaned", said).await
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
            super::print(common, &what_if, |w| shown::what_if(w, *requests));
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
            super::print(common, &accepted, |accepted| {
                println!(
                    "accepted by {}: {} devices would be submitted, {} stay behind",
                    cell(&accepted["acceptance"]["by"]),
                    cell(&accepted["going"]),
                    cell(&accepted["staying"])
                );
                println!(
                    "`mdmd wave submit {} --confirm {}` does it",
                    found.name, found.name
                );
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
            super::print(common, &standing, shown::standing);
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

/// Changes something of a wave's members, after saying what that means, and says of how many.
async fn change(
    common: &Common,
    place: &Where,
    wave: &str,
    path: &str,
    body: &Value,
    what: &str,
    said: &str,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let path = format!("{}/{path}", found.path);
    let answer = client.act(&path, body, said).await?;
    super::print(common, &answer, |answer| {
        println!("{} {}", what.replace('_', " "), cell(&answer[what]))
    });
    Ok(())
}

async fn later(common: &Common, place: &Where, wave: &str, lists: Option<&Path>) -> Done {
    let client = Client::looking(common, place).await?;
    let found = find(&client, wave).await?;
    let mut answer = client.get(&format!("{}/later", found.path)).await?;
    if let Some(directory) = lists {
        std::fs::create_dir(directory)
            .with_context(|| format!("--lists {}", directory.display()))
            .means(Exit::Precondition)?;
        for (n, group) in (1..).zip(answer["proposals"].as_array_mut().into_iter().flatten()) {
            let serials = group["serials"].as_array().into_iter().flatten();
            let rows: String = serials
                .filter_map(Value::as_str)
                .map(|s| format!("{s}\n"))
                .collect();
            let file = directory.join(format!("{n}.csv"));
            std::fs::write(&file, format!("serial\n{rows}"))
                .with_context(|| file.display().to_string())
                .means(Exit::Precondition)?;
            group["list"] = json!(file);
        }
    }
    super::print(common, &answer, |answer| {
        let rows = answer["proposals"].as_array().into_iter().flatten().map(|group| {
            let count = group["serials"].as_array().map_or(0, Vec::len);
            let deadline = match &group["deadline"] {
                Value::Null => json!("no room"),
                deadline => deadline.clone(),
            };
            json!({ "deadline": deadline, "why": group["why"], "devices": count, "list": group["list"] })
        });
        let columns = [
            ("DEADLINE", "deadline"),
            ("WHY", "why"),
            ("DEVICES", "devices"),
            ("LIST", "list"),
        ];
        super::table(&rows.collect(), &columns);
    });
    Ok(())
}

/// `CHECK=WHY` or `CHECK@SERIAL=WHY`, as the API takes it.
fn waiver(text: &str) -> Result<Value, Ended> {
    let (what, why) = text
        .split_once('=')
        .ok_or_else(|| anyhow!("--waive {text}: must be CHECK=WHY or CHECK@SERIAL=WHY"))
        .means(Exit::BadInput)?;
    Ok(match what.split_once('@') {
        Some((check, serial)) => json!({ "check": check, "serials": [serial], "reason": why }),
        None => json!({ "check": what, "reason": why }),
    })
}

async fn submit(
    common: &Common,
    place: &Where,
    wave: &str,
    confirm: Option<&str>,
    wait: u64,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let what_if = client
        .post(&format!("{}/what-if", found.path), &json!({}))
        .await?;
    shown::requests(&what_if, &mut std::io::stderr());
    let accepted = &what_if["accepted"];
    let Some(name) = confirm.filter(|_| !accepted.is_null()) else {
        super::print(common, &what_if, |w| shown::what_if(w, false));
        let why = match accepted.is_null() {
            true => anyhow!(
                "nothing was sent: nobody has accepted this; `mdmd wave accept {} --digest {}` does",
                found.name,
                cell(&what_if["digest"])
            ),
            false => anyhow!("nothing was sent; --confirm with the name of the wave submits it"),
        };
        return Err(why).means(Exit::Precondition);
    };
    if shown::nobody_goes(&what_if) {
        super::print(common, &what_if, |w| shown::what_if(w, false));
        let why = anyhow!("nothing was sent, and nothing would be: every member stays behind");
        return Err(why).means(Exit::Precondition);
    }
    eprintln!(
        "From their offers on the users of these devices are asked to move; at their deadlines Apple enforces it. Accepted by {} at {}.",
        cell(&accepted["by"]),
        cell(&accepted["at"])
    );
    let end = until(wait);
    let body = json!({ "name": name });
    let done = client
        .post(&format!("{}/submission", found.path), &body)
        .await?;
    act::prove(common, &client, done, end).await
}

async fn gate(
    common: &Common,
    place: &Where,
    wave: &str,
    sign: Option<&str>,
    despite: bool,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let standing = match sign {
        Some(reason) => {
            let said = match despite {
                true => {
                    "the waves after this one may go, though this one does not stand as was wanted."
                }
                false => {
                    "the waves after this one may go, as long as this one stands as is wanted."
                }
            };
            let path = format!("{}/gate", found.path);
            client
                .act(
                    &path,
                    &json!({ "reason": reason, "despite": despite }),
                    said,
                )
                .await?
        }
        None => client.get(&format!("{}/standing", found.path)).await?,
    };
    super::print(common, &standing["gate"], shown::gate);
    // A wave of no project has none: nothing waits for it.
    let against = standing["gate"]["against"].as_array();
    if against.is_some_and(|all| !all.is_empty()) {
        return Err(anyhow!("the waves after this one may not go yet")).means(Exit::Precondition);
    }
    Ok(())
}

async fn pause(common: &Common, place: &Where, wave: &str, paused: bool, reason: &str) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let body = json!({ "paused": paused, "reason": reason });
    let said = match paused {
        true => "no more members are offered their migration until it is resumed; those that were offered it go on.".to_owned(),
        false => {
            let standing = client.get(&format!("{}/standing", found.path)).await?;
            let was = &standing["wave"]["paused"];
            match was.is_null() {
                true => "it is not paused.".to_owned(),
                false => format!(
                    "its members that wait ({}) are offered their migration from now on; {} had paused it: {}.",
                    cell(&standing["tally"]["scheduled"]),
                    cell(&was["by"]),
                    cell(&was["why"])
                ),
            }
        }
    };
    let path = format!("{}/pause", found.path);
    let standing = client.act(&path, &body, &said).await?;
    super::print(common, &standing, shown::standing);
    Ok(())
}
