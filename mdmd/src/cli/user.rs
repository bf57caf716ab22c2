//! `mdmd user new|list|revoke`: what single people may do who sign in at the organisation's provider, whatever their groups say.

use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::api_token::Role;
use super::client::{Client, Where};
use super::{Common, Done, cell, table};

/// People who sign in, one by one; what groups may do is said by `sign-in set`.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum User {
    /// Say what somebody may do, whatever their groups say.
    New {
        /// Their account, or the provider's subject for them. Where people change their own account, take the subject.
        account: String,
        /// What they may do.
        #[arg(long)]
        role: Role,
        /// They may look at secrets of devices, as far as the role goes.
        #[arg(long)]
        secrets: bool,
        #[command(flatten)]
        place: Where,
    },
    /// List who may do what.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Keep somebody out, and end their sessions.
    Revoke {
        /// Their account or subject.
        account: String,
        /// Take back what was said of them alone: their groups count again.
        #[arg(long)]
        forget: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &User) -> Done {
    match command {
        User::New {
            account,
            role,
            secrets,
            place,
        } => {
            let role = role
                .to_possible_value()
                .map(|v| v.get_name().to_owned())
                .unwrap_or_default();
            let body = json!({ "account": account, "role": role, "secrets": secrets });
            let client = Client::acting(common, place).await?;
            let consequence =
                format!("{account} may do what the role {role} may, whatever their groups say.");
            let made = client.act("/api/v1/users", &body, &consequence).await?;
            super::print(common, &made, |made| {
                println!("{} is {}", cell(&made["account"]), cell(&made["role"]));
            });
        }
        User::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/users").await?;
            super::print(common, &answer, list);
        }
        User::Revoke {
            account,
            forget,
            place,
        } => {
            let body = json!({ "account": account, "forget": forget });
            let consequence = match forget {
                true => {
                    format!("what was said of {account} alone is forgotten; their groups count.")
                }
                false => format!("{account} is kept out and their sessions end."),
            };
            let client = Client::acting(common, place).await?;
            let done = client
                .act("/api/v1/users/revoke", &body, &consequence)
                .await?;
            super::print(common, &done, |done| match forget {
                true => println!("{}: their groups count", cell(&done["account"])),
                false => println!(
                    "{} is kept out; sessions ended: {}",
                    cell(&done["account"]),
                    cell(&done["sessions_ended"])
                ),
            });
        }
    }
    Ok(())
}

fn list(answer: &Value) {
    let mut rows: Vec<Value> = answer["users"].as_array().cloned().unwrap_or_default();
    for row in &mut rows {
        if row["role"].is_null() {
            row["role"] = json!("kept out");
        }
    }
    let looks = |group: &str| {
        let all = answer["secrets_groups"].as_array();
        all.is_some_and(|all| all.iter().any(|one| one == group))
    };
    for (group, role) in answer["groups"].as_object().into_iter().flatten() {
        rows.push(
            json!({ "account": format!("group {group}"), "role": role, "secrets": looks(group) }),
        );
    }
    table(
        &Value::Array(rows),
        &[
            ("WHO", "account"),
            ("ROLE", "role"),
            ("SECRETS", "secrets"),
            ("SINCE", "set"),
            ("BY", "by"),
        ],
    );
}
