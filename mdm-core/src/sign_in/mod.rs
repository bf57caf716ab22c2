//! Signing people in at an organisation's own OpenID Connect provider: what its documents say, where a browser is sent, and
//! what an identity token proves. Fetches nothing, stores nothing, reads no clock.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, <https://www.rfc-editor.org/rfc/rfc9700>

pub mod loopback;
pub mod pkce;
pub mod provider;
pub mod token;

/// A word of a query or of a form: everything but letters, digits and `-._~` is escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Pairs as a query or a form.
#[must_use]
pub fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}
