//! `mdmd runbook list|show|edit|remove|try`: plans of what happens in a hold, kept under a name by the server, edited here, and played on
//! simulated devices before anybody uses them.

use anyhow::{Context as _, anyhow};
use mdm_core::device::Platform;
use mdm_core::migration::{PinnedRunbook, Policy, StepId, StepPlan, Variant};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell, in_path, table};

/// Plans of what happens in a hold.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Runbook {
    /// Those that are kept under a name: their revisions, and where each is in use.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// One of them as JSON, or the standard one of a platform (ios, ipados, macos): what people begin with.
    Show {
        /// Its name, or the platform.
        name: String,
        /// Another edit than the one in force.
        #[arg(long)]
        revision: Option<u32>,
        /// For a platform: puts every app that its devices have from the service that they leave into the table, with this fate.
        #[arg(long, value_name = "FATE", value_parser = ["keep-if-present", "install", "drop"])]
        apps: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Edit one, or begin one: with changes, from a file, or in the editor (VISUAL, EDITOR).
    Edit(Box<Edit>),
    /// Take one out of use that nothing goes by any more; attempts keep what was pinned for them.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Play one on simulated devices, and show what happened to each of them.
    #[cfg(feature = "world")]
    Try(Box<super::runbook_try::Try>),
}

/// An edit.
#[derive(clap::Args, Debug)]
pub(crate) struct Edit {
    /// What people call it.
    name: String,
    /// Changes: STEP.FIELD=VALUE (requires, required, timeout, retries, on_timeout), or lock, soft_ceiling, hard_ceiling, as in
    /// network.timeout=5m, trust.requires=identify, lock=true.
    #[arg(value_name = "CHANGE")]
    changes: Vec<String>,
    /// Whose devices it is for (ios, ipados, macos); needed for a new one.
    #[arg(long, value_name = "PLATFORM", value_parser = ["ios", "ipados", "macos"])]
    platform: Option<String>,
    /// The whole runbook as JSON from this file, `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["changes", "add", "remove"])]
    file: Option<String>,
    /// Puts a step into it as it usually is.
    #[arg(long, value_name = "STEP")]
    add: Vec<String>,
    /// Takes a step out of it.
    #[arg(long, value_name = "STEP")]
    remove: Vec<String>,
    /// Why; goes into the record.
    #[arg(long, value_parser = super::sentence)]
    reason: Option<String>,
    /// Only says whether it could be kept.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, command: &Runbook) -> Done {
    match command {
        Runbook::List { place } => list(common, place).await,
        Runbook::Show {
            name,
            revision,
            apps,
            place,
        } => {
            let client = Client::looking(common, place).await?;
            let answer = content(&client, name, *revision, apps.as_deref()).await?;
            super::print(common, &answer, |answer| println!("{answer:#}"));
            Ok(())
        }
        Runbook::Edit(edit) => self::edit(common, edit).await,
        Runbook::Remove { name, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/runbooks/{}/remove", in_path(name));
            let said = "nothing is planned with it any more; what was submitted keeps its own.";
            let answer = client.act(&path, &json!({}), said).await?;
            super::print(common, &answer, |answer| {
                println!("{} is removed", cell(&answer["name"]));
            });
            Ok(())
        }
        #[cfg(feature = "world")]
        Runbook::Try(args) => super::runbook_try::run(common, args).await,
    }
}

async fn list(common: &Common, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let answer = client.pages("/api/v1/runbooks", "runbooks").await?;
    super::print(common, &answer, |answer| {
        let rows: Vec<Value> = answer["runbooks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|runbook| {
                let uses = runbook["uses"].as_array().into_iter().flatten();
                let uses: Vec<String> = uses.map(in_use).collect();
                let last = runbook["edits"].as_array().and_then(|edits| edits.last());
                let last = last.unwrap_or(&Value::Null);
                json!({
                    "name": runbook["name"], "platform": runbook["platform"], "revision": runbook["revision"],
                    "by": last["by"], "at": last["at"], "uses": uses.join(", "),
                })
            })
            .collect();
        table(
            &Value::Array(rows),
            &[
                ("NAME", "name"),
                ("PLATFORM", "platform"),
                ("REVISION", "revision"),
                ("EDITED BY", "by"),
                ("AT", "at"),
                ("IN USE", "uses"),
            ],
        );
    });
    Ok(())
}

fn in_use(place: &Value) -> String {
    let name = format!("{} {}", cell(&place["kind"]), cell(&place["name"]));
    match place["drift"].as_bool() {
        Some(true) => format!("{name} (revision {})", cell(&place["revision"])),
        _ => name,
    }
}

/// The content of a runbook: of a platform the standard one, else the one that is kept under this name.
pub(super) async fn content(
    client: &Client,
    name: &str,
    revision: Option<u32>,
    apps: Option<&str>,
) -> Result<Value, Ended> {
    if ["ios", "ipados", "macos"].contains(&name) {
        let mut path = format!("/api/v1/runbooks/standard?platform={name}");
        if let Some(fate) = apps {
            path.push_str("&apps=");
            path.push_str(fate);
        }
        return client.get(&path).await;
    }
    if apps.is_some() {
        return Err(anyhow!("--apps: goes with a platform")).means(Exit::BadInput);
    }
    Ok(kept(client, name, revision).await?["runbook"].take())
}

pub(super) async fn kept(
    client: &Client,
    name: &str,
    revision: Option<u32>,
) -> Result<Value, Ended> {
    let which = revision.map_or_else(String::new, |n| format!("?revision={n}"));
    client
        .get(&format!("/api/v1/runbooks/{}{which}", in_path(name)))
        .await
}

async fn edit(common: &Common, edit: &Edit) -> Done {
    let client = Client::acting(common, &edit.place).await?;
    let known = client.pages("/api/v1/runbooks", "runbooks").await?;
    let mut known = known["runbooks"].as_array().into_iter().flatten();
    let known = known.find(|it| {
        it["name"]
            .as_str()
            .is_some_and(|name| name.to_lowercase() == edit.name.to_lowercase())
    });
    let platform = match (known, &edit.platform) {
        (Some(known), None) => cell(&known["platform"]),
        (_, Some(platform)) => platform.clone(),
        (None, None) => {
            let why =
                "--platform: must say for whose devices the new runbook is: ios, ipados or macos";
            return Err(anyhow!(why)).means(Exit::BadInput);
        }
    };
    let (before, revision) = match known {
        Some(known) => {
            let mut kept = kept(&client, &edit.name, None).await?;
            (kept["runbook"].take(), known["revision"].clone())
        }
        None => (content(&client, &platform, None, None).await?, json!(0)),
    };
    let after = match &edit.file {
        Some(file) => from_file(file)?,
        None if edit.changes.is_empty() && edit.add.is_empty() && edit.remove.is_empty() => {
            in_editor(&before)?
        }
        None => changed(&before, edit).means(Exit::BadInput)?,
    };
    let body = json!({
        "name": edit.name, "platform": platform, "runbook": after,
        "revision": revision, "reason": edit.reason.as_deref().unwrap_or_default(), "dry": edit.dry_run,
    });
    let said = if edit.dry_run {
        "only looked at: nothing is kept."
    } else {
        "what is planned from now on gets it; what was submitted keeps its own."
    };
    let answer = client.act("/api/v1/runbooks", &body, said).await?;
    super::print(common, &answer, |answer| {
        let edits = answer["kept"]["edits"].as_array();
        match edits.and_then(|edits| edits.last()) {
            Some(last) => println!("{} is at revision {}", edit.name, cell(&last["revision"])),
            None => println!("{} could be kept; nothing was", edit.name),
        }
    });
    Ok(())
}

pub(super) fn from_file(file: &str) -> Result<Value, Ended> {
    let content = if file == "-" {
        std::io::read_to_string(std::io::stdin()).map(String::into_bytes)
    } else {
        std::fs::read(file)
    };
    let content = content
        .with_context(|| file.to_owned())
        .means(Exit::BadInput)?;
    serde_json::from_slice(&content)
        .with_context(|| file.to_owned())
        .means(Exit::BadInput)
}

/// Lets a person change it in their editor.
fn in_editor(before: &Value) -> Result<Value, Ended> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(std::env::var_os)
        .filter(|editor| !editor.is_empty())
        .context("nothing to change: name changes, --file, --add or --remove, or set EDITOR")
        .means(Exit::BadInput)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("runbook.json");
    std::fs::write(&file, format!("{before:#}\n"))?;
    // As a shell would, for an editor that has options.
    let ended = std::process::Command::new("sh")
        .args(["-c", "exec $MDMD_EDITOR \"$1\"", "sh"])
        .arg(&file)
        .env("MDMD_EDITOR", &editor)
        .status()
        .context("the editor could not be started")
        .means(Exit::Precondition)?;
    if !ended.success() {
        return Err(anyhow!(
            "the editor ended with an error: nothing was changed"
        ))
        .means(Exit::Precondition);
    }
    from_file(&file.display().to_string())
}

fn changed(before: &Value, edit: &Edit) -> anyhow::Result<Value> {
    let mut runbook: PinnedRunbook = serde_json::from_value(before.clone())?;
    for name in &edit.remove {
        let id = step_id(name)?;
        runbook.steps.retain(|step| step.id != id);
        for step in &mut runbook.steps {
            step.requires.retain(|required| *required != id);
        }
    }
    for name in &edit.add {
        add(&mut runbook, step_id(name)?);
    }
    for change in &edit.changes {
        apply(&mut runbook, change).with_context(|| change.clone())?;
    }
    Ok(serde_json::to_value(runbook)?)
}

fn add(runbook: &mut PinnedRunbook, id: StepId) {
    if runbook.step(id).is_some() {
        return;
    }
    if id == StepId::DeclareApps {
        *runbook = runbook.clone().with_declared_apps();
        return;
    }
    let mut step = StepPlan::standard(id);
    step.requires
        .retain(|required| runbook.step(*required).is_some());
    runbook.steps.push(step);
    for later in &mut runbook.steps {
        if later.id == StepId::Release && id < StepId::Release {
            later.requires.push(id);
        }
    }
    runbook.steps.sort_by_key(|step| step.id);
}

fn step_id(name: &str) -> anyhow::Result<StepId> {
    serde_json::from_value(json!(name)).map_err(|_| {
        let all: Vec<&str> = StepId::ALL.iter().map(|id| id.as_str()).collect();
        anyhow!("{name}: is no step; there are {}", all.join(", "))
    })
}

fn apply(runbook: &mut PinnedRunbook, change: &str) -> anyhow::Result<()> {
    let (path, value) = change.split_once('=').context("must be FIELD=VALUE")?;
    match path {
        "lock" => runbook.lock = yes(value)?,
        "soft_ceiling" => runbook.soft_ceiling_secs = seconds(value)?,
        "hard_ceiling" => runbook.hard_ceiling_secs = seconds(value)?,
        "variant" => {
            let read = serde_json::from_value::<Variant>(json!(value)).ok();
            runbook.variant = read.context("must be migration, uncertain or ordinary")?;
        }
        _ => {
            let (step, field) = path.split_once('.').context(
                "must be STEP.FIELD, lock, soft_ceiling, hard_ceiling or variant before the =",
            )?;
            let id = step_id(step)?;
            let step = runbook.steps.iter_mut().find(|step| step.id == id);
            let step = step.with_context(|| format!("{id} is not in the runbook; --add {id}"))?;
            match field {
                "required" => step.required = yes(value)?,
                "timeout" | "timeout_secs" => step.timeout_secs = seconds(value)?,
                "retries" => step.retries = value.parse().ok().context("must be a whole number")?,
                "on_timeout" => {
                    let read = serde_json::from_value::<Policy>(json!(value)).ok();
                    step.on_timeout =
                        read.context("must be block, release-with-exception or skip")?;
                }
                "requires" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    step.requires = names.map(step_id).collect::<anyhow::Result<_>>()?;
                }
                "only" => step.only = names(value),
                "tags" => step.tags = names(value),
                _ => anyhow::bail!(
                    "a step has requires, required, timeout, retries, on_timeout, only and tags"
                ),
            }
        }
    }
    Ok(())
}

fn names(value: &str) -> std::collections::BTreeSet<String> {
    let names = value.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn yes(value: &str) -> anyhow::Result<bool> {
    value.parse().ok().context("must be true or false")
}

/// `90`, `90s`, `15m`, `2h`.
fn seconds(value: &str) -> anyhow::Result<u64> {
    let (number, unit) = match value.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &value[number.len()..]),
        None => (value, "s"),
    };
    let factor = match unit {
        "m" => 60,
        "h" => 3600,
        _ => 1,
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .context("must be a time like 90s, 15m or 2h")
}

/// The platform of a word, as [`clap`] has let it through.
pub(super) fn platform_of(word: &str) -> Result<Platform, Ended> {
    serde_json::from_value(json!(word)).means(Exit::BadInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runbook() -> PinnedRunbook {
        PinnedRunbook::standard(Platform::Macos, Variant::Migration)
    }

    #[test]
    fn changes_reach_the_step_that_they_name() {
        let mut it = runbook();
        for change in [
            "network.timeout=5m",
            "network.retries=4",
            "network.on_timeout=block",
            "security.required=true",
            "security.requires=trust,network",
            "lock=true",
            "hard_ceiling=1h",
        ] {
            apply(&mut it, change).unwrap();
        }
        let network = it.step(StepId::Network).unwrap();
        assert_eq!((network.timeout_secs, network.retries), (300, 4));
        assert_eq!(network.on_timeout, Policy::Block);
        let security = it.step(StepId::Security).unwrap();
        assert_eq!(security.requires, [StepId::Trust, StepId::Network]);
        assert!(security.required && it.lock);
        assert_eq!(it.hard_ceiling_secs, 3600);
        it.validate_for(Platform::Macos).unwrap();
    }

    #[test]
    fn a_change_that_means_nothing_is_refused_with_its_reason() {
        for (change, why) in [
            ("network", "FIELD=VALUE"),
            ("netwrk.timeout=5m", "is no step"),
            ("recovery-lock.timeout=5m", "--add recovery-lock"),
            ("network.colour=red", "a step has"),
            ("network.timeout=5d", "90s, 15m or 2h"),
            ("network.timeout=99999999999999999999h", "90s, 15m or 2h"),
            ("lock=maybe", "true or false"),
        ] {
            let said = apply(&mut runbook(), change).unwrap_err();
            assert!(format!("{said:#}").contains(why), "{change}: {said:#}");
        }
    }

    #[test]
    fn a_step_that_is_added_is_waited_for() {
        let mut it = runbook();
        add(&mut it, StepId::RecoveryLock);
        add(&mut it, StepId::DeclareApps);
        it.validate_for(Platform::Macos).unwrap();
        let release = it.step(StepId::Release).unwrap();
        assert!(release.requires.contains(&StepId::RecoveryLock));
        assert!(release.requires.contains(&StepId::DeclareApps));
    }
}
