//! Migrations from the command line against the simulated Apple: a plan that sends nothing, an act that takes the digest of
//! its plan, the proof by re-reading, and every other end.

mod town;

use std::time::Duration;

use fixtures::apple::organisation::OrganisationKind;
use fixtures::world::{Fleet, WorldConfig};
use mdm_core::clock::Timestamp;
use serde_json::json;
use town::Town;

/// So many days after the town's present moment, as one writes it.
fn in_days(town: &Town, days: u64) -> String {
    let now = Timestamp::from_millis(town.world.clock().now_ms());
    (now + Duration::from_secs(days * 86_400)).to_string()
}

/// How many requests that change something at the organisation API Apple has seen.
fn changes(town: &Town) -> usize {
    town.world
        .apple()
        .ledger()
        .iter()
        .filter(|e| e.path.contains("orgDeviceActivities") && e.method == "POST")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_assigned_extended_forced_and_cancelled_with_proof() {
    let town = Town::found(4).await;
    town.furnish().await;
    let serials = town.serials();
    let csv = town.file(
        "list.csv",
        format!("name,Serial Number\na,{}\nb,{}\n", serials[0], serials[1]),
    );
    let deadline = in_days(&town, 30);

    // A bad file, a bad deadline: nothing is done.
    let bad = town.file(
        "bad.csv",
        format!("name,serial\na,{}\nb,not one\n", serials[0]),
    );
    let assign = |csv: &str, deadline: &str| -> Vec<String> {
        ["migration", "assign", "--csv", csv, "--deadline", deadline]
            .map(str::to_owned)
            .to_vec()
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        town.mdmd(&arguments).await
    };
    let ended = run(assign(&bad, &deadline)).await;
    assert_eq!(ended.exit, 2);
    assert!(ended.err.contains("line 3, column 2"), "{}", ended.err);
    assert_eq!(run(assign(&csv, "tomorrow")).await.exit, 2);
    // One that Apple takes for nobody is no finding of a device.
    let past = Timestamp::from_millis(town.world.clock().now_ms() - 86_400_000).to_string();
    for (deadline, word) in [(past, "has passed"), (in_days(&town, 91), "90 days")] {
        let ended = run(assign(&csv, &deadline)).await;
        assert_eq!(ended.exit, 2, "{}", ended.err);
        assert!(ended.err.contains(word), "{}", ended.err);
    }

    // Of nobody there is nothing to accept.
    let stranger = town.file("stranger.csv", "serial\nC02NOBODYXX\n");
    let ended = run(assign(&stranger, &deadline)).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let said = ended.err.contains("every device is left out");
    assert!(said && !ended.err.contains("--accept"), "{}", ended.err);

    // And nothing of the question stays behind.
    let listed = town.json(&["device", "list"]).await.to_string();
    assert!(!listed.contains("C02NOBODYXX"), "{listed}");

    // The plan: the exact request, the sentence, the digest; nothing is sent.
    let mut planned = assign(&csv, &deadline);
    planned.push("--json".to_owned());
    let ended = run(planned.clone()).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let plan = ended.json();
    let body = plan["requests"][0]["body"].to_string();
    assert!(
        body.contains("ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"),
        "{body}"
    );
    assert!(serials[..2].iter().all(|s| body.contains(s)), "{body}");
    assert!(
        plan["consequence"].as_str().unwrap().contains("2 devices"),
        "{plan}"
    );
    assert_eq!(plan["findings"], json!({}));
    assert_eq!(changes(&town), 0);
    assert!(plan["since"].is_null(), "nobody has looked: {plan:#}");
    let digest = plan["digest"].as_str().unwrap().to_owned();

    // Another list does not fit the digest.
    let ended = town
        .mdmd(&[
            "migration",
            "assign",
            &serials[0],
            "--deadline",
            &deadline,
            "--accept",
            &digest,
        ])
        .await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert_eq!(changes(&town), 0);

    // The act, and its proof.
    let accepted = |mut arguments: Vec<String>, digest: &str| {
        arguments.extend(["--accept".to_owned(), digest.to_owned()]);
        arguments
    };
    let ended = run(accepted(planned.clone(), &digest)).await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert!(
        ended.err.contains("POST /v1/orgDeviceActivities"),
        "{}",
        ended.err
    );
    assert_eq!(ended.json()["proof"]["proved"].as_array().unwrap().len(), 2);
    assert_eq!(changes(&town), 1);
    for serial in &serials[..2] {
        let at = town
            .world
            .apple()
            .deadline_ms(serial)
            .map(Timestamp::from_millis);
        assert_eq!(at.map(|t| t.to_string()), Some(deadline.clone()));
        assert_eq!(
            town.world.apple().assigned_server(serial).as_deref(),
            Some(town.world.destination_server())
        );
    }

    // Again: both are in a wave already, so nothing can be done.
    let ended = run(planned.clone()).await;
    let digest = ended.json()["digest"].as_str().unwrap().to_owned();
    assert_eq!(ended.json()["blocked"], 2);
    let new = ended.json()["since"]["appeared"].to_string();
    assert!(new.contains("in.other.wave"), "{new}");
    assert_eq!(run(accepted(planned, &digest)).await.exit, 3);

    // A later deadline is an extension, an earlier one must be forced and takes a reason.
    let acts = [
        ("extend", 60, Vec::new(), 0),
        ("extend", 20, Vec::new(), 3),
        // It takes somebody else's consent.
        ("force", 10, vec!["--reason", "the old contract ends"], 3),
    ];
    for (name, days, more, wanted) in acts {
        let to = in_days(&town, days);
        let mut arguments = vec![
            "migration",
            name,
            "--csv",
            &csv,
            "--deadline",
            &to,
            "--json",
        ];
        arguments.extend(more);
        let plan = town.mdmd(&arguments).await;
        assert_eq!(plan.exit, 3, "{}", plan.err);
        let digest = plan.json()["digest"].as_str().unwrap().to_owned();
        arguments.extend(["--accept", &digest]);
        let ended = town.mdmd(&arguments).await;
        assert_eq!(ended.exit, wanted, "{name} {days}: {}", ended.err);
        if wanted == 0 {
            let at = town
                .world
                .apple()
                .deadline_ms(&serials[0])
                .map(Timestamp::from_millis);
            assert_eq!(at.map(|t| t.to_string()), Some(to));
        }
    }
    let asked = town.json(&["approval", "list"]).await;
    let number = asked["approvals"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(asked["approvals"].as_array().unwrap().len(), 1, "{asked}");
    assert_eq!(town.mdmd(&["approval", "confirm", &number]).await.exit, 3);
    let helper = town.token("Ada", "helpdesk", &[]).await;
    let refused = town
        .mdmd_by(&helper, &["approval", "confirm", &number])
        .await;
    assert!(
        refused.err.contains("takes the role of an approver"),
        "{}",
        refused.err
    );
    let bo = town.token("Bo", "approver", &[]).await;
    let ended = town
        .mdmd_by(&bo, &["approval", "confirm", &number, "--json"])
        .await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert_eq!(ended.json()["proof"]["proved"].as_array().unwrap().len(), 2);
    let ended = town
        .mdmd(&[
            "migration",
            "force",
            &serials[0],
            "--deadline",
            &in_days(&town, 1),
        ])
        .await;
    assert_eq!(ended.exit, 2, "force takes a reason: {}", ended.err);

    // Back to where they came from, proved.
    let cancel = ["migration", "cancel", &serials[0], "--json"];
    let digest = town.mdmd(&cancel).await.json()["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let ended = town
        .mdmd(&[cancel.as_slice(), &["--accept", &digest]].concat())
        .await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert_eq!(
        town.world.apple().assigned_server(&serials[0]).as_deref(),
        Some(town.world.original_server())
    );

    let status = town.json(&["migration", "status", "--csv", &csv]).await;
    assert_eq!(
        status["migrations"].as_array().unwrap().len(),
        2,
        "{status}"
    );

    // Of whom there is none is named.
    let ended = town
        .mdmd(&[
            "migration",
            "status",
            &serials[0],
            &serials[3],
            "NOSUCH9",
            "--json",
        ])
        .await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let mut without = [serials[3].as_str(), "NOSUCH9"];
    without.sort_unstable();
    assert_eq!(ended.json()["without"], json!(without));
    assert_eq!(ended.json()["migrations"].as_array().unwrap().len(), 1);
    assert!(ended.err.contains("NOSUCH9"), "{}", ended.err);

    // A list that is too long for one request says what to do.
    let long: String = (0..700_000).map(|n| format!("C02X{n:09}\n")).collect();
    let long = town.file("long.csv", long);
    let ended = town.mdmd(&["migration", "cancel", "--csv", &long]).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(ended.err.contains("divide the file"), "{}", ended.err);

    // Who did it is in the record.
    let record = town.record().await;
    for deed in [
        "migration.assign",
        "migration.extend",
        "migration.force",
        "migration.cancel",
    ] {
        let by = |entry: &(String, String)| entry.1 == deed && entry.0 == "local administrator";
        assert!(record.iter().any(by), "{deed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_disagrees_ends_with_4_and_one_that_does_not_come_with_5() {
    let town = Town::found(3).await;
    town.furnish().await;
    let serials = town.serials();
    town.world
        .apple()
        .fail_in_activities(&serials[0], Some("DEVICE_NOT_ELIGIBLE"));
    let deadline = in_days(&town, 30);
    let act = async |list: &[&str], more: &[&str]| {
        let mut arguments = vec!["migration", "assign", "--deadline", &deadline, "--json"];
        arguments.extend(list);
        let plan = town.mdmd(&arguments).await;
        assert_eq!(plan.exit, 3, "{}", plan.err);
        let digest = plan.json()["digest"].as_str().unwrap().to_owned();
        arguments.extend(["--accept", &digest]);
        arguments.extend(more);
        town.mdmd(&arguments).await
    };
    let ended = act(&[&serials[0], &serials[1]], &[]).await;
    assert_eq!(ended.exit, 4, "{}", ended.err);
    let proof = &ended.json()["proof"];
    assert_eq!(proof["proved"], json!([serials[1]]), "{proof}");
    assert!(proof["disagree"][&serials[0]].is_string(), "{proof}");

    let ended = act(&[&serials[2]], &["--wait", "0"]).await;
    assert_eq!(ended.exit, 5, "{}", ended.err);
    assert_eq!(ended.json()["proof"]["pending"], json!([serials[2]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_school_whose_api_knows_no_migrations_says_so_and_is_asked_once() {
    let now = mdm_core::clock::Clock::now(&mdm_core::clock::SystemClock);
    let mut config = WorldConfig::new(7, now.as_millis(), Fleet::Count(3));
    config.organisation = OrganisationKind::School;
    config.habits.migrations = false;
    let town = Town::with(config).await;
    town.furnish().await;
    // Its devices are read all the same, from the lists.
    let pulled = town.mdmd(&["inventory", "pull", "--wait", "60"]).await;
    assert_eq!(pulled.exit, 0, "{}", pulled.err);
    let serial = town.serials().remove(0);
    let view = &town.json(&["inventory", "list", &serial]).await["views"][0];
    let says = |words: &str| view.to_string().contains(words);
    assert!(says(town.world.original_server()), "{view}");

    let deadline = in_days(&town, 30);
    let assign = [
        "migration",
        "assign",
        &serial,
        "--deadline",
        &deadline,
        "--json",
    ];
    let plan = town.mdmd(&assign).await;
    assert_eq!(plan.exit, 3, "{}", plan.err);
    let digest = plan.json()["digest"].as_str().unwrap().to_owned();
    let ended = town
        .mdmd(&[assign.as_slice(), &["--accept", &digest]].concat())
        .await;
    assert_eq!(ended.exit, 4, "{}", ended.err);
    let why = ended.json()["proof"]["disagree"][&serial].to_string();
    let word = "not available in this organisation: ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE";
    assert!(why.contains(word), "{why}");
    assert_eq!(changes(&town), 1);
    town.minutes(60).await;
    assert_eq!(changes(&town), 1, "it is no failure that time mends");
    let service = town.world.apple().assigned_server(&serial);
    assert_eq!(service.as_deref(), Some(town.world.original_server()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_its_scope_names_and_secrets_must_be_named() {
    let town = Town::found(2).await;
    town.furnish().await;
    let serials = town.serials();
    town.json(&["inventory", "pull"]).await;
    let reveal = [
        "device",
        "reveal",
        &serials[0],
        "recovery_key",
        "--reason",
        "locked out",
    ];
    let usual = town.token("Usual", "admin", &[]).await;
    let ended = town.mdmd_by(&usual, &reveal).await;
    assert!(ended.err.contains("scope"), "{} {}", ended.exit, ended.err);
    let named = town
        .token("Named", "helpdesk", &["devices", "secrets"])
        .await;
    // It may look, and there is nothing to be seen.
    let ended = town.mdmd_by(&named, &reveal).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert!(ended.err.contains("no such secret"), "{}", ended.err);
    let mut other = reveal;
    other[3] = "ca_private_key";
    let ended = town.mdmd_by(&named, &other).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    let kept = town
        .mdmd_by(&named, &["device", "secrets", &serials[0], "--json"])
        .await;
    assert_eq!(kept.json()["secrets"], json!([]), "{}", kept.err);
    let ended = town.mdmd_by(&named, &["wave", "list"]).await;
    assert!(ended.err.contains("scope"), "{} {}", ended.exit, ended.err);
    let ended = town
        .mdmd(&[
            "api-token",
            "new",
            "Odd",
            "--role",
            "viewer",
            "--scope",
            "nonsense",
        ])
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(ended.err.contains("scopes: must be parts"), "{}", ended.err);
    let list = town.json(&["api-token", "list"]).await.to_string();
    assert!(list.contains(r#""scopes":["devices","secrets"]"#), "{list}");
}
