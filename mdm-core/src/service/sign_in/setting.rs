//! How an organisation's people sign in, as it is set: what may be said of it, and that the provider can be read before it counts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::audit::Role;
use crate::error::Error;
use crate::ids::SecretId;
use crate::line;
use crate::person::{AccountMode, SignIn, WebView};
use crate::secret::{Secret, SecretKind};
use crate::service::Org;
use crate::sign_in::provider::is_https;
use crate::store::Batch;

/// What is set anew of an organisation's sign-in; `None` leaves what was.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "hosts fill in what they change")]
pub struct NewSignIn {
    /// The provider, exactly as it names itself.
    pub issuer: Option<String>,
    /// Who we are there.
    pub client_id: Option<String>,
    /// The client secret.
    pub secret: Option<Secret>,
    /// What is asked for beside `openid`.
    pub scopes: Option<Vec<String>>,
    /// The claim that names groups.
    pub groups_claim: Option<String>,
    /// The claim that names the account.
    pub account_claim: Option<String>,
    /// What each group may do.
    pub roles: Option<BTreeMap<String, Role>>,
    /// Groups whose people may look at secrets of devices.
    pub secrets_groups: Option<BTreeSet<String>>,
    /// How long an operator's session lasts, in hours.
    pub session_hours: Option<u32>,
    /// After how many days a device's user signs in again.
    pub device_days: Option<u32>,
    /// Sign-in of devices that enrol by assignment.
    pub web_view: Option<WebView>,
    /// How accounts may bring devices.
    pub account: Option<BTreeSet<AccountMode>>,
    /// Domains of the accounts.
    pub domains: Option<BTreeSet<String>>,
}

impl Org {
    /// How the organisation's people sign in.
    ///
    /// # Errors
    /// [`Error::Precondition`] when they do not.
    pub fn sign_in(&self) -> Result<&SignIn, Error> {
        let setting = self.organisation.sign_in.as_ref();
        setting.ok_or_else(|| {
            Error::Precondition(
                "this organisation has no sign-in; `mdmd sign-in set` sets one".to_owned(),
            )
        })
    }

    /// Sets how people sign in. The provider's document and keys are read before anything is kept.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the value; the port's, the store's.
    pub async fn set_sign_in(&self, new: &NewSignIn) -> Result<SignIn, Error> {
        check(new)?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut organisation = self.fresh().await?;
            let mut batch = Batch::new();
            let mut setting = match organisation.sign_in.take() {
                Some(setting) => setting,
                None => SignIn::new(
                    new.issuer.clone().ok_or_else(|| missing("issuer"))?,
                    new.client_id.clone().ok_or_else(|| missing("client_id"))?,
                    SecretId(0),
                ),
            };
            // A secret is one provider's and one client's: it is not shown to another.
            let moved = new.issuer.as_ref().is_some_and(|i| *i != setting.issuer)
                || new
                    .client_id
                    .as_ref()
                    .is_some_and(|c| *c != setting.client_id);
            if new.secret.is_none() && (moved || setting.secret == SecretId(0)) {
                return Err(missing("secret"));
            }
            if let Some(secret) = &new.secret {
                setting.secret = SecretId(self.ids().next(now));
                let kind = SecretKind::ClientSecret;
                batch.put(self.seal(setting.secret, kind, None, secret, now).await?);
            }
            let before = setting.web_view;
            take(&mut setting.issuer, new.issuer.as_ref());
            take(&mut setting.client_id, new.client_id.as_ref());
            take(&mut setting.scopes, new.scopes.as_ref());
            take(&mut setting.groups_claim, new.groups_claim.as_ref());
            take(&mut setting.account_claim, new.account_claim.as_ref());
            take(&mut setting.roles, new.roles.as_ref());
            take(&mut setting.secrets_groups, new.secrets_groups.as_ref());
            take(&mut setting.session_hours, new.session_hours.as_ref());
            take(&mut setting.device_days, new.device_days.as_ref());
            take(&mut setting.web_view, new.web_view.as_ref());
            take(&mut setting.account, new.account.as_ref());
            take(&mut setting.domains, new.domains.as_ref());
            if !setting.account.is_empty() && setting.domains.is_empty() {
                return Err(Error::bad_input(
                    "domains",
                    "must be named where accounts bring devices",
                ));
            }
            if let Some(domains) = &new.domains
                && let Some(taken) = self.mdm.taken_domain(organisation.id, domains).await?
            {
                return Err(Error::bad_input(
                    "domains",
                    format!("{taken} is another organisation's here"),
                ));
            }
            let provider = self.provider(&setting.issuer).await?;
            if self.keys_of(&provider, false).await?.is_empty() {
                return Err(Error::Precondition(
                    "the provider publishes no key that could be used".to_owned(),
                ));
            }
            let web_view = setting.web_view != before;
            organisation.sign_in = Some(setting.clone());
            if web_view {
                // ADE profiles say something else from now on.
                for server in &organisation.servers {
                    self.put_assign_job(&mut batch, *server).await?;
                }
            }
            batch.put(organisation);
            self.audit_into(&mut batch, "sign-in.set", shown(&setting));
            self.store().commit(batch).await?;
            self.mdm.forget_domains();
            Ok(setting)
        })
        .await
    }

    /// Nobody signs in any more; every session of a person ends with it.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_sign_in(&self) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            if organisation.sign_in.take().is_none() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for server in &organisation.servers {
                self.put_assign_job(&mut batch, *server).await?;
            }
            batch.put(organisation);
            self.audit_into(&mut batch, "sign-in.removed", json!({}));
            self.store().commit(batch).await?;
            self.mdm.forget_domains();
            Ok(())
        })
        .await
    }
}

/// A setting as people see it: the secret is not in it.
#[must_use]
pub fn shown(setting: &SignIn) -> Value {
    json!({
        "issuer": setting.issuer, "client_id": setting.client_id, "scopes": setting.scopes,
        "groups_claim": setting.groups_claim, "account_claim": setting.account_claim, "roles": setting.roles, "secrets_groups": setting.secrets_groups,
        "people": setting.people,
        "session_hours": setting.session_hours, "device_days": setting.device_days, "web_view": setting.web_view,
        "account": setting.account, "domains": setting.domains,
    })
}

fn take<T: Clone>(old: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        old.clone_from(new);
    }
}

fn missing(field: &str) -> Error {
    Error::bad_input(field, "is needed here")
}

/// What can be said of new values without asking anybody.
fn check(new: &NewSignIn) -> Result<(), Error> {
    let word = |field: &str, value: &Option<String>, most: usize| match value {
        Some(value) => line::check_filled(field, value, most),
        None => Ok(()),
    };
    if let Some(issuer) = &new.issuer
        && (!is_https(issuer) || issuer.contains('?'))
    {
        return Err(Error::bad_input(
            "issuer",
            "must be an https address without a query",
        ));
    }
    word("client_id", &new.client_id, 500)?;
    word("groups_claim", &new.groups_claim, 200)?;
    word("account_claim", &new.account_claim, 200)?;
    if let Some(secret) = &new.secret
        && secret
            .expose_text()
            .is_none_or(|s| s.is_empty() || s.len() > 2_000)
    {
        return Err(Error::bad_input(
            "secret",
            "must be text of 1 to 2000 bytes",
        ));
    }
    let scope =
        |s: &String| !s.is_empty() && s.len() <= 200 && s.bytes().all(|b| b.is_ascii_graphic());
    if new
        .scopes
        .as_ref()
        .is_some_and(|all| all.len() > 20 || !all.iter().all(scope))
    {
        return Err(Error::bad_input("scopes", "must be at most 20 words"));
    }
    let group = |g: &String| !g.is_empty() && g.len() <= 500;
    if new
        .roles
        .as_ref()
        .is_some_and(|all| all.len() > 500 || !all.keys().all(group))
    {
        return Err(Error::bad_input(
            "roles",
            "must be at most 500 groups with a role each",
        ));
    }
    if new
        .secrets_groups
        .as_ref()
        .is_some_and(|all| all.len() > 500 || !all.iter().all(group))
    {
        return Err(Error::bad_input(
            "secrets_groups",
            "must be at most 500 groups",
        ));
    }
    let within = |field: &str, value: Option<u32>, most: u32| match value {
        Some(v) if v == 0 || v > most => {
            Err(Error::bad_input(field, format!("must be 1 to {most}")))
        }
        _ => Ok(()),
    };
    within("session_hours", new.session_hours, 24)?;
    within("device_days", new.device_days, 730)?;
    let domain = |d: &String| {
        d.contains('.')
            && d.len() <= 253
            && d.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    if new
        .domains
        .as_ref()
        .is_some_and(|all| all.len() > 100 || !all.iter().all(domain))
    {
        return Err(Error::bad_input(
            "domains",
            "must be at most 100 names in lower case, such as example.com",
        ));
    }
    Ok(())
}
