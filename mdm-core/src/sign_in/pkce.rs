//! Proof of who began a sign-in: a verifier that only the beginner has, and its challenge that may be seen. `S256` only.
//!
//! <https://www.rfc-editor.org/rfc/rfc7636>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::sha::sha256;

use crate::secret::same;

/// The challenge of a verifier.
#[must_use]
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
}

/// Whether this can be a challenge: 43 characters of base64url.
#[must_use]
pub fn is_challenge(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Whether the verifier is one (43 to 128 unreserved characters) and the challenge is its.
#[must_use]
pub fn proves(verifier: &str, of: &str) -> bool {
    let fits = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let own = challenge(verifier);
    fits && same(own, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_published_verifier_proves_the_published_challenge_and_no_other_does() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let of = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(is_challenge(of) && !is_challenge("short") && !is_challenge(&"=".repeat(43)));
        assert!(proves(verifier, of));
        assert!(!proves(&verifier.replace('d', "e"), of));
        assert!(!proves(verifier, &of.replace('E', "F")));
        assert!(!proves(verifier, ""));
        // Even its own challenge does not make a short one good.
        assert!(!proves("short", &challenge("short")));
    }
}
