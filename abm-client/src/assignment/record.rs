//! What the service says of one device. Decides only whether such a record still needs a profile.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer;
use crate::moment::Moment;
use crate::open_enum::open_enum;

open_enum! {
    /// How far a profile has come to a device. Trust this rather than `profile_uuid`, which may linger.
    pub enum ProfileStatus {
        /// No profile is assigned.
        Empty = "empty",
        /// One is assigned and not yet taken.
        Assigned = "assigned",
        /// The device has taken it.
        Pushed = "pushed",
        /// It was taken away, by us or by a move in the portal.
        Removed = "removed",
    }
}

open_enum! {
    /// What a record of a sync tells. Decide by the state of the record instead: moved devices often come as
    /// `modified`.
    pub enum OpType {
        /// Assigned to us.
        Added = "added",
        /// The record or its profile changed.
        Modified = "modified",
        /// Not ours any more.
        Deleted = "deleted",
    }
}

open_enum! {
    /// The operating system of a device.
    pub enum OperatingSystem {
        /// An iPhone or iPod touch, and an iPad in old records.
        Ios = "iOS",
        /// An iPad.
        IpadOs = "iPadOS",
        /// A Mac.
        MacOs = "OSX",
        /// An Apple TV.
        TvOs = "tvOS",
        /// An Apple Vision.
        VisionOs = "visionOS",
    }
}

open_enum! {
    /// The family of a device.
    pub enum DeviceFamily {
        /// iPhone.
        IPhone = "iPhone",
        /// iPad.
        IPad = "iPad",
        /// iPod touch.
        IPod = "iPod",
        /// Mac.
        Mac = "Mac",
        /// Apple TV.
        AppleTv = "AppleTV",
        /// Apple Vision.
        Vision = "Vision",
        /// Apple Watch.
        Watch = "Watch",
    }
}

open_enum! {
    /// Whether the details of one serial number could be given.
    pub enum ResponseStatus {
        /// Here they are.
        Success = "SUCCESS",
        /// Unknown, or not ours.
        NotAccessible = "NOT_ACCESSIBLE",
        /// Something went wrong.
        Failed = "FAILED",
    }
}

/// What the service says of one serial number.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/device>
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// The serial number. Never empty in what this crate returns.
    pub serial_number: String,
    /// Marketing name of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A description, like `IPAD WI-FI 128GB SPACE GRAY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Free text of the reseller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_tag: Option<String>,
    /// How far the profile has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_status: Option<ProfileStatus>,
    /// The profile; may linger after it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_uuid: Option<String>,
    /// When the profile was assigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_assign_time: Option<Moment>,
    /// When the device took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_push_time: Option<Moment>,
    /// When the device was assigned to us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_assigned_date: Option<Moment>,
    /// Who assigned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_assigned_by: Option<String>,
    /// The operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<OperatingSystem>,
    /// The family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<DeviceFamily>,
    /// What happened to it; in a sync only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op_type: Option<OpType>,
    /// When it happened; in a sync only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op_date: Option<Moment>,
    /// Whether the details could be given; in details only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<ResponseStatus>,
    /// Until when the device has to move to us. A hint, not a proof: it can be stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mdm_migration_deadline: Option<Moment>,
    /// Wi-Fi address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wifi_mac_address: Option<String>,
    /// Bluetooth address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bluetooth_mac_address: Option<String>,
    /// Ethernet addresses.
    #[serde(
        deserialize_with = "answer::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ethernet_mac_address: Vec<String>,
    /// Identifier of the eSIM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eid: Option<String>,
    /// IMEI numbers.
    #[serde(
        deserialize_with = "answer::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub imei: Vec<String>,
    /// MEID numbers.
    #[serde(
        deserialize_with = "answer::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub meid: Vec<String>,
    /// Whether the device replaces another one after a repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_replacement_device: Option<bool>,
    /// Whether it left because another one replaces it; in a sync with `deleted` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_by_replacement: Option<bool>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl DeviceRecord {
    /// Whether the profile `wanted` has to be assigned, judged by state: another profile or none is in force, or the
    /// assignment was undone while the identifier lingers.
    #[must_use]
    pub fn needs_profile(&self, wanted: &str) -> bool {
        if self.op_type == Some(OpType::Deleted) {
            return false;
        }
        let in_force = matches!(
            self.profile_status,
            Some(ProfileStatus::Assigned | ProfileStatus::Pushed)
        );
        !in_force
            || !self
                .profile_uuid
                .as_deref()
                .is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_decides_whether_a_profile_is_needed() {
        let with = |status: Option<&str>, uuid: Option<&str>| DeviceRecord {
            profile_status: status.map(ProfileStatus::from),
            profile_uuid: uuid.map(str::to_owned),
            ..DeviceRecord::default()
        };
        assert!(!with(Some("assigned"), Some("AB12")).needs_profile("ab12"));
        assert!(!with(Some("pushed"), Some("AB12")).needs_profile("AB12"));
        assert!(
            with(Some("removed"), Some("AB12")).needs_profile("AB12"),
            "the identifier lingers"
        );
        assert!(with(Some(""), Some("AB12")).needs_profile("AB12"));
        assert!(with(Some("assigned"), Some("CD34")).needs_profile("AB12"));
        assert!(with(None, None).needs_profile("AB12"));
        let gone = DeviceRecord {
            op_type: Some(OpType::Deleted),
            ..DeviceRecord::default()
        };
        assert!(!gone.needs_profile("AB12"));
    }

    #[test]
    fn unknown_keys_and_values_survive_reading_and_writing() {
        let text = r#"{"serial_number":"S1","profile_status":"folded","os":"carOS","imei":"1","is_replacement_device":null,"new":{"a":1}}"#;
        let read: DeviceRecord = serde_json::from_str(text).expect("a record");
        assert_eq!(read.imei, ["1"]);
        let again = serde_json::to_value(&read).expect("JSON");
        assert_eq!(again["profile_status"], "folded");
        assert_eq!(again["os"], "carOS");
        assert_eq!(again["new"]["a"], 1);
    }
}
