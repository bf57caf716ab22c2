//! Apple's credentials of an organisation: server tokens, push certificate, API account. They come in and are never shown.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use mdm_core::audit::Role;
use mdm_core::error::Error;
use mdm_core::identity::push_topic;
use mdm_core::ids::ServerId;
use mdm_core::secret::Secret;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Asked, At, By, Hidden, read, refused, shown};

/// A decrypted server token and, for a renewal, the entry that it must be for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerToken {
    token: Hidden,
    renews: Option<i64>,
}

/// Certificate and key, PEM.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PushCertificate {
    certificate: String,
    key: Hidden,
}

/// An account of the organisation API with its key, PEM.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiAccount {
    client_id: String,
    key_id: String,
    key: Hidden,
}

pub(super) async fn server_tokens(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
) -> Answer {
    let org = caller
        .organisation(&office.mdm, &which, Role::Viewer)
        .await?;
    let rows = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|server| {
            json!({
                "id": server.id,
                "name": server.name,
                "uuid": server.uuid,
                "token_expires": server.token_expires,
                "synced": server.synced,
                "profile": server.profile.as_ref().map(|p| p.uuid.clone()),
                "needs_person": server.needs_person,
            })
        })
        .collect();
    shown(json!({ "servers": rows }))
}

pub(super) async fn import_server_token(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Body,
) -> Answer {
    let org = caller
        .organisation(&office.mdm, &which, Role::Admin)
        .await?;
    let sent: ServerToken = read(&office, sent).await?;
    let token = Secret::new(sent.token.0.as_bytes());
    let id = org
        .import_server_token(&token, sent.renews.map(ServerId))
        .await
        .map_err(refused)?;
    office.poke.notify_one();
    shown(json!({ "server": id }))
}

pub(super) async fn push_certificate(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
) -> Answer {
    let org = caller
        .organisation(&office.mdm, &which, Role::Viewer)
        .await?;
    let push = org.organisation().push.as_ref();
    shown(json!({
        "topic": push.map(|p| p.topic.clone()),
        "until": push.map(|p| p.not_after),
    }))
}

pub(super) async fn import_push_certificate(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Body,
) -> Answer {
    let org = caller
        .organisation(&office.mdm, &which, Role::Admin)
        .await?;
    let sent: PushCertificate = read(&office, sent).await?;
    let wrong = |field: &str, problem: &str| refused(Error::bad_input(field, problem));
    let certificate = X509::from_pem(sent.certificate.as_bytes())
        .map_err(|_| wrong("certificate", "must be a PEM certificate"))?;
    let key = PKey::private_key_from_pem_callback(sent.key.0.as_bytes(), |_| Ok(0))
        .map_err(|_| wrong("key", "must be a PEM private key without a passphrase"))?;
    if !certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(&key))
    {
        return Err(wrong("key", "must be the key of this certificate"));
    }
    let der = certificate
        .to_der()
        .map_err(|_| wrong("certificate", "must be a PEM certificate"))?;
    let (topic, until) =
        push_topic(&der).map_err(|error| wrong("certificate", &error.to_string()))?;
    let key = key
        .private_key_to_pkcs8()
        .map(Secret::new)
        .map_err(|_| wrong("key", "cannot be kept as PKCS#8"))?;
    org.import_push(&topic, der, until, &key)
        .await
        .map_err(refused)?;
    shown(json!({ "topic": topic, "until": until }))
}

pub(super) async fn import_api_account(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Body,
) -> Answer {
    let org = caller
        .organisation(&office.mdm, &which, Role::Admin)
        .await?;
    let sent: ApiAccount = read(&office, sent).await?;
    abm_client::business::ApiAccount::new(&sent.client_id, &sent.key_id, sent.key.0.as_bytes())
        .map_err(|error| refused(Error::bad_input("account", error.to_string())))?;
    let key = Secret::new(sent.key.0.as_bytes());
    org.import_api(&sent.client_id, &sent.key_id, &key)
        .await
        .map_err(refused)?;
    shown(json!({ "client_id": sent.client_id }))
}
