//! Partners of the installation: somebody who plans in some of its organisations, and in no other. A partner is no person of any of
//! them: accepts nothing, confirms nothing, sees no secret.

use std::collections::BTreeSet;

use serde_json::json;

use super::credentials::PARTNER;
use super::enrol::random_text;
use super::{Mdm, NewApiToken, Org};
use crate::audit::{ApiToken, Role};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{OrganisationId, TokenId};
use crate::line;
use crate::secret::Secret;
use crate::server_certificate::INSTALLATION;
use crate::store::Batch;

/// The most organisations of a partner.
const MOST: usize = 1_000;

impl Mdm {
    /// Makes a partner's token for these organisations: a planner there. Each has it in its record.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that is empty or taken, an end that has passed, no organisation; [`Error::NotFound`] for one that is
    /// not there; the store's.
    pub async fn new_partner(
        &self,
        name: &str,
        organisations: &BTreeSet<OrganisationId>,
        expires: Option<Timestamp>,
        by: &str,
    ) -> Result<NewApiToken, Error> {
        let name = name.trim();
        line::check_filled("name", name, 80)?;
        if name.contains(['<', '>']) {
            return Err(Error::bad_input("name", "must be without < and >"));
        }
        if organisations.is_empty() || organisations.len() > MOST {
            return Err(Error::bad_input("organisations", "must be 1 to 1000"));
        }
        let now = self.now();
        if expires.is_some_and(|end| end <= now) {
            return Err(Error::bad_input("expires", "must lie in the future"));
        }
        let name = format!("{PARTNER}{name}");
        let taken = || Error::bad_input("name", "is taken: choose another");
        let holders = async || -> Result<usize, Error> {
            let all = self.inner.store.tokens(INSTALLATION).await?;
            Ok(all.iter().filter(|t| t.is_of(&name, now)).count())
        };
        if holders().await? > 0 {
            return Err(taken());
        }
        let secret = Secret::from_text(random_text(32)?);
        let hash = crate::identity::sha256_hex(secret.expose());
        let id = TokenId(self.inner.ids.next(now));
        let mut token = ApiToken::new(INSTALLATION, id, &name, Role::Planner, hash, now);
        token.expires = expires;
        token.partner_of.clone_from(organisations);
        let mut batch = Batch::new();
        for organisation in organisations {
            let org = self.organisation_by_id(*organisation).await?.acting_for(by);
            let detail = json!({ "token": id, "name": name, "expires": expires });
            org.audit_into(&mut batch, "partner.made", detail);
        }
        batch.put(token.clone());
        self.inner.store.commit(batch).await?;
        if holders().await? > 1 {
            // Somebody took the name at the same moment. Nobody has seen this token.
            for organisation in organisations {
                let org = self.organisation_by_id(*organisation).await?.acting_for(by);
                org.dismiss_partner(id).await?;
            }
            return Err(taken());
        }
        Ok(NewApiToken { token, secret })
    }

    /// Every partner's token, revoked ones included.
    ///
    /// # Errors
    /// The store's.
    pub async fn partners(&self) -> Result<Vec<ApiToken>, Error> {
        Ok(self.inner.store.tokens(INSTALLATION).await?)
    }
}

impl Org {
    /// Partners that may act here.
    ///
    /// # Errors
    /// The store's.
    pub async fn partners(&self) -> Result<Vec<ApiToken>, Error> {
        let mut all = self.store().tokens(INSTALLATION).await?;
        all.retain(|token| token.partner_of.contains(&self.id()));
        Ok(all)
    }

    /// Sends a partner away from this organisation: the next request that names it finds nothing. One that may act nowhere any more is
    /// revoked. Again does no harm.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn dismiss_partner(&self, id: TokenId) -> Result<ApiToken, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let found = self.partners().await?.into_iter().find(|t| t.id == id);
            let mut token = found.ok_or(Error::NotFound("partner"))?;
            token.partner_of.remove(&self.id());
            if token.partner_of.is_empty() {
                token.revoked = token.revoked.or(Some(now));
            }
            let mut batch = Batch::new();
            let detail = json!({ "token": id, "name": token.name });
            self.audit_into(&mut batch, "partner.dismissed", detail);
            batch.put(token.clone());
            self.store().commit(batch).await?;
            Ok(token)
        })
        .await
    }
}
