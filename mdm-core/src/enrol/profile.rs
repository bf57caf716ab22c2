//! The enrolment profile: trust, identity, management, in this order, signed as CMS.
//!
//! The profile of a renewal has the same identifier as the one that it replaces, and the same
//! topic, addresses and capabilities; whoever builds one passes them unchanged.
//!
//! <https://developer.apple.com/documentation/devicemanagement/mdm>

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::stack::Stack;
use openssl::x509::X509;
use uuid::Uuid;

use crate::secret::Secret;
use crate::wire::payloads::{
    CertificatePayload, ConfigurationProfile, MdmPayload, Payload, PayloadScope, ScepPayload,
    WifiPayload,
};

/// The content type of an enrolment profile in an answer.
pub const CONTENT_TYPE: &str = "application/x-apple-aspen-config";

/// What makes an enrolment profile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EnrolmentProfile {
    /// The stable `PayloadIdentifier`, one per organisation.
    pub identifier: String,
    /// The `PayloadUUID`, one per enrolment session.
    pub uuid: Uuid,
    /// The organisation as people know it.
    pub organisation: String,
    /// Certificates (DER) that the device must trust to speak with us.
    pub anchors: Vec<Vec<u8>>,
    /// Where certificates are issued.
    pub scep_url: String,
    /// The one-time challenge of this session.
    pub challenge: Secret,
    /// The code of this session: the common name of the certificate.
    pub session_code: String,
    /// The certificate (DER) of the authority that will issue.
    pub authority: Vec<u8>,
    /// The topic of the push certificate.
    pub topic: String,
    /// Where commands are fetched.
    pub server_url: String,
    /// Where check-ins go.
    pub check_in_url: String,
    /// A network that must not vanish with the original's profiles.
    pub wifi: Option<WifiPayload>,
}

impl EnrolmentProfile {
    /// A profile with everything that is required; `anchors` and `wifi` are empty.
    #[expect(
        clippy::too_many_arguments,
        reason = "every one is required and of its own kind"
    )]
    #[must_use]
    pub fn new(
        identifier: String,
        uuid: Uuid,
        organisation: String,
        scep_url: String,
        challenge: Secret,
        session_code: String,
        authority: Vec<u8>,
        topic: String,
        server_url: String,
        check_in_url: String,
    ) -> Self {
        Self {
            identifier,
            uuid,
            organisation,
            anchors: Vec::new(),
            scep_url,
            challenge,
            session_code,
            authority,
            topic,
            server_url,
            check_in_url,
            wifi: None,
        }
    }

    /// The profile. Capabilities are the same on each platform: a Mac needs users and bootstrap
    /// tokens from the first profile on, and an iPhone or iPad passes over what it does not use.
    #[must_use]
    pub fn build(&self) -> ConfigurationProfile {
        let part = |name: &str| format!("{}.{name}", self.identifier);
        let mut profile = ConfigurationProfile::new(
            &self.identifier,
            self.uuid,
            format!("{} Management", self.organisation),
        );
        profile.organization = Some(self.organisation.clone());
        profile.scope = Some(PayloadScope::System);
        for (n, anchor) in self.anchors.iter().enumerate() {
            let payload = CertificatePayload::root(anchor.clone());
            let payload = payload.payload(self.uuid, &part(&format!("trust.{n}")));
            profile.payloads.push(payload.named("Trust"));
        }
        if let Some(wifi) = &self.wifi {
            let payload = wifi.payload(self.uuid, &part("wifi"));
            profile.payloads.push(payload.named("Network"));
        }
        let mut scep = ScepPayload::new(&self.scep_url, self.challenge.clone(), &self.session_code);
        scep.ca_fingerprint = Some(sha256(&self.authority).to_vec());
        let identity = part("scep");
        let identity_uuid = Payload::uuid_of(self.uuid, &identity);
        profile
            .payloads
            .push(scep.payload(self.uuid, &identity).named("Identity"));
        let mdm = MdmPayload::new(
            identity_uuid,
            &self.topic,
            &self.server_url,
            &self.check_in_url,
        );
        profile
            .payloads
            .push(mdm.payload(self.uuid, &part("mdm")).named("Management"));
        profile
    }
}

/// A profile could not be signed: key or certificate cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile cannot be signed with this key and certificate")]
pub struct SignError;

/// Signs a profile (XML) with a private key (PKCS#8 DER) and its certificate (DER), the chain
/// included; gives CMS, DER. A private certificate authority is as good as any in an enrolment by
/// assignment.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    profile: &[u8],
    key: &Secret,
    certificate: &[u8],
    chain: &[Vec<u8>],
) -> Result<Vec<u8>, SignError> {
    let signed = || -> Result<Vec<u8>, openssl::error::ErrorStack> {
        let key = PKey::private_key_from_der(key.expose())?;
        let certificate = X509::from_der(certificate)?;
        let mut others = Stack::new()?;
        for der in chain {
            others.push(X509::from_der(der)?)?;
        }
        // BINARY, or line ends would be rewritten.
        let flags = CMSOptions::BINARY | CMSOptions::NOSMIMECAP;
        CmsContentInfo::sign(
            Some(&certificate),
            Some(&key),
            Some(&others),
            Some(profile),
            flags,
        )?
        .to_der()
    };
    signed().map_err(|_| SignError)
}

#[cfg(test)]
mod tests;
