//! An act at Apple from the command line: its plan with the exact requests and one sentence of consequence; after an
//! acceptance by digest, the act; and the proof by re-reading. Nothing is sent without the digest of the plan.

use std::time::Instant;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::client::{Client, LOOK, until};
use super::{Common, Done, Ended, Exit, Means as _, cell, many, table};

/// How an act is accepted and how long its proof is waited for.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Acceptance {
    /// Do it: the digest of the plan that was looked at. Without it the plan is printed and nothing is sent (exit 3).
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    /// Print the plan even if it is accepted; nothing is sent.
    #[arg(long)]
    plan: bool,
    /// Wait so many seconds for the proof; the work goes on at the server all the same.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    wait: u64,
}

/// Plans the act, or does it and waits for its proof. `path` is that of the act; `path/plan` plans it.
pub(crate) async fn run(
    common: &Common,
    client: &Client,
    path: &str,
    body: Value,
    acceptance: &Acceptance,
) -> Done {
    let end = until(acceptance.wait);
    let plan = client
        .post_patiently(&format!("{path}/plan"), &body, end)
        .await?;
    let digest = match &acceptance.accept {
        Some(digest) if !acceptance.plan => digest,
        _ => {
            super::print(common, &plan, |plan| show(plan, &mut std::io::stdout()));
            let against_all = plan["against_all"]
                .as_array()
                .is_some_and(|a| !a.is_empty());
            let why = if against_all {
                anyhow!(
                    "nothing was sent, and nothing can be before what stands against all devices is mended"
                )
            } else if plan["members"] == plan["blocked"] {
                anyhow!("nothing was sent, and nothing would be: every device is left out")
            } else {
                anyhow!(
                    "nothing was sent; --accept {} does what is planned here",
                    cell(&plan["digest"])
                )
            };
            return Err(why).means(Exit::Precondition);
        }
    };
    show(&plan, &mut std::io::stderr());
    let mut body = body;
    body["digest"] = json!(digest);
    let done = client.post_patiently(path, &body, end).await?;
    if !done["approval"].is_null() {
        super::print(common, &done, |done| {
            println!("approval   {}", cell(&done["approval"]));
        });
        return super::approval::waits(&done["approval"]);
    }
    let look = match path.contains("licences") {
        true => "mdmd licences list --refresh NUMBER",
        false => "mdmd migration status",
    };
    let findings = plan["findings"].clone();
    proved(common, client, done, findings, end, look).await
}

/// Waits for the proof of what was done, and says how it ended.
pub(super) async fn prove(common: &Common, client: &Client, done: Value, end: Instant) -> Done {
    proved(common, client, done, json!({}), end, "mdmd wave status").await
}

async fn proved(
    common: &Common,
    client: &Client,
    done: Value,
    findings: Value,
    end: Instant,
    look: &str,
) -> Done {
    let errands: Vec<String> = done["errands"]
        .as_array()
        .into_iter()
        .flatten()
        .map(cell)
        .collect();
    let proof = if errands.is_empty() {
        json!({ "finished": true, "proved": [], "disagree": {}, "pending": [] })
    } else {
        wait(client, &errands.join(","), end).await?
    };
    let answer = json!({ "done": done, "proof": proof, "findings": findings });
    super::print(common, &answer, |answer| {
        let count = |key: &str| match &answer["proof"][key] {
            Value::Array(all) => all.len(),
            Value::Object(all) => all.len(),
            _ => 0,
        };
        if !answer["done"]["wave"].is_null() {
            println!("wave       {}", cell(&answer["done"]["wave"]));
        }
        println!("proved     {}", count("proved"));
        println!("disagree   {}", count("disagree"));
        println!("pending    {}", count("pending"));
        println!("left out   {}", cell(&answer["done"]["blocked"]));
        if !answer["done"]["left_out"].is_null() {
            table(
                &named(&answer["done"]["left_out"]),
                &[("SERIAL", "serial"), ("LEFT OUT BECAUSE", "why")],
            );
        }
        table(
            &named(&answer["proof"]["disagree"]),
            &[("SERIAL", "serial"), ("WHY", "why")],
        );
    });
    verdict(&done, &proof, look)
}

/// Asks for the proof until it is finished or patience ends.
async fn wait(client: &Client, errands: &str, end: Instant) -> Result<Value, Ended> {
    let mut told = String::new();
    loop {
        let proof = client
            .get_by(&format!("/api/v1/migrations/proof?errands={errands}"), end)
            .await?;
        if proof["finished"] == true {
            return Ok(proof);
        }
        for sentence in proof["needs_person"].as_array().into_iter().flatten() {
            let sentence = cell(sentence);
            if sentence != told {
                eprintln!("mdmd: waits for a person: {sentence}");
                told = sentence;
            }
        }
        if Instant::now() >= end {
            return Ok(proof);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `look` is the command that shows how it goes on.
fn verdict(done: &Value, proof: &Value, look: &str) -> Done {
    let disagree = proof["disagree"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    let pending = proof["pending"].as_array().map_or(0, Vec::len);
    let blocked = done["blocked"].as_u64().unwrap_or(0);
    if disagree > 0 {
        let why = anyhow!(
            "Apple, read again, shows {} otherwise than wanted",
            counted(disagree, "device")
        );
        return Err(why).means(Exit::Disagrees);
    }
    if pending > 0 {
        let why = anyhow!(
            "{} not proved yet; the work goes on, `{look}` shows it",
            counted(pending, "device")
        );
        return Err(why).means(Exit::NeverEnded);
    }
    if blocked > 0 {
        let why = anyhow!(
            "{} left out; the findings say why",
            counted(blocked, "device")
        );
        return Err(why).means(Exit::Disagrees);
    }
    Ok(())
}

/// The plan for people.
fn show(plan: &Value, out: &mut dyn std::io::Write) {
    // A reader that has gone away is no failure of the act.
    let mut line = |text: String| drop(writeln!(out, "{text}"));
    for request in plan["requests"].as_array().into_iter().flatten() {
        line(format!(
            "{} {}  ({})",
            cell(&request["method"]),
            cell(&request["path"]),
            many(&request["devices"], "device")
        ));
        line(format!("{:#}", request["body"]));
    }
    line(cell(&plan["consequence"]));
    for warning in plan["warnings"].as_array().into_iter().flatten() {
        line(format!("note: {}", cell(warning)));
    }
    for sentence in plan["against_all"].as_array().into_iter().flatten() {
        line(format!("against all: {}", cell(sentence)));
    }
    for member in plan["checks"].as_array().into_iter().flatten() {
        line(format!(
            "{}  {}",
            cell(&member["serial"]),
            cell(&member["counts_as"])
        ));
        checked(&member["findings"], &mut line);
    }
    if plan["server"].as_array().is_some_and(|all| !all.is_empty()) {
        line("for all of them".to_owned());
        checked(&plan["server"], &mut line);
    }
    for (serial, findings) in plan["findings"].as_object().into_iter().flatten() {
        let findings: Vec<String> = findings
            .as_array()
            .into_iter()
            .flatten()
            .map(cell)
            .collect();
        line(format!("left out: {serial}: {}", findings.join("; ")));
    }
    for change in super::check::since(&plan["since"]) {
        line(change);
    }
    for app in plan["forecast"]["apps"].as_array().into_iter().flatten() {
        let name = cell(&app["bundle_id"]);
        let lost = app["lost"].as_object().into_iter().flatten();
        let lost: Vec<String> = lost
            .map(|(serial, why)| format!("{serial} ({})", cell(why)))
            .collect();
        if !lost.is_empty() {
            let how = match plan["checks"].is_null() {
                true => "lost with its data",
                false => "lost with its data unless the other service takes it over",
            };
            line(format!("{how}: {name}: {}", lost.join(", ")));
        }
        if app["uncertain"].as_u64().is_some_and(|n| n > 0) {
            let devices = many(&app["uncertain"], "device");
            line(format!("not known: whether {name} stays on {devices}"));
        }
    }
    let unknown = plan["forecast"]["unknown"].as_array().map_or(0, Vec::len);
    if unknown > 0 {
        line(format!(
            "not known: which apps {} would lose",
            counted(unknown, "device")
        ));
    }
    line(format!(
        "{}, {} of them left out",
        many(&plan["members"], "device"),
        cell(&plan["blocked"])
    ));
    line(format!("digest {}", cell(&plan["digest"])));
}

/// Every check, with its fact, where that comes from and of when it is, what would mend it and who can.
fn checked(findings: &Value, line: &mut impl FnMut(String)) {
    for finding in findings.as_array().into_iter().flatten() {
        let mut text = format!(
            "  {:7}  {}: {}",
            cell(&finding["result"]),
            cell(&finding["check"]),
            cell(&finding["fact"])
        );
        let from = ["source", "at"].map(|key| cell(&finding[key]));
        let from: Vec<&str> = from
            .iter()
            .map(String::as_str)
            .filter(|s| !s.is_empty())
            .collect();
        if !from.is_empty() {
            text.push_str(&format!(" ({})", from.join(", ")));
        }
        if !finding["fix"].is_null() {
            let (fix, who) = (cell(&finding["fix"]), cell(&finding["who"]));
            text.push_str(&format!("; {fix} [{who}]"));
        }
        line(text);
    }
}

/// An object of sentences as rows.
fn named(object: &Value) -> Value {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(serial, why)| json!({ "serial": serial, "why": why }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_proof_ends_well() {
        let check = |blocked: u64, disagree: Value, pending: Value| {
            let proof = json!({ "disagree": disagree, "pending": pending });
            verdict(&json!({ "blocked": blocked }), &proof, "look")
                .map_err(|ended| ended.exit)
                .err()
        };
        assert_eq!(check(0, json!({}), json!([])), None);
        assert_eq!(check(1, json!({}), json!([])), Some(Exit::Disagrees));
        assert_eq!(
            check(0, json!({"C02A": "x"}), json!(["C02B"])),
            Some(Exit::Disagrees)
        );
        assert_eq!(check(0, json!({}), json!(["C02B"])), Some(Exit::NeverEnded));
    }
}
