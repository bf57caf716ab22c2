//! What a project says, as people name it on the command line and as the API takes it.

use anyhow::anyhow;
use mdm_core::calendar::{FreeBound, TimeOfDay, Zone};
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::{Ended, Exit, Means as _, cell, migration};

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
    /// Days that are kept free, e.g. 2026-12-21/2027-01-03=holidays, or times, as clocks show them where owners live, e.g.
    /// 2026-12-24T12:00/2026-12-28T10:00=closing. Those that are named are all there are; `none` is none.
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
    /// The runbook of a platform (ios, ipados, macos): a file of JSON, the name of one that the server keeps, or `standard` (`none` says
    /// the same) for the usual one, which a new project has of each platform that is left out.
    #[arg(long, value_name = "PLATFORM=RUNBOOK")]
    runbook: Vec<String>,
}

impl Terms {
    /// As the API takes them; `known` is the project as it is, for what is changed in part.
    pub(super) fn body(&self, known: Option<&Value>) -> Result<Value, Ended> {
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
                        text => json!(migration::moment(&flag, text)?),
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
            calendar["blackouts"] = kept_free(&self.blackout)?;
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

    /// The services by Apple's identifiers, also where they were named as people know them. Where Apple cannot be asked, what
    /// was given is taken.
    pub(super) async fn originals(&self, client: &Client, body: &mut Value) -> Result<(), Ended> {
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

    pub(super) async fn runbooks(&self, client: &Client, body: &mut Value) -> Result<(), Ended> {
        if !self.runbook.is_empty() {
            body["runbooks"] = migration::runbooks(client, &self.runbook).await?;
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

/// All that is kept free, as a calendar of the API has it.
pub(in crate::cli) fn kept_free(named: &[String]) -> Result<Value, Ended> {
    let all = all_but("--blackout", named, "none")?.iter();
    let all: Result<Vec<Value>, Ended> = all.map(|free| blackout(free)).collect();
    Ok(json!(all?))
}

/// Days and times that are kept free, as the API takes them.
fn blackout(text: &str) -> Result<Value, Ended> {
    let (free, why) = text.split_once('=').unwrap_or((text, ""));
    let (first, last) = free.split_once('/').unwrap_or((free, free));
    let bound = |bound: &str| {
        FreeBound::parse(bound)
            .map_err(|_| {
                anyhow!(
                    "--blackout {text}: must be a day like 2026-12-24, DAY/DAY, or times of days like 2026-12-24T18:00/2026-12-27T06:00, \
                     with =WHY behind it"
                )
            })
            .means(Exit::BadInput)
    };
    let (first, last) = (bound(first)?, bound(last)?);
    if first == last && first.is_time() {
        let why = anyhow!(
            "--blackout {text}: from a time to the same time nothing is kept free; name the time at which it is over behind it, \
             as in 2026-12-24T18:00/2026-12-27T06:00"
        );
        return Err(why).means(Exit::BadInput);
    }
    Ok(json!({ "first": first, "last": last, "why": why }))
}
