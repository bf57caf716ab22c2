//! A project from the command line against the simulated Apple: a wave by what its devices have in common, spread over office
//! hours, looked at, accepted in somebody's name, submitted with its typed name and proved; the next one kept back by its gate; called
//! back, withdrawn, closed.

mod town;

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
    assert!(
        planned.contains("T08:00") || planned.contains("T09:00"),
        "{planned}"
    );

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
    ends(&town, &old, 3, "have changed since they were accepted").await;
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
    let done = ends(&town, "wave|submit|pilot|--confirm|pilot|--json", 0, "").await;
    assert_eq!(done.json()["proof"]["proved"].as_array().unwrap().len(), 2);
    assert_eq!(changes(&town), 1);

    // The next one waits.
    ends(&town, "wave|gate|pilot", 3, "0 of 2 devices have migrated").await;
    ends(
        &town,
        "wave|gate|pilot|--sign|they are well",
        3,
        "signed           by local administrator",
    )
    .await;
    ends(&town, "wave|plan|main", 0, "").await;
    let kept = ends(&town, "wave|whatif|main|--json", 3, "").await;
    let against = kept.json()["against_all"].to_string();
    assert!(against.contains("gate: pilot: 0 of 2"), "{against}");
    let accept = format!("wave|accept|main|--digest|{}", digest(&kept));
    ends(&town, &accept, 0, "").await;
    ends(&town, "wave|submit|main|--confirm|main", 3, "gate: pilot").await;
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
    ends(
        &town,
        "project|close|Berlin",
        3,
        "2 devices have not come to an end",
    )
    .await;
    let plan = ends(&town, "wave|cancel|pilot|--json", 3, "").await;
    ends(
        &town,
        &format!("wave|cancel|pilot|--accept|{}", digest(&plan)),
        0,
        "proved     2",
    )
    .await;
    for serial in town.serials() {
        let at = town.world.apple().assigned_server(&serial);
        assert_ne!(
            at.as_deref(),
            Some(town.world.destination_server()),
            "{serial}"
        );
    }
    ends(&town, "project|close|Berlin", 0, "is closed").await;
    ends(&town, "wave|new|late|--project|Berlin", 3, "is closed").await;

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
