//! People who sign in at their organisation's own provider: how it is asked, sign-ins under way, and the sessions that come of
//! them. Whatever somebody must show is kept as a hash only; holds no password and no token of the provider.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::Role;
use crate::clock::Timestamp;
use crate::ids::{
    DeviceId, EnrollmentId, OrganisationId, PersonSessionId, SecretId, SessionId, SignInId,
};
use crate::organisation::Der;

/// Who somebody is, as the provider's signed token said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four claims")]
pub struct Person {
    /// `sub`: never changes and is never given to anybody else.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// The account, usually an e-mail address; for devices the Managed Apple Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Groups, as the provider names them. Of what is kept, only those that give a role here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Whether devices that enrol by assignment have somebody sign in first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "not, may, must")]
pub enum WebView {
    /// Nobody signs in.
    #[default]
    Off,
    /// The profile of the assignment service sends devices to the sign-in; one that comes without is let in all the same.
    Offered,
    /// A device without a sign-in gets no enrolment profile, unless it is moved here from another server: what a sign-in does in a
    /// migration nobody documents.
    Required,
}

/// How a device is enrolled that an account brings.
///
/// <https://developer.apple.com/documentation/devicemanagement/discover-authentication-servers>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "Apple's two modes")]
pub enum AccountMode {
    /// User Enrollment: a device that its user owns.
    Byod,
    /// Device Enrollment: a device that the organisation owns.
    Adde,
}

impl AccountMode {
    /// As in addresses and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Byod => "byod",
            Self::Adde => "adde",
        }
    }

    /// By that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Byod, Self::Adde]
            .into_iter()
            .find(|mode| mode.as_str() == name)
    }

    /// `EnrollmentMode` of the payload.
    #[must_use]
    pub const fn enrollment_mode(self) -> &'static str {
        match self {
            Self::Byod => "BYOD",
            Self::Adde => "ADDE",
        }
    }

    /// `Version` of the discovery document.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Byod => "mdm-byod",
            Self::Adde => "mdm-adde",
        }
    }
}

/// How an organisation's people sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignIn {
    /// The provider: `https://…`, exactly as it names itself.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// The sealed client secret.
    pub secret: SecretId,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that names groups.
    pub groups_claim: String,
    /// The claim that names the account.
    pub account_claim: String,
    /// What each group may do.
    pub roles: BTreeMap<String, Role>,
    /// Groups whose people may look at secrets of devices, as far as their role lets them.
    #[serde(default)]
    pub secrets_groups: BTreeSet<String>,
    /// What single people may do, whatever their groups say: by account in lower case, or by subject.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, OwnRole>,
    /// How long an operator's session lasts, in hours.
    pub session_hours: u32,
    /// After how many days whoever brought a device by account signs in there again.
    pub device_days: u32,
    /// Sign-in of devices that enrol by assignment.
    pub web_view: WebView,
    /// How accounts may bring devices; empty when they may not.
    pub account: BTreeSet<AccountMode>,
    /// Domains of the accounts, for the question that devices ask the host alone.
    pub domains: BTreeSet<String>,
}

impl SignIn {
    /// What it is when only the provider is known: nobody has a role, no device signs in.
    #[must_use]
    pub fn new(issuer: String, client_id: String, secret: SecretId) -> Self {
        Self {
            issuer,
            client_id,
            secret,
            scopes: vec!["profile".to_owned(), "email".to_owned()],
            groups_claim: "groups".to_owned(),
            account_claim: "email".to_owned(),
            roles: BTreeMap::new(),
            secrets_groups: BTreeSet::new(),
            people: BTreeMap::new(),
            session_hours: 8,
            device_days: 90,
            web_view: WebView::Off,
            account: BTreeSet::new(),
            domains: BTreeSet::new(),
        }
    }

    /// What was said of this person alone. The subject comes first: at some providers people change their own account.
    #[must_use]
    pub fn own_role(&self, person: &Person) -> Option<&OwnRole> {
        let by_account = || {
            let account = person.account.as_ref()?;
            self.people.get(&account.to_lowercase())
        };
        self.people.get(&person.subject).or_else(by_account)
    }

    /// The role of a person: their own where one is set, else the greatest of their groups; `None` for somebody who may do
    /// nothing here.
    #[must_use]
    pub fn role_of(&self, person: &Person) -> Option<Role> {
        if let Some(own) = self.own_role(person) {
            return own.role;
        }
        let roles = person.groups.iter().filter_map(|g| self.roles.get(g));
        roles.max().copied()
    }

    /// Whether a person may look at secrets of devices.
    #[must_use]
    pub fn shows_secrets(&self, person: &Person) -> bool {
        match self.own_role(person) {
            Some(own) => own.secrets,
            None => {
                let of = |g: &String| self.secrets_groups.contains(g);
                person.groups.iter().any(of)
            }
        }
    }
}

/// What one person may do, whatever their groups say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OwnRole {
    /// Their role; `None` for somebody who is kept out.
    pub role: Option<Role>,
    /// Whether they may look at secrets of devices, as far as the role goes.
    pub secrets: bool,
    /// When it was set.
    pub set: Timestamp,
    /// By whom.
    pub by: String,
}

impl OwnRole {
    /// A rule that is set now.
    #[must_use]
    pub const fn new(role: Option<Role>, secrets: bool, set: Timestamp, by: String) -> Self {
        Self {
            role,
            secrets,
            set,
            by,
        }
    }
}

/// What somebody signs in for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// To look at the page in this browser.
    Page,
    /// For a program on their own machine.
    CommandLine {
        /// The loopback address that it listens at.
        redirect: String,
        /// The challenge of its verifier.
        challenge: String,
        /// Goes back with the code, as the program gave it.
        state: String,
    },
    /// For a device in Setup Assistant.
    WebView {
        /// Its machine information, whose signature was verified.
        info: Der,
    },
    /// For a device that an account brings.
    Account {
        /// How.
        mode: AccountMode,
    },
}

/// A sign-in under way, from the door to the way back, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignInAttempt {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: SignInId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// SHA-256 of what comes back with the answer, lower-case hex.
    pub state_hash: String,
    /// SHA-256 of what must stand in the token, lower-case hex.
    pub nonce_hash: String,
    /// SHA-256 of what the browser that began it holds, lower-case hex.
    pub browser_hash: String,
    /// Our verifier towards the provider, sealed.
    pub verifier: Der,
    /// The provider that it was begun at. One that is set later answers nothing of this.
    pub issuer: String,
    /// What for.
    pub purpose: Purpose,
    /// When it began.
    pub created: Timestamp,
    /// When it is over.
    pub expires: Timestamp,
    /// When the way back was taken, with whatever success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
    /// What it came to, for the program that waits for it; taken away when that has fetched it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// A proved person, waiting for the program that began the sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two facts")]
pub struct Granted {
    /// SHA-256 of the one-time code, lower-case hex.
    pub code_hash: String,
    /// Who.
    pub person: Person,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "each is decided on at its own door"
)]
pub enum SessionUse {
    /// The page of one browser. Opens nothing else.
    Page,
    /// The API, by a program.
    CommandLine,
    /// A device that an account brings or has brought.
    Device(AccountMode),
}

impl SessionUse {
    /// A word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::CommandLine => "command-line",
            Self::Device(AccountMode::Byod) => "device-byod",
            Self::Device(AccountMode::Adde) => "device-adde",
        }
    }
}

/// Somebody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PersonSession {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: PersonSessionId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// SHA-256 of what its holder shows, lower-case hex.
    pub token_hash: String,
    /// What for.
    pub used_for: SessionUse,
    /// Who.
    pub person: Person,
    /// The provider that said so. A session ends when the organisation takes another.
    pub issuer: String,
    /// The enrolment profile that it brought; it brings no second one beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<SessionId>,
    /// The device that it was used for, once one was enrolled with it or speaks with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The enrolment that it belongs to: another one's device shows it in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment: Option<EnrollmentId>,
    /// When it began.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl PersonSession {
    /// Whether it holds now, for an organisation that signs people in like this.
    #[must_use]
    pub fn holds(&self, setting: Option<&SignIn>, now: Timestamp) -> bool {
        self.revoked.is_none()
            && now < self.expires
            && setting.is_some_and(|s| s.issuer == self.issuer)
    }

    /// When it is over, whatever came first.
    #[must_use]
    pub fn over(&self) -> Timestamp {
        self.revoked.map_or(self.expires, |at| at.min(self.expires))
    }
}

/// Who signed in at a device before it was enrolled, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct SignedIn {
    /// `sub` at the provider.
    pub subject: String,
    /// Name.
    pub name: String,
    /// Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl SignedIn {
    /// This person, now.
    #[must_use]
    pub fn of(person: &Person, at: Timestamp) -> Self {
        Self {
            subject: person.subject.clone(),
            name: person.name.clone(),
            account: person.account.clone(),
            at,
        }
    }
}

/// The domain of an account (`somebody@example.com`), in lower case; `None` for what is none.
#[must_use]
pub fn domain_of(account: &str) -> Option<String> {
    let (user, domain) = account.trim().rsplit_once('@')?;
    let fits = !user.is_empty() && domain.contains('.') && domain.len() <= 253;
    fits.then(|| domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(account: &str, groups: &[&str]) -> Person {
        Person {
            subject: "s-1".to_owned(),
            name: "Ada".to_owned(),
            account: Some(account.to_owned()),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        }
    }

    #[test]
    fn the_greatest_role_of_somebodys_groups_counts_and_no_group_is_no_role() {
        let mut setting = SignIn::new("https://i".to_owned(), "c".to_owned(), SecretId(1));
        setting.roles = [("help", Role::Helpdesk), ("plan", Role::Planner)]
            .map(|(group, role)| (group.to_owned(), role))
            .into();
        let of = |groups: &[&str]| setting.role_of(&person("ada@example.com", groups));
        assert_eq!(of(&["plan", "help", "x"]), Some(Role::Planner));
        assert_eq!(of(&["help"]), Some(Role::Helpdesk));
        // Names are compared letter by letter.
        assert_eq!(of(&["Help", "helper", ""]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_persons_own_role_comes_before_their_groups_and_the_subject_before_the_account() {
        let mut setting = SignIn::new("https://i".to_owned(), "c".to_owned(), SecretId(1));
        setting.roles.insert("plan".to_owned(), Role::Planner);
        setting.secrets_groups.insert("plan".to_owned());
        let own = |role, secrets| {
            OwnRole::new(role, secrets, Timestamp::from_millis(1), "root".to_owned())
        };
        let ada = person("Ada@Example.com", &["plan"]);
        assert_eq!(setting.role_of(&ada), Some(Role::Planner));
        assert!(setting.shows_secrets(&ada));
        let account = "ada@example.com".to_owned();
        setting
            .people
            .insert(account.clone(), own(Some(Role::Viewer), false));
        assert_eq!(setting.role_of(&ada), Some(Role::Viewer));
        assert!(!setting.shows_secrets(&ada));
        assert_eq!(
            setting.role_of(&person("bob@example.com", &["plan"])),
            Some(Role::Planner)
        );
        // Kept out by the subject, whatever the account says.
        setting.people.insert("s-1".to_owned(), own(None, true));
        assert_eq!(setting.role_of(&ada), None);
    }

    #[test]
    fn the_domain_of_an_account_is_what_stands_behind_the_last_sign() {
        let check = |account: &str, want: Option<&str>| {
            assert_eq!(domain_of(account).as_deref(), want, "{account}");
        };
        check("ada@Example.COM", Some("example.com"));
        check("a@b@example.com", Some("example.com"));
        check("@example.com", None);
        check("ada@localhost", None);
        check("ada", None);
        check("", None);
    }
}
