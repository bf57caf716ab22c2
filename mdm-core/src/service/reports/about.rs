//! Which entries of the record are of one wave: those that name it, its project, or one of its members.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use super::approved::is_about;
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::ids::{AnyId, DeviceId, ProjectId};
use crate::wave::{Wave, WaveState};

/// How long after the end of a wave an entry may still be of it.
const AFTER: Duration = Duration::from_mins(1);

/// What a pack is about.
pub(super) struct About {
    pub(super) row: Wave,
    pub(super) project: Option<(ProjectId, String)>,
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) serials: BTreeSet<String>,
}

impl About {
    /// Whether an entry is of this wave, its project or one of its members.
    pub(super) fn has(&self, entry: &AuditEntry) -> bool {
        match entry.device {
            Some(device) => self.devices.contains(&device),
            None if is_about(entry, &self.row, &self.serials) => true,
            // What is of another wave may name the project, too; and one that is closed may have had the same name.
            None => match entry.detail.get("wave") {
                Some(name) if *name == *self.row.name && entry.detail.get("id").is_some() => {
                    is_id(&entry.detail["id"], self.row.id.0)
                }
                Some(wave) if !wave.is_null() && !self.is_wave(entry, wave) => false,
                _ => self.is_named(entry, &entry.detail),
            },
        }
    }

    /// Entries name it by its id or, those of earlier versions, by its name alone.
    fn is_wave(&self, entry: &AuditEntry, told: &Value) -> bool {
        is_id(told, self.row.id.0) || *told == *self.row.name && is_of_its_time(entry, &self.row)
    }

    fn is_project(&self, told: &Value) -> bool {
        let of = self.project.as_ref();
        of.is_some_and(|(id, name)| *told == **name || is_id(told, id.0))
    }

    fn is_named(&self, entry: &AuditEntry, value: &Value) -> bool {
        match value {
            Value::String(text) => self.serials.contains(text),
            Value::Array(all) => all.iter().any(|one| self.is_named(entry, one)),
            Value::Object(all) => all.iter().any(|(name, one)| {
                (name == "wave" && self.is_wave(entry, one))
                    || (name == "project" && self.is_project(one))
                    || self.serials.contains(name)
                    || self.is_named(entry, one)
            }),
            _ => false,
        }
    }
}

/// Whether an entry was made while the wave was there: names may be used again once one is closed, and an entry that says nothing
/// but the name is of the wave that had it then. What closes a wave is written with its end, or right after it.
pub(super) fn is_of_its_time(entry: &AuditEntry, wave: &Wave) -> bool {
    let over = |at: Timestamp| entry.at > at + AFTER;
    entry.id.0 > wave.id.0 && !matches!(wave.state, WaveState::Closed { at } if over(at))
}

/// Whether it is this id; entries of earlier versions have ids as numbers.
fn is_id(told: &Value, id: i64) -> bool {
    AnyId::deserialize(told).is_ok_and(|told| told.0 == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::ids::{AuditId, OrganisationId, ServerId, WaveId};

    const AT: Timestamp = Timestamp::from_millis(1_796_112_000_000);
    const OURS: i64 = 7_340_911_223_344_556_677;
    /// The same as a double.
    const BESIDE: i64 = 7_340_911_223_344_556_678;

    fn about() -> About {
        let (organisation, server) = (OrganisationId(1), ServerId(3));
        About {
            row: Wave::draft(
                organisation,
                WaveId(OURS),
                "pilot",
                server,
                BTreeMap::new(),
                AT,
            ),
            project: Some((ProjectId(OURS + 10), "the move".to_owned())),
            devices: BTreeSet::from([DeviceId(OURS + 20)]),
            serials: BTreeSet::from(["C02MEMBER".to_owned()]),
        }
    }

    fn says(what: &str, detail: Value) -> bool {
        about().has(&entry(OURS + 5, AT, what, detail))
    }

    fn entry(id: i64, at: Timestamp, what: &str, detail: Value) -> AuditEntry {
        let organisation = OrganisationId(1);
        AuditEntry::new(organisation, AuditId(id), at, "Anna", what, None, detail)
    }

    #[test]
    fn entries_name_a_wave_by_a_string_or_as_earlier_by_a_number() {
        for what in ["wave.submitted", "wave.paused"] {
            for id in [json!(OURS), json!(OURS.to_string())] {
                assert!(
                    says(what, json!({ "wave": "pilot", "id": id })),
                    "{what} {id}"
                );
            }
            // One that was called the same.
            for id in [json!(BESIDE), json!(BESIDE.to_string())] {
                assert!(
                    !says(what, json!({ "wave": "pilot", "id": id })),
                    "{what} {id}"
                );
            }
            assert!(says(what, json!({ "wave": "pilot" })), "{what}");
            assert!(!says(what, json!({ "wave": "second" })), "{what}");
        }
        for key in ["wave", "project"] {
            let (ours, beside) = match key {
                "wave" => (OURS, BESIDE),
                _ => (OURS + 10, BESIDE + 10),
            };
            for (id, is_ours) in [(ours, true), (beside, false)] {
                for id in [json!(id), json!(id.to_string())] {
                    let detail = json!({ key: id, "errand": "9", "devices": 2 });
                    assert_eq!(says("errand.ended", detail), is_ours, "{key} {id}");
                }
            }
        }
        let of_other = json!({ "wave": BESIDE.to_string(), "project": "the move" });
        assert!(!says("wave.made", of_other));
    }

    #[test]
    fn a_name_alone_is_that_of_the_wave_that_had_it_then() {
        let minutes = |n| AT + Duration::from_mins(n);
        let mut closed = about();
        closed.row.state = WaveState::Closed { at: minutes(10) };
        for what in ["wave.gate-signed", "wave.paused"] {
            let named = |id, at| entry(id, at, what, json!({ "wave": "pilot" }));
            // Before it was made, another had its name.
            assert!(!about().has(&named(OURS - 5, AT)), "{what}");
            assert!(!closed.has(&named(OURS - 5, AT)), "{what}");
            for (minute, open, over) in [(9, true, true), (11, true, true), (12, true, false)] {
                let entry = named(OURS + 5, minutes(minute));
                assert_eq!(about().has(&entry), open, "{what} {minute}");
                assert_eq!(closed.has(&entry), over, "{what} {minute}");
            }
            // Whoever says its id means it, whenever.
            let id = json!({ "wave": "pilot", "id": OURS.to_string() });
            assert!(
                closed.has(&entry(OURS + 5, minutes(99), what, id)),
                "{what}"
            );
        }
    }
}
