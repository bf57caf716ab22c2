//! Several organisations on one installation: a template that is pushed to some of them and locked there, a partner who plans in some
//! of them, and tags that find their devices.

mod town;

use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::OrganisationCode;
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::store::Batch;
use serde_json::{Value, json};
use town::Town;

/// The town's own organisation, and others beside it: their codes.
async fn stage(others: &[&str]) -> (Town, Vec<String>) {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let mut codes = vec![town.made["organisation"].as_str().unwrap().to_owned()];
    for name in others {
        let made = town.json(&["organisation", "new", name]).await;
        codes.push(made["code"].as_str().unwrap().to_owned());
    }
    (town, codes)
}

async fn capacity(town: &Town, code: &str) -> Value {
    let shown = town
        .json(&["project", "show", "Berlin", "--organisation", code])
        .await;
    shown["project"]["capacity"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_pinned_and_locked_where_it_was_pushed_and_drift_is_shown() {
    let (town, codes) = stage(&["Branch", "Stranger"]).await;
    let (own, branch) = (codes[0].as_str(), codes[1].as_str());
    let at = format!("--organisation|{own}");
    town.ends("template|new|Careful|--capacity|0", 2, "capacity: ")
        .await;
    town.ends("template|new|Careful", 2, "must say something")
        .await;
    town.ends("template|edit|Careful|--capacity|40", 3, "there is none")
        .await;
    let made = "template|new|Careful|--capacity|40|--off|--runbook|ios=standard|--reason|begun";
    town.ends(made, 0, "revision 1").await;
    town.ends(made, 3, "there is one").await;
    let lost = "template|edit|Careful|--runbook|ios=nosuch";
    town.ends(lost, 2, "--runbook ios=nosuch").await;
    town.ends(&format!("project|new|Berlin|{at}"), 0, "switched off")
        .await;
    assert_eq!(capacity(&town, own).await, 500);

    let push = format!("template|push|Careful|--to|{own}|--to|{branch}");
    town.ends(&push, 0, "revision 1 is in force").await;
    assert_eq!(capacity(&town, own).await, 40);
    // Locked there: an edit of its own is refused and says by what.
    let set = format!("project|set|Berlin|--capacity|50|{at}");
    town.ends(&set, 3, "locked by the template Careful").await;
    town.ends(
        &format!("project|on|Berlin|{at}"),
        3,
        "locked by the template Careful",
    )
    .await;
    let edit = format!("runbook|edit|Careful ios|lock=true|{at}");
    town.ends(&edit, 3, "locked by the template Careful").await;
    let mut other = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    other.lock = true;
    let file = town.file("other.json", serde_json::to_vec(&other).unwrap());
    let another = format!("project|set|Berlin|--runbook|ios={file}|{at}");
    town.ends(&another, 3, "runbooks is locked").await;
    // Devices that go without a project go with the same runbook.
    let serial = town.serials()[0].clone();
    let now = Timestamp::from_millis(town.world.clock().now_ms());
    let deadline = now + Duration::from_secs(30 * 86_400);
    let list = format!("migration|assign|{serial}|--deadline|{deadline}|{at}");
    for looking in [format!("check|{serial}|{at}"), list] {
        let other = format!("{looking}|--runbook|ios={file}");
        town.ends(&other, 3, "runbooks is locked by the template Careful")
            .await;
        let theirs = format!("{looking}|--runbook|ios=Careful ios|--json");
        let ended = town.mdmd(&theirs.split('|').collect::<Vec<_>>()).await;
        assert!([0, 3].contains(&ended.exit), "{}", ended.err);
        // It was looked at.
        let seen = ended.json();
        let counted = [&seen["members"], &seen["blocked"]];
        assert!(counted.iter().all(|of| !of.is_null()), "{seen:#}");
    }
    // What it leaves out is the organisation's own; what is made there follows it from the beginning.
    town.ends(
        &format!("project|set|Berlin|--hours|10:00-15:00|{at}"),
        0,
        "revision",
    )
    .await;
    town.ends(
        &format!("project|new|Paris|--capacity|7|{at}"),
        3,
        "capacity is locked",
    )
    .await;
    town.ends(&format!("project|new|Paris|{at}"), 0, "").await;
    let paris = town
        .json(&["project", "show", "Paris", "--organisation", own])
        .await;
    assert_eq!(paris["project"]["capacity"], 40);

    // A newer edit is nowhere in force, and shown as such, before it is pushed.
    town.ends(
        "template|edit|Careful|--capacity|60|--reason|faster",
        0,
        "revision 2",
    )
    .await;
    assert_eq!(capacity(&town, own).await, 40);
    let shown = town.json(&["template", "list"]).await;
    let force = &shown["templates"][0]["pushed"];
    assert_eq!(force.as_array().unwrap().len(), 2, "{shown:#}");
    let drift = force[0]["drift"].to_string();
    assert!(
        drift.contains("revision 1 is in force, and the template is at 2"),
        "{drift}"
    );
    let mine = town
        .json(&["template", "show", "--own", "--organisation", own])
        .await;
    assert_eq!(mine["template"]["name"], "Careful");
    // What was changed past the lock is shown too, and mended by the next push.
    let code = OrganisationCode::parse(own).unwrap();
    let org = town.app.mdm.organisation(&code).await.unwrap();
    let mut berlin = org.projects().await.unwrap().remove(0);
    berlin.capacity = 77;
    let mut batch = Batch::new();
    batch.put(berlin);
    town.app.mdm.store().commit(batch).await.unwrap();
    let mine = town
        .json(&["template", "show", "--own", "--organisation", own])
        .await;
    assert!(
        mine["drift"]
            .to_string()
            .contains("Berlin: capacity is otherwise"),
        "{mine:#}"
    );
    town.ends(&push, 0, "revision 2 is in force").await;
    assert_eq!(capacity(&town, own).await, 60);
    let mine = town
        .json(&["template", "show", "--own", "--organisation", own])
        .await;
    assert_eq!(mine["drift"], json!([]));

    // One at a time, where it was chosen, and taken away by who put it there.
    town.ends("template|new|Quick|--capacity|900", 0, "revision 1")
        .await;
    let second = town
        .ends(
            &format!("template|push|Quick|--to|{own}"),
            4,
            "Careful is in force",
        )
        .await;
    assert!(second.out.contains("not pushed"), "{}", second.out);
    town.ends("template|push|Quick|--to|nowhere", 2, "organisations")
        .await;
    town.ends("template|remove|Careful", 3, "in force in 2 organisations")
        .await;
    town.ends(
        &format!("template|remove|Careful|--from|{}", codes[2]),
        3,
        "not in force",
    )
    .await;
    town.ends(
        &format!("template|remove|Careful|--from|{own}|--from|{branch}"),
        0,
        "",
    )
    .await;
    town.ends(&set, 0, "revision").await;
    town.ends(&edit, 0, "").await;
    town.ends("template|remove|Careful", 0, "out of use").await;
    town.ends(&push, 3, "").await;
    let record = town.record().await;
    let of = |what: &str| record.iter().filter(|(_, entry)| entry == what).count();
    assert_eq!((of("template.pushed"), of("template.taken")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_keeps_times_free_with_a_calendar_of_its_own() {
    let (town, _) = stage(&[]).await;
    // They are part of a calendar, which is locked as a whole.
    let free = "template|new|Calm|--blackout|2000-12-24T12:00/2000-12-27T06:00=closing";
    town.ends(free, 2, "give --zone beside it").await;
    let zoned = format!("{free}|--zone|Europe/Berlin");
    town.ends(&zoned, 0, "revision 1").await;
    let more = "template|edit|Calm|--blackout|2000-12-31=new year";
    town.ends(more, 0, "revision 2").await;
    let calm = town.json(&["template", "show", "Calm"]).await;
    // What is shown is a file for the next one, either way.
    let shown = town.mdmd(&["template", "show", "Calm"]).await.out;
    for (name, text) in [("wrapped", calm.to_string()), ("alone", shown)] {
        let file = town.file(&format!("{name}.json"), &text);
        let new = format!("template|new|{name}|--file|{file}");
        town.ends(&new, 0, "revision 1").await;
        let same = town.json(&["template", "show", name]).await;
        assert_eq!(same["content"], calm["content"], "{name}");
    }
    let calendar = &calm["content"]["calendar"];
    assert_eq!(calendar["zone"], "Europe/Berlin", "{calm}");
    assert_eq!(
        calendar["blackouts"],
        json!([{ "first": "2000-12-31", "last": "2000-12-31", "why": "new year" }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_plans_in_the_organisations_of_its_list_and_nowhere_else() {
    let (town, codes) = stage(&["Branch", "Stranger"]).await;
    let [own, branch, stranger] = [0, 1, 2].map(|n| codes[n].as_str());
    let serial = town.serials().remove(0);
    let none = town
        .mdmd(&["partner", "new", "Ines", "--for", "nowhere1"])
        .await;
    assert_ne!(none.exit, 0);
    let made = town
        .json(&["partner", "new", "Ines", "--for", own, "--for", branch])
        .await;
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(
        town.mdmd(&["partner", "new", "Ines", "--for", own])
            .await
            .exit,
        2
    );
    let by = async |arguments: &[&str], at: Option<&str>| {
        let mut all = arguments.to_vec();
        if let Some(code) = at {
            all.extend(["--organisation", code]);
        }
        town.mdmd_by(&token, &all).await
    };
    // Plans there; must say where.
    let tag = ["tag", "set", "lab", serial.as_str()];
    assert_eq!(by(&tag, None).await.exit, 2);
    let done = by(&tag, Some(own)).await;
    assert_eq!(done.exit, 0, "{}", done.err);
    assert_eq!(by(&["project", "new", "Berlin"], Some(own)).await.exit, 0);
    assert_eq!(by(&["device", "list"], Some(branch)).await.exit, 0);
    let seen = by(&["organisation", "list", "--json"], None).await.json();
    let seen: Vec<&str> = seen["organisations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["code"].as_str().unwrap())
        .collect();
    assert_eq!(seen.len(), 2);
    assert!(!seen.contains(&stranger));
    // Nowhere else, whatever it asks.
    for arguments in [
        &["device", "list"][..],
        &["project", "list"],
        &tag,
        &["partner", "list"],
    ] {
        let refused = by(arguments, Some(stranger)).await;
        assert_ne!(refused.exit, 0, "{arguments:?}");
        assert!(!refused.out.contains("Stranger") && !refused.err.contains("Stranger"));
    }
    let elsewhere = by(&["device", "list"], Some(stranger)).await;
    assert!(elsewhere.err.contains("organisation"), "{}", elsewhere.err);
    // Accepts nothing, reveals nothing, makes no tokens and no templates.
    for arguments in [
        &["wave", "accept", "pilot", "--digest", "00"][..],
        &["approval", "confirm", "1"],
        &[
            "device",
            "reveal",
            serial.as_str(),
            "recovery_key",
            "--reason",
            "x",
        ],
        &["device", "clear-lock", serial.as_str(), "--reason", "x"],
        &["api-token", "new", "more", "--role", "viewer"],
        &["template", "list"],
        &["partner", "new", "Udo", "--for", own],
    ] {
        let refused = by(arguments, Some(own)).await;
        assert_ne!(refused.exit, 0, "{arguments:?}: {}", refused.out);
    }
    // Whoever tells tokens apart by their names is not deceived.
    let deceit = town
        .mdmd(&[
            "api-token",
            "new",
            "Partner Ines",
            "--role",
            "viewer",
            "--organisation",
            own,
        ])
        .await;
    assert_eq!(deceit.exit, 2, "{}", deceit.err);
    let record = town.record().await;
    assert!(
        record
            .iter()
            .any(|(actor, what)| actor == "partner Ines" && what == "device.tagged")
    );
    assert!(record.iter().any(|(_, what)| what == "partner.made"));
    // Sent away by one, it still works for the other.
    let number = made["id"].as_str().unwrap().to_owned();
    town.json(&["partner", "dismiss", &number, "--organisation", branch])
        .await;
    assert_ne!(by(&["device", "list"], Some(branch)).await.exit, 0);
    assert_eq!(by(&["device", "list"], Some(own)).await.exit, 0);
    assert_eq!(
        by(&["device", "list"], None).await.exit,
        0,
        "there is but one left"
    );
    town.json(&["partner", "dismiss", &number, "--organisation", own])
        .await;
    assert_ne!(by(&["device", "list"], Some(own)).await.exit, 0);
    let all = town.json(&["partner", "list"]).await;
    assert!(!all["partners"][0]["revoked"].is_null(), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_set_for_exactly_some_and_waves_find_them_by_it() {
    let (town, _) = stage(&[]).await;
    let serials = town.serials();
    town.ends(
        &format!("tag|set|lab|{}|{}", serials[0], serials[1]),
        0,
        "added 2, taken 0",
    )
    .await;
    town.ends(
        &format!("tag|set|Lab|{}|{}", serials[1], serials[2]),
        0,
        "added 1, taken 1",
    )
    .await;
    town.ends(
        &format!("tag|set|lab|{}|NOBODY1", serials[1]),
        4,
        "unknown NOBODY1",
    )
    .await;
    town.ends("tag|set|a b|NOBODY1", 2, "tags: ").await;
    town.ends("tag|set|lab", 2, "").await;
    let list = town.json(&["tag", "list"]).await;
    assert_eq!(list["tags"], json!({ "lab": 1 }));
    town.ends("project|new|Berlin", 0, "").await;
    town.ends("wave|new|pilot|--project|Berlin|--preset|pilot", 0, "")
        .await;
    town.ends("wave|add|pilot|--tag|lab", 0, "added 1").await;
    // An owner's group, as the service that it leaves had it.
    let told =
        json!([{ "serial": serials[2], "owner": { "name": "Ida", "groups": ["Research"] } }]);
    let file = town.file("told.json", told.to_string());
    town.ends(&format!("inventory|import|{file}|--from|Old MDM"), 0, "")
        .await;
    let list = town.json(&["tag", "list"]).await;
    assert_eq!(list["groups"], json!({ "Research": 1 }));
    town.ends("wave|add|pilot|--group|Research", 0, "added 1")
        .await;
    // What goes by tags goes by a group of owners with one of its own.
    town.ends("tag|set|lab|--group|Research", 0, "added 1, taken 1")
        .await;
    town.ends("tag|set|lab|--group|Nowhere", 3, "group").await;
    town.ends("tag|set|lab|--group|Research|--nobody", 2, "--nobody")
        .await;
    town.ends("tag|set|lab|--nobody", 0, "added 0, taken 1")
        .await;
    assert_eq!(town.json(&["tag", "list"]).await["tags"], json!({}));
}
