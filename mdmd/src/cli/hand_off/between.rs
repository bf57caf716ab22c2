//! What two installations do with each other without a person each time: agreements, and exports that two persons agree on.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{HandOff, cell_text, read};
use crate::cli::client::Client;
use crate::cli::new_file::NewFile;
use crate::cli::{Common, Done, cell, many, table};

/// Says what waits for another person.
fn waits(answer: &Value) {
    let number = cell(&answer["approval"]);
    println!("waits for another person: `mdmd approval confirm {number}`");
}

/// What two installations do with each other.
pub(super) async fn between(common: &Common, command: &HandOff) -> Done {
    const API: &str = "/api/v1/hand-off";
    let (place, path, body, consequence) = match command {
        HandOff::Ours { place } => (
            place,
            "signer".to_owned(),
            json!({}),
            "a key to sign with is made when there is none; nothing is sent to anybody.",
        ),
        HandOff::Agree {
            name,
            signer,
            days,
            place,
        } => (
            place,
            "sources".to_owned(),
            json!({ "name": name, "signer": signer, "days": days }),
            "bundles that this certificate signed are taken without a person each time, with their keys and codes.",
        ),
        HandOff::To {
            address,
            address_ca,
            source,
            token,
            place,
        } => {
            let ca = address_ca.as_deref().map(read).transpose()?;
            let ca = ca.map(|pem| String::from_utf8_lossy(&pem).into_owned());
            let token = crate::cli::secret_file::read(token)?;
            let open = json!({ "url": address, "source": source, "ca": ca });
            let client = Client::acting(common, place).await?;
            let consequence = "once another person has confirmed it, what is known of each device that moves away is sealed, signed and sent there.";
            let secrets = [("token_base64", token.trim_ascii())];
            let answer = client
                .post_hidden(&format!("{API}/destination"), &open, &secrets, consequence)
                .await?;
            crate::cli::print(common, &answer, waits);
            return Ok(());
        }
        HandOff::End { source, place } => (
            place,
            match source {
                Some(source) => format!("sources/{source}/end"),
                None => "destination/end".to_owned(),
            },
            json!({}),
            "nothing goes this way any more.",
        ),
        HandOff::Ask {
            devices,
            recipient,
            recipient_sha256,
            job,
            reason,
            place,
        } => {
            let certificate = String::from_utf8_lossy(&read(recipient)?).into_owned();
            let body = json!({
                "certificate": certificate, "sha256": recipient_sha256, "job": job,
                "serials": devices.any()?, "reason": reason,
            });
            let consequence = "once another person has confirmed it, what is known of these devices, keys and codes included, may be written to a sealed file.";
            let client = Client::acting(common, place).await?;
            let path = format!("{API}/exports");
            let answer = client.act(&path, &body, consequence).await?;
            crate::cli::print(common, &answer, waits);
            return Ok(());
        }
        HandOff::Fetch {
            approval,
            out,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            return fetch(common, &client, *approval, out).await;
        }
        HandOff::Agreements { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get(&format!("{API}/agreements")).await?;
            crate::cli::print(common, &answer, agreed);
            return Ok(());
        }
        // Those above this function.
        _ => return Ok(()),
    };
    let client = Client::acting(common, place).await?;
    let answer = client
        .act(&format!("{API}/{path}"), &body, consequence)
        .await?;
    crate::cli::print(common, &answer, |answer| match &answer["certificate"] {
        Value::Null if answer["sources"].is_null() => {
            println!("agreement  {}", cell(&answer["id"]));
            println!("name       {}", cell(&answer["name"]));
            println!("signer     {}", cell(&answer["signer"]));
            println!("until      {}", cell(&answer["until"]));
        }
        Value::Null => agreed(answer),
        certificate => {
            println!("signer's SHA-256  {}", cell(&answer["sha256"]));
            print!("{}", cell_text(certificate));
        }
    });
    Ok(())
}

/// What was agreed on, in both directions.
fn agreed(answer: &Value) {
    let columns = [
        ("AGREEMENT", "id"),
        ("COMES FROM", "name"),
        ("SIGNER", "signer"),
        ("CONFIRMED BY", "by"),
        ("UNTIL", "until"),
    ];
    table(&answer["sources"], &columns);
    let to = &answer["destination"];
    if to.is_null() {
        println!("nothing is handed over from here");
    } else {
        println!(
            "handed over to {}, agreement {} there; asked for by {}, confirmed by {} at {}",
            cell(&to["url"]),
            cell(&to["source"]),
            cell(&to["asked_by"]),
            cell(&to["confirmed_by"]),
            cell(&to["at"])
        );
    }
}

/// Has an export made that was confirmed, and writes it to a file.
pub(super) async fn fetch(common: &Common, client: &Client, approval: i64, out: &Path) -> Done {
    // It is made once: a place where it cannot be written would lose it.
    let file = NewFile::open(out, 0o600)?;
    let path = format!("/api/v1/hand-off/exports/{approval}/bundle");
    let consequence = "the export is made, once, and is in the record.";
    let answer = client.act(&path, &json!({}), consequence).await?;
    file.fill(&STANDARD.decode(cell_text(&answer["bundle"]))?)?;
    let shown = json!({
        "file": out, "devices": answer["devices"], "signer": answer["signer"],
        "record": answer["record"],
    });
    crate::cli::print(common, &shown, |shown| {
        println!("{} in {}", many(&shown["devices"], "device"), out.display());
        println!("signer's SHA-256  {}", cell(&shown["signer"]));
    });
    Ok(())
}
