//! A project from the command line against the simulated Apple: a wave by what its devices have in common, spread over office
//! hours, looked at, accepted in somebody's name, submitted with its typed name and proved; the next one kept back by its gate; called
//! back, withdrawn, closed.

mod town;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

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

    ends(
        &town,
        "project|new|Berlin|--zone|Europe/Nowhere",
        2,
        "must be the name of a time zone",
    )
    .await;
    ends(
        &town,
        "project|new|Berlin|--hours|16:00-09:00",
        2,
        "calendar.until",
    )
    .await;
    let made = "project|new|Berlin|--zone|Europe/Berlin|--hours|10:00-15:00|--capacity|2|--blackout|2000-12-24/2000-12-26=holidays";
    ends(&town, made, 0, "switched off").await;
    ends(&town, made, 2, "is that of another project").await;
    ends(
        &town,
        "project|set|Berlin|--days|mon,tue,wed,thu,fri,sat,sun",
        0,
        "revision 2",
    )
    .await;
    let shown = town.json(&["project", "show", "Berlin"]).await;
    assert_eq!(
        shown["project"]["calendar"]["from"], "10:00",
        "a part that was not named was lost"
    );
    let alone = "project|set|Berlin|--blackout|2000-12-24T12:00=holidays";
    ends(&town, alone, 2, "2026-12-24T18:00/2026-12-27T06:00").await;
    let turned = "project|set|Berlin|--blackout|2000-12-27T06:00/2000-12-24T12:00";
    ends(
        &town,
        turned,
        2,
        "calendar.blackouts[0]: keeps nothing free",
    )
    .await;
    let empty = "project|set|Berlin|--blackout|2000-12-24T12:00/2000-12-24T12:00";
    ends(&town, empty, 2, "from a time to the same time").await;
    let second = "project|set|Berlin|--blackout|2000-12-24|--blackout|2000-12-26=a\u{1b}b";
    ends(
        &town,
        second,
        2,
        "calendar.blackouts[1].why: must be without control characters",
    )
    .await;
    let times = "project|set|Berlin|--blackout|2000-12-24T12:00/2000-12-27T06:00=holidays";
    ends(&town, times, 0, "revision 3").await;
    ends(
        &town,
        "project|show|Berlin",
        0,
        "2000-12-24T12:00 to 2000-12-27T06:00",
    )
    .await;

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

/// A Python with this module, if there is one: the system's, or that of the environment of tools that `MDMD_TEST_PYTHON` names.
fn python_with(module: &str) -> Option<PathBuf> {
    let own =
        std::env::var_os("MDMD_TEST_PYTHON").map(|place| PathBuf::from(place).join("python3"));
    let mut all = own.into_iter().chain([PathBuf::from("python3")]);
    let found = all.find(|python| {
        let tried = std::process::Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        tried.is_ok_and(|done| done.status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED in part: python3 has no module {module}");
    }
    found
}

/// The lines of a calendar, unfolded; every rule of RFC 5545 about lines is looked at on the way.
fn lines(calendar: &str) -> Vec<String> {
    assert!(calendar.ends_with("END:VCALENDAR\r\n"), "{calendar}");
    let mut all: Vec<String> = Vec::new();
    for line in calendar.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.len() <= 75, "longer than 75 bytes: {line}");
        assert!(!line.contains(['\r', '\n']), "a bare line end: {line:?}");
        match line.strip_prefix(' ') {
            Some(rest) => all.last_mut().unwrap().push_str(rest),
            None => all.push(line.to_owned()),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_told_in_their_language_when_it_is_for_them() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let all = town.serials();
    let [ada, jun, nobody] = [&all[0], &all[1], &all[2]];
    let file = format!(
        "serial,owner,email,time zone,language\n\
         {ada},\"=Ada; \"\"A\"\" Lovelace, {{deadline}}\",ada@example.com,Europe/Berlin,de-AT\n\
         {jun},ジュン\\n,\"jun@example.com:x\",Asia/Tokyo,ja\n"
    );
    let file = town.file("owners.csv", file);
    let import = format!("inventory|import|{file}|--from|Old MDM");
    ends(&town, &import, 0, "").await;
    let wrong = town.file("wrong.csv", format!("serial,language\n{ada},de_AT\n"));
    let import = format!("inventory|import|{wrong}|--from|Old MDM");
    ends(&town, &import, 4, "must be a language").await;
    ends(&town, "project|new|Berlin|--zone|Europe/Paris", 0, "").await;
    ends(&town, "wave|new|pilot|--project|Berlin", 0, "").await;
    let (deadline, from) = ("2026-12-10T17:00:00Z", "2026-12-03T08:00:00Z");
    let add = format!("wave|add|pilot|--all|--deadline|{deadline}|--from|{from}");
    ends(&town, &add, 0, "added 3").await;

    // Whoever takes them along in whatever form takes a seal of the record along.
    let left = async || {
        let record = town.record().await;
        record
            .iter()
            .filter(|(_, what)| what == "record.left")
            .count()
    };
    assert_eq!(left().await, 0);
    // The mail merge, as a spreadsheet reads it.
    let told = town.json(&["wave", "notices", "pilot"]).await;
    assert_eq!(left().await, 1);
    assert!(told["record"]["hash"].is_string() && told["at"].is_string());
    let of = |serial: &str| {
        let rows = told["notices"].as_array().unwrap();
        rows.iter()
            .find(|row| row["serial"] == serial)
            .unwrap()
            .clone()
    };
    assert_eq!(of(ada)["language"], "de");
    assert_eq!(
        of(ada)["local_deadline"],
        "2026-12-10 18:00 (Europe/Berlin)"
    );
    assert_eq!(of(jun)["local_deadline"], "2026-12-11 02:00 (Asia/Tokyo)");
    assert!(
        of(jun)["body"]
            .as_str()
            .unwrap()
            .starts_with("ジュン\\n 様")
    );
    // Where nobody is known, the project's clock and English.
    assert_eq!(of(nobody)["language"], "en");
    assert_eq!(
        of(nobody)["local_deadline"],
        "2026-12-10 18:00 (Europe/Paris)"
    );
    assert!(
        of(nobody)["subject"]
            .as_str()
            .unwrap()
            .contains(nobody.as_str())
    );
    let csv = ends(&town, "wave|notices|pilot", 0, "").await.out;
    let head = "owner,address,device,language,available_from,deadline,deadline_local,subject,text,owner_age_s,report_at,server\r\n";
    assert!(csv.starts_with(head), "{csv}");
    assert!(
        csv.contains("\"'=Ada; \"\"A\"\" Lovelace, {deadline}\",ada@example.com,"),
        "{csv}"
    );
    let out = town.directory.path().join("pilot.csv");
    let into = format!("wave|notices|pilot|--out|{}", out.display());
    ends(&town, &into, 0, "3 rows").await;
    assert_eq!(left().await, 3, "one for each, however many pages it has");
    // The same but for the moment and the ages.
    let what = |csv: &[u8]| {
        let rows = mdmd::csv::rows(csv).unwrap().into_iter();
        rows.map(|row| row.cells[..9].to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(what(&std::fs::read(&out).unwrap()), what(csv.as_bytes()));
    ends(&town, &into, 3, "").await;
    let read = mdmd::csv::rows(csv.as_bytes()).unwrap();
    assert_eq!(read.len(), 4);
    for row in &read[1..] {
        let [age, at, server] = &row.cells[9..] else {
            panic!("{row:?}");
        };
        let known = !row.cells[0].is_empty();
        assert_eq!(age.parse::<u64>().is_ok(), known, "{row:?}");
        assert!(
            at.starts_with("20") && server.starts_with("mdmd "),
            "{row:?}"
        );
    }
    assert_eq!(
        read[1].cells[8],
        of(&read[1].cells[2])["body"].as_str().unwrap()
    );

    // Texts of their own, one language for all, and what cannot be right.
    let body = town.file("text.txt", "{owner}: {deadline}\nThe service desk");
    let set = format!("text|set|en|--subject|Soon: {{device}}|--body|{body}");
    ends(&town, &set, 0, "Soon: {device}").await;
    let told = town
        .json(&["wave", "notices", "pilot", "--language", "en-GB"])
        .await;
    assert_eq!(told["notices"][0]["language"], "en");
    let subjects: Vec<&str> = told["notices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects.len(), 3);
    assert!(
        subjects.iter().all(|subject| subject.starts_with("Soon: ")),
        "{subjects:?}"
    );
    ends(
        &town,
        "wave|notices|pilot|--language|en_GB",
        2,
        "language: must be",
    )
    .await;
    let wrong = town.file("wrong.txt", "{nobody}");
    ends(
        &town,
        &format!("text|set|en|--subject|x|--body|{wrong}"),
        2,
        "texts.en.body: has a place",
    )
    .await;
    ends(&town, "text|reset|en", 0, "").await;
    let told = town
        .json(&["wave", "notices", "pilot", "--language", "en"])
        .await;
    assert!(
        told["notices"][0]["subject"]
            .as_str()
            .unwrap()
            .starts_with("Your device")
    );

    // The calendar.
    let ics = town.directory.path().join("pilot.ics");
    ends(
        &town,
        &format!("wave|calendar|pilot|--out|{}", ics.display()),
        0,
        "",
    )
    .await;
    let calendar = std::fs::read_to_string(&ics).unwrap();
    let unfolded = lines(&calendar);
    let count = |line: &str| unfolded.iter().filter(|l| *l == line).count();
    assert_eq!(
        (
            count("BEGIN:VEVENT"),
            count("END:VEVENT"),
            count("DTEND:20261210T170000Z")
        ),
        (3, 3, 3)
    );
    // What is published invites nobody, and says whose it is.
    assert!(!calendar.contains("ATTENDEE") && !calendar.contains("ada@example.com"));
    assert_eq!(count("ORGANIZER;CN=\"Town\":invalid:nomail"), 3);
    let summary = format!(
        "SUMMARY:Ihr Gerät {ada} wechselt bis 2026-12-10 18:00 (Europe/Berlin) zu einem neuen Verwaltungsdienst"
    );
    assert_eq!(count(&summary), 1, "{unfolded:#?}");
    let told = "DESCRIPTION:Guten Tag =Ada\\; \"A\" Lovelace\\, {deadline}\\,\\n\\nTown bringt";
    assert!(
        unfolded.iter().any(|line| line.starts_with(told)),
        "{unfolded:#?}"
    );
    let uids: std::collections::BTreeSet<&String> =
        unfolded.iter().filter(|l| l.starts_with("UID:")).collect();
    assert_eq!(uids.len(), 3);
    // And as a parser that nobody here wrote reads it.
    if let Some(python) = python_with("icalendar") {
        let script = "import icalendar,json,sys\n\
            c=icalendar.Calendar.from_ical(open(sys.argv[1],'rb').read())\n\
            assert not c.errors\n\
            print(json.dumps([[str(e['SUMMARY']),str(e['DESCRIPTION']),e.decoded('DTEND').isoformat(),str(e.get('ORGANIZER')),e.errors] for e in c.walk('VEVENT')]))";
        let done = std::process::Command::new(python)
            .args(["-c", script])
            .arg(&ics)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let read: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(read.len(), 3);
        for entry in &read {
            assert_eq!(entry[2], "2026-12-10T17:00:00+00:00");
            assert_eq!(entry[4], json!([]));
        }
        let found = |serial: &String| {
            read.iter()
                .find(|e| e[0].as_str().unwrap().contains(serial.as_str()))
                .unwrap()
        };
        assert_eq!(found(ada)[1], of(ada)["body"]);
        assert_eq!(found(jun)[1], of(jun)["body"]);
    }

    // Who is withdrawn is told no more, and the entry says so; it is the same entry.
    ends(
        &town,
        &format!("wave|remove|pilot|{jun}|--reason|stays"),
        0,
        "removed 1",
    )
    .await;
    let told = town.json(&["wave", "notices", "pilot"]).await;
    assert_eq!(told["notices"].as_array().unwrap().len(), 2);
    let again = ends(&town, "wave|calendar|pilot", 0, "").await.out;
    let again = lines(&again);
    assert_eq!(again.iter().filter(|l| *l == "STATUS:CANCELLED").count(), 1);
    let later: std::collections::BTreeSet<&String> =
        again.iter().filter(|l| l.starts_with("UID:")).collect();
    assert_eq!(later, uids);
    ends(&town, "wave|calendar|nowhere", 3, "").await;
}
