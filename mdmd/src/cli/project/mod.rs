//! `mdmd project new|set|list|show|on|off|close|purge|export|import`: a whole move with its window, its calendar, its gates and its switch.

mod plan;
mod purge;
mod shown;
mod terms;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::shell;
use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell, id_of, table};
use plan::{export, import};
use purge::{Purge, purge};
use shown::show;
use terms::Terms;
pub(super) use terms::kept_free;

/// Whole moves: from which services to which, when, and with what.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Project {
    /// Make one; it begins switched off.
    New {
        /// What people call it.
        name: String,
        #[command(flatten)]
        terms: Box<Terms>,
        #[command(flatten)]
        place: Where,
    },
    /// Change one: the next revision. What was submitted keeps its own, and shows its drift.
    Set {
        /// Its name or number.
        project: String,
        #[command(flatten)]
        terms: Box<Terms>,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// One with how its waves stand.
    Show {
        /// Its name or number.
        project: String,
        #[command(flatten)]
        place: Where,
    },
    /// Turn one on: its waves can be submitted.
    On {
        /// Its name or number.
        project: String,
        #[command(flatten)]
        place: Where,
    },
    /// Turn one off: nothing of it is submitted. What was submitted goes on.
    Off {
        /// Its name or number.
        project: String,
        #[command(flatten)]
        place: Where,
    },
    /// Write the whole plan into a file: project, waves, members, dates. It holds no secret, and no profile.
    Export {
        /// Its name or number.
        project: String,
        /// The new file; standard output when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Bring in such a file: what is missing is made, what is there stays. Exit 4 when devices were not taken.
    Import {
        /// The file, or `-`.
        file: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Close one whose devices have all come to an end.
    Close {
        /// Its name or number.
        project: String,
        #[command(flatten)]
        place: Where,
    },
    /// Destroy the keys, codes and passwords that were imported for a closed one. What is still the only key of a device stays.
    /// Prints what would go and ends with 3; with `--accept` it does it.
    Purge(Purge),
}

pub(crate) async fn run(common: &Common, command: &Project) -> Done {
    match command {
        Project::New { name, terms, place } => {
            let mut body = terms.body(None)?;
            body["name"] = json!(name);
            let client = Client::acting(common, place).await?;
            terms.originals(&client, &mut body).await?;
            terms.runbooks(&client, &mut body).await?;
            let said =
                "a plan, switched off: nothing of it is submitted before somebody turns it on.";
            let made = client.act("/api/v1/projects", &body, said).await?;
            super::print(common, &made, |made| {
                println!(
                    "project {} is {}, switched off; `mdmd project on {}` turns it on",
                    cell(&made["id"]),
                    cell(&made["name"]),
                    shell::word(name)
                );
            });
        }
        Project::Set {
            project,
            terms,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let path = path(&client, project).await?;
            let known = client.get(&path).await?;
            let mut body = terms.body(Some(&known["project"]))?;
            terms.originals(&client, &mut body).await?;
            terms.runbooks(&client, &mut body).await?;
            if body == json!({}) {
                return Err(anyhow!("nothing is to be changed")).means(Exit::BadInput);
            }
            let said = "what is submitted from now on goes by this; what was submitted keeps its own, but for limits of the gap, which hold at once.";
            let changed = client.act(&path, &body, said).await?;
            super::print(common, &changed, |changed| {
                println!(
                    "{} is at revision {}",
                    cell(&changed["name"]),
                    cell(&changed["revision"])
                );
            });
        }
        Project::List { place } => {
            let client = Client::looking(common, place).await?;
            let all = client.pages("/api/v1/projects", "projects").await?;
            super::print(common, &all, |all| {
                table(
                    &all["projects"],
                    &[
                        ("NUMBER", "id"),
                        ("NAME", "name"),
                        ("ON", "on"),
                        ("REVISION", "revision"),
                        ("MADE", "created"),
                        ("CLOSED", "closed"),
                    ],
                );
            });
        }
        Project::Show { project, place } => {
            let client = Client::looking(common, place).await?;
            let path = path(&client, project).await?;
            let shown = client.get(&path).await?;
            super::print(common, &shown, show);
        }
        Project::Export {
            project,
            out,
            place,
        } => export(common, place, project, out.as_deref()).await?,
        Project::Import { file, place } => import(common, place, file).await?,
        Project::On { project, place } => switch(common, place, project, true).await?,
        Project::Off { project, place } => switch(common, place, project, false).await?,
        Project::Purge(args) => purge(common, args).await?,
        Project::Close { project, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("{}/close", path(&client, project).await?);
            let said = "nothing is planned or submitted in it any more.";
            let closed = client.act(&path, &json!({}), said).await?;
            super::print(common, &closed, |closed| {
                println!("{} is closed", cell(&closed["name"]));
            });
        }
    }
    Ok(())
}

async fn switch(common: &Common, place: &Where, project: &str, on: bool) -> Done {
    let client = Client::acting(common, place).await?;
    let path = format!("{}/switch", path(&client, project).await?);
    let said = match on {
        true => "its waves can be submitted, each after its acceptance.",
        false => "nothing of it is submitted; what was submitted goes on.",
    };
    let switched = client.act(&path, &json!({ "on": on }), said).await?;
    super::print(common, &switched, |switched| {
        let state = if switched["on"] == true { "on" } else { "off" };
        println!("{} is {state}", cell(&switched["name"]));
    });
    Ok(())
}

async fn path(client: &Client, project: &str) -> Result<String, Ended> {
    Ok(format!(
        "/api/v1/projects/{}",
        number(client, project).await?
    ))
}

/// The number of a project that is named or numbered.
pub(super) async fn number(client: &Client, named: &str) -> Result<i64, Ended> {
    if let Ok(number) = named.parse() {
        return Ok(number);
    }
    let all = client.pages("/api/v1/projects", "projects").await?;
    let mut rows = all["projects"].as_array().into_iter().flatten();
    rows.find(|p| p["name"] == named)
        .and_then(|p| id_of(&p["id"]))
        .with_context(|| format!("there is no project called {named}: `mdmd project list`"))
        .means(Exit::Precondition)
}
