//! What an identity token proves: who signed in, at this provider, for us, in this very sign-in, just now. Everything that
//! cannot be proved is refused; what a token may leave out is checked when it is there.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::sha::{sha256, sha384};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::identity::sha256_hex;
use crate::jose::{JoseError, JwkSet, Unproved};
use crate::line::is_obeyed;
use crate::person::Person;
use crate::secret::same;

/// How far the provider's clock may be from ours, in seconds.
pub const SKEW_S: i64 = 120;
/// A token older than this was not made for this sign-in, in seconds.
const OLDEST_S: i64 = 3_600;
/// Groups that are looked at, and how long their names may be.
const GROUPS: usize = 2_000;
const LONGEST_NAME: usize = 500;

/// What must be true of a token.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "built by the service")]
pub struct Expected<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Who we are there.
    pub client_id: &'a str,
    /// SHA-256 of the nonce of this sign-in, lower-case hex.
    pub nonce_hash: &'a str,
    /// The access token that came with it, which it may vouch for.
    pub access_token: Option<&'a str>,
    /// The claim that names groups.
    pub groups_claim: &'a str,
    /// The claim that names the account.
    pub account_claim: &'a str,
}

/// Why a token is refused. Says no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Form, algorithm, key or signature. [`JoseError::UnknownKey`] may pass with a newer key set.
    #[error("the identity token: {0}")]
    Signature(#[from] JoseError),
    /// A claim is missing or not what it must be.
    #[error("the identity token: {0}")]
    Claim(&'static str),
}

/// Reads a token.
///
/// # Errors
/// [`TokenError`].
pub fn read(
    token: &str,
    keys: &JwkSet,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Person, TokenError> {
    let unproved = Unproved::parse(token)?;
    let algorithm = unproved.algorithm();
    let claims = unproved.claims(keys)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let deny = TokenError::Claim;
    if text("iss") != Some(expected.issuer) {
        return Err(deny("iss is another provider"));
    }
    check_audience(&claims, expected.client_id)?;
    check_times(&claims, now.as_secs())?;
    let nonce = text("nonce").ok_or(deny("nonce is missing"))?;
    if !same(sha256_hex(nonce.as_bytes()), expected.nonce_hash) {
        return Err(deny("nonce is of another sign-in"));
    }
    if let (Some(hash), Some(access)) = (claims.get("at_hash"), expected.access_token) {
        let own = match algorithm {
            crate::jose::Algorithm::Es384 => {
                URL_SAFE_NO_PAD.encode(&sha384(access.as_bytes())[..24])
            }
            _ => URL_SAFE_NO_PAD.encode(&sha256(access.as_bytes())[..16]),
        };
        if hash.as_str() != Some(&own) {
            return Err(deny("at_hash is of another access token"));
        }
    }
    let subject = text("sub")
        .filter(|s| !s.is_empty() && s.len() <= 255 && !s.chars().any(char::is_control))
        .ok_or(deny("sub is missing or cannot be one"))?;
    let fit = |name: &str| {
        let text = text(name)?.trim();
        let fits = !text.is_empty() && text.len() <= LONGEST_NAME;
        (fits && !text.chars().any(is_obeyed)).then(|| text.to_owned())
    };
    let account = fit(expected.account_claim);
    let name = ["name", "preferred_username", "email"]
        .into_iter()
        .find_map(fit);
    Ok(Person {
        subject: subject.to_owned(),
        name: name
            .or_else(|| account.clone())
            .unwrap_or_else(|| subject.to_owned()),
        account,
        groups: groups(claims.get(expected.groups_claim)),
    })
}

/// For us; with several, we must be the one that it was made for.
fn check_audience(claims: &Map<String, Value>, client: &str) -> Result<(), TokenError> {
    let deny = TokenError::Claim;
    let several = match claims.get("aud") {
        Some(Value::String(only)) if only == client => false,
        Some(Value::Array(all)) if all.iter().any(|a| a == client) => all.len() > 1,
        _ => return Err(deny("aud is another client")),
    };
    match claims.get("azp") {
        None if several => Err(deny("azp is missing beside several clients")),
        None => Ok(()),
        Some(made_for) if made_for == client => Ok(()),
        Some(_) => Err(deny("azp is another client")),
    }
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), TokenError> {
    let deny = TokenError::Claim;
    // Whole seconds, or with a fraction, as some write them.
    let moment = |name: &str| match claims.get(name) {
        None => Ok(None),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of floats saturates"
        )]
        Some(v) => v
            .as_i64()
            .or_else(|| v.as_f64().map(|f| f as i64))
            .map(Some)
            .ok_or(deny("a time must be a number")),
    };
    let expires = moment("exp")?.ok_or(deny("exp is missing"))?;
    let issued = moment("iat")?.ok_or(deny("iat is missing"))?;
    if expires.saturating_add(SKEW_S) <= now {
        return Err(deny("it has expired"));
    }
    if issued > now + SKEW_S {
        return Err(deny("iat lies in the future"));
    }
    if issued.saturating_add(OLDEST_S) < now {
        return Err(deny("it is too old for this sign-in"));
    }
    if moment("nbf")?.is_some_and(|from| from > now + SKEW_S) {
        return Err(deny("it is not valid yet"));
    }
    Ok(())
}

/// The groups of a claim: a list of words, or one word.
fn groups(claim: Option<&Value>) -> Vec<String> {
    let fits = |text: &&str| !text.is_empty() && text.len() <= LONGEST_NAME;
    match claim {
        Some(Value::String(one)) => Some(one.as_str())
            .filter(fits)
            .map(str::to_owned)
            .into_iter()
            .collect(),
        Some(Value::Array(all)) => {
            let all = all.iter().take(GROUPS).filter_map(Value::as_str);
            all.filter(fits).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
