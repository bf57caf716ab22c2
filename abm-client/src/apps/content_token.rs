//! The content token of a location: a file of base64 that is used as a whole.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::secret::{SecretBytes, SecretText};

const READ: Endpoint = Endpoint::read(Service::Local, "content token file");

/// A content token: the right to the licences of one location, for a year.
#[derive(Clone)]
pub struct ContentToken {
    bearer: SecretText,
    organisation: Option<String>,
    expires: Option<Moment>,
}

impl ContentToken {
    /// Reads the file as downloaded. White space does not matter.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when it is no content token.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Inside {
            #[serde(default)]
            token: SecretText,
            exp_date: Option<Moment>,
            org_name: Option<String>,
        }
        let bad = |why: &str| Error::unreadable(READ, "content token file", why);
        if file.len() > 64 * 1024 {
            return Err(bad("it is too large"));
        }
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let text: Vec<u8> = file
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let bearer = String::from_utf8(text)
            .map(SecretText::from)
            .map_err(|_| bad("no base64"))?;
        let inside = STANDARD
            .decode(bearer.expose())
            .map(SecretBytes::from)
            .map_err(|_| bad("no base64"))?;
        let inside: Inside =
            serde_json::from_slice(inside.expose()).map_err(|_| bad("no JSON inside"))?;
        if inside.token.is_empty() {
            return Err(bad("no token inside"));
        }
        Ok(Self {
            bearer,
            organisation: inside.org_name,
            expires: inside.exp_date,
        })
    }

    /// What is sent: the whole of the file.
    #[must_use]
    pub fn bearer(&self) -> &SecretText {
        &self.bearer
    }

    /// The organisation and location, as the token names them.
    #[must_use]
    pub fn organisation(&self) -> Option<&str> {
        self.organisation.as_deref()
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Option<&Moment> {
        self.expires.as_ref()
    }
}

impl fmt::Debug for ContentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentToken")
            .field("organisation", &self.organisation)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_file_is_the_token() {
        let inside = r#"{"token":"abc","expDate":"2027-11-08T22:33:22+0000","orgName":"Us"}"#;
        let file = STANDARD.encode(inside);
        let wrapped = format!("\u{feff}{}\r\n{}\n", &file[..10], &file[10..]);
        let token = ContentToken::read(wrapped.as_bytes()).expect("a token");
        assert_eq!(token.bearer().expose(), file);
        assert_eq!(token.organisation(), Some("Us"));
        assert_eq!(
            token.expires().and_then(Moment::unix_ms),
            Some(1_825_713_202_000)
        );
        assert!(!format!("{token:?}").contains(&file[..10]));
    }

    #[test]
    fn other_files_are_refused_and_not_quoted() {
        for file in ["", "????", "SGVsbG8=", "e30=", "eyJ0b2tlbiI6NX0="] {
            let error = ContentToken::read(file.as_bytes()).expect_err("no token");
            assert!(error.needs_person().is_some());
            assert!(file.is_empty() || !error.to_string().contains(file));
        }
    }
}
