//! The bypass code of an Activation Lock and the escrow key that is its hash. Pure, apart from making a new one.
//!
//! Apple: <https://developer.apple.com/documentation/devicemanagement/creating-and-using-bypass-codes>

use std::fmt;

use openssl::hash::MessageDigest;
use zeroize::Zeroize;

use crate::error::{Endpoint, Error, Service};
use crate::secret::SecretText;

const CODE: Endpoint = Endpoint::read(Service::Local, "bypass code");

/// Values 0 to 31; the letters B, I, O and S are missing, since they look like digits.
const ALPHABET: &[u8; 32] = b"0123456789ACDEFGHJKLMNPQRTUVWXYZ";

/// After so many symbols comes a dash.
const DASHES: [usize; 5] = [5, 10, 14, 18, 22];

/// 128 random bits that open an Activation Lock which was set with their [escrow key](Self::escrow_key).
#[derive(Clone, PartialEq, Eq)]
pub struct BypassCode([u8; 16]);

impl BypassCode {
    /// A new code from the operating system's random numbers.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let mut raw = [0; 16];
        openssl::rand::rand_bytes(&mut raw)
            .map_err(|_| Error::unreadable(CODE, "random number", "there is none"))?;
        Ok(Self(raw))
    }

    /// The code of these bytes.
    #[must_use]
    pub fn from_raw(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// The bytes, to be sealed and stored by the caller.
    #[must_use]
    pub fn expose_raw(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads a code as a person types it: in any case, with or without dashes and spaces.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when it is no code; the text is not quoted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::invalid(CODE, "bypass code", why);
        let mut raw = [0_u8; 16];
        let (mut count, mut pending, mut bits) = (0_usize, 0_u32, 0_u32);
        let mut at = 0;
        for symbol in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let symbol = symbol.to_ascii_uppercase();
            let value = ALPHABET
                .iter()
                .position(|known| char::from(*known) == symbol)
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| bad("it holds a character that no code has"))?;
            count += 1;
            // The last symbol holds the last three bits, aligned to the right.
            let width = match count {
                1..=25 => 5,
                26 if value <= 7 => 3,
                26 => return Err(bad("its last character is not possible")),
                _ => return Err(bad("it is too long")),
            };
            pending = (pending << width | value) & 0xffff;
            bits += width;
            while bits >= 8 {
                bits -= 8;
                raw[at] = u8::try_from(pending >> bits & 0xff).unwrap_or_default();
                at += 1;
            }
        }
        if count < 26 {
            raw.zeroize();
            return Err(bad("it is too short"));
        }
        Ok(Self(raw))
    }

    /// The code for people and for the removal of the lock: 26 symbols in groups of 5-5-4-4-4-4.
    #[must_use]
    pub fn code(&self) -> SecretText {
        let mut text = String::with_capacity(31);
        let all = u128::from_be_bytes(self.0);
        for n in 0..26 {
            if DASHES.contains(&n) {
                text.push('-');
            }
            let value = if n < 25 {
                all >> (123 - 5 * n) & 31
            } else {
                all & 7
            };
            text.push(char::from(
                ALPHABET[usize::try_from(value).unwrap_or_default()],
            ));
        }
        text.into()
    }

    /// The escrow key for [setting the lock](crate::assignment::ActivationLockRequest): 64 upper-case hexadecimal
    /// digits of PBKDF2-HMAC-SHA256 over the raw bytes.
    ///
    /// # Errors
    /// When OpenSSL refuses, as it may in a restricted configuration.
    pub fn escrow_key(&self) -> Result<SecretText, Error> {
        let mut key = [0_u8; 32];
        openssl::pkcs5::pbkdf2_hmac(&self.0, &[0; 4], 50_000, MessageDigest::sha256(), &mut key)
            .map_err(|_| Error::unreadable(CODE, "bypass code", "OpenSSL refuses PBKDF2"))?;
        let text = crate::hex(&key).to_ascii_uppercase();
        key.zeroize();
        Ok(text.into())
    }
}

impl fmt::Debug for BypassCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BypassCode(redacted)")
    }
}

impl Drop for BypassCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: u128, code: &str, escrow_key: &str) {
        let made = BypassCode::from_raw(raw.to_be_bytes());
        assert_eq!(made.code().expose(), code);
        assert_eq!(made.escrow_key().expect("PBKDF2").expose(), escrow_key);
        assert!(BypassCode::parse(code).expect("a code") == made);
        let typed = code.replace('-', " ").to_ascii_lowercase();
        assert!(BypassCode::parse(&typed).expect("a code") == made);
    }

    #[test]
    fn the_published_vectors() {
        check(
            0,
            "00000-00000-0000-0000-0000-0000",
            "DEAB860D28DEB5B7121D6D8FCF0F78E1471756D1B2C566C03277C23EA8930B4F",
        );
        check(
            0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f,
            "000H4-0R40M-30F2-0918-5HR3-8F17",
            "C5CED1D0C51459C1A887866A5868DD3E9E6F4FC4A8C244F3F9EB9383C0F8AECB",
        );
        check(
            u128::MAX,
            "ZZZZZ-ZZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZ7",
            "ED6CFC1588B175D652D1DD6705BA7FEC058B5C76FACDD8FF41285CA0D341BD25",
        );
        check(
            0x1ea8_41db_5edf_afe6_075b_5ae0_d845_d254,
            "3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4",
            "6AB40D5EABE7218EC04182F461005600C7E3426BDDD82CDB405BDE9A1E0014B5",
        );
        check(
            0xcb84_798c_3ca8_5a67_4194_550a_2e96_aed8,
            "TF27L-31WN1-E6FH-DMAM-52X5-NFV0",
            "23CF8B7873425FD8EFE31DC5B6AB9C357EB98A2A59C82EA1084CA8AF58CC480A",
        );
        check(
            0xa1b2_c3d4_e5f6_0718_293a_4b5c_6d7e_8f90,
            "M6TD7-N75YR-3JHA-9U9E-F6UZ-MGK0",
            "BB93C9C92452E477CE386C23DC01C819338ACD4F9AFECBD068E812E6B650DAFE",
        );
    }

    #[test]
    fn what_is_no_code_is_refused_and_not_quoted() {
        for text in [
            "",
            "00000-00000-0000-0000-0000-000",
            "00000-00000-0000-0000-0000-00000",
            "00000-00000-0000-0000-0000-0008",
            "B0000-00000-0000-0000-0000-0000",
            "é0000-00000-0000-0000-0000-0000",
        ] {
            let error = BypassCode::parse(text).expect_err("no code");
            assert!(
                text.is_empty() || !error.to_string().contains(text),
                "{error}"
            );
        }
        let code = BypassCode::generate().expect("random numbers");
        assert!(!format!("{code:?}").contains(code.code().expose()));
        assert!(code != BypassCode::generate().expect("random numbers"));
    }

    proptest! {
        #[test]
        fn every_code_is_read_back(raw: [u8; 16]) {
            let code = BypassCode::from_raw(raw);
            let text = code.code();
            prop_assert_eq!(text.expose().len(), 31);
            let read = BypassCode::parse(text.expose()).expect("a code");
            prop_assert_eq!(read.expose_raw(), &raw);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = BypassCode::parse(&text);
        }
    }
}
