//! An ACME client that may send anything: each message is signed as it should be, unless it is told otherwise. It knows no
//! more of the server than its addresses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fixtures::attestation::Claims;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::x509::X509ReqBuilder;
use serde_json::{Value, json};
use tests::Request;

use super::house::{House, described};
use mdmd::config::Duty;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The problem type without its prefix.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        let kind = problem["type"].as_str().unwrap_or_default();
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:");
        kind.unwrap_or_else(|| panic!("no problem: {self:?}"))
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }
}

/// An order with what a client needs to go on with it.
pub(crate) struct Order {
    pub(crate) url: String,
    pub(crate) finalize: String,
    pub(crate) authorization: String,
    pub(crate) challenge: String,
    pub(crate) token: String,
}

/// A client with a key of its own.
pub(crate) struct Client<'a> {
    house: &'a House,
    pub(crate) key: EcKey<Private>,
    pub(crate) account: Option<String>,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn curve_key(nid: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(nid).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate request over this key, in its JSON.
pub(crate) fn csr(key: &PKey<Private>) -> Value {
    let mut request = X509ReqBuilder::new().unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(key, MessageDigest::sha256()).unwrap();
    json!({ "csr": b64(request.build().to_der().unwrap()) })
}

/// A statement in the JSON of an answer to a challenge.
pub(crate) fn statement(bytes: &[u8]) -> Value {
    json!({ "attObj": b64(bytes) })
}

/// What is true of a device of the house.
pub(crate) fn claims(serial: &str, token: &str) -> Claims {
    Claims {
        serial: Some(serial.to_owned()),
        udid: Some(format!("UDID-{serial}")),
        os_version: "26.1".to_owned(),
        mac: false,
        token: Some(token.to_owned()),
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(house: &'a House) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        Self {
            house,
            key: EcKey::generate(&group).unwrap(),
            account: None,
        }
    }

    /// One that has an account.
    pub(crate) async fn registered(house: &'a House) -> Self {
        let mut client = Self::new(house);
        let said = client
            .post(&client.at("new-account"), Some(&json!({})))
            .await;
        assert_eq!(said.status, 201, "{said:?}");
        client.account = said.header("location");
        client
    }

    /// An address of the house.
    pub(crate) fn at(&self, resource: &str) -> String {
        self.house.url(&format!("acme/{resource}"))
    }

    pub(crate) fn jwk(&self) -> Value {
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        let point = self.key.public_key();
        point
            .affine_coordinates(self.key.group(), &mut x, &mut y, &mut context)
            .unwrap();
        let part = |number: &BigNum| b64(number.to_vec_padded(32).unwrap());
        json!({ "kty": "EC", "crv": "P-256", "x": part(&x), "y": part(&y) })
    }

    pub(crate) async fn look(&self, method: &str, resource: &str) -> Said {
        let path = self.house.path(&format!("acme/{resource}"));
        sent(self.house, Request::new(method, &path)).await
    }

    pub(crate) async fn nonce(&self) -> String {
        let said = self.look("HEAD", "new-nonce").await;
        assert_eq!(said.status, 200, "{said:?}");
        said.header("replay-nonce").unwrap()
    }

    /// The protected header as it should be.
    pub(crate) async fn header(&self, url: &str) -> Value {
        let mut header = json!({ "alg": "ES256", "nonce": self.nonce().await, "url": url });
        match &self.account {
            Some(account) => header["kid"] = json!(account),
            None => header["jwk"] = self.jwk(),
        }
        header
    }

    /// A message under any header.
    pub(crate) fn message(&self, header: &Value, payload: Option<&Value>) -> Value {
        let protected = b64(header.to_string());
        let payload = b64(payload.map(Value::to_string).unwrap_or_default());
        let digest = sha256(format!("{protected}.{payload}").as_bytes());
        let signature = EcdsaSig::sign(&digest, &self.key).unwrap();
        let mut raw = signature.r().to_vec_padded(32).unwrap();
        raw.extend(signature.s().to_vec_padded(32).unwrap());
        json!({ "protected": protected, "payload": payload, "signature": b64(raw) })
    }

    pub(crate) async fn send(&self, url: &str, media_type: &str, body: Vec<u8>) -> Said {
        let path = url.splitn(4, '/').nth(3).unwrap();
        let mut request = Request::new("POST", &format!("/{path}")).with(body);
        request.headers = vec![("Content-Type", media_type.to_owned())];
        sent(self.house, request).await
    }

    pub(crate) async fn post_message(&self, url: &str, message: &Value) -> Said {
        let body = message.to_string().into_bytes();
        self.send(url, "application/jose+json", body).await
    }

    /// A message as it should be.
    pub(crate) async fn post(&self, url: &str, payload: Option<&Value>) -> Said {
        let header = self.header(url).await;
        let message = self.message(&header, payload);
        self.post_message(url, &message).await
    }

    /// Asks for an order for a client identifier.
    pub(crate) async fn ask(&self, identifier: &str) -> Said {
        let one = json!({ "type": "permanent-identifier", "value": identifier });
        let payload = json!({ "identifiers": [one] });
        self.post(&self.at("new-order"), Some(&payload)).await
    }

    /// An order and its challenge.
    pub(crate) async fn order(&self, identifier: &str) -> Order {
        let said = self.ask(identifier).await;
        assert_eq!(said.status, 201, "{said:?}");
        let order = said.json();
        assert_eq!(order["status"], "pending");
        assert_eq!(order["identifiers"][0]["value"], identifier);
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let shown = self.post(&authorization, None).await.json();
        let challenge = &shown["challenges"][0];
        assert_eq!(challenge["type"], "device-attest-01", "{shown}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Order {
            url: said.header("location").unwrap(),
            finalize: text(&order["finalize"]),
            challenge: text(&challenge["url"]),
            token: text(&challenge["token"]),
            authorization,
        }
    }

    /// Where an order stands.
    pub(crate) async fn status(&self, order: &Order) -> String {
        let shown = self.post(&order.url, None).await.json();
        shown["status"].as_str().unwrap().to_owned()
    }
}

async fn sent(house: &House, request: Request) -> Said {
    let reply = request.send(house.app.address(Duty::Enrol).unwrap()).await;
    Said {
        status: reply.status,
        head: reply.head,
        body: reply.body,
    }
}

/// The client identifier of a fresh enrolment profile.
pub(crate) async fn client_identifier(house: &House, serial: &str) -> String {
    let who = described(serial);
    let invited = house.stand_ins.invite(&house.url("enrol"), &who, 5).await;
    let invited = invited.unwrap();
    assert!(invited.directory_url().is_some(), "the profile is for SCEP");
    invited.challenge().unwrap().to_owned()
}

/// Account, nonce and client identifier of one organisation are nothing at the other.
#[allow(
    dead_code,
    reason = "one of the two stories that share this file asks it"
)]
pub(crate) async fn nothing_at_the_other(ours: &House, theirs: &House) {
    let us = Client::registered(ours).await;
    let them = Client::registered(theirs).await;
    let before = (ours.contents().await, theirs.contents().await);
    let url = them.at("new-order");
    // Our account.
    let mut header = them.header(&url).await;
    header["kid"] = json!(us.account);
    let said = us
        .post_message(&url, &us.message(&header, Some(&json!({}))))
        .await;
    assert_eq!(said.problem(), "accountDoesNotExist", "{said:?}");
    // Our nonce.
    header["kid"] = json!(them.account);
    header["nonce"] = json!(us.nonce().await);
    let said = them
        .post_message(&url, &them.message(&header, Some(&json!({}))))
        .await;
    assert_eq!(said.problem(), "badNonce", "{said:?}");
    // A message for our address.
    let mut header = them.header(&url).await;
    header["url"] = json!(us.at("new-order"));
    let said = them
        .post_message(&url, &them.message(&header, Some(&json!({}))))
        .await;
    assert_eq!(said.problem(), "unauthorized", "{said:?}");
    assert!(said.status < 500 && said.status != 401, "{said:?}");
    assert_eq!((ours.contents().await, theirs.contents().await), before);
}
