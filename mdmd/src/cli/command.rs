//! `mdmd command send|list|show|cancel`: commands of devices. What a command says comes from files where it may be secret.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::counted::counted;
use mdm_core::wire::command::CommandBody;
use serde_json::{Map, Value, json};

use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, cell, secret_file, table};

/// Commands of devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Queue {
    /// Queue one. Exit 4 when some of the devices cannot have it, 3 when none can.
    Send {
        #[command(flatten)]
        what: What,
        /// CommandUUID; a fresh one when left out. The same one again is refused for whoever has it.
        #[arg(long)]
        uuid: Option<String>,
        /// Larger goes first, from -90 to 90.
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        priority: i32,
        /// Not to be handed out from this moment on: a moment such as 2027-01-31T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// All of the devices get it or none.
        #[arg(long)]
        together: bool,
        /// Do not wake the devices; they find it when they come by themselves.
        #[arg(long)]
        no_push: bool,
        #[command(flatten)]
        to: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// List those of a device, newest first.
    List {
        /// Its serial number.
        serial: String,
        /// Only those that wait for it.
        #[arg(long)]
        open: bool,
        /// A user's channel, as `device show` names it.
        #[arg(long)]
        channel: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        place: Where,
    },
    /// One with what was asked and answered; secrets are not among it.
    Show {
        /// Serial number of the device.
        serial: String,
        /// Its CommandUUID.
        uuid: String,
        /// A user's channel.
        #[arg(long)]
        channel: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Take commands out of queues. What a set-up asked for stays.
    Cancel {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        to: Serials,
        #[command(flatten)]
        place: Where,
    },
}

/// What is sent.
#[derive(clap::Args, Debug)]
pub(crate) struct What {
    /// RequestType, such as DeviceLock.
    #[arg(long, value_name = "TYPE", required_unless_present = "plist")]
    request: Option<String>,
    /// One of its keys; the value is JSON, or text, as the key wants it. Not for secrets: others see a command line. A key
    /// that is not known goes out as it is; one that is must have its type.
    #[arg(long = "key", value_name = "NAME=VALUE", requires = "request")]
    keys: Vec<String>,
    /// Its keys as a JSON object in this file, or `-`; data is {"$data": base64}, a date {"$date": "…"}.
    #[arg(long, value_name = "FILE", requires = "request")]
    keys_file: Option<PathBuf>,
    /// The whole command as an XML property list in this file, or `-`; for what is newer than this program, and for what it
    /// takes for wrong: it goes out unchecked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "keys", "keys_file"])]
    plist: Option<PathBuf>,
}

/// Which commands are cancelled.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The one with this CommandUUID.
    #[arg(long)]
    uuid: Option<String>,
    /// Those of this RequestType.
    #[arg(long, value_name = "TYPE")]
    request: Option<String>,
    /// All that wait.
    #[arg(long)]
    all: bool,
}

impl What {
    /// As the body of the route has it; a property list goes apart, since it may hold secrets.
    fn keys(&self) -> Result<Map<String, Value>, Ended> {
        let mut keys = match &self.keys_file {
            None => Map::new(),
            Some(file) => {
                let content = secret_file::read(file)?;
                serde_json::from_slice(&content)
                    .with_context(|| format!("{}: must be a JSON object", file.display()))
                    .means(Exit::BadInput)?
            }
        };
        for text in &self.keys {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| anyhow!("--key: must be NAME=VALUE"))
                .means(Exit::BadInput)?;
            let kind = self.request.as_deref();
            let kind = kind.and_then(|request| CommandBody::kind_of_key(request, name));
            keys.insert(name.to_owned(), meant(value, kind));
        }
        Ok(keys)
    }
}

/// What a value on the command line stands for: JSON if it is some, else text. Where the key is known to be a text, a PIN of
/// digits is one too.
fn meant(value: &str, kind: Option<&str>) -> Value {
    match serde_json::from_str(value) {
        Ok(json @ Value::String(_)) => json,
        Ok(json) if kind != Some("string") => json,
        _ => json!(value),
    }
}

pub(crate) async fn run(common: &Common, command: &Queue) -> Done {
    match command {
        Queue::Send { place, .. } => {
            let client = Client::acting(common, place).await?;
            send(common, &client, command).await
        }
        Queue::List {
            serial,
            open,
            channel,
            limit,
            place,
        } => {
            let client = Client::looking(common, place).await?;
            let of = user(channel.as_deref());
            let path = format!(
                "/api/v1/devices/{}/commands?limit={limit}&open={open}{of}",
                super::in_path(serial)
            );
            let answer = client.get(&path).await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["commands"],
                    &[
                        ("UUID", "uuid"),
                        ("REQUEST", "request_type"),
                        ("STATE", "state"),
                        ("QUEUED", "created"),
                        ("TRIES", "handed_out"),
                        ("PUT OFF", "put_off"),
                        ("HANDED OUT", "sent"),
                        ("SETTLED", "settled"),
                    ],
                );
            });
            Ok(())
        }
        Queue::Show {
            serial,
            uuid,
            channel,
            place,
        } => {
            let client = Client::looking(common, place).await?;
            let of = user(channel.as_deref()).replacen('&', "?", 1);
            let path = format!(
                "/api/v1/devices/{}/commands/{}{of}",
                super::in_path(serial),
                super::in_path(uuid)
            );
            let answer = client.get(&path).await?;
            super::print(common, &answer, show);
            Ok(())
        }
        Queue::Cancel { which, to, place } => {
            let body = json!({
                "serials": to.some()?, "uuid": which.uuid, "request_type": which.request, "all": which.all,
            });
            let client = Client::acting(common, place).await?;
            let said = "those that have not been handed out will not be; of others the device may answer all the same.";
            let answer = client.act("/api/v1/commands/cancel", &body, said).await?;
            super::print(common, &answer, |answer| {
                println!("taken out    {}", cell(&answer["waiting"]));
                println!("handed out   {}", cell(&answer["handed_out"]));
                println!("kept         {}", cell(&answer["kept"]));
                let all = answer["results"].as_array().into_iter().flatten();
                let left: Value = all.filter(|r| r["result"].is_null()).cloned().collect();
                if left.as_array().is_some_and(|left| !left.is_empty()) {
                    println!("not enrolled here:");
                    table(&left, &[("DEVICE", "id")]);
                }
            });
            let all = answer["results"].as_array().into_iter().flatten();
            let (left, asked) = (all.clone().filter(|r| r["result"].is_null()), all.count());
            partly(left.count(), asked)
        }
    }
}

/// The part of a query that names a user's channel.
fn user(channel: Option<&str>) -> String {
    let Some(channel) = channel else {
        return String::new();
    };
    let escaped = channel.bytes().map(|b| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    });
    format!("&channel={}", escaped.collect::<String>())
}

async fn send(common: &Common, client: &Client, command: &Queue) -> Done {
    let Queue::Send {
        what,
        uuid,
        priority,
        expires,
        together,
        no_push,
        to,
        ..
    } = command
    else {
        return Ok(());
    };
    let serials = to.some()?;
    let count = serials.len();
    let body = json!({
        "serials": serials, "request_type": what.request, "keys": what.keys()?, "uuid": uuid,
        "priority": priority, "expires": expires, "together": together, "push": !no_push,
    });
    let named = what.request.as_deref().unwrap_or("the command of the file");
    let said = format!(
        "{named} goes to {}, to each as soon as it comes.",
        counted(count, "device")
    );
    let path = "/api/v1/commands";
    let answer = match &what.plist {
        Some(file) => {
            let plist = secret_file::read(file)?;
            let secrets: [(&str, &[u8]); 1] = [("plist", &plist)];
            client.post_hidden(path, &body, &secrets, &said).await?
        }
        None => client.act(path, &body, &said).await?,
    };
    super::print(common, &answer, |answer| {
        println!("uuid     {}", cell(&answer["uuid"]));
        println!(
            "queued   {} of {}",
            cell(&answer["queued"]),
            cell(&answer["asked"])
        );
        if answer["understood"] == false {
            println!(
                "note     this program does not know this command, or not with these keys: it goes out as it is"
            );
        }
        if !answer["push"].is_null() {
            println!("push     {}", cell(&answer["push"]));
        }
        let all = answer["results"].as_array().into_iter().flatten();
        let left: Value = all.filter(|r| r["result"] != "queued").cloned().collect();
        if left.as_array().is_some_and(|left| !left.is_empty()) {
            table(&left, &[("DEVICE", "id"), ("WHY NOT", "result")]);
        }
    });
    let asked = answer["asked"].as_u64().unwrap_or(0);
    let left = asked - answer["queued"].as_u64().unwrap_or(0);
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    partly(count(left), count(asked))
}

fn show(answer: &Value) {
    for (name, key) in [
        ("uuid", "uuid"),
        ("request", "request_type"),
        ("state", "state"),
        ("priority", "priority"),
        ("queued", "created"),
        ("handed out", "sent"),
        ("tries", "handed_out"),
        ("put off", "put_off"),
        ("settled", "settled"),
        ("expires", "expires"),
    ] {
        println!("{name:<11}{}", cell(&answer[key]));
    }
    for error in answer["errors"].as_array().into_iter().flatten() {
        println!("error      {}", cell(error));
    }
    match &answer["request"] {
        Value::Null => println!("asked      (sealed: it may hold a secret)"),
        request => println!("asked\n{request:#}"),
    }
    if !answer["report"].is_null() {
        println!("answered\n{:#}", answer["report"]);
    }
}

/// For whom it was not done: for nobody is no part of it.
fn partly(left: usize, asked: usize) -> Done {
    if left == 0 {
        return Ok(());
    }
    if left == asked {
        return Err(anyhow!("for none of the devices: nothing was done")).means(Exit::Precondition);
    }
    Err(anyhow!("not for {left} of the devices")).means(Exit::Disagrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_of_digits_is_text_and_what_is_no_text_is_json() {
        let check = |request: &str, name: &str, value: &str, means: Value| {
            let what = What {
                request: Some(request.to_owned()),
                keys: vec![format!("{name}={value}")],
                keys_file: None,
                plist: None,
            };
            assert_eq!(what.keys().ok().unwrap()[name], means, "{request} {name}");
        };
        check("DeviceLock", "PIN", "012345", json!("012345"));
        check("DeviceLock", "PIN", "123456", json!("123456"));
        check("DeviceLock", "PIN", "\"123456\"", json!("123456"));
        check("DeviceLock", "Message", "null", json!("null"));
        check("EraseDevice", "PreserveDataPlan", "true", json!(true));
        check("Tomorrow", "PIN", "123456", json!(123_456));
    }
}
