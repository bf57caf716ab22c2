//! `mdmd api-token new|list|revoke`: who else may speak our API, and what each may do.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum as _;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Ended, Exit, Means as _, cell, table};

/// Tokens of this installation's own API.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum ApiToken {
    /// Make one; it is shown once and kept only as a hash.
    New {
        /// Who will hold it. The record names this.
        name: String,
        /// What it may do; each role may do what those before it may.
        #[arg(long)]
        role: Role,
        /// A part of the API that it is for: the first word of its paths, such as devices or waves; several times. Without one,
        /// all but `secrets`.
        #[arg(long, value_name = "PART")]
        scope: Vec<String>,
        /// When it ends: a moment such as 2027-01-31T00:00:00Z, or a number of days. Without it, it ends when it is revoked.
        #[arg(long, value_name = "TIME|DAYS")]
        expires: Option<String>,
        /// Write it to this new file (mode 0600) instead of showing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Revoke one: the next request that shows it is refused.
    Revoke {
        /// Its number in `api-token list`.
        number: i64,
        #[command(flatten)]
        place: Where,
    },
}

/// What a token may do.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Role {
    /// May look.
    Viewer,
    /// May help one device: release it, retry a step.
    Helpdesk,
    /// May plan.
    Planner,
    /// May accept and submit plans.
    Approver,
    /// May do everything else.
    Admin,
}

pub(crate) async fn run(common: &Common, command: &ApiToken) -> Done {
    match command {
        ApiToken::New {
            name,
            role,
            scope,
            expires,
            out,
            place,
        } => {
            let expires = expires.as_deref().map(end).transpose()?;
            let role = role
                .to_possible_value()
                .map(|v| v.get_name().to_owned())
                .unwrap_or_default();
            let body = json!({ "name": name, "role": role, "scopes": scope, "expires": expires });
            let client = Client::acting(common, place).await?;
            let out = NewFile::maybe(out.as_deref(), 0o600)?;
            let consequence = format!("whoever holds the token may do what the role {role} may.");
            let made = client
                .act("/api/v1/api-tokens", &body, &consequence)
                .await?;
            hand_out(common, made, out, |made| {
                println!("role    {}", cell(&made["role"]));
                println!("scopes  {}", scopes(&made["scopes"]));
            })?;
        }
        ApiToken::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/api-tokens", "tokens").await?;
            super::print(common, &answer, |answer| {
                let rows = answer["tokens"].as_array().into_iter().flatten();
                let rows = rows.map(|row| {
                    let mut row = row.clone();
                    row["scopes"] = json!(scopes(&row["scopes"]));
                    row
                });
                table(
                    &rows.collect(),
                    &[
                        ("NUMBER", "id"),
                        ("NAME", "name"),
                        ("ROLE", "role"),
                        ("SCOPES", "scopes"),
                        ("MADE", "created"),
                        ("ENDS", "expires"),
                        ("REVOKED", "revoked"),
                    ],
                );
            });
        }
        ApiToken::Revoke { number, place } => {
            let client = Client::acting(common, place).await?;
            let answer = client
                .act(
                    &format!("/api/v1/api-tokens/{number}/revoke"),
                    &json!({}),
                    "its holder is refused from now on.",
                )
                .await?;
            super::print(common, &answer, |answer| {
                println!(
                    "{} revoked since {}",
                    cell(&answer["name"]),
                    cell(&answer["revoked"])
                );
            });
        }
    }
    Ok(())
}

/// A token that was just made: into its file, or shown this once; `more` is what else there is to say of it.
pub(super) fn hand_out(
    common: &Common,
    mut made: Value,
    out: Option<NewFile>,
    more: impl FnOnce(&Value),
) -> Done {
    if let Some(out) = out {
        made["file"] = json!(out.path());
        out.fill(made["token"].as_str().unwrap_or_default().as_bytes())?;
        made["token"] = Value::Null;
    }
    super::print(common, &made, |made| {
        println!("number  {}", cell(&made["id"]));
        more(made);
        println!("ends    {}", cell(&made["expires"]));
        if made["file"].is_null() {
            println!("token   {}", cell(&made["token"]));
            println!("        shown this once; only its hash is kept");
        } else {
            println!("token   written to {}", cell(&made["file"]));
        }
    });
    Ok(())
}

/// The parts that a token is for, in a line.
fn scopes(scopes: &Value) -> String {
    let words: Vec<String> = scopes.as_array().into_iter().flatten().map(cell).collect();
    match words.is_empty() {
        true => "all but secrets".to_owned(),
        false => words.join(" "),
    }
}

/// A moment, or so many days from now.
pub(super) fn end(text: &str) -> Result<Timestamp, Ended> {
    if let Ok(days) = text.parse::<u16>() {
        let span = std::time::Duration::from_secs(u64::from(days) * 86_400);
        return Ok(SystemClock.now() + span);
    }
    Timestamp::parse(text)
        .ok_or_else(|| {
            anyhow!("--expires: must be a moment such as 2027-01-31T00:00:00Z, or a number of days")
        })
        .means(Exit::BadInput)
}
