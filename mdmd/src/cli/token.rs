//! `mdmd token key|remove-key|import|remove|status`: the server token of Apple's device-assignment service.
//!
//! The private keys stay with the server: `key` writes a certificate, and `import` sends the file as it came.

use std::path::{Path, PathBuf};

use abm_client::{ErrorKind, ServerToken, TokenKeyPair};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::removal::{Listed, Removal, remove_listed, removed};
use super::{About as _, Common, Done, Exit, Means as _, cell, many, rows, secret_file, table};

/// The server token of the device-assignment service.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Token {
    /// Make a key pair; its certificate goes to Apple's portal, which encrypts the token for it. Earlier pairs are kept, so
    /// that a token that is on its way still opens.
    Key {
        /// The directory for the certificate; it is made if it is missing.
        #[arg(long, value_name = "DIRECTORY")]
        out: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Destroy a key pair that no token was made for; one that is made for its certificate later opens here no more.
    RemoveKey {
        /// The serial number of its certificate in `token status`.
        serial: String,
        /// The serial number, typed once more: without it nothing is done (exit 3).
        #[arg(long, value_name = "SERIAL")]
        confirm: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Bring in the token that the portal gave (`.p7m`).
    Import {
        /// The token; `-` reads standard input.
        file: PathBuf,
        /// A private key (PEM) of another tool that the token was made for; its certificate is expected beside it (`.pem`).
        /// Left out for a certificate that `token key` made.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The server entry (its number in `token status`) that this token renews; a token of another entry is refused.
        #[arg(long, value_name = "NUMBER")]
        renews: Option<i64>,
        /// Take a new server entry although its devices look like those of another service: all of them get our ADE profile.
        #[arg(long, conflicts_with = "renews")]
        take_over: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Give up a server entry: its token is destroyed, its list is read no more. Nothing changes at Apple.
    Remove {
        /// Its number in `token status`.
        number: i64,
        /// The name of the entry, typed once more: without it nothing is done (exit 3).
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Show server entries and when their tokens end, and the key pairs that are kept.
    Status {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Token) -> Done {
    match command {
        Token::Key { out, place } => key(common, out, place).await,
        Token::RemoveKey {
            serial,
            confirm,
            place,
        } => remove_key(common, serial, confirm.as_deref(), place).await,
        Token::Import {
            file,
            key,
            renews,
            take_over,
            place,
        } => {
            let open = json!({ "renews": renews, "take_over": take_over });
            import(common, file, key.as_deref(), &open, place).await
        }
        Token::Remove {
            number,
            confirm,
            place,
        } => remove(common, *number, confirm.as_deref(), place).await,
        Token::Status { place } => status(common, place).await,
    }
}

async fn key(common: &Common, out: &Path, place: &Where) -> Done {
    // Before anything is made: a key pair whose certificate cannot be written would only be in the way.
    std::fs::create_dir_all(out)
        .with_context(|| format!("--out {}: the directory cannot be made", out.display()))
        .means(Exit::Precondition)?;
    // It gets the name of the pair, which nobody knows yet.
    let unnamed = out.join(format!("server-token.pem.{}", std::process::id()));
    let file = NewFile::open(&unnamed, 0o644)?;
    let client = Client::acting(common, place).await?;
    let mut answer = client
        .act(
            "/api/v1/token-keys",
            &json!({}),
            "a key pair is made and kept sealed; Apple's portal encrypts tokens for it once its certificate is uploaded.",
        )
        .await?;
    let pem = answer["certificate"].take();
    file.fill(pem.as_str().unwrap_or_default().as_bytes())?;
    let named = out.join(format!("server-token-{}.pem", cell(&answer["serial"])));
    std::fs::rename(&unnamed, &named)
        .with_context(|| format!("the certificate is in {}", unnamed.display()))?;
    answer["certificate"] = json!(named);
    super::print(common, &answer, |answer| {
        println!(
            "upload {} ({}) to the server entry in Apple's portal,",
            cell(&answer["certificate"]),
            cell(&answer["described"])
        );
        println!("download the token, then: mdmd token import TOKEN.p7m");
    });
    Ok(())
}

async fn remove_key(common: &Common, serial: &str, confirm: Option<&str>, place: &Where) -> Done {
    let client = Client::acting(common, place).await?;
    let all = client.get("/api/v1/token-keys").await?;
    let pair = rows(&all["keys"])
        .find(|pair| is_serial(&pair["serial"], serial))
        .with_context(|| {
            format!("there is no key pair with the serial number {serial}: `mdmd token status`")
        })
        .means(Exit::Precondition)?;
    let means = format!(
        "the private key of {} is destroyed; a token that is made for its certificate opens here no more.",
        cell(&pair["described"])
    );
    let name = cell(&pair["serial"]);
    // The server knows a pair by this number alone: another one that was typed would be another pair.
    if confirm.is_some_and(|typed| !is_serial(&pair["serial"], typed)) {
        return Err(anyhow!("--confirm: must be that of the key pair, {name}"))
            .means(Exit::BadInput);
    }
    let removal = Removal {
        path: "/api/v1/token-keys/remove",
        field: "serial",
        typed: &name,
        means: &means,
        gone: ("", "described"),
    };
    removed(common, &client, &removal, confirm).await
}

/// Whether a person has typed this serial number; other programs write it with colons, or in small digits.
fn is_serial(serial: &Value, typed: &str) -> bool {
    let serial = serial.as_str().unwrap_or_default();
    !serial.is_empty() && serial.eq_ignore_ascii_case(&typed.replace(':', ""))
}

async fn import(
    common: &Common,
    file: &Path,
    key: Option<&Path>,
    open: &Value,
    place: &Where,
) -> Done {
    let path_of_file = file;
    let file = secret_file::read(file)?;
    // What is no token at all is said before anything else is; whom it was made for, the server knows.
    if let Err(error) = ServerToken::open(&file, &[])
        && matches!(error.kind(), ErrorKind::Unreadable { .. })
    {
        return Err(error).means(Exit::BadInput).about(path_of_file);
    }
    let client = Client::acting(common, place).await?;
    let consequence = "the token is shown to Apple once, then kept sealed; the device list of its server entry is read from now on, and every device of it that is in no wave gets our ADE profile: take no token of the service that devices leave.";
    let path = "/api/v1/server-tokens";
    let answer = match key {
        None => {
            client
                .post_hidden(path, open, &[("file", &file)], consequence)
                .await?
        }
        Some(key) => {
            let private = secret_file::read(key)?;
            let certificate = secret_file::read(&key.with_extension("pem"))?;
            let pair = TokenKeyPair::from_pem(&certificate, &private)
                .means(Exit::BadInput)
                .about(key)?;
            let token = ServerToken::open(&file, &[pair])
                .means(Exit::BadInput)
                .about(path_of_file)?;
            let token = token.to_json().means(Exit::BadInput)?;
            client
                .post_hidden(path, open, &[("token", token.expose())], consequence)
                .await?
        }
    };
    super::print(common, &answer, |answer| {
        println!(
            "server entry {}: {} ({})",
            cell(&answer["server"]),
            cell(&answer["name"]),
            cell(&answer["organisation"])
        );
        if !answer["devices"].is_null() {
            let more = if answer["more"] == true {
                "more than "
            } else {
                ""
            };
            println!(
                "its list has {more}{}; each that is in no wave gets our ADE profile",
                many(&answer["devices"], "device")
            );
        }
    });
    Ok(())
}

async fn remove(common: &Common, number: i64, confirm: Option<&str>, place: &Where) -> Done {
    let list = Listed {
        path: "/api/v1/server-tokens",
        rows: "servers",
        called: ("server entry", "mdmd token status"),
    };
    let means = |name: &str| {
        format!(
            "the token of {name} is destroyed, and its list is read no more; at Apple its devices keep the ADE profile that they have: one that is erased is not let in here, and waits at its set-up until another service assigns its own."
        )
    };
    remove_listed(common, place, &list, (number, confirm), means).await
}

async fn status(common: &Common, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let mut answer = client.get("/api/v1/server-tokens").await?;
    let keys = client.get("/api/v1/token-keys").await?;
    answer["keys"] = keys["keys"].clone();
    super::print(common, &answer, |answer| {
        table(
            &answer["servers"],
            &[
                ("NUMBER", "id"),
                ("NAME", "name"),
                ("TOKEN UNTIL", "token_expires"),
                ("WARNING", "warning"),
                ("LIST READ", "synced"),
                ("NEEDS", "needs_person"),
            ],
        );
        if answer["keys"].as_array().is_some_and(|k| !k.is_empty()) {
            println!();
            table(
                &answer["keys"],
                &[("KEY PAIR (SERIAL NUMBER)", "serial"), ("MADE", "created")],
            );
        }
    });
    ends(&answer)
}

/// A token that has ended is a precondition that is not met.
fn ends(answer: &Value) -> Done {
    let ended: Vec<String> = answer["servers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|server| server["warning"] == "ended")
        .map(|server| cell(&server["name"]))
        .collect();
    if ended.is_empty() {
        return Ok(());
    }
    let why = anyhow!(
        "the token has ended of: {}; download a new one from Apple's portal and import it",
        ended.join(", ")
    );
    Err(why).means(Exit::Precondition)
}
