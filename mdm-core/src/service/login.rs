//! Network users of a Mac who log in: managed without a password, with one that is proved by a digest, or not at all. A proved
//! user gets a token that every later message of the channel must carry. Passwords are kept by nobody; of each user there is
//! the key of the digest, sealed.
//!
//! <https://developer.apple.com/documentation/devicemanagement/enabling-network-and-mobile-user-logins>

use std::collections::BTreeMap;
use std::time::Duration;

use openssl::hash::{MessageDigest, hash};
use serde_json::json;

use super::decision::Decision;
use super::enrol::random_text;
use super::{Answer, Org, Speaker};
use crate::enrollment::{Enrollment, Login};
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::SecretId;
use crate::organisation::{NetworkUser, UserLogins};
use crate::secret::{Secret, SecretKind, same};
use crate::store::Batch;
use crate::wire::checkin::{self, Channel, ChannelKind};

/// How long a challenge may be answered.
const CHALLENGE: Duration = Duration::from_mins(5);
/// Logins that a device is remembered for.
const MOST: usize = 1_000;
/// Users of an organisation.
const MOST_USERS: usize = 500;

impl Org {
    /// Makes a network user, or gives one another password. Of the password only the key of the digest is kept, sealed.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that no login can have, or an empty password; [`Error::Precondition`] when there are
    /// 500 users; the vault's, the store's.
    pub async fn set_network_user(&self, name: &str, password: &Secret) -> Result<(), Error> {
        let fits = !name.is_empty()
            && name.len() <= 255
            && !name.contains(|c: char| crate::line::is_obeyed(c) || c == ':' || c == '"');
        if !fits {
            return Err(Error::bad_input(
                "name",
                "must be a short name: 1 to 255 bytes without control characters, : and \"",
            ));
        }
        if password.is_empty() {
            return Err(Error::bad_input("password", "must not be empty"));
        }
        let key = digest_key(name, &self.realm(), password)?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut organisation = self.fresh().await?;
            let users = &mut organisation.network_users;
            users.retain(|user| user.name != name);
            if users.len() >= MOST_USERS {
                return Err(Error::Precondition(format!(
                    "there are {MOST_USERS} network users already"
                )));
            }
            let id = SecretId(self.ids().next(now));
            users.push(NetworkUser {
                name: name.to_owned(),
                key: id,
            });
            let mut batch = Batch::new();
            let sealed = self
                .seal(id, SecretKind::DirectoryKey, None, &key, now)
                .await?;
            batch.put(sealed).put(organisation);
            self.audit_into(&mut batch, "network-user.set", json!({ "name": name }));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Takes a network user away; who is logged in stays so until the next login.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn remove_network_user(&self, name: &str) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            let before = organisation.network_users.len();
            organisation.network_users.retain(|user| user.name != name);
            if organisation.network_users.len() == before {
                return Err(Error::NotFound("network user"));
            }
            let mut batch = Batch::new();
            batch.put(organisation);
            self.audit_into(&mut batch, "network-user.removed", json!({ "name": name }));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The realm of digests: part of every user's key, so it never changes.
    fn realm(&self) -> String {
        format!("mdm-{}", self.organisation.code)
    }

    pub(super) async fn user_authenticate(
        &self,
        speaker: &Speaker,
        m: &checkin::UserAuthenticate,
    ) -> Result<Answer, Error> {
        let channel = &m.envelope.channel;
        let Some(user) = channel.user.clone() else {
            return Err(Error::bad_input("UserAuthenticate: UserID", "is missing"));
        };
        let device = self
            .enrolled_device(speaker, channel.device_key().as_str())
            .await?;
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
        let id = device.id;
        let logins = device.logins.clone();
        d.track(device);
        let answer;
        let mut login = None;
        match (self.organisation.settings.user_logins, &m.digest_response) {
            (UserLogins::Unmanaged, _) => return Ok(Answer::Gone),
            (UserLogins::Open, _) => {
                answer = Answer::Plist(checkin::digest_challenge(""));
                login = Some(Login {
                    nonce: None,
                    at: d.now,
                    token: None,
                });
            }
            (UserLogins::Digest, None) => {
                let nonce = random_text(18)?;
                let realm = self.realm();
                let challenge = format!("Digest nonce=\"{nonce}\",realm=\"{realm}\"");
                answer = Answer::Plist(checkin::digest_challenge(&challenge));
                login = Some(Login {
                    nonce: Some(nonce),
                    at: d.now,
                    token: None,
                });
            }
            (UserLogins::Digest, Some(response)) => {
                let asked = logins.get(&user);
                match self.proved(asked, response, d.now).await? {
                    Some(name) => {
                        let token = Secret::from_text(random_text(24)?);
                        answer = Answer::Plist(checkin::auth_token(&token));
                        login = Some(Login {
                            nonce: None,
                            at: d.now,
                            token: Some(sha256_hex(token.expose())),
                        });
                        d.audit("user.logged-in", json!({ "user": user, "name": name }));
                    }
                    // An empty token is the protocol's word for a wrong password. The nonce is used up.
                    None => {
                        answer = Answer::Plist(checkin::auth_token(&Secret::new(Vec::new())));
                        d.audit("user.refused", json!({ "user": user }));
                    }
                }
            }
        }
        if let Some(row) = d.enrollment_mut(id) {
            remember(&mut row.logins, user, login);
        }
        self.commit(d).await?;
        Ok(answer)
    }

    /// The short name of the user whom this response proves.
    async fn proved(
        &self,
        asked: Option<&Login>,
        response: &Secret,
        now: crate::clock::Timestamp,
    ) -> Result<Option<String>, Error> {
        let fresh = asked.filter(|login| now.since(login.at) < CHALLENGE);
        let Some(nonce) = fresh.and_then(|login| login.nonce.as_deref()) else {
            return Ok(None);
        };
        let Some(fields) = response.expose_text().and_then(fields_of) else {
            return Ok(None);
        };
        let field = |name: &str| fields.get(name).map(String::as_str);
        let ours = field("nonce") == Some(nonce) && field("realm") == Some(self.realm().as_str());
        let users = &self.organisation.network_users;
        let named = field("username").and_then(|name| users.iter().find(|u| u.name == name));
        let Some(user) = named.filter(|_| ours) else {
            return Ok(None);
        };
        let key = self.open_secret(user.key).await?;
        let fits = answers(&key, nonce, &fields)?;
        Ok(fits.then(|| user.name.clone()))
    }
}

/// That a message of a user's channel carries the token of its login. Where logins are proved, only one user of a Mac has a
/// channel without: the local one who enrolled it, who never sends UserAuthenticate. Users of a Shared iPad and of a user
/// enrolment do not log in at us.
pub(super) fn check_login(
    logins: UserLogins,
    device: &Enrollment,
    channel: &Channel,
) -> Result<(), Error> {
    let Some(user) = channel.user.as_ref().filter(|_| logs_in(channel)) else {
        return Ok(());
    };
    let proves = logins == UserLogins::Digest;
    let Some(login) = device.logins.get(user) else {
        let local = device.local_user.as_ref().is_none_or(|local| local == user);
        return if local || !proves {
            Ok(())
        } else {
            Err(Error::bad_input(
                "UserID",
                "is a user's who has not logged in here: UserAuthenticate comes first",
            ))
        };
    };
    let shown = channel.auth_token.as_ref().map(|t| sha256_hex(t.expose()));
    match (login, shown) {
        (
            Login {
                token: Some(token), ..
            },
            Some(shown),
        ) if same(token, &shown) => Ok(()),
        (
            Login {
                token: None,
                nonce: None,
                ..
            },
            _,
        ) if !proves => Ok(()),
        _ => Err(Error::bad_input(
            "AuthToken",
            "must be the token of this user's login",
        )),
    }
}

/// Notes whose channel opens without a login: the first one to do so is the local user's.
pub(super) fn note_local_user(device: &mut Enrollment, channel: &Channel) {
    let user = channel.user.as_ref().filter(|_| logs_in(channel));
    if let Some(user) = user
        && device.local_user.is_none()
        && !device.logins.contains_key(user)
    {
        device.local_user = Some(user.clone());
    }
}

/// Whether users of this kind of channel may have to log in.
fn logs_in(channel: &Channel) -> bool {
    channel.kind == ChannelKind::User
}

/// Keeps the newest login of a user; of too many the oldest is forgotten, and has to be proved again.
fn remember(logins: &mut BTreeMap<String, Login>, user: String, login: Option<Login>) {
    logins.remove(&user);
    let Some(login) = login else { return };
    if logins.len() >= MOST {
        let oldest = logins.iter().min_by_key(|(_, l)| l.at);
        if let Some(oldest) = oldest.map(|(user, _)| user.clone()) {
            logins.remove(&oldest);
        }
    }
    logins.insert(user, login);
}

/// The key of a digest, as hexadecimal text.
///
/// <https://www.rfc-editor.org/rfc/rfc2617#section-3.2.2.2>
fn digest_key(name: &str, realm: &str, password: &Secret) -> Result<Secret, Error> {
    let mut text = zeroize::Zeroizing::new(format!("{name}:{realm}:").into_bytes());
    text.reserve_exact(password.expose().len());
    text.extend_from_slice(password.expose());
    Ok(Secret::from_text(md5(&text)?))
}

/// Whether a response is the one of this key. The documents do not say for which method a device computes it.
fn answers(key: &Secret, nonce: &str, fields: &BTreeMap<String, String>) -> Result<bool, Error> {
    let empty = String::new();
    let field = |name: &str| fields.get(name).unwrap_or(&empty);
    let key = key.expose_text().unwrap_or_default();
    for method in ["PUT", "POST", "GET"] {
        let what = md5(format!("{method}:{}", field("uri")).as_bytes())?;
        let middle = match field("qop").as_str() {
            "auth" => format!("{nonce}:{}:{}:auth", field("nc"), field("cnonce")),
            _ => nonce.to_owned(),
        };
        let whole = zeroize::Zeroizing::new(format!("{key}:{middle}:{what}"));
        let expected = md5(whole.as_bytes())?;
        let shown = field("response").to_ascii_lowercase();
        if same(expected, shown) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn md5(bytes: &[u8]) -> Result<String, Error> {
    let digest = hash(MessageDigest::md5(), bytes)
        .map_err(|_| Error::Crypto("digests are not available in this OpenSSL"))?;
    Ok(digest.iter().map(|b| format!("{b:02x}")).collect())
}

/// `Digest name="value", …` as names and values. `None` when it is spelt otherwise.
fn fields_of(text: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = text.trim().strip_prefix("Digest")?.trim_start();
    let mut fields = BTreeMap::new();
    while !rest.is_empty() && fields.len() < 16 {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.trim_start())
            }
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_proved() {
        // RFC 2617, section 3.5.
        let password = Secret::from_text("Circle Of Life".to_owned());
        let key = digest_key("Mufasa", "testrealm@host.com", &password).unwrap();
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = format!(
            "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"{nonce}\", uri=\"/dir/index.html\", \
             qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc\""
        );
        let fields = fields_of(&response).unwrap();
        assert!(answers(&key, nonce, &fields).unwrap());
        for (name, value) in [("cnonce", "0a4f113c"), ("uri", "/"), ("response", "66")] {
            let mut other = fields.clone();
            other.insert(name.to_owned(), value.to_owned());
            assert!(!answers(&key, nonce, &other).unwrap(), "{name}");
        }
        assert!(!answers(&key, "another", &fields).unwrap());
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for text in ["", "Basic x", "Digest x", "Digest a=\"b"] {
            assert!(fields_of(text).is_none_or(|f| f.is_empty()), "{text}");
        }
    }
}
