//! `mdmd declaration …`: declarations, the sets in which devices get them, for whom a set is, and what devices say of them.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, cell, in_path, secret_file, table};

/// Declarations, and the sets in which devices get them.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Declaration {
    /// List declarations.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// One declaration, as a device gets it.
    Show {
        /// Its identifier.
        identifier: String,
        #[command(flatten)]
        place: Where,
    },
    /// Put a declaration, or another content of the one of this identifier. The same content again changes nothing.
    Put {
        /// The declaration as JSON: Type, Identifier and Payload; `-` reads standard input.
        document: PathBuf,
        /// The file that it refers to, kept sealed and served to devices that have the declaration: of assets, and a profile of
        /// `com.apple.configuration.legacy`.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Media type of the file.
        #[arg(long, value_name = "TYPE", requires = "file")]
        content_type: Option<String>,
        /// Put an activation of its own beside a configuration.
        #[arg(long)]
        activate: bool,
        /// When that activation is in force.
        #[arg(long, value_name = "PREDICATE", requires = "activate")]
        predicate: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Take a declaration out of use and out of every set; devices lose it.
    Remove {
        /// Its identifier.
        identifier: String,
        #[command(flatten)]
        place: Where,
    },
    /// What the channels of a device should have, were given and say.
    Device {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
    /// List sets with their members, and for whom they are.
    Sets {
        #[command(flatten)]
        place: Where,
    },
    /// Put a set, or give it other members.
    Set {
        /// Its name.
        name: String,
        /// Identifiers of all its members from now on.
        members: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Take a set out of use; devices lose what they have by it alone.
    RemoveSet {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Give a set to devices or people.
    Assign {
        /// Its name.
        name: String,
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        place: Where,
    },
    /// Take a set from devices or people.
    Unassign {
        /// Its name.
        name: String,
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        place: Where,
    },
}

/// For whom a set is.
#[derive(clap::Args, Debug)]
pub(crate) struct Whom {
    /// Every device of the organisation.
    #[arg(long)]
    everybody: bool,
    /// Devices with this tag.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Devices whose owner is in this group, by its name in the import.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// This device.
    #[arg(long = "serial", value_name = "SERIAL")]
    serials: Vec<String>,
    /// This person, on every device: the short name of an account, or its UserID.
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
    /// On the channels of the devices' users, not on their own.
    #[arg(long)]
    on_users: bool,
}

impl Whom {
    fn body(&self, name: &str) -> Value {
        json!({
            "name": name, "everybody": self.everybody, "tags": self.tags, "groups": self.groups, "serials": self.serials,
            "users": self.users, "on_users": self.on_users,
        })
    }
}

pub(crate) async fn run(common: &Common, command: &Declaration) -> Done {
    match command {
        Declaration::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/declarations", "declarations").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["declarations"],
                    &[
                        ("IDENTIFIER", "identifier"),
                        ("TYPE", "declaration_type"),
                        ("CHANGED", "changed"),
                    ],
                );
            });
            Ok(())
        }
        Declaration::Show { identifier, place } => {
            let client = Client::looking(common, place).await?;
            let path = format!("/api/v1/declarations/{}", in_path(identifier));
            let answer = client.get(&path).await?;
            super::print(common, &answer, |answer| println!("{answer:#}"));
            Ok(())
        }
        Declaration::Put {
            document,
            file,
            content_type,
            activate,
            predicate,
            place,
        } => {
            let body = body(
                document,
                *activate,
                content_type.as_ref(),
                predicate.as_ref(),
            )?;
            let client = Client::acting(common, place).await?;
            let said = "devices that have it get the new content as soon as they come.";
            let path = "/api/v1/declarations";
            let answer = match file {
                None => client.act(path, &body, said).await?,
                Some(file) => {
                    let file = secret_file::read(file)?;
                    let files: &[(&str, &[u8])] = &[("file", &file)];
                    client.post_hidden(path, &body, files, said).await?
                }
            };
            super::print(common, &answer, |it| {
                println!("{} {}", cell(&it["identifier"]), cell(&it["server_token"]));
            });
            Ok(())
        }
        Declaration::Remove { identifier, place } => {
            let path = format!("/api/v1/declarations/{}/remove", in_path(identifier));
            act(
                common,
                place,
                &path,
                &json!({}),
                "devices that have it lose it.",
            )
            .await
        }
        Declaration::Device { serial, place } => device(common, place, serial).await,
        Declaration::Sets { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/declaration-sets", "sets").await?;
            super::print(common, &answer, |answer| {
                let sets = answer["sets"].as_array().into_iter().flatten();
                let rows: Value = sets.map(line).collect();
                table(
                    &rows,
                    &[("NAME", "name"), ("MEMBERS", "members"), ("FOR", "whom")],
                );
            });
            Ok(())
        }
        Declaration::Set {
            name,
            members,
            place,
        } => {
            let body = json!({ "name": name, "members": members });
            let said = "devices that have the set get what is new in it, and lose what is not.";
            act(common, place, "/api/v1/declaration-sets", &body, said).await
        }
        Declaration::RemoveSet { name, place } => {
            let body = json!({ "name": name });
            let said = "devices lose what they have by it alone.";
            act(
                common,
                place,
                "/api/v1/declaration-sets/remove",
                &body,
                said,
            )
            .await
        }
        Declaration::Assign { name, whom, place } => {
            let body = whom.body(name);
            let said = "they get what is in the set as soon as they come.";
            act(
                common,
                place,
                "/api/v1/declaration-sets/assign",
                &body,
                said,
            )
            .await
        }
        Declaration::Unassign { name, whom, place } => {
            let body = whom.body(name);
            let said = "they lose what they have by the set alone.";
            act(
                common,
                place,
                "/api/v1/declaration-sets/unassign",
                &body,
                said,
            )
            .await
        }
    }
}

async fn act(common: &Common, place: &Where, path: &str, body: &Value, said: &str) -> Done {
    let client = Client::acting(common, place).await?;
    let answer = client.act(path, body, said).await?;
    super::print(common, &answer, |answer| {
        println!("{}", came(path, body, answer))
    });
    Ok(())
}

/// What became of it, in words.
fn came(path: &str, body: &Value, answer: &Value) -> String {
    let name = match &answer["name"] {
        Value::Null => cell(&answer["identifier"]),
        name => cell(name),
    };
    if let Some(count) = answer["assigned"].as_u64() {
        return match count {
            0 => format!("{name} was given to all of them before"),
            _ => format!("{name} is given to {count} more"),
        };
    }
    if let Some(count) = answer["taken"].as_u64() {
        return match count {
            0 => format!("{name} was given to none of them"),
            _ => format!("{name} is taken from {count}"),
        };
    }
    if path.ends_with("remove") {
        return format!("{name} is out of use");
    }
    // The answer has them by number.
    let members = body["members"].as_array().into_iter().flatten();
    let members: Vec<String> = members.map(cell).collect();
    match members.is_empty() {
        true => format!("{name} has no members"),
        false => format!("{name} has {}", members.join(" ")),
    }
}

/// The body of the API's route from a declaration as devices get it.
fn body(
    document: &std::path::Path,
    activate: bool,
    content_type: Option<&String>,
    predicate: Option<&String>,
) -> Result<Value, super::Ended> {
    let text = secret_file::read(document)?;
    let read: Value = serde_json::from_slice(&text)
        .with_context(|| format!("{}: is no JSON", document.display()))
        .means(Exit::BadInput)?;
    let (Some(of), Some(identifier)) = (read["Type"].as_str(), read["Identifier"].as_str()) else {
        let why = anyhow!("{}: must have Type and Identifier", document.display());
        return Err(why).means(Exit::BadInput);
    };
    let payload = match &read["Payload"] {
        Value::Null => json!({}),
        payload => payload.clone(),
    };
    Ok(json!({
        "identifier": identifier, "type": of, "payload": payload, "activate": activate,
        "content_type": content_type, "predicate": predicate,
    }))
}

async fn device(common: &Common, place: &Where, serial: &str) -> Done {
    let client = Client::looking(common, place).await?;
    let path = format!("/api/v1/devices/{}/declarations", in_path(serial));
    let answer = client.get(&path).await?;
    super::print(common, &answer, |answer| {
        for channel in answer["channels"].as_array().into_iter().flatten() {
            let agrees = match channel["agrees"].as_bool() {
                Some(true) => "has what it should have",
                _ => "has not said that it has what it should have",
            };
            let when = cell(&channel["reported_at"]);
            println!(
                "{}: {agrees}, last report {when}",
                cell(&channel["channel"])
            );
            let reported = channel["reported"].as_array();
            let wanted = channel["wanted"].as_array().into_iter().flatten();
            let rows: Value = wanted
                .map(|item| {
                    let own = |r: &&Value| {
                        r["identifier"] == item["identifier"] && r["kind"] == item["kind"]
                    };
                    let said = reported.and_then(|all| all.iter().find(own));
                    let said = said.cloned().unwrap_or_default();
                    let now = said["server_token"] == item["server_token"];
                    let reasons = said["reasons"].as_array().into_iter().flatten();
                    let reasons: Vec<&str> = reasons.filter_map(|r| r["code"].as_str()).collect();
                    json!({
                        "identifier": item["identifier"], "kind": item["kind"], "current": now,
                        "active": said["active"], "valid": said["valid"], "reasons": reasons.join(" "),
                    })
                })
                .collect();
            table(
                &rows,
                &[
                    ("IDENTIFIER", "identifier"),
                    ("KIND", "kind"),
                    ("CURRENT", "current"),
                    ("ACTIVE", "active"),
                    ("VALID", "valid"),
                    ("REASONS", "reasons"),
                ],
            );
        }
    });
    Ok(())
}

/// A set for people.
fn line(set: &Value) -> Value {
    let members = set["members"].as_array().into_iter().flatten();
    let members: Vec<&str> = members.filter_map(Value::as_str).collect();
    let whom = set["assigned"].as_array().into_iter().flatten();
    let whom: Vec<String> = whom
        .map(|a| {
            let name = a["name"].as_str().unwrap_or_default();
            let users = match a["channels"].as_str() {
                Some("users") if a["to"] != "user" => " (users)",
                _ => "",
            };
            format!("{} {name}", cell(&a["to"])).trim_end().to_owned() + users
        })
        .collect();
    json!({ "name": set["name"], "members": members.join(" "), "whom": whom.join(", ") })
}
