//! `mdmd webhook new|list|change|test|rotate|off|on|remove|messages`: programs that are told what becomes of devices.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Exit, Means as _, cell, table};

/// Programs that are told what becomes of devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Webhook {
    /// Have a program told. Its secret is shown once.
    New {
        /// What it is called here.
        name: String,
        /// Where messages go: https, or http in a network that the configuration allows.
        #[arg(value_name = "ADDRESS")]
        receiver: String,
        /// Tell it only of this; may be given several times.
        #[arg(long = "notice", value_name = "NOTICE", value_parser = NOTICES)]
        notices: Vec<String>,
        /// Write the secret to this new file (mode 0600) instead of showing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// List them, and how they are doing.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Have it told elsewhere, or of other things.
    Change {
        /// Its name.
        name: String,
        /// The new address.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// Tell it only of this; may be given several times.
        #[arg(long = "notice", value_name = "NOTICE", value_parser = NOTICES)]
        notices: Vec<String>,
        /// Tell it of everything.
        #[arg(long, conflicts_with = "notices")]
        everything: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Send it a message now. Ends with 4 when it is not taken.
    Test {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Give it a new secret; the one before signs beside it for a day.
    Rotate {
        /// Its name.
        name: String,
        /// Write the secret to this new file (mode 0600) instead of showing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Tell it nothing for now: what happens meanwhile is not kept for it.
    Off {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Tell it again; what was still open when it went off is sent.
    On {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Forget it.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// What it was told and is to be told, newest first.
    Messages {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Where,
    },
}

const NOTICES: [&str; 8] = [
    "offered",
    "overdue",
    "started",
    "holding",
    "released",
    "migrated",
    "exception",
    "called_off",
];

pub(crate) async fn run(common: &Common, command: &Webhook) -> Done {
    match command {
        Webhook::New {
            name,
            receiver,
            notices,
            out,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let out = NewFile::maybe(out.as_deref(), 0o600)?;
            let body = json!({ "name": name, "url": receiver, "notices": notices });
            let why = "whoever answers at this address is told what becomes of devices.";
            let made = client.act("/api/v1/webhooks", &body, why).await?;
            secret(common, made, out)
        }
        Webhook::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/webhooks").await?;
            super::print(common, &answer, |answer| {
                let columns = [
                    ("NAME", "name"),
                    ("ON", "on"),
                    ("LAST TAKEN", "taken"),
                    ("FAILING SINCE", "failing_since"),
                    ("TROUBLE", "trouble"),
                    ("ADDRESS", "url"),
                ];
                table(&answer["webhooks"], &columns);
            });
            Ok(())
        }
        Webhook::Change {
            name,
            to,
            notices,
            everything,
            place,
        } => {
            if to.is_none() && notices.is_empty() && !everything {
                let why = anyhow!("--to, --notice or --everything: one must be there");
                return Err(why).means(Exit::BadInput);
            }
            let wanted = (!notices.is_empty() || *everything).then_some(notices);
            let body = json!({ "url": to, "notices": wanted });
            let why = "what happens from now on is told there.";
            act(common, place, name, "", &body, why).await
        }
        Webhook::Off { name, place } => {
            let why = "it is told nothing of what happens from now on.";
            act(common, place, name, "", &json!({ "on": false }), why).await
        }
        Webhook::On { name, place } => {
            let why = "it is told what is still open, and what happens from now on.";
            act(common, place, name, "", &json!({ "on": true }), why).await
        }
        Webhook::Remove { name, place } => {
            let why = "it is told nothing more, and what is open goes to nobody.";
            act(common, place, name, "/remove", &json!({}), why).await
        }
        Webhook::Test { name, place } => {
            let client = Client::acting(common, place).await?;
            let why = "a message that is about no device goes out now.";
            let path = path(name, "/test");
            let answer = client.act(&path, &json!({}), why).await?;
            super::print(common, &answer, |answer| {
                println!("taken   {}", cell(&answer["taken"]));
                println!("answer  {}", cell(&answer["answer"]));
            });
            match answer["taken"] == true {
                true => Ok(()),
                false => Err(anyhow!("the message was not taken")).means(Exit::Disagrees),
            }
        }
        Webhook::Rotate { name, out, place } => {
            let client = Client::acting(common, place).await?;
            let out = NewFile::maybe(out.as_deref(), 0o600)?;
            let why = "messages are signed with both secrets for a day, then with the new one.";
            let made = client.act(&path(name, "/secret"), &json!({}), why).await?;
            secret(common, made, out)
        }
        Webhook::Messages { name, place } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .pages_back(&path(name, "/messages"), "messages")
                .await?;
            super::print(common, &answer, |answer| {
                let columns = [
                    ("AT", "at"),
                    ("SERIAL", "serial"),
                    ("NOTICE", "notice"),
                    ("TAKEN", "taken"),
                    ("OVER", "over"),
                    ("TRIES", "tries"),
                    ("DUE", "due"),
                    ("TROUBLE", "trouble"),
                ];
                table(&answer["messages"], &columns);
            });
            Ok(())
        }
    }
}

/// The address of a receiver.
fn path(name: &str, what: &str) -> String {
    format!("/api/v1/webhooks/{}{what}", super::in_path(name))
}

async fn act(
    common: &Common,
    place: &Where,
    name: &str,
    what: &str,
    body: &Value,
    why: &str,
) -> Done {
    let client = Client::acting(common, place).await?;
    let answer = client.act(&path(name, what), body, why).await?;
    super::print(common, &answer, |answer| {
        println!("name     {}", cell(&answer["name"]));
        println!("on       {}", cell(&answer["on"]));
        println!("address  {}", cell(&answer["url"]));
    });
    Ok(())
}

/// Shows a secret, or writes it to a file of its own.
fn secret(common: &Common, mut made: Value, out: Option<NewFile>) -> Done {
    if let Some(out) = out {
        made["file"] = json!(out.path());
        out.fill(made["secret"].as_str().unwrap_or_default().as_bytes())?;
        made["secret"] = Value::Null;
    }
    super::print(common, &made, |made| {
        println!("name     {}", cell(&made["name"]));
        println!("address  {}", cell(&made["url"]));
        if made["file"].is_null() {
            println!("secret   {}", cell(&made["secret"]));
            println!("         shown this once");
        } else {
            println!("secret   written to {}", cell(&made["file"]));
        }
    });
    Ok(())
}
