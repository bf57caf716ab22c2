//! Commands: queueing one for devices, looking at a queue, taking commands out again. A request that may hold a secret is
//! shown by nobody here.

use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, CommandId, Serial};
use mdm_core::service::{Cancel, Enqueued, NewCommand, Org};
use mdm_core::wire::command::{CommandBody, KeysError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asked::{Path, Query};
use super::described::{Partly, Sent, Shows, told};
use super::{About, Answer, Hidden, Most, at_most, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    #[serde(default)]
    serials: Vec<String>,
    #[serde(default)]
    channels: Vec<String>,
    request_type: Option<String>,
    #[serde(default)]
    keys: Map<String, Value>,
    plist: Option<Hidden>,
    uuid: Option<String>,
    #[serde(default)]
    priority: i32,
    expires: Option<Timestamp>,
    #[serde(default)]
    together: bool,
    #[serde(default = "yes")]
    push: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Out {
    #[serde(default)]
    serials: Vec<String>,
    #[serde(default)]
    channels: Vec<String>,
    uuid: Option<String>,
    request_type: Option<String>,
    #[serde(default)]
    all: bool,
}

/// Whose command is meant.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfChannel {
    channel: Option<String>,
}

/// What a list of commands is asked with.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Look {
    channel: Option<String>,
    #[serde(default)]
    open: bool,
    /// Before this id: the `next` of the page before. Those that wait have no pages: they stand in the order in which they go out.
    before: Option<AnyId>,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

const fn yes() -> bool {
    true
}

impl New {
    /// The command: a property list, or type and keys as JSON.
    fn body(&mut self) -> Result<CommandBody, Error> {
        match (&self.plist, &self.request_type) {
            (Some(plist), None) if self.keys.is_empty() => CommandBody::read(&plist.bytes())
                .map_err(|error| Error::bad_input("plist", error.to_string())),
            (None, Some(kind)) => {
                let keys = Value::Object(std::mem::take(&mut self.keys));
                CommandBody::of_json(kind, &keys).map_err(|error| match error {
                    KeysError::Key(misfit) => {
                        Error::bad_input(format!("keys.{}", misfit.path), misfit.problem)
                    }
                    KeysError::Type(_) => Error::bad_input("request_type", error.to_string()),
                    _ => Error::bad_input("keys", error.to_string()),
                })
            }
            _ => Err(Error::bad_input(
                "body",
                "must have either plist, or request_type with keys",
            )),
        }
    }
}

/// For whom: devices by serial number, then channels by their ids (`UDID`, `UDID:UserID`). What was asked for by its name,
/// and the channel that it means.
async fn meant(
    org: &Org,
    serials: &[String],
    channels: &[String],
) -> Result<(Vec<String>, Vec<String>), Error> {
    let read = serials.iter().map(|text| Serial::parse(text));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let found = org.channels_of(&read).await?;
    let names: Vec<String> = serials.iter().chain(channels).cloned().collect();
    if names.is_empty() {
        let problem = "no device and no channel is named";
        return Err(Error::bad_input("serials", problem));
    }
    // No channel has an empty id: a device that is not enrolled is told so, in its place.
    let found = found.into_iter().map(Option::unwrap_or_default);
    Ok((names, found.chain(channels.iter().cloned()).collect()))
}

/// What became of one of many.
#[derive(Serialize, JsonSchema)]
struct Outcome<T> {
    /// The device or channel as it was named.
    id: String,
    result: T,
}

fn results<T: Clone>(names: &[String], done: &[T]) -> Vec<Outcome<T>> {
    let each = names.iter().zip(done);
    each.map(|(name, result)| Outcome {
        id: name.clone(),
        result: result.clone(),
    })
    .collect()
}

pub(super) async fn send(
    About { office, org, .. }: About,
    Sent(mut sent): Sent<New>,
) -> Result<Partly<impl Shows>, super::Refusal> {
    let body = sent.body().map_err(refused)?;
    let asked = meant(&org, &sent.serials, &sent.channels).await;
    let (names, channels) = asked.map_err(refused)?;
    let uuid = match &sent.uuid {
        Some(uuid) => uuid.clone(),
        None => NewCommand::random_uuid().map_err(refused)?,
    };
    let understood = !matches!(body, CommandBody::Raw(_));
    let mut new = NewCommand::new(uuid, body);
    new.priority = sent.priority;
    new.expires = sent.expires;
    new.wake = sent.push;
    new.together = sent.together;
    let done = org.enqueue(&channels, &new).await.map_err(refused)?;
    office.poke.notify_one();
    let count = |what: Enqueued| done.iter().filter(|d| **d == what).count();
    let queued = count(Enqueued::Queued);
    if queued == 0 && count(Enqueued::Taken) == done.len() {
        return Err(refused(Error::Precondition(
            "every one of these channels had a command of this UUID already".to_owned(),
        )));
    }
    let unpushed = (new.wake && queued > 0 && org.organisation().push.is_none()).then_some(
        "no push certificate is imported: devices find the command when they come by themselves",
    );
    let answer = told! {
        uuid: new.uuid,
        request_type: new.body.request_type().to_owned(),
        understood: understood,
        queued: queued,
        asked: done.len(),
        push: unpushed,
        results: results(&names, &done),
    };
    Ok(Partly {
        answer,
        all: queued == done.len() && unpushed.is_none(),
    })
}

pub(super) async fn cancel(
    About { org, .. }: About,
    Sent(sent): Sent<Out>,
) -> Result<Partly<impl Shows>, super::Refusal> {
    let what = match (&sent.uuid, &sent.request_type, sent.all) {
        (Some(uuid), None, false) => Cancel::Uuid(uuid.clone()),
        (None, Some(kind), false) => Cancel::RequestType(kind.clone()),
        (None, None, true) => Cancel::All,
        _ => {
            return Err(refused(Error::bad_input(
                "body",
                "must have exactly one of uuid, request_type and all",
            )));
        }
    };
    let asked = meant(&org, &sent.serials, &sent.channels).await;
    let (names, channels) = asked.map_err(refused)?;
    let done = org
        .cancel_commands(&channels, &what)
        .await
        .map_err(refused)?;
    let known = done.iter().all(Option::is_some);
    if let Cancel::Uuid(uuid) = &what
        && done.iter().any(Option::is_some)
        && done
            .iter()
            .flatten()
            .all(|c| c.waiting + c.handed_out + c.kept == 0)
    {
        // Nothing was open. One that was never there is a mistake; one that is over is not.
        let enrolled = channels
            .iter()
            .zip(&done)
            .filter(|(_, done)| done.is_some());
        let mut found = false;
        for (channel, _) in enrolled {
            match org.command(channel, uuid).await {
                Ok(_) => found = true,
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(refused(error)),
            }
            break;
        }
        if !found {
            let problem = "none of these devices ever had a command of this CommandUUID";
            return Err(refused(Error::bad_input("uuid", problem)));
        }
    }
    let sum = |of: fn(&mdm_core::service::Cancelled) -> u32| -> u32 {
        done.iter().flatten().map(of).sum()
    };
    let answer = told! {
        waiting: sum(|c| c.waiting),
        handed_out: sum(|c| c.handed_out),
        kept: sum(|c| c.kept),
        results: results(&names, &done),
    };
    Ok(Partly { answer, all: known })
}

/// The channel that is looked at: the device's own, or one of its users'.
async fn channel(org: &Org, serial: &str, wanted: Option<String>) -> Result<String, Error> {
    let serial = Serial::parse(serial)?;
    let found = org.channels_of(std::slice::from_ref(&serial)).await?;
    let device = found.into_iter().flatten().next();
    let device = device.ok_or(Error::NotFound("enrolled device of this serial number"))?;
    match wanted {
        None => Ok(device),
        Some(user)
            if user
                .strip_prefix(&device)
                .is_some_and(|rest| rest.starts_with(':')) =>
        {
            Ok(user)
        }
        Some(_) => Err(Error::NotFound("channel of this device")),
    }
}

pub(super) async fn list(
    About { org, .. }: About,
    Path(serial): Path<String>,
    Query(look): Query<Look>,
) -> Answer<impl Shows> {
    let channel = channel(&org, &serial, look.channel)
        .await
        .map_err(refused)?;
    let limit = at_most(look.limit);
    let rows = match (look.open, look.before) {
        (true, Some(_)) => {
            let problem = "is for all commands: those that wait have no pages";
            Err(Error::bad_input("before", problem))
        }
        (true, None) => org.commands(&channel, true, limit).await,
        (false, before) => {
            let before = CommandId(before.map_or(i64::MAX, |before| before.0));
            org.commands_before(&channel, before, limit).await
        }
    };
    let rows = rows.map_err(refused)?;
    let full = !look.open && rows.len() >= limit as usize;
    let next = rows.last().filter(|_| full).map(|last| last.id);
    shown(told! { serial: serial, channel: channel, commands: rows, next: next })
}

/// One command, and whose it is.
#[derive(Serialize, JsonSchema)]
struct One<T> {
    #[serde(flatten)]
    found: T,
    serial: String,
    channel: String,
}

pub(super) async fn show(
    About { org, .. }: About,
    Path((serial, uuid)): Path<(String, String)>,
    Query(which): Query<OfChannel>,
) -> Answer<impl Shows> {
    let channel = channel(&org, &serial, which.channel)
        .await
        .map_err(refused)?;
    let found = org.command(&channel, &uuid).await.map_err(refused)?;
    shown(One {
        found,
        serial,
        channel,
    })
}
