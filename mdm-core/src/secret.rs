//! Values that must never be seen by accident: [`Secret`] and the list of their kinds.
//!
//! A [`Secret`] cannot be printed, compared byte by byte in variable time, or serialised, and is
//! overwritten with zeros when it is dropped. It refuses to hand out its content except through
//! [`Secret::expose`], so that a search for that word finds every place that reads one.

use std::fmt;

use zeroize::Zeroizing;

/// A value that is zeroed when dropped and shows nothing of itself in `Debug`.
///
/// There is deliberately no `Display`, `Serialize` or `Deref`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over. The caller's own copy, if it kept one, is not zeroed by this.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Takes text over.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self::new(text.into().into_bytes())
    }

    /// The content. Whoever calls this is answerable for where it goes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The content as text, if it is UTF-8.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares the contents without revealing by its duration where they differ.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        same(self.0.as_slice(), other)
    }
}

/// Compares what is secret, or proves that somebody knows a secret, without revealing by its duration where the two differ. That
/// their lengths differ it reveals.
#[must_use]
pub fn same(one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) -> bool {
    let (one, other) = (one.as_ref(), other.as_ref());
    one.len() == other.len() && openssl::memcmp::eq(one, other)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

/// What a secret is. The name is part of what a sealed value is bound to, so it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SecretKind {
    /// The personal recovery key of an encrypted Mac.
    RecoveryKey,
    /// A recovery key still in the envelope in which the device sent it.
    RecoveryKeyEnvelope,
    /// The private key that opens escrowed recovery keys.
    EscrowPrivateKey,
    /// The private key for the answer to one recovery-key rotation.
    RotationPrivateKey,
    /// The bootstrap token of a device.
    BootstrapToken,
    /// The token that clears the passcode of an iPhone or iPad.
    UnlockToken,
    /// The bypass code that the device made for its owner's Activation Lock.
    DeviceBypassCode,
    /// The bypass code that we made for the organisation's Activation Lock.
    ServerBypassCode,
    /// The password before recoveryOS.
    RecoveryLockPassword,
    /// The firmware password of an Intel Mac.
    FirmwarePassword,
    /// The private key of the organisation's certificate authority.
    CaPrivateKey,
    /// The private key of the push certificate.
    PushPrivateKey,
    /// The private key whose certificate encrypts the server token.
    ServerTokenPrivateKey,
    /// The server token of the assignment service.
    ServerToken,
    /// A session of the assignment service.
    ServerTokenSession,
    /// The private key of the organisation API's account.
    ApiPrivateKey,
    /// An access token or assertion of the organisation API.
    ApiToken,
    /// The content token of Apps and Books.
    ContentToken,
    /// The one-time challenge of a certificate request.
    ScepChallenge,
    /// The one-time identifier of a certificate order.
    ClientIdentifier,
    /// A nonce of our ACME server. No secret, but sealed: so it says itself that it is ours.
    AcmeNonce,
    /// The token of a network user's session.
    AuthToken,
    /// The digest by which a network user proves the password.
    DigestResponse,
    /// The key of a network user's digest: it proves the password as well as the password does.
    DirectoryKey,
    /// An unused redemption code of an app.
    RedemptionCode,
    /// The managed configuration of an application, which often is a password.
    AppConfiguration,
    /// A password inside a configuration profile.
    ProfilePassword,
    /// The private key that signs profiles.
    ProfileSigningKey,
    /// Signs the chain over the record.
    AuditSigningKey,
    /// A configuration profile of a runbook: it may hold passwords, challenges and keys.
    ProfileContent,
    /// A command as it goes to a device, of a kind that may hold a secret.
    CommandBody,
    /// The private key of the listeners' certificate.
    ServerCertificateKey,
    /// The private key of the account at the authority that issues it.
    AcmeAccountKey,
    /// A file that a declaration refers to: credentials, identities, profiles, settings of apps.
    DeclarationFile,
    /// What we prove ourselves with to the provider where people sign in.
    ClientSecret,
    /// What proves that the sign-in which comes back is the one that we began.
    CodeVerifier,
    /// The recovery key of a Mac as the service that it leaves had it.
    OriginalRecoveryKey,
    /// The bypass code that that service made for the organisation's Activation Lock.
    OriginalBypassCode,
    /// The bypass code that the device gave that service.
    OriginalDeviceBypassCode,
    /// The password before recoveryOS that that service set.
    OriginalRecoveryLockPassword,
    /// The firmware password that that service set.
    OriginalFirmwarePassword,
    /// What else that service called a secret of the device: JSON.
    OriginalOther,
    /// The private key of a job to which a hand-off is sealed.
    HandOffPrivateKey,
    /// The private key that signs what we hand over ourselves.
    HandOffSigningKey,
    /// What signs messages to a receiver of webhooks.
    HookSecret,
    /// The answer to a request that may come twice: it may hold a new token.
    RepeatedAnswer,
    /// The token of the door at another installation to which we hand over.
    HandOverToken,
}

impl SecretKind {
    /// Every kind, for settings and tests that must leave none out.
    pub const ALL: [Self; 47] = [
        Self::RecoveryKey,
        Self::RecoveryKeyEnvelope,
        Self::EscrowPrivateKey,
        Self::RotationPrivateKey,
        Self::BootstrapToken,
        Self::UnlockToken,
        Self::DeviceBypassCode,
        Self::ServerBypassCode,
        Self::RecoveryLockPassword,
        Self::FirmwarePassword,
        Self::CaPrivateKey,
        Self::PushPrivateKey,
        Self::ServerTokenPrivateKey,
        Self::ServerToken,
        Self::ServerTokenSession,
        Self::ApiPrivateKey,
        Self::ApiToken,
        Self::ContentToken,
        Self::ScepChallenge,
        Self::ClientIdentifier,
        Self::AcmeNonce,
        Self::AuthToken,
        Self::DigestResponse,
        Self::DirectoryKey,
        Self::RedemptionCode,
        Self::AppConfiguration,
        Self::ProfilePassword,
        Self::ProfileSigningKey,
        Self::AuditSigningKey,
        Self::ProfileContent,
        Self::CommandBody,
        Self::ServerCertificateKey,
        Self::AcmeAccountKey,
        Self::DeclarationFile,
        Self::ClientSecret,
        Self::CodeVerifier,
        Self::OriginalRecoveryKey,
        Self::OriginalBypassCode,
        Self::OriginalDeviceBypassCode,
        Self::OriginalRecoveryLockPassword,
        Self::OriginalFirmwarePassword,
        Self::OriginalOther,
        Self::HandOffPrivateKey,
        Self::HandOffSigningKey,
        Self::HookSecret,
        Self::RepeatedAnswer,
        Self::HandOverToken,
    ];

    /// The stable name, as stored and as bound into sealed values.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecoveryKey => "recovery_key",
            Self::RecoveryKeyEnvelope => "recovery_key_envelope",
            Self::EscrowPrivateKey => "escrow_private_key",
            Self::RotationPrivateKey => "rotation_private_key",
            Self::BootstrapToken => "bootstrap_token",
            Self::UnlockToken => "unlock_token",
            Self::DeviceBypassCode => "device_bypass_code",
            Self::ServerBypassCode => "server_bypass_code",
            Self::RecoveryLockPassword => "recovery_lock_password",
            Self::FirmwarePassword => "firmware_password",
            Self::CaPrivateKey => "ca_private_key",
            Self::PushPrivateKey => "push_private_key",
            Self::ServerTokenPrivateKey => "server_token_private_key",
            Self::ServerToken => "server_token",
            Self::ServerTokenSession => "server_token_session",
            Self::ApiPrivateKey => "api_private_key",
            Self::ApiToken => "api_token",
            Self::ContentToken => "content_token",
            Self::ScepChallenge => "scep_challenge",
            Self::ClientIdentifier => "client_identifier",
            Self::AcmeNonce => "acme_nonce",
            Self::AuthToken => "auth_token",
            Self::DigestResponse => "digest_response",
            Self::DirectoryKey => "directory_key",
            Self::RedemptionCode => "redemption_code",
            Self::AppConfiguration => "app_configuration",
            Self::ProfilePassword => "profile_password",
            Self::ProfileSigningKey => "profile_signing_key",
            Self::AuditSigningKey => "audit_signing_key",
            Self::ProfileContent => "profile_content",
            Self::CommandBody => "command_body",
            Self::ServerCertificateKey => "server_certificate_key",
            Self::AcmeAccountKey => "acme_account_key",
            Self::DeclarationFile => "declaration_file",
            Self::ClientSecret => "client_secret",
            Self::CodeVerifier => "code_verifier",
            Self::OriginalRecoveryKey => "original_recovery_key",
            Self::OriginalBypassCode => "original_bypass_code",
            Self::OriginalDeviceBypassCode => "original_device_bypass_code",
            Self::OriginalRecoveryLockPassword => "original_recovery_lock_password",
            Self::OriginalFirmwarePassword => "original_firmware_password",
            Self::OriginalOther => "original_other",
            Self::HandOffPrivateKey => "hand_off_private_key",
            Self::HandOffSigningKey => "hand_off_signing_key",
            Self::HookSecret => "hook_secret",
            Self::RepeatedAnswer => "repeated_answer",
            Self::HandOverToken => "hand_over_token",
        }
    }

    /// The kind of a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?}", Secret::from_text("ABCD-EFGH"));
        assert_eq!(shown, "Secret(..)");
    }

    #[test]
    fn equality_looks_at_the_content() {
        assert_eq!(Secret::new(*b"one"), Secret::new(*b"one"));
        assert_ne!(Secret::new(*b"one"), Secret::new(*b"two"));
        assert_ne!(Secret::new(*b"one"), Secret::new(*b"one "));
        assert_eq!(Secret::new([]), Secret::new([]));
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for kind in SecretKind::ALL {
            assert_eq!(SecretKind::from_name(kind.as_str()), Some(kind));
        }
        let mut names: Vec<_> = SecretKind::ALL.iter().map(|k| k.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SecretKind::ALL.len());
        assert_eq!(SecretKind::from_name("something"), None);
    }
}
