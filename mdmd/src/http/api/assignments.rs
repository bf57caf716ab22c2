//! ADE profiles: what they say, what is defined at Apple and proved, and having them assigned.

use axum::body::Body;
use mdm_core::ids::Serial;
use mdm_core::organisation::AdeOptions;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{About, Answer, read, refused, shown};

/// For which devices.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    serials: Vec<Serial>,
}

pub(super) async fn assign(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: Sent = read(&office, sent).await?;
    org.assign_profiles(&sent.serials).await.map_err(refused)?;
    office.poke.notify_one();
    shown(json!({ "devices": sent.serials.len() }))
}

pub(super) async fn profiles(About { office, org, .. }: About) -> Answer {
    let servers = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    let servers: Vec<Value> = servers
        .iter()
        .map(|server| {
            let current = server.profile.as_ref().map(|p| p.uuid.as_str());
            let profiles: Vec<Value> = server
                .profiles
                .values()
                .map(|p| {
                    json!({
                        "uuid": p.uuid,
                        "digest": p.digest,
                        "proved_awaiting": p.proved_awaiting,
                        "current": current == Some(p.uuid.as_str()),
                    })
                })
                .collect();
            json!({
                "id": server.id,
                "name": server.name,
                "profiles": profiles,
                "proved": org.ade_profile_stands(server),
                "needs_person": server.needs(),
            })
        })
        .collect();
    shown(json!({ "options": org.organisation().settings.ade, "servers": servers }))
}

pub(super) async fn set(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: AdeOptions = read(&office, sent).await?;
    org.set_ade_profile(&sent).await.map_err(refused)?;
    office.poke.notify_one();
    shown(json!({ "options": sent }))
}
