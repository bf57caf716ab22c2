//! How the organisation is connected: its doors as seen from outside, and its credentials at Apple.

use crate::checklist::ItemState::{Missing, Warn};
use crate::checklist::{ChecklistItem, Stage};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::service::Org;

impl Org {
    pub(super) fn outside_items(
        &self,
        latest: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<ChecklistItem> {
        const STAGE: Stage = Stage::Install;
        let Some(outside) = self.mdm.outside(self.id()) else {
            let fact = "the doors were not looked at by their public names";
            let fix = "`mdmd doctor` on this machine, `mdmd doctor --probe URL` on another";
            return vec![ChecklistItem::not(Warn, STAGE, "doors", fact, fix)];
        };
        let mut items = Vec::new();
        for endpoint in &outside.endpoints {
            let name = format!("{} at {}", endpoint.name, endpoint.url);
            let mut item = match &endpoint.problem {
                Some(problem) => {
                    let fix = "mend name, port, proxy or chain; look again from another network with `mdmd doctor --probe`";
                    ChecklistItem::not(Missing, STAGE, &name, problem.as_str(), fix)
                }
                None => {
                    let fact = match &endpoint.trusted_by {
                        Some(by) => format!("answers; its certificate is trusted by {by}"),
                        None => {
                            "answers, without TLS: what is sent there is sealed for its authority"
                                .to_owned()
                        }
                    };
                    ChecklistItem::done(STAGE, &name, fact)
                }
            };
            item.at = Some(outside.at);
            items.push(item);
        }
        let first = outside.endpoints.iter().filter_map(|e| e.ends).min();
        if let Some(ends) = first {
            let fix = "renew it; with ACME that goes by itself";
            let name = "TLS certificate";
            let mut item = ChecklistItem::lasting(STAGE, name, ends, latest, now, fix);
            item.at = Some(outside.at);
            items.push(item);
        }
        let above = outside.endpoints.iter().filter_map(|e| e.chain.as_ref());
        if let Some(above) = above.min_by_key(|above| above.ends) {
            let fix = "have the listener show a certificate under an authority that lasts, and where devices are given that authority, give them the next one first";
            let name = match above.name.as_str() {
                "" => "authority of the TLS certificate".to_owned(),
                name => format!("authority of the TLS certificate: {name}"),
            };
            let mut item = ChecklistItem::lasting(STAGE, &name, above.ends, latest, now, fix);
            item.at = Some(outside.at);
            items.push(item);
        }
        items
    }

    pub(super) async fn connect(
        &self,
        latest: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Connect;
        let organisation = &self.organisation;
        let lasts = |name: &str, ends: Timestamp, fix: &str| {
            ChecklistItem::lasting(STAGE, name, ends, latest, now, fix)
        };
        let lacks =
            |name: &str, fact: &str, fix: &str| ChecklistItem::not(Missing, STAGE, name, fact, fix);
        let mut items = vec![match &organisation.push {
            Some(push) => lasts(
                "push certificate",
                push.not_after,
                "renew it at identity.apple.com with the same account, for another topic reaches no device: `mdmd push csr`",
            ),
            None => lacks(
                "push certificate",
                "is not there: no device can be woken",
                "`mdmd push csr`, then `mdmd push import`",
            ),
        }];
        items.push(match &organisation.api {
            // Its key ends when somebody revokes it, and not by itself.
            Some(_) => ChecklistItem::done(STAGE, "organisation API", "an account is there"),
            None => lacks(
                "organisation API",
                "no account is there: migrations can neither be asked for nor read",
                "make one in Apple's portal, then `mdmd business add`",
            ),
        });
        let servers = self.store().servers(self.id()).await?;
        if servers.is_empty() {
            items.push(lacks(
                "server token",
                "none is there: devices cannot be offered a migration",
                "`mdmd token key`, upload it in Apple's portal, `mdmd token import`",
            ));
        }
        for server in &servers {
            let name = format!("server token of {}", server.name);
            let fix = "fetch a new one in Apple's portal: `mdmd token import`";
            items.push(match server.token_expires {
                Some(ends) => lasts(&name, ends, fix),
                None => ChecklistItem::not(Warn, STAGE, &name, "does not say when it ends", fix),
            });
            if let Some(why) = &server.needs_person {
                let fix = "do what Apple asks for, then `mdmd business sync`";
                items.push(ChecklistItem::not(Missing, STAGE, &name, why.as_str(), fix));
            }
        }
        let locations = self.locations().await?;
        if locations.is_empty() {
            let fact = "none is there: no app can be licensed to a device";
            let fix = "fetch one in Apple's portal: `mdmd licences token`";
            items.push(ChecklistItem::not(Warn, STAGE, "content token", fact, fix));
        }
        for location in &locations {
            let name = format!("content token of {}", location.name);
            let fix = "fetch a new one in Apple's portal: `mdmd licences token`";
            if let Some(ends) = location.token_expires {
                items.push(lasts(&name, ends, fix));
            }
            if location.claimed_by_other.is_some() {
                let fact = "another service has claimed the location: two services fight over its licences";
                let fix = "move the licences into a location of its own, or take it over at a date";
                items.push(ChecklistItem::not(Warn, STAGE, &name, fact, fix));
            }
        }
        Ok(items)
    }
}
