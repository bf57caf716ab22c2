//! Webhooks: receivers are made, changed, tested and removed; what is open about a device is sent in its order, signed, and
//! again until it is taken. A receiver that has taken nothing for days is switched off.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::json;

use super::Org;
use super::worker::done;
use crate::clock::Timestamp;
use crate::error::{Error, PortError};
use crate::hook::{
    Hook, HookMessage, HookOn, LONGEST_WAIT, OVERLAP, Off, PATIENCE, check_url, signed_text,
};
use crate::ids::{DeviceId, HookId, HookMessageId};
use crate::job::Job;
use crate::migration::Notice;
use crate::organisation::Organisation;
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, Lease, Noun, StoreError, Write};

/// Messages of a device that are looked at at once.
const WINDOW: u32 = 200;
/// For how long a message that is being sent is left to whoever sends it; longer than any carrier waits.
const SENDING: Duration = Duration::from_secs(60);
/// Receivers of one organisation.
const MOST: usize = 20;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// What a secret's text begins with.
const PREFIX: &str = "whsec_";

/// A receiver just made, or one with a new secret.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewHook {
    /// The row.
    pub hook: Hook,
    /// What verifies its messages: shown this once.
    pub secret: Secret,
}

/// What is to be another at a receiver; what is left out stays.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "hosts fill in every field")]
pub struct HookChange {
    /// Where messages go.
    pub url: Option<String>,
    /// Of what it is told; empty is all.
    pub notices: Option<BTreeSet<Notice>>,
    /// Whether it is told anything.
    pub on: Option<bool>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookTest {
    /// Whether the message was taken.
    pub taken: bool,
    /// The HTTP status, or why there was no answer.
    pub answer: String,
}

/// Why a message was not taken.
struct NotTaken {
    trouble: String,
    /// It did not answer, or failed: whatever it is sent next meets the same.
    silent: bool,
}

/// How the outcome of one message came about.
#[derive(Clone, Copy)]
struct How {
    /// It was sent to find out whether the receiver answers again.
    probe: bool,
    /// The receiver did not answer, or failed.
    silent: bool,
}

impl Org {
    /// Makes a receiver, on. Its secret is shown once.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that is empty or taken and an address that cannot be right, [`Error::Precondition`] for
    /// one too many; the vault's, the store's.
    pub async fn new_hook(
        &self,
        name: &str,
        url: &str,
        notices: &BTreeSet<Notice>,
    ) -> Result<NewHook, Error> {
        let name = crate::organisation::check_name(name)?;
        self.check_hook_url(url)?;
        let (secret, sealed) = self.hook_secret().await?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let all = self.living_hooks().await?;
            if all.iter().any(|hook| hook.name == name) {
                return Err(Error::bad_input("name", "is taken: choose another"));
            }
            if all.len() >= MOST {
                let why = format!("there are {MOST} receivers already: remove one first");
                return Err(Error::Precondition(why));
            }
            let id = HookId(self.ids().next(now));
            let wants = notices.clone();
            let hook = Hook::new(self.id(), id, name, url, wants, sealed.clone(), now);
            let mut batch = Batch::new();
            let detail = json!({ "hook": id, "name": name, "host": host(url), "notices": notices });
            self.put_hook(&mut batch, &hook).await?;
            self.audit_into(&mut batch, "hook.made", detail);
            self.store().commit(batch).await?;
            Ok(NewHook {
                hook,
                secret: secret.clone(),
            })
        })
        .await
    }

    /// Receivers that are not removed.
    ///
    /// # Errors
    /// The store's.
    pub async fn living_hooks(&self) -> Result<Vec<Hook>, Error> {
        let (mut all, mut after) = (Vec::new(), HookId(0));
        loop {
            let page = self.store().hooks(self.id(), after, 200).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page.into_iter().filter(|hook| hook.removed.is_none()));
        }
    }

    /// A receiver by name.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn hook_named(&self, name: &str) -> Result<Hook, Error> {
        let found = self.store().hook_by_name(self.id(), name).await?;
        found.ok_or(Error::NotFound("receiver of webhooks"))
    }

    /// Messages to a receiver, newest first, before `before`.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn hook_messages(
        &self,
        name: &str,
        before: HookMessageId,
        limit: u32,
    ) -> Result<Vec<HookMessage>, Error> {
        let hook = self.hook_named(name).await?;
        let store = self.store();
        Ok(store
            .hook_messages(self.id(), hook.id, before, limit)
            .await?)
    }

    /// Changes a receiver. One that is switched on again is told what is still open; of one that had switched itself off that is what
    /// happened meanwhile, too.
    ///
    /// # Errors
    /// [`Error::BadInput`], [`Error::NotFound`], the store's.
    pub async fn change_hook(&self, name: &str, change: &HookChange) -> Result<Hook, Error> {
        if let Some(url) = &change.url {
            self.check_hook_url(url)?;
        }
        self.again_on_conflict(|| async {
            let mut hook = self.hook_named(name).await?;
            let now = self.now();
            if let Some(url) = &change.url {
                hook.url.clone_from(url);
                hook.silences = 0;
                hook.held_off = None;
            }
            if let Some(notices) = &change.notices {
                hook.notices.clone_from(notices);
            }
            match change.on {
                Some(true) => {
                    hook.off = None;
                    hook.failing_since = None;
                    hook.trouble = None;
                    hook.silences = 0;
                    hook.held_off = None;
                }
                Some(false) => {
                    let why = format!("switched off by {}", self.actor());
                    // Who is switched off by a person is told nothing of what happens meanwhile.
                    hook.off = hook.off.filter(|off| !off.by_itself).or(Some(Off {
                        at: now,
                        why,
                        by_itself: false,
                    }));
                }
                None => {}
            }
            let mut batch = Batch::new();
            let detail = json!({
                "hook": hook.id, "name": hook.name, "host": host(&hook.url), "notices": hook.notices, "on": hook.is_on(),
            });
            self.put_hook(&mut batch, &hook).await?;
            self.audit_into(&mut batch, "hook.changed", detail);
            self.store().commit(batch).await?;
            Ok(hook)
        })
        .await
    }

    /// Gives a receiver a new secret, shown once. The one before signs beside it for a day.
    ///
    /// # Errors
    /// [`Error::NotFound`], the vault's, the store's.
    pub async fn rotate_hook(&self, name: &str) -> Result<NewHook, Error> {
        let (secret, sealed) = self.hook_secret().await?;
        self.again_on_conflict(|| async {
            let mut hook = self.hook_named(name).await?;
            let now = self.now();
            let before = std::mem::replace(&mut hook.secret.0, sealed.clone());
            hook.earlier = Some((crate::organisation::Der(before), now + OVERLAP));
            let mut batch = Batch::new();
            let detail = json!({ "hook": hook.id, "name": hook.name });
            batch.put(hook.clone());
            self.audit_into(&mut batch, "hook.rotated", detail);
            self.store().commit(batch).await?;
            Ok(NewHook {
                hook,
                secret: secret.clone(),
            })
        })
        .await
    }

    /// Removes a receiver: it is told nothing more, and what is open goes to nobody.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn remove_hook(&self, name: &str) -> Result<Hook, Error> {
        self.again_on_conflict(|| async {
            let mut hook = self.hook_named(name).await?;
            hook.removed = Some(self.now());
            let mut batch = Batch::new();
            let detail = json!({ "hook": hook.id, "name": hook.name });
            self.put_hook(&mut batch, &hook).await?;
            self.audit_into(&mut batch, "hook.removed", detail);
            self.store().commit(batch).await?;
            Ok(hook)
        })
        .await
    }

    /// Sends a receiver a message that is about no device, now, and answers what came of it. Nothing of it is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], the vault's, the store's. That it was not taken is no error.
    pub async fn test_hook(&self, name: &str) -> Result<HookTest, Error> {
        let hook = self.hook_named(name).await?;
        let now = self.now();
        let name = format!("msg_{}_test_{}", hook.id, self.ids().next(now));
        let body = json!({ "type": "test", "timestamp": now, "data": {} });
        Ok(match self.post(&hook, &name, &body, now).await {
            Ok(status) => HookTest {
                taken: true,
                answer: status.to_string(),
            },
            Err(not) => HookTest {
                taken: false,
                answer: not.trouble,
            },
        })
    }

    /// That messages can be sent there, as far as that is known before one is.
    fn check_hook_url(&self, url: &str) -> Result<(), Error> {
        check_url(url)?;
        let may = self.ports().hooks.may_be_sent(url);
        may.map_err(|why| Error::bad_input("url", why))
    }

    /// A new secret as its holder gets it, and sealed.
    async fn hook_secret(&self) -> Result<(Secret, Vec<u8>), Error> {
        let mut bytes = vec![0_u8; SECRET_BYTES];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| Error::Crypto("no randomness"))?;
        let text = Secret::from_text(format!("{PREFIX}{}", STANDARD.encode(&bytes)));
        let sealed = self
            .seal_bytes(SecretKind::HookSecret, &Secret::new(bytes))
            .await?;
        Ok((text, sealed))
    }

    /// Puts a receiver and, where it matters to decisions, the organisation's row into a batch.
    async fn put_hook(&self, batch: &mut Batch, hook: &Hook) -> Result<(), Error> {
        let mut organisation = self.fresh().await?;
        if note(&mut organisation, hook) {
            batch.put(organisation);
        } else {
            let (id, version) = (organisation.id, organisation.version);
            batch.expect(Noun::Organisation, id, id.0, version);
        }
        batch.put(hook.clone());
        Ok(())
    }

    /// Sends what is open about a device: each receiver has its own order, and none waits for another.
    pub(super) async fn tell_job(
        &self,
        job: &Job,
        lease: Lease,
        device: DeviceId,
    ) -> Result<(), Error> {
        let open = self
            .store()
            .open_hook_messages(self.id(), device, WINDOW)
            .await?;
        let full = open.len() >= WINDOW as usize;
        let mut of: BTreeMap<HookId, Vec<HookMessage>> = BTreeMap::new();
        for message in open {
            of.entry(message.hook).or_default().push(message);
        }
        let mut next: Option<Timestamp> = full.then(|| self.now());
        // Side by side: one that does not answer keeps no other waiting.
        let told = of.into_iter().map(|(hook, of)| self.tell(hook, of));
        for due in futures_util::future::join_all(told).await {
            next = [next, due?].into_iter().flatten().min();
        }
        let mut batch = Batch::new();
        match next {
            None => {
                batch.put(done(job, lease));
            }
            Some(due) => {
                let mut later = job.clone();
                later.due = due;
                later.tries = 0;
                batch.put(Write::JobLater { job: later, lease });
            }
        }
        match self.store().commit(batch).await {
            // Something came meanwhile and asked for this job anew: that one stands.
            Err(StoreError::Conflict) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Sends a receiver what is open about one device, oldest first, up to the first that is not taken; answers when to come
    /// again.
    async fn tell(
        &self,
        id: HookId,
        messages: Vec<HookMessage>,
    ) -> Result<Option<Timestamp>, Error> {
        for mut message in messages {
            let now = self.now();
            // Read anew for each: it may have been switched off, or been given another secret.
            let hook = self.store().hook(self.id(), id).await?;
            let Some(hook) = hook.filter(|hook| hook.removed.is_none()) else {
                message.end(now, Some("the receiver was removed"));
                self.put_message(message).await?;
                continue;
            };
            if hook.off.is_some() {
                // Left open for when it is switched on again, and looked at seldom; in the end they are given up.
                if message.is_old(now) {
                    message.end(now, Some("the receiver was switched off"));
                    self.put_message(message).await?;
                    continue;
                }
                return Ok(Some(now + Duration::from_hours(1)));
            }
            // Further away than any wait, it was put off before the clock was set back.
            if message.due > now && message.due <= now + LONGEST_WAIT {
                return Ok(Some(message.due));
            }
            // Whether one that was silent answers again is found out with one message; all the others wait for that.
            if let Some(until) = hook.is_held_off(now) {
                return Ok(Some(until));
            }
            let probe = hook.held_off.is_some();
            if probe && !self.asks_again(hook.clone(), now).await? {
                return Ok(Some(now + SENDING));
            }
            // Claimed first: whoever else works on this device leaves it alone meanwhile, so that the order holds.
            message.due = now + SENDING;
            let Some(mut message) = self.put_message(message).await? else {
                return Ok(Some(now + SENDING));
            };
            let sent = self
                .post(&hook, &message.name(), &message.body(), now)
                .await;
            let now = self.now();
            let (trouble, silent) = match sent {
                Ok(_) => (None, false),
                Err(NotTaken { trouble, silent }) => (Some(trouble), silent),
            };
            match &trouble {
                None => message.end(now, None),
                Some(trouble) => message.failed(now, trouble),
            }
            // A receiver that takes others and never this one must not miss the rest of what is to be told of the device.
            let given_up = trouble.as_ref().filter(|_| message.is_old(now));
            let mut due = message.due;
            if let Some(trouble) = given_up {
                due = now;
                message.end(now, Some(trouble));
                self.put_given_up(&hook, message, trouble).await?;
            } else {
                self.put_message(message).await?;
            }
            self.note_outcome(id, trouble.as_deref(), How { probe, silent })
                .await?;
            if trouble.is_some() {
                return Ok(Some(due));
            }
        }
        Ok(None)
    }

    /// Writes a message; `None` when somebody else has written it meanwhile.
    async fn put_message(&self, mut message: HookMessage) -> Result<Option<HookMessage>, Error> {
        let mut batch = Batch::new();
        batch.put(message.clone());
        match self.store().commit(batch).await {
            Ok(()) => {
                message.version += 1;
                Ok(Some(message))
            }
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes it upon itself to find out whether a receiver answers again; not if somebody else does.
    async fn asks_again(&self, mut hook: Hook, now: Timestamp) -> Result<bool, Error> {
        hook.held_off = Some(now + SENDING);
        let mut batch = Batch::new();
        batch.put(hook);
        match self.store().commit(batch).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a message that goes no more because its receiver never took it, and says so in the record.
    async fn put_given_up(
        &self,
        hook: &Hook,
        message: HookMessage,
        trouble: &str,
    ) -> Result<(), Error> {
        let now = self.now();
        let detail = json!({
            "hook": hook.id, "name": hook.name, "message": message.name(), "notice": message.notice,
            "tries": message.tries, "trouble": trouble,
        });
        let mut batch = Batch::new();
        batch.put(self.entry(
            now,
            "worker",
            "hook.message-given-up",
            Some(message.device),
            detail,
        ));
        batch.put(message);
        match self.store().commit(batch).await {
            // Somebody else has written it meanwhile: that one stands.
            Ok(()) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes at a receiver how it is doing, where that changes; switches it off when it has taken nothing for too long.
    async fn note_outcome(&self, id: HookId, trouble: Option<&str>, how: How) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut hook) = self.store().hook(self.id(), id).await? else {
                return Ok(());
            };
            let now = self.now();
            let before = hook.clone();
            match trouble {
                None => {
                    hook.failing_since = None;
                    hook.trouble = None;
                    hook.silences = 0;
                    hook.held_off = None;
                    // To the minute: a busy receiver is not written with each message.
                    if hook.taken.is_none_or(|at| now.since(at) > Duration::from_mins(1)) {
                        hook.taken = Some(now);
                    }
                }
                Some(trouble) => {
                    hook.failing_since = hook.failing_since.or(Some(now));
                    hook.trouble = Some(trouble.chars().take(200).collect());
                    // What was claimed to find out has been found out.
                    if how.probe || !how.silent {
                        hook.held_off = None;
                    }
                    match how.silent {
                        true => hook.was_silent(now),
                        false => hook.silences = 0,
                    }
                }
            }
            let silent = hook.failing_since.map(|since| now.since(since));
            let over = hook.is_on() && silent.is_some_and(|silent| silent > PATIENCE);
            if hook == before && !over {
                return Ok(());
            }
            let mut batch = Batch::new();
            if over {
                let days = PATIENCE.as_secs() / 86_400;
                let why = format!("it has taken nothing for {days} days");
                tracing::error!(organisation = %self.id(), hook = hook.name, "a receiver of webhooks is switched off");
                hook.off = Some(Off {
                    at: now,
                    why,
                    by_itself: true,
                });
                self.put_hook(&mut batch, &hook).await?;
                let detail = json!({ "hook": hook.id, "name": hook.name, "trouble": hook.trouble });
                batch.put(self.entry(
 now,
                    "worker",
                    "hook.switched-off",
                    None,
                    detail,
                ));
            } else {
                batch.put(hook);
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Sends one message; the status when it was taken.
    async fn post(
        &self,
        hook: &Hook,
        name: &str,
        body: &serde_json::Value,
        now: Timestamp,
    ) -> Result<u16, NotTaken> {
        let body = body.to_string().into_bytes();
        let not = |silent: bool| move |trouble: String| NotTaken { trouble, silent };
        let signatures = self.signatures(hook, name, &body, now).await;
        let signatures = signatures
            .map_err(|error| format!("it cannot be signed: {error}"))
            .map_err(not(false))?;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", name.to_owned()),
            ("webhook-timestamp", now.as_secs().to_string()),
            ("webhook-signature", signatures),
        ];
        match self.ports().hooks.post(&hook.url, &headers, body).await {
            Ok(status) if (200..300).contains(&status) => Ok(status),
            Ok(status) => {
                // Whoever refuses this message may take the next one; whoever is busy or fails does not.
                let silent = status >= 500 || matches!(status, 408 | 429);
                Err(not(silent)(format!("it answers {status}")))
            }
            Err(PortError::Retry { what, .. }) => Err(not(true)(what)),
            Err(error) => Err(not(false)(error.to_string())),
        }
    }

    /// One signature for each secret that holds at this moment.
    async fn signatures(
        &self,
        hook: &Hook,
        name: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<String, Error> {
        let earlier = hook.earlier.as_ref().filter(|(_, until)| now < *until);
        let secrets = std::iter::once(&hook.secret).chain(earlier.map(|(secret, _)| secret));
        let text = signed_text(name, now, body);
        let mut all = Vec::new();
        for sealed in secrets {
            let secret = self.open_bytes(SecretKind::HookSecret, &sealed.0).await?;
            let signed = PKey::hmac(secret.expose())
                .and_then(|key| {
                    Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(&text)
                })
                .map_err(|_| Error::Crypto("a message cannot be signed"))?;
            all.push(format!("v1,{}", STANDARD.encode(signed)));
        }
        Ok(all.join(" "))
    }
}

/// Notes in the organisation's row what decisions must know of a receiver; says whether that changed anything.
fn note(organisation: &mut Organisation, hook: &Hook) -> bool {
    let wanted = hook.is_kept_for().then(|| HookOn {
        id: hook.id,
        notices: hook.notices.clone(),
    });
    let before = organisation.hooks.clone();
    organisation.hooks.retain(|on| on.id != hook.id);
    organisation.hooks.extend(wanted);
    organisation.hooks.sort_by_key(|on| on.id);
    before != organisation.hooks
}

/// The host of an address: what the record may show, for a path may hold a word that opens something.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}
