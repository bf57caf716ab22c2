//! Bootstrap tokens: what to do with one that comes, and what to answer when it is asked for.
//!
//! A token is opaque; exactly its bytes go back. It belongs to the device's channel, survives a
//! renewal of the identity, and is void once a new generation is complete. A Mac that migrates
//! cannot bring the original's token along and gives us one of its own, when it pleases: nothing
//! that holds a device may wait for it.
//!
//! <https://developer.apple.com/documentation/devicemanagement/set-bootstrap-token>

use crate::secret::Secret;
use crate::wire::WireError;
use crate::wire::checkin::{SetBootstrapToken, bootstrap_token_answer};

/// The largest token that is kept, in bytes. Real ones have a few hundred.
pub const LIMIT: usize = 64 * 1024;

/// What a `SetBootstrapToken` message asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a token, or none")]
pub enum Deposit {
    /// Keep this one in place of any other.
    Keep(Secret),
    /// The one that is kept is void.
    Remove,
}

/// Reads a deposit: no token, or an empty one, voids the stored one.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn deposit(message: &SetBootstrapToken) -> Result<Deposit, WireError> {
    match &message.token {
        None => Ok(Deposit::Remove),
        Some(token) if token.is_empty() => Ok(Deposit::Remove),
        Some(token) if token.len() > LIMIT => Err(WireError::TooLong {
            message: "SetBootstrapToken",
            field: "BootstrapToken",
            limit: LIMIT,
        }),
        Some(token) => Ok(Deposit::Keep(token.clone())),
    }
}

/// The answer to `GetBootstrapToken`: the token, or a property list without one.
#[must_use]
pub fn answer(stored: Option<&Secret>) -> Vec<u8> {
    bootstrap_token_answer(stored)
}

/// Whether the completion of an enrolment voids the token: that of a new generation does, that of a
/// renewed identity does not.
#[must_use]
pub const fn voided_by_completion(is_renewal: bool) -> bool {
    !is_renewal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checkin::CheckIn;

    fn message(token: Option<&str>) -> SetBootstrapToken {
        let token = token.map_or(String::new(), |t| {
            format!("<key>BootstrapToken</key><data>{t}</data>")
        });
        let text = format!(
            "<plist version=\"1.0\"><dict><key>MessageType</key><string>SetBootstrapToken</string>\
             <key>UDID</key><string>A</string>{token}</dict></plist>"
        );
        match CheckIn::parse(text.as_bytes()).unwrap() {
            CheckIn::SetBootstrapToken(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_kept_and_none_removes() {
        let kept = Deposit::Keep(Secret::from_text("token"));
        assert_eq!(deposit(&message(Some("dG9rZW4="))), Ok(kept));
        assert_eq!(deposit(&message(Some(""))), Ok(Deposit::Remove));
        assert_eq!(deposit(&message(None)), Ok(Deposit::Remove));
        let huge = message(Some(&"AAAA".repeat(LIMIT / 3 + 1)));
        let error = deposit(&huge).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SetBootstrapToken: BootstrapToken is longer than 65536 bytes"
        );
    }

    #[test]
    fn exactly_its_bytes_go_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = answer(Some(&Secret::new(bytes.clone())));
        let read = crate::wire::plist::read_dictionary(&text, 1 << 16).unwrap();
        assert_eq!(
            read.get("BootstrapToken").unwrap().as_data(),
            Some(&bytes[..])
        );
        let none = crate::wire::plist::read_dictionary(&answer(None), 1 << 16).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_renewal_keeps_the_token() {
        assert!(voided_by_completion(false));
        assert!(!voided_by_completion(true));
    }
}
