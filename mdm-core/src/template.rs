//! A template of the installation: what projects are like in every organisation that it was pushed to, and which of that is locked
//! there. Knows no organisation's own objects: profiles of its runbooks are named, and each organisation's library has them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::error::Error;
use crate::ids::{OrganisationId, RunbookId, TemplateId};
use crate::migration::PinnedRunbook;
use crate::project::{Gate, Project, StopRule, Window};
use crate::server_certificate::INSTALLATION;

/// The most edits that are remembered; the first ones go.
const MOST_EDITS: usize = 200;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Template {
    /// The installation's.
    pub organisation: OrganisationId,
    /// Its key; comes from the name, so that there is one of a name.
    pub id: TemplateId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it.
    pub name: String,
    /// Counts its edits, from 1.
    pub revision: u32,
    /// What it says now.
    pub content: TemplateContent,
    /// Its edits, oldest first.
    pub edits: Vec<TemplateEdit>,
    /// When it was taken out of use: it is pushed nowhere any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

/// What a template says; what it leaves out is for each organisation to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "data that people edit")]
pub struct TemplateContent {
    /// The runbook of each platform; profiles without content.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runbooks: BTreeMap<Platform, PinnedRunbook>,
    /// When deadlines may lie at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// When they may lie within a day and a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
    /// How many devices may be in a hold at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// What must be true of a wave before the next one is submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// When no more devices are offered their migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRule>,
    /// What must have been done at the original service for each device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prerequisites: Option<BTreeSet<String>>,
    /// Whether projects are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
}

/// One edit of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TemplateEdit {
    /// Its number.
    pub revision: u32,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
}

/// What was pushed to an organisation: its own copy, so that an edit of the template changes nothing there before the next push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PushedTemplate {
    /// Which.
    pub template: TemplateId,
    /// Its name.
    pub name: String,
    /// Which edit.
    pub revision: u32,
    /// Who pushed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Its runbooks, as they are pinned here.
    pub runbooks: BTreeMap<Platform, RunbookId>,
    /// The rest of what it says; no runbooks.
    pub rules: TemplateContent,
}

impl Template {
    /// One that says nothing yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            organisation: INSTALLATION,
            id: Self::id_of(name),
            version: 0,
            name: name.to_owned(),
            revision: 0,
            content: TemplateContent::default(),
            edits: Vec::new(),
            removed: None,
        }
    }

    /// The key of a name. Capitals make no other name.
    #[must_use]
    pub fn id_of(name: &str) -> TemplateId {
        let hash = openssl::sha::sha256(format!("template {}", name.to_lowercase()).as_bytes());
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hash[..8]);
        TemplateId(i64::from_be_bytes(first) & i64::MAX)
    }

    /// Notes an edit; what it says is in force already.
    pub fn edited(&mut self, by: &str, at: Timestamp, reason: &str) {
        self.revision += 1;
        self.edits.push(TemplateEdit {
            revision: self.revision,
            by: by.to_owned(),
            at,
            reason: reason.to_owned(),
        });
        let over = self.edits.len().saturating_sub(MOST_EDITS);
        self.edits.drain(..over);
    }
}

impl TemplateContent {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what can never be right in any organisation. Whether a library has the profiles is found out by the push.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the part.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_nothing() {
            let problem = "must say something: a runbook, a window, a gate, a switch";
            return Err(Error::bad_input("template", problem));
        }
        for (platform, runbook) in &self.runbooks {
            if runbook.profiles.iter().any(|p| !p.content.0.is_empty()) {
                let problem = "must be left out: each organisation's library has the profile of this identifier";
                let field = format!("runbooks.{}.profiles.content", platform.as_str());
                return Err(Error::bad_input(field, problem));
            }
            // What stands in the place of the contents is not looked at: there is none.
            let mut bare = runbook.clone();
            bare.profiles.clear();
            bare.validate_for(*platform)?;
        }
        let mut project = Project::new(
            self::INSTALLATION,
            crate::ids::ProjectId(1),
            "template",
            crate::ids::ServerId(1),
            Timestamp::from_millis(0),
        );
        self.rule(&mut project);
        project.check()
    }

    /// Makes a project as it says, runbooks aside.
    pub(crate) fn rule(&self, project: &mut Project) {
        macro_rules! take {
            ($($part:ident)*) => {$(
                if let Some(value) = &self.$part {
                    project.$part.clone_from(value);
                }
            )*};
        }
        take! { window calendar capacity gate stop prerequisites on }
    }
}

impl PushedTemplate {
    /// Makes a project as it says.
    pub(crate) fn rule(&self, project: &mut Project) {
        self.rules.rule(project);
        project.runbooks.extend(&self.runbooks);
    }

    /// What of a project is otherwise than it says: changed through an older door, or before it was pushed and then closed.
    #[must_use]
    pub fn drift(&self, project: &Project) -> Vec<String> {
        let mut ruled = project.clone();
        self.rule(&mut ruled);
        let mut found = Vec::new();
        macro_rules! differs {
            ($($part:ident)*) => {$(
                if ruled.$part != project.$part {
                    found.push(format!("{}: {} is otherwise", project.name, stringify!($part)));
                }
            )*};
        }
        differs! { runbooks window calendar capacity gate stop prerequisites on }
        found
    }

    /// The first part that it locks and that is otherwise after a change, for whoever wanted that.
    #[must_use]
    pub fn locks(&self, changed: &Project) -> Option<&'static str> {
        let mut ruled = changed.clone();
        self.rule(&mut ruled);
        macro_rules! first {
            ($($part:ident)*) => {$(
                if ruled.$part != changed.$part {
                    return Some(stringify!($part));
                }
            )*};
        }
        first! { runbooks window calendar capacity gate stop prerequisites }
        // Off can be turned whatever is on by a template: nobody is kept from stopping.
        (changed.on && !ruled.on).then_some("on")
    }

    /// The name under which its runbook of a platform is kept where it was pushed.
    #[must_use]
    pub fn runbook_name(&self, platform: Platform) -> String {
        format!("{} {}", self.name, platform.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ProjectId, ServerId};
    use crate::migration::Variant;

    fn project() -> Project {
        let at = Timestamp::from_millis(0);
        Project::new(OrganisationId(1), ProjectId(2), "Berlin", ServerId(3), at)
    }

    #[test]
    fn what_a_template_leaves_out_is_the_organisations_own() {
        let mut content = TemplateContent::default();
        assert!(content.check().is_err());
        content.capacity = Some(0);
        assert!(
            content
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("capacity: ")
        );
        content.capacity = Some(40);
        content.on = Some(false);
        content.check().unwrap();
        let pushed = PushedTemplate {
            template: Template::id_of("Careful"),
            name: "Careful".to_owned(),
            revision: 1,
            by: "Ada".to_owned(),
            at: Timestamp::from_millis(0),
            runbooks: [(Platform::Ios, RunbookId(7))].into(),
            rules: content,
        };
        let mut it = project();
        assert_eq!(pushed.locks(&it), Some("runbooks"));
        assert_eq!(pushed.drift(&it).len(), 2);
        pushed.rule(&mut it);
        assert_eq!((it.capacity, it.on), (40, false));
        assert_eq!((pushed.locks(&it), pushed.drift(&it)), (None, Vec::new()));
        it.gate.sign_off = false;
        assert_eq!(pushed.locks(&it), None, "the gate is its own");
        it.on = true;
        assert_eq!(pushed.locks(&it), Some("on"));
        assert_eq!(pushed.drift(&it), ["Berlin: on is otherwise"]);
        let mut on = pushed;
        on.rules.on = Some(true);
        it.on = false;
        assert_eq!(on.locks(&it), None, "nobody is kept from stopping");
        assert_eq!(on.drift(&it), ["Berlin: on is otherwise"]);
    }

    #[test]
    fn a_runbook_of_a_template_names_its_profiles_only() {
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        runbook.profiles.push(crate::migration::ProfilePlan {
            identifier: "net.wifi".to_owned(),
            role: crate::migration::ProfileRole::Network,
            content: crate::organisation::Der(Vec::new()),
        });
        let mut content = TemplateContent::default();
        content.runbooks.insert(Platform::Ios, runbook);
        content.check().unwrap();
        let own = content.runbooks.get_mut(&Platform::Ios).unwrap();
        own.profiles[0].content.0 = vec![1];
        let why = content.check().unwrap_err().to_string();
        assert!(why.contains("must be left out"), "{why}");
        assert_eq!(Template::id_of("Careful"), Template::id_of("careful"));
    }
}
