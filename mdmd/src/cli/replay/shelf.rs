//! What a server has stored of one device and what came anew to its record: read before and after a request, and compared.
//! Reads through the store's traits only, and shows no content of a secret.

use std::collections::BTreeMap;

use mdm_core::enrollment::{Enrollment, EnrollmentState};
use mdm_core::ids::{AuditId, CommandId, DeviceId, OrganisationId, RefusalId};
use mdm_core::migration::visible_state;
use mdm_core::queue::CommandState;
use mdm_core::service::Mdm;

/// How many commands of one channel are looked at.
const COMMANDS: u32 = 1000;
/// How many entries of the record one request can make, generously.
const ENTRIES: u32 = 500;

/// What is stored at one moment.
pub(super) struct Shelf {
    rows: BTreeMap<String, Row>,
    refused: Option<RefusalId>,
}

struct Row {
    what: String,
    state: String,
}

/// The difference between two moments.
#[derive(Default)]
pub(super) struct Change {
    /// One line for each thing that came or changed.
    pub(super) stored: Vec<String>,
    /// The record of the refusal, if there is one.
    pub(super) refusal: Option<String>,
}

/// Reads the shelves of one organisation, and remembers how far it has read the record.
pub(super) struct Reader {
    organisation: OrganisationId,
    audit: AuditId,
}

impl Reader {
    pub(super) fn new(organisation: OrganisationId) -> Self {
        Self {
            organisation,
            audit: AuditId(0),
        }
    }

    /// What is stored now. Forgets what is new in the record.
    pub(super) async fn before(
        &mut self,
        mdm: &Mdm,
        device: Option<DeviceId>,
    ) -> anyhow::Result<Shelf> {
        self.news(mdm).await?;
        self.shelf(mdm, device).await
    }

    /// What has changed since.
    pub(super) async fn after(
        &mut self,
        mdm: &Mdm,
        device: Option<DeviceId>,
        before: &Shelf,
    ) -> anyhow::Result<Change> {
        let now = self.shelf(mdm, device).await?;
        let mut change = Change::default();
        for (key, row) in &now.rows {
            match before.rows.get(key) {
                None => change.stored.push(format!("{}: {}", row.what, row.state)),
                Some(old) if old.state != row.state => {
                    change
                        .stored
                        .push(format!("{}: {} -> {}", row.what, old.state, row.state));
                }
                Some(_) => {}
            }
        }
        for key in before.rows.keys().filter(|k| !now.rows.contains_key(*k)) {
            change
                .stored
                .push(format!("{}: gone", before.rows[key].what));
        }
        for what in self.news(mdm).await? {
            change.stored.push(format!("record: {what}"));
        }
        if now.refused != before.refused {
            let newest = mdm.store().refusals(self.organisation, 1).await?;
            change.refusal = newest.first().map(|r| r.reason.clone());
        }
        Ok(change)
    }

    async fn news(&mut self, mdm: &Mdm) -> anyhow::Result<Vec<String>> {
        let mut news = Vec::new();
        loop {
            let page = mdm
                .store()
                .audit(self.organisation, self.audit, ENTRIES)
                .await?;
            let Some(last) = page.last() else {
                return Ok(news);
            };
            self.audit = last.id;
            news.extend(page.into_iter().map(|entry| entry.what));
        }
    }

    async fn shelf(&self, mdm: &Mdm, device: Option<DeviceId>) -> anyhow::Result<Shelf> {
        let (store, org) = (mdm.store(), self.organisation);
        let mut rows = BTreeMap::new();
        let mut put = |key: String, what: String, state: String| {
            rows.insert(key, Row { what, state });
        };
        if let Some(device) = device {
            for (at, channel) in store
                .enrollments_of_device(org, device)
                .await?
                .into_iter()
                .enumerate()
            {
                let number = at + 1;
                put(
                    format!("1 {}", channel.id.0),
                    format!("enrolment {number}"),
                    describe(&channel),
                );
                if let Some(set_up) = store.set_up_of(org, channel.id).await? {
                    let state = visible_state(None, Some(&set_up));
                    put(
                        format!("2 {}", set_up.id.0),
                        format!("set-up {number}"),
                        state.map_or_else(|| "none".to_owned(), |s| format!("{s:?}")),
                    );
                }
                let users = store.user_channels(org, channel.id).await?;
                for (at, user) in users.iter().enumerate() {
                    put(
                        format!("3 {}", user.id.0),
                        format!("user channel {} of enrolment {number}", at + 1),
                        describe(user),
                    );
                }
                for speaker in std::iter::once(&channel).chain(&users) {
                    for command in store
                        .commands(org, speaker.id, CommandId(i64::MAX), COMMANDS)
                        .await?
                    {
                        put(
                            format!("4 {}", command.id.0),
                            format!("command {}", command.request_type),
                            state_of(command.state).to_owned(),
                        );
                    }
                }
            }
            for secret in store.secrets(org, device).await? {
                let state = if secret.replaced.is_some() {
                    "sealed, replaced"
                } else {
                    "sealed"
                };
                put(
                    format!("5 {}", secret.id.0),
                    format!("secret {}", secret.kind.as_str()),
                    state.to_owned(),
                );
            }
        }
        Ok(Shelf {
            rows,
            refused: store.refusals(org, 1).await?.first().map(|r| r.id),
        })
    }
}

fn describe(channel: &Enrollment) -> String {
    let mut words = vec![match channel.state {
        EnrollmentState::Pending => "pending",
        EnrollmentState::Enrolled => "enrolled",
        EnrollmentState::CheckedOut => "checked out",
        EnrollmentState::Superseded => "superseded",
    }];
    words.extend(match channel.awaiting {
        Some(true) => Some("awaiting configuration"),
        Some(false) => Some("not awaiting configuration"),
        None => None,
    });
    let push = channel
        .push
        .as_ref()
        // Not secret, but long: enough to see that it changed.
        .map(|p| format!("push token {}…", p.token.get(..8).unwrap_or(&p.token)));
    words.extend(push.as_deref());
    words.extend(channel.unlock_token.map(|_| "unlock token"));
    words.extend(channel.bootstrap_token.map(|_| "bootstrap token"));
    words.join(", ")
}

fn state_of(state: CommandState) -> &'static str {
    match state {
        CommandState::Queued => "queued",
        CommandState::Sent => "sent",
        CommandState::NotNow => "not now",
        CommandState::Acknowledged => "acknowledged",
        CommandState::Error => "error",
        CommandState::FormatError => "format error",
        CommandState::Cancelled => "cancelled",
        CommandState::Expired => "expired",
    }
}
