//! `GetToken`: tokens for services of Apple's that trust this server. The one that is offered proves to Managed Apple Accounts
//! that the device is ours: a JSON web token, signed with the key whose certificate the portal has for our server entry.
//!
//! <https://developer.apple.com/documentation/devicemanagement/get-token>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::json;

use super::decision::Decision;
use super::login::check_login;
use super::{Answer, NewCommand, Org, Speaker};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::secret::Secret;
use crate::wave::Server;
use crate::wire::checkin;

/// Access for Managed Apple Accounts.
const ACCOUNTS: &str = "com.apple.maid";

impl Org {
    pub(super) async fn get_token(
        &self,
        speaker: &Speaker,
        m: &checkin::GetToken,
    ) -> Result<Answer, Error> {
        let channel = &m.envelope.channel;
        let enrollment = self
            .enrolled_device(speaker, channel.device_key().as_str())
            .await?;
        check_login(self.organisation.settings.user_logins, &enrollment, channel)?;
        let refused = || {
            Error::bad_input(
                "GetToken: TokenServiceType",
                "no token of this service is offered",
            )
        };
        if m.service_type != ACCOUNTS {
            return Err(refused());
        }
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
        let device = self.device_of(&d, &enrollment).await?;
        let server = self.server_of(device.as_ref()).await?.ok_or_else(refused)?;
        let key = server
            .token_key
            .or_else(|| self.organisation.token_keys.last().map(|k| k.key))
            .ok_or_else(refused)?;
        let key = self.open_secret(key).await?;
        let id = NewCommand::random_uuid()?;
        let token = signed(&key, &server.uuid, &id, d.now)
            .map_err(|_| Error::Crypto("the token could not be signed"))?;
        d.device = device.map(super::decision::Tracked::read);
        d.audit(
            "token.given",
            json!({ "service": ACCOUNTS, "token": id, "enrolment": enrollment.id }),
        );
        d.track(enrollment);
        self.commit(d).await?;
        Ok(Answer::Plist(checkin::token_answer(&token)))
    }

    /// The server entry in whose list a device stands, or else the only one that there is.
    async fn server_of(&self, device: Option<&Device>) -> Result<Option<Server>, Error> {
        let listed = device.and_then(|d| d.record.as_ref()).map(|r| r.server);
        let only = match self.organisation.servers.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        match listed.or(only) {
            Some(id) => self.server_entry(id).await,
            None => Ok(None),
        }
    }
}

/// The token (RS256) of a key (PKCS#8 PEM).
fn signed(
    key: &Secret,
    issuer: &str,
    id: &str,
    now: Timestamp,
) -> Result<Secret, openssl::error::ErrorStack> {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "RS256", "typ": "JWT" }));
    let claims = part(json!({
        "iss": issuer, "iat": now.as_secs(), "jti": id, "service_type": ACCOUNTS,
    }));
    let text = format!("{head}.{claims}");
    let key = PKey::private_key_from_pem(key.expose())?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    let signature = signer.sign_oneshot_to_vec(text.as_bytes())?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Ok(Secret::from_text(format!("{text}.{signature}")))
}
