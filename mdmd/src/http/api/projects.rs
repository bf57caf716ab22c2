//! Projects: a whole move with its window, its calendar, its gates and its switch.

use axum::Extension;
use mdm_core::audit::Role;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, ProjectId, ServerId};
use mdm_core::project::Project;
use mdm_core::service::{Org, PlanFile, ProjectChange};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::migrations::only_server;
use super::tagged::Version;
use super::{About, Answer, By, Page, cut_by_id, refused, shown, whole};
use crate::reports::SERVER;

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let projects = org.projects().await.map_err(refused)?;
    let (projects, next) = cut_by_id(projects, &which, |project| project.id.0);
    shown(told! { projects: projects, next: next })
}

pub(super) async fn show(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let project = org.project(ProjectId(id)).await.map_err(refused)?;
    let version = Version::of_row(project.version);
    Ok(Versioned::of(version, with_waves(&org, project).await?))
}

/// A project with how its waves stand.
async fn with_waves(org: &Org, project: Project) -> Result<impl Shows + use<>, Refusal> {
    let mut waves = Vec::new();
    for wave in org.waves_of(project.id).await.map_err(refused)? {
        waves.push(org.standing(wave.id).await.map_err(refused)?);
    }
    Ok(told! { project: project, waves: waves })
}

/// A new one.
#[derive(Deserialize, JsonSchema)]
pub(super) struct New {
    name: String,
    destination: Option<ServerId>,
    #[serde(flatten)]
    #[schemars(with = "ProjectChange")]
    change: Value,
}

pub(super) async fn new(
    About { office, org, .. }: About,
    Sent(sent): Sent<New>,
) -> Answer<impl Shows> {
    let destination = match sent.destination {
        Some(destination) => destination,
        None => only_server(&office, &org).await?,
    };
    let change = change(sent.change)?;
    let made = org.new_project(&sent.name, destination, &change).await;
    shown(made.map_err(refused)?)
}

/// What stands beside the name, read by itself so that a key that is not known is named.
fn change(sent: Value) -> Result<ProjectChange, Refusal> {
    serde_path_to_error::deserialize(sent).map_err(|error| {
        let path = error.path().to_string();
        refused(super::asked::problem(
            "body",
            &path,
            &error.into_inner().to_string(),
        ))
    })
}

pub(super) async fn alter(
    About { org, .. }: About,
    Extension(caller): By,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<ProjectChange>,
) -> Answer<impl Shows> {
    if (sent.gate.is_some() || sent.stop.is_some()) && caller.role < Role::Approver {
        let why = "what opens a gate and what stops a wave is changed by an approver";
        return Err(refused(Error::Refused(why)));
    }
    let changed = org.change_project(ProjectId(id), &sent).await;
    shown(changed.map_err(refused)?)
}

pub(super) async fn plan(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let plan = whole(org.plan_file(ProjectId(id))).await;
    let mut plan = plan.map_err(refused)?;
    plan.server = Some(SERVER.to_owned());
    shown(plan)
}

pub(super) async fn take_plan(
    About { org, .. }: About,
    Sent(plan): Sent<PlanFile>,
) -> Answer<impl Shows> {
    shown(org.take_plan(&plan).await.map_err(refused)?)
}

/// Which way.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    on: bool,
}

pub(super) async fn switch(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Switch>,
) -> Answer<impl Shows> {
    let switched = org.switch_project(ProjectId(id), sent.on).await;
    shown(switched.map_err(refused)?)
}

pub(super) async fn close(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let closed = org.close_project(ProjectId(id)).await;
    shown(closed.map_err(refused)?)
}

/// What is looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeAsked {
    #[serde(default)]
    other: bool,
}

pub(super) async fn purge_plan(
    About { org, .. }: About,
    Path(id): Path<i64>,
    Sent(sent): Sent<PurgeAsked>,
) -> Answer<impl Shows> {
    let plan = org.purge_plan(ProjectId(id), sent.other).await;
    shown(plan.map_err(refused)?)
}

/// What is accepted, and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeAccepted {
    reason: String,
    digest: String,
    #[serde(default)]
    other: bool,
}

pub(super) async fn purge(
    About { org, .. }: About,
    Path(id): Path<i64>,
    Sent(sent): Sent<PurgeAccepted>,
) -> Answer<impl Shows> {
    let done = org.purge(ProjectId(id), sent.other, &sent.reason, &sent.digest);
    shown(done.await.map_err(refused)?)
}
