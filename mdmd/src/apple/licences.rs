//! Apps and Books behind the library's port. Claims a location before anything is written there, and writes nothing once another
//! service has claimed it.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use abm_client::apps::{
    AppsClient, AssetQuery, AssetRef, AssignmentQuery, ContentToken, EventState, Limits, MdmInfo,
    Targets, UNLIMITED, meaning,
};
use abm_client::{Budget, ErrorKind, Moment};
use async_trait::async_trait;
use mdm_core::budget::APPS_A_SECOND;
use mdm_core::clock::Timestamp;
use mdm_core::error::PortError;
use mdm_core::ids::{OrganisationId, Serial};
use mdm_core::licences::{LicenceLimits, Stock};
use mdm_core::service::SharedGate;
use mdm_core::service::ports::{
    ContentCredential, HolderList, LicenceEvent, LicenceRequest, Licences, LocationReading,
};

use super::pages::Page;
use super::{Apple, CLIENTS, port, user_agent};

/// What our name at Apple begins with; the number of the organisation stands behind it.
const OURS: &str = "mdmd-";
/// How long what the service says of its limits counts.
const FEW_MINUTES: Duration = Duration::from_secs(300);

impl Apple {
    fn apps_client(&self, credential: &ContentCredential) -> Result<AppsClient, PortError> {
        let token = ContentToken::read(credential.token.expose()).map_err(port)?;
        let name = mdm_core::identity::sha256_hex(credential.token.expose());
        let entry = (credential.organisation, credential.location, name);
        let mut clients = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&entry) {
            return Ok(client.clone());
        }
        let base = self
            .addresses
            .apps
            .as_deref()
            .unwrap_or(abm_client::apps::BASE_URL);
        let us = MdmInfo::new(format!("{OURS}{}", credential.organisation), "mdmd", "mdmd");
        let budget = mdm_core::budget::apps(credential.location);
        let gate = SharedGate::new(
            self.store.clone(),
            self.clock.clone(),
            credential.organisation,
            vec![(budget.clone(), Budget::apps(APPS_A_SECOND))],
            self.turn(credential.organisation, &budget),
        );
        let client = AppsClient::at(
            base,
            self.transport.clone(),
            token,
            &user_agent(),
            self.client_clock(),
        )
        .as_service(us)
        .with_gate(gate);
        if clients.len() >= CLIENTS {
            clients.clear();
            // Limits live in the clients.
            let asked = self.configs_asked.lock();
            asked.unwrap_or_else(PoisonError::into_inner).clear();
        }
        clients.insert(entry, client.clone());
        Ok(client)
    }

    /// How the service that has claimed a location is called. Every organisation of every installation of this program goes by one name
    /// there: one of this installation is told from others, and which one it is stays its own.
    async fn called(&self, id: &str, name: String) -> String {
        let of = id.strip_prefix(OURS).and_then(|of| of.parse().ok());
        let Some(of) = of.map(OrganisationId) else {
            return name;
        };
        match self.store.organisation(of).await {
            Ok(Some(_)) => format!("{name}, for another organisation of this installation"),
            // It may have been one of this installation that was taken away.
            Ok(None) => format!("{name}, for an organisation that is not in this installation"),
            // That it cannot be read now is no reason to say nothing of the claim.
            Err(_) => name,
        }
    }

    /// The limits of the service, asked for every few minutes: what came through is not asked again with what failed after it.
    async fn limits_of(
        &self,
        client: &AppsClient,
        credential: &ContentCredential,
    ) -> Result<Limits, PortError> {
        let name = mdm_core::identity::sha256_hex(credential.token.expose());
        let entry = (credential.organisation, credential.location, name);
        let now = self.clock.now();
        let fresh = {
            let asked = self.configs_asked.lock();
            let asked = asked.unwrap_or_else(PoisonError::into_inner);
            let at = asked.get(&entry);
            at.is_some_and(|at| *at <= now && now < *at + FEW_MINUTES)
        };
        if fresh {
            return Ok(client.limits());
        }
        let limits = client.service_config().await.map_err(port)?.limits;
        let asked = self.configs_asked.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= CLIENTS {
            asked.clear();
        }
        asked.insert(entry, now);
        Ok(limits)
    }
}

#[async_trait]
impl Licences for Apple {
    async fn claim(
        &self,
        credential: &ContentCredential,
        take_over: bool,
        _now: Timestamp,
    ) -> Result<LocationReading, PortError> {
        let client = self.apps_client(credential)?;
        let limits = self.limits_of(&client, credential).await?;
        let mut claimed = client.claim(false).await;
        let mut displaced = None;
        if take_over
            && let Err(error) = &claimed
            && let ErrorKind::TakenOver { id, name } = error.kind()
        {
            let (id, name) = (id.clone(), name.clone());
            displaced = Some(self.called(&id, name).await);
            claimed = match client.claim(true).await {
                // Once it is ours nobody tells whose it was: an answer that was lost is looked for.
                Err(lost) if lost.is_unknown_outcome() => {
                    client.claim(false).await.map_err(|_| lost)
                }
                answered => answered,
            };
        }
        let (config, claimed_by_other) = match claimed {
            Ok(config) => (config, None),
            Err(error) => match error.kind() {
                ErrorKind::TakenOver { id, name } => {
                    let (id, name) = (id.clone(), name.clone());
                    let other = self.called(&id, name).await;
                    (client.client_config().await.map_err(port)?, Some(other))
                }
                _ => return Err(port(error)),
            },
        };
        let token = client.token();
        let expires = config.token_expiration_date.as_ref().or(token.expires());
        let name = config
            .location_name
            .or_else(|| token.organisation().map(str::to_owned));
        Ok(LocationReading {
            name: name.unwrap_or_default(),
            library: config.u_id.or_else(|| client.library()).unwrap_or_default(),
            token_expires: expires
                .and_then(Moment::unix_ms)
                .map(Timestamp::from_millis),
            claimed_by_other,
            displaced,
            limits: LicenceLimits {
                apps: limits.max_assets,
                devices: limits.max_serial_numbers,
            },
        })
    }

    async fn stock(
        &self,
        credential: &ContentCredential,
    ) -> Result<BTreeMap<u64, Stock>, PortError> {
        let client = self.apps_client(credential)?;
        let client = &client;
        let key = (credential.organisation, credential.location);
        let page = |page: Option<u32>| async move {
            let query = AssetQuery::default();
            let listing = client.assets(&query, page).await.map_err(port)?;
            let mut items = Vec::new();
            for asset in listing.items {
                // A licence of another pricing is another product; apps for devices have the standard one.
                let standard = asset.pricing_param.as_deref().is_none_or(|p| p == "STDQ");
                let Some(app) = asset.adam_id.parse::<u64>().ok().filter(|_| standard) else {
                    continue;
                };
                let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                let stock = Stock {
                    total: count(asset.total_count),
                    assigned: count(asset.assigned_count),
                    available: count(asset.available_count),
                    unlimited: asset.total_count == Some(UNLIMITED),
                    device_assignable: asset.device_assignable == Some(true),
                };
                items.push((app, stock));
            }
            Ok(Page {
                items,
                version: listing.version_id,
                next: listing.next_page,
            })
        };
        let any = Timestamp::from_millis(0);
        let clock = self.clock.as_ref();
        let (stocks, _) = self.stocks.read(key, any, clock, page).await?;
        // Of a list that never rests the last word on each app.
        Ok(stocks.into_iter().collect())
    }

    async fn holders(
        &self,
        credential: &ContentCredential,
        app: u64,
        not_before: Timestamp,
    ) -> Result<HolderList, PortError> {
        let client = self.apps_client(credential)?;
        let query = AssignmentQuery::product(app.to_string());
        let key = ((credential.organisation, credential.location), app);
        let (client, query) = (&client, &query);
        let page = |page: Option<u32>| async move {
            let listing = client.assignments(query, page).await.map_err(port)?;
            let serials = listing.items.into_iter().filter_map(|a| a.serial_number);
            let serials = serials.filter_map(|serial| Serial::parse(&serial).ok());
            Ok(Page {
                items: serials.collect(),
                version: listing.version_id,
                next: listing.next_page,
            })
        };
        let clock = self.clock.as_ref();
        let (serials, steady) = self.holders.read(key, not_before, clock, page).await?;
        Ok(HolderList { serials, steady })
    }

    async fn submit(
        &self,
        credential: &ContentCredential,
        request: &LicenceRequest,
        serials: &[Serial],
    ) -> Result<String, PortError> {
        let client = self.apps_client(credential)?;
        let assets: Vec<AssetRef> = request
            .apps
            .iter()
            .map(|app| AssetRef::new(app.to_string()))
            .collect();
        let targets = Targets::serials(serials.iter().map(ToString::to_string));
        let sent = if request.take_back {
            client.disassociate(&assets, &targets).await
        } else {
            client.associate(&assets, &targets).await
        };
        sent.map_err(port)
    }

    async fn event(
        &self,
        credential: &ContentCredential,
        id: &str,
    ) -> Result<LicenceEvent, PortError> {
        let client = self.apps_client(credential)?;
        let event = match client.event(id).await {
            Ok(event) => event,
            Err(error) if error.is_not_found() => {
                return Err(PortError::Refused(
                    "the event is no longer known".to_owned(),
                ));
            }
            Err(error) => return Err(port(error)),
        };
        let mut failed = Vec::new();
        for failure in &event.failures {
            let why = match failure.error_number {
                Some(number) => format!("{number} {}", meaning(number).unwrap_or("")),
                None => "Apple gives no reason".to_owned(),
            };
            let info = failure.error_info.as_ref();
            let named = info.map_or(&[][..], |info| info.serial_numbers.as_slice());
            let serials: Vec<Serial> = named.iter().filter_map(|s| Serial::parse(s).ok()).collect();
            if serials.is_empty() {
                failed.push((None, why.trim().to_owned()));
            }
            for serial in serials {
                failed.push((Some(serial), why.trim().to_owned()));
            }
        }
        Ok(LicenceEvent {
            finished: event.status != EventState::Pending,
            status: event.status.as_str().to_owned(),
            failed,
        })
    }
}
