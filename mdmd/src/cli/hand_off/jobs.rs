//! A job as people see it, and the bundle that it takes.

use std::path::Path;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use crate::cli::client::{Client, Where};
use crate::cli::{Common, Done, Exit, Means as _, cell, table};

pub(super) async fn import(
    common: &Common,
    place: &Where,
    job: i64,
    file: &Path,
    despite_unknown: bool,
) -> Done {
    let client = Client::acting(common, place).await?;
    let mut path = format!("/api/v1/hand-off/jobs/{job}/bundle");
    if despite_unknown {
        path.push_str("?despite_unknown=true");
    }
    let consequence = "facts go to what the what-if knows, keys and codes into the vault; the job is used up by it: its key is destroyed, and nobody \
                       opens the bundle again. Of devices that are not known here nothing is taken.";
    let answer = client.upload(&path, file, consequence).await?;
    crate::cli::print(common, &answer, |answer| {
        println!("devices     {}", cell(&answer["devices"]));
        println!("accepted    {}", cell(&answer["accepted"]));
        println!("rejected    {}", cell(&answer["rejected"]));
        if answer["done_before"] != 0 {
            println!("done before {}", cell(&answer["done_before"]));
        }
        results(&answer["results"]);
    });
    match answer["rejected"].as_u64().unwrap_or(0) {
        0 => Ok(()),
        rejected => Err(anyhow!(
            "{} of the bundle not, or not wholly, taken",
            counted(rejected, "device")
        ))
        .means(Exit::Disagrees),
    }
}

fn state(job: &Value) -> String {
    if job["expired"] == true {
        return "expired".to_owned();
    }
    match &job["state"] {
        Value::Object(map) => match map.iter().next() {
            Some((name, at)) if name == "importing" => {
                format!(
                    "importing: {} of {}",
                    cell(&at["done"]),
                    cell(&at["devices"])
                )
            }
            Some((name, _)) => name.clone(),
            None => String::new(),
        },
        other => cell(other),
    }
}

pub(super) fn line(job: &Value) -> Value {
    let mut row = job.clone();
    row["state"] = state(job).into();
    row["signer"] = job["signer"]["sha256"].clone();
    row
}

pub(super) fn show(job: &Value) {
    println!("job      {}", cell(&job["id"]));
    println!("from     {}", cell(&job["from"]));
    println!("expires  {}", cell(&job["expires"]));
    println!("state    {}", state(job));
    println!(
        "SHA-256  {}  (of the certificate to seal to)",
        cell(&job["sha256"])
    );
    match &job["signer"] {
        Value::Null => println!("signer   nobody has confirmed one: nothing is taken before"),
        signer => println!(
            "signer   {}, confirmed by {}",
            cell(&signer["sha256"]),
            cell(&signer["by"])
        ),
    }
}

pub(super) fn results(devices: &Value) {
    let joined = |value: &Value| {
        let all = value.as_array().into_iter().flatten().map(cell);
        all.collect::<Vec<_>>().join("; ")
    };
    let rows: Vec<Value> = devices
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| {
            json!({
                "serial": device["serial"],
                "accepted": device["accepted"],
                "facts": device["facts"],
                "secrets": joined(&device["secrets"]),
                "notes": joined(&device["notes"]),
            })
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let columns = [
        ("SERIAL", "serial"),
        ("TAKEN", "accepted"),
        ("NEW FACTS", "facts"),
        ("SECRETS", "secrets"),
        ("NOTES", "notes"),
    ];
    table(&Value::Array(rows), &columns);
}
