//! What a provider says of itself, and the address that a browser is sent to. Only `https` and only the code flow.
//!
//! <https://openid.net/specs/openid-connect-discovery-1_0.html>

use serde_json::Value;

use super::form;
use crate::error::Error;

/// Bytes of a document above which it is not looked at.
const LONGEST: usize = 256 * 1024;

/// Where a provider's document lies.
#[must_use]
pub fn document_of(issuer: &str) -> String {
    format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    )
}

/// Whether this can be an issuer or an address of one: `https`, a host, neither query nor fragment nor user.
#[must_use]
pub fn is_https(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    !host.is_empty()
        && address.len() <= 2_000
        && !host.contains('@')
        && address.bytes().all(|b| b.is_ascii_graphic())
        && !address.contains(['#', '\\', '"', '<', '>'])
}

/// What is used of a provider's document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provider {
    /// Its name in tokens, equal to the one that was asked.
    pub issuer: String,
    /// Where people go.
    pub authorization_endpoint: String,
    /// Where we go.
    pub token_endpoint: String,
    /// Where its keys lie.
    pub jwks_uri: String,
    /// The client secret goes into the form, since the provider takes it nowhere else.
    pub secret_in_form: bool,
    /// It names itself when it sends people back.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9207>
    pub names_itself: bool,
}

impl Provider {
    /// Reads the document of `issuer`.
    ///
    /// # Errors
    /// [`Error::Precondition`] names what the provider lacks, or that it is another's document.
    pub fn parse(document: &[u8], issuer: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Precondition(format!("the provider's document: {why}"));
        if document.len() > LONGEST {
            return Err(wrong("is too large"));
        }
        let document: Value =
            serde_json::from_slice(document).map_err(|_| wrong("must be JSON"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // In exactly these letters: what it says instead could be somebody else.
        if text("issuer") != Some(issuer) {
            return Err(wrong("issuer is another"));
        }
        let address = |name: &'static str| {
            text(name)
                .filter(|a| is_https(a))
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("{name} must be an https address")))
        };
        // What is left out is what the specification says then.
        let offers = |name: &str, word: &str, absent: bool| match document.get(name) {
            Some(Value::Array(all)) => all.iter().any(|w| w == word),
            Some(_) => false,
            None => absent,
        };
        if !offers("response_types_supported", "code", true) {
            return Err(wrong("the code flow is not offered"));
        }
        if !offers("code_challenge_methods_supported", "S256", true) {
            return Err(wrong("PKCE with S256 is not offered"));
        }
        let methods = "token_endpoint_auth_methods_supported";
        let basic = offers(methods, "client_secret_basic", true);
        if !basic && !offers(methods, "client_secret_post", false) {
            return Err(wrong("it takes no client secret"));
        }
        let names_itself = document.get("authorization_response_iss_parameter_supported")
            == Some(&Value::Bool(true));
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: address("authorization_endpoint")?,
            token_endpoint: address("token_endpoint")?,
            jwks_uri: address("jwks_uri")?,
            secret_in_form: !basic,
            names_itself,
        })
    }

    /// The address that a browser is sent to.
    #[must_use]
    pub fn authorization(&self, ask: &Authorization<'_>) -> String {
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", ask.client_id),
            ("redirect_uri", ask.redirect_uri),
            ("scope", ask.scope),
            ("state", ask.state),
            ("nonce", ask.nonce),
            ("code_challenge", ask.challenge),
            ("code_challenge_method", "S256"),
        ];
        pairs.extend(ask.login_hint.map(|hint| ("login_hint", hint)));
        let to = &self.authorization_endpoint;
        let join = if to.contains('?') { '&' } else { '?' };
        format!("{to}{join}{}", form(pairs))
    }
}

/// What a browser takes along to the provider.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "built by the service")]
pub struct Authorization<'a> {
    /// Who we are there.
    pub client_id: &'a str,
    /// Where it sends people back to.
    pub redirect_uri: &'a str,
    /// What we ask for, separated by blanks.
    pub scope: &'a str,
    /// Comes back with the code.
    pub state: &'a str,
    /// Comes back in the token.
    pub nonce: &'a str,
    /// The challenge of our verifier.
    pub challenge: &'a str,
    /// Who wants to sign in, as they said.
    pub login_hint: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ISSUER: &str = "https://id.example.com/t";

    fn document(changes: Value) -> Vec<u8> {
        let mut document = json!({
            "issuer": ISSUER, "authorization_endpoint": "https://id.example.com/a?tenant=1",
            "token_endpoint": "https://id.example.com/t", "jwks_uri": "https://id.example.com/k",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        document.to_string().into_bytes()
    }

    #[test]
    fn a_document_is_read_and_a_browser_is_sent_with_everything_escaped() {
        let provider = Provider::parse(&document(json!({})), ISSUER).unwrap();
        assert!(!provider.secret_in_form && !provider.names_itself);
        let to = provider.authorization(&Authorization {
            client_id: "c&d",
            redirect_uri: "https://mdm.example.com/back",
            scope: "openid email",
            state: "s",
            nonce: "n",
            challenge: "ch",
            login_hint: Some("a+b@example.com"),
        });
        assert_eq!(
            to,
            "https://id.example.com/a?tenant=1&response_type=code&client_id=c%26d&redirect_uri=https%3A%2F%2Fmdm.example.com%2Fback&scope=openid%20email&state=s&nonce=n&code_challenge=ch&code_challenge_method=S256&login_hint=a%2Bb%40example.com"
        );
        let post = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
        assert!(
            Provider::parse(&document(post), ISSUER)
                .unwrap()
                .secret_in_form
        );
    }

    #[test]
    fn another_issuer_and_what_lacks_protection_are_refused() {
        for changes in [
            json!({ "issuer": "https://id.example.com/t/" }),
            json!({ "issuer": "https://evil.example.com" }),
            json!({ "issuer": null }),
            json!({ "jwks_uri": "http://id.example.com/k" }),
            json!({ "token_endpoint": "https://u@id.example.com/" }),
            json!({ "authorization_endpoint": "javascript:alert(1)" }),
            json!({ "authorization_endpoint": "https://id.example.com/\r\nx" }),
            json!({ "response_types_supported": ["id_token"] }),
            json!({ "code_challenge_methods_supported": ["plain"] }),
            json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
        ] {
            assert!(
                Provider::parse(&document(changes.clone()), ISSUER).is_err(),
                "{changes}"
            );
        }
        assert!(Provider::parse(b"{", ISSUER).is_err());
        assert!(!is_https("https://") && !is_https("http://x") && is_https("https://x:8443/y"));
    }
}
