//! How a wave is steered once it has gone: its gate, a pause of its offers, later deadlines.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::super::client::{Client, Where};
use super::super::new_file::is_there;
use super::super::{Common, Done, Exit, Means as _, cell};
use super::{find, shown};

pub(super) async fn gate(
    common: &Common,
    place: &Where,
    wave: &str,
    sign: Option<&str>,
    despite: bool,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let standing = match sign {
        Some(reason) => {
            let said = match despite {
                true => {
                    "the waves after this one may go, though this one does not stand as was wanted."
                }
                false => {
                    "the waves after this one may go, as long as this one stands as is wanted."
                }
            };
            let path = format!("{}/gate", found.path);
            client
                .act(
                    &path,
                    &json!({ "reason": reason, "despite": despite }),
                    said,
                )
                .await?
        }
        None => client.get(&format!("{}/standing", found.path)).await?,
    };
    super::super::print(common, &standing["gate"], shown::gate);
    // A wave of no project has none: nothing waits for it.
    let against = standing["gate"]["against"].as_array();
    if against.is_some_and(|all| !all.is_empty()) {
        return Err(anyhow!("the waves after this one may not go yet")).means(Exit::Precondition);
    }
    Ok(())
}

pub(super) async fn pause(
    common: &Common,
    place: &Where,
    wave: &str,
    paused: bool,
    reason: &str,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let body = json!({ "paused": paused, "reason": reason });
    let said = match paused {
        true => "no more members are offered their migration until it is resumed; those that were offered it go on.".to_owned(),
        false => {
            let standing = client.get(&format!("{}/standing", found.path)).await?;
            let was = &standing["wave"]["paused"];
            match was.is_null() {
                true => "it is not paused.".to_owned(),
                false => format!(
                    "its members that wait ({}) are offered their migration from now on; {} had paused it: {}.",
                    cell(&standing["tally"]["scheduled"]),
                    cell(&was["by"]),
                    cell(&was["why"])
                ),
            }
        }
    };
    let path = format!("{}/pause", found.path);
    let standing = client.act(&path, &body, &said).await?;
    super::super::print(common, &standing, shown::standing);
    Ok(())
}

pub(super) async fn later(
    common: &Common,
    place: &Where,
    wave: &str,
    lists: Option<&Path>,
) -> Done {
    let client = Client::looking(common, place).await?;
    let found = find(&client, wave).await?;
    let mut answer = client.get(&format!("{}/later", found.path)).await?;
    if let Some(directory) = lists {
        std::fs::create_dir(directory)
            .map_err(|error| is_there(directory, error).context("--lists"))
            .means(Exit::Precondition)?;
        for (n, group) in (1..).zip(answer["proposals"].as_array_mut().into_iter().flatten()) {
            let serials = group["serials"].as_array().into_iter().flatten();
            let rows: String = serials
                .filter_map(Value::as_str)
                .map(|s| format!("{s}\n"))
                .collect();
            let file = directory.join(format!("{n}.csv"));
            std::fs::write(&file, format!("serial\n{rows}"))
                .with_context(|| file.display().to_string())
                .means(Exit::Precondition)?;
            group["list"] = json!(file);
        }
    }
    super::super::print(common, &answer, |answer| {
        let rows = answer["proposals"].as_array().into_iter().flatten().map(|group| {
            let count = group["serials"].as_array().map_or(0, Vec::len);
            let deadline = match &group["deadline"] {
                Value::Null => json!("no room"),
                deadline => deadline.clone(),
            };
            json!({ "deadline": deadline, "why": group["why"], "devices": count, "list": group["list"] })
        });
        let columns = [
            ("DEADLINE", "deadline"),
            ("WHY", "why"),
            ("DEVICES", "devices"),
            ("LIST", "list"),
        ];
        super::super::table(&rows.collect(), &columns);
    });
    Ok(())
}
