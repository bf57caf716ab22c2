//! Stand-ins for what an embedding vendor has already: a push connection, a key service, credentials of a customer, and, so
//! that the example has somebody to talk to, an Apple that agrees to everything and one device. Proves nothing about Apple:
//! the simulated world of the workspace does that.

// Each example uses a part of it.
#![allow(dead_code)]

mod apple;
mod device;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::device::Platform;
use mdm_core::ids::{Serial, ServerId};
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::organisation::Der;
use mdm_core::original::Said;
use mdm_core::secret::Secret;
use mdm_core::service::{Mdm, MdmSettings, Member, Org};
use mdm_core::vault::{KeyWrap, VaultError};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

pub(crate) use apple::apple;
pub(crate) use device::Device;

/// Whatever may go wrong in an example.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// The push topic of the customer.
pub(crate) const TOPIC: &str = "com.apple.mgmt.External.embedding-example";

/// A vendor's connections to Apple's push service: keeps whom it was asked to wake.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<String>>>);

impl Pool {
    /// Wakes one device.
    pub(crate) fn wake(&self, topic: &str, token: &str, magic: &str) {
        assert_eq!(topic, TOPIC, "a push for another customer");
        assert!(!token.is_empty(), "a push to nobody");
        if let Ok(mut woken) = self.0.lock() {
            woken.push(magic.to_owned());
        }
    }

    /// Whether a device with this magic was woken.
    pub(crate) fn woke(&self, magic: &str) -> bool {
        self.0
            .lock()
            .is_ok_and(|woken| woken.iter().any(|m| m == magic))
    }
}

/// A key service with one master key that lives as long as the process. A real one never lets its key out.
pub(crate) struct OurKms([u8; 32]);

impl Default for OurKms {
    fn default() -> Self {
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key).expect("the operating system has randomness");
        Self(key)
    }
}

#[async_trait]
impl KeyWrap for OurKms {
    fn key_id(&self) -> String {
        "example".to_owned()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (mut nonce, mut tag) = ([0; 12], [0; 16]);
        openssl::rand::rand_bytes(&mut nonce).map_err(|_| VaultError::Seal)?;
        let cipher = Cipher::aes_256_gcm();
        let sealed = encrypt_aead(
            cipher,
            &self.0,
            Some(&nonce),
            context,
            plain.expose(),
            &mut tag,
        )
        .map_err(|_| VaultError::Seal)?;
        Ok([nonce.as_slice(), &tag, &sealed].concat())
    }

    async fn unwrap(&self, _: &str, wrapped: &[u8], context: &[u8]) -> Result<Secret, VaultError> {
        let (nonce, rest) = wrapped.split_at_checked(12).ok_or(VaultError::Open)?;
        let (tag, sealed) = rest.split_at_checked(16).ok_or(VaultError::Open)?;
        decrypt_aead(
            Cipher::aes_256_gcm(),
            &self.0,
            Some(nonce),
            context,
            sealed,
            tag,
        )
        .map(Secret::new)
        .map_err(|_| VaultError::Open)
    }
}

/// A customer with its credentials in place, and what it plans.
pub(crate) struct Customer {
    /// Its handle.
    pub(crate) acme: Org,
    /// What it plans.
    pub(crate) plan: Plan,
    /// What an export of the server that they leave says.
    pub(crate) told: Vec<Said>,
}

/// Who moves, when, and how.
pub(crate) struct Plan {
    /// Our server entry at Apple.
    pub(crate) destination: ServerId,
    /// The runbook of each platform.
    pub(crate) runbooks: BTreeMap<Platform, PinnedRunbook>,
    /// The devices with their dates.
    pub(crate) members: Vec<Member>,
}

impl Plan {
    /// The serial numbers of all members.
    pub(crate) fn serials(&self) -> Vec<Serial> {
        self.members.iter().map(|m| m.serial.clone()).collect()
    }

    /// What an export of the server that they leave says of them. Without the list of its apps no iPhone is submitted.
    fn exported(&self) -> Vec<Said> {
        let says = |serial| {
            let mut said = Said::nothing(serial);
            said.system = Some("26.1".to_owned());
            said.apps = Some(Vec::new());
            said
        };
        self.serials().into_iter().map(says).collect()
    }
}

/// Where devices reach this vendor's server. Behind a proxy that ends TLS, devices would sign their messages.
pub(crate) fn settings() -> MdmSettings {
    MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://enrol.example.com".to_owned(),
        sign_messages: false,
    }
}

/// Brings in what a vendor's console would: push certificate, API account, server token. They are of no use at Apple.
pub(crate) async fn customer(mdm: &Mdm) -> Result<Customer, Failure> {
    const DAY: Duration = Duration::from_secs(86_400);
    let org = mdm.create_organisation("Acme", Vec::new()).await?.org;
    let until = mdm.now() + 300 * DAY;
    let (certificate, key) = device::authority()?;
    org.import_push(
        TOPIC,
        certificate.to_der()?,
        until,
        &Secret::new(key.private_key_to_pkcs8()?),
    )
    .await?;
    org.import_api("BUSINESSAPI.example", "example", &Secret::from_text("key"))
        .await?;
    let destination = org
        .import_server_token(&Secret::from_text("{}"), None)
        .await?;
    let members = vec![Member {
        serial: Serial::parse(device::SERIAL)?,
        deadline: mdm.now() + 7 * DAY,
        available_from: mdm.now(),
        original_server: Some("the server that they leave".to_owned()),
    }];
    let runbooks = [Platform::Ios, Platform::Ipados, Platform::Macos]
        .map(|p| (p, PinnedRunbook::standard(p, Variant::Migration)));
    // A handle knows the organisation as it was when the handle was made.
    let org = mdm.organisation_by_id(org.organisation().id).await?;
    let plan = Plan {
        destination,
        runbooks: runbooks.into(),
        members,
    };
    org.pull(&plan.serials()).await?;
    let told = plan.exported();
    Ok(Customer {
        acme: org,
        plan,
        told,
    })
}

/// DER bytes as the library takes them.
pub(crate) fn der(certificate: &openssl::x509::X509) -> Result<Der, Failure> {
    Ok(Der(certificate.to_der()?))
}

#[test]
fn the_example_runs_to_its_end() {
    crate::main().expect("a device of the wave enrols, is woken and is given a command");
}

#[test]
fn embedding_takes_forty_lines() {
    let own = include_str!("../embed.rs")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .filter(|line| !line.starts_with("use ") && *line != "mod support;")
        .count();
    assert!(own <= 40, "{own} lines: the library got worse");
}
