//! `mdmd organisation new|list|remove|removed|enrolment|recovery-keys|user`: organisations, what their enrolments demand, and users who
//! log in at Macs.

use std::path::PathBuf;

use anyhow::anyhow;
use mdm_core::counted::counted;
use mdm_core::ids::OrganisationCode;
use serde_json::{Map, Value, json};

use super::client::{Client, Where};
use super::migration::is_standard;
use super::{Common, Done, Exit, Means as _, cell, many, secret_file, table};

/// Organisations of this installation.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Organisation {
    /// Make one; shows its first administrator token, once.
    New {
        /// What people call it.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Take one away, on the machine itself: nobody finds it from then on, and every row of it is deleted. Take along first what is to be
    /// kept (`mdmd report evidence`, `mdmd backup`).
    Remove {
        /// Its code in `organisation list`.
        code: String,
        /// The code, typed once more: without it nothing is done (exit 3).
        #[arg(long, value_name = "CODE")]
        confirm: Option<String>,
        /// Why: it stands in the list of those that were taken away.
        #[arg(long)]
        reason: String,
        /// So many devices stay enrolled that were not heard of for a day.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        leave_behind: u64,
        /// Who does it: the name stands in the list, beside the local administrator.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// List those that were taken away, on the machine itself: who did it and why, and how far their rows have gone.
    Removed {
        #[command(flatten)]
        place: Where,
    },
    /// Addresses that did not get through the TLS handshake, newest first, where several organisations are served: nobody can say whose
    /// they were. With one organisation `mdmd report unheard` has them.
    Handshakes {
        /// So many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        place: Where,
    },
    /// Show what enrolments demand, or change it.
    Enrolment {
        /// The oldest system that may enrol: ios=26.4, ipados=26.4 or macos=26.4; all that are named replace all that were, and `none` takes
        /// all of them away.
        #[arg(long, value_name = "PLATFORM=VERSION")]
        minimum_os: Vec<String>,
        /// What network users meet who log in at a Mac.
        #[arg(long, value_parser = ["unmanaged", "open", "digest"])]
        user_logins: Option<String>,
        /// After how many hours a device is asked anew what it is, at most 8760 (a year); 0 is never.
        #[arg(long, value_name = "HOURS")]
        facts_hours: Option<u32>,
        /// The kept runbook for devices that come by a migration which nobody planned here: ios=NAME, or ios=standard (`none`
        /// says the same).
        #[arg(long, value_name = "PLATFORM=NAME")]
        unplanned: Vec<String>,
        /// A Wi-Fi network that enrolment profiles bring along, so that no device is cut off when another service's go.
        #[arg(long, value_name = "NAME")]
        wifi: Option<String>,
        /// Its password, in this file or `-`; without one it is an open network.
        #[arg(long, value_name = "FILE", requires = "wifi")]
        wifi_password: Option<PathBuf>,
        /// It does not tell its name.
        #[arg(long, requires = "wifi")]
        wifi_hidden: bool,
        /// Profiles bring no network any more.
        #[arg(long, conflicts_with = "wifi")]
        no_wifi: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Show after how many minutes a recovery key that somebody has seen is changed, or change that.
    RecoveryKeys {
        /// After so many minutes, at most a week.
        #[arg(long, value_name = "MINUTES")]
        rotate_revealed: Option<u32>,
        /// It is not changed.
        #[arg(long, conflicts_with = "rotate_revealed")]
        keep_revealed: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Show what an unknown counts as in the what-if, check by check, and how long people have until a deadline, or change it.
    WhatIf {
        /// People have at least so many hours until a deadline; less than that takes `mdmd migration force`.
        #[arg(long, value_name = "HOURS")]
        notice: Option<u32>,
        /// A check and what it counts as when nobody has told its fact: CHECK=warn, CHECK=block, or CHECK=default.
        #[arg(long, value_name = "CHECK=ANSWER")]
        unknown: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Let a network user log in at Macs, where logins are by digest.
    User {
        /// The short name.
        name: String,
        /// The password, in this file or `-`. Only the key of its digest is kept, sealed.
        #[arg(long, value_name = "FILE", required_unless_present = "remove")]
        password: Option<PathBuf>,
        /// Take the user away.
        #[arg(long, conflicts_with = "password")]
        remove: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Organisation) -> Done {
    match command {
        Organisation::New { name, place } => {
            let client = Client::acting(common, place).await?;
            let said = "an organisation with keys and authorities of its own; its administrator token is shown once.";
            let body = json!({ "name": name });
            let made = client.act("/api/v1/organisations", &body, said).await?;
            super::print(common, &made, |made| {
                println!(
                    "organisation         {} ({})",
                    text(&made["name"]),
                    text(&made["code"])
                );
                println!(
                    "administrator token  {}",
                    text(&made["administrator_token"])
                );
                println!("                     shown this once; only its hash is kept");
            });
        }
        Organisation::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .pages("/api/v1/organisations", "organisations")
                .await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["organisations"],
                    &[
                        ("CODE", "code"),
                        ("NAME", "name"),
                        ("SERVERS", "servers"),
                        ("PUSH UNTIL", "push_until"),
                    ],
                );
            });
        }
        Organisation::Remove {
            code,
            confirm,
            reason,
            leave_behind,
            by,
            place,
        } => {
            let mut body =
                json!({ "confirm": confirm, "reason": reason, "leave_behind": leave_behind });
            if let Some(by) = by {
                body["by"] = json!(by);
            }
            return remove(common, code, confirm.as_deref(), &body, place).await;
        }
        Organisation::Removed { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .pages("/api/v1/organisations/removed", "removed")
                .await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["removed"],
                    &[
                        ("CODE", "code"),
                        ("NAME", "name"),
                        ("SINCE", "begun"),
                        ("BY", "by"),
                        ("REASON", "reason"),
                        ("LEFT BEHIND", "left_behind"),
                        ("ROWS GONE", "rows"),
                        ("OVER", "finished"),
                    ],
                );
            });
        }
        Organisation::Handshakes { limit, place } => {
            let client = Client::looking(common, place).await?;
            let path = format!("/api/v1/handshakes?limit={limit}");
            let answer = client.get(&path).await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["handshakes"],
                    &[("AT", "at"), ("ADDRESS", "address"), ("WHY", "reason")],
                );
            });
        }
        Organisation::Enrolment {
            minimum_os,
            user_logins,
            facts_hours,
            unplanned,
            wifi,
            wifi_password,
            wifi_hidden,
            no_wifi,
            place,
        } => {
            let mut change = Map::new();
            if *no_wifi {
                change.insert("wifi".to_owned(), json!(""));
            }
            if let Some(wifi) = wifi {
                change.insert("wifi".to_owned(), json!(wifi));
                change.insert("wifi_hidden".to_owned(), json!(wifi_hidden));
            }
            let password = wifi_password.as_deref();
            let password = password.map(secret_file::read).transpose()?;
            let mut least = Map::new();
            let any = minimum_os.iter().any(|text| text == "none");
            if any && minimum_os.len() > 1 {
                let why = anyhow!("--minimum-os: `none` stands alone, without another beside it");
                return Err(why).means(Exit::BadInput);
            }
            for text in minimum_os.iter().filter(|_| !any) {
                let (platform, version) = text
                    .split_once('=')
                    .ok_or_else(|| anyhow!("--minimum-os: must be PLATFORM=VERSION"))
                    .means(Exit::BadInput)?;
                least.insert(platform.to_ascii_lowercase(), json!(version));
            }
            let mut runbooks = Map::new();
            for text in unplanned {
                let (platform, name) = text
                    .split_once('=')
                    .ok_or_else(|| anyhow!("--unplanned: must be PLATFORM=NAME"))
                    .means(Exit::BadInput)?;
                let name = (!is_standard(name)).then_some(name);
                runbooks.insert(platform.to_ascii_lowercase(), json!(name));
            }
            if !runbooks.is_empty() {
                change.insert("unplanned_runbooks".to_owned(), Value::Object(runbooks));
            }
            if any || !least.is_empty() {
                change.insert("minimum_os".to_owned(), Value::Object(least));
            }
            if let Some(logins) = user_logins {
                change.insert("user_logins".to_owned(), json!(logins));
            }
            if let Some(hours) = facts_hours {
                change.insert("facts_hours".to_owned(), json!(hours));
            }
            let path = "/api/v1/enrolment";
            let answer = if change.is_empty() {
                Client::looking(common, place).await?.get(path).await?
            } else {
                let client = Client::acting(common, place).await?;
                let said = "it holds for every enrolment and login from now on.";
                let change = Value::Object(change);
                match &password {
                    Some(password) => {
                        let password = password.trim_ascii_end();
                        let secrets: [(&str, &[u8]); 1] = [("wifi_password_base64", password)];
                        client.post_hidden(path, &change, &secrets, said).await?
                    }
                    None => client.act(path, &change, said).await?,
                }
            };
            super::print(common, &answer, |answer| {
                let least = answer["minimum_os"].as_object().into_iter().flatten();
                let least: Vec<String> = least
                    .map(|(platform, version)| format!("{platform} {}", cell(version)))
                    .collect();
                let least = match least.is_empty() {
                    true => "any".to_owned(),
                    false => least.join(", "),
                };
                println!("minimum system   {least}");
                println!("logins at Macs   {}", cell(&answer["user_logins"]));
                match answer["facts_hours"].as_u64() {
                    Some(0) => println!("asked anew       never"),
                    _ => println!("asked anew after {}", many(&answer["facts_hours"], "hour")),
                }
                let chosen = answer["unplanned_runbooks"]
                    .as_object()
                    .into_iter()
                    .flatten();
                let chosen: Vec<String> = chosen
                    .map(|(p, name)| format!("{p} {}", cell(name)))
                    .collect();
                let all = &answer["unplanned_runbooks"];
                let gaps = ["ios", "ipados"].iter().any(|p| all[p].is_null());
                let standard = "the standard runbook, which keeps no app";
                let chosen = match (chosen.is_empty(), gaps) {
                    (true, _) => standard.to_owned(),
                    (false, true) => format!("{}; else {standard}", chosen.join(", ")),
                    (false, false) => chosen.join(", "),
                };
                println!("not planned      {chosen}");
                println!("network          {}", cell(&answer["wifi"]));
            });
        }
        Organisation::RecoveryKeys {
            rotate_revealed,
            keep_revealed,
            place,
        } => {
            let path = "/api/v1/filevault";
            let answer = if rotate_revealed.is_some() || *keep_revealed {
                let client = Client::acting(common, place).await?;
                let said = "it holds for every recovery key that is revealed from now on.";
                let change = json!({ "rotate_revealed_minutes": rotate_revealed });
                client.act(path, &change, said).await?
            } else {
                Client::looking(common, place).await?.get(path).await?
            };
            super::print(
                common,
                &answer,
                |answer| match answer["rotate_revealed_minutes"].as_u64() {
                    Some(minutes) => {
                        println!("changed {} after it was seen", counted(minutes, "minute"))
                    }
                    None => println!("not changed when it was seen"),
                },
            );
        }
        Organisation::WhatIf {
            notice,
            unknown,
            place,
        } => {
            let mut rules = Map::new();
            for text in unknown {
                let (check, answer) = text
                    .split_once('=')
                    .ok_or_else(|| {
                        anyhow!(
                            "--unknown {text}: must be CHECK=warn, CHECK=block or CHECK=default"
                        )
                    })
                    .means(Exit::BadInput)?;
                let known: Result<mdm_core::check::Check, _> = serde_json::from_value(json!(check));
                if known.is_err() {
                    let why = anyhow!(
                        "--unknown {text}: there is no such check; `mdmd organisation what-if` lists them"
                    );
                    return Err(why).means(Exit::BadInput);
                }
                let answer = if answer == "default" {
                    Value::Null
                } else {
                    json!(answer)
                };
                rules.insert(check.to_owned(), answer);
            }
            let path = "/api/v1/checks/rules";
            let answer = if rules.is_empty() && notice.is_none() {
                Client::looking(common, place).await?.get(path).await?
            } else {
                let client = Client::acting(common, place).await?;
                let said = "from now on it counts as said, in every what-if.";
                let change = json!({ "unknown": rules, "notice_hours": notice });
                client.act(path, &change, said).await?
            };
            super::print(common, &answer, |answer| {
                table(
                    &answer["checks"],
                    &[
                        ("CHECK", "check"),
                        ("IPHONE, IPAD", "iphone_ipad"),
                        ("MAC", "mac"),
                        ("OWN RULE", "own_rule"),
                    ],
                );
                let hours = many(&answer["notice_hours"], "hour");
                println!("people have at least {hours} until a deadline");
            });
        }
        Organisation::User {
            name,
            password,
            remove: _,
            place,
        } => {
            let open = json!({ "name": name });
            let path = "/api/v1/network-users";
            let password = password.as_deref().map(secret_file::read).transpose()?;
            let client = Client::acting(common, place).await?;
            let answer = match &password {
                Some(password) => {
                    let password = password.trim_ascii_end();
                    let secrets: [(&str, &[u8]); 1] = [("password_base64", password)];
                    let said = "this user may log in at Macs; the password itself is not kept.";
                    client.post_hidden(path, &open, &secrets, said).await?
                }
                None => {
                    let said = "this user can log in no more.";
                    client.act(path, &open, said).await?
                }
            };
            super::print(common, &answer, |answer| {
                let state = if answer["kept"] == true {
                    "may log in"
                } else {
                    "removed"
                };
                println!("{} {state}", cell(&answer["name"]));
            });
        }
    }
    Ok(())
}

async fn remove(
    common: &Common,
    code: &str,
    confirm: Option<&str>,
    body: &Value,
    place: &Where,
) -> Done {
    // It stands in a path.
    let code = OrganisationCode::parse(code).means(Exit::BadInput)?;
    let said = format!(
        "{code} is taken away: nobody finds it any more, its keys are destroyed in two minutes, and with them every recovery key, bypass code and password of its devices that stands nowhere else, and then every row of it, its record too; nothing changes at Apple. What is to be kept is taken along before (`mdmd report evidence`, `mdmd device reveal`, `mdmd backup`)."
    );
    if confirm.is_none() {
        let why = anyhow!("{said} Nothing was done; --confirm {code} does it");
        return Err(why).means(Exit::Precondition);
    }
    let client = Client::acting(common, place).await?;
    let path = format!("/api/v1/organisations/{code}/remove");
    let answer = client.act(&path, body, &said).await?;
    super::print(common, &answer, |answer| {
        let name = cell(&answer["name"]);
        match answer["finished"].is_null() {
            true => println!(
                "{name} is taken away; {} {} gone so far (`mdmd organisation removed`)",
                many(&answer["rows"], "row"),
                if answer["rows"] == 1 { "has" } else { "have" }
            ),
            false => println!("{name} is gone, with {}", many(&answer["rows"], "row")),
        }
    });
    Ok(())
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
