//! Files that declarations refer to: kept sealed, and served to a device that proves its identity and has, or had just now, the
//! declaration. A file has an address that cannot be guessed; knowing it is not enough.

use serde_json::{Map, Value, json};

use super::NewDeclaration;
use crate::clock::Timestamp;
use crate::ddm::{AssetFile, DeclarationKind, hex};
use crate::enrol::profile::sign;
use crate::error::Error;
use crate::ids::{ContentId, SecretId};
use crate::secret::{Secret, SecretKind};
use crate::service::{Answer, Org, Peer};
use crate::store::{Batch, StoreError};
use crate::wire::payloads::profile_identifier;

/// The largest file, in bytes.
const LARGEST: usize = 1024 * 1024;
/// The declaration whose file is a configuration profile.
const LEGACY: &str = "com.apple.configuration.legacy";
/// The media type of a configuration profile.
const PROFILE: &str = "application/x-apple-aspen-config";

/// A file as it is to be kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewFile {
    /// Its bytes; of a legacy configuration a profile, which is signed when it has no signature.
    pub content: Secret,
    /// Its media type. Of a profile always that of profiles.
    pub content_type: String,
}

impl NewFile {
    /// A file of this media type.
    #[must_use]
    pub fn new(content: Secret, content_type: &str) -> Self {
        Self {
            content,
            content_type: content_type.to_owned(),
        }
    }
}

impl Org {
    /// The payload with what it says of its file, and the file. The same file as the declaration has already keeps its
    /// address, so that nothing changes for devices.
    pub(super) async fn file_into(
        &self,
        batch: &mut Batch,
        new: &NewDeclaration,
        id: ContentId,
        held: Option<AssetFile>,
        now: Timestamp,
    ) -> Result<(Map<String, Value>, Option<AssetFile>), Error> {
        let mut payload = new.payload.clone();
        let Some(file) = &new.file else {
            return Ok((payload, None));
        };
        let is_legacy = new.declaration_type == LEGACY;
        let kind = DeclarationKind::of_type(&new.declaration_type);
        if !is_legacy && kind != Some(DeclarationKind::Asset) {
            return Err(Error::bad_input(
                "file",
                "is for assets and for com.apple.configuration.legacy",
            ));
        }
        if file.content.is_empty() || file.content.len() > LARGEST {
            return Err(Error::bad_input("file", "must be 1 byte to 1 MiB"));
        }
        let (bytes, content_type) = if is_legacy {
            profile_identifier(file.content.expose())
                .map_err(|error| Error::bad_input("file", error.to_string()))?;
            // By what came in: a signature is another one each time.
            (file.content.clone(), PROFILE.to_owned())
        } else {
            check_media_type(&file.content_type)?;
            (file.content.clone(), file.content_type.clone())
        };
        let sha256 = hex(&openssl::sha::sha256(bytes.expose()));
        let kept = held.filter(|held| held.source == sha256 && held.content_type == content_type);
        let file = match kept {
            Some(kept) => kept,
            None => {
                let (_, signed) = if is_legacy {
                    profile_identifier(bytes.expose()).unwrap_or_default()
                } else {
                    (String::new(), true)
                };
                let bytes = if signed {
                    bytes
                } else {
                    self.signed(&bytes).await?
                };
                let secret = SecretId(self.ids().next(now));
                let kind = SecretKind::DeclarationFile;
                batch.put(self.seal(secret, kind, None, &bytes, now).await?);
                let mut random = [0_u8; 16];
                openssl::rand::rand_bytes(&mut random)
                    .map_err(|_| Error::Crypto("no randomness"))?;
                AssetFile {
                    secret,
                    content_type,
                    size: bytes.len() as u64,
                    sha256: hex(&openssl::sha::sha256(bytes.expose())),
                    source: sha256,
                    name: format!("{id}-{}", hex(&random)),
                }
            }
        };
        let address = format!(
            "{}/mdm/{}/files/{}",
            self.settings().device_url,
            self.organisation.code,
            file.name
        );
        if is_legacy {
            payload.insert("ProfileURL".to_owned(), json!(address));
        } else {
            payload.insert(
                "Reference".to_owned(),
                json!({
                    "DataURL": address, "ContentType": file.content_type,
                    "Size": file.size, "Hash-SHA-256": file.sha256,
                }),
            );
            payload.insert("Authentication".to_owned(), json!({ "Type": "MDM" }));
        }
        Ok((payload, Some(file)))
    }

    async fn signed(&self, profile: &Secret) -> Result<Secret, Error> {
        let signer = self.organisation.profile_signer.as_ref();
        let signer = signer.ok_or(Error::NotFound("profile signer"))?;
        let key = self.open_secret_cached(signer.key).await?;
        let signed = sign(profile.expose(), &key, &signer.certificate.0, &[])
            .map_err(|_| Error::Crypto("the profile could not be signed"))?;
        Ok(Secret::new(signed))
    }

    /// A file of a declaration, for a device that has it. The device shows its identity in the connection.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::BadInput`] for whoever is no enrolled device of this organisation, [`Error::Revoked`],
    /// [`Error::NotFound`] for a file that this device has no declaration of, the vault's, the store's.
    pub async fn declaration_file(&self, peer: &Peer, name: &str) -> Result<Answer, Error> {
        let mut proved = None;
        let result = self.declaration_file_for(peer, name, &mut proved).await;
        self.note_refusal_of("files", peer, proved.as_deref(), result)
            .await
    }

    async fn declaration_file_for(
        &self,
        peer: &Peer,
        name: &str,
        proved: &mut Option<String>,
    ) -> Result<Answer, Error> {
        const NOBODY: Error = Error::Refused("this certificate speaks for no enrolled device");
        let none = || Error::NotFound("file of a declaration");
        let speaker = self.identify(peer, b"", proved)?;
        let (store, org) = (self.store(), self.id());
        let issued = store.certificate_by_hash(org, &speaker.sha256).await?;
        let issued = issued.ok_or(NOBODY)?;
        if issued.revoked.is_some() {
            return Err(Error::Revoked);
        }
        let session = store.session(org, issued.session).await?;
        let session = session.ok_or(NOBODY)?;
        let channels = match (session.device, &session.udid) {
            (Some(device), _) => {
                let device = store.device(org, device).await?;
                let enrolment = device.and_then(|device| device.enrollment).ok_or(NOBODY)?;
                store
                    .enrollment(org, enrolment)
                    .await?
                    .into_iter()
                    .collect()
            }
            // A device that its user owns tells nobody its serial number: it is known by its enrolment alone.
            (None, Some(key)) => store.enrollments_by_key(org, key).await?,
            (None, None) => Vec::new(),
        };
        let mut own = channels.into_iter();
        let channel = own.find(|c| c.parent.is_none() && c.is_live() && c.knows(&speaker.sha256));
        let channel = channel.ok_or(NOBODY)?;
        if !self.account_holds(&channel).await? {
            return Err(Error::Refused(
                "whoever brought this device must sign in again",
            ));
        }

        // The content that it was put with may be gone, where a later one has kept it.
        let mut content = store.declaration_content_by_file(org, name).await?;
        let wanted = content.as_mut().and_then(|content| content.file.take());
        let file = wanted.filter(|file| file.name == name).ok_or_else(none)?;
        let identifier = content.map(|content| content.identifier).ok_or_else(none)?;
        let mut channels = vec![channel.id];
        let users = store.user_channels(org, channel.id).await?;
        channels.extend(users.iter().filter(|u| u.is_live()).map(|u| u.id));
        for told in store.declared_channels_of(org, &channels).await? {
            for list in [told.manifest, told.earlier].into_iter().flatten() {
                let list = store.declaration_manifest(org, list).await?;
                let has = list.is_some_and(|list| {
                    let mut items = list.items.iter();
                    items.any(|item| item.identifier == identifier)
                });
                if has {
                    let row = store.secret(org, file.secret).await?;
                    let row = row.ok_or_else(|| StoreError::Corrupt {
                        table: "secrets",
                        column: "id",
                        key: file.secret.to_string(),
                    })?;
                    let bytes = self.open_row(&row).await?;
                    return Ok(Answer::File {
                        content_type: file.content_type,
                        body: bytes.expose().to_vec(),
                    });
                }
            }
        }
        Err(none())
    }
}

/// What can stand in a header, and says what a device compares.
fn check_media_type(text: &str) -> Result<(), Error> {
    let token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let fits = text.len() <= 127
        && text
            .split_once('/')
            .is_some_and(|(kind, sub)| token(kind) && token(sub));
    if fits {
        Ok(())
    } else {
        Err(Error::bad_input(
            "content_type",
            "must be a media type such as application/json",
        ))
    }
}
