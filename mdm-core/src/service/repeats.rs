//! Requests that come with a key: what a request has done is not done again when it comes twice, over processes and after a
//! crash. The first write of a request takes the note of it along in its own batch, whoever makes that batch.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::RepeatId;
use crate::organisation::Der;
use crate::repeat::{Repeat, RepeatState};
use crate::secret::{Secret, SecretKind};
use crate::server_certificate::INSTALLATION;
use crate::store::riding::{EXPECTING, Expecting, RIDING, Riding};
use crate::store::{Batch, Expect, Noun, StoreError};

use super::Org;

/// For how long a request is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// For how long a request is left to whoever began it, before anything of it is written.
const LEFT: Duration = Duration::from_secs(60);

/// What is to become of a request with a key.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the four ways on")]
pub enum Coming {
    /// It is new: do it by [`Repeated::run`].
    New(Repeated),
    /// It was answered so: status, media type, body.
    Answered(u16, String, Secret),
    /// The key stands for another request.
    Other,
    /// It is under way, until this moment at most unless something of it is written meanwhile.
    UnderWay(Timestamp),
    /// It was done, and its answer was lost: nobody may do it again, the state of things says what became of it.
    Lost,
}

/// A request that has begun.
#[derive(Debug)]
pub struct Repeated {
    org: Org,
    note: Riding,
}

/// A condition under which something is changed.
#[derive(Clone, Debug)]
pub struct OnlyIf(Expecting);

impl OnlyIf {
    /// The condition that a row of the installation, which belongs to no organisation, has this version. For one of an
    /// organisation there is [`Org::only_if`].
    #[must_use]
    pub fn of_installation(noun: Noun, key: i64, version: i64) -> Self {
        Self(Expecting::new(Expect {
            noun,
            organisation: INSTALLATION,
            key,
            version,
        }))
    }

    /// Does it: the first batch that is committed is held to the condition.
    pub async fn run<T>(&self, doing: impl Future<Output = T>) -> T {
        EXPECTING.scope(self.0.clone(), doing).await
    }

    /// Whether a batch was not committed because the condition did not hold.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.0.was_refused()
    }
}

impl Org {
    /// The condition that a row has this version.
    #[must_use]
    pub fn only_if(&self, noun: Noun, key: i64, version: i64) -> OnlyIf {
        OnlyIf(Expecting::new(Expect {
            noun,
            organisation: self.id(),
            key,
            version,
        }))
    }

    /// Notes a request with a key, or says what became of it. `who` asks; `asked` is everything that makes the request what it
    /// is. Neither the key nor the request can be read out of what is kept.
    ///
    /// # Errors
    /// The vault's, the store's.
    pub async fn coming(&self, who: &str, key: &str, asked: &[u8]) -> Result<Coming, Error> {
        let hash = sha256_hex(format!("{}\n{who}\n{key}", self.id()).as_bytes());
        let asked = keyed(key, asked)?;
        let now = self.now();
        let found = self.store().repeat(self.id(), &hash).await?;
        let note = match found {
            Some(old) if old.until <= now => {
                // Remembered no longer, and not cleared away yet.
                let mut anew = Repeat::new(
                    self.id(),
                    old.id,
                    hash,
                    asked,
                    now,
                    now + REMEMBERED,
                    now + LEFT,
                );
                anew.version = old.version;
                anew
            }
            Some(old) if old.asked != asked => return Ok(Coming::Other),
            Some(old) => match &old.state {
                RepeatState::Begun { until } if *until > now => {
                    return Ok(Coming::UnderWay(*until));
                }
                // Whoever began it is gone, and has written nothing.
                RepeatState::Begun { .. } => {
                    let mut mine = old;
                    mine.state = RepeatState::Begun { until: now + LEFT };
                    mine
                }
                RepeatState::Acted => return Ok(Coming::Lost),
                RepeatState::Answered {
                    status,
                    media_type,
                    body,
                } => {
                    let kind = SecretKind::RepeatedAnswer;
                    let body = self.open_bytes(kind, &body.0).await?;
                    return Ok(Coming::Answered(*status, media_type.clone(), body));
                }
            },
            None => Repeat::new(
                self.id(),
                RepeatId(self.ids().next(now)),
                hash,
                asked,
                now,
                now + REMEMBERED,
                now + LEFT,
            ),
        };
        let mut batch = Batch::new();
        batch.put(note.clone());
        match self.store().commit(batch).await {
            Ok(()) => {}
            // Somebody with the same request was faster by a hair.
            Err(StoreError::Conflict) => return Ok(Coming::UnderWay(now + LEFT)),
            Err(error) => return Err(error.into()),
        }
        let mut note = note;
        note.version += 1;
        Ok(Coming::New(Repeated {
            org: self.clone(),
            note: Riding::new(note),
        }))
    }
}

impl Repeated {
    /// Does the request: the first batch that it commits takes the note along.
    pub async fn run<T>(&self, doing: impl Future<Output = T>) -> T {
        RIDING.scope(self.note.clone(), doing).await
    }

    /// Whether anything of the request is written.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.note.lock().state == RepeatState::Acted
    }

    /// Keeps the answer, which whoever asks again gets.
    ///
    /// # Errors
    /// The vault's, the store's.
    pub async fn answered(
        &self,
        status: u16,
        media_type: &str,
        body: &Secret,
    ) -> Result<(), Error> {
        let kind = SecretKind::RepeatedAnswer;
        let sealed = self.org.seal_bytes(kind, body).await?;
        self.settle(RepeatState::Answered {
            status,
            media_type: media_type.to_owned(),
            body: Der(sealed),
        })
        .await
    }

    /// Nothing came of it: the same key may be used for the same request at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn came_to_nothing(&self) -> Result<(), Error> {
        let until = self.org.now();
        self.settle(RepeatState::Begun { until }).await
    }

    async fn settle(&self, state: RepeatState) -> Result<(), Error> {
        let mut note = self.note.lock().clone();
        note.state = state;
        let mut batch = Batch::new();
        batch.put(note);
        Ok(self.org.store().commit(batch).await?)
    }
}

/// What is kept of a request: whoever does not know the key cannot try contents against it.
fn keyed(key: &str, asked: &[u8]) -> Result<String, Error> {
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::sign::Signer;
    PKey::hmac(key.as_bytes())
        .and_then(|key| Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(asked))
        .map(|tag| sha256_hex(&tag))
        .map_err(|_| Error::Crypto("a request cannot be noted"))
}
