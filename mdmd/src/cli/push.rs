//! `mdmd push csr|import|status`: the push certificate. Its private key is made by the server and stays there, sealed; a key of
//! another tool can be brought in with it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mdm_core::secret::Secret;
use mdm_core::wire::push_request::signed_form;
use openssl::x509::X509Req;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Ended, Exit, Means as _, cell, secret_file};

/// The push certificate.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Push {
    /// Make a key and a certificate request. The vendor signs the request; Apple takes what the vendor gives.
    Csr {
        /// Where the request is written (PEM), or with a vendor's key the form for identity.apple.com/pushcert.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Its common name; the organisation's name when left out.
        #[arg(long)]
        name: Option<String>,
        /// Its mail address.
        #[arg(long)]
        email: Option<String>,
        /// Private key (PEM) of the vendor's certificate for signing requests, for whoever is the vendor; it does not leave
        /// this command.
        #[arg(long, value_name = "FILE", requires = "vendor_chain")]
        vendor_key: Option<PathBuf>,
        /// That certificate and those that issued it up to Apple's root (PEM, in this order).
        #[arg(long, value_name = "FILE", requires = "vendor_key")]
        vendor_chain: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Bring it in. A renewal must be for the same topic, or every device would have to enrol again.
    Import {
        /// The certificate (PEM) as Apple gave it.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key (PEM, no passphrase), if another tool made it; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Its topic and when it ends: a warning at 60, 30 and 7 days, exit 3 when it has ended.
    Status {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Push) -> Done {
    match command {
        Push::Csr { .. } => csr(common, command).await,
        Push::Import {
            certificate,
            key,
            place,
        } => import(common, certificate, key.as_deref(), place).await,
        Push::Status { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/push-certificate").await?;
            super::print(common, &answer, |answer| {
                for (name, key) in [
                    ("topic", "topic"),
                    ("until", "until"),
                    ("warning", "warning"),
                ] {
                    println!("{name:<9}{}", cell(&answer[key]));
                }
                for made in answer["requests"].as_array().into_iter().flatten() {
                    println!("request  of {}, no answer yet", cell(made));
                }
            });
            match answer["warning"].as_str() {
                Some("ended") => Err(anyhow!(
                    "the push certificate has ended: no device is woken"
                ))
                .means(Exit::Precondition),
                Some(warning) => {
                    eprintln!(
                        "mdmd: the push certificate {warning}: renew the same entry, with the same Apple Account"
                    );
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }
}

async fn csr(common: &Common, command: &Push) -> Done {
    let Push::Csr {
        out,
        name,
        email,
        vendor_key,
        vendor_chain,
        place,
    } = command
    else {
        return Ok(());
    };
    let vendor = match (vendor_key, vendor_chain) {
        (Some(key), Some(chain)) => Some((secret_file::read(key)?, secret_file::read(chain)?)),
        _ => None,
    };
    let client = Client::acting(common, place).await?;
    let file = NewFile::open(out, 0o644)?;
    let said = "a key is made and kept sealed, and a certificate request for it.";
    let body = json!({ "name": name, "email": email });
    let path = "/api/v1/push-certificate/request";
    let mut answer = client.act(path, &body, said).await?;
    let request = answer["request"].take();
    let request = request.as_str().unwrap_or_default().as_bytes().to_vec();
    let content = match &vendor {
        None => request,
        Some((key, chain)) => form(&request, key, chain)?.into_bytes(),
    };
    file.fill(&content)?;
    answer["file"] = json!(out);
    answer["for"] = json!(if vendor.is_some() { "portal" } else { "vendor" });
    super::print(common, &answer, |answer| {
        let file = cell(&answer["file"]);
        if vendor.is_some() {
            println!("upload {file} at identity.apple.com/pushcert and download the certificate,");
        } else {
            println!(
                "have {file} signed by the vendor, upload what the vendor gives at identity.apple.com/pushcert,"
            );
            println!("download the certificate,");
        }
        println!("then: mdmd push import --certificate FILE");
    });
    Ok(())
}

fn form(request: &[u8], key: &[u8], chain: &[u8]) -> Result<String, Ended> {
    let request = X509Req::from_pem(request).and_then(|r| r.to_der());
    let request = request.map_err(|_| anyhow!("the server gave no certificate request"))?;
    signed_form(&request, &Secret::new(key), chain).means(Exit::BadInput)
}

async fn import(common: &Common, certificate: &Path, key: Option<&Path>, place: &Where) -> Done {
    let certificate = secret_file::read(certificate)?;
    let open = json!({ "certificate": String::from_utf8_lossy(&certificate) });
    let key = key.map(secret_file::read).transpose()?;
    let client = Client::acting(common, place).await?;
    let said = "devices are woken with this certificate from now on; its key is kept sealed.";
    let path = "/api/v1/push-certificate";
    let answer: Value = match &key {
        Some(key) => {
            client
                .post_hidden(path, &open, &[("key", key)], said)
                .await?
        }
        None => client.act(path, &open, said).await?,
    };
    super::print(common, &answer, |answer| {
        println!(
            "topic {} until {}",
            cell(&answer["topic"]),
            cell(&answer["until"])
        );
    });
    Ok(())
}
