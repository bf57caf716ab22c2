//! A project from the command line against the simulated Apple: a wave by what its devices have in common, spread over office
//! hours, looked at, accepted in somebody's name, submitted with its typed name and proved; the next one kept back by its gate; called
//! back, withdrawn, closed. Its calendar, and what owners are told, is in a file of its own.

#[path = "wave/calendar.rs"]
mod calendar;
mod town;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use mdm_core::ids::WaveId;
use mdm_core::store::Batch;
use serde_json::{Value, json};
use town::{Ended, Town};

/// How many requests that change something at the organisation API Apple has seen.
fn changes(town: &Town) -> usize {
    let ledger = town.world.apple().ledger();
    ledger
        .iter()
        .filter(|e| e.path.contains("orgDeviceActivities") && e.method == "POST")
        .count()
}

/// Runs a command that must end so and say so.
async fn ends(town: &Town, arguments: &str, exit: i32, says: &str) -> Ended {
    let words: Vec<&str> = arguments.split('|').collect();
    let ended = town.mdmd(&words).await;
    assert_eq!(
        ended.exit, exit,
        "{arguments}: {}\n{}",
        ended.out, ended.err
    );
    let all = format!("{}\n{}", ended.out, ended.err);
    assert!(all.contains(says), "{arguments}: {all}");
    ended
}

fn digest(ended: &Ended) -> String {
    ended.json()["digest"].as_str().unwrap().to_owned()
}

/// What the API answers on the installation's own socket, with its head; no command is between.
async fn post(town: &Town, path: &str, body: &Value) -> String {
    let socket = town.data().join("mdmd.sock");
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    });
    asked.await.unwrap()
}

async fn standing_number(town: &Town, wave: &str) -> WaveId {
    let standing = town.json(&["wave", "status", wave]).await;
    let number = standing["wave"]["id"].as_str().unwrap();
    WaveId(number.parse().unwrap())
}

/// The stop rule has paused a wave.
async fn paused_by_rule(town: &Town, wave: WaveId) {
    let org = town.org().await;
    let (store, own) = (town.app.mdm.store(), org.organisation().id);
    let mut row = store.wave(own, wave).await.unwrap().unwrap();
    let pause = json!({ "by": "stop rule", "at": row.created, "why": "2 of 2 failed" });
    row.paused = Some(serde_json::from_value(pause).unwrap());
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_goes_from_its_plan_to_its_end() {
    let town = Town::found(4).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;

    calendar::project_with_its_terms(&town).await;

    ends(
        &town,
        "wave|new|pilot|--project|Berlin|--preset|pilot",
        0,
        "is pilot",
    )
    .await;
    ends(
        &town,
        "wave|new|main|--project|Berlin|--preset|main",
        0,
        "is main",
    )
    .await;
    ends(&town, "wave|add|pilot|--most|2|--dry-run", 0, "").await;
    ends(&town, "wave|add|pilot|--most|2", 0, "added 2").await;
    ends(&town, "wave|add|main|--all", 0, "added 2").await;
    ends(&town, "wave|add|main|--all", 3, "no such device").await;
    let dry = ends(&town, "wave|plan|pilot|--dry-run", 0, "nothing was changed").await;
    ends(&town, "wave|plan|pilot", 0, "2").await;
    let planned = dry
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    // Office hours in Berlin, at whatever hour this story begins.
    let hour: u32 = planned[11..13].parse().unwrap();
    assert!((8..=14).contains(&hour), "{planned}");

    // The whole plan as a file, and in again.
    let file = town.directory.path().join("plan.json");
    let file = file.to_str().unwrap();
    let export = format!("project|export|Berlin|--out|{file}");
    ends(&town, &export, 0, "2 waves with 4 members").await;
    ends(&town, &export, 3, "").await;
    let import = format!("project|import|{file}");
    ends(&town, &import, 0, "was there").await;
    let plan = std::fs::read_to_string(file).unwrap();
    let copy = town.file("copy.json", plan.replace("\"Berlin\"", "\"Copy\""));
    let copied = ends(
        &town,
        &format!("project|import|{copy}"),
        2,
        "is that of another open wave",
    )
    .await;
    assert!(copied.out.is_empty());
    let broken = town.file("broken.json", plan.replace("\"waves\"", "\"wafes\""));
    ends(&town, &format!("project|import|{broken}"), 2, "wafes").await;

    // Off, nothing of it goes; on, it takes somebody's word.
    let first = ends(
        &town,
        "wave|whatif|pilot|--json",
        3,
        "switch: Berlin is off",
    )
    .await;
    ends(&town, "project|on|Berlin", 0, "is on").await;
    let run = ends(&town, "wave|whatif|pilot|--json", 0, "").await;
    assert_ne!(digest(&first), digest(&run));
    let old = format!("wave|accept|pilot|--digest|{}", digest(&first));
    let says = "not the digest of what the what-if finds now";
    ends(&town, &old, 3, says).await;
    ends(
        &town,
        "wave|submit|pilot|--confirm|pilot",
        3,
        "nobody has accepted this",
    )
    .await;
    let accept = format!(
        "wave|accept|pilot|--digest|{}|--reason|looked at",
        digest(&run)
    );
    ends(
        &town,
        &accept,
        0,
        "2 devices would be submitted, 0 stay behind",
    )
    .await;
    // Off again: it was accepted, and the switch is what is to be mended.
    ends(&town, "project|off|Berlin", 0, "is off").await;
    ends(
        &town,
        "wave|submit|pilot|--confirm|pilot",
        3,
        "switch: Berlin is off: nothing is submitted (turn it on: `mdmd project on Berlin`)",
    )
    .await;
    ends(&town, "project|on|Berlin", 0, "is on").await;
    let shown = ends(
        &town,
        "wave|submit|pilot",
        3,
        "--confirm with the name of the wave",
    )
    .await;
    assert!(
        shown
            .err
            .contains("ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"),
        "{}",
        shown.err
    );
    ends(
        &town,
        "wave|submit|pilot|--confirm|Pilot",
        2,
        "is not the name of this wave",
    )
    .await;
    assert_eq!(changes(&town), 0);
    // The name is typed at the requests that were shown: where somebody has accepted something else since, nothing goes.
    let shown = ends(&town, "wave|submit|pilot|--json", 3, "").await.json();
    let path = format!(
        "/api/v1/waves/{}/submission",
        shown["wave"].as_str().unwrap()
    );
    let (old, before) = ("0".repeat(64), "2020-01-01T00:00:00Z");
    for other in [
        json!({ "name": "pilot", "digest": old }),
        json!({ "name": "pilot", "digest": shown["digest"], "accepted_at": before }),
    ] {
        let said = post(&town, &path, &other).await;
        assert!(said.starts_with("HTTP/1.1 409 "), "{said}");
        assert!(said.contains("not what was shown"), "{said}");
    }
    let half = json!({ "name": "pilot", "accepted_at": before });
    let said = post(&town, &path, &half).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert_eq!(changes(&town), 0);
    let done = ends(&town, "wave|submit|pilot|--confirm|pilot|--json", 0, "").await;
    assert_eq!(done.json()["proof"]["proved"].as_array().unwrap().len(), 2);
    assert_eq!(changes(&town), 1);

    // The next one waits.
    ends(&town, "wave|gate|pilot", 3, "0 of 2 devices have migrated").await;
    ends(
        &town,
        "wave|gate|pilot|--sign|they are well",
        3,
        "nothing yet that a signature could rest on",
    )
    .await;
    let one = "wave|plan|main|--deadline|2027-01-20T10:00:00Z";
    ends(&town, one, 0, "planned 2").await;
    ends(&town, "wave|plan|main", 0, "").await;
    let kept = ends(&town, "wave|whatif|main|--json", 3, "").await;
    let against = kept.json()["against_all"].to_string();
    assert!(against.contains("gate: pilot: 0 of 2"), "{against}");
    let accept = format!("wave|accept|main|--digest|{}", digest(&kept));
    ends(&town, &accept, 3, "gate: pilot: 0 of 2").await;
    let submit = "wave|submit|main|--confirm|main";
    // Not to be accepted first: that would be refused.
    let says = "nothing can be accepted before what stands against all of it is mended";
    let refused = ends(&town, submit, 3, says).await;
    for says in ["gate: pilot: 0 of 2", "mdmd wave gate"] {
        assert!(refused.err.contains(says), "{says}: {}", refused.err);
    }
    assert_eq!(changes(&town), 1);

    // More time for all of them; less only for a list of members.
    let later = "2027-01-29T12:00:00Z";
    let plan = ends(
        &town,
        &format!("wave|extend|pilot|--deadline|{later}|--json"),
        3,
        "",
    )
    .await;
    let accepted = format!(
        "wave|extend|pilot|--deadline|{later}|--accept|{}",
        digest(&plan)
    );
    ends(&town, &accepted, 0, "proved     2").await;
    let status = town.json(&["wave", "status", "pilot"]).await;
    assert_eq!(status["tally"]["members"], 2);
    assert_eq!(status["moved_elsewhere"], 0, "{status:#}");
    ends(
        &town,
        "wave|force|pilot|NOBODY1|--deadline|2026-12-15T12:00:00Z|--reason|x",
        2,
        "is not in the wave",
    )
    .await;

    // Opened by somebody who says why, and the record says what stood against it.
    ends(
        &town,
        "wave|gate|pilot|--sign|we know why|--despite",
        0,
        "signed           by local administrator",
    )
    .await;

    // A wave of which nobody would go is not submitted, whoever asks.
    let needs = "project|set|Berlin|--prerequisite|wifi-placed";
    ends(&town, needs, 0, "").await;
    let kept = ends(&town, "wave|whatif|main|--json", 3, "").await;
    let accept = format!("wave|accept|main|--digest|{}", digest(&kept));
    let accepted = ends(
        &town,
        &accept,
        0,
        "0 devices would be submitted, 2 stay behind",
    )
    .await;
    let out = &accepted.out;
    let says = "there is nothing to submit: `mdmd wave whatif main`";
    assert!(out.contains(says) && !out.contains("wave submit"), "{out}");
    // A waiver of what nothing found is no word about what is there.
    let idle = format!("{accept}|--waive|gate=it is known");
    ends(&town, &idle, 2, "waivers.check: gate keeps nobody back").await;
    ends(&town, submit, 3, "nothing was sent, and nothing would be").await;
    let main = kept.json()["wave"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/waves/{main}/submission");
    let said = post(&town, &path, &json!({ "name": "main" })).await;
    assert!(said.starts_with("HTTP/1.1 409 "), "{said}");
    assert!(said.contains("every member stays behind"), "{said}");
    let standing = town.json(&["wave", "status", "main"]).await;
    assert_eq!(standing["wave"]["state"], "draft");
    assert_eq!(changes(&town), 2);
    let none = "project|set|Berlin|--prerequisite|none";
    ends(&town, none, 0, "").await;

    // What the stop rule has paused goes on by the word of an approver.
    let pilot = standing_number(&town, "pilot").await;
    paused_by_rule(&town, pilot).await;
    let resume = ["wave", "resume", "pilot", "--reason", "mended"];
    let planner = town.token("planner", "planner", &[]).await;
    let refused = town.mdmd_by(&planner, &resume).await;
    assert_eq!(refused.exit, 3, "{}", refused.err);
    assert!(
        refused.err.contains("by the word of an approver"),
        "{}",
        refused.err
    );
    let approver = town.token("approver", "approver", &[]).await;
    let done = town.mdmd_by(&approver, &resume).await;
    assert_eq!(done.exit, 0, "{}", done.err);
    // What a person has paused a planner resumes.
    ends(&town, "wave|pause|pilot|--reason|a bug", 0, "paused").await;
    assert_eq!(town.mdmd_by(&planner, &resume).await.exit, 0);

    // Paused and resumed; withdrawn where nothing is at Apple, called back where something is.
    ends(&town, "wave|pause|pilot|--reason|a bug", 0, "paused").await;
    ends(&town, "wave|resume|pilot|--reason|mended", 0, "submitted").await;
    ends(&town, "wave|remove|pilot|NOBODY1", 2, "is not in this wave").await;
    ends(
        &town,
        "wave|withdraw|pilot|--reason|another year",
        3,
        "2 devices are submitted already: call them back with `mdmd wave cancel`",
    )
    .await;
    ends(
        &town,
        "wave|withdraw|main|--reason|another year",
        0,
        "removed 2",
    )
    .await;
    let standing = town.json(&["wave", "status", "main"]).await;
    assert!(
        standing["wave"]["state"]["closed"].is_object(),
        "{standing}"
    );
    ends(
        &town,
        "project|close|Berlin",
        3,
        "2 devices have not come to an end",
    )
    .await;
    // What becomes of its members is read with the account, which stays as long as that is so.
    let account = town.world.apple().api_account();
    let give_up = format!("business|remove|--confirm|{}", account.client_id);
    for says in ["the wave pilot is submitted", "mdmd wave cancel pilot"] {
        ends(&town, &give_up, 3, says).await;
    }
    let plan = ends(&town, "wave|cancel|pilot|--json", 3, "").await;
    ends(
        &town,
        &format!("wave|cancel|pilot|--accept|{}", digest(&plan)),
        0,
        "proved     2",
    )
    .await;
    // Once they are back, and the requests for that have ended, nothing needs it any more.
    let words: Vec<&str> = give_up.split('|').collect();
    let mut waited = 0;
    loop {
        let ended = town.mdmd(&words).await;
        if ended.exit == 0 {
            break;
        }
        assert!(
            ended.err.contains("to Apple has not ended"),
            "{}",
            ended.err
        );
        waited += 1;
        assert!(waited < 60, "{}", ended.err);
        town.minutes(1).await;
    }
    for serial in town.serials() {
        let at = town.world.apple().assigned_server(&serial);
        assert_ne!(
            at.as_deref(),
            Some(town.world.destination_server()),
            "{serial}"
        );
    }
    ends(&town, "project|close|Berlin", 0, "is closed").await;
    // What is over stays as it is.
    for late in [
        "wave|new|late|--project|Berlin",
        "wave|pause|pilot|--reason|a bug",
        "wave|resume|pilot|--reason|mended",
        "wave|whatif|main",
        "wave|notices|pilot",
        "wave|gate|pilot|--sign|fine",
        "wave|extend|pilot|--deadline|2027-01-10T10:00:00Z",
        "project|on|Berlin",
    ] {
        ends(&town, late, 3, "is closed").await;
    }
    let path = format!("/api/v1/waves/{pilot}/pause");
    let said = post(&town, &path, &json!({ "paused": true, "reason": "a bug" })).await;
    assert!(said.starts_with("HTTP/1.1 409 "), "{said}");

    // Who did what is on record.
    let record: Vec<String> = town
        .record()
        .await
        .into_iter()
        .map(|(_, what)| what)
        .collect();
    for what in [
        "project.new",
        "wave.accepted",
        "wave.submitted",
        "wave.gate-signed",
        "wave.paused",
        "project.closed",
    ] {
        assert!(record.iter().any(|r| r == what), "{what}: {record:?}");
    }
    let list: Value = town.json(&["wave", "list"]).await;
    assert_eq!(list["waves"].as_array().unwrap().len(), 2);
    assert_eq!(list["waves"][0]["acceptance"]["reason"], json!("looked at"));
}
