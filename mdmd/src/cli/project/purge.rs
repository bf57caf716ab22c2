//! `mdmd project purge`: the keys, codes and passwords that were imported for a closed project go for good.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::path;
use crate::cli::client::{Client, Where};
use crate::cli::{Common, Done, Exit, Means as _, cell, print, table};

/// What is destroyed.
#[derive(clap::Args, Debug)]
pub(crate) struct Purge {
    /// Its name or number.
    project: String,
    /// Why; it goes into the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do it: the digest of what was looked at.
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    /// Also what the original service called a secret without saying which: nobody can prove that it is replaced.
    #[arg(long)]
    other: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn purge(common: &Common, args: &Purge) -> Done {
    let client = Client::acting(common, &args.place).await?;
    let path = format!("{}/purge", path(&client, &args.project).await?);
    let mut body = json!({ "other": args.other });
    let Some(digest) = &args.accept else {
        let plan = client.post(&format!("{path}/plan"), &body).await?;
        print(common, &plan, show_purge);
        let goes = plan["goes"].as_object().map_or(0, serde_json::Map::len);
        let why = match goes {
            0 => anyhow!("nothing was destroyed, and nothing would be"),
            _ => anyhow!(
                "nothing was destroyed; --accept {} does what is planned here",
                cell(&plan["digest"])
            ),
        };
        return Err(why).means(Exit::Precondition);
    };
    body["reason"] = json!(args.reason);
    body["digest"] = json!(digest);
    let said =
        "these keys, codes and passwords are gone for good; backups made before still have them.";
    let done = client.act(&path, &body, said).await?;
    print(common, &done, show_purge);
    Ok(())
}

fn show_purge(purge: &Value) {
    for (kind, count) in purge["goes"].as_object().into_iter().flatten() {
        println!("goes   {count} of {kind}");
    }
    for (why, count) in purge["stays"].as_object().into_iter().flatten() {
        println!("stay   {count}: {why}");
    }
    let columns = [("STAYS", "serial"), ("KIND", "kind"), ("WHY", "why")];
    if purge["kept"]
        .as_array()
        .is_some_and(|kept| !kept.is_empty())
    {
        table(&purge["kept"], &columns);
    }
    println!("digest {}", cell(&purge["digest"]));
}
