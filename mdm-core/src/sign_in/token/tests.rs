//! Each claim, wrong once.

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

struct Signs {
    key: PKey<Private>,
    keys: JwkSet,
}

impl Signs {
    fn new() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let rsa = key.rsa().unwrap();
        let part = |n: Vec<u8>| URL_SAFE_NO_PAD.encode(n);
        let jwk = json!({ "kty": "RSA", "kid": "k", "n": part(rsa.n().to_vec()), "e": part(rsa.e().to_vec()) });
        let keys = JwkSet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        Self { key, keys }
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let head = json!({ "alg": "RS256", "kid": kid }).to_string();
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn read(&self, kid: &str, claims: &Value) -> Result<Person, TokenError> {
        let nonce_hash = sha256_hex(b"n1");
        let expected = Expected {
            issuer: "https://id.example.com",
            client_id: "mdmd",
            nonce_hash: &nonce_hash,
            access_token: Some("access"),
            groups_claim: "groups",
            account_claim: "email",
        };
        let now = Timestamp::from_millis(NOW * 1000);
        read(&self.token(kid, claims), &self.keys, &expected, now)
    }
}

fn good() -> Value {
    json!({
        "iss": "https://id.example.com", "aud": "mdmd", "sub": "7", "nonce": "n1", "iat": NOW - 1, "exp": NOW + 300,
        "name": "Ada", "email": "ada@example.com", "groups": ["admins", 7, "", "all"],
    })
}

#[test]
fn a_token_that_is_right_tells_who_signed_in() {
    let signs = Signs::new();
    let person = signs.read("k", &good()).unwrap();
    assert_eq!(
        (person.subject.as_str(), person.name.as_str()),
        ("7", "Ada")
    );
    assert_eq!(person.account.as_deref(), Some("ada@example.com"));
    assert_eq!(person.groups, ["admins", "all"]);
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        signs.read("k", &claims)
    };
    let hash = URL_SAFE_NO_PAD.encode(&sha256(b"access")[..16]);
    assert!(with("at_hash", hash.into()).is_ok());
    assert!(with("aud", json!(["mdmd"])).is_ok());
    assert!(with("azp", "mdmd".into()).is_ok());
    assert!(with("nbf", json!(NOW + SKEW_S)).is_ok());
    assert!(with("exp", json!(NOW - SKEW_S + 1)).is_ok());
    assert!(with("iat", json!(NOW as f64 + 0.5)).is_ok());
    assert_eq!(with("groups", "one".into()).unwrap().groups, ["one"]);
    assert!(with("groups", json!({ "a": 1 })).unwrap().groups.is_empty());
    // A name that could forge a line or a page, or be read as another one, is none.
    for forged in ["A\nB", "A\u{202e}B", "A\u{2067}B\u{2069}", "A\u{2028}B"] {
        assert_eq!(
            with("name", forged.into()).unwrap().name,
            "ada@example.com",
            "{forged:?}"
        );
    }
    let forged = with("email", "a\u{202e}da@example.com".into()).unwrap();
    assert_eq!((forged.account, forged.name.as_str()), (None, "Ada"));
    // What it is known by is nothing that anybody wrote.
    let subject = with("sub", "7\u{202e}".into()).unwrap();
    assert_eq!(subject.subject, "7\u{202e}");
}

#[test]
fn each_claim_that_is_wrong_or_missing_is_refused() {
    let signs = Signs::new();
    let cases = [
        (
            "iss",
            json!("https://id.example.com/"),
            "iss is another provider",
        ),
        ("iss", Value::Null, "iss is another provider"),
        ("aud", json!("another"), "aud is another client"),
        ("aud", json!([]), "aud is another client"),
        ("aud", Value::Null, "aud is another client"),
        (
            "aud",
            json!(["mdmd", "x"]),
            "azp is missing beside several clients",
        ),
        ("azp", json!("x"), "azp is another client"),
        ("exp", json!(NOW - SKEW_S), "it has expired"),
        ("exp", Value::Null, "a time must be a number"),
        ("exp", json!("1900000000"), "a time must be a number"),
        ("iat", json!(NOW + SKEW_S + 1), "iat lies in the future"),
        (
            "iat",
            json!(NOW - OLDEST_S - 1),
            "it is too old for this sign-in",
        ),
        ("nbf", json!(NOW + SKEW_S + 1), "it is not valid yet"),
        ("nonce", json!("n2"), "nonce is of another sign-in"),
        ("nonce", Value::Null, "nonce is missing"),
        (
            "at_hash",
            json!("AAAA"),
            "at_hash is of another access token",
        ),
        ("at_hash", json!(1), "at_hash is of another access token"),
        ("sub", json!(""), "sub is missing or cannot be one"),
        (
            "sub",
            json!("x".repeat(256)),
            "sub is missing or cannot be one",
        ),
        ("sub", json!("7\u{0}"), "sub is missing or cannot be one"),
    ];
    for (name, value, why) in cases {
        let mut claims = good();
        claims[name] = value.clone();
        let refused = signs.read("k", &claims).unwrap_err();
        assert_eq!(refused, TokenError::Claim(why), "{name} {value}");
    }
    for name in ["exp", "iat", "nonce", "sub", "aud", "iss"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        assert!(signs.read("k", &claims).is_err(), "without {name}");
    }
}

#[test]
fn a_key_by_another_name_may_pass_with_a_newer_set_and_anothers_signature_never() {
    let signs = Signs::new();
    let unknown = TokenError::Signature(JoseError::UnknownKey);
    assert_eq!(signs.read("other", &good()), Err(unknown));
    let strange = Signs::new();
    let forged = Signs {
        key: strange.key,
        keys: signs.keys.clone(),
    };
    let refused = forged.read("k", &good());
    assert_eq!(refused, Err(TokenError::Signature(JoseError::Signature)));
}
