//! Which entries of the record are of one wave: those that name it, its project, or one of its members.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use super::approved::is_about;
use crate::audit::AuditEntry;
use crate::ids::{AnyId, DeviceId, ProjectId};
use crate::wave::Wave;

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
                Some(wave) if !wave.is_null() && !self.is_wave(wave) => false,
                _ => self.is_named(&entry.detail),
            },
        }
    }

    /// Entries name it by its id or by its name.
    fn is_wave(&self, told: &Value) -> bool {
        *told == *self.row.name || is_id(told, self.row.id.0)
    }

    fn is_project(&self, told: &Value) -> bool {
        let of = self.project.as_ref();
        of.is_some_and(|(id, name)| *told == **name || is_id(told, id.0))
    }

    fn is_named(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.serials.contains(text),
            Value::Array(all) => all.iter().any(|one| self.is_named(one)),
            Value::Object(all) => all.iter().any(|(name, one)| {
                (name == "wave" && self.is_wave(one))
                    || (name == "project" && self.is_project(one))
                    || self.serials.contains(name)
                    || self.is_named(one)
            }),
            _ => false,
        }
    }
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
    use crate::clock::Timestamp;
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
        let (organisation, id) = (OrganisationId(1), AuditId(5));
        let entry = AuditEntry::new(organisation, id, AT, "Anna", what, None, detail);
        about().has(&entry)
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
}
