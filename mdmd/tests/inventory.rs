//! What is known of devices, ADE profiles and Apple's budget from the command line, against the simulated Apple.

mod town;

use serde_json::{Value, json};
use town::Town;

#[tokio::test(flavor = "multi_thread")]
async fn three_views_are_pulled_listed_exported_and_contradict_when_they_must() {
    let town = Town::found(5).await;
    // Nothing to ask Apple with yet.
    for (arguments, word) in [
        (&["inventory", "pull"][..], "mdmd business add"),
        (&["business", "sync"], "mdmd token import"),
    ] {
        let begun = std::time::Instant::now();
        let ended = town.mdmd(arguments).await;
        assert_eq!(ended.exit, 3, "{}", ended.err);
        assert!(ended.err.contains(word), "{}", ended.err);
        assert!(begun.elapsed().as_secs() < 20, "at once, not after a wait");
    }
    // A key that is none is named by its file, before anything is asked.
    let nonsense = town.file("nonsense.key", [7, 0, 255, 3]);
    let add = [
        "business",
        "add",
        "--client-id",
        "BUSINESSAPI.1",
        "--key-id",
        "k",
        "--key",
        &nonsense,
    ];
    let ended = town.mdmd(&add).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(
        ended.err.contains("nonsense.key") && !ended.err.contains("POST"),
        "{}",
        ended.err
    );
    // An account that cannot be one is named by its option.
    let mut wrong = add;
    wrong[3] = "FOO";
    wrong[7] = "-";
    let key = town.world.apple().api_account().private_key_pem;
    let ended = town.mdmd_with(&wrong, Some(key.as_bytes())).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(ended.err.contains("--client-id"), "{}", ended.err);
    town.furnish().await;
    let serials = town.serials();
    let apple = town.world.apple();
    apple.assign(&serials[0], Some(town.world.destination_server()));
    town.minutes(5).await;

    let services = town.json(&["business", "services"]).await;
    let ours: Vec<&Value> = services["services"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["ours"] == true)
        .collect();
    assert_eq!(ours.len(), 1, "{services}");
    assert_eq!(ours[0]["name"], "Destination MDM");

    let pulled = town.json(&["business", "sync"]).await;
    assert!(pulled["complete"].is_string(), "{pulled}");
    let listed = town.json(&["inventory", "list"]).await;
    let views = listed["views"].as_array().unwrap();
    assert_eq!(views.len(), serials.len());
    // Of a list, those that are known are shown and the others are named.
    for more in [0, 200] {
        let named = ["inventory", "list", "--json", &serials[1], "NOSUCH9"];
        let strangers: Vec<String> = (0..more).map(|n| format!("NOSUCHX{n}")).collect();
        let named: Vec<&str> = named
            .into_iter()
            .chain(strangers.iter().map(String::as_str))
            .collect();
        let ended = town.mdmd(&named).await;
        assert_eq!(ended.exit, 3, "{}", ended.err);
        assert!(ended.err.contains("NOSUCH9"), "{}", ended.err);
        assert_eq!(ended.json()["views"][0]["serial"], serials[1]);
    }
    let of = |views: &[Value], serial: &str| {
        views
            .iter()
            .find(|v| v["serial"] == serial)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        of(views, &serials[0])["api"]["service_name"],
        "Destination MDM"
    );
    assert_eq!(
        of(views, &serials[1])["api"]["service_name"],
        "Original MDM"
    );
    assert!(of(views, &serials[1])["no_profile"]["sentence"].is_string());

    // The device in our list gets its profile, proved by reading it back.
    let assigned = town.json(&["assignment", "assign", &serials[0]]).await;
    let view = &assigned["devices"][0];
    assert_eq!(view["no_profile"], Value::Null, "{view}");
    let profiles = town.json(&["assignment", "ade-profile"]).await;
    let profile = &profiles["servers"][0]["profiles"][0];
    assert_eq!(profile["proved_awaiting"], true, "{profiles}");
    assert_eq!(view["assignment"]["profile"], profile["uuid"]);
    let ended = town.mdmd(&["assignment", "assign", &serials[1]]).await;
    assert_eq!(ended.exit, 2, "it is in no list of ours: {}", ended.err);
    assert!(ended.err.contains(&serials[1]), "{}", ended.err);

    // What a profile says can be changed, and never that it awaits.
    let bad = town.file("bad.json", r#"{"await_device_configured": false}"#);
    assert_eq!(
        town.mdmd(&["assignment", "ade-profile", "--change", &bad])
            .await
            .exit,
        2
    );
    let good = town.file("good.json", r#"{"department": "Classroom"}"#);
    let changed = town
        .json(&["assignment", "ade-profile", "--change", &good])
        .await;
    assert_eq!(changed["servers"][0]["proved"], true, "{changed}");
    assert_eq!(
        changed["servers"][0]["profiles"].as_array().unwrap().len(),
        2
    );
    let assigned = town.json(&["assignment", "assign", &serials[0]]).await;
    assert_eq!(assigned["devices"][0]["no_profile"], Value::Null);
    let profiles = town.json(&["assignment", "ade-profile"]).await;
    assert_eq!(profiles["options"]["department"], "Classroom");

    // A move behind our back: the list still shows what the organisation API does not.
    let export = town.directory.path().join("all.csv");
    let export = export.to_str().unwrap();
    town.json(&["inventory", "export", "--out", export]).await;
    let rows = mdmd::csv::rows(&std::fs::read(export).unwrap()).unwrap();
    assert_eq!(rows.len(), serials.len() + 1);
    let found = mdmd::csv::column(&std::fs::read(export).unwrap(), &["serial"], |cell| {
        Ok(cell.to_owned())
    })
    .unwrap();
    assert_eq!(found.len(), serials.len());
    // What is there is left as it is, with what to do; a dash is no file.
    let before = std::fs::read(export).unwrap();
    for (out, exit, says) in [
        (export, 3, "is there already, and is left as it is"),
        ("-", 2, "the command prints without it"),
    ] {
        for words in [&["inventory", "export"][..], &["report", "requests"]] {
            let ended = town.mdmd(&[words, &["--out", out]].concat()).await;
            assert_eq!(ended.exit, exit, "{words:?} {out}: {}", ended.err);
            assert!(ended.err.contains(says), "{words:?} {out}: {}", ended.err);
        }
    }
    assert_eq!(std::fs::read(export).unwrap(), before);
    assert!(!std::path::Path::new("-").exists());
    // Whoever stops reading an export changes nothing.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(town.data())
        .args(["inventory", "export"])
        .stdout(writer)
        .spawn()
        .unwrap();
    let ended = tokio::task::spawn_blocking(|| ended.wait_with_output());
    assert_eq!(ended.await.unwrap().unwrap().status.code(), Some(0));
    for form in [&["--format", "json"][..], &["--json"]] {
        let lines = town
            .mdmd(&[&["inventory", "export"][..], form].concat())
            .await;
        assert_eq!(lines.out.lines().count(), serials.len());
        for line in lines.out.lines() {
            let view: Value = serde_json::from_str(line).unwrap();
            assert!(view["api"]["seen"].is_string(), "{view}");
        }
    }

    let budget = town.json(&["business", "budget"]).await;
    let reads = &budget["budgets"][0]["reads"];
    assert_eq!(reads["allowed"], json!({ "minute": 20 }), "{budget}");
    assert!(reads["used"].as_u64().unwrap() + reads["left"].as_u64().unwrap() <= 21);
    assert!(budget["budgets"][0]["lists"]["left"].as_u64() <= reads["left"].as_u64());
    let text = town.mdmd(&["business", "budget"]).await;
    assert!(
        text.out.contains("QUEUE EMPTY") && text.out.contains("lists"),
        "{}",
        text.out
    );

    // Apple asks for silence; a person who knows better ends it.
    use mdm_core::budget::{Budget, ORGANISATION_API};
    let org = town.org().await;
    let id = org.organisation().id;
    let store = town.app.mdm.store();
    let mut row: Budget = store.budget(id, ORGANISATION_API).await.unwrap().unwrap();
    let mut limiter = row.limiter(mdm_core::budget::allowance(20, 10));
    let day = std::time::Duration::from_secs(86_400);
    limiter.pause(town.app.mdm.now().as_millis(), day);
    row.state = limiter.state().clone();
    let mut batch = mdm_core::store::Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let text = town.mdmd(&["business", "budget"]).await;
    assert!(text.out.contains("Apple wants silence"), "{}", text.out);
    let ended = town.mdmd(&["inventory", "pull", "--wait", "1"]).await;
    let says = ended.err.contains("Apple has asked for silence until");
    assert!(ended.exit == 5 && says, "{}: {}", ended.exit, ended.err);
    let budget = town.json(&["business", "budget"]).await;
    assert!(budget["budgets"][0]["paused_until"].is_string(), "{budget}");
    let budget = town.json(&["business", "budget", "--lift"]).await;
    assert_eq!(
        budget["budgets"][0]["paused_until"],
        Value::Null,
        "{budget}"
    );
    town.json(&["business", "services"]).await;

    // Lists can be read while the server is stopped, acts cannot be done.
    let record = town.record().await;
    for deed in [
        "budget.pauses-lifted",
        "sync.asked",
        "assignment.asked",
        "ade-profile.set",
    ] {
        let by = |entry: &(String, String)| entry.1 == deed && entry.0 == "local administrator";
        assert!(record.iter().any(by), "{deed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_an_other_admin_moves_away_shows_as_a_contradiction() {
    let town = Town::found(2).await;
    town.furnish().await;
    let serials = town.serials();
    let apple = town.world.apple();
    apple.assign(&serials[0], Some(town.world.destination_server()));
    town.minutes(5).await;
    town.json(&["business", "sync"]).await;
    town.json(&["assignment", "assign", &serials[0]]).await;
    let none = town.json(&["inventory", "list", "--contradictions"]).await;
    assert_eq!(none["views"], json!([]));
    // A deadline that nobody here has asked for.
    let deadline = town.world.clock().now_ms() + 20 * 86_400_000;
    assert!(apple.assign_with_deadline(&serials[1], town.world.destination_server(), deadline));
    town.minutes(5).await;
    town.json(&["business", "sync"]).await;
    let listed = town.json(&["inventory", "list", "--contradictions"]).await;
    let kinds = listed["views"][0]["contradictions"].to_string();
    assert!(kinds.contains("unexpected-migration"), "{listed}");
}
