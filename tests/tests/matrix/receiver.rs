//! Whoever is told of releases, by the host's own way and by webhook, and what is wrong with what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::error::PortError;
use mdm_core::hook::HookMessage;
use mdm_core::ids::{HookMessageId, OrganisationId, Serial};
use mdm_core::migration::{Notice, StepId};
use mdm_core::service::ports::{HookCarrier, Notifier};
use mdm_core::service::{Org, Ports};
use mdmd::rehearsal::{PortsWrap, Stage};

use super::director::{Director, Heard};
use super::{Behaviour, Cell};

/// The receiver of webhooks.
const DESK: &str = "desk";

/// Later than the time of the step that waits for it.
const LATER: Duration = Duration::from_hours(1);

/// Whoever is told of releases: by the host's own way, and by a webhook.
struct Receiver(Arc<Director>);

#[async_trait]
impl Notifier for Receiver {
    async fn notify(
        &self,
        _: OrganisationId,
        serial: &Serial,
        notice: Notice,
    ) -> Result<(), PortError> {
        if notice != Notice::Released {
            return Ok(());
        }
        match self.0.hears(serial.as_str()) {
            Heard::Takes => {}
            Heard::Refuses => return Err(PortError::Refused("nobody reads this".to_owned())),
            Heard::Later => {
                return Err(PortError::Retry {
                    what: "the desk is closed".to_owned(),
                    after: Some(LATER),
                });
            }
            Heard::Silent => return Err(PortError::Unknown("no answer".to_owned())),
        }
        let mut told = self.0.told.lock().unwrap();
        told.insert(serial.as_str().to_owned());
        Ok(())
    }
}

#[async_trait]
impl HookCarrier for Receiver {
    async fn post(
        &self,
        _: &str,
        _: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let serial = body["data"]["serial"].as_str().unwrap();
        let cell = self.0.cast.get(serial);
        let behaviour = cell
            .filter(|cell| cell.step == StepId::Tell)
            .map(|cell| cell.behaviour);
        let first = {
            let mut tried = self.0.tried.lock().unwrap();
            let tries = tried.entry(serial.to_owned()).or_default();
            *tries += 1;
            *tries == 1
        };
        match behaviour {
            Some(Behaviour::Errors) => return Ok(500),
            Some(Behaviour::NotNowForEver) => return Ok(503),
            Some(Behaviour::NeverAnswers) => return Err(PortError::retry("no answer")),
            Some(Behaviour::AnswersAfterRelease) if first => return Ok(503),
            _ => {}
        }
        let mut posted = self.0.posted.lock().unwrap();
        *posted.entry(serial.to_owned()).or_default() += 1;
        match behaviour {
            // Taken, and the answer is lost.
            Some(Behaviour::AnswersTwice) if first => Err(PortError::retry("no answer")),
            _ => Ok(200),
        }
    }
}

/// The ports of a house whose notices go to this director.
pub(super) fn told_by(director: &Arc<Director>) -> Option<PortsWrap> {
    let receiver = Arc::new(Receiver(Arc::clone(director)));
    Some(Box::new(move |ports| Ports {
        notifier: receiver.clone(),
        hooks: receiver,
        ..ports
    }))
}

pub(super) async fn add_desk(stage: &Stage) {
    let org = stage.org().await.unwrap();
    let only = BTreeSet::from([Notice::Released]);
    let url = "https://desk.example/in";
    org.new_hook(DESK, url, &only).await.unwrap();
}

/// The messages to the receiver of webhooks, by device.
pub(super) async fn messages(org: &Org) -> BTreeMap<String, Vec<HookMessage>> {
    let mut all: BTreeMap<String, Vec<HookMessage>> = BTreeMap::new();
    let newest = HookMessageId(i64::MAX);
    for message in org.hook_messages(DESK, newest, 1_000).await.unwrap() {
        let serial = message.serial.to_string();
        all.entry(serial).or_default().push(message);
    }
    all
}

/// What is wrong with what was told of a release, and with what is kept of that.
pub(super) fn of_receiver(
    cell: &Cell,
    told: bool,
    posted: Option<&u32>,
    messages: Option<&Vec<HookMessage>>,
) -> Vec<String> {
    use Behaviour::{AnswersTwice, Errors, NeverAnswers, NotNowForEver};
    let mut odd = Vec::new();
    let tell = cell.step == StepId::Tell;
    let never = tell && matches!(cell.behaviour, Errors | NotNowForEver | NeverAnswers);
    if told == never {
        odd.push(format!("told by the host's way: {told}"));
    }
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    if never {
        let waits = |m: &HookMessage| m.over.is_none() && m.trouble.is_some() && m.tries > 1;
        if posted.is_some() || messages.is_empty() || !messages.iter().all(waits) {
            odd.push(format!(
                "what nobody took is not kept and tried: {messages:?}"
            ));
        }
        return odd;
    }
    let taken = messages.iter().filter(|m| m.taken).count();
    // One for each hold that ended; a second time only what was not known to be taken.
    let least = match tell && cell.behaviour == AnswersTwice {
        true => 2,
        false => 1,
    };
    if messages.is_empty() || taken != messages.len() || posted.is_none_or(|n| *n < least) {
        odd.push(format!("not told by webhook: {posted:?}, {messages:?}"));
    }
    odd
}
