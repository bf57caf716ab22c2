//! What the original management service knew of a device: its system, its apps, its networks, its people. It is what can be known
//! of a device before it comes, told by a file that a person brings in; only its list of managed apps is told by the device too, while it is here. Every part has the moment at which
//! it was true and who told it; a newer part replaces an older one, part by part. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::app_state::app_key;
use crate::calendar::Zone;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, OrganisationId, Serial};
use crate::line;
use crate::texts::check_language;

/// The most apps, profiles or networks of one device.
pub const MOST_ENTRIES: usize = 2_000;
/// The most bytes of one word in it.
const LONGEST: usize = 512;
/// The most bytes of the keys that we do not know, as JSON.
const MOST_MORE: usize = 16 * 1024;
/// Who told what a device said itself.
pub const BY_DEVICE: &str = "the device itself";
/// How far ahead of our clock the moment of a fact may be.
const AHEAD: std::time::Duration = std::time::Duration::from_secs(86_400);

/// A fact, when it was true, and who told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a fact and where it comes from")]
pub struct Told<T> {
    /// The fact.
    pub value: T,
    /// When it was true at whoever told it.
    pub at: Timestamp,
    /// Who told it: the name that the person who brought it in gave to the source.
    pub by: String,
}

/// Makes what is known of a device and what a file says of one from one list: each part of the first with when and by whom.
macro_rules! parts {
    ($($(#[$doc:meta])* $part:ident: $type:ty,)*) => {
        /// What the original service knew of one device.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub struct OriginalFacts {
            /// Whose it is.
            pub organisation: OrganisationId,
            /// Its key: that of the device.
            pub id: DeviceId,
            /// Version of the row; 0 for a new one.
            #[serde(skip)]
            pub version: i64,
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $part: Option<Told<$type>>,
            )*
            /// The managed apps that it has, all of them, as it last told us itself while it was here.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub reported_apps: Option<Told<Vec<OriginalApp>>>,
            /// Keys that we do not know, as they came.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub more: BTreeMap<String, serde_json::Value>,
        }

        /// What a file says of one device: a row of an import. What is left out is not known, and changes nothing.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub struct Said {
            /// Which device.
            pub serial: Serial,
            $(
                $(#[$doc])*
                #[serde(default)]
                pub $part: Option<$type>,
            )*
            /// Keys that we do not know, kept.
            #[serde(flatten)]
            pub more: BTreeMap<String, serde_json::Value>,
        }

        impl OriginalFacts {
            /// A device of which the original told nothing.
            #[must_use]
            pub const fn new(organisation: OrganisationId, id: DeviceId) -> Self {
                Self {
                    organisation,
                    id,
                    version: 0,
                    $($part: None,)*
                    reported_apps: None,
                    more: BTreeMap::new(),
                }
            }

            /// Takes what a file says, as of `at`. Parts that are older than what is known stay as they are; answers whether
            /// anything changed.
            pub fn take(&mut self, said: Said, at: Timestamp, by: &str) -> bool {
                let before = self.clone();
                $(
                    if let Some(value) = said.$part {
                        replace(&mut self.$part, value, at, by);
                    }
                )*
                self.more.extend(said.more);
                *self != before
            }
        }

        impl Said {
            /// Nothing of a device.
            #[must_use]
            pub const fn nothing(serial: Serial) -> Self {
                Self {
                    serial,
                    $($part: None,)*
                    more: BTreeMap::new(),
                }
            }
        }
    };
}

parts! {
    /// The operating-system version.
    system: String,
    /// When the original last heard from it.
    last_seen: Timestamp,
    /// How it enrolled there.
    enrolment: OriginalEnrolment,
    /// Whether it is a Shared iPad.
    shared: bool,
    /// Whether it is set up for Return to Service.
    return_to_service: bool,
    /// The person who has it.
    owner: DeviceOwner,
    /// Where that person lives, by the name of the time zone.
    time_zone: Zone,
    /// In which language that person reads, such as `de` or `pt-BR`.
    language: String,
    /// The one local user of a Mac whose account had a channel there.
    managed_user: ManagedUser,
    /// The managed apps that it has: all of them.
    apps: Vec<OriginalApp>,
    /// The networks that it uses: all of them.
    networks: Vec<OriginalNetwork>,
    /// Ways onto a network that stay when that service's go: recorded by a person.
    other_paths: BTreeSet<OtherPath>,
    /// The configuration profiles that it has from there: all of them.
    profiles: Vec<OriginalProfile>,
    /// The declarations that it has from there: all of them.
    declarations: Vec<OriginalDeclaration>,
    /// Whether a person has locked it to an Apple Account of their own.
    user_lock: bool,
}

impl OriginalFacts {
    /// The groups of its owner, where somebody told who that is.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &String> {
        let owner = self.owner.iter();
        owner.flat_map(|owner| &owner.value.groups)
    }

    /// Forgets what the device said itself before it was ours as it is now (see [`Device::ours_since`](crate::device::Device::ours_since)):
    /// that was of another time here, and is no list of what another service has given it since.
    #[must_use]
    pub fn of_now(mut self, ours_since: Option<Timestamp>) -> Self {
        self.reported_apps = self
            .reported_apps
            .filter(|told| ours_since.is_some_and(|since| told.at > since));
        self
    }

    /// The newest list of its managed apps: that of the service that it leaves, or its own. Whether that is of now, see
    /// [`Self::of_now`].
    #[must_use]
    pub fn known_apps(&self) -> Option<&Told<Vec<OriginalApp>>> {
        let all = self.reported_apps.iter().chain(&self.apps);
        all.max_by_key(|told| told.at)
    }

    /// Takes away what it says of people, as far as that was true before a moment; says whether there was any.
    pub fn forget_people(&mut self, before: Timestamp) -> bool {
        let old = self.clone();
        fn drop_old<T>(part: &mut Option<Told<T>>, before: Timestamp) {
            if part.as_ref().is_some_and(|told| told.at < before) {
                *part = None;
            }
        }
        drop_old(&mut self.owner, before);
        drop_old(&mut self.time_zone, before);
        drop_old(&mut self.language, before);
        drop_old(&mut self.managed_user, before);
        // Keys that nobody knows may name anybody; they have no moment of their own.
        if *self != old {
            self.more.clear();
        }
        *self != old
    }
}

/// How a device enrolled at the original service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OriginalEnrolment {
    /// By automated enrolment, and it still is managed that way.
    Automated,
    /// By a profile, device-wide.
    Profile,
    /// By somebody's account.
    Account,
    /// A word that we do not know.
    #[serde(untagged)]
    Other(String),
}

/// The person who has a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceOwner {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// Groups, departments, sites.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

/// The managed local user of a Mac.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ManagedUser {
    /// The short name; empty where it is known that there is none.
    pub name: String,
    /// When this user last signed in.
    pub last_sign_in: Option<Timestamp>,
}

/// An app that the original service manages on a device. What is not taken over in the hold is removed with its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginalApp {
    /// Bundle identifier.
    pub bundle_id: String,
    /// As people know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The store's number; none for an app of the organisation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<u64>,
    /// When the signature of an app of the organisation's own ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_until: Option<Timestamp>,
}

impl OriginalApp {
    /// An app of which only the bundle identifier is known.
    #[must_use]
    pub fn new(bundle_id: &str) -> Self {
        Self {
            bundle_id: bundle_id.to_owned(),
            name: None,
            store_id: None,
            signed_until: None,
        }
    }
}

/// A network that a device uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginalNetwork {
    /// The name of a Wi-Fi network.
    pub ssid: String,
    /// Whether it came from the original service: then it goes with it.
    #[serde(default)]
    pub managed: bool,
}

impl OriginalNetwork {
    /// A network.
    #[must_use]
    pub fn new(ssid: &str, managed: bool) -> Self {
        Self {
            ssid: ssid.to_owned(),
            managed,
        }
    }
}

/// A way onto a network that no management service gives, and none takes away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OtherPath {
    /// A cellular plan.
    Cellular,
    /// A cable.
    Wired,
    /// A Wi-Fi network that its user has set up.
    Unmanaged,
    /// A word that we do not know: it says nothing.
    #[serde(untagged)]
    Other(String),
}

/// A configuration profile that a device has from the original service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginalProfile {
    /// `PayloadIdentifier`.
    pub identifier: String,
    /// As people know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The `PayloadType`s in it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub payloads: BTreeSet<String>,
}

/// A declaration that a device has from the original service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginalDeclaration {
    /// `Identifier`.
    pub identifier: String,
    /// `Type`, such as `com.apple.configuration.passcode.settings`.
    #[serde(rename = "type")]
    pub declaration_type: String,
}

fn replace<T: PartialEq>(part: &mut Option<Told<T>>, value: T, at: Timestamp, by: &str) {
    if part.as_ref().is_some_and(|known| known.at > at) {
        return;
    }
    *part = Some(Told {
        value,
        at,
        by: by.to_owned(),
    });
}

impl Said {
    /// Puts lists in order, without doubles, and refuses what cannot be right.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field.
    pub fn checked(mut self, now: Timestamp) -> Result<Self, Error> {
        if let Some(system) = &self.system {
            let number = system.split('.').next().unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Error::bad_input(
                    "system",
                    "must be a version, like 18.5 or 26.1.2",
                ));
            }
            word("system", system)?;
        }
        if self.last_seen.is_some_and(|seen| seen > now + AHEAD) {
            return Err(Error::bad_input("last_seen", "lies in the future"));
        }
        if let Some(OriginalEnrolment::Other(other)) = &self.enrolment {
            word("enrolment", other)?;
        }
        if let Some(owner) = &mut self.owner {
            // Spelt as whoever names one later can spell it.
            let groups = owner.groups.iter().map(|group| group.trim().to_owned());
            owner.groups = groups.filter(|group| !group.is_empty()).collect();
            if owner.groups.len() > 100 {
                return Err(Error::bad_input("owner.groups", "has more than 100"));
            }
            let words = owner.name.iter().chain(&owner.email).chain(&owner.groups);
            for text in words {
                line::check("owner", text, LONGEST)?;
            }
        }
        if let Some(language) = &self.language {
            check_language("language", language)?;
        }
        if let Some(user) = &self.managed_user {
            word("managed_user.name", &user.name)?;
        }
        if let Some(apps) = &mut self.apps {
            for app in apps.iter() {
                filled("apps.bundle_id", &app.bundle_id)?;
                word("apps.name", app.name.as_deref().unwrap_or_default())?;
            }
            apps.sort();
            let mut known = BTreeSet::new();
            apps.retain(|app| known.insert(app_key(&app.bundle_id)));
            bounded("apps", apps.len())?;
        }
        if let Some(networks) = &mut self.networks {
            for network in networks.iter() {
                filled("networks.ssid", &network.ssid)?;
            }
            networks.sort();
            networks.dedup();
            bounded("networks", networks.len())?;
        }
        if let Some(paths) = &self.other_paths {
            bounded("other_paths", paths.len())?;
            for path in paths {
                if let OtherPath::Other(_) = path {
                    let problem = "must be cellular, wired or unmanaged";
                    return Err(Error::bad_input("other_paths", problem));
                }
            }
        }
        if let Some(profiles) = &mut self.profiles {
            for profile in profiles.iter() {
                filled("profiles.identifier", &profile.identifier)?;
                word("profiles.name", profile.name.as_deref().unwrap_or_default())?;
                bounded("profiles.payloads", profile.payloads.len())?;
                for payload in &profile.payloads {
                    word("profiles.payloads", payload)?;
                }
            }
            profiles.sort();
            profiles.dedup_by(|b, a| a.identifier == b.identifier);
            bounded("profiles", profiles.len())?;
        }
        if let Some(declarations) = &mut self.declarations {
            for declaration in declarations.iter() {
                filled("declarations.identifier", &declaration.identifier)?;
                filled("declarations.type", &declaration.declaration_type)?;
            }
            declarations.sort();
            declarations.dedup_by(|b, a| a.identifier == b.identifier);
            bounded("declarations", declarations.len())?;
        }
        // Whatever we know by its key is sealed; what we do not know is kept as it came, so none of it may be a secret.
        let secret = |key: &&String| {
            let key = key.to_ascii_lowercase();
            [
                "password", "passcode", "secret", "recovery", "bypass", "token", "private", "pin",
            ]
            .iter()
            .any(|word| key.contains(word))
        };
        if let Some(key) = self.more.keys().find(secret) {
            return Err(Error::bad_input(
                key.chars().take(64).collect::<String>(),
                "would be kept unsealed: secrets are not taken here",
            ));
        }
        let more = serde_json::to_vec(&self.more).map_or(usize::MAX, |json| json.len());
        if more > MOST_MORE {
            return Err(Error::bad_input(
                "more",
                "unknown keys take more than 16 KiB",
            ));
        }
        Ok(self)
    }
}

/// What a device or a service says of itself. Apps are titled with marks of direction, and a title is no reason to leave out what is told of
/// a device: whoever shows it leaves the marks out.
fn word(field: &'static str, text: &str) -> Result<(), Error> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(Error::bad_input(
            field,
            "must be at most 512 bytes, without control characters",
        ));
    }
    Ok(())
}

fn filled(field: &'static str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::bad_input(field, "is empty"));
    }
    word(field, text)
}

fn bounded(field: &'static str, count: usize) -> Result<(), Error> {
    if count > MOST_ENTRIES {
        return Err(Error::bad_input(field, "has more than 2000 entries"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);

    fn said() -> Said {
        Said::nothing(Serial::parse("SERIAL1").unwrap())
    }

    fn facts() -> OriginalFacts {
        OriginalFacts::new(OrganisationId(1), DeviceId(1))
    }

    #[test]
    fn a_newer_part_replaces_an_older_one_and_leaves_the_others() {
        let day = std::time::Duration::from_secs(86_400);
        let mut facts = facts();
        let mut first = said();
        first.system = Some("18.5".to_owned());
        first.shared = Some(false);
        assert!(facts.take(first, NOW, "export"));
        let mut newer = said();
        newer.system = Some("26.1".to_owned());
        assert!(facts.take(newer.clone(), NOW + day, "second export"));
        assert_eq!(facts.system.as_ref().unwrap().value, "26.1");
        assert_eq!(facts.system.as_ref().unwrap().by, "second export");
        assert!(!facts.shared.as_ref().unwrap().value);
        let mut older = said();
        older.system = Some("17.0".to_owned());
        assert!(!facts.take(older, NOW, "found in a drawer"));
        // The same file again changes nothing.
        assert!(!facts.take(newer, NOW + day, "second export"));
    }

    #[test]
    fn an_app_that_is_listed_twice_but_for_case_counts_once() {
        let mut twice = said();
        let apps = ["net.example.b", "net.example.A", "net.example.B"];
        twice.apps = Some(apps.map(OriginalApp::new).into());
        let told = twice.checked(NOW).unwrap().apps.unwrap();
        let names: Vec<&str> = told.iter().map(|app| app.bundle_id.as_str()).collect();
        assert_eq!(names, ["net.example.A", "net.example.B"]);
        // However far apart they stand in the list.
        let mut apart = said();
        let apps = ["net.example.b", "net.example.a", "net.Example.b"];
        apart.apps = Some(apps.map(OriginalApp::new).into());
        assert_eq!(apart.checked(NOW).unwrap().apps.unwrap().len(), 2);
    }

    #[test]
    fn an_empty_list_is_a_fact_and_a_missing_one_is_none() {
        let mut facts = facts();
        let mut empty = said();
        empty.apps = Some(Vec::new());
        assert!(facts.take(empty.checked(NOW).unwrap(), NOW, "export"));
        assert_eq!(facts.apps.as_ref().unwrap().value, Vec::new());
        assert_eq!(facts.profiles, None);
    }

    #[test]
    fn groups_are_spelt_as_others_can_name_them() {
        let mut row = said();
        let groups = ["", " ", " Sales", "Sales", "R & D "].map(str::to_owned);
        let owner = DeviceOwner {
            groups: groups.into(),
            ..DeviceOwner::default()
        };
        row.owner = Some(owner);
        let groups = row.checked(NOW).unwrap().owner.unwrap().groups;
        assert_eq!(groups, ["R & D", "Sales"].map(str::to_owned).into());
    }

    #[test]
    fn what_cannot_be_right_is_named() {
        fn check(change: impl FnOnce(&mut Said), field: &str) {
            let mut row = said();
            change(&mut row);
            let error = row.checked(NOW).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        check(|s| s.system = Some("Sequoia".to_owned()), "system");
        check(|s| s.last_seen = Some(NOW + AHEAD + AHEAD), "last_seen");
        for turned in ["Sales\u{202e}x", "Sales\u{2066}", "Sales\u{2029}x", "a\nb"] {
            let (mut group, mut name) = (DeviceOwner::default(), DeviceOwner::default());
            group.groups.insert(turned.to_owned());
            name.name = Some(turned.to_owned());
            for owner in [group, name] {
                let owner = Some(owner);
                check(|s| s.owner = owner, "owner: must be without control");
            }
        }
        check(|s| s.apps = Some(vec![OriginalApp::new(" ")]), "apps");
        check(
            |s| {
                s.apps = Some(
                    (0..=MOST_ENTRIES)
                        .map(|i| OriginalApp::new(&i.to_string()))
                        .collect(),
                )
            },
            "apps",
        );
        check(
            |s| s.networks = Some(vec![OriginalNetwork::new("a\u{7}b", true)]),
            "networks",
        );
        check(
            |s| {
                s.more.insert("notes".to_owned(), "x".repeat(20_000).into());
            },
            "more",
        );
        check(
            |s| {
                s.more.insert("RecoveryKey".to_owned(), "A-B-C".into());
            },
            "RecoveryKey",
        );
    }

    #[test]
    fn an_app_in_two_rows_is_one_app() {
        let mut row = said();
        row.apps = Some(vec![
            OriginalApp::new("com.example.B"),
            OriginalApp::new("com.example.a"),
            OriginalApp::new("com.example.B"),
        ]);
        let apps = row.checked(NOW).unwrap().apps.unwrap();
        assert_eq!(apps.len(), 2);
    }

    #[test]
    fn a_row_of_json_keeps_what_it_does_not_know() {
        let row: Said = serde_json::from_str(
            r#"{"serial":"SERIAL1","system":"18.5","enrolment":"automated","apps":[{"bundle_id":"com.example"}],"asset_tag":"A-17"}"#,
        )
        .unwrap();
        assert_eq!(row.enrolment, Some(OriginalEnrolment::Automated));
        assert_eq!(row.more["asset_tag"], "A-17");
    }
}
