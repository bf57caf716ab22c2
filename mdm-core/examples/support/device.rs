//! One device of the customer, with an identity that the host issued itself: its authority stands in the organisation's
//! list, and its certificate is tied to an enrolment session. Devices that enrol over SCEP need none of this.

use std::time::Duration;

use mdm_core::enrollment::{EnrolSession, IssuedCertificate};
use mdm_core::error::Error;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{CertificateId, IdSource, OrganisationCode, SecretId, Serial, SessionId};
use mdm_core::migration::VisibleState;
use mdm_core::organisation::{Der, KeyedCertificate};
use mdm_core::service::{Answer, Mdm, Org, Peer};
use mdm_core::store::Batch;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use super::{Failure, Plan, Pool, TOPIC, der};

/// Its serial number.
pub(crate) const SERIAL: &str = "EMBED00001";
/// What it is.
pub(crate) const PRODUCT: &str = "iPhone17,2";
const UDID: &str = "00008140-000EMBED00000001";
const MAGIC: &str = "EMBED-MAGIC";

/// The device.
pub(crate) struct Device {
    /// Its serial number.
    pub(crate) serial: Serial,
    code: OrganisationCode,
    peer: Peer,
}

impl Device {
    /// Issues its identity and tells the store of it, in one batch.
    pub(crate) async fn with_identity(mdm: &Mdm, org: &Org, plan: &Plan) -> Result<Self, Failure> {
        let now = mdm.now();
        let ids = IdSource::new(1);
        let (authority, key) = authority()?;
        let certificate = issue(Some((&authority, &key)), &PKey::ec_gen("prime256v1")?)?;
        let hash = sha256_hex(&certificate.to_der()?);
        let serial = plan.members[0].serial.clone();
        let mut organisation = org.organisation().clone();
        let id = organisation.id;
        // Listed and never asked to issue: the first of the list is the library's own.
        organisation.identity_cas.push(KeyedCertificate {
            certificate: der(&authority)?,
            key: SecretId(0),
        });
        let until = now + Duration::from_secs(365 * 86_400);
        let session = SessionId(ids.next(now));
        let issued = CertificateId(ids.next(now));
        let mut enrol = EnrolSession::new(
            id,
            session,
            "embedded".to_owned(),
            sha256_hex(b"no challenge: nothing was asked over SCEP"),
            now,
            until,
        );
        enrol.device = Some(org.device_report(&serial).await?.device.id);
        enrol.serial = Some(serial.clone());
        enrol.awaits = Some(true);
        enrol.certificate = Some(issued);
        let row = IssuedCertificate::new(id, issued, hash, der(&certificate)?, &enrol, until);
        let mut batch = Batch::new();
        batch.put(organisation).put(enrol).put(row);
        mdm.store().commit(batch).await?;
        Ok(Self {
            serial,
            code: org.organisation().code.clone(),
            peer: Peer {
                certificate: Some(Der(certificate.to_der()?)),
                signature: None,
                bearer: None,
                address: "192.0.2.1".to_owned(),
            },
        })
    }

    /// Authenticates and sends its first TokenUpdate.
    pub(crate) async fn enrols(
        &self,
        check_in: &impl AsyncFn(&OrganisationCode, &Peer, &[u8]) -> Result<Answer, Error>,
    ) -> Result<(), Failure> {
        let authenticate = format!(
            "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>{TOPIC}</string>\
             <key>SerialNumber</key><string>{SERIAL}</string><key>ProductName</key><string>{PRODUCT}</string>\
             <key>OSVersion</key><string>26.1</string>"
        );
        let token_update = format!(
            "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>{TOPIC}</string>\
             <key>PushMagic</key><string>{MAGIC}</string><key>Token</key><data>AAECAwQFBgc=</data>\
             <key>AwaitingConfiguration</key><true/>"
        );
        for message in [authenticate, token_update] {
            let answer = check_in(&self.code, &self.peer, &plist(&message)).await?;
            assert_eq!(answer, Answer::Empty, "a check-in is answered with nothing");
        }
        Ok(())
    }

    /// Insists that it was woken.
    pub(crate) fn woken(&self, pool: &Pool) -> Result<&Self, Failure> {
        if pool.woke(MAGIC) {
            Ok(self)
        } else {
            Err("nobody woke the device".into())
        }
    }

    /// Says that it is idle, and tells what it is asked to do and how it stands.
    pub(crate) async fn tells(
        &self,
        org: &Org,
        command: &impl AsyncFn(&OrganisationCode, &Peer, &[u8]) -> Result<Answer, Error>,
    ) -> Result<(), Failure> {
        let idle = plist("<key>Status</key><string>Idle</string>");
        match command(&self.code, &self.peer, &idle).await? {
            Answer::Plist(bytes) => {
                let text = String::from_utf8(bytes)?;
                let (_, rest) = text
                    .split_once("<key>RequestType</key>")
                    .ok_or("a command without a request type")?;
                let (_, rest) = rest.split_once("<string>").ok_or("no string")?;
                let (name, _) = rest.split_once("</string>").ok_or("no end")?;
                let state = org.device_report(&self.serial).await?.state;
                assert_eq!(state, Some(VisibleState::Holding), "it waits for us");
                println!(
                    "{} waits in its set-up; first we ask for {name}",
                    self.serial
                );
                Ok(())
            }
            other => Err(format!("no command, but {other:?}").into()),
        }
    }
}

fn plist(body: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>UDID</key><string>{UDID}</string>{body}</dict></plist>"
    )
    .into_bytes()
}

/// A certificate authority of the host, or any other self-signed certificate.
pub(crate) fn authority() -> Result<(X509, PKey<Private>), Failure> {
    let key = PKey::ec_gen("prime256v1")?;
    Ok((issue(None, &key)?, key))
}

fn issue(
    by: Option<(&X509, &PKey<Private>)>,
    key: &PKey<Private>,
) -> Result<X509, openssl::error::ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text(
        "CN",
        if by.is_some() {
            "embedded"
        } else {
            "The host's own CA"
        },
    )?;
    let name = name.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(if by.is_some() { 2 } else { 1 })?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(by.map_or(&*name, |(ca, _)| ca.subject_name()))?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(365)?.as_ref())?;
    builder.set_pubkey(key)?;
    if by.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    } else {
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
    }
    builder.sign(by.map_or(key, |(_, ca)| ca), MessageDigest::sha256())?;
    Ok(builder.build())
}
