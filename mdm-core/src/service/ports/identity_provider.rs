//! The way to an organisation's OpenID Connect provider: its public documents, and codes redeemed there. Judges nothing that
//! comes back; the service does.

use async_trait::async_trait;

use crate::error::PortError;
use crate::secret::Secret;

/// A code on its way to the provider.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the service, read by the port"
)]
pub struct Redemption {
    /// The token endpoint.
    pub url: String,
    /// The body, `application/x-www-form-urlencoded`.
    pub form: Secret,
    /// The whole `Authorization` header, when the secret does not stand in the form.
    pub authorization: Option<Secret>,
}

/// Speaks with providers.
///
/// An implementation follows no redirection, takes only `https`, bounds time and size, and may keep documents for up to an hour.
#[async_trait]
pub trait IdentityProvider: Send + Sync + 'static {
    /// A public document of a provider. `fresh` asks for it anew, because a key is not in the one that is kept; an
    /// implementation bounds how often it does so.
    ///
    /// # Errors
    /// [`PortError::Retry`] when the provider does not answer, [`PortError::Refused`] when it answers with something else.
    async fn document(&self, url: &str, fresh: bool) -> Result<Vec<u8>, PortError>;

    /// Redeems a code; answers the body of a success. Sends nothing twice.
    ///
    /// # Errors
    /// As [`document`](Self::document); a code that was refused is [`PortError::Refused`].
    async fn redeem(&self, redemption: &Redemption) -> Result<Secret, PortError>;
}
