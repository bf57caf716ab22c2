//! The what-if from the command line: what nobody has told stands against iPhones and iPads, an export of the service that they
//! leave and a runbook with its apps take that away, and nothing is sent to Apple by looking.

mod town;

use std::fmt::Write as _;

use town::Town;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_looked_at_before_anything_is_asked_of_apple() {
    let town = Town::found(4).await;
    town.furnish().await;
    let defaults = ["apps.mapped=default", "apps.source=default"];
    let rules = [
        "organisation",
        "what-if",
        "--unknown",
        defaults[0],
        "--unknown",
        defaults[1],
    ];
    town.json(&rules).await;
    town.json(&["inventory", "pull"]).await;
    let changes = || {
        let ledger = town.world.apple().ledger();
        ledger
            .iter()
            .filter(|e| e.method == "POST" && e.path.contains("orgDeviceActivities"))
            .count()
    };

    let ended = town.mdmd(&["check", "--all", "--json"]).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let report = ended.json();
    let rows = report["matrix"]["rows"].as_array().unwrap();
    let blocking = rows.iter().filter(|r| r["counts_as"] == "block");
    let blocking: Vec<&str> = blocking.map(|r| r["check"].as_str().unwrap()).collect();
    assert_eq!(blocking, ["apps.mapped", "apps.source"]);
    assert!(report["since"].is_null(), "nobody has looked: {report:#}");
    let again = town.mdmd(&["check", "--all", "--json"]).await.json();
    assert_eq!(again["since"]["appeared"], serde_json::json!([]));

    // What the original exports: a row for each app.
    let mut file = "Serial Number;OS Version;Enrollment Method;Bundle ID;Store ID\n".to_owned();
    for device in town.world.original().export() {
        let identity = &device.identity;
        for (bundle, store_id, _) in &device.apps {
            let (serial, system) = (&identity.serial, &identity.os_version);
            writeln!(file, "{serial};{system};ADE;{bundle};{store_id}").unwrap();
        }
    }
    let export = town.file("export.csv", &file);
    let import = ["apps", "import", &export, "--from", "The old MDM"];
    let taken = town.json(&import).await;
    assert_eq!(
        (&taken["changed"], &taken["unchanged"]),
        (&4.into(), &0.into())
    );
    let again = town
        .json(&[&import[..], &["--taken", "2020-01-01"]].concat())
        .await;
    assert_eq!(
        (&again["changed"], &again["unchanged"]),
        (&0.into(), &4.into())
    );

    // With the standard runbooks their apps would be lost; with those apps in the table they are kept.
    let lost = town.mdmd(&["apps", "diff", "--all", "--json"]).await;
    assert_eq!(lost.exit, 3, "{}", lost.err);
    assert_ne!(lost.json()["losing"], serde_json::json!([]));
    let mut runbooks = Vec::new();
    for platform in ["ios", "ipados", "macos"] {
        let runbook = town
            .json(&["runbook", "show", platform, "--apps", "keep-if-present"])
            .await;
        let path = town.file(&format!("{platform}.json"), runbook.to_string());
        runbooks.extend(["--runbook".to_owned(), format!("{platform}={path}")]);
    }
    let with = |arguments: &[&str]| -> Vec<String> {
        let own = arguments.iter().map(|a| (*a).to_owned());
        own.chain(runbooks.iter().cloned()).collect()
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        town.mdmd(&arguments).await
    };
    // Nobody has brought in a location of Apps and Books: whether iPhones keep them is not known, until somebody says that there are
    // licences elsewhere.
    let ended = run(with(&["check", "--all"])).await;
    assert_eq!(ended.exit, 3, "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("apps.licences"), "{}", ended.out);
    // What was told since, and what came with it.
    for change in [
        "gone since the last run: apps.source",
        "new since the last run: apps.licences",
    ] {
        assert!(ended.out.contains(change), "{change}: {}", ended.out);
    }
    let unsure = run(with(&["apps", "diff", "--all"])).await;
    assert_eq!(unsure.exit, 3, "{}\n{}", unsure.out, unsure.err);
    assert!(
        unsure.err.contains("whether there are licences"),
        "{}",
        unsure.err
    );
    let licences = "apps.licences=warn";
    town.json(&["organisation", "what-if", "--unknown", licences])
        .await;
    let ended = run(with(&["check", "--all", "--explain"])).await;
    assert_eq!(ended.exit, 0, "{}\n{}", ended.out, ended.err);
    let kept = run(with(&["apps", "diff", "--all"])).await;
    assert_eq!(kept.exit, 0, "{}\n{}", kept.out, kept.err);

    // The act is bound to the same: without the runbooks it leaves them out, with them it plans all.
    let serials = town.serials();
    let mut act = vec![
        "migration",
        "assign",
        "--json",
        "--deadline",
        "2027-01-20T10:00:00Z",
    ];
    act.extend(serials.iter().map(String::as_str));
    let plan = town.mdmd(&act).await.json();
    assert_ne!(plan["blocked"], 0, "{plan:#}");
    let plan = run(with(&act)).await.json();
    assert_eq!(
        (&plan["blocked"], &plan["members"]),
        (&0.into(), &4.into()),
        "{plan:#}"
    );
    assert_eq!(changes(), 0);

    // In a project that nobody has turned on it is said that they go past it, and its gates and room with it; turned on, it keeps them.
    let project = ["project", "new", "Berlin", "--capacity", "1"];
    town.json(&project).await;
    let act: Vec<String> = with(&act).into_iter().filter(|a| a != "--json").collect();
    let plan = run(act.clone()).await;
    let room = "capacity: 4 devices: past the project Berlin: more than 1 device would be in a hold at once";
    assert!(plan.out.contains(room), "{}", plan.out);
    assert!(
        plan.out
            .contains("new since the last run: capacity warn of 4 devices"),
        "{}",
        plan.out
    );
    assert!(
        plan.out.contains("4 devices, 0 of them left out"),
        "{}",
        plan.out
    );
    town.json(&["project", "on", "Berlin"]).await;
    let plan = run(act).await;
    assert!(
        plan.out.contains("4 devices, 4 of them left out"),
        "{}",
        plan.out
    );
    assert_eq!(changes(), 0);

    // A file that cannot be right does nothing, and says where.
    let bad = town.file("bad.csv", "serial,bundle id,store id\nC02A,a.b,x\n");
    let ended = town.mdmd(&["apps", "import", &bad, "--from", "x"]).await;
    assert_eq!(ended.exit, 2);
    assert!(ended.err.contains("line 2, column 3"), "{}", ended.err);
    let no_apps = town.file("none.csv", "serial,os version\nC02A,26.1\n");
    let ended = town
        .mdmd(&["apps", "import", &no_apps, "--from", "x"])
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
}

/// The server goes to addresses that a list names at the word of a planner, and not of the help desk.
#[tokio::test(flavor = "multi_thread")]
async fn the_help_desk_sends_the_server_nowhere() {
    let town = Town::found(4).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    // What they have is known: all of them have the app, whose manifest is to be looked at.
    let mut file = "serial,bundle id\n".to_owned();
    for serial in town.serials() {
        writeln!(file, "{serial},com.acme.own").unwrap();
    }
    let export = town.file("own.csv", &file);
    town.json(&["apps", "import", &export, "--from", "The old MDM"])
        .await;
    let url = "https://elsewhere.invalid/app.plist";
    let mut content = town.json(&["runbook", "show", "ios"]).await;
    content["apps"] = serde_json::json!([
        { "bundle_id": "com.acme.own", "store_id": null, "manifest_url": url, "action": "install" },
    ]);
    let file = town.file("own.json", content.to_string());
    let runbook = format!("ios={file}");
    for (role, goes) in [("helpdesk", false), ("planner", true)] {
        let token = town.token(role, role, &[]).await;
        let check = ["check", "--all", "--json", "--runbook", &runbook];
        let ended = town.mdmd_by(&token, &check).await;
        let said = format!("{}\n{}", ended.out, ended.err);
        assert!(said.contains("apps.manifest"), "{role}: {said}");
        let waits = said.contains("before a planner asks");
        assert_eq!(waits, !goes, "{role}: {said}");
    }
}
