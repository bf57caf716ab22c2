//! `mdmd wave add|plan`: who is in a wave, and when each of them goes.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::{Change, find};
use crate::cli::client::{Client, Where};
use crate::cli::migration::moment;
use crate::cli::serials::Serials;
use crate::cli::{Common, Done, Ended, Exit, Means as _, cell, table};

/// Put devices into a wave, by serial number or by what they have in common.
#[derive(clap::Args, Debug)]
pub(crate) struct Add {
    /// The wave, by its name or number.
    wave: String,
    #[command(flatten)]
    devices: Serials,
    /// Every device that could be in it, as far as the words below say.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    all: bool,
    /// Only those of this platform.
    #[arg(long, value_parser = ["ios", "ipados", "macos"], conflicts_with_all = ["serials", "csv"])]
    platform: Option<String>,
    /// Only those with this tag.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    tag: Option<String>,
    /// Only those that this service has at Apple, by its name or identifier.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    service: Option<String>,
    /// Only those whose owner is in this group.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    group: Option<String>,
    /// Only models that begin with this, e.g. iPhone16.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    product: Option<String>,
    /// At most so many of them.
    #[arg(long, value_name = "DEVICES", conflicts_with_all = ["serials", "csv"])]
    most: Option<usize>,
    /// When Apple enforces it; planned later when left out.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// From when the users are asked; a week before the deadline when left out, not in the past and not before the window begins.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only say who would be put in.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Where,
}

impl Add {
    fn candidates(&self) -> Option<Value> {
        let any = self.all
            || self.most.is_some()
            || [
                &self.platform,
                &self.tag,
                &self.service,
                &self.group,
                &self.product,
            ]
            .iter()
            .any(|word| word.is_some());
        any.then(|| {
            json!({
                "platform": self.platform, "tag": self.tag, "service": self.service, "group": self.group,
                "product": self.product, "most": self.most,
            })
        })
    }
}

pub(super) async fn add(common: &Common, add: &Add) -> Done {
    let mut body = match add.candidates() {
        Some(candidates) => json!({ "candidates": candidates }),
        None => json!({ "serials": add.devices.some()? }),
    };
    for (flag, key, given) in [
        ("--deadline", "deadline", &add.deadline),
        ("--from", "available_from", &add.from),
    ] {
        if let Some(text) = given {
            body[key] = json!(moment(flag, text)?);
        }
    }
    body["dry"] = json!(add.dry_run);
    let client = Client::acting(common, &add.place).await?;
    let found = find(&client, &add.wave).await?;
    let path = format!("{}/members", found.path);
    let answer = match add.dry_run {
        true => client.post(&path, &body).await?,
        false => {
            let said = "these devices are planned in this wave, and can be in no other; nothing is asked of them yet.";
            client.act(&path, &body, said).await?
        }
    };
    let serials = answer["serials"].as_array().map_or(0, Vec::len);
    crate::cli::print(common, &answer, |answer| {
        if add.dry_run {
            for serial in answer["serials"].as_array().into_iter().flatten() {
                println!("{}", cell(serial));
            }
        } else {
            println!("added {}", cell(&answer["added"]));
        }
    });
    if serials == 0 {
        let why = anyhow!("there is no such device that is in no open wave and not with us yet");
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}

/// Spread members over deadlines, in the office hours of their owners; or give them one.
#[derive(clap::Args, Debug)]
pub(crate) struct Plan {
    /// The wave, by its name or number.
    wave: String,
    #[command(flatten)]
    devices: Serials,
    /// One deadline for these members, or for all, in place of a spread.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// With --deadline: from when their users are asked; a week before when left out, not in the past and not before the window begins.
    #[arg(long, value_name = "TIME", requires = "deadline")]
    from: Option<String>,
    /// No deadline before; a lead from now when left out.
    #[arg(long, value_name = "TIME", conflicts_with = "deadline")]
    first: Option<String>,
    /// No deadline after; the end of the project's window when left out.
    #[arg(long, value_name = "TIME", conflicts_with = "deadline")]
    last: Option<String>,
    /// Over so many deadlines for owners of one zone; as few as the capacity allows when left out.
    #[arg(long, conflicts_with = "deadline")]
    buckets: Option<u32>,
    /// How many hours before its deadline a device is offered its migration; a week when left out.
    #[arg(long, value_name = "HOURS", conflicts_with = "deadline")]
    lead: Option<u32>,
    /// Only say how it would be.
    #[arg(long, conflicts_with = "deadline")]
    dry_run: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn run(common: &Common, how: &Plan) -> Done {
    let serials = how.devices.any()?;
    if let Some(deadline) = &how.deadline {
        let deadline = moment("--deadline", deadline)?;
        let from = how.from.as_deref();
        let from = from.map(|from| moment("--from", from)).transpose()?;
        let body = json!({
            "serials": serials, "all": serials.is_empty(), "deadline": deadline, "available_from": from,
        });
        let change = Change {
            path: "dates",
            body,
            counted: "planned",
            means: "these members get these dates; what was accepted of the wave is void.",
            nobody: "",
        };
        return change.ask(common, &how.place, &how.wave).await;
    }
    if !serials.is_empty() {
        let why = anyhow!("a spread is of all members: name devices only with --deadline");
        return Err(why).means(Exit::BadInput);
    }
    let bound = |flag: &str, text: &Option<String>| -> Result<Value, Ended> {
        let at = text.as_deref().map(|text| moment(flag, text)).transpose()?;
        Ok(json!(at))
    };
    let body = json!({
        "first": bound("--first", &how.first)?, "last": bound("--last", &how.last)?,
        "buckets": how.buckets, "lead_hours": how.lead, "dry": how.dry_run,
    });
    let client = Client::acting(common, &how.place).await?;
    let found = find(&client, &how.wave).await?;
    let path = format!("{}/plan", found.path);
    let answer = match how.dry_run {
        true => client.post(&path, &body).await?,
        false => {
            let said = "every member that is not submitted gets a date; what was accepted of the wave is void.";
            client.act(&path, &body, said).await?
        }
    };
    crate::cli::print(common, &answer, show);
    Ok(())
}

/// Deadlines with how many devices each has.
fn show(answer: &Value) {
    let mut buckets: std::collections::BTreeMap<(String, String), usize> = Default::default();
    for member in answer["members"].as_array().into_iter().flatten() {
        let key = (cell(&member["deadline"]), cell(&member["available_from"]));
        *buckets.entry(key).or_default() += 1;
    }
    let rows: Vec<Value> = buckets
        .iter()
        .map(|((deadline, from), count)| json!({ "deadline": deadline, "from": from, "devices": count }))
        .collect();
    table(
        &Value::Array(rows),
        &[
            ("AVAILABLE FROM", "from"),
            ("ENFORCED AFTER", "deadline"),
            ("DEVICES", "devices"),
        ],
    );
    let budget = &answer["budget"];
    println!(
        "requests to Apple  {}: {}",
        cell(&budget["result"]),
        cell(&budget["fact"])
    );
    if budget["fix"].is_string() {
        println!("                   {}", cell(&budget["fix"]));
    }
    if answer["dry"] == true {
        println!("nothing was changed");
    }
}
