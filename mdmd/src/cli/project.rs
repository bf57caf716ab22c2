//! `mdmd project new|set|list|show|on|off|close|purge|export|import`: a whole move with its window, its calendar, its gates and its switch.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::calendar::{Day, TimeOfDay, Zone};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Ended, Exit, Means as _, cell, id_of, table};

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

/// What is destroyed.
#[derive(clap::Args, Debug)]
pub(crate) struct Purge {
    /// Its name or number.
    project: String,
    /// Why; it goes into the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do it: the digest of what was looked at.
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    /// Also what the original service called a secret without saying which: nobody can prove that it is replaced.
    #[arg(long)]
    other: bool,
    #[command(flatten)]
    place: Where,
}

/// What a project says; what is left out is the default, or stays.
#[derive(clap::Args, Debug)]
pub(crate) struct Terms {
    /// Our server entry (its number in `token status`); the only one when left out.
    #[arg(long, value_name = "NUMBER")]
    to: Option<i64>,
    /// A service at Apple that devices leave, by its identifier there; any but ours when left out. Those that are named are all there
    /// are; `any` is any.
    #[arg(long, value_name = "SERVICE")]
    original: Vec<String>,
    /// No offer and no deadline before; `none` takes it away.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// No deadline after; `none` takes it away.
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// Where owners live of whom nothing else is known, e.g. Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// The hours in which deadlines lie, where the owner lives, e.g. 09:00-16:00.
    #[arg(long, value_name = "FROM-UNTIL")]
    hours: Option<String>,
    /// The days on which they lie, e.g. mon,tue,wed,thu.
    #[arg(long, value_name = "DAYS", value_delimiter = ',')]
    days: Vec<String>,
    /// Days that are kept free, e.g. 2026-12-21/2027-01-03=holidays. Those that are named are all there are; `none` is none.
    #[arg(long, value_name = "FIRST/LAST=WHY")]
    blackout: Vec<String>,
    /// How many devices may be in a hold at once.
    #[arg(long, value_name = "DEVICES")]
    capacity: Option<u32>,
    /// How many devices of a group of owners, or with a tag, may be between two services at once: `group:Sales=5`, `tag:till=1`,
    /// `each-group=10` for the groups that are not named. The limits that are named are all there are; `none` is none.
    #[arg(long, value_name = "GROUP=DEVICES")]
    gap: Vec<String>,
    /// So many of a hundred must have migrated before the next wave goes.
    #[arg(long, value_name = "PERCENT")]
    gate_settled: Option<u8>,
    /// At most so many of a hundred may have failed or have exceptions.
    #[arg(long, value_name = "PERCENT")]
    gate_failed: Option<u8>,
    /// Whether an approver must sign before the next wave goes.
    #[arg(long, value_name = "YES-OR-NO", value_parser = ["yes", "no"])]
    gate_sign_off: Option<String>,
    /// No more devices are offered their migration once so many have failed, or migrated with exceptions …
    #[arg(long, value_name = "DEVICES")]
    stop_failed: Option<u32>,
    /// … and they are so many of a hundred of those that have ended.
    #[arg(long, value_name = "PERCENT")]
    stop_failed_percent: Option<u8>,
    /// Nor once so many are in their holds for long.
    #[arg(long, value_name = "DEVICES")]
    stop_long_holds: Option<u32>,
    /// Nor once something that the wave needs ends before its last deadline.
    #[arg(long, value_name = "YES-OR-NO", value_parser = ["yes", "no"])]
    stop_expiries: Option<String>,
    /// What must have been done for each device at the service that it leaves, e.g. wifi-placed. Those that are named are all there
    /// are; `none` is none.
    #[arg(long, value_name = "NAME")]
    prerequisite: Vec<String>,
    /// The runbook of a platform (ios, ipados, macos): a file of JSON, or the name of one that the server keeps; the standard one
    /// when left out.
    #[arg(long, value_name = "PLATFORM=RUNBOOK")]
    runbook: Vec<String>,
}

impl Terms {
    /// As the API takes them; `known` is the project as it is, for what is changed in part.
    fn body(&self, known: Option<&Value>) -> Result<Value, Ended> {
        let mut body = json!({});
        let part = |name: &str| known.map_or_else(|| json!({}), |k| k[name].clone());
        if let Some(to) = self.to {
            body["destination"] = json!(to);
        }
        if !self.original.is_empty() {
            body["originals"] = json!(all_but("--original", &self.original, "any")?);
        }
        if self.not_before.is_some() || self.not_after.is_some() {
            let mut window = part("window");
            for (key, given) in [
                ("not_before", &self.not_before),
                ("not_after", &self.not_after),
            ] {
                if let Some(text) = given {
                    let flag = format!("--{}", key.replace('_', "-"));
                    window[key] = match text.as_str() {
                        "none" => Value::Null,
                        text => json!(super::migration::moment(&flag, text)?),
                    };
                }
            }
            body["window"] = window;
        }
        let mut calendar = part("calendar");
        let mut changed = false;
        if let Some(zone) = &self.zone {
            calendar["zone"] = json!(Zone::parse(zone).means(Exit::BadInput)?);
            changed = true;
        }
        if let Some(hours) = &self.hours {
            let (from, until) = hours
                .split_once('-')
                .ok_or_else(|| anyhow!("--hours: must be two times like 09:00-16:00"))
                .means(Exit::BadInput)?;
            calendar["from"] = json!(TimeOfDay::parse(from).means(Exit::BadInput)?);
            calendar["until"] = json!(TimeOfDay::parse(until).means(Exit::BadInput)?);
            changed = true;
        }
        if !self.days.is_empty() {
            calendar["days"] = json!(self.days);
            changed = true;
        }
        if !self.blackout.is_empty() {
            let all: Result<Vec<Value>, Ended> = all_but("--blackout", &self.blackout, "none")?
                .iter()
                .map(|b| blackout(b))
                .collect();
            calendar["blackouts"] = json!(all?);
            changed = true;
        }
        if changed {
            body["calendar"] = calendar;
        }
        if let Some(capacity) = self.capacity {
            body["capacity"] = json!(capacity);
        }
        if !self.gap.is_empty() {
            body["gap"] = limits(&self.gap)?;
        }
        let mut gate = part("gate");
        if let Some(percent) = self.gate_settled {
            gate["settled_percent"] = json!(percent);
        }
        if let Some(percent) = self.gate_failed {
            gate["most_failed_percent"] = json!(percent);
        }
        if let Some(sign) = &self.gate_sign_off {
            gate["sign_off"] = json!(sign == "yes");
        }
        if self.gate_settled.is_some() || self.gate_failed.is_some() || self.gate_sign_off.is_some()
        {
            body["gate"] = gate;
        }
        let mut stop = part("stop");
        let mut changed = false;
        for (key, given) in [
            ("failed", self.stop_failed),
            ("failed_percent", self.stop_failed_percent.map(u32::from)),
            ("long_holds", self.stop_long_holds),
        ] {
            if let Some(given) = given {
                stop[key] = json!(given);
                changed = true;
            }
        }
        if let Some(expiries) = &self.stop_expiries {
            stop["expiries"] = json!(expiries == "yes");
            changed = true;
        }
        if changed {
            body["stop"] = stop;
        }
        if !self.prerequisite.is_empty() {
            body["prerequisites"] = json!(all_but("--prerequisite", &self.prerequisite, "none")?);
        }
        Ok(body)
    }
}

impl Terms {
    /// The services by Apple's identifiers, also where they were named as people know them. Where Apple cannot be asked, what
    /// was given is taken.
    async fn originals(&self, client: &Client, body: &mut Value) -> Result<(), Ended> {
        let named = body.get_mut("originals").and_then(Value::as_array_mut);
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            return Ok(());
        };
        let Ok(known) = client.get("/api/v1/business/services").await else {
            return Ok(());
        };
        let known = known["services"].as_array().cloned().unwrap_or_default();
        for service in named {
            let is = |row: &&Value| row["id"] == *service || row["name"] == *service;
            let mut fits = known.iter().filter(is);
            *service = match (fits.next(), fits.next()) {
                (Some(only), None) => only["id"].clone(),
                (found, _) => {
                    let names: Vec<String> = known
                        .iter()
                        .map(|row| format!("{} ({})", cell(&row["name"]), cell(&row["id"])))
                        .collect();
                    let what = match found {
                        Some(_) => "several services are called that",
                        None => "is no service of the organisation",
                    };
                    let why = anyhow!(
                        "--original {}: {what}; there are {}",
                        cell(service),
                        names.join(", ")
                    );
                    return Err(why).means(Exit::BadInput);
                }
            };
        }
        Ok(())
    }

    async fn runbooks(&self, client: &Client, body: &mut Value) -> Result<(), Ended> {
        if !self.runbook.is_empty() {
            body["runbooks"] = super::migration::runbooks(client, &self.runbook).await?;
        }
        Ok(())
    }
}

/// What was named, where the one word that means nothing at all is none of it.
fn all_but<'a>(flag: &str, named: &'a [String], nothing: &str) -> Result<&'a [String], Ended> {
    match named {
        [only] if only == nothing => Ok(&[]),
        all if all.iter().any(|one| one == nothing) => {
            let why = anyhow!("{flag}: `{nothing}` stands alone, without another beside it");
            Err(why).means(Exit::BadInput)
        }
        all => Ok(all),
    }
}

/// Limits of groups, as the API takes them.
fn limits(all: &[String]) -> Result<Value, Ended> {
    let mut limits = json!({});
    if let [none] = all
        && none == "none"
    {
        return Ok(limits);
    }
    for text in all {
        // The name may have such a sign too.
        let read = text.rsplit_once('=').and_then(|(group, most)| {
            let most: u32 = most.parse().ok()?;
            match group.split_once(':') {
                Some(("group", name)) => limits["groups"][name] = json!(most),
                Some(("tag", name)) => limits["tags"][name] = json!(most),
                None if group == "each-group" => limits["each_group"] = json!(most),
                _ => return None,
            }
            Some(())
        });
        read.ok_or_else(|| {
            anyhow!("--gap: must be like group:Sales=5, tag:till=1, each-group=10, or none")
        })
        .means(Exit::BadInput)?;
    }
    Ok(limits)
}

/// Days that are kept free, as the API takes them.
fn blackout(text: &str) -> Result<Value, Ended> {
    let (days, why) = text.split_once('=').unwrap_or((text, ""));
    let (first, last) = days.split_once('/').unwrap_or((days, days));
    let day = |day: &str| {
        let read = Day::parse(day).map_err(|_| {
            anyhow!(
                "--blackout {text}: must be a day like 2026-12-24 or DAY/DAY, with =WHY behind it"
            )
        });
        read.means(Exit::BadInput)
    };
    Ok(json!({ "first": day(first)?, "last": day(last)?, "why": why }))
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
                    "project {} is {}, switched off; `mdmd project on {name}` turns it on",
                    cell(&made["id"]),
                    cell(&made["name"])
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

async fn purge(common: &Common, args: &Purge) -> Done {
    let client = Client::acting(common, &args.place).await?;
    let path = format!("{}/purge", path(&client, &args.project).await?);
    let mut body = json!({ "other": args.other });
    let Some(digest) = &args.accept else {
        let plan = client.post(&format!("{path}/plan"), &body).await?;
        super::print(common, &plan, show_purge);
        let goes = plan["goes"].as_object().map_or(0, serde_json::Map::len);
        let why = match goes {
            0 => anyhow!("nothing was destroyed, and nothing would be"),
            _ => anyhow!(
                "nothing was destroyed; --accept {} does what is planned here",
                cell(&plan["digest"])
            ),
        };
        return Err(why).means(Exit::Precondition);
    };
    body["reason"] = json!(args.reason);
    body["digest"] = json!(digest);
    let said =
        "these keys, codes and passwords are gone for good; backups made before still have them.";
    let done = client.act(&path, &body, said).await?;
    super::print(common, &done, show_purge);
    Ok(())
}

fn show_purge(purge: &Value) {
    for (kind, count) in purge["goes"].as_object().into_iter().flatten() {
        println!("goes   {count} of {kind}");
    }
    for (why, count) in purge["stays"].as_object().into_iter().flatten() {
        println!("stay   {count}: {why}");
    }
    let columns = [("STAYS", "serial"), ("KIND", "kind"), ("WHY", "why")];
    if purge["kept"]
        .as_array()
        .is_some_and(|kept| !kept.is_empty())
    {
        table(&purge["kept"], &columns);
    }
    println!("digest {}", cell(&purge["digest"]));
}

async fn export(common: &Common, place: &Where, project: &str, out: Option<&Path>) -> Done {
    // The record says that it was taken along.
    let client = Client::exporting(common, place).await?;
    let file = NewFile::maybe(out, 0o600)?;
    let path = format!("{}/plan", path(&client, project).await?);
    let plan = client.get(&path).await?;
    let Some(file) = file else {
        println!("{plan:#}");
        return Ok(());
    };
    file.fill(format!("{plan:#}\n").as_bytes())?;
    let members = |wave: &Value| wave["members"].as_array().map_or(0, Vec::len);
    let waves = plan["waves"].as_array();
    let answer = json!({
        "file": out, "waves": waves.map_or(0, Vec::len),
        "members": waves.into_iter().flatten().map(members).sum::<usize>(),
    });
    super::print(common, &answer, |answer| {
        println!(
            "{} waves with {} members written to {}",
            cell(&answer["waves"]),
            cell(&answer["members"]),
            cell(&answer["file"])
        );
    });
    Ok(())
}

async fn import(common: &Common, place: &Where, file: &Path) -> Done {
    let plan = super::secret_file::read(file)?;
    let plan: Value = serde_json::from_slice(&plan)
        .map_err(|error| anyhow!("{}: line {}: this is no JSON", file.display(), error.line()))
        .means(Exit::BadInput)?;
    let client = Client::acting(common, place).await?;
    let taken = client.act_patiently("/api/v1/plans", &plan, "a project is made, switched off.");
    let taken = taken.await?;
    super::print(common, &taken, |taken| {
        let made = match taken["made"] == true {
            true => "made, switched off",
            false => "was there",
        };
        println!("project   {}, {made}", cell(&taken["project"]["name"]));
        for (wave, added) in taken["added"].as_object().into_iter().flatten() {
            let there = cell(&taken["there"][wave]);
            println!("{wave}   {} added, {there} were there", cell(added));
        }
        for (platform, names) in taken["profiles_left_out"].as_object().into_iter().flatten() {
            println!("profiles of {platform} to be brought in apart: {names}");
        }
        for sentence in super::rows(&taken["differs"]) {
            println!("stays     {}", cell(sentence));
        }
        let rows = taken["rejected"].as_object().into_iter().flatten();
        let rows = rows.map(|(serial, why)| json!({ "serial": serial, "why": why }));
        table(&rows.collect(), &[("NOT TAKEN", "serial"), ("WHY", "why")]);
    });
    let rejected = taken["rejected"].as_object();
    let rejected = rejected.map_or(0, serde_json::Map::len);
    match (rejected, super::rows(&taken["differs"]).count()) {
        (0, 0) => Ok(()),
        (0, _) => Err(anyhow!(
            "what is there already is not as in the plan, and stays"
        ))
        .means(Exit::Disagrees),
        (some, _) => Err(anyhow!("{some} devices were not taken")).means(Exit::Disagrees),
    }
}

async fn path(client: &Client, project: &str) -> Result<String, Ended> {
    Ok(format!(
        "/api/v1/projects/{}",
        number(client, project).await?
    ))
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

fn show(shown: &Value) {
    let project = &shown["project"];
    let line = |name: &str, value: String| println!("{name:<14} {value}");
    let joined = |value: &Value| -> String {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(cell).collect();
        all.join(" ")
    };
    line(
        "project",
        format!("{} ({})", cell(&project["name"]), cell(&project["id"])),
    );
    line("on", cell(&project["on"]));
    line("revision", cell(&project["revision"]));
    line(
        "leaves",
        match joined(&project["originals"]) {
            all if all.is_empty() => "any service but ours".to_owned(),
            all => all,
        },
    );
    let window = &project["window"];
    line(
        "window",
        format!(
            "{} to {}",
            cell(&window["not_before"]),
            cell(&window["not_after"])
        ),
    );
    let calendar = &project["calendar"];
    line(
        "deadlines",
        format!(
            "{} from {} until {}, {} where nothing else is known",
            joined(&calendar["days"]),
            cell(&calendar["from"]),
            cell(&calendar["until"]),
            cell(&calendar["zone"])
        ),
    );
    for free in calendar["blackouts"].as_array().into_iter().flatten() {
        line(
            "kept free",
            format!(
                "{} to {}  {}",
                cell(&free["first"]),
                cell(&free["last"]),
                cell(&free["why"])
            ),
        );
    }
    line(
        "at once",
        format!("{} devices in a hold", cell(&project["capacity"])),
    );
    let gap = &project["gap"];
    for (kind, all) in [("group", &gap["groups"]), ("tag", &gap["tags"])] {
        for (name, most) in all.as_object().into_iter().flatten() {
            line(
                "in the gap",
                format!("{} of the {kind} {}", cell(most), cell(&json!(name))),
            );
        }
    }
    if gap["each_group"].is_u64() {
        line(
            "in the gap",
            format!("{} of each other group", cell(&gap["each_group"])),
        );
    }
    for (platform, runbook) in project["runbooks"].as_object().into_iter().flatten() {
        line(
            "runbook",
            format!("{platform}, pinned as {}", cell(runbook)),
        );
    }
    let gate = &project["gate"];
    line(
        "gate",
        format!(
            "{} of a hundred migrated, at most {} failed or with exceptions{}",
            cell(&gate["settled_percent"]),
            cell(&gate["most_failed_percent"]),
            if gate["sign_off"] == true {
                ", signed"
            } else {
                ""
            }
        ),
    );
    let stop = &project["stop"];
    line(
        "stops",
        format!(
            "at {} failed or with exceptions that are {} of a hundred, at {} held for long{}",
            cell(&stop["failed"]),
            cell(&stop["failed_percent"]),
            cell(&stop["long_holds"]),
            if stop["expiries"] == true {
                ", and when something ends before the last deadline"
            } else {
                ""
            }
        ),
    );
    if project["prerequisites"]
        .as_array()
        .is_some_and(|p| !p.is_empty())
    {
        line("prerequisites", joined(&project["prerequisites"]));
    }
    let waves: Vec<Value> = shown["waves"]
        .as_array()
        .into_iter()
        .flatten()
        .map(super::wave::row)
        .collect();
    if !waves.is_empty() {
        println!();
        table(&Value::Array(waves), &super::wave::COLUMNS);
    }
}
