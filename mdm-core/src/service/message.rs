//! What devices say at the two endpoints, and what they are answered. Reads messages, large ones apart and only of who has
//! proved to be somebody; whose they are and what comes of them is the door's.

use std::time::Duration;

use super::door::QUEUE_WINDOW;
use super::{AcmeAnswer, Org};
use crate::error::Error;
use crate::ids::OrganisationId;
use crate::organisation::Der;
use crate::secret::Secret;
use crate::store::{ChannelAsk, Depth};
use crate::wire::WireError;
use crate::wire::checkin::CheckIn;
use crate::wire::report::CommandReport;

/// Messages above so many bytes are read apart.
const LARGE: usize = 256 * 1024;
/// So many of them at a time.
pub(super) const LARGE_AT_ONCE: usize = 2;
/// How long one waits for its turn, holding its bytes meanwhile.
const PLACE: Duration = Duration::from_secs(20);

/// Who speaks, as the host's listener saw it. Nothing of it is trusted yet.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it")]
pub struct Peer {
    /// Certificate of the TLS connection, or from the header of a proxy that the host trusts.
    pub certificate: Option<Der>,
    /// The `Mdm-Signature` header.
    pub signature: Option<String>,
    /// The token of the `Authorization: Bearer` header: an access token, where an account brought the device.
    pub bearer: Option<Secret>,
    /// Address, for the record of refusals.
    pub address: String,
}

/// What to answer. The host's HTTP layer gives it a status and a content type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Success, zero bytes.
    Empty,
    /// Success, an XML property list.
    Plist(Vec<u8>),
    /// Success, JSON.
    Json(Vec<u8>),
    /// Success, a signed enrolment profile.
    Profile(Vec<u8>),
    /// Success, a file of a declaration.
    File {
        /// Media type.
        content_type: String,
        /// Body.
        body: Vec<u8>,
    },
    /// Success, an answer of the SCEP server with its media type.
    Scep {
        /// Media type.
        media_type: &'static str,
        /// Body.
        body: Vec<u8>,
    },
    /// What the ACME server answers.
    Acme(Box<AcmeAnswer>),
    /// Refusal of an enrolment until the device has updated: JSON, in Apple's words.
    UpdateFirst(Vec<u8>),
    /// Somebody must sign in first, at this address: told to devices that an account brings, and to no other. The one answer
    /// that is a 401: the host sends it with `WWW-Authenticate: Bearer method="apple-as-web", url="…"`.
    SignIn {
        /// Where.
        url: String,
    },
    /// This user is not managed for the current login session.
    Gone,
    /// A declaration that certainly does not exist; the device removes it.
    NoSuchDeclaration,
}

/// A message, read.
pub(super) enum Message {
    CheckIn(CheckIn),
    Report(CommandReport),
}

impl Org {
    /// A message on the check-in endpoint.
    ///
    /// # Errors
    /// What the sender did wrong as [`Error::BadInput`] or [`Error::Refused`] (nothing is stored then but a record of the
    /// refusal); the store's otherwise. Success means committed.
    pub async fn check_in(&self, peer: &Peer, body: &[u8]) -> Result<Answer, Error> {
        let mut proved = None;
        let result = async {
            self.may_take_long(peer, body, &mut proved).await?;
            let message = Message::CheckIn(self.parse(body, CheckIn::parse).await?);
            self.answer(peer, body, &message, &mut proved).await
        }
        .await;
        self.note_refusal_of("checkin", peer, proved.as_deref(), result)
            .await
    }

    /// A message on the command endpoint: a report, answered with the next command.
    ///
    /// # Errors
    /// As [`Org::check_in`].
    pub async fn report(&self, peer: &Peer, body: &[u8]) -> Result<Answer, Error> {
        let mut proved = None;
        let result = async {
            self.may_take_long(peer, body, &mut proved).await?;
            let message = Message::Report(self.parse(body, CommandReport::parse).await?);
            self.answer(peer, body, &message, &mut proved).await
        }
        .await;
        self.note_refusal_of("command", peer, proved.as_deref(), result)
            .await
    }

    /// A large message is read only when whoever sends it has proved to be somebody: reading it costs more than the proof.
    async fn may_take_long(
        &self,
        peer: &Peer,
        body: &[u8],
        proved: &mut Option<String>,
    ) -> Result<(), Error> {
        if body.len() <= LARGE {
            return Ok(());
        }
        let Err(refusal) = self.identify(peer, body, proved) else {
            return Ok(());
        };
        match self.newer().await? {
            Some(newer) => newer.identify(peer, body, proved).map(|_| ()),
            None => Err(refusal),
        }
    }

    /// Reads a message. Large ones take a processor for a while: few at a time, and apart from the threads that answer
    /// everybody else.
    async fn parse<T: Send + 'static>(
        &self,
        body: &[u8],
        parse: fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<T, Error> {
        if body.len() <= LARGE {
            return Ok(parse(body)?);
        }
        // Never closed. Whoever waits so long for a place is told to come again, and gives back what its body holds.
        let place = tokio::time::timeout(PLACE, self.mdm.inner.large.acquire()).await;
        let Ok(_place) = place else {
            return Err(Error::Busy("too many large messages at once"));
        };
        let body = body.to_vec();
        match tokio::task::spawn_blocking(move || parse(&body)).await {
            Ok(parsed) => Ok(parsed?),
            // A panic in a parser is ours; its message may hold a value.
            Err(_) => Err(Error::Precondition(
                "the message could not be read".to_owned(),
            )),
        }
    }
}

impl Message {
    /// Which channel speaks, and what deciding will need of it.
    pub(super) fn question(&self, organisation: OrganisationId, sha256: &str) -> ChannelAsk {
        let (channel, depth) = match self {
            Self::Report(report) => {
                // The queue of a user channel is another one.
                let most = if report.channel.is_device() {
                    QUEUE_WINDOW
                } else {
                    0
                };
                (&report.channel, Depth::Queue(most))
            }
            Self::CheckIn(message) => {
                let asks_only = match message {
                    CheckIn::DeclarativeManagement(m) => m.endpoint != "status",
                    CheckIn::GetBootstrapToken(m) => m.awaiting_configuration.is_none(),
                    CheckIn::UserAuthenticate(_) | CheckIn::GetToken(_) => true,
                    _ => false,
                };
                let depth = if asks_only {
                    Depth::Queue(0)
                } else {
                    Depth::Identity(sha256.to_owned())
                };
                (&message.envelope().channel, depth)
            }
        };
        ChannelAsk {
            organisation,
            key: channel.device_key().as_str().to_owned(),
            depth,
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let sentence = error.to_string();
        match sentence.split_once(": ") {
            // It names the message and the field already.
            Some((message, problem)) => Self::bad_input(message, problem),
            None => Self::bad_input("body", sentence),
        }
    }
}
