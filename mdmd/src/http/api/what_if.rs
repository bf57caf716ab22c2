//! The what-if: what the original service knew of devices comes in and is shown, plans and waves are looked at with every check.
//! Sends nothing to anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult, Unknowns};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, Serial, ServerId, WaveId};
use mdm_core::migration::{AppAction, PinnedRunbook, sent_runbooks};
use mdm_core::original::Said;
use mdm_core::service::{Detail, Question};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::asked::{Path, Query};
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::migrations::only_server;
use super::{About, Answer, Names, cut_by_name, refused, shown};

/// What is looked at where nobody says a deadline.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const DAY: Duration = Duration::from_hours(24);

/// What a file of the original service says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    from: String,
    taken: Option<Timestamp>,
    devices: Vec<Said>,
}

pub(super) async fn import(
    About { office, org, .. }: About,
    Sent(sent): Sent<Import>,
) -> Answer<impl Shows> {
    let taken = sent.taken.unwrap_or_else(|| office.mdm.now());
    let outcome = org.import_originals(&sent.from, taken, sent.devices).await;
    shown(outcome.map_err(refused)?)
}

pub(super) async fn original(
    About { org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    shown(org.original(&serial).await.map_err(refused)?)
}

pub(super) async fn apps(About { org, which, .. }: About<Names>) -> Answer<impl Shows> {
    let (apps, devices) = org.original_apps(None).await.map_err(refused)?;
    // By what does not change while lists are brought in.
    let after = which.after.as_deref();
    let (apps, next) = cut_by_name(apps, after, which.limit, |app| &app.bundle_id);
    shown(told! { apps: apps, devices: devices, next: next })
}

/// A plan to be looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    serials: Vec<Serial>,
    deadline: Option<Timestamp>,
    available_from: Option<Timestamp>,
    destination: Option<ServerId>,
    #[serde(default, deserialize_with = "sent_runbooks")]
    runbooks: BTreeMap<Platform, PinnedRunbook>,
    #[serde(default)]
    detail: Keep,
    /// What is found is kept: the next look at the same devices, or at the list of the same name, says what has come and gone since.
    #[serde(default)]
    keep: bool,
    /// The name of the list, where its devices are not always the same ones.
    list: Option<String>,
}

/// How much of each device is shown.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Keep {
    Counts,
    #[default]
    Problems,
    Everything,
}

impl From<Keep> for Detail {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Counts => Self::Counts,
            Keep::Problems => Self::Problems,
            Keep::Everything => Self::Everything,
        }
    }
}

/// A deadline where nobody gives one: the same all day, so that what is found stays the same. At noon, when people work.
fn some_day(now: Timestamp) -> Timestamp {
    let day = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
    let month = (now + MONTH).as_millis();
    Timestamp::from_millis(month - month.rem_euclid(day)) + DAY / 2
}

pub(super) async fn check(
    About { office, org, .. }: About,
    Sent(asking): Sent<Asking>,
) -> Answer<impl Shows> {
    let now = office.mdm.now();
    let destination = match asking.destination {
        Some(destination) => destination,
        None => only_server(&office, &org).await?,
    };
    let runbooks = org.runbooks_of_list(asking.runbooks).await;
    let question = Question {
        serials: asking.serials,
        destination,
        deadline: asking.deadline.unwrap_or_else(|| some_day(now)),
        available_from: asking.available_from.unwrap_or(now),
        runbooks: runbooks.map_err(refused)?,
        undated: asking.deadline.is_none(),
    };
    let (detail, list) = (asking.detail.into(), asking.list.as_deref());
    let report = org.check_list(&question, detail, list, asking.keep).await;
    shown(report.map_err(refused)?)
}

/// How much of each member of a wave is wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(default)]
    detail: Keep,
}

pub(super) async fn wave(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Query(wanted): Query<Wanted>,
) -> Answer<impl Shows> {
    let report = org.look_at_wave(WaveId(id), wanted.detail.into()).await;
    shown(report.map_err(refused)?)
}

pub(super) async fn rules(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let settings = &org.organisation().settings;
    let version = Part::Rules.of(org.organisation());
    let answer = table(&settings.unknowns, settings.notice_hours);
    Ok(Versioned::of(version, answer))
}

/// Rules by checks, where nothing takes a rule back, and the notice that people have; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    #[serde(default)]
    unknown: BTreeMap<Check, Option<CheckResult>>,
    notice_hours: Option<u32>,
}

pub(super) async fn set_rules(
    About { org, .. }: About,
    Sent(sent): Sent<Rules>,
) -> Answer<impl Shows> {
    let settings = org.set_what_if(&sent.unknown, sent.notice_hours).await;
    let settings = settings.map_err(refused)?;
    shown(table(&settings.unknowns, settings.notice_hours))
}

/// What an unknown of each check counts as, and the least notice.
fn table(rules: &Unknowns, notice_hours: u32) -> impl Shows + use<> {
    let rows: Vec<_> = Check::ALL
        .iter()
        .map(|check| {
            told! {
                check: *check,
                mac: rules.of(*check, Some(Platform::Macos)),
                iphone_ipad: rules.of(*check, Some(Platform::Ios)),
                own_rule: rules.0.get(check).copied(),
            }
        })
        .collect();
    told! { checks: rows, notice_hours: notice_hours }
}

/// Which runbook is wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Standard {
    platform: Option<Platform>,
    apps: Option<AppAction>,
}

pub(super) async fn runbook(
    About { org, .. }: About,
    Query(wanted): Query<Standard>,
) -> Answer<impl Shows> {
    // Whose it is comes first: a stranger is not told what is missing.
    let platform = wanted
        .platform
        .ok_or_else(|| refused(Error::bad_input("platform", "must be ios, ipados or macos")))?;
    let runbook = org.standard_runbook(platform, wanted.apps).await;
    shown(runbook.map_err(refused)?)
}
