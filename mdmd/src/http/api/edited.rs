//! What people edit, by which requests, and the state in which it is: one table for the check of `If-Match` and for the document
//! of the API, and one place that says what of a row its tag tells.

use std::collections::BTreeSet;

use mdm_core::error::Error;
use mdm_core::hook::Hook;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::organisation::Organisation;
use mdm_core::runbook::KeptRunbook;
use mdm_core::server_certificate::INSTALLATION;
use mdm_core::service::{OnlyIf, Org};
use mdm_core::store::Noun;
use mdm_core::template::Template;
use serde::Deserialize;

use super::super::error::Refusal;
use super::super::query;
use super::tagged::Version;
use super::{Office, refused};

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Project,
    Wave,
    Runbook,
    /// Of the installation: no organisation's.
    Template,
    LibraryItem,
    Declaration,
    Set,
    Hook,
    /// Which devices have a tag: it has no row of its own.
    Tag,
    /// What is set for an organisation, part by part: who changes one is not disturbed by who changes another.
    Part(Part),
}

/// A part of an organisation's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Enrolment,
    SignIn,
    Users,
    Identities,
    RecoveryKeys,
    TwoPersons,
    Rules,
    OwnerTexts,
    AdeProfile,
}

/// Where a request names what it edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// There is one.
    Nowhere,
    /// The first parameter of the path.
    Path,
    /// `name` of the query: the body is a file.
    Query,
    /// `name`, `identifier` or `tag` of the body.
    Body,
}

/// Each route that edits something, beside those under one project and one wave and those of [`PARTS`].
const EDITS: &[(&str, What, Named)] = {
    use Named::{Body, Path, Query};
    use What::{Declaration, Hook, LibraryItem, Runbook, Set, Tag, Template};
    &[
        ("/api/v1/runbooks", Runbook, Body),
        ("/api/v1/runbooks/{name}/remove", Runbook, Path),
        ("/api/v1/templates", Template, Body),
        ("/api/v1/templates/push", Template, Body),
        ("/api/v1/templates/remove", Template, Body),
        ("/api/v1/library/profiles", LibraryItem, Body),
        ("/api/v1/library/packages", LibraryItem, Body),
        ("/api/v1/library/packages/upload", LibraryItem, Query),
        ("/api/v1/library/tags", LibraryItem, Body),
        ("/api/v1/library/remove", LibraryItem, Body),
        ("/api/v1/declarations", Declaration, Body),
        (
            "/api/v1/declarations/{identifier}/remove",
            Declaration,
            Path,
        ),
        ("/api/v1/declaration-sets", Set, Body),
        ("/api/v1/declaration-sets/remove", Set, Body),
        ("/api/v1/tags", Tag, Body),
        ("/api/v1/webhooks/{name}", Hook, Path),
        ("/api/v1/webhooks/{name}/secret", Hook, Path),
        ("/api/v1/webhooks/{name}/remove", Hook, Path),
    ]
};

/// The routes that edit a part of an organisation's row, of which there is one.
const PARTS: &[(Part, &[&str])] = &[
    (
        Part::Enrolment,
        &["/api/v1/enrolment", "/api/v1/network-users"],
    ),
    (Part::SignIn, &["/api/v1/sign-in", "/api/v1/sign-in/remove"]),
    (Part::Users, &["/api/v1/users", "/api/v1/users/revoke"]),
    (
        Part::Identities,
        &[
            "/api/v1/identities/issuer",
            "/api/v1/identities/settings",
            "/api/v1/identities/authority",
            "/api/v1/identities/authority/drop",
            "/api/v1/identities/trusted",
            "/api/v1/identities/attestation",
            "/api/v1/identities/registration",
        ],
    ),
    (Part::RecoveryKeys, &["/api/v1/filevault"]),
    (Part::TwoPersons, &["/api/v1/two-persons"]),
    (Part::Rules, &["/api/v1/checks/rules"]),
    (Part::OwnerTexts, &["/api/v1/owner-texts"]),
    (Part::AdeProfile, &["/api/v1/ade-profiles"]),
];

/// What a `POST` to a route edits, and where it says which, if it edits anything that has a tag.
pub(super) fn by(route: &str) -> Option<(What, Named)> {
    let under = |whole: &str| {
        let rest = route.strip_prefix(whole);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if under("/api/v1/projects/{id}") {
        return Some((What::Project, Named::Path));
    }
    if under("/api/v1/waves/{id}") {
        return Some((What::Wave, Named::Path));
    }
    if let Some((_, what, named)) = EDITS.iter().find(|(path, ..)| *path == route) {
        return Some((*what, *named));
    }
    let part = PARTS.iter().find(|(_, routes)| routes.contains(&route));
    part.map(|(part, _)| (What::Part(*part), Named::Nowhere))
}

/// The first parameter of a path, its escapes undone.
pub(super) fn in_path(route: &str, path: &str) -> Option<String> {
    let place = route.split('/').position(|part| part.starts_with('{'))?;
    query::unescape(path.split('/').nth(place)?)
}

/// The name in a body. `None` where there is none, or the body cannot be read: whoever does the request says why.
pub(super) fn in_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Which {
        #[serde(alias = "identifier", alias = "tag")]
        name: String,
    }
    let which: Result<Which, _> = serde_json::from_slice(body);
    which.ok().map(|which| which.name)
}

/// What is edited, as it is now: the row with the version to which its next change is held, and the state that its tag tells.
#[derive(Debug)]
pub(super) struct Now {
    noun: Noun,
    key: i64,
    version: i64,
    state: Version,
    /// The devices that have the tag, if it is one.
    tagged: Option<BTreeSet<Serial>>,
}

impl Now {
    fn row(noun: Noun, key: i64, version: i64) -> Self {
        let state = Version::of_row(version);
        Self {
            noun,
            key,
            version,
            state,
            tagged: None,
        }
    }

    /// The devices that have the tag, if it is one.
    pub(super) fn tagged(&self) -> Option<&BTreeSet<Serial>> {
        self.tagged.as_ref()
    }

    /// Whether a tag was answered for this state.
    pub(super) fn is_seen_in(&self, tag: &str) -> bool {
        self.state.is_in(tag)
    }

    /// The condition that nobody is faster.
    pub(super) fn held(&self, org: Option<&Org>) -> OnlyIf {
        match org {
            Some(org) => org.only_if(self.noun, self.key, self.version),
            None => OnlyIf::of_installation(self.noun, self.key, self.version),
        }
    }
}

/// Finds it. `None` where nothing has that name; that there is no such project or wave is said as ever.
pub(super) async fn now(
    office: &Office,
    org: Option<&Org>,
    what: What,
    name: &str,
) -> Result<Option<Now>, Refusal> {
    let store = office.mdm.store();
    let failed = |error: mdm_core::store::StoreError| refused(error.into());
    let Some(org) = org else {
        let found = store.template(INSTALLATION, Template::id_of(name)).await;
        let found = found.map_err(failed)?;
        let used = found.filter(|template| template.removed.is_none());
        return Ok(used.map(|it| Now::row(Noun::Template, it.id.0, it.version)));
    };
    let own = org.organisation().id;
    let number = || name.parse::<i64>();
    Ok(match what {
        What::Project => match number() {
            Ok(id) => {
                let project = org.project(ProjectId(id)).await.map_err(refused)?;
                Some(Now::row(Noun::Project, id, project.version))
            }
            Err(_) => None,
        },
        What::Wave => match number() {
            Ok(id) => {
                let wave = store.wave(own, WaveId(id)).await.map_err(failed)?;
                let wave = wave.ok_or_else(|| refused(Error::NotFound("wave")))?;
                Some(Now::row(Noun::Wave, id, wave.version))
            }
            Err(_) => None,
        },
        What::Runbook => {
            let found = store.kept_runbook(own, KeptRunbook::id_of(name)).await;
            let used = found.map_err(failed)?.filter(|it| it.removed.is_none());
            used.map(|it| Now::row(Noun::KeptRunbook, it.id.0, it.version))
        }
        What::LibraryItem => {
            let found = store.library_item_by_name(own, name.trim()).await;
            let found = found.map_err(failed)?;
            found.map(|it| Now::row(Noun::LibraryItem, it.id.0, it.version))
        }
        What::Declaration => {
            let found = store.declaration_by_identifier(own, name).await;
            let used = found.map_err(failed)?.filter(|it| it.removed.is_none());
            used.map(|it| Now::row(Noun::Declaration, it.id.0, it.version))
        }
        What::Set => set(office, org, name)
            .await?
            .map(|(key, version)| Now::row(Noun::DeclarationSet, key, version)),
        What::Hook => {
            let found = store.hook_by_name(own, name).await.map_err(failed)?;
            found.map(|it| Now {
                state: of_hook(&it),
                ..Now::row(Noun::Hook, it.id.0, it.version)
            })
        }
        What::Tag => {
            let have = org.devices_of_tag(name).await.map_err(refused)?;
            // Whoever changes it as it was seen changes the organisation's row too, which was read before the devices.
            let row = org.organisation();
            (!have.is_empty()).then(|| Now {
                state: of_tag(&have),
                tagged: Some(have),
                ..Now::row(Noun::Organisation, row.id.0, row.version)
            })
        }
        What::Part(part) => {
            let row = org.organisation();
            Some(Now {
                state: part.of(row),
                ..Now::row(Noun::Organisation, row.id.0, row.version)
            })
        }
        // Of the installation, above.
        What::Template => None,
    })
}

/// Key and version of a set in use.
pub(super) async fn set(
    office: &Office,
    org: &Org,
    name: &str,
) -> Result<Option<(i64, i64)>, Refusal> {
    let all = office
        .mdm
        .store()
        .declaration_sets(org.organisation().id)
        .await;
    let all = all.map_err(|error| refused(error.into()))?;
    let mut used = all.into_iter().filter(|set| set.removed.is_none());
    let found = used.find(|set| set.name == name);
    Ok(found.map(|set| (set.id.0, set.version)))
}

/// The state of a receiver as people set it. That it has taken a message changes its row, and nothing that anybody edits.
pub(super) fn of_hook(hook: &Hook) -> Version {
    Version::of(&(&hook.url, &hook.notices, hook.is_on(), &hook.secret))
}

/// The state of a tag: who has it.
pub(super) fn of_tag(have: &BTreeSet<Serial>) -> Version {
    Version::of(have)
}

impl Part {
    /// The state of this part. Secrets are in it as they are kept, sealed or by their ids: that another one was set is seen.
    pub(super) fn of(self, row: &Organisation) -> Version {
        let settings = &row.settings;
        match self {
            Self::Enrolment => Version::of(&(
                &settings.minimum_os,
                &settings.user_logins,
                settings.facts_hours,
                &settings.unplanned_runbooks,
                &row.network_users,
                &row.network,
            )),
            Self::SignIn => Version::of(&row.sign_in),
            Self::Users => {
                let set = row.sign_in.as_ref();
                Version::of(&set.map(|s| (&s.people, &s.roles, &s.secrets_groups)))
            }
            Self::Identities => Version::of(&(
                (&row.issuer, &row.identity_cas, &row.trusted_cas),
                (&row.attestation, &row.registration),
                (
                    settings.identity_days,
                    settings.renew_before_days,
                    settings.expired_identity_grace_days,
                    settings.session_minutes,
                    &settings.identity_protocol,
                    settings.retention_days,
                    settings.owner_days,
                ),
            )),
            Self::RecoveryKeys => Version::of(&settings.rotate_revealed_minutes),
            Self::TwoPersons => Version::of(&settings.two_persons_always),
            Self::Rules => Version::of(&(&settings.unknowns, settings.notice_hours)),
            Self::OwnerTexts => Version::of(&settings.owner_texts),
            Self::AdeProfile => Version::of(&settings.ade),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn what_is_edited_is_found_by_the_routes_that_there_are() {
        let parts = PARTS.iter().flat_map(|(_, routes)| *routes);
        let parts = parts.map(|path| (path, Named::Nowhere));
        let all = EDITS.iter().map(|(path, _, named)| (path, *named));
        for (path, named) in all.chain(parts) {
            let mut all = ROUTES.iter().filter(|r| r.path == *path);
            assert!(all.any(|r| r.method == "post"), "{path}");
            assert_eq!(path.contains('{'), named == Named::Path, "{path}");
        }
        assert_eq!(
            by("/api/v1/waves/{id}/plan"),
            Some((What::Wave, Named::Path))
        );
        assert_eq!(by("/api/v1/waves"), None);
        assert_eq!(by("/api/v1/api-tokens"), None);
    }

    #[test]
    fn a_name_is_read_where_it_stands() {
        let route = "/api/v1/webhooks/{name}/secret";
        let path = "/api/v1/webhooks/Front%20desk/secret";
        assert_eq!(in_path(route, path).as_deref(), Some("Front desk"));
        assert_eq!(in_path("/api/v1/users", "/api/v1/users"), None);
        assert_eq!(
            in_body(br#"{"profile":"x","name":"Clock"}"#).as_deref(),
            Some("Clock")
        );
        assert_eq!(in_body(br#"{"identifier":"a.b"}"#).as_deref(), Some("a.b"));
        assert_eq!(in_body(br#"{"tag":"lab"}"#).as_deref(), Some("lab"));
        for none in [&b"{}"[..], b"[", br#"{"name":7}"#] {
            assert_eq!(in_body(none), None);
        }
    }
}
