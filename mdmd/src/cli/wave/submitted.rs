//! `mdmd wave submit`: shows what would be sent, sends what was accepted, and waits for the proof.

use anyhow::anyhow;
use mdm_core::shell;
use serde_json::{Value, json};

use super::super::client::{Client, Where, until};
use super::super::{Common, Done, Ended, Exit, Means as _, act, cell};
use super::{find, shown};

pub(super) async fn submit(
    common: &Common,
    place: &Where,
    wave: &str,
    confirm: Option<&str>,
    wait: u64,
) -> Done {
    let client = Client::acting(common, place).await?;
    let found = find(&client, wave).await?;
    let what_if = client
        .post(&format!("{}/what-if", found.path), &json!({}))
        .await?;
    shown::requests(&what_if, &mut std::io::stderr());
    let accepted = &what_if["accepted"];
    let Some(name) = confirm.filter(|_| !accepted.is_null()) else {
        super::super::print(common, &what_if, |w| shown::what_if(w, false));
        let against = shown::against_all(&what_if);
        let why = if !(against.is_empty() || accepted.is_null()) {
            // Nothing stood against all of it when it was accepted: it is whom the waivers let go for whom there is no room any more.
            anyhow!(
                "nothing was sent: {}. What was accepted holds as soon as there is room for them; with fewer waivers, \
                 `mdmd wave accept {} --digest {}` accepts it anew",
                against.join("; "),
                shell::word(&found.name),
                cell(&what_if["digest"])
            )
        } else if !against.is_empty() {
            // An acceptance would be refused, and one from before says nothing of this.
            anyhow!(
                "nothing was sent, and nothing can be accepted before what stands against all of it is mended: {}. What was accepted before \
                 that came holds again then, if nothing else has changed",
                against.join("; ")
            )
        } else if accepted.is_null() {
            anyhow!(
                "nothing was sent: nobody has accepted this; `mdmd wave accept {} --digest {}` does",
                shell::word(&found.name),
                cell(&what_if["digest"])
            )
        } else {
            anyhow!("nothing was sent; --confirm with the name of the wave submits it")
        };
        return Err(why).means(Exit::Precondition);
    };
    if shown::nobody_goes(&what_if) {
        super::super::print(common, &what_if, |w| shown::what_if(w, false));
        let why = anyhow!("nothing was sent, and nothing would be: every member stays behind");
        return Err(why).means(Exit::Precondition);
    }
    eprintln!(
        "From their offers on the users of these devices are asked to move; at their deadlines Apple enforces it. Accepted by {} at {}.",
        cell(&accepted["by"]),
        cell(&accepted["at"])
    );
    let end = until(wait);
    // What was shown, and nothing that somebody has accepted since.
    let body = json!({ "name": name, "digest": what_if["digest"], "accepted_at": accepted["at"] });
    let done = client
        .post(&format!("{}/submission", found.path), &body)
        .await?;
    act::prove(common, &client, done, end).await
}

/// `CHECK=WHY` or `CHECK@SERIAL=WHY`, as the API takes it.
pub(super) fn waiver(text: &str) -> Result<Value, Ended> {
    let (what, why) = text
        .split_once('=')
        .ok_or_else(|| anyhow!("--waive {text}: must be CHECK=WHY or CHECK@SERIAL=WHY"))
        .means(Exit::BadInput)?;
    Ok(match what.split_once('@') {
        Some((check, serial)) => json!({ "check": check, "serials": [serial], "reason": why }),
        None => json!({ "check": what, "reason": why }),
    })
}
