//! The JSON profile of Automated Device Enrolment: its keys, what the service would refuse of it, and how a profile
//! that was read back is compared. Sends nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SkipKey;
use crate::answer;
use crate::error::{Endpoint, Error, Service};

pub(super) const DEFINE: Endpoint = Endpoint::write(Service::DeviceAssignment, "POST /profile");

fn yes() -> bool {
    true
}

/// The JSON profile of the assignment service. Booleans are always written, since an absent one means its default.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/profile>
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AdeProfile {
    /// Its name: 1 to 125 characters.
    pub profile_name: String,
    /// Where the device sends its signed machine information: https, at most 2000 characters.
    pub url: String,
    /// Where a person signs in, in a web view. Leave it out for migrations that nobody attends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_web_url: Option<String>,
    /// Holds the device until `DeviceConfigured`. A migration needs it.
    #[serde(default)]
    pub await_device_configured: bool,
    /// Supervises the device; current systems always do, but other keys are judged by it.
    #[serde(default)]
    pub is_supervised: bool,
    /// Whether enrolment cannot be skipped.
    #[serde(default)]
    pub is_mandatory: bool,
    /// Whether the person may remove the management; `false` only together with `is_supervised`.
    #[serde(default = "yes")]
    pub is_mdm_removable: bool,
    /// Shared iPad; excludes migration.
    #[serde(default)]
    pub is_multi_user: bool,
    /// Return to Service; excludes migration.
    #[serde(default)]
    pub is_return_to_service: bool,
    /// After a restore asks for the current profile instead of the one in the backup.
    #[serde(default)]
    pub do_not_use_profile_from_backup: bool,
    /// Goes through Setup Assistant without anybody (tvOS, macOS on Ethernet).
    #[serde(default)]
    pub auto_advance_setup: bool,
    /// Deprecated: whether the device may pair with a host.
    #[serde(default = "yes")]
    pub allow_pairing: bool,
    /// Certificates (DER in base64) that are trusted for `url` **instead of** the built-in ones.
    #[serde(
        default,
        deserialize_with = "answer::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub anchor_certs: Vec<String>,
    /// Hosts (DER in base64) that may pair although pairing is not allowed.
    #[serde(
        default,
        deserialize_with = "answer::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub supervising_host_certs: Vec<String>,
    /// Panes that are not shown.
    #[serde(
        default,
        deserialize_with = "answer::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub skip_setup_items: Vec<SkipKey>,
    /// Shown at enrolment: at most 125 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// At most 50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_phone_number: Option<String>,
    /// At most 250 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_email_address: Option<String>,
    /// The same in all services of one organisation: at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_magic: Option<String>,
    /// ISO 639 code, for tvOS and macOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// ISO 3166 code in upper case, for tvOS and macOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Serial numbers to assign it to at once. Better empty: assigning has clearer results.
    #[serde(default, deserialize_with = "answer::null_is_default")]
    pub devices: Vec<String>,
    /// Set by the service.
    #[serde(default, skip_serializing)]
    pub profile_uuid: Option<String>,
    /// Keys that this version of the library does not know; sent as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AdeProfile {
    /// A profile with Apple's defaults.
    pub fn new(profile_name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            profile_name: profile_name.into(),
            url: url.into(),
            configuration_web_url: None,
            await_device_configured: false,
            is_supervised: false,
            is_mandatory: false,
            is_mdm_removable: true,
            is_multi_user: false,
            is_return_to_service: false,
            do_not_use_profile_from_backup: false,
            auto_advance_setup: false,
            allow_pairing: true,
            anchor_certs: Vec::new(),
            supervising_host_certs: Vec::new(),
            skip_setup_items: Vec::new(),
            department: None,
            support_phone_number: None,
            support_email_address: None,
            org_magic: None,
            language: None,
            region: None,
            devices: Vec::new(),
            profile_uuid: None,
            extra: Map::new(),
        }
    }

    /// A profile with which a device may migrate: held until configured, supervised, mandatory, not removable.
    pub fn for_migration(profile_name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            await_device_configured: true,
            is_supervised: true,
            is_mandatory: true,
            is_mdm_removable: false,
            ..Self::new(profile_name, url)
        }
    }

    /// Why a device could not migrate with this profile, by key.
    #[must_use]
    pub fn migration_obstacles(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if !self.await_device_configured {
            found.push("await_device_configured");
        }
        // Without supervision iOS ignores the hold.
        if !self.is_supervised {
            found.push("is_supervised");
        }
        if self.is_multi_user {
            found.push("is_multi_user");
        }
        if self.is_return_to_service {
            found.push("is_return_to_service");
        }
        found
    }

    /// Refuses what the service would refuse: empty or too long texts, addresses without https, flags that contradict
    /// each other.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) names the key.
    pub fn validate(&self) -> Result<(), Error> {
        let text = |key: &str, value: Option<&str>, most: usize| match value {
            Some("") => Err(Error::invalid(
                DEFINE,
                key,
                "empty; leave the key out instead",
            )),
            Some(value) if value.chars().count() > most => Err(Error::invalid(
                DEFINE,
                key,
                format!("more than {most} characters"),
            )),
            _ => Ok(()),
        };
        let address = |key: &str, value: Option<&str>| match value {
            Some(value) if !is_https(value) => {
                Err(Error::invalid(DEFINE, key, "not an https address"))
            }
            other => text(key, other, 2000),
        };
        text("profile_name", Some(&self.profile_name), 125)?;
        address("url", Some(&self.url))?;
        address(
            "configuration_web_url",
            self.configuration_web_url.as_deref(),
        )?;
        text("department", self.department.as_deref(), 125)?;
        text(
            "support_phone_number",
            self.support_phone_number.as_deref(),
            50,
        )?;
        text(
            "support_email_address",
            self.support_email_address.as_deref(),
            250,
        )?;
        text("org_magic", self.org_magic.as_deref(), 256)?;
        text("language", self.language.as_deref(), 35)?;
        text("region", self.region.as_deref(), 35)?;
        if !self.is_mdm_removable && !self.is_supervised {
            return Err(Error::invalid(
                DEFINE,
                "is_mdm_removable",
                "false needs is_supervised: true",
            ));
        }
        Ok(())
    }

    /// SHA-256 of the content in hexadecimal, so that equal content is not defined again. Serial numbers, the
    /// identifier and the order of skipped panes do not count.
    ///
    /// # Errors
    /// None in practice: every part can be written as JSON.
    pub fn digest(&self) -> Result<String, Error> {
        let text: Vec<String> = self
            .keys()?
            .into_iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        Ok(crate::hex(&openssl::sha::sha256(text.concat().as_bytes())))
    }

    /// The keys in which what was read back differs. Keys that only the service has set do not count.
    ///
    /// # Errors
    /// None in practice: every part can be written as JSON.
    pub fn differences(&self, read_back: &Self) -> Result<Vec<String>, Error> {
        let theirs = read_back.keys()?;
        Ok(self
            .keys()?
            .into_iter()
            .filter(|(key, ours)| theirs.get(key) != Some(ours))
            .map(|(key, _)| key)
            .collect())
    }

    /// Every key with its JSON text; sorted where order means nothing.
    fn keys(&self) -> Result<BTreeMap<String, String>, Error> {
        let Ok(Value::Object(object)) = serde_json::to_value(self) else {
            return Err(Error::invalid(
                DEFINE,
                "profile",
                "it cannot be written as JSON",
            ));
        };
        let mut keys: BTreeMap<String, Value> = object.into_iter().collect();
        keys.remove("devices");
        for sorted in ["skip_setup_items", "anchor_certs", "supervising_host_certs"] {
            if let Some(Value::Array(items)) = keys.get_mut(sorted) {
                items.sort_by_key(ToString::to_string);
            }
        }
        Ok(keys
            .into_iter()
            .map(|(key, value)| (key, canonical(&value)))
            .collect())
    }
}

/// JSON text with sorted keys, whatever order the map of `serde_json` was built to keep.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, String> =
                object.iter().map(|(k, v)| (k, canonical(v))).collect();
            let parts: Vec<String> = sorted
                .iter()
                .map(|(k, v)| format!("{}:{v}", Value::from(k.as_str())))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        other => other.to_string(),
    }
}

pub(super) fn is_https(address: &str) -> bool {
    let rest = address
        .get(..8)
        .filter(|scheme| scheme.eq_ignore_ascii_case("https://"))
        .and(address.get(8..));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn check(change: impl FnOnce(&mut AdeProfile), key: &str) {
        let mut profile = AdeProfile::for_migration("standard", "https://mdm.example.com/ade");
        change(&mut profile);
        match profile.validate().expect_err("refused").kind() {
            ErrorKind::InvalidInput { field, .. } => assert_eq!(field, key),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_service_would_refuse_is_refused_here() {
        AdeProfile::for_migration("standard", "https://mdm.example.com/ade")
            .validate()
            .expect("valid");
        check(|p| p.profile_name.clear(), "profile_name");
        check(|p| p.profile_name = "ü".repeat(126), "profile_name");
        check(|p| p.url = "http://mdm.example.com".into(), "url");
        check(|p| p.url = "https://".into(), "url");
        check(|p| p.url = format!("https://{}", "a".repeat(2000)), "url");
        check(
            |p| p.configuration_web_url = Some("ftp://x".into()),
            "configuration_web_url",
        );
        check(|p| p.department = Some(String::new()), "department");
        check(
            |p| p.support_phone_number = Some("1".repeat(51)),
            "support_phone_number",
        );
        check(|p| p.is_supervised = false, "is_mdm_removable");
    }

    #[test]
    fn booleans_are_always_written_and_empty_texts_never() {
        let mut profile = AdeProfile::for_migration("standard", "https://mdm.example.com/ade");
        profile.allow_pairing = false;
        let json = serde_json::to_value(&profile).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "profile_name": "standard", "url": "https://mdm.example.com/ade",
                "await_device_configured": true, "is_supervised": true, "is_mandatory": true,
                "is_mdm_removable": false, "is_multi_user": false, "is_return_to_service": false,
                "do_not_use_profile_from_backup": false, "auto_advance_setup": false, "allow_pairing": false,
                "devices": []
            })
        );
    }

    #[test]
    fn reading_back_compares_meaning_and_not_layout() {
        let mut ours = AdeProfile::for_migration("standard", "https://mdm.example.com/ade");
        ours.skip_setup_items = vec![SkipKey::Welcome, SkipKey::Tips];
        let mut theirs = ours.clone();
        theirs.skip_setup_items.reverse();
        theirs.profile_uuid = Some("AB".into());
        theirs.extra.insert("set_by_apple".into(), true.into());
        assert_eq!(
            ours.differences(&theirs).expect("JSON"),
            Vec::<String>::new()
        );
        theirs.await_device_configured = false;
        assert_eq!(
            ours.differences(&theirs).expect("JSON"),
            ["await_device_configured"]
        );
        assert_eq!(theirs.migration_obstacles(), ["await_device_configured"]);
        assert_ne!(ours.digest().expect("JSON"), theirs.digest().expect("JSON"));
        theirs = ours.clone();
        theirs.devices = vec!["S1".into()];
        theirs.skip_setup_items.reverse();
        assert_eq!(ours.digest().expect("JSON"), theirs.digest().expect("JSON"));
    }

    #[test]
    fn an_absent_boolean_reads_as_its_default() {
        let read: AdeProfile =
            serde_json::from_str(r#"{"profile_name":"a","url":"b"}"#).expect("a profile");
        assert!(read.allow_pairing && read.is_mdm_removable && !read.await_device_configured);
    }
}
