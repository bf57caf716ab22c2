//! `mdmd template list|show|new|edit|push|remove`: what projects are like in every organisation that a template was pushed to.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::calendar::Zone;
use mdm_core::counted::counted;
use mdm_core::migration::{PinnedRunbook, Variant};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::migration::is_standard;
use super::project::kept_free;
use super::{Common, Done, Ended, Exit, Means as _, cell, table};

/// Templates of this installation: runbooks, gates, window and switch for projects of chosen organisations, locked there.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Template {
    /// List them, with where each is in force.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// One, as JSON that `edit --file` takes, and where it is in force; `--own` is the one in force in an organisation.
    Show {
        /// Its name.
        #[arg(required_unless_present = "own")]
        name: Option<String>,
        /// The one that is in force in this organisation, and what is otherwise.
        #[arg(long, conflicts_with = "name")]
        own: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Make one. Nothing changes anywhere before it is pushed.
    New(Change),
    /// The next edit of one; what is not named stays. Nothing changes anywhere before it is pushed.
    Edit(Change),
    /// Put it into organisations: their open projects are as it says, and what it says is locked there.
    Push {
        /// Its name.
        name: String,
        /// Code of an organisation; several times.
        #[arg(long = "to", value_name = "CODE", required = true)]
        to: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Take it from organisations, whose own it then is; or without `--from`, out of use.
    Remove {
        /// Its name.
        name: String,
        /// Code of an organisation; several times.
        #[arg(long = "from", value_name = "CODE")]
        from: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
}

/// What it is to say.
#[derive(clap::Args, Debug)]
pub(crate) struct Change {
    /// Its name.
    name: String,
    /// All of it, as JSON (`template show` prints it).
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The runbook of a platform: ios=FILE, or ios=standard (`none` says the same).
    #[arg(long, value_name = "PLATFORM=FILE")]
    runbook: Vec<String>,
    /// Where owners live of whom nothing else is known, e.g. Europe/Berlin: with that the template has a calendar, of office hours on
    /// working days where --file says nothing else.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Days or times that its calendar keeps free, as `mdmd project set` takes them. Those that are named are all there are; `none` is
    /// none.
    #[arg(long, value_name = "FIRST/LAST=WHY")]
    blackout: Vec<String>,
    /// How many devices may be in a hold at once.
    #[arg(long)]
    capacity: Option<u32>,
    /// Projects are on.
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Projects are off, and stay off.
    #[arg(long)]
    off: bool,
    /// Why; each edit keeps it.
    #[arg(long, value_parser = super::sentence)]
    reason: Option<String>,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, command: &Template) -> Done {
    match command {
        Template::List { place } => list(common, place).await,
        Template::Show { name, own, place } => {
            let client = Client::looking(common, place).await?;
            let answer = match (name, own) {
                (Some(name), false) => match find(&client, name).await? {
                    Some(found) => found,
                    None => {
                        return Err(anyhow!("{name}: there is no such template"))
                            .means(Exit::Precondition);
                    }
                },
                _ => client.get("/api/v1/template").await?,
            };
            super::print(common, &answer, |answer| {
                if answer["content"].is_object() {
                    println!("{:#}", answer["content"]);
                }
                let force = |name: &Value, revision: &Value| {
                    eprintln!("in force at {}, revision {}", cell(name), cell(revision));
                };
                if answer["template"].is_object() {
                    let own = &answer["template"];
                    force(&own["name"], &own["revision"]);
                }
                for pushed in answer["pushed"].as_array().into_iter().flatten() {
                    force(&pushed["name"], &pushed["revision"]);
                    drift(&pushed["drift"]);
                }
                drift(&answer["drift"]);
            });
            Ok(())
        }
        Template::New(change) => put(common, change, true).await,
        Template::Edit(change) => put(common, change, false).await,
        Template::Push { name, to, place } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "name": name, "organisations": to });
            let said =
                "open projects there are as it says from now on; what was submitted keeps its own.";
            let answer = client.act("/api/v1/templates/push", &body, said).await?;
            let results = answer["results"].as_array().cloned().unwrap_or_default();
            super::print(common, &answer, |_| {
                for result in &results {
                    let became = match result["why"].as_str() {
                        Some(why) => format!("not pushed: {why}"),
                        None => format!("revision {} is in force", cell(&result["revision"])),
                    };
                    println!("{}  {became}", cell(&result["organisation"]));
                }
            });
            match results
                .iter()
                .filter(|result| !result["why"].is_null())
                .count()
            {
                0 => Ok(()),
                left => {
                    let left = counted(left, "organisation");
                    Err(anyhow!("{left} did not take it")).means(Exit::Disagrees)
                }
            }
        }
        Template::Remove { name, from, place } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "name": name, "organisations": from });
            let said = "what it said stays as it is, and is locked no longer.";
            let answer = client.act("/api/v1/templates/remove", &body, said).await?;
            super::print(common, &answer, |answer| match from.is_empty() {
                true => println!("{} is out of use", cell(&answer["name"])),
                false => println!(
                    "{} is taken from {}",
                    cell(&answer["name"]),
                    counted(from.len(), "organisation")
                ),
            });
            Ok(())
        }
    }
}

// Beside what is printed, which is a file that `edit` takes.
fn drift(all: &Value) {
    for line in all.as_array().into_iter().flatten() {
        eprintln!("  otherwise: {}", cell(line));
    }
}

async fn list(common: &Common, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let answer = client.pages("/api/v1/templates", "templates").await?;
    super::print(common, &answer, |answer| {
        let rows = answer["templates"].as_array().into_iter().flatten();
        let rows = rows.map(|row| {
            let pushed = row["pushed"].as_array().cloned().unwrap_or_default();
            let otherwise = |p: &&Value| p["drift"].as_array().is_some_and(|d| !d.is_empty());
            json!({
                "name": row["name"], "revision": row["revision"], "in_force": pushed.len(),
                "otherwise": pushed.iter().filter(otherwise).count(),
            })
        });
        let columns = [
            ("NAME", "name"),
            ("REVISION", "revision"),
            ("IN FORCE AT", "in_force"),
            ("OTHERWISE", "otherwise"),
        ];
        table(&rows.collect(), &columns);
    });
    Ok(())
}

/// The template of this name.
async fn find(client: &Client, name: &str) -> Result<Option<Value>, Ended> {
    let mut all = client.pages("/api/v1/templates", "templates").await?;
    let mut all = all["templates"].take();
    let all = all.as_array_mut().map(std::mem::take).unwrap_or_default();
    let same =
        |row: &Value| row["name"].as_str().map(str::to_lowercase) == Some(name.to_lowercase());
    Ok(all.into_iter().find(same))
}

/// The content of a template, by itself or as `template show --json` has it.
fn content_of(mut file: Value) -> Value {
    match file.get_mut("content") {
        Some(content) if content.is_object() => content.take(),
        _ => file,
    }
}

async fn put(common: &Common, change: &Change, new: bool) -> Done {
    let client = Client::acting(common, &change.place).await?;
    let before = find(&client, &change.name).await?;
    if new == before.is_some() {
        let why = match new {
            true => anyhow!(
                "{}: there is one of this name: `mdmd template edit`",
                change.name
            ),
            false => anyhow!(
                "{}: there is none of this name: `mdmd template new`",
                change.name
            ),
        };
        return Err(why).means(Exit::Precondition);
    }
    // One that somebody else makes at the same moment is not edited unseen.
    let revision = before
        .as_ref()
        .map_or(json!(0), |found| found["revision"].clone());
    let mut content = match &change.file {
        Some(file) => content_of(json_of(file)?),
        None => before.map_or_else(|| json!({}), |mut found| found["content"].take()),
    };
    for text in &change.runbook {
        let (platform, file) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("--runbook {text}: must be PLATFORM=FILE"))
            .means(Exit::BadInput)?;
        let platform = platform.to_ascii_lowercase();
        content["runbooks"][&platform] = match file {
            word if is_standard(word) => {
                let of = super::runbook::platform_of(&platform)?;
                json!(PinnedRunbook::standard(of, Variant::Migration))
            }
            file => json_of(Path::new(file)).map_err(|ended| Ended {
                why: ended.why.context(format!("--runbook {text}")),
                ..ended
            })?,
        };
    }
    if let Some(zone) = &change.zone {
        content["calendar"]["zone"] = json!(Zone::parse(zone).means(Exit::BadInput)?);
    }
    if !change.blackout.is_empty() {
        // A calendar is locked as a whole: nobody's zone is to become UTC in passing.
        if !content["calendar"].is_object() {
            let why = anyhow!(
                "--blackout: the template has no calendar yet, and one is locked as a whole: give --zone beside it"
            );
            return Err(why).means(Exit::BadInput);
        }
        content["calendar"]["blackouts"] = kept_free(&change.blackout)?;
    }
    if let Some(capacity) = change.capacity {
        content["capacity"] = json!(capacity);
    }
    if change.on || change.off {
        content["on"] = json!(change.on);
    }
    let body = json!({
        "name": change.name, "template": content, "revision": revision, "reason": change.reason.as_deref().unwrap_or_default(),
    });
    let said = "it changes nothing anywhere before it is pushed.";
    let made = client.act("/api/v1/templates", &body, said).await?;
    super::print(common, &made, |made| {
        println!(
            "{} is at revision {}",
            cell(&made["name"]),
            cell(&made["revision"])
        );
    });
    Ok(())
}

/// What is in a file; one that cannot be read was named wrongly.
fn json_of(file: &Path) -> Result<Value, Ended> {
    let text = std::fs::read_to_string(file)
        .with_context(|| file.display().to_string())
        .means(Exit::BadInput)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{}: must be JSON", file.display()))
        .means(Exit::BadInput)
}
