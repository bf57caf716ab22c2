//! `mdmd token key|import|status`: the server token of Apple's device-assignment service.

use std::path::PathBuf;

use abm_client::{ServerToken, TokenKeyPair};
use anyhow::{Context as _, anyhow};
use mdm_core::clock::{Clock as _, SystemClock};
use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, table};

/// The server token of the device-assignment service.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Token {
    /// Make a key pair; its certificate goes to Apple's portal, which encrypts the token for it.
    Key {
        /// Where `server-token.pem` and `server-token.key` (mode 0600) are written.
        #[arg(long, value_name = "DIRECTORY")]
        out: PathBuf,
    },
    /// Bring in the token that the portal gave (`.p7m`).
    Import {
        /// The token.
        file: PathBuf,
        /// The private key that `token key` made; the certificate is expected beside it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The server entry (its number in `token status`) that this token renews.
        #[arg(long, value_name = "NUMBER")]
        renews: Option<i64>,
        #[command(flatten)]
        place: Where,
    },
    /// Show server entries and when their tokens end.
    Status {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Token) -> Done {
    match command {
        Token::Key { out } => key(common, out),
        Token::Import {
            file,
            key,
            renews,
            place,
        } => {
            let read = |path: &PathBuf| {
                std::fs::read(path)
                    .with_context(|| path.display().to_string())
                    .means(Exit::BadInput)
            };
            let private = zeroize::Zeroizing::new(read(key)?);
            let certificate = read(&key.with_extension("pem"))?;
            let pair = TokenKeyPair::from_pem(&certificate, &private).means(Exit::BadInput)?;
            let token = ServerToken::open(&read(file)?, &[pair]).means(Exit::BadInput)?;
            let token = token.to_json().means(Exit::BadInput)?;
            let token = std::str::from_utf8(token.expose())
                .map_err(|_| anyhow!("the token is no text"))
                .means(Exit::BadInput)?;
            eprintln!(
                "POST /api/v1/server-tokens: the token is shown to Apple once, then kept sealed; the device list is read from now on."
            );
            let client = Client::acting(common, place).await?;
            let body = json!({ "token": token, "renews": renews });
            let answer = client.post("/api/v1/server-tokens", &body).await?;
            super::print(common, &answer, |answer| {
                println!(
                    "server entry {}; the files of `token key` can be deleted",
                    answer["server"]
                );
            });
            Ok(())
        }
        Token::Status { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/server-tokens").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["servers"],
                    &[
                        ("NUMBER", "id"),
                        ("NAME", "name"),
                        ("TOKEN UNTIL", "token_expires"),
                        ("LIST READ", "synced"),
                        ("NEEDS", "needs_person"),
                    ],
                );
            });
            Ok(())
        }
    }
}

fn key(common: &Common, out: &std::path::Path) -> Done {
    let now = SystemClock.now().as_millis();
    let pair = TokenKeyPair::generate("mdmd server token", now, 730)?;
    let private = pair.private_key_pem()?;
    crate::install::write(out, "server-token.key", private.expose(), 0o600)
        .means(Exit::Precondition)?;
    crate::install::write(
        out,
        "server-token.pem",
        pair.certificate_pem()?.as_bytes(),
        0o644,
    )
    .means(Exit::Precondition)?;
    let certificate = out.join("server-token.pem");
    super::print(common, &json!({ "certificate": certificate }), |_| {
        println!(
            "upload {} to the server entry in Apple's portal,",
            certificate.display()
        );
        println!(
            "download the token, then: mdmd token import TOKEN.p7m --key {}",
            out.join("server-token.key").display()
        );
    });
    Ok(())
}
