//! What holds for all members of a what-if: what ends when, licences beside those of other waves, Apple's budget, the doors.

use std::collections::BTreeSet;

use super::facts::Plan;
use super::look::Counts;
use super::room::{GapRoom, Room};
use crate::check::Check;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity;
use crate::ids::Serial;
use crate::licences::{LicenceNeed, NeedCount};
use crate::migration::what_if::{Ends, Expiry, FactSource, ForNobody, ServerFacts};
use crate::organisation::Issuer;
use crate::service::Org;
use crate::service::licences::Free;

impl Org {
    /// What holds for all members.
    pub(super) async fn server_facts(
        &self,
        plan: &Plan,
        counts: &mut Counts,
        serials: &[Serial],
        (room, gap): (Option<&Room>, &GapRoom),
        stays: &BTreeSet<&Serial>,
    ) -> Result<ServerFacts, Error> {
        let server = plan.destination.as_ref();
        let mut expiries = Vec::new();
        let now = Some(self.now());
        let mut lasts = |check, name: String, ends, (source, at)| {
            expiries.push(Expiry {
                check,
                name,
                ends,
                source,
                at,
            });
        };
        let ours = (FactSource::Operator, now);
        let push = self.organisation.push.as_ref().map(|p| p.not_after);
        let name = "the push certificate".to_owned();
        let ends = push.map_or(Ends::Missing, Ends::At);
        lasts(Check::PushCert, name, ends, ours);
        if let Some(server) = server {
            let name = format!("the server token of {}", server.name);
            let unsaid = || Ends::Unsaid("the token does not say it".to_owned());
            let ends = server.token_expires.map_or_else(unsaid, Ends::At);
            // It says so itself; that it still works was seen with the last list.
            let source = (FactSource::Assignment, server.synced);
            lasts(Check::AssignmentToken, name, ends, source);
        } else {
            let name = "the server entry to which devices would go".to_owned();
            lasts(Check::AssignmentToken, name, Ends::Missing, ours);
        }
        let (mut shared, mut taken_over, mut known) = (Vec::new(), Vec::new(), None);
        let locations = self.locations().await?;
        let count = locations.len();
        for location in locations {
            let claim = location.claim_read;
            known = Some(known.map_or(claim, |known: Option<Timestamp>| known.min(claim)));
            let name = format!("the content token of {}", location.name);
            let unsaid = || Ends::Unsaid("the token does not say it".to_owned());
            let ends = match location.needs_person {
                // That another service has claimed it is a finding of its own.
                Some(why) if location.claimed_by_other.is_none() => Ends::Refused(why),
                _ => location.token_expires.map_or_else(unsaid, Ends::At),
            };
            let source = (FactSource::Api, location.stock_read.max(claim));
            lasts(Check::ContentToken, name, ends, source);
            if let Some(taken) = location.taken_over {
                taken_over.push((location.name.clone(), taken));
            }
            if location.claimed_by_other.is_some() {
                shared.push((location.name, claim));
            }
        }
        let (name, ends) = self.issuer_ends();
        lasts(Check::IdentityCa, name, ends, ours);
        let needs = match &counts.free {
            Some(free) => Some(
                self.needs_beside_others(std::mem::take(&mut counts.needs), free, serials)
                    .await?,
            ),
            None => None,
        };
        let for_nobody = self.for_nobody_at_all(std::mem::take(&mut counts.steps).finish());
        let for_nobody = for_nobody.await?;
        let of_requests = self
            .facts_of_requests(plan.requests(counts.members))
            .await?;
        Ok(ServerFacts {
            awaits: plan.awaits,
            awaits_at: plan.awaits_at,
            expiries,
            shared,
            taken_over,
            locations: (count, known.flatten()),
            stock_read: counts.free.as_ref().and_then(|free| free.read),
            members: serials.len(),
            for_nobody,
            twice: plan.twice.clone(),
            outside: self.mdm.outside(self.id()),
            protocol: self.mdm.inner.ports.assignment.protocol_version(),
            needs,
            in_gap: gap.in_gap(|serial| !stays.contains(serial)),
            project: plan
                .within
                .as_ref()
                .zip(room)
                .map(|(within, room)| within.facts(room, stays)),
            ..of_requests
        })
    }

    /// Of steps that are for none of these devices those of which no other device of the organisation has the tag or group either: a word
    /// that somebody has is no mistake.
    async fn for_nobody_at_all(&self, mut steps: Vec<ForNobody>) -> Result<Vec<ForNobody>, Error> {
        let words = steps.iter().flat_map(|step| step.only.iter().cloned());
        let words: BTreeSet<String> = words.collect();
        let nobodys = self.nobodys_words(words).await?;
        steps.retain(|step| step.only.is_subset(&nobodys));
        Ok(steps)
    }

    /// What these members need of licences, and how many members of other open waves want the same ones.
    async fn needs_beside_others(
        &self,
        needs: NeedCount,
        free: &Free,
        serials: &[Serial],
    ) -> Result<Vec<LicenceNeed>, Error> {
        let mut needs = needs.finish(&free.stock);
        // Of what there is for everybody nobody takes another's.
        if needs.iter().all(|need| need.unlimited || !need.assignable) {
            return Ok(needs);
        }
        let own = |serial: &Serial| serials.binary_search(serial).is_ok();
        let others = self.needed_elsewhere(own).await?;
        for need in &mut needs {
            need.others = others.get(&need.app).copied().unwrap_or_default();
        }
        Ok(needs)
    }

    /// The authority that issues identities, and when it ends.
    fn issuer_ends(&self) -> (String, Ends) {
        let elsewhere = |name: &str, why: &str| (name.to_owned(), Ends::Unsaid(why.to_owned()));
        let certificate = |der: &[u8]| match identity::ends(der) {
            Some(ends) => Ends::At(ends),
            None => Ends::Unsaid("its certificate cannot be read".to_owned()),
        };
        match &self.organisation.issuer {
            Issuer::BuiltIn => {
                let authority = self.organisation.identity_cas.first();
                let ends = authority.map_or(Ends::Missing, |a| certificate(&a.certificate.0));
                ("the authority that issues identities".to_owned(), ends)
            }
            Issuer::Scep {
                authority: Some(authority),
                ..
            } => {
                let name = "the authority of the SCEP server that issues identities";
                (name.to_owned(), certificate(&authority.0))
            }
            Issuer::Scep {
                authority: None, ..
            } => elsewhere(
                "the authority of the SCEP server that issues identities",
                "its certificate was not brought in",
            ),
            Issuer::Acme { .. } => elsewhere(
                "the authority of the ACME server that issues identities",
                "it is not ours",
            ),
        }
    }
}
