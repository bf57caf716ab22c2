//! `mdmd partner new|list|dismiss`: somebody who plans in some organisations of this installation, and in no other.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, cell, table};

/// Partners of this installation.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Partner {
    /// Make a partner's token: a planner in these organisations and nowhere else, who accepts nothing and sees no secret. It is
    /// shown once and kept only as a hash.
    New {
        /// Who will hold it. The records name this.
        name: String,
        /// Code of an organisation; several times.
        #[arg(long = "for", value_name = "CODE", required = true)]
        organisations: Vec<String>,
        /// When it ends: a moment such as 2027-01-31T00:00:00Z, or a number of days.
        #[arg(long, value_name = "TIME|DAYS")]
        expires: Option<String>,
        /// Write it to this new file (mode 0600) instead of showing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// List those that may act in an organisation; on the machine itself all.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Send one away from an organisation.
    Dismiss {
        /// Its number in `partner list`.
        number: i64,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Partner) -> Done {
    match command {
        Partner::New {
            name,
            organisations,
            expires,
            out,
            place,
        } => {
            let expires = expires.as_deref().map(super::api_token::end).transpose()?;
            let client = Client::acting(common, place).await?;
            let body = json!({ "name": name, "organisations": organisations, "expires": expires });
            let out = NewFile::maybe(out.as_deref(), 0o600)?;
            let said = "whoever holds the token may plan in these organisations.";
            let made = client.act("/api/v1/partners", &body, said).await?;
            super::api_token::hand_out(common, made, out, |_| {})?;
        }
        Partner::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/partners", "partners").await?;
            super::print(common, &answer, |answer| {
                let rows = answer["partners"].as_array().into_iter().flatten();
                let rows: Value = rows
                    .cloned()
                    .map(|mut row| {
                        // Only on the machine itself is it known which they are.
                        if let Some(codes) = row["codes"].as_array() {
                            let codes: Vec<String> = codes.iter().map(cell).collect();
                            row["organisations"] = json!(codes.join(" "));
                        }
                        row
                    })
                    .collect();
                table(
                    &rows,
                    &[
                        ("NUMBER", "id"),
                        ("NAME", "name"),
                        ("ORGANISATIONS", "organisations"),
                        ("MADE", "created"),
                        ("ENDS", "expires"),
                        ("REVOKED", "revoked"),
                    ],
                );
            });
        }
        Partner::Dismiss { number, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/partners/{number}/dismiss");
            let said = "it finds nothing of this organisation any more.";
            let answer = client.act(&path, &json!({}), said).await?;
            super::print(common, &answer, |answer| {
                println!("{} is sent away", cell(&answer["name"]));
            });
        }
    }
    Ok(())
}
