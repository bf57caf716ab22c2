//! What can go wrong, and what a caller can do about it. Names the call and the field; never a credential, never a body.

use std::fmt;
use std::time::Duration;

use crate::transport::TransportError;

/// One of Apple's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// The device-assignment service (`mdmenrollment.apple.com`).
    DeviceAssignment,
    /// The Apple School Manager and Apple Business API, with its token service.
    Organisation,
    /// Apps and Books (`vpp.itunes.apple.com`).
    Apps,
    /// Removal of Activation Lock by bypass code (`deviceservices-external.apple.com`).
    LockRemoval,
    /// No service: reading a file or building a value on this machine.
    Local,
}

/// A call: the service, the method with its path, and whether it changes anything at Apple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    service: Service,
    call: &'static str,
    writes: bool,
}

impl Endpoint {
    pub(crate) const fn read(service: Service, call: &'static str) -> Self {
        Self {
            service,
            call,
            writes: false,
        }
    }

    pub(crate) const fn write(service: Service, call: &'static str) -> Self {
        Self {
            service,
            call,
            writes: true,
        }
    }

    /// Whose call it is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// Method and path without any value, for example `POST /devices/sync`.
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// Whether the call changes something at Apple.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writes
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)
    }
}

/// A credential that Apple refused, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Credential {
    /// The server token of the device-assignment service.
    ServerToken,
    /// The private key of an API account of the organisation API.
    ApiKey,
    /// The content token of Apps and Books.
    ContentToken,
}

/// One refusal as the service words it. Texts are shortened and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refusal {
    /// Apple's code, for example `CONFIG_NAME_REQUIRED`, `ENTITY_ERROR.INVALID` or `9709`.
    pub code: Option<String>,
    /// The status inside the answer, where there is one; may differ from the HTTP status.
    pub status: Option<String>,
    /// A short text for people.
    pub title: Option<String>,
    /// A longer text for people.
    pub detail: Option<String>,
    /// What it is about: a JSON pointer into the request, or the name of a parameter.
    pub about: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_deref().unwrap_or("no code"))?;
        if let Some(about) = &self.about {
            write!(f, " at {about}")?;
        }
        match self.detail.as_ref().or(self.title.as_ref()) {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused on this side, before anything was sent.
    InvalidInput {
        /// Which value.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection: the service has not seen the request.
    NotSent {
        /// What failed.
        why: String,
    },
    /// The connection broke while the request was under way.
    Interrupted {
        /// What failed.
        why: String,
    },
    /// The answer has a shape that we cannot read.
    Malformed {
        /// Where in the answer, for example `devices[3].serial_number`; `.` is the whole of it.
        field: String,
        /// What is wrong, without the content.
        why: String,
    },
    /// New terms wait for acceptance in the portal.
    TermsNotAccepted,
    /// The credential is valid, and may not do this.
    AccessDenied {
        /// Apple's words.
        refusals: Vec<Refusal>,
    },
    /// The credential itself was refused: expired, replaced, revoked, or the clock is wrong.
    CredentialRefused {
        /// Which kind.
        credential: Credential,
        /// Apple's code, if there was one.
        code: Option<String>,
    },
    /// A fresh session or bearer token was refused at once.
    SessionRefused,
    /// The cursor is of no use any more: start over from the first page.
    CursorExpired {
        /// Apple's code.
        code: String,
    },
    /// There is no such thing, or not for us.
    NotFound {
        /// Apple's words.
        refusals: Vec<Refusal>,
    },
    /// This organisation does not have this function (yet).
    FeatureMissing {
        /// Which one.
        what: String,
    },
    /// Too many requests, said the service.
    Throttled,
    /// Our own budget for this credential is used up; nothing was sent.
    BudgetSpent,
    /// The service has trouble (5xx).
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// The service refused the request.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Apple's words.
        refusals: Vec<Refusal>,
    },
    /// The token was encrypted for a certificate of which we have no key.
    MadeForAnotherCertificate {
        /// Issuer and serial number (hexadecimal) of each certificate that could open it.
        recipients: Vec<String>,
    },
    /// The file, key or certificate cannot be used.
    Unreadable {
        /// What it should have been.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// This token belongs to another server entry than the one in use.
    OtherServer {
        /// The server in use.
        expected: String,
        /// The server of the token.
        found: String,
    },
    /// Another management service has taken the location over.
    TakenOver {
        /// Identifier that the other service has set.
        id: String,
        /// Its name.
        name: String,
    },
}

/// An error of this crate: which call, what happened, and what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    endpoint: Endpoint,
    kind: ErrorKind,
    retry_after: Option<Duration>,
}

/// How long to wait when the service has given no time.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// How long to wait for people to accept terms before asking again.
const TERMS_WAIT: Duration = Duration::from_secs(15 * 60);

impl Error {
    pub(crate) fn new(endpoint: Endpoint, kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            endpoint,
            kind,
            retry_after: None,
        }))
    }

    pub(crate) fn waiting(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    pub(crate) fn invalid(
        endpoint: Endpoint,
        field: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(
            endpoint,
            ErrorKind::InvalidInput {
                field: field.into(),
                why: why.into(),
            },
        )
    }

    pub(crate) fn malformed(
        endpoint: Endpoint,
        field: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::new(
            endpoint,
            ErrorKind::Malformed {
                field: field.into(),
                why: why.into(),
            },
        )
    }

    pub(crate) fn unreadable(
        endpoint: Endpoint,
        what: &'static str,
        why: impl Into<String>,
    ) -> Self {
        Self::new(
            endpoint,
            ErrorKind::Unreadable {
                what,
                why: why.into(),
            },
        )
    }

    pub(crate) fn transport(endpoint: Endpoint, error: TransportError) -> Self {
        let kind = match error {
            TransportError::NotSent(why) => ErrorKind::NotSent { why },
            TransportError::Interrupted(why) => ErrorKind::Interrupted { why },
            TransportError::TooLarge { limit } => ErrorKind::Malformed {
                field: ".".into(),
                why: format!("more than {limit} bytes"),
            },
        };
        Self::new(endpoint, kind)
    }

    /// The same without any text of the answer that repeats one of these secrets, or begins to.
    pub(crate) fn without(mut self, secrets: &[&str]) -> Self {
        let begins: Vec<&str> = secrets
            .iter()
            .map(|secret| secret.get(..12).unwrap_or(secret))
            .filter(|begin| begin.len() >= 4)
            .collect();
        let leaks = |text: &String| begins.iter().any(|begin| text.contains(begin));
        match &mut self.0.kind {
            ErrorKind::AccessDenied { refusals }
            | ErrorKind::NotFound { refusals }
            | ErrorKind::Refused { refusals, .. } => {
                for refusal in refusals {
                    let Refusal {
                        code,
                        status,
                        title,
                        detail,
                        about,
                    } = refusal;
                    for text in [code, status, title, detail, about] {
                        *text = text.take().filter(|text| !leaks(text));
                    }
                }
            }
            ErrorKind::CredentialRefused { code, .. } => {
                *code = code.take().filter(|code| !leaks(code))
            }
            ErrorKind::CursorExpired { code } if leaks(code) => *code = "withheld".into(),
            _ => {}
        }
        self
    }

    /// The call that failed.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.0.endpoint
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// When trying the same again may help: how long to wait at least.
    ///
    /// The time is the service's own (`Retry-After`) where it gave one; a caller that fails repeatedly lets it
    /// grow with [`backoff`](crate::backoff). For a call that changes something see
    /// [`is_unknown_outcome`](Self::is_unknown_outcome) first.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let fallback = match &self.0.kind {
            ErrorKind::NotSent { .. }
            | ErrorKind::Interrupted { .. }
            | ErrorKind::Malformed { .. }
            | ErrorKind::Throttled
            | ErrorKind::BudgetSpent
            | ErrorKind::Unavailable { .. } => DEFAULT_WAIT,
            ErrorKind::TermsNotAccepted => TERMS_WAIT,
            _ => return None,
        };
        Some(self.0.retry_after.unwrap_or(fallback))
    }

    /// When only a person can go on: the sentence that tells what to do.
    #[must_use]
    pub fn needs_person(&self) -> Option<&'static str> {
        Some(match &self.0.kind {
            ErrorKind::TermsNotAccepted => {
                "Apple has new terms: someone with the right to accept them must sign in to Apple Business or Apple School Manager and accept them. The token stays valid."
            }
            ErrorKind::AccessDenied { .. } => match self.0.endpoint.service {
                Service::Organisation => {
                    "Apple refuses this to the API account: give it the privilege in Apple Business or Apple School Manager, and look there for terms that wait for acceptance."
                }
                Service::Apps => {
                    "Apple refuses this to the content token: download a new one as a content manager with the right to assign content."
                }
                _ => {
                    "Apple refuses this to the service: check in the portal what the service entry may do."
                }
            },
            ErrorKind::CredentialRefused { credential, .. } => match credential {
                Credential::ServerToken => {
                    "Apple does not accept the server token: check this machine's clock, then download a new token from the same service entry in the portal and import it."
                }
                Credential::ApiKey => {
                    "Apple does not accept the API key: check this machine's clock, the client and key identifiers, and whether the key was revoked; if need be make a new key."
                }
                Credential::ContentToken => {
                    "Apple does not accept the content token: download a new one for the same location and import it."
                }
            },
            ErrorKind::SessionRefused => {
                "Apple refuses a session that it has just given: check this machine's clock and whether another program uses the same token."
            }
            ErrorKind::MadeForAnotherCertificate { .. } => {
                "This token was made for another certificate: upload our certificate to the service entry in the portal and download the token again."
            }
            ErrorKind::Unreadable { .. } => {
                "This file or key cannot be used: choose the right one and import it again."
            }
            ErrorKind::OtherServer { .. } => {
                "This token belongs to another service entry: download the token from the entry that is in use."
            }
            ErrorKind::TakenOver { .. } => {
                "Another management service claims this location: decide which one keeps it, then take it over explicitly."
            }
            _ => return None,
        })
    }

    /// Whether to drop the cursor and fetch from the first page.
    #[must_use]
    pub fn is_cursor_expired(&self) -> bool {
        matches!(self.0.kind, ErrorKind::CursorExpired { .. })
    }

    /// Which function this organisation does not have, if that is the reason.
    #[must_use]
    pub fn feature_missing(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::FeatureMissing { what } => Some(what),
            _ => None,
        }
    }

    /// Whether something may have changed at Apple although the call failed. Then re-read; never send again blindly.
    #[must_use]
    pub fn is_unknown_outcome(&self) -> bool {
        self.0.endpoint.writes
            && matches!(
                self.0.kind,
                ErrorKind::Interrupted { .. }
                    | ErrorKind::Malformed { .. }
                    | ErrorKind::Unavailable { .. }
            )
    }

    /// Whether there is no such thing, or not for us.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NotFound { .. })
    }

    /// Whether the input was refused on this side, before anything was sent.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(self.0.kind, ErrorKind::InvalidInput { .. })
    }

    /// Apple's first code, where it gave one. Decide by the questions above; this is for showing.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::AccessDenied { refusals }
            | ErrorKind::NotFound { refusals }
            | ErrorKind::Refused { refusals, .. } => {
                refusals.iter().find_map(|r| r.code.as_deref())
            }
            ErrorKind::CredentialRefused { code, .. } => code.as_deref(),
            ErrorKind::CursorExpired { code } => Some(code),
            ErrorKind::TermsNotAccepted => Some("T_C_NOT_SIGNED"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.endpoint)?;
        let list = |f: &mut fmt::Formatter<'_>, refusals: &[Refusal]| {
            refusals
                .iter()
                .enumerate()
                .try_for_each(|(n, r)| write!(f, "{}{r}", if n == 0 { " (" } else { "; " }))?;
            f.write_str(if refusals.is_empty() { "" } else { ")" })
        };
        match &self.0.kind {
            ErrorKind::InvalidInput { field, why } => write!(f, "{field}: {why}"),
            ErrorKind::NotSent { why } => write!(f, "not sent: {why}"),
            ErrorKind::Interrupted { why } => write!(f, "interrupted: {why}"),
            ErrorKind::Malformed { field, why } => write!(f, "unreadable answer at {field}: {why}"),
            ErrorKind::TermsNotAccepted => f.write_str("new terms wait for acceptance"),
            ErrorKind::AccessDenied { refusals } => {
                f.write_str("access denied")?;
                list(f, refusals)
            }
            ErrorKind::CredentialRefused { credential, code } => {
                write!(
                    f,
                    "{credential:?} refused ({})",
                    code.as_deref().unwrap_or("no code")
                )
            }
            ErrorKind::SessionRefused => f.write_str("a fresh session was refused"),
            ErrorKind::CursorExpired { code } => write!(f, "cursor of no use any more ({code})"),
            ErrorKind::NotFound { refusals } => {
                f.write_str("not found")?;
                list(f, refusals)
            }
            ErrorKind::FeatureMissing { what } => {
                write!(f, "not available in this organisation: {what}")
            }
            ErrorKind::Throttled => f.write_str("too many requests"),
            ErrorKind::BudgetSpent => {
                f.write_str("not sent: our budget is used up, or Apple has asked for a pause")
            }
            ErrorKind::Unavailable { status } => write!(f, "service in trouble (HTTP {status})"),
            ErrorKind::Refused { status, refusals } => {
                write!(f, "refused (HTTP {status})")?;
                list(f, refusals)
            }
            ErrorKind::MadeForAnotherCertificate { recipients } => {
                write!(f, "made for another certificate: {}", recipients.join("; "))
            }
            ErrorKind::Unreadable { what, why } => write!(f, "not a usable {what}: {why}"),
            ErrorKind::OtherServer { expected, found } => {
                write!(f, "token of server {found}, while {expected} is in use")
            }
            ErrorKind::TakenOver { id, name } => write!(f, "location claimed by {name} ({id})"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("endpoint", &self.0.endpoint.call)
            .field("kind", &self.0.kind)
            .field("retry_after", &self.0.retry_after)
            .finish()
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Endpoint = Endpoint::read(Service::DeviceAssignment, "POST /devices/sync");
    const WRITE: Endpoint = Endpoint::write(Service::Organisation, "POST /v1/orgDeviceActivities");

    #[test]
    fn an_interrupted_write_has_an_unknown_outcome_and_an_interrupted_read_has_not() {
        let broken = || TransportError::Interrupted("connection reset".into());
        assert!(Error::transport(WRITE, broken()).is_unknown_outcome());
        assert!(!Error::transport(READ, broken()).is_unknown_outcome());
        let unsent = Error::transport(WRITE, TransportError::NotSent("refused".into()));
        assert!(!unsent.is_unknown_outcome() && unsent.retry_after().is_some());
    }

    #[test]
    fn the_time_of_the_service_wins_over_ours() {
        let error = Error::new(READ, ErrorKind::Throttled);
        assert_eq!(error.retry_after(), Some(DEFAULT_WAIT));
        let error = error.waiting(Some(Duration::from_secs(7)));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(Error::invalid(READ, "cursor", "empty").retry_after(), None);
    }

    #[test]
    fn terms_need_a_person_and_are_asked_again_later() {
        let error = Error::new(READ, ErrorKind::TermsNotAccepted);
        assert!(error.needs_person().is_some_and(|s| s.contains("accept")));
        assert_eq!(error.retry_after(), Some(TERMS_WAIT));
        assert_eq!(
            error.to_string(),
            "POST /devices/sync: new terms wait for acceptance"
        );
    }
}
