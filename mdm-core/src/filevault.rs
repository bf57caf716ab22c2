//! FileVault: the escrow profile, the keys that open what comes back, and what an answer means.
//!
//! A Mac makes a new recovery key when our escrow payload arrives, encrypts it to the certificate
//! in it, and shows the envelope in `SecurityInfo`, some time later. When to ask is not decided
//! here. A private key that was ever used for escrow is kept for ever: envelopes are not
//! re-encrypted. Why an envelope does not open is not told apart.
//!
//! <https://developer.apple.com/documentation/devicemanagement/fderecoverykeyescrow>

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::ca::{CaError, name, start};
use crate::clock::Timestamp;
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::wire::payloads::{
    CertificatePayload, ConfigurationProfile, EscrowPayload, Payload, PayloadScope,
};
use crate::wire::report::CommandReport;

/// The largest envelope that is opened, in bytes. Real ones have less than 1,000.
pub(crate) const ENVELOPE_LIMIT: usize = 64 * 1024;

/// A certificate for recovery keys and its private key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EscrowKey {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS#8 DER.
    pub key: Secret,
}

impl EscrowKey {
    /// From its stored parts.
    #[must_use]
    pub fn new(certificate: Vec<u8>, key: Secret) -> Self {
        Self { certificate, key }
    }

    /// Whether the private key opens what is sealed to the certificate: tried, with a recovery key made up.
    #[must_use]
    pub fn opens_what_it_seals(&self) -> bool {
        const MADE_UP: &[u8] = b"AAAA-BBBB-CCCC-DDDD-EEEE-FFFF";
        let sealed = || -> Result<Vec<u8>, ErrorStack> {
            let (_, certificate) = parts(self)?;
            let mut to = Stack::new()?;
            to.push(certificate)?;
            let cipher = Cipher::aes_256_cbc();
            CmsContentInfo::encrypt(&to, MADE_UP, cipher, CMSOptions::BINARY)?.to_der()
        };
        let Ok(sealed) = sealed() else {
            return false;
        };
        matches!(
            open_envelope(&sealed, std::slice::from_ref(self)),
            Opened::Key { .. }
        )
    }

    /// Makes a key pair and its self-signed certificate, for an organisation's escrow or for the
    /// answer to one rotation.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self, CaError> {
        make(common_name, now).map_err(CaError::of("the escrow key cannot be made"))
    }
}

fn make(common_name: &str, now: Timestamp) -> Result<EscrowKey, ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    let subject = name(common_name)?;
    let mut random = [0; 8];
    openssl::rand::rand_bytes(&mut random)?;
    let serial = u64::from_be_bytes(random) >> 1 | 1;
    let from = now.as_secs() - 86_400;
    // Longer than any device: its end would stop escrow without a word.
    let until = now.as_secs() + 20 * 366 * 86_400;
    let mut builder = start(&subject, &subject, serial, from, until)?;
    builder.set_pubkey(&key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    let usage = KeyUsage::new().critical().key_encipherment().build()?;
    builder.append_extension(usage)?;
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(id)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(EscrowKey {
        certificate: builder.build().to_der()?,
        key: Secret::new(key.private_key_to_pkcs8()?),
    })
}

/// The escrow profile. The same identifier and UUID give the same profile, so that installing it
/// again replaces it and does not add a second one, which a Mac would refuse.
#[must_use]
pub fn escrow_profile(
    identifier: &str,
    uuid: Uuid,
    organisation: &str,
    certificate: &[u8],
) -> ConfigurationProfile {
    let certificate_id = format!("{identifier}.certificate");
    let mut profile =
        ConfigurationProfile::new(identifier, uuid, format!("{organisation} Recovery Key"));
    profile.organization = Some(organisation.to_owned());
    profile.scope = Some(PayloadScope::System);
    profile.payloads.push(
        CertificatePayload::pkcs1(certificate.to_vec())
            .payload(uuid, &certificate_id)
            .named("Recovery Key Encryption"),
    );
    let escrow = EscrowPayload::new(organisation, Payload::uuid_of(uuid, &certificate_id));
    profile.payloads.push(
        escrow
            .payload(uuid, &format!("{identifier}.escrow"))
            .named("Recovery Key Escrow"),
    );
    profile
}

/// What came out of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "opened, misformed, or not ours")]
pub enum Opened {
    /// A recovery key.
    Key {
        /// The key, trimmed.
        key: Secret,
        /// Which of our keys opened it.
        by: usize,
    },
    /// Something else. The envelope should be kept for inspection.
    BadForm {
        /// Which of our keys opened it.
        by: usize,
    },
    /// None of our keys opens it.
    Foreign,
}

/// Opens an envelope (CMS EnvelopedData) with whichever of our keys fits.
#[must_use]
pub fn open_envelope(envelope: &[u8], keys: &[EscrowKey]) -> Opened {
    if envelope.len() > ENVELOPE_LIMIT {
        return Opened::Foreign;
    }
    let Ok(cms) = CmsContentInfo::from_der(envelope) else {
        return Opened::Foreign;
    };
    let mut misformed = None;
    for (by, escrow) in keys.iter().enumerate() {
        let Ok((key, certificate)) = parts(escrow) else {
            continue;
        };
        let Ok(plain) = cms.decrypt(&key, &certificate) else {
            continue;
        };
        let plain = Zeroizing::new(plain);
        if let Some(key) = recovery_key(&plain) {
            return Opened::Key { key, by };
        }
        // A wrong key may yield noise: perhaps another one fits.
        misformed.get_or_insert(by);
    }
    misformed.map_or(Opened::Foreign, |by| Opened::BadForm { by })
}

fn parts(escrow: &EscrowKey) -> Result<(PKey<Private>, X509), ErrorStack> {
    Ok((
        PKey::private_key_from_der(escrow.key.expose())?,
        X509::from_der(&escrow.certificate)?,
    ))
}

/// The key in a plain text, if it has the form of one: six groups of four capital letters or
/// digits. White space and NUL around it are not part of it.
#[must_use]
pub fn recovery_key(plain: &[u8]) -> Option<Secret> {
    let blank = |b: &u8| b.is_ascii_whitespace() || *b == 0;
    let from = plain.iter().position(|b| !blank(b))?;
    let until = plain.iter().rposition(|b| !blank(b))?;
    let key = &plain[from..=until];
    let sound = key.len() == 29
        && key.iter().enumerate().all(|(at, byte)| match at % 5 {
            4 => *byte == b'-',
            _ => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        });
    sound.then(|| Secret::new(key))
}

/// Which recovery key of a Mac we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "new, old or none")]
pub enum KeyCustody {
    /// One that it made for us and that we could open.
    New,
    /// The one that the service that it left had: valid until it makes a new one.
    Old,
    /// None.
    None,
}

impl KeyCustody {
    /// By what is in the vault for a device.
    #[must_use]
    pub fn of(secrets: &[SealedSecret]) -> Self {
        let ours = |row: &&SealedSecret| {
            let kinds = [SecretKind::RecoveryKey, SecretKind::OriginalRecoveryKey];
            kinds.contains(&row.kind) && row.replaced.is_none()
        };
        // A device that came before, left and comes again has an older one of ours.
        match secrets.iter().filter(ours).max_by_key(|row| row.created) {
            Some(row) if row.kind == SecretKind::RecoveryKey => Self::New,
            Some(_) => Self::Old,
            None => Self::None,
        }
    }
}

/// Since when it is held, of the recovery key that a Mac made for us and that nothing has replaced; `None` for any other secret.
pub(crate) fn own_key(secret: &SealedSecret) -> Option<Timestamp> {
    let own = secret.kind == SecretKind::RecoveryKey && secret.replaced.is_none();
    own.then_some(secret.created)
}

/// What a `SecurityInfo` answer means for the escrow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each has a consequence of its own")]
pub enum KeyVerdict {
    /// The answer says nothing about FileVault: not a Mac, or not allowed to tell.
    NotTold,
    /// FileVault is off: there is nothing to escrow.
    Off,
    /// It is on, and no envelope came: payload missing, reset pending, or no bootstrap token.
    NotEscrowed,
    /// The envelope is for somebody else's certificate.
    ForeignCertificate,
    /// It opens, but there is no recovery key in it.
    BadForm,
    /// A key that we did not have.
    New {
        /// The key.
        key: Secret,
        /// Which of our keys opened it.
        by: usize,
    },
    /// The key that we have.
    Unchanged,
}

/// Judges a `SecurityInfo` answer, or that of a rotation, by our keys and the key on record.
#[must_use]
pub fn evaluate(
    report: &CommandReport,
    keys: &[EscrowKey],
    on_record: Option<&Secret>,
) -> KeyVerdict {
    let enabled = report
        .security_info()
        .and_then(|info| info.file_vault.enabled);
    match (enabled, report.recovery_key_envelope()) {
        (Some(false), _) => KeyVerdict::Off,
        (_, Some(envelope)) => match open_envelope(envelope.expose(), keys) {
            Opened::Foreign => KeyVerdict::ForeignCertificate,
            Opened::BadForm { .. } => KeyVerdict::BadForm,
            Opened::Key { key, .. } if on_record == Some(&key) => KeyVerdict::Unchanged,
            Opened::Key { key, by } => KeyVerdict::New { key, by },
        },
        (Some(true), None) => KeyVerdict::NotEscrowed,
        // A rotation without envelope is no failure: `SecurityInfo` will have it.
        (None, None) if report.is_rotation_answer() => KeyVerdict::NotEscrowed,
        (None, None) => KeyVerdict::NotTold,
    }
}

#[cfg(test)]
mod tests;
