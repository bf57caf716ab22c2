//! Templates of the installation. They are made and pushed on the machine itself; an organisation sees the one that is in force there.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationCode;
use mdm_core::migration::SentRunbook;
use mdm_core::template::TemplateContent;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::error::Refusal;
use super::asked::{Query, problem};
use super::described::{Shows, Unread, Versioned, told};
use super::tagged::Version;
use super::{
    About, Answer, Asked, At, By, Called, Caller, Office, Which, cut_by_name, refused, shown,
};

/// Whoever comes through the local socket; nobody else, and of a neighbour nobody hears.
async fn local(office: &Office, caller: &Caller, which: &Which) -> Result<(), Refusal> {
    if caller.organisation.is_none() {
        return Ok(());
    }
    caller.organisation(&office.mdm, which).await?;
    let why = "templates are made and pushed on the machine itself, through its local socket";
    Err(refused(Error::Refused(why)))
}

pub(super) async fn list(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    Query(wanted): Query<Called>,
) -> Result<Versioned<impl Shows>, Refusal> {
    local(&office, &caller, &which).await?;
    let (all, version) = match &wanted.name {
        None => (office.mdm.templates().await.map_err(refused)?, None),
        Some(name) => {
            let one = office.mdm.template(name).await.map_err(refused)?;
            let version = Version::of_row(one.template.version);
            (vec![one], Some(version))
        }
    };
    let (after, limit) = (wanted.after.as_deref(), wanted.limit);
    let (all, next) = cut_by_name(all, after, limit, |view| &view.template.name);
    let answer = told! { templates: all, next: next };
    Ok(Versioned::of(version, answer))
}

pub(super) async fn own(About { org, .. }: About) -> Answer<impl Shows> {
    let found = org.pushed_template().await.map_err(refused)?;
    let (template, drift) = found.unzip();
    shown(told! { template: template, drift: drift.unwrap_or_default() })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    name: String,
    #[schemars(with = "TemplateContent")]
    template: Value,
    /// The edit that it was made from; 0 for one that is not there.
    revision: Option<u32>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn edit(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Unread<Edit>,
) -> Answer<impl Shows> {
    local(&office, &caller, &which).await?;
    let sent = sent.read(&office).await?;
    let by = &caller.name;
    let template = content(&sent.template)?;
    let made = office
        .mdm
        .edit_template(&sent.name, &template, sent.revision, by, &sent.reason);
    shown(made.await.map_err(refused)?)
}

/// A template as it was sent; in its runbooks, too, every key is known.
fn content(sent: &Value) -> Result<TemplateContent, Refusal> {
    if let Some(runbooks) = sent.get("runbooks") {
        let _: BTreeMap<Platform, SentRunbook> = part(runbooks, "template.runbooks")?;
    }
    part(sent, "template")
}

fn part<T: DeserializeOwned>(sent: &Value, at: &str) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(sent).map_err(|error| {
        let path = match error.path().to_string() {
            whole if whole == "." => at.to_owned(),
            path => format!("{at}.{path}"),
        };
        refused(problem("body", &path, &error.into_inner().to_string()))
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    name: String,
    /// Codes of organisations.
    organisations: Vec<OrganisationCode>,
}

pub(super) async fn push(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Unread<Push>,
) -> Answer<impl Shows> {
    local(&office, &caller, &which).await?;
    let sent = sent.read(&office).await?;
    office.mdm.template(&sent.name).await.map_err(refused)?;
    let mut results = Vec::new();
    for code in sent.organisations {
        let org = office.mdm.organisation(&code).await;
        let done = match org {
            Ok(org) => org.acting_for(&caller.name).push_template(&sent.name).await,
            Err(error) => Err(error),
        };
        let why = match &done {
            Err(error) if error.retry_after().is_some() => {
                return Err(refused(Error::Precondition(error.to_string())));
            }
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        let revision = done.ok().map(|pushed| pushed.revision);
        results.push(told! { organisation: code, revision: revision, why: why });
    }
    shown(told! { name: sent.name, results: results })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    name: String,
    /// From these organisations; out of use where none is named.
    #[serde(default)]
    organisations: Vec<OrganisationCode>,
}

pub(super) async fn remove(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Unread<Remove>,
) -> Answer<impl Shows> {
    local(&office, &caller, &which).await?;
    let sent = sent.read(&office).await?;
    if sent.organisations.is_empty() {
        let gone = office.mdm.remove_template(&sent.name).await;
        gone.map_err(refused)?;
    }
    for code in &sent.organisations {
        let org = office.mdm.organisation(code).await.map_err(refused)?;
        let org = org.acting_for(&caller.name);
        org.take_template(&sent.name).await.map_err(refused)?;
    }
    shown(told! { name: sent.name, organisations: sent.organisations })
}
