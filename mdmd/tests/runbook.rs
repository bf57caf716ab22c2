//! Runbooks from the command line: kept under a name, edited with what is wrong named by step and field, in use and drifting, tried on
//! a simulated device; and one step of a device done again.

mod town;

use serde_json::json;
use town::Town;

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_edited_used_and_drifts() {
    let town = Town::found(2).await;
    town.furnish().await;
    town.ends("runbook|edit|field", 2, "--platform").await;
    town.ends(
        "runbook|edit|field|--platform|ios|network.timeout=5m|--dry-run",
        0,
        "nothing was",
    )
    .await;
    town.ends("runbook|show|field", 3, "no such runbook").await;
    town.ends(
        "runbook|edit|field|--platform|ios|network.timeout=5m|--reason|slow lines",
        0,
        "revision 1",
    )
    .await;
    // The same again is no new edit, and capitals make no other name.
    town.ends("runbook|edit|Field|network.timeout=5m", 0, "revision 1")
        .await;
    for (change, says) in [
        (
            "trust.requires=network",
            "runbook.steps.trust.requires: steps require each other in a circle",
        ),
        (
            "network.on_timeout=skip",
            "runbook.steps.network.on_timeout",
        ),
        ("network.timeout=0s", "runbook.steps.network.timeout_secs"),
        ("verify.required=false", "runbook.steps.verify.required"),
        (
            "--add|fv-escrow",
            "runbook.steps.fv-escrow: is for Macs only",
        ),
        ("--remove|release", "runbook.steps.release"),
        ("hard_ceiling=5h", "runbook.hard_ceiling_secs"),
    ] {
        town.ends(&format!("runbook|edit|field|{change}"), 2, says)
            .await;
    }
    let mut content = town.json(&["runbook", "show", "field"]).await;
    content["profiles"] = json!([{ "identifier": "net.example.none", "role": "network" }]);
    let file = town.file("no-profile.json", content.to_string());
    let says = "runbook.profiles[0].content: is missing, and the library has no profile";
    town.ends(&format!("runbook|edit|field|--file|{file}"), 2, says)
        .await;
    content["profiles"] = json!([]);
    content["steps"][0]["timout_secs"] = json!(5);
    let file = town.file("slip.json", content.to_string());
    let says =
        "runbook.steps.identify.timout_secs: is not known here: must be one of `id`, `requires`,";
    town.ends(&format!("runbook|edit|field|--file|{file}"), 2, says)
        .await;
    let mut content = town.json(&["runbook", "show", "field"]).await;
    content["apps"] =
        json!([{ "bundle_id": "com.acme.notes", "store_id": 4711, "policy": "keep" }]);
    let file = town.file("slip-of-app.json", content.to_string());
    let says = "runbook.apps[0].policy: is not known here: must be one of `bundle_id`, `store_id`, `manifest_url`, `action`";
    town.ends(&format!("runbook|edit|field|--file|{file}"), 2, says)
        .await;

    town.ends("project|new|Move|--runbook|macos=field", 2, "is for ios")
        .await;
    town.ends("project|new|Move|--runbook|ios=nobodys", 2, "no such file")
        .await;
    town.ends("project|new|Move|--runbook|ios=field", 0, "is Move")
        .await;
    let list = town.json(&["runbook", "list"]).await;
    let uses = &list["runbooks"][0]["uses"];
    assert_eq!(uses[0]["name"], "Move", "{list}");
    assert_eq!(uses[0]["drift"], false, "{list}");
    town.ends("runbook|edit|field|network.retries=4", 0, "revision 2")
        .await;
    town.ends("runbook|list", 0, "project Move (revision 1)")
        .await;
    let first = town
        .json(&["runbook", "show", "field", "--revision", "1"])
        .await;
    let retries = |runbook: &serde_json::Value| {
        let steps = runbook["steps"].as_array().unwrap().iter();
        let network = steps.clone().find(|step| step["id"] == "network");
        network.unwrap()["retries"].clone()
    };
    assert_eq!(retries(&first), 2);
    assert_eq!(retries(&town.json(&["runbook", "show", "field"]).await), 4);
    let record = town.record().await;
    let edits = record.iter().filter(|(_, what)| what == "runbook.edited");
    assert_eq!(edits.count(), 2);

    // One that something goes by stays; the name of one that was removed is free, for another platform too.
    for (name, exit, says) in [
        ("field", 3, "the project Move has it"),
        ("nobodys", 3, "no such runbook"),
        ("..", 2, "is the name of nothing"),
    ] {
        town.ends(&format!("runbook|remove|{name}"), exit, says)
            .await;
    }
    town.ends("project|close|Move", 0, "").await;
    town.ends("runbook|remove|Field", 0, "field is removed")
        .await;
    town.ends("runbook|show|field", 3, "no such runbook").await;
    town.ends("runbook|remove|field", 3, "no such runbook")
        .await;
    let list = town.json(&["runbook", "list"]).await;
    assert_eq!(list["runbooks"], json!([]));
    let anew = "runbook|edit|FIELD|--platform|macos|network.timeout=5m";
    town.ends(anew, 0, "revision 3").await;
    let list = town.json(&["runbook", "list"]).await;
    let it = &list["runbooks"][0];
    assert_eq!(
        (&it["name"], &it["platform"]),
        (&json!("FIELD"), &json!("macos"))
    );
    assert_eq!(it["removed"], serde_json::Value::Null);
    let record = town.record().await;
    let removed = record.iter().filter(|(_, what)| what == "runbook.removed");
    assert_eq!(removed.count(), 1);

    // A copy of the standard one is nobody's who has that, before it says something else and after.
    let usual = town.json(&["runbook", "show", "ios"]).await;
    let usual = town.file("usual.json", usual.to_string());
    town.ends("project|new|Usual", 0, "is Usual").await;
    let copy = format!("runbook|edit|copy|--platform|ios|--file|{usual}");
    town.ends(&copy, 0, "revision 1").await;
    for _ in 0..2 {
        let list = town.json(&["runbook", "list"]).await;
        let mut kept = list["runbooks"].as_array().unwrap().iter();
        let copy = kept.find(|runbook| runbook["name"] == "copy").unwrap();
        assert_eq!(copy["uses"], json!([]), "{list}");
        town.ends("runbook|edit|copy|network.timeout=7m", 0, "revision 2")
            .await;
    }
    town.ends("project|set|Usual|--runbook|ios=copy", 0, "Usual")
        .await;
    town.ends("runbook|remove|copy", 3, "the project Usual has it")
        .await;
    town.ends("project|set|Usual|--runbook|ios=none", 0, "Usual")
        .await;
    town.ends("runbook|remove|copy", 0, "copy is removed").await;

    // A device that has not enrolled has no step that could be done again.
    let serial = &town.serials()[0];
    town.json(&["inventory", "pull"]).await;
    let again = format!("device|retry-step|{serial}|network");
    town.ends(&again, 3, "has no set-up").await;
    town.ends("device|retry-step|NOBODY123|network", 3, "no such device")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_runbook_is_tried_before_anybody_uses_it() {
    let town = Town::found(1).await;
    let mut content = town.json(&["runbook", "show", "ios"]).await;
    content["apps"] = json!([
        { "bundle_id": "com.acme.notes", "store_id": 4711, "manifest_url": null, "action": "keep-if-present" },
        { "bundle_id": "com.acme.mail", "store_id": 4712, "manifest_url": null, "action": "install" },
        { "bundle_id": "com.acme.old", "store_id": 4713, "manifest_url": null, "action": "drop" },
    ]);
    let file = town.file("ios.json", content.to_string());
    town.ends(
        &format!("runbook|edit|ours|--platform|ios|--file|{file}"),
        0,
        "revision 1",
    )
    .await;
    let tried = town
        .ends("runbook|try|ours|--devices|2", 0, "Migrated")
        .await;
    for says in [
        "apps-keep done",
        "apps-required done",
        "release done",
        "verify done",
    ] {
        assert!(tried.out.contains(says), "{says}: {}", tried.out);
    }
    // The standard one has no apps: it is tried on devices without any.
    town.ends("runbook|try|ios", 0, "Migrated").await;
    // What keeps a device back before its migration is said.
    let mut narrow = content.clone();
    for step in narrow["steps"].as_array_mut().unwrap() {
        if ["apps-keep", "apps-required"].contains(&step["id"].as_str().unwrap()) {
            step["only"] = json!(["lab"]);
        }
    }
    let file = town.file("narrow.json", narrow.to_string());
    let tried = town
        .ends(
            &format!("runbook|try|{file}|--platform|ios"),
            4,
            "apps.mapped",
        )
        .await;
    assert!(
        tried.err.contains("nothing was tried on 1 of 1 device"),
        "{}",
        tried.err
    );
    // An app that is forgotten is one that the world misses: the try says so.
    let file = town.file(
        "macos.json",
        town.json(&["runbook", "show", "macos"]).await.to_string(),
    );
    town.ends(
        &format!("runbook|try|{file}|--platform|macos"),
        0,
        "fv-escrow done",
    )
    .await;
    content["steps"][0]["timeout_secs"] = json!(0);
    let file = town.file("bad.json", content.to_string());
    town.ends(
        &format!("runbook|try|{file}|--platform|ios"),
        2,
        "steps.identify.timeout_secs",
    )
    .await;
}
