//! The OAuth 1.0a signature (HMAC-SHA1), pure: no clock, no randomness, no request is sent here.
//!
//! Specification: RFC 5849. Apple's use of it: `GET /session` of the device-assignment service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::secret::SecretText;

/// Percent-encoding of RFC 3986: only letters, digits and `-._~` stay; hexadecimal digits are upper case.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// The signature base string (RFC 5849, section 3.4.1).
///
/// `base_uri` has neither query nor fragment; `parameters` are all decoded names and values to be signed: the
/// `oauth_*` ones except `oauth_signature`, those of the query and of a form body. `realm` is never signed.
#[must_use]
pub fn base_string(method: &str, base_uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut encoded: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (percent_encode(name), percent_encode(value)))
        .collect();
    encoded.sort();
    let joined: Vec<String> = encoded
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{}&{}&{}",
        method.to_ascii_uppercase(),
        percent_encode(&normalised(base_uri)),
        percent_encode(&joined.join("&"))
    )
}

/// Scheme and host in lower case, without the scheme's own port (RFC 5849, section 3.4.1.2).
fn normalised(base_uri: &str) -> String {
    let Some((scheme, rest)) = base_uri.split_once("://") else {
        return base_uri.to_owned();
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (scheme, mut authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let port = if scheme == "https" { ":443" } else { ":80" };
    if let Some(host) = authority.strip_suffix(port) {
        authority = host.to_owned();
    }
    format!("{scheme}://{authority}{path}")
}

/// The HMAC-SHA1 signature of a base string, in base64 (RFC 5849, section 3.4.2).
///
/// # Errors
/// When OpenSSL refuses HMAC-SHA1, as it may in a restricted configuration.
pub fn signature(
    base_string: &str,
    consumer_secret: &str,
    token_secret: &str,
) -> Result<String, ErrorStack> {
    let key = SecretText::new(format!(
        "{}&{}",
        percent_encode(consumer_secret),
        percent_encode(token_secret)
    ));
    let key = PKey::hmac(key.expose().as_bytes())?;
    let mut signer = Signer::new(MessageDigest::sha1(), &key)?;
    Ok(STANDARD.encode(signer.sign_oneshot_to_vec(base_string.as_bytes())?))
}

/// What goes into one signed request.
pub(crate) struct SignedRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) base_uri: &'a str,
    pub(crate) consumer_key: &'a str,
    pub(crate) consumer_secret: &'a str,
    pub(crate) token: &'a str,
    pub(crate) token_secret: &'a str,
    /// Seconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) nonce: &'a str,
}

impl SignedRequest<'_> {
    /// The value of the `Authorization` header, on one line, with the realm that Apple asks for.
    pub(crate) fn authorization(&self) -> Result<SecretText, ErrorStack> {
        let timestamp = self.timestamp.to_string();
        let signed = [
            ("oauth_consumer_key", self.consumer_key),
            ("oauth_token", self.token),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", &timestamp),
            ("oauth_nonce", self.nonce),
            ("oauth_version", "1.0"),
        ];
        let base = base_string(self.method, self.base_uri, &signed);
        let signature = signature(&base, self.consumer_secret, self.token_secret)?;
        let mut header = String::from("OAuth realm=\"ADM\"");
        for (name, value) in signed
            .into_iter()
            .chain([("oauth_signature", signature.as_str())])
        {
            header.push_str(&format!(", {name}=\"{}\"", percent_encode(value)));
        }
        Ok(header.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_string_of_the_rfc() {
        let parameters = [
            ("b5", "=%3D"),
            ("a3", "a"),
            ("c@", ""),
            ("a2", "r b"),
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
            ("c2", ""),
            ("a3", "2 q"),
        ];
        assert_eq!(
            base_string("post", "http://EXAMPLE.COM:80/request", &parameters),
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
        );
    }

    #[test]
    fn the_signature_of_the_rfc() {
        let base = base_string(
            "GET",
            "http://photos.example.net/photos",
            &[
                ("file", "vacation.jpg"),
                ("size", "original"),
                ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
                ("oauth_token", "nnch734d00sl2jdk"),
                ("oauth_signature_method", "HMAC-SHA1"),
                ("oauth_timestamp", "137131202"),
                ("oauth_nonce", "chapoH"),
            ],
        );
        let signature =
            signature(&base, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00").expect("HMAC-SHA1");
        assert_eq!(signature, "MdpQcU8iPSUjWoN/UDMsK2sui9I=");
    }

    #[test]
    fn the_vector_for_the_session_request() {
        let request = SignedRequest {
            method: "GET",
            base_uri: "https://mdmenrollment.apple.com/session",
            consumer_key: "CK_0123456789abcdef",
            consumer_secret: "CS_fedcba9876543210",
            token: "AT_00112233445566778899",
            token_secret: "AS_aabbccddeeff0011",
            timestamp: 1_795_190_400,
            nonce: "0badc0de0badc0de0badc0de0badc0de",
        };
        assert_eq!(
            request.authorization().expect("HMAC-SHA1").expose(),
            "OAuth realm=\"ADM\", oauth_consumer_key=\"CK_0123456789abcdef\", oauth_token=\"AT_00112233445566778899\", oauth_signature_method=\"HMAC-SHA1\", oauth_timestamp=\"1795190400\", oauth_nonce=\"0badc0de0badc0de0badc0de0badc0de\", oauth_version=\"1.0\", oauth_signature=\"Jm5pwFOjtBzkwhi3qEYGB4epj3k%3D\""
        );
    }

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(
            percent_encode("aZ09-._~ +%&=ü"),
            "aZ09-._~%20%2B%25%26%3D%C3%BC"
        );
    }
}
