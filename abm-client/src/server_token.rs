//! The server token of the device-assignment service: its key pair, the encrypted file, what is in it.
//! Talks to nobody; whether a token still works is known only by [using it](crate::assignment::AssignmentClient).

mod envelope;
mod key_pair;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer;
use crate::error::{Endpoint, Error, ErrorKind, Service};
use crate::moment::Moment;
use crate::secret::{SecretBytes, SecretText};

pub use self::key_pair::TokenKeyPair;

pub(crate) const OPEN: Endpoint = Endpoint::read(Service::Local, "server token file");

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The credential of one server entry: OAuth 1.0a consumer and access token with their secrets.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/examining-server-tokens>
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerToken {
    /// Names the server entry, and stays the same over renewals as far as seen.
    pub consumer_key: SecretText,
    /// Secret of the consumer.
    pub consumer_secret: SecretText,
    /// The access token.
    pub access_token: SecretText,
    /// Secret of the access token.
    pub access_secret: SecretText,
    /// When the access token ends; one year after the download.
    pub access_token_expiry: Moment,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How long a token still lives, in the steps in which people should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenAge {
    /// More than 60 days left, or the expiry cannot be read.
    Fine,
    /// At most 60, 30 or 7 days left.
    EndsWithin {
        /// The smallest of 7, 30 and 60 that still fits.
        days: u32,
    },
    /// The time is over.
    Ended,
}

impl ServerToken {
    /// Decrypts a `.p7m` file with whichever of the key pairs it was made for.
    ///
    /// MIME text with folded headers and either line end, base64, PEM and bare BER or DER are read alike.
    ///
    /// # Errors
    /// [`MadeForAnotherCertificate`](ErrorKind::MadeForAnotherCertificate) names issuer and serial number of the
    /// certificates that the file was made for; [`Unreadable`](ErrorKind::Unreadable) for everything else, with one
    /// and the same reason for every failure of the decryption itself.
    pub fn open(p7m: &[u8], key_pairs: &[TokenKeyPair]) -> Result<Self, Error> {
        let text = envelope::decrypt(p7m, key_pairs)?;
        Self::from_message(text.expose())
    }

    /// Reads the decrypted message: MIME headers, the two marker lines if present, JSON that may be wrapped.
    fn from_message(message: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| Error::unreadable(OPEN, "server token", why);
        let text =
            std::str::from_utf8(message).map_err(|_| bad("the decrypted text is not UTF-8"))?;
        let trimmed = text.trim_start_matches('\u{feff}').trim_start();
        let body = if trimmed.starts_with(['{', '-']) {
            trimmed
        } else {
            envelope::after_headers(trimmed)
        };
        let mut json = String::with_capacity(body.len());
        for line in body.lines().map(|line| line.trim_end_matches('\r')) {
            if !line.trim_start().starts_with("-----") {
                json.push_str(line);
            }
        }
        let json = SecretText::from(json);
        Self::from_json(json.expose().trim().as_bytes())
    }

    /// Reads what [`to_json`](Self::to_json) has written, or the JSON of an already decrypted token.
    ///
    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) names the field.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let token: Self = answer::json(OPEN, json)?;
        for (field, value) in [
            ("consumer_key", &token.consumer_key),
            ("consumer_secret", &token.consumer_secret),
            ("access_token", &token.access_token),
            ("access_secret", &token.access_secret),
        ] {
            if value.is_empty() {
                return Err(Error::malformed(OPEN, field, "empty"));
            }
        }
        Ok(token)
    }

    /// The token as JSON, to be sealed and stored by the caller.
    ///
    /// # Errors
    /// None in practice: every part can be written as JSON.
    pub fn to_json(&self) -> Result<SecretBytes, Error> {
        serde_json::to_vec(self)
            .map(SecretBytes::from)
            .map_err(|_| Error::unreadable(OPEN, "server token", "it cannot be written as JSON"))
    }

    /// Whether both tokens name the same server entry. A renewal is taken only then, and only after
    /// [`verify_renewal`](crate::assignment::AssignmentClient::verify_renewal) has seen it work.
    #[must_use]
    pub fn same_entry(&self, other: &Self) -> bool {
        self.consumer_key.matches(other.consumer_key.expose())
    }

    /// A name for the server entry that gives nothing away: SHA-256 of the consumer key, base64url.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(openssl::sha::sha256(self.consumer_key.expose().as_bytes()))
    }

    /// Whether people should hear of the expiry, at 60, 30 and 7 days.
    #[must_use]
    pub fn age(&self, now_ms: i64) -> TokenAge {
        let Some(end) = self.access_token_expiry.unix_ms() else {
            return TokenAge::Fine;
        };
        let left = end.saturating_sub(now_ms);
        match [7, 30, 60]
            .into_iter()
            .find(|days| left <= i64::from(*days) * DAY_MS)
        {
            _ if left <= 0 => TokenAge::Ended,
            Some(days) => TokenAge::EndsWithin { days },
            None => TokenAge::Fine,
        }
    }
}

impl fmt::Debug for ServerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerToken")
            .field("fingerprint", &self.fingerprint())
            .field("access_token_expiry", &self.access_token_expiry)
            .finish_non_exhaustive()
    }
}

/// Maps every OpenSSL failure to one reason, so that nobody learns from it how a decryption failed.
pub(crate) fn refused(what: &'static str) -> impl Fn(openssl::error::ErrorStack) -> Error {
    move |_| {
        Error::new(
            OPEN,
            ErrorKind::Unreadable {
                what,
                why: "OpenSSL refuses it".into(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_190_400_000; // 2026-11-20T16:00:00Z
    const JSON: &str = r#"{"consumer_key":"CK_1","consumer_secret":"CS_1","access_token":"AT_1","access_secret":"AS_1","access_token_expiry":"2027-11-20T09:41:00Z","new_key":[1]}"#;

    fn check(message: &str) {
        let token = ServerToken::from_message(message.as_bytes()).expect("a token");
        assert_eq!(token.access_secret.expose(), "AS_1");
        assert_eq!(token.extra["new_key"], serde_json::json!([1]));
        assert_eq!(token.access_token_expiry.as_str(), "2027-11-20T09:41:00Z");
    }

    #[test]
    fn every_layout_of_the_message_is_read() {
        check(JSON);
        check(&format!(
            "-----BEGIN MESSAGE-----\n{JSON}\n-----END MESSAGE-----\n"
        ));
        let headers =
            "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n";
        check(&format!(
            "{headers}-----BEGIN MESSAGE-----\n{JSON}\n-----END MESSAGE-----\n"
        ));
        check(&format!("{}{JSON}", headers.replace("\r\n", "\n")));
        // Wrapped after every 76th column, in the middle of a value too.
        let wrapped: Vec<_> = JSON
            .as_bytes()
            .chunks(20)
            .map(|c| std::str::from_utf8(c).expect("ASCII"))
            .collect();
        check(&format!("{headers}{}\r\n", wrapped.join("\r\n")));
    }

    #[test]
    fn a_message_without_a_secret_is_named_by_field() {
        let error = ServerToken::from_json(JSON.replace("access_secret", "other").as_bytes())
            .expect_err("incomplete");
        assert_eq!(
            error.to_string(),
            "server token file: unreadable answer at access_secret: missing"
        );
        let error = ServerToken::from_json(JSON.replace("CS_1", "").as_bytes()).expect_err("empty");
        assert_eq!(
            error.to_string(),
            "server token file: unreadable answer at consumer_secret: empty"
        );
    }

    #[test]
    fn people_hear_of_the_expiry_in_three_steps() {
        let token = ServerToken::from_json(JSON.as_bytes()).expect("a token");
        let end = token.access_token_expiry.unix_ms().expect("a time");
        assert_eq!(token.age(NOW), TokenAge::Fine);
        assert_eq!(
            token.age(end - 60 * DAY_MS),
            TokenAge::EndsWithin { days: 60 }
        );
        assert_eq!(
            token.age(end - 7 * DAY_MS - 1),
            TokenAge::EndsWithin { days: 30 }
        );
        assert_eq!(token.age(end - 1), TokenAge::EndsWithin { days: 7 });
        assert_eq!(token.age(end), TokenAge::Ended);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let token = ServerToken::from_json(JSON.as_bytes()).expect("a token");
        let text = format!("{token:?}");
        assert!(
            ["CK_1", "CS_1", "AT_1", "AS_1"]
                .iter()
                .all(|secret| !text.contains(secret)),
            "{text}"
        );
        assert_eq!(
            ServerToken::from_json(token.to_json().expect("JSON").expose())
                .expect("the same")
                .fingerprint(),
            token.fingerprint()
        );
    }
}
