//! What the organisation itself has for its devices: authorities, certificates, ADE profiles, runbooks.

use std::collections::BTreeSet;

use crate::checklist::ItemState::{Missing, Warn};
use crate::checklist::{ChecklistItem, Stage};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::error::Error;
use crate::hook::Hook;
use crate::identity;
use crate::organisation::Issuer;
use crate::service::Org;
use crate::wave::Wave;

impl Org {
    /// Authorities elsewhere, of which devices have their identities.
    fn issued_elsewhere(&self, latest: Option<Timestamp>, now: Timestamp) -> Vec<ChecklistItem> {
        const STAGE: Stage = Stage::Prepare;
        let organisation = &self.organisation;
        let named = match &organisation.issuer {
            Issuer::BuiltIn => return Vec::new(),
            Issuer::Scep { authority, .. } => authority.as_ref(),
            Issuer::Acme { .. } => None,
        };
        let fix = "ask whoever runs it for its next one, and have it trusted before: `mdmd identity authority trust`";
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for authority in named.into_iter().chain(&organisation.trusted_cas) {
            if let Some(ends) = identity::ends(&authority.0)
                && seen.insert(&authority.0)
            {
                let name = format!("authority elsewhere: {}", identity::name_of(&authority.0));
                all.push((name, ends));
            }
        }
        let mut items = lasting_together(&all, latest, now, fix);
        if items.is_empty() {
            let fact = "identities are issued elsewhere, and nobody has said by which authority: when it ends is not known";
            items.push(ChecklistItem::not(
                Warn,
                STAGE,
                "authority elsewhere",
                fact,
                "bring in its certificate: `mdmd identity authority trust`",
            ));
        }
        items
    }

    pub(super) async fn prepare(
        &self,
        waves: &[Wave],
        latest: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Prepare;
        let organisation = &self.organisation;
        let mut items = Vec::new();
        // Devices are given these with their ADE profile, and trust nothing else of ours.
        let mut anchors = Vec::new();
        for anchor in &organisation.anchors {
            if let Some(ends) = identity::ends(&anchor.0) {
                let name = identity::name_of(&anchor.0);
                anchors.push((format!("anchor that ADE profiles pin: {name}"), ends));
            }
        }
        let fix = "bring in the next one, and have devices enrolled with it before this one ends";
        items.extend(lasting_together(&anchors, latest, now, fix));
        items.extend(self.issued_elsewhere(latest, now));
        if matches!(organisation.issuer, Issuer::BuiltIn)
            && let Some(authority) = organisation.identity_cas.first()
            && let Some(ends) = identity::ends(&authority.certificate.0)
        {
            let fix = "make another, which issues from then on: `mdmd identity authority`";
            let name = "authority of identities";
            items.push(ChecklistItem::lasting(STAGE, name, ends, latest, now, fix));
        }
        for (name, certificate) in [
            ("certificate of the FileVault escrow", &organisation.escrow),
            (
                "certificate that signs profiles",
                &organisation.profile_signer,
            ),
        ] {
            let ends = certificate
                .as_ref()
                .and_then(|c| identity::ends(&c.certificate.0));
            items.push(match ends {
                Some(ends) => {
                    ChecklistItem::lasting(STAGE, name, ends, latest, now, "make another")
                }
                None => ChecklistItem::not(
                    Missing,
                    STAGE,
                    name,
                    "is not there",
                    "restore it from a backup",
                ),
            });
        }
        let servers = self.store().servers(self.id()).await?;
        for server in &servers {
            let name = format!("ADE profile of {}", server.name);
            let awaits = server.profile.as_ref().map(|p| p.proved_awaiting);
            items.push(ade_profile(&name, awaits, "was not defined at Apple yet"));
            if self.web_view_url().is_some() {
                // Members of waves are sent to no web view: theirs is another one.
                let name = format!("ADE profile of {} for waves", server.name);
                let awaits = self.awaiting(server, None).map(|p| p.proved_awaiting);
                items.push(ade_profile(&name, awaits, NOT_READ_BACK));
            }
        }
        // Waves whose members get one of their own.
        for wave in waves.iter().filter(|w| w.ade.is_some() && w.is_open()) {
            let Some(server) = servers.iter().find(|s| s.id == wave.destination) else {
                continue;
            };
            let name = format!("ADE profile of wave {}", wave.name);
            let awaits = self.awaiting(server, Some(wave)).map(|p| p.proved_awaiting);
            items.push(ade_profile(&name, awaits, NOT_READ_BACK));
        }
        let runbooks = [Platform::Ios, Platform::Ipados, Platform::Macos]
            .map(Platform::as_str)
            .join(", ");
        let own = self.store().runbooks(self.id(), 1).await?;
        items.push(match own.is_empty() {
            false => {
                ChecklistItem::done(STAGE, "runbooks", "there is one of the organisation's own")
            }
            true => ChecklistItem::not(
                Warn,
                STAGE,
                "runbooks",
                format!("only the standard ones, for {runbooks}: they have no app and no profile"),
                "`mdmd runbook show`, put apps and profiles in, give it to the project",
            ),
        });
        items.push(self.unplanned_item().await?);
        items.extend(self.living_hooks().await?.iter().map(hook));
        Ok(items)
    }
}

/// A receiver of webhooks: before a wave it is to be known that whoever waits for its messages gets none.
fn hook(hook: &Hook) -> ChecklistItem {
    const STAGE: Stage = Stage::Prepare;
    let name = format!("webhook receiver {}", hook.name);
    let trouble = hook.trouble.as_deref().unwrap_or("it does not answer");
    let (fact, fix) = match (&hook.off, hook.failing_since) {
        (Some(off), _) => (
            format!("is off since {}: {}", off.at, off.why),
            "see to it, then `mdmd webhook on`; `mdmd webhook remove` where nobody waits for it",
        ),
        (None, Some(since)) => (
            format!("has taken nothing since {since}: {trouble}"),
            "see to it: what is open comes by itself then (`mdmd webhook messages`)",
        ),
        (None, None) => {
            let fact = match hook.taken {
                Some(_) => "takes its messages",
                None => "was told nothing yet: `mdmd webhook test` tells it something",
            };
            let mut item = ChecklistItem::done(STAGE, &name, fact);
            item.at = hook.taken;
            return item;
        }
    };
    ChecklistItem::not(Warn, STAGE, &name, fact, fix)
}

/// What is to be said of a profile that was not proved.
const NOT_READ_BACK: &str = "was not defined at Apple yet, or not read back";

/// An ADE profile, and whether it was read back as one that makes devices wait; what is to be said without any.
fn ade_profile(name: &str, awaits: Option<bool>, without: &str) -> ChecklistItem {
    match awaits {
        Some(true) => {
            let fact = "read back from Apple: devices wait for us";
            ChecklistItem::done(Stage::Prepare, name, fact)
        }
        Some(false) => {
            let fact = "does not make devices wait: what the hold saves would be lost";
            let fix = "have it defined anew: `mdmd assignment ade-profile`";
            ChecklistItem::not(Missing, Stage::Prepare, name, fact, fix)
        }
        None => {
            let fix = "`mdmd business sync`; then see `mdmd assignment ade-profile`";
            ChecklistItem::not(Missing, Stage::Prepare, name, without, fix)
        }
    }
}

/// Certificates that stand beside each other, by name: where one of them lasts, another one that ends was rolled over.
fn lasting_together(
    all: &[(String, Timestamp)],
    latest: Option<Timestamp>,
    now: Timestamp,
    fix: &str,
) -> Vec<ChecklistItem> {
    let items = all
        .iter()
        .map(|(name, ends)| ChecklistItem::lasting(Stage::Prepare, name, *ends, latest, now, fix));
    let mut items: Vec<ChecklistItem> = items.collect();
    if items.iter().any(|item| item.state != Missing) {
        for item in items.iter_mut().filter(|item| item.state == Missing) {
            item.state = Warn;
            item.fact +=
                "; another one lasts, and devices that were given this one alone do not know that";
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checklist::ItemState::Done;

    #[test]
    fn one_that_was_rolled_over_is_not_missing_where_its_successor_lasts() {
        let now = Timestamp::from_millis(1_796_893_200_000);
        let ended = ("one".to_owned(), now - Duration::from_hours(1));
        let lasts = ("two".to_owned(), now + Duration::from_hours(24 * 300));
        let states = |all: &[(String, Timestamp)]| {
            let items = lasting_together(all, None, now, "make another");
            items.iter().map(|item| item.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&[ended.clone(), lasts]), [Warn, Done]);
        assert_eq!(states(std::slice::from_ref(&ended)), [Missing]);
        assert_eq!(states(&[ended.clone(), ended]), [Missing, Missing]);
    }
}
