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

use crate::device::Platform;
use crate::secret::Secret;
use crate::wire::payloads::{
    AcmeKeyType, AcmePayload, CertificatePayload, ConfigurationProfile, EnrollmentMode, MdmPayload,
    Payload, PayloadScope, ScepPayload, ServerCapability, WifiPayload,
};

/// The purpose that every identity must have.
const CLIENT_AUTHENTICATION: &str = "1.3.6.1.5.5.7.3.2";

/// The content type of an enrolment profile in an answer.
pub const CONTENT_TYPE: &str = "application/x-apple-aspen-config";

/// How a device gets its identity.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum IdentitySource {
    /// By SCEP.
    Scep {
        /// Where certificates are issued.
        url: String,
        /// Which authority of that server.
        name: Option<String>,
        /// The challenge: of this session alone when the server is ours.
        challenge: Option<Secret>,
        /// The certificate (DER) of the authority that will issue.
        authority: Option<Vec<u8>>,
    },
    /// By ACME.
    Acme {
        /// The directory.
        directory_url: String,
        /// The client identifier: of this session alone when the server is ours, else the code of the session.
        client_identifier: Option<Secret>,
        /// The key is made in hardware (P-384); else in software (RSA with 2048 bits).
        hardware_bound: bool,
        /// Apple vouches for device and key.
        attest: bool,
    },
}

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
    /// How the device gets its identity.
    pub identity: IdentitySource,
    /// The code of this session: the common name of the certificate.
    pub session_code: String,
    /// The topic of the push certificate.
    pub topic: String,
    /// Where commands are fetched.
    pub server_url: String,
    /// Where check-ins go.
    pub check_in_url: String,
    /// A network that must not vanish with the original's profiles.
    pub wifi: Option<WifiPayload>,
    /// What it is for: the service's capabilities are those that this platform knows; of `None` all.
    pub platform: Option<Platform>,
    /// The account that brings the device, and how it is treated. It can never be changed later.
    pub account: Option<(EnrollmentMode, String)>,
}

impl EnrolmentProfile {
    /// A profile with everything that is required; `anchors`, `wifi`, `platform` and `account` are empty.
    #[expect(
        clippy::too_many_arguments,
        reason = "every one is required and of its own kind"
    )]
    #[must_use]
    pub fn new(
        identifier: String,
        uuid: Uuid,
        organisation: String,
        identity: IdentitySource,
        session_code: String,
        topic: String,
        server_url: String,
        check_in_url: String,
    ) -> Self {
        Self {
            identifier,
            uuid,
            organisation,
            anchors: Vec::new(),
            identity,
            session_code,
            topic,
            server_url,
            check_in_url,
            wifi: None,
            platform: None,
            account: None,
        }
    }

    /// The profile, with the capabilities of its platform: a Mac needs users and bootstrap tokens
    /// from the first profile on, and an update must not add or take away users.
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
        let (identity_uuid, identity) = self.identity_payload(&part);
        profile.payloads.push(identity.named("Identity"));
        let mut mdm = MdmPayload::new(
            identity_uuid,
            &self.topic,
            &self.server_url,
            &self.check_in_url,
        )
        .capabilities(capabilities(self.platform));
        if let Some((mode, account)) = &self.account {
            mdm = mdm
                .enrollment_mode(mode.clone())
                .assigned_managed_apple_id(account);
        }
        profile
            .payloads
            .push(mdm.payload(self.uuid, &part("mdm")).named("Management"));
        profile
    }

    /// The payload that brings the identity, and its UUID.
    fn identity_payload(&self, part: &impl Fn(&str) -> String) -> (Uuid, Payload) {
        match &self.identity {
            IdentitySource::Scep {
                url,
                name,
                challenge,
                authority,
            } => {
                let mut scep = match challenge {
                    Some(word) => ScepPayload::new(url, word.clone(), &self.session_code),
                    None => ScepPayload::without_challenge(url, &self.session_code),
                };
                scep.name.clone_from(name);
                scep.ca_fingerprint = authority.as_ref().map(|der| sha256(der).to_vec());
                let identifier = part("scep");
                let uuid = Payload::uuid_of(self.uuid, &identifier);
                (uuid, scep.payload(self.uuid, &identifier))
            }
            IdentitySource::Acme {
                directory_url,
                client_identifier,
                hardware_bound,
                attest,
            } => {
                let (key_type, bits) = if *hardware_bound {
                    (AcmeKeyType::Ec, 384)
                } else {
                    (AcmeKeyType::Rsa, 2048)
                };
                let name = vec![vec!["CN".to_owned(), self.session_code.clone()]];
                let identifier = client_identifier.clone();
                let mut acme = AcmePayload::new(
                    directory_url,
                    identifier.unwrap_or_else(|| Secret::from_text(self.session_code.clone())),
                    key_type,
                    bits,
                    *hardware_bound,
                    [name],
                );
                acme.usage_flags = Some(if *hardware_bound { 1 } else { 5 });
                acme.attest = Some(*attest && *hardware_bound);
                acme.extended_key_usage = Some(vec![CLIENT_AUTHENTICATION.to_owned()]);
                let identifier = part("acme");
                let uuid = Payload::uuid_of(self.uuid, &identifier);
                (uuid, acme.payload(self.uuid, &identifier))
            }
        }
    }
}

/// What the service understands, as far as devices of a platform know it: users there are on Macs and on Shared iPads,
/// bootstrap tokens on Macs, tokens for services everywhere.
fn capabilities(platform: Option<Platform>) -> Vec<ServerCapability> {
    let (users, tokens) = (
        ServerCapability::PerUserConnections,
        ServerCapability::BootstrapToken,
    );
    let mut all = match platform {
        Some(Platform::Ios) => Vec::new(),
        Some(Platform::Ipados) => vec![users],
        Some(Platform::Macos) | None => vec![users, tokens],
    };
    all.push(ServerCapability::Token);
    all
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
