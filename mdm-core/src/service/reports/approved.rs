//! The words of people on a wave: every acceptance of it, and of the record what they submitted, signed, and confirmed for each other.
//! Reads only.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::PAGE;
use super::about::is_of_its_time;
use crate::audit::AuditEntry;
use crate::error::Error;
use crate::ids::{AcceptedId, AuditId, MoveId, WaveId};
use crate::service::Org;
use crate::wave::Wave;

/// Entries about a wave as a whole; they name it.
const OF_WAVES: [&str; 4] = [
    "wave.accepted",
    "wave.submitted",
    "wave.gate-signed",
    "wave.ade-profile",
];
/// Entries of what takes two persons; they name devices.
const OF_TWO: [&str; 4] = [
    "approval.asked",
    "approval.confirmed",
    "approval.refused",
    "approval.left-out",
];

impl Org {
    /// Everything that was accepted of a wave, oldest first: who, when, what was waived and why. What was shown to them is kept under
    /// the digest.
    pub(super) async fn acceptances_of(&self, wave: WaveId) -> Result<Vec<Value>, Error> {
        let (mut all, mut after) = (Vec::new(), AcceptedId(0));
        loop {
            let page = self.accepted_parts(wave, after).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            // What was shown begins with its first part; an act on a list has nobody's name in it, but in the record.
            let first = page.iter().filter(|part| part.part == 0);
            all.extend(first.map(
                |part| json!({ "digest": part.digest, "accepted": part.content.get("accepted") }),
            ));
        }
    }

    /// What the record says of people who acted on this wave, and of what two of them did for its members.
    pub(super) async fn approvals_in_record(&self, wave: &Wave) -> Result<Vec<Value>, Error> {
        let mut serials = BTreeSet::new();
        let mut after = MoveId(0);
        loop {
            let page = self
                .store()
                .attempts(self.id(), wave.id, after, PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            serials.extend(page.into_iter().map(|a| a.serial.as_str().to_owned()));
        }
        let (mut all, mut after) = (Vec::new(), AuditId(0));
        loop {
            let page = self.store().audit(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            let about = page.iter().filter(|entry| is_about(entry, wave, &serials));
            all.extend(about.map(|entry| {
                json!({
                    "at": entry.at, "actor": entry.actor, "what": entry.what,
                    "detail": of_members(&entry.detail, &serials),
                })
            }));
        }
    }
}

pub(super) fn is_about(entry: &AuditEntry, wave: &Wave, serials: &BTreeSet<String>) -> bool {
    let detail = &entry.detail;
    if OF_WAVES.contains(&entry.what.as_str()) {
        // Names may be used again; older entries say nothing else.
        return match detail.get("id") {
            Some(id) => WaveId::deserialize(id).is_ok_and(|id| id == wave.id),
            None => detail["wave"] == json!(wave.name) && is_of_its_time(entry, wave),
        };
    }
    if !OF_TWO.contains(&entry.what.as_str()) {
        return false;
    }
    let wanted = detail.get("left_out").unwrap_or(&detail["wanted"]);
    let is_member = |serial: &Value| serial.as_str().is_some_and(|s| serials.contains(s));
    match &wanted["serials"] {
        // An export without names is one of all devices.
        Value::Array(named) => named.is_empty() || named.iter().any(is_member),
        _ => is_member(&wanted["serial"]),
    }
}

/// The same without the devices of other waves.
fn of_members(detail: &Value, serials: &BTreeSet<String>) -> Value {
    let mut detail = detail.clone();
    only_members(&mut detail, serials);
    detail
}

/// Devices of other waves are nobody's business here: they are counted. Answers whether there were any.
pub(super) fn only_members(detail: &mut Value, serials: &BTreeSet<String>) -> bool {
    let mut any = false;
    match detail {
        Value::Object(all) => {
            if let Some(Value::Array(named)) = all.get_mut("serials") {
                let before = named.len();
                named.retain(|serial| serial.as_str().is_some_and(|s| serials.contains(s)));
                let others = before - named.len();
                if others > 0 {
                    all.insert("others".to_owned(), json!(others));
                    any = true;
                }
            }
            // By serial number, of devices that are among those already.
            if let Some(Value::Object(going)) = all.get_mut("going") {
                going.retain(|serial, _| serials.contains(serial));
            }
            for one in all.values_mut() {
                any |= only_members(one, serials);
            }
        }
        Value::Array(all) => {
            for one in all {
                any |= only_members(one, serials);
            }
        }
        _ => {}
    }
    any
}
