//! `mdmd identity …`: the certificates that devices speak with, and who issues them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, cell, secret_file, table};

/// The certificates that devices speak with.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Identity {
    /// List them with what each is good for.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// What was refused at the devices' doors, newest first, and whose certificate was shown.
    Refused {
        #[command(flatten)]
        place: Where,
    },
    /// Have the identity of a device renewed now: it gets a new enrolment profile, and nothing of it is voided.
    Renew {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
    /// Revoke the identity of a device: it is refused from the next message on, and comes back only by enrolling anew.
    Revoke {
        /// Its serial number.
        serial: String,
        /// Why; the record keeps it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
    /// Who issues, the authorities with their revocation lists, and what is set.
    Show {
        #[command(flatten)]
        place: Where,
    },
    /// Change what is set. What is left out stays.
    Set {
        /// Lifetime of an identity, in days.
        #[arg(long, value_name = "DAYS")]
        lifetime: Option<u32>,
        /// So many days before its end an identity is renewed.
        #[arg(long, value_name = "DAYS")]
        renew_before: Option<u32>,
        /// For how many days an expired identity still speaks; -1 is without end.
        #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
        grace: Option<i64>,
        /// For how many minutes an enrolment profile may be used.
        #[arg(long, value_name = "MINUTES")]
        profile_minutes: Option<u32>,
        /// By which protocol devices of a platform get their identities, such as `macos=acme-attested`; may be repeated.
        #[arg(long, value_name = "PLATFORM=PROTOCOL", value_parser = protocol)]
        protocol: Vec<(String, String)>,
        /// For how many days settled commands, superseded enrolments and unused profiles are kept; -1 is without end.
        #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
        retention: Option<i64>,
        /// For how many days what was imported of people is kept while their device is in no open wave; -1 is without end.
        #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
        owner_retention: Option<i64>,
        #[command(flatten)]
        place: Where,
    },
    /// Say where devices get their identities from now on.
    #[command(subcommand)]
    Use(Use),
    /// Authorities: the own ones and those elsewhere that are trusted.
    #[command(subcommand)]
    Authority(Authority),
}

/// Where devices get their identities.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Use {
    /// From the authority of this installation.
    BuiltIn {
        #[command(flatten)]
        place: Where,
    },
    /// From a SCEP server elsewhere, which must keep the common name that a device asks for.
    Scep {
        /// Its address.
        server: String,
        /// Which of its authorities.
        #[arg(long)]
        name: Option<String>,
        /// The word that it demands, from this file; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        challenge: Option<PathBuf>,
        /// The certificate (PEM) of its authority, which devices then check.
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// From an ACME server elsewhere.
    Acme {
        /// Its directory.
        directory: String,
        /// The key is made in software, not in the device's hardware.
        #[arg(long)]
        software_key: bool,
        /// Apple vouches for device and key.
        #[arg(long)]
        attest: bool,
        #[command(flatten)]
        place: Where,
    },
}

/// Authorities.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Authority {
    /// Make a new one, which issues from now on; identities of earlier ones go on speaking.
    New {
        #[command(flatten)]
        place: Where,
    },
    /// Bring in one of your own, which issues from now on.
    Import {
        /// Its certificate and those above it (PEM), itself first.
        #[arg(long, value_name = "FILE")]
        certificates: PathBuf,
        /// Its private key (PEM, no passphrase); `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Trust authorities elsewhere: every one that issues, intermediates too.
    Trust {
        /// Their certificates (PEM).
        #[arg(value_name = "FILE")]
        certificates: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Say whose attestations of devices are believed: Apple's, and these roots. Replaces what was said before.
    Attestation {
        /// Root certificates (PEM); none when left out.
        #[arg(long, value_name = "FILE")]
        roots: Option<PathBuf>,
        /// Do without the copy of Apple's root that comes with mdmd.
        #[arg(long)]
        without_apple: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Trust one no longer: whoever speaks with an identity of it is refused from the next message on.
    Drop {
        /// SHA-256 of its certificate, as `identity show` has it.
        sha256: String,
        #[command(flatten)]
        place: Where,
    },
    /// Have a registration authority answer certificate requests, so that the key of the authority only issues.
    Registration {
        /// On or off.
        wanted: Switch,
        #[command(flatten)]
        place: Where,
    },
}

/// On or off.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// From now on.
    On,
    /// No more.
    Off,
}

pub(crate) async fn run(common: &Common, command: &Identity) -> Done {
    match command {
        Identity::List { place } => list(common, place).await?,
        Identity::Refused { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/refusals?limit=1000").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["refusals"],
                    &[
                        ("WHEN", "at"),
                        ("DOOR", "door"),
                        ("FROM", "address"),
                        ("CERTIFICATE OF", "serial"),
                        ("WHY", "reason"),
                    ],
                );
            });
        }
        Identity::Renew { serial, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/identities/{}/renew", super::in_path(serial));
            let meaning = "the device gets a new enrolment profile; its identity stays good until the new one has spoken.";
            let answer = client.act(&path, &json!({}), meaning).await?;
            super::print(common, &answer, |answer| {
                println!("renewing {}", cell(&answer["renewing"]));
            });
        }
        Identity::Revoke {
            serial,
            reason,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/identities/{}/revoke", super::in_path(serial));
            let meaning = "the device is refused from its next message on; it comes back only by enrolling anew.";
            let answer = client
                .act(&path, &json!({ "reason": reason }), meaning)
                .await?;
            super::print(common, &answer, |answer| {
                println!("revoked {}", cell(&answer["revoked"]));
            });
        }
        Identity::Show { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/identities/issuer").await?;
            super::print(common, &answer, show);
        }
        Identity::Set {
            lifetime,
            renew_before,
            grace,
            profile_minutes,
            protocol,
            retention,
            owner_retention,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let protocols: BTreeMap<&str, &str> = protocol
                .iter()
                .map(|(on, by)| (on.as_str(), by.as_str()))
                .collect();
            let body = json!({
                "identity_protocol": protocols,
                "identity_days": lifetime,
                "renew_before_days": renew_before,
                "expired_identity_grace_days": grace,
                "session_minutes": profile_minutes,
                "retention_days": retention,
                "owner_days": owner_retention,
            });
            let meaning = "what is set holds for identities that are issued from now on, and for what is over.";
            let answer = client
                .act("/api/v1/identities/settings", &body, meaning)
                .await?;
            super::print(common, &answer, show);
        }
        Identity::Use(wanted) => issuer(common, wanted).await?,
        Identity::Authority(wanted) => authority(common, wanted).await?,
    }
    Ok(())
}

async fn list(common: &Common, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let answer = client.pages("/api/v1/identities", "identities").await?;
    super::print(common, &answer, |answer| {
        table(
            &answer["identities"],
            &[
                ("NUMBER", "id"),
                ("DEVICE", "serial"),
                ("STATE", "state"),
                ("UNTIL", "not_after"),
                ("RENEWED FROM", "renew_at"),
                ("RENEWING", "renewing"),
                ("REVOKED", "revoked"),
            ],
        );
    });
    Ok(())
}

async fn issuer(common: &Common, wanted: &Use) -> Done {
    let path = "/api/v1/identities/issuer";
    let meaning = "enrolment profiles name this issuer from now on; identities that there are go on speaking.";
    let answer = match wanted {
        Use::BuiltIn { place } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "kind": "built-in" });
            client.act(path, &body, meaning).await?
        }
        Use::Scep {
            server,
            name,
            challenge,
            authority,
            place,
        } => {
            let word = challenge.as_deref().map(secret_file::read).transpose()?;
            let authority = authority.as_deref().map(pem).transpose()?;
            let client = Client::acting(common, place).await?;
            let mut body = json!({ "kind": "scep", "url": server, "name": name });
            if let Some(authority) = authority {
                body["authority"] = json!(authority);
            }
            let word: Vec<(&str, &[u8])> =
                word.iter().map(|w| ("challenge_base64", &w[..])).collect();
            client.post_hidden(path, &body, &word, meaning).await?
        }
        Use::Acme {
            directory,
            software_key,
            attest,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let body = json!({
                "kind": "acme", "directory_url": directory, "software_key": software_key, "attest": attest,
            });
            client.act(path, &body, meaning).await?
        }
    };
    super::print(common, &answer, show);
    Ok(())
}

async fn authority(common: &Common, wanted: &Authority) -> Done {
    let answer = match wanted {
        Authority::New { place } => {
            let client = Client::acting(common, place).await?;
            let meaning =
                "a new authority issues from now on; identities of earlier ones go on speaking.";
            client
                .act("/api/v1/identities/authority", &json!({}), meaning)
                .await?
        }
        Authority::Import {
            certificates,
            key,
            place,
        } => {
            let certificates = pem(certificates)?;
            let key = secret_file::read(key)?;
            let client = Client::acting(common, place).await?;
            client
                .post_hidden(
                    "/api/v1/identities/authority",
                    &json!({ "certificates": certificates }),
                    &[("key", &key)],
                    "this authority issues from now on; its key is kept sealed.",
                )
                .await?
        }
        Authority::Trust {
            certificates,
            place,
        } => {
            let body = json!({ "certificates": pem(certificates)? });
            let client = Client::acting(common, place).await?;
            let meaning = "identities that these authorities issue in an enrolment of ours are accepted from now on.";
            client
                .act("/api/v1/identities/trusted", &body, meaning)
                .await?
        }
        Authority::Attestation {
            roots,
            without_apple,
            place,
        } => {
            let roots = roots.as_deref().map(pem).transpose()?;
            let body = json!({ "certificates": roots, "without_apple": without_apple });
            let client = Client::acting(common, place).await?;
            let meaning = "devices are believed that one of these roots vouches for; identities that there are go on speaking.";
            client
                .act("/api/v1/identities/attestation", &body, meaning)
                .await?
        }
        Authority::Drop { sha256, place } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "sha256": sha256 });
            let meaning = "every device that speaks with an identity of this authority is refused from its next message on.";
            client
                .act("/api/v1/identities/authority/drop", &body, meaning)
                .await?
        }
        Authority::Registration { wanted, place } => {
            let client = Client::acting(common, place).await?;
            let body = json!({ "wanted": *wanted == Switch::On });
            let meaning = "certificate requests are answered by another certificate from now on; devices that are asking at this moment ask again.";
            client
                .act("/api/v1/identities/registration", &body, meaning)
                .await?
        }
    };
    super::print(common, &answer, show);
    Ok(())
}

fn show(answer: &Value) {
    let issuer = &answer["issuer"];
    println!("issuer                  {}", cell(&issuer["kind"]));
    println!(
        "acme directory          {}",
        cell(&answer["acme_directory"])
    );
    for (label, key) in [("address", "url"), ("directory", "directory_url")] {
        if !issuer[key].is_null() {
            println!("{label:<23} {}", cell(&issuer[key]));
        }
    }
    println!(
        "registration authority  {}",
        cell(&answer["registration_authority"])
    );
    if let Some(settings) = answer["settings"].as_object() {
        for (name, value) in settings {
            println!("{name:<27} {}", cell(value));
        }
    }
    table(
        &answer["authorities"],
        &[
            ("ROLE", "role"),
            ("NAME", "name"),
            ("UNTIL", "until"),
            ("SHA-256", "sha256"),
            ("REVOCATION LIST", "revocation_list"),
        ],
    );
}

/// `PLATFORM=PROTOCOL`. Which ones there are, the server says.
fn protocol(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((platform, protocol)) if !platform.is_empty() && !protocol.is_empty() => {
            Ok((platform.to_owned(), protocol.to_owned()))
        }
        _ => Err("must be PLATFORM=PROTOCOL, such as ios=acme".to_owned()),
    }
}

/// Certificates are no secret, but come the same way.
fn pem(path: &std::path::Path) -> Result<String, super::Ended> {
    let bytes = secret_file::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
