//! Apple's credentials of an organisation: server tokens, push certificate, API account. They come in and are never shown.

use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::identity::push_topic;
use mdm_core::ids::{AnyId, ServerId};
use mdm_core::organisation::TokenKey;
use mdm_core::secret::Secret;
use mdm_core::service::{Spent, TokenTerms};
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Req};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Path;
use super::described::{Sent, Shows, told};
use super::{About, Answer, Hidden, Refusal, refused, shown};

/// A server token, as the file that Apple's portal gave or decrypted, and for a renewal the entry that it must be for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerToken {
    file: Option<Hidden>,
    token: Option<Hidden>,
    renews: Option<ServerId>,
    /// Take a new entry although its devices look like those of another service: all of them get our ADE profile.
    #[serde(default)]
    take_over: bool,
}

/// The entry that is given up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenUp {
    /// Its name, typed.
    name: String,
}

/// Certificate and key, PEM; the key is left out when it is one of ours.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushCertificate {
    certificate: String,
    key: Option<Hidden>,
}

/// The push certificate that came in.
#[derive(Serialize, JsonSchema)]
struct Push {
    topic: String,
    until: Timestamp,
}

/// What a request for a push certificate names.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushRequest {
    name: Option<String>,
    email: Option<String>,
}

/// An account of the organisation API with its key, PEM.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiAccount {
    client_id: String,
    key_id: String,
    key: Hidden,
}

pub(super) async fn server_tokens(About { office, org, .. }: About) -> Answer<impl Shows> {
    let rows = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    let now = office.mdm.now();
    let rows: Vec<_> = rows
        .iter()
        .map(|server| {
            told! {
                id: server.id,
                name: server.name.clone(),
                uuid: server.uuid.clone(),
                token_expires: server.token_expires,
                warning: server.token_expires.and_then(|end| warning(end, now)),
                synced: server.synced,
                profile: server.profile.as_ref().map(|p| p.uuid.clone()),
                needs_person: server.needs().map(str::to_owned),
            }
        })
        .collect();
    shown(told! { servers: rows })
}

pub(super) async fn import_server_token(
    About { office, org, .. }: About,
    Sent(sent): Sent<ServerToken>,
) -> Answer<impl Shows> {
    let terms = TokenTerms {
        renews: sent.renews,
        take_over: sent.take_over,
    };
    let taken = match (&sent.file, &sent.token) {
        (Some(file), None) => org.take_token_file(&file.bytes(), terms).await,
        // Its form is ours to judge, before Apple is asked with it.
        (None, Some(token)) => match abm_client::ServerToken::from_json(&token.bytes()) {
            Ok(_) => {
                let token = Secret::new(token.bytes().as_slice());
                org.take_server_token(&token, terms).await
            }
            Err(error) => Err(Error::bad_input("token", error.to_string())),
        },
        _ => {
            let problem = "must be there, or token; not both";
            Err(Error::bad_input("file", problem))
        }
    }
    .map_err(refused)?;
    office.poke.notify_one();
    shown(told! {
        server: taken.server, name: taken.name, organisation: taken.organisation, devices: taken.devices, more: taken.more,
    })
}

pub(super) async fn remove_server_token(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<GivenUp>,
) -> Answer<impl Shows> {
    let removed = org.remove_server_entry(ServerId(id), &sent.name).await;
    let removed = removed.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { id: removed.id, name: removed.name, removed: removed.removed })
}

pub(super) async fn push_certificate(About { office, org, .. }: About) -> Answer<impl Shows> {
    let push = org.organisation().push.as_ref();
    let now = office.mdm.now();
    let requests = org.organisation().push_requests.iter();
    shown(told! {
        topic: push.map(|p| p.topic.clone()),
        until: push.map(|p| p.not_after),
        warning: push.and_then(|p| warning(p.not_after, now)),
        requests: requests.map(|r| r.created).collect::<Vec<_>>(),
    })
}

pub(super) async fn request_push_certificate(
    About { org, .. }: About,
    Sent(sent): Sent<PushRequest>,
) -> Answer<impl Shows> {
    // A longer one has no place in a certificate; of one that was given, the sender is told.
    let own = || org.organisation().name.chars().take(64).collect();
    let name: String = sent.name.unwrap_or_else(own);
    let made = org
        .new_push_request(&name, sent.email.as_deref())
        .await
        .map_err(refused)?;
    let pem = X509Req::from_der(&made.request.0).and_then(|r| r.to_pem());
    let pem = pem.map_err(|_| refused(Error::Crypto("the request cannot be written")))?;
    shown(told! {
        request: String::from_utf8_lossy(&pem).into_owned(), created: made.created, name: name,
    })
}

pub(super) async fn import_push_certificate(
    About { office, org, .. }: About,
    Sent(sent): Sent<PushCertificate>,
) -> Answer<impl Shows> {
    let Some(key) = &sent.key else {
        let done = org.import_push_answer(sent.certificate.as_bytes()).await;
        let (topic, until) = done.map_err(refused)?;
        return shown(Push { topic, until });
    };
    let wrong = |field: &str, problem: &str| refused(Error::bad_input(field, problem));
    let certificate = X509::from_pem(sent.certificate.as_bytes())
        .map_err(|_| wrong("certificate", "must be a PEM certificate"))?;
    let key = PKey::private_key_from_pem_callback(&key.bytes(), |_| Ok(0))
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
    if until <= office.mdm.now() {
        return Err(wrong("certificate", "has ended already"));
    }
    let key = key
        .private_key_to_pkcs8()
        .map(Secret::new)
        .map_err(|_| wrong("key", "cannot be kept as PKCS#8"))?;
    org.import_push(&topic, der, until, &key)
        .await
        .map_err(refused)?;
    shown(Push { topic, until })
}

pub(super) async fn import_api_account(
    About { org, .. }: About,
    Sent(sent): Sent<ApiAccount>,
) -> Answer<impl Shows> {
    let key = sent.key.bytes();
    abm_client::business::ApiAccount::new(&sent.client_id, &sent.key_id, &key)
        .map_err(|error| refused(Error::bad_input("account", error.to_string())))?;
    let services = org
        .add_api_account(&sent.client_id, &sent.key_id, &Secret::new(key.as_slice()))
        .await
        .map_err(refused)?;
    let services: Vec<_> = services
        .iter()
        .map(|(id, name)| told! { id: id.clone(), name: name.clone() })
        .collect();
    shown(told! { client_id: sent.client_id, services: services })
}

/// The account that is removed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemovedAccount {
    /// Its identifier, typed.
    client_id: String,
}

pub(super) async fn remove_api_account(
    About { org, .. }: About,
    Sent(sent): Sent<RemovedAccount>,
) -> Answer<impl Shows> {
    let gone = org.remove_api_account(&sent.client_id).await;
    gone.map_err(refused)?;
    shown(told! { client_id: sent.client_id })
}

pub(super) async fn api_account(About { org, .. }: About) -> Answer<impl Shows> {
    let api = org.organisation().api.as_ref();
    shown(told! {
        client_id: api.map(|a| a.client_id.clone()),
        key_id: api.map(|a| a.key_id.clone()),
    })
}

pub(super) async fn token_keys(About { org, .. }: About) -> Answer<impl Shows> {
    let keys = org.token_keys().await.map_err(refused)?;
    let keys = keys.iter().map(token_key).collect::<Result<Vec<_>, _>>()?;
    shown(told! { keys: keys })
}

pub(super) async fn new_token_key(About { org, .. }: About) -> Answer<impl Shows> {
    let made = org.new_token_key().await.map_err(refused)?;
    shown(token_key(&made)?)
}

/// The key pair that is removed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemovedKey {
    /// The serial number of its certificate: `serial` in the list.
    serial: String,
}

pub(super) async fn remove_token_key(
    About { org, .. }: About,
    Sent(sent): Sent<RemovedKey>,
) -> Answer<impl Shows> {
    let gone = org.remove_token_key(&sent.serial).await;
    let gone = gone.map_err(refused)?;
    shown(told! { serial: gone.serial(), described: gone.described, created: gone.created })
}

fn token_key(key: &TokenKey) -> Result<impl Shows + use<>, Refusal> {
    let pem = X509::from_der(&key.certificate.0)
        .and_then(|c| c.to_pem())
        .map_err(|_| refused(Error::Crypto("a certificate of ours cannot be read")))?;
    Ok(told! {
        serial: key.serial(),
        described: key.described.clone(),
        created: key.created,
        certificate: String::from_utf8_lossy(&pem).into_owned(),
    })
}

/// People hear of an end at 60, 30 and 7 days.
fn warning(end: Timestamp, now: Timestamp) -> Option<String> {
    if end <= now {
        return Some("ended".to_owned());
    }
    let left = end.since(now).as_secs();
    [7, 30, 60]
        .into_iter()
        .find(|days| left <= days * 86_400)
        .map(|days| format!("ends within {days} days"))
}

pub(super) async fn services(About { office, org, .. }: About) -> Answer<impl Shows> {
    let services = org.services().await.map_err(refused)?;
    let services = super::inventory::named(&office, &org, &services).await?;
    shown(told! { services: services })
}

/// So many requests in a time.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Quota {
    /// In a second.
    Second {
        /// Requests.
        second: u32,
    },
    /// In a minute.
    Minute {
        /// Requests.
        minute: u32,
    },
    /// In an hour.
    Hour {
        /// Requests.
        hour: u32,
    },
    /// In another time.
    Other {
        /// How many.
        requests: u32,
        /// In how many seconds.
        seconds: u64,
    },
}

/// One kind of requests of a budget. Where Apple names no number there is nothing used and nothing left to tell.
fn spent(spent: &Spent, waiting: Option<u32>) -> impl Shows + use<> {
    let (status, number) = (&spent.status, spent.allowed.is_some());
    let allowed = spent.allowed.map(|quota| match quota.window.as_secs() {
        1 => Quota::Second {
            second: quota.requests,
        },
        60 => Quota::Minute {
            minute: quota.requests,
        },
        3600 => Quota::Hour {
            hour: quota.requests,
        },
        seconds => Quota::Other {
            requests: quota.requests,
            seconds,
        },
    });
    told! {
        used: number.then_some(status.used),
        left: number.then_some(status.left),
        waiting: waiting,
        allowed: allowed,
        next_at: Timestamp::from_millis(status.next_at_ms),
        drained_at: Timestamp::from_millis(status.drained_at_ms),
    }
}

pub(super) async fn budget(About { office, org, .. }: About) -> Answer<impl Shows> {
    let rows = org.budgets().await.map_err(refused)?;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            told! {
                name: row.name.clone(),
                reads: spent(&row.reads, None),
                lists: spent(&row.lists, None),
                paused_until: row.paused_until,
                lists_step_aside_until: row.lists_step_aside_until,
                writes: spent(&row.writes, Some(row.waiting_writes)),
            }
        })
        .collect();
    shown(told! { budgets: rows, now: office.mdm.now() })
}

pub(super) async fn lift_pauses(About { office, org, .. }: About) -> Answer<impl Shows> {
    let lifted = org.lift_pauses().await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { lifted: lifted })
}

pub(super) async fn sync(About { office, org, .. }: About) -> Answer<impl Shows> {
    let count = org.sync_now().await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { servers: count })
}
