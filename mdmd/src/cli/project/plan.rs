//! `mdmd project export|import`: a whole plan as one file.

use std::path::Path;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::path;
use crate::cli::client::{Client, Where};
use crate::cli::new_file::NewFile;
use crate::cli::{Common, Done, Exit, Means as _, cell, many, print, rows, secret_file, table};

pub(super) async fn export(
    common: &Common,
    place: &Where,
    project: &str,
    out: Option<&Path>,
) -> Done {
    // The record says that it was taken along.
    let client = Client::exporting(common, place).await?;
    let file = NewFile::maybe(out, 0o600)?;
    let path = format!("{}/plan", path(&client, project).await?);
    let plan = client.get(&path).await?;
    let Some(file) = file else {
        println!("{plan:#}");
        return Ok(());
    };
    file.fill(format!("{plan:#}\n").as_bytes())?;
    let members = |wave: &Value| wave["members"].as_array().map_or(0, Vec::len);
    let waves = plan["waves"].as_array();
    let answer = json!({
        "file": out, "waves": waves.map_or(0, Vec::len),
        "members": waves.into_iter().flatten().map(members).sum::<usize>(),
    });
    print(common, &answer, |answer| {
        println!(
            "{} with {} written to {}",
            many(&answer["waves"], "wave"),
            many(&answer["members"], "member"),
            cell(&answer["file"])
        );
    });
    Ok(())
}

pub(super) async fn import(common: &Common, place: &Where, file: &Path) -> Done {
    let plan = secret_file::read(file)?;
    let plan: Value = serde_json::from_slice(&plan)
        .map_err(|error| anyhow!("{}: line {}: this is no JSON", file.display(), error.line()))
        .means(Exit::BadInput)?;
    let client = Client::acting(common, place).await?;
    let taken = client.act_patiently("/api/v1/plans", &plan, "a project is made, switched off.");
    let taken = taken.await?;
    print(common, &taken, |taken| {
        let made = match taken["made"] == true {
            true => "made, switched off",
            false => "was there",
        };
        println!("project   {}, {made}", cell(&taken["project"]["name"]));
        for (wave, added) in taken["added"].as_object().into_iter().flatten() {
            let there = cell(&taken["there"][wave]);
            println!("{wave}   {} added, {there} were there", cell(added));
        }
        for (platform, names) in taken["profiles_left_out"].as_object().into_iter().flatten() {
            println!("profiles of {platform} to be brought in apart: {names}");
        }
        for sentence in rows(&taken["differs"]) {
            println!("stays     {}", cell(sentence));
        }
        let rows = taken["rejected"].as_object().into_iter().flatten();
        let rows = rows.map(|(serial, why)| json!({ "serial": serial, "why": why }));
        table(&rows.collect(), &[("NOT TAKEN", "serial"), ("WHY", "why")]);
    });
    let rejected = taken["rejected"].as_object();
    let rejected = rejected.map_or(0, serde_json::Map::len);
    match (rejected, rows(&taken["differs"]).count()) {
        (0, 0) => Ok(()),
        (0, _) => Err(anyhow!(
            "what is there already is not as in the plan, and stays"
        ))
        .means(Exit::Disagrees),
        (some, _) => Err(anyhow!("{} not taken", counted(some, "device"))).means(Exit::Disagrees),
    }
}
