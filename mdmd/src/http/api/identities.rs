//! Device identities: what there is, who issues them, renewal and revocation; and what was refused at the devices' doors.
//! Keys and challenges come in and are never shown.

use mdm_core::ca::acme::apple_root;
use mdm_core::error::Error;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{CertificateId, Serial};
use mdm_core::organisation::{Issuer, Organisation};
use mdm_core::secret::Secret;
use mdm_core::service::{IdentitySettings, NewIssuer, Org};
use openssl::pkey::PKey;
use openssl::x509::X509;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{
    About, Answer, Hidden, Newest, Page, Refusal, at_most, either, next_page, refused, shown,
};

/// Who issues from now on.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub(super) enum IssuerAsked {
    BuiltIn,
    Scep {
        url: String,
        name: Option<String>,
        challenge: Option<Hidden>,
        challenge_base64: Option<Hidden>,
        authority: Option<String>,
    },
    Acme {
        directory_url: String,
        #[serde(default)]
        software_key: bool,
        #[serde(default)]
        attest: bool,
    },
}

/// An authority that is brought in: certificates (PEM), itself first, and its key (PEM). Without, one is made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorityAsked {
    certificates: Option<String>,
    key: Option<Hidden>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificates {
    certificates: String,
}

/// Whose attestations are believed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AttestationAsked {
    /// Root certificates (PEM); none when left out.
    certificates: Option<String>,
    #[serde(default)]
    without_apple: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dropped {
    sha256: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    wanted: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: String,
}

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let rows = org
        .identities(CertificateId(which.after.0), which.limit())
        .await
        .map_err(refused)?;
    let next = next_page(&which, rows.iter().map(|row| row.id.0));
    shown(told! { identities: rows, next: next })
}

pub(super) async fn refusals(About { org, which, .. }: About<Newest>) -> Answer<impl Shows> {
    let rows = org.refusals(at_most(which.limit)).await;
    let rows = rows.map_err(refused)?;
    shown(told! { refusals: rows })
}

pub(super) async fn renew(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let renewing = org.renew_identity(&serial).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { serial: serial, renewing: renewing })
}

pub(super) async fn revoke(
    About { org, .. }: About,
    Path(serial): Path<Serial>,
    Sent(why): Sent<Why>,
) -> Answer<impl Shows> {
    let revoked = org.revoke_identity(&serial, &why.reason).await;
    shown(told! { serial: serial, revoked: revoked.map_err(refused)? })
}

pub(super) async fn issuer(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let version = Part::Identities.of(org.organisation());
    Ok(Versioned::of(version, described(&org)))
}

pub(super) async fn set_issuer(
    About { office, org, .. }: About,
    Sent(asked): Sent<IssuerAsked>,
) -> Answer<impl Shows> {
    let new = match asked {
        IssuerAsked::BuiltIn => NewIssuer::BuiltIn,
        IssuerAsked::Scep {
            url,
            name,
            challenge,
            challenge_base64,
            authority,
        } => NewIssuer::Scep {
            url,
            name,
            challenge: either("challenge", challenge.as_ref(), challenge_base64.as_ref())
                .map_err(refused)?
                .map(|word| Secret::new(word.expose().trim_ascii())),
            authority: match authority {
                Some(pem) => Some(der_of(&pem)?.swap_remove(0)),
                None => None,
            },
        },
        IssuerAsked::Acme {
            directory_url,
            software_key,
            attest,
        } => NewIssuer::Acme {
            directory_url,
            hardware_bound: !software_key,
            attest,
        },
    };
    org.set_issuer(new).await.map_err(refused)?;
    again(&office, &org).await
}

pub(super) async fn settings(
    About { office, org, .. }: About,
    Sent(change): Sent<IdentitySettings>,
) -> Answer<impl Shows> {
    org.set_identities(change).await.map_err(refused)?;
    again(&office, &org).await
}

pub(super) async fn authority(
    About { office, org, .. }: About,
    Sent(sent): Sent<AuthorityAsked>,
) -> Answer<impl Shows> {
    match (&sent.certificates, &sent.key) {
        (None, None) => org.new_authority().await.map_err(refused)?,
        (Some(certificates), Some(key)) => {
            let wrong = || {
                refused(Error::bad_input(
                    "key",
                    "must be a PEM private key without a passphrase",
                ))
            };
            let key = PKey::private_key_from_pem_callback(&key.bytes(), |_| Ok(0))
                .and_then(|key| key.private_key_to_pkcs8())
                .map_err(|_| wrong())?;
            org.import_authority(der_of(certificates)?, &Secret::new(key))
                .await
                .map_err(refused)?;
        }
        _ => {
            let problem = "must come with the key, or neither";
            return Err(refused(Error::bad_input("certificates", problem)));
        }
    }
    again(&office, &org).await
}

pub(super) async fn trust(
    About { office, org, .. }: About,
    Sent(sent): Sent<Certificates>,
) -> Answer<impl Shows> {
    let all = der_of(&sent.certificates)?;
    org.trust_authorities(&all).await.map_err(refused)?;
    again(&office, &org).await
}

pub(super) async fn attestation(
    About { office, org, .. }: About,
    Sent(sent): Sent<AttestationAsked>,
) -> Answer<impl Shows> {
    let roots = match &sent.certificates {
        Some(pem) => der_of(pem)?,
        None => Vec::new(),
    };
    org.trust_attestations(&roots, sent.without_apple)
        .await
        .map_err(refused)?;
    again(&office, &org).await
}

pub(super) async fn drop_authority(
    About { office, org, .. }: About,
    Sent(sent): Sent<Dropped>,
) -> Answer<impl Shows> {
    org.distrust_authority(&sent.sha256)
        .await
        .map_err(refused)?;
    again(&office, &org).await
}

pub(super) async fn registration(
    About { office, org, .. }: About,
    Sent(sent): Sent<Registration>,
) -> Answer<impl Shows> {
    org.use_registration_authority(sent.wanted)
        .await
        .map_err(refused)?;
    again(&office, &org).await
}

/// How it stands after a change.
async fn again(office: &super::Office, org: &Org) -> Answer<impl Shows + use<>> {
    let id = org.organisation().id;
    let org = office.mdm.organisation_by_id(id).await.map_err(refused)?;
    shown(described(&org))
}

/// Who issues, and what is set for that kind.
#[derive(Default, Serialize, JsonSchema)]
struct Issues {
    /// `built-in`, `scep`, `acme`, or `other`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether there is one; it is shown to nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_key: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<bool>,
}

impl Issues {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }
}

fn described(org: &Org) -> impl Shows + use<> {
    let organisation: &Organisation = org.organisation();
    let settings = &organisation.settings;
    let issuer = match &organisation.issuer {
        Issuer::BuiltIn => Issues::new("built-in"),
        Issuer::Scep {
            url,
            name,
            challenge,
            ..
        } => Issues {
            url: Some(url.clone()),
            name: name.clone(),
            challenge: Some(challenge.is_some()),
            ..Issues::new("scep")
        },
        Issuer::Acme {
            directory_url,
            hardware_bound,
            attest,
        } => Issues {
            directory_url: Some(directory_url.clone()),
            software_key: Some(!hardware_bound),
            attest: Some(*attest),
            ..Issues::new("acme")
        },
        // A later version of the library may know more.
        _ => Issues::new("other"),
    };
    let own = organisation.identity_cas.iter().enumerate().map(|(n, ca)| {
        let list = org.revocation_list_url(&ca.certificate.0);
        one(
            &ca.certificate.0,
            if n == 0 { "issues" } else { "own" },
            Some(list),
        )
    });
    let others = organisation.trusted_cas.iter();
    let others = others.map(|der| one(&der.0, "trusted", None));
    let trust = &organisation.attestation;
    let apple = (!trust.without_apple).then(apple_root);
    let roots = apple
        .into_iter()
        .chain(trust.roots.iter().map(|der| der.0.as_slice()));
    let roots = roots.map(|der| one(der, "attests", None));
    told! {
        issuer: issuer,
        acme_directory: org.acme_directory_url(),
        registration_authority: organisation.registration.is_some(),
        authorities: own.chain(others).chain(roots).collect::<Vec<_>>(),
        settings: told! {
            identity_days: settings.identity_days,
            renew_before_days: settings.renew_before_days,
            expired_identity_grace_days: settings.expired_identity_grace_days,
            session_minutes: settings.session_minutes,
            identity_protocol: settings.identity_protocol.clone(),
            retention_days: settings.retention_days,
            owner_days: settings.owner_days,
        },
    }
}

fn one(der: &[u8], role: &'static str, list: Option<String>) -> impl Shows + use<> {
    let x509 = X509::from_der(der).ok();
    let subject = x509.as_ref().and_then(|c| {
        let names = c.subject_name().entries();
        names.last().and_then(|e| e.data().to_string().ok())
    });
    told! {
        sha256: sha256_hex(der),
        name: subject,
        role: role,
        until: x509.as_ref().map(|c| c.not_after().to_string()),
        revocation_list: list,
    }
}

/// The certificates of a PEM text, at least one.
fn der_of(pem: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    let wrong = || refused(Error::bad_input("certificates", "must be PEM certificates"));
    let all = X509::stack_from_pem(pem.as_bytes()).map_err(|_| wrong())?;
    let all: Result<Vec<_>, _> = all.iter().map(|c| c.to_der()).collect();
    let all = all.map_err(|_| wrong())?;
    if all.is_empty() {
        return Err(wrong());
    }
    Ok(all)
}
