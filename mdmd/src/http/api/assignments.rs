//! ADE profiles: what they say, what is defined at Apple and proved, and having them assigned.

use mdm_core::ids::Serial;
use mdm_core::organisation::AdeOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{About, Answer, refused, shown};

/// For which devices.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Serials {
    serials: Vec<Serial>,
}

pub(super) async fn assign(
    About { office, org, .. }: About,
    Sent(sent): Sent<Serials>,
) -> Answer<impl Shows> {
    org.assign_profiles(&sent.serials).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { devices: sent.serials.len() })
}

pub(super) async fn profiles(
    About { office, org, .. }: About,
) -> Result<Versioned<impl Shows>, Refusal> {
    let servers = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    let servers: Vec<_> = servers
        .iter()
        .map(|server| {
            let current = server.profile.as_ref().map(|p| p.uuid.as_str());
            let profiles: Vec<_> = server
                .profiles
                .values()
                .map(|p| {
                    told! {
                        uuid: p.uuid.clone(),
                        digest: p.digest.clone(),
                        proved_awaiting: p.proved_awaiting,
                        current: current == Some(p.uuid.as_str()),
                    }
                })
                .collect();
            told! {
                id: server.id,
                name: server.name.clone(),
                profiles: profiles,
                proved: org.ade_profile_stands(server),
                needs_person: server.needs().map(str::to_owned),
            }
        })
        .collect();
    // Of what it says, and not of how far it is defined at Apple: that changes by itself.
    let version = Part::AdeProfile.of(org.organisation());
    let answer = told! { options: org.organisation().settings.ade.clone(), servers: servers };
    Ok(Versioned::of(version, answer))
}

pub(super) async fn set(
    About { office, org, .. }: About,
    Sent(sent): Sent<AdeOptions>,
) -> Answer<impl Shows> {
    org.set_ade_profile(&sent).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { options: sent })
}
