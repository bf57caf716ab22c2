//! Commands that no other story here uses, as people and their scripts run them: in words, and with `--json`.

mod town;

use std::time::Duration;

use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::ids::{EnrollmentId, MoveId, OrganisationCode, Serial};
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::store::Batch;
use serde_json::{Value, json};
use town::Town;

const PROFILE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>example.clock</string><key>PayloadUUID</key><string>6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11</string>
<key>PayloadDisplayName</key><string>Clock</string><key>PayloadContent</key><array/></dict></plist>"#;

/// A project with two waves, and three devices that are known.
async fn stage() -> (Town, Vec<String>) {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    town.ends("project|new|Berlin", 0, "switched off").await;
    for wave in ["pilot", "main"] {
        let new = format!("wave|new|{wave}|--project|Berlin|--preset|{wave}");
        town.ends(&new, 0, "").await;
    }
    let serials = town.serials();
    town.ends("wave|add|pilot|--all", 0, "added 3").await;
    (town, serials)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_switched_off_and_its_waves_change_members() {
    let (town, serials) = stage().await;
    let on = async || {
        let shown = town.json(&["project", "show", "Berlin"]).await;
        shown["project"]["on"].clone()
    };
    town.ends("project|on|Berlin", 0, "is on").await;
    assert_eq!(on().await, true);
    town.ends("project|off|Berlin", 0, "is off").await;
    assert_eq!(on().await, false);
    let is_in = async |wave: &str| {
        let shown = town.json(&["report", "wave", "--wave", wave]).await;
        shown.to_string().contains(&serials[0])
    };
    assert!(is_in("pilot").await);
    let moved = format!("wave|move|pilot|{}|--to|main", serials[0]);
    town.ends(&moved, 0, "1").await;
    assert!(is_in("main").await && !is_in("pilot").await);
    town.ends(&moved, 2, &serials[0]).await;
    // One that is open still has every key of its devices.
    let purge = "project|purge|Berlin|--reason|cleaned up";
    town.ends(purge, 3, "").await;
}

/// Has a device be enrolled, as if it had come by itself.
async fn enrolled(town: &Town, serial: &str) {
    let code = town.made["organisation"].as_str().unwrap();
    let code = mdm_core::ids::OrganisationCode::parse(code).unwrap();
    let org = town.app.mdm.organisation(&code).await.unwrap();
    let (store, own) = (town.app.mdm.store(), org.organisation().id);
    let serial = Serial::parse(serial).unwrap();
    let device = store.device_by_serial(own, &serial).await.unwrap();
    let mut device = device.unwrap();
    let mut enrolment = Enrollment::pending(
        own,
        EnrollmentId(device.id.0),
        format!("UDID-{serial}"),
        ChannelKind::Device,
        "ab".to_owned(),
        town.app.mdm.now(),
    );
    enrolment.state = EnrollmentState::Enrolled;
    enrolment.device = Some(device.id);
    enrolment.serial = Some(serial);
    device.enrollment = Some(enrolment.id);
    let mut batch = Batch::new();
    batch.put(device).put(enrolment);
    store.commit(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_tagged_called_back_and_sent_commands() {
    let (town, serials) = stage().await;
    let serial = serials[0].as_str();
    town.ends(&format!("device|tag|{serial}|--add|lab"), 0, "")
        .await;
    let tags = town.json(&["tag", "list"]).await["tags"].clone();
    assert_eq!(tags, json!({ "lab": 1 }));
    town.ends(&format!("device|tag|{serial}|--take|lab"), 0, "")
        .await;
    assert_eq!(town.json(&["tag", "list"]).await["tags"], json!({}));
    // What is not here yet is neither called back nor asked anything; each says so, of this device.
    let back = format!("device|return|{serial}|--reason|the other works again");
    town.ends(&back, 3, serial).await;
    let send =
        format!("command|send|{serial}|--request|DeviceInformation|--key|Queries=[\"UDID\"]");
    town.ends(&send, 3, serial).await;
    town.ends(&format!("command|send|{serial}|--request|"), 2, "")
        .await;
    // One that is here gets it, once for each time that it is sent, until somebody takes it out again.
    enrolled(&town, serial).await;
    let uuid = "6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11";
    let send = format!("{send}|--uuid|{uuid}");
    town.ends(&send, 0, "queued   1 of 1").await;
    let waiting = async || {
        let listed = town.json(&["command", "list", serial]).await.to_string();
        listed.matches(uuid).count()
    };
    assert_eq!(waiting().await, 1);
    town.ends(&send, 3, "had a command of this UUID already")
        .await;
    assert_eq!(waiting().await, 1);
    town.ends(
        &format!("command|show|{serial}|{uuid}"),
        0,
        "DeviceInformation",
    )
    .await;
    let cancel = format!("command|cancel|{serial}|--uuid|{uuid}");
    town.ends(&cancel, 0, "taken out    1").await;
    let shown = town.json(&["command", "show", serial, uuid]).await;
    assert_eq!(shown["state"], "cancelled");
    let nobody = "command|send|NOBODY1|--request|RestartDevice";
    town.ends(nobody, 3, "NOBODY1").await;
    town.ends("command|list|NOBODY1", 3, "").await;
    town.ends("command|cancel|NOBODY1|--all", 3, "NOBODY1")
        .await;
    // A part of them is not nobody.
    let some = format!("command|cancel|NOBODY1|{serial}|--all");
    town.ends(&some, 4, "not for 1 of the devices").await;
    // What is over can be cancelled again; what never was is mistyped.
    town.ends(&cancel, 0, "taken out    0").await;
    let typo = format!("command|cancel|{serial}|--uuid|nope");
    town.ends(&typo, 2, "uuid: none of these devices").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_kept_and_nobody_is_named_where_nobody_signs_in() {
    let (town, _) = stage().await;
    let file = town.file("clock.mobileconfig", PROFILE);
    let add = format!("profile|add|{file}|--name|Clock|--tag|lab");
    town.ends(&add, 0, "").await;
    let listed = town.json(&["profile", "list"]).await.to_string();
    assert!(listed.contains("example.clock"), "{listed}");
    let text = town.ends("profile|list", 0, "Clock").await;
    assert!(text.out.contains("lab"), "{}", text.out);
    let broken = town.file("broken.mobileconfig", "no profile");
    town.ends(&format!("profile|add|{broken}|--name|Clock"), 2, "")
        .await;

    // Where nobody signs in there is nobody to name; how it goes with a provider is a story of its own.
    town.ends("user|new|ida@example.org|--role|planner", 3, "sign-in set")
        .await;
    town.ends("user|new|ida@example.org|--role|king", 2, "king")
        .await;
    town.ends("user|list", 0, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_is_there_in_every_form() {
    let (town, serials) = stage().await;
    town.ends("project|on|Berlin", 0, "").await;
    for (report, of_wave) in [
        ("whatif", true),
        ("wave", true),
        ("exceptions", false),
        ("holds", false),
        ("requests", false),
        ("unheard", false),
        ("at-risk", false),
        ("clean-up", false),
    ] {
        let mut words = vec!["report", report];
        if of_wave {
            words.extend(["--wave", "pilot"]);
        }
        let whole: Value = town.json(&words).await;
        assert!(whole.is_object(), "{report}: {whole}");
        for format in ["json", "csv", "html", "text"] {
            let ended = town
                .mdmd(&[&words[..], &["--format", format]].concat())
                .await;
            assert_eq!(ended.exit, 0, "{report} {format}: {}", ended.err);
            let out = ended.out;
            if of_wave {
                assert!(out.contains(&serials[0]), "{report} {format}: {out}");
            }
            match format {
                "json" => drop(serde_json::from_str::<Value>(&out).expect("JSON")),
                "html" => assert!(out.starts_with("<!doctype html>"), "{out}"),
                "csv" => assert!(out.lines().next().is_some_and(|l| l.contains(',')), "{out}"),
                _ => assert!(!out.trim().is_empty(), "{report}"),
            }
        }
        if of_wave {
            let nowhere = format!("report|{report}|--wave|nowhere");
            town.ends(&nowhere, 3, "wave").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_a_group_of_owners_names_it() {
    let (town, serials) = stage().await;
    let told =
        json!([{ "serial": serials[2], "owner": { "name": "Ida", "groups": ["Sales, Bern"] } }]);
    let file = town.file("told.json", told.to_string());
    town.ends(&format!("inventory|import|{file}|--from|Old MDM"), 0, "")
        .await;
    let note = json!({ "Type": "com.apple.configuration.management.test", "Identifier": "note", "Payload": { "Echo": "1" } });
    let note = town.file("note.json", note.to_string());
    town.ends(&format!("declaration|put|{note}"), 0, "note")
        .await;
    town.ends("declaration|set|sales|note", 0, "").await;
    let of = |verb: &str| format!("declaration|{verb}|sales|--group|Sales, Bern");
    town.ends(&of("assign"), 0, "sales is given to 1 more")
        .await;
    town.ends("declaration|sets", 0, "group Sales, Bern").await;
    town.ends(&of("unassign"), 0, "sales is taken from 1").await;
    town.ends("declaration|assign|sales", 2, "groups").await;
    town.ends("declaration|assign|sales|--group| ", 2, "groups: ")
        .await;

    // Of the library: a profile and a package, and other devices for an item that is there.
    let groups = async || {
        let listed = town.json(&["library", "list"]).await;
        let items = listed["items"].as_array().unwrap().clone();
        let of = |item: &Value| (item["name"].clone(), item["groups"].clone());
        items.iter().map(of).collect::<Vec<_>>()
    };
    let file = town.file("clock.mobileconfig", PROFILE);
    let add = format!("profile|add|{file}|--name|Clock|--group|Sales, Bern");
    town.ends(&add, 0, "Clock revision 1 for group:Sales, Bern")
        .await;
    let file = town.file("tool.pkg", "xar! and the bytes of a package");
    let add = format!("library|package|{file}|--bundle-id|example.tool|--name|Tool");
    town.ends(&format!("{add}|--group|Sales, Bern|--tag|lab"), 0, "Tool")
        .await;
    let sales = json!(["Sales, Bern"]);
    let expected = vec![(json!("Clock"), sales.clone()), (json!("Tool"), sales)];
    assert_eq!(groups().await, expected);
    town.ends("profile|list", 0, "group:Sales, Bern").await;
    town.ends("library|tag|Tool|--group|Other", 0, "Tool").await;
    town.ends("library|tag|Clock|lab", 0, "revision 1 for lab")
        .await;
    let expected = vec![
        (json!("Clock"), Value::Null),
        (json!("Tool"), json!(["Other"])),
    ];
    assert_eq!(groups().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_has_words_and_an_ade_profile_of_its_own() {
    let (town, _) = stage().await;
    let body = town.file("text.txt", "{owner}: {deadline}\nThe shop's own desk");
    let set = format!("text|set|en|--subject|Shops: {{device}}|--body|{body}|--wave|pilot");
    town.ends(&set, 0, "Shops: {device}  (the wave's own)")
        .await;
    town.ends(&format!("{set}s"), 3, "pilots").await;
    town.ends("wave|move|pilot|--all|--to|main", 2, "").await;
    let csv = town.ends("wave|notices|pilot", 0, "").await.out;
    assert_eq!(csv.matches("Shops: ").count(), 3, "{csv}");
    assert!(csv.contains("The shop's own desk"), "{csv}");
    // Elsewhere the words are those of everybody.
    let of_all = town.ends("text|list", 0, "Your device {device}").await;
    assert!(!of_all.out.contains("Shops: "), "{}", of_all.out);
    let status = town.ends("wave|status|pilot", 0, "its own in en").await;
    assert!(!status.out.contains("ADE profile"), "{}", status.out);
    town.ends("text|reset|en|--wave|pilot", 0, "").await;
    let listed = town.json(&["text", "list", "--wave", "pilot"]).await;
    assert_eq!(listed["own"], json!([]));
    let csv = town.ends("wave|notices|pilot", 0, "").await.out;
    assert!(!csv.contains("Shops: "), "{csv}");

    let options = json!({ "department": "Shops", "skip_setup_items": ["AppleID"] });
    let file = town.file("ade.json", options.to_string());
    town.ends(&format!("wave|set|pilot|--ade-profile|{file}"), 0, "Shops")
        .await;
    town.ends("wave|status|pilot", 0, "\"department\":\"Shops\"")
        .await;
    let new = format!("wave|new|rest|--project|Berlin|--ade-profile|{file}");
    town.ends(&new, 0, "").await;
    let plan = town.json(&["project", "export", "Berlin"]).await;
    let server = plan["server"].as_str().unwrap();
    assert!(
        server.starts_with("mdmd ") && plan["exported"].is_string(),
        "{server}"
    );
    let of = |name: &str| {
        let waves = plan["waves"].as_array().unwrap().iter();
        let mut named = waves.filter(|wave| wave["name"] == name);
        named.next().unwrap()["ade"]["department"].clone()
    };
    let (shops, none) = (json!("Shops"), Value::Null);
    assert_eq!(
        [of("pilot"), of("rest"), of("main")],
        [shops.clone(), shops, none]
    );
    let wrong = town.file("wrong.json", r#"{"department":""}"#);
    town.ends(
        &format!("wave|set|pilot|--ade-profile|{wrong}"),
        2,
        "department: ",
    )
    .await;
    town.ends("wave|set|pilot", 2, "--ade-profile").await;
    town.ends("project|set|Berlin", 2, "").await;
    town.ends("wave|set|pilot|--no-ade-profile", 0, "the organisation's")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn licences_of_a_wave_are_told_by_its_number() {
    let (town, _) = stage().await;
    let waves = town.json(&["wave", "list"]).await;
    let pilot = waves["waves"][0]["id"].as_str().unwrap().to_owned();
    let status = town.json(&["licences", "status", "--wave", &pilot]).await;
    assert!(status.is_object(), "{status}");
    town.ends("licences|status|--wave|4711", 3, "wave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_list_goes_from_a_report_to_a_persons_word_and_back() {
    let (town, serials) = stage().await;
    let none = town.json(&["report", "clean-up"]).await;
    assert_eq!(none["count"], 0, "{none}");
    // Two of them have come, as the machine leaves them.
    let code = town.made["organisation"].as_str().unwrap();
    let code = OrganisationCode::parse(code).unwrap();
    let org = town.app.mdm.organisation(&code).await.unwrap();
    let (id, store) = (org.organisation().id, town.app.mdm.store());
    let mut batch = Batch::new();
    for mut attempt in store.all_attempts(id, MoveId(0), 10).await.unwrap() {
        if attempt.serial.as_str() == serials[2] {
            continue;
        }
        let mut device = store.device(id, attempt.device).await.unwrap().unwrap();
        device.open_move = None;
        attempt.state = MoveState::Ended(Outcome::Migrated);
        attempt.ended = Some(town.app.mdm.now());
        batch.put(attempt).put(device);
    }
    store.commit(batch).await.unwrap();
    let service = town.world.original_server().to_owned();
    for of in [&["--wave", "pilot"][..], &[]] {
        let words = [&["report", "clean-up"], of].concat();
        let whole = town.json(&words).await;
        assert_eq!(whole["facts"]["to be removed"], 2, "{whole}");
        let rows = whole["rows"].as_array().unwrap();
        let of_rows: Vec<&Value> = rows.iter().map(|row| &row["serial"]).collect();
        assert_eq!(of_rows, [&json!(serials[0]), &json!(serials[1])]);
        // People read a name, and Apple's identifier beside it.
        assert_eq!(rows[0]["service id"], json!(service), "{whole}");
        assert_ne!(rows[0]["service that it left"], json!(service));
        for format in ["csv", "html", "text"] {
            let ended = town
                .mdmd(&[&words[..], &["--format", format]].concat())
                .await;
            assert_eq!(ended.exit, 0, "{format}: {}", ended.err);
            let all = [&serials[0], &serials[1]];
            assert!(
                all.iter().all(|s| ended.out.contains(s.as_str())),
                "{format}"
            );
            assert!(!ended.out.contains(&serials[2]), "{format}: {}", ended.out);
        }
    }
    let table = "report|clean-up|--format|csv|--table|by service";
    town.ends(table, 0, ",2,0").await;
    town.ends("report|clean-up|--wave|nowhere", 3, "wave").await;
    let checklist = town.mdmd(&["doctor"]).await.out;
    assert!(
        checklist.contains("Berlin: clean-up at the original"),
        "{checklist}"
    );

    // The word of a person, one by one, with what shows it.
    let open = async || {
        let whole = town.json(&["report", "clean-up", "--wave", "pilot"]).await;
        whole["facts"]["to be removed"].clone()
    };
    let one = format!("wave|cleaned|pilot|{}", serials[0]);
    town.ends(&one, 2, "--evidence").await;
    town.ends(&format!("{one}|--evidence| "), 2, "evidence")
        .await;
    let stays = format!("wave|cleaned|pilot|{}|--evidence|their list", serials[2]);
    town.ends(&stays, 2, "is no member of this wave that has migrated")
        .await;
    town.ends("wave|cleaned|nowhere|--evidence|x", 3, "").await;
    assert_eq!(open().await, 2);
    let said = format!("{one}|--evidence|their list");
    town.ends(&said, 0, "cleaned 1").await;
    town.ends(&said, 0, "cleaned 0").await;
    assert_eq!(open().await, 1);
    town.ends("wave|cleaned|pilot|--evidence|all of it", 0, "cleaned 1")
        .await;
    assert_eq!(open().await, 0);
    town.ends(&format!("{one}|--not|it is there"), 0, "cleaned 1")
        .await;
    assert_eq!(open().await, 1);
    let both = format!("{one}|--not|it is there|--evidence|their list");
    town.ends(&both, 2, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mistyped_is_refused_at_once_and_says_what_would_be_right() {
    let (town, _) = stage().await;
    for (words, exit, says) in [
        ("device|invite|TYP0", 3, "--unknown"),
        ("device|invite|TYP0|--unknown", 0, "code "),
        (
            "organisation|enrolment|--facts-hours|8761",
            2,
            "facts_hours: must be 0 (never) to 8760",
        ),
        (
            "organisation|enrolment|--facts-hours|0",
            0,
            "asked anew       never",
        ),
        ("organisation|enrolment", 0, "minimum system   any"),
        (
            "organisation|enrolment|--minimum-os|ios=26.4",
            0,
            "minimum system   ios 26.4",
        ),
        (
            "organisation|enrolment|--minimum-os|none|--minimum-os|ios=26.4",
            2,
            "--minimum-os: `none` stands alone",
        ),
        (
            "organisation|enrolment|--minimum-os|none",
            0,
            "minimum system   any",
        ),
        (
            "project|set|Berlin|--prerequisite|none|--prerequisite|asked",
            2,
            "--prerequisite: `none` stands alone",
        ),
        (
            "project|set|Berlin|--original|any|--original|x",
            2,
            "--original: `any` stands alone",
        ),
        ("project|set|Berlin|--prerequisite|none", 0, ""),
        (
            "project|set|Berlin|--runbook|ios=nosuch",
            2,
            "--runbook ios=nosuch: there is no such file",
        ),
        ("project|set|Berlin|--runbook|ios=standard", 0, "revision"),
        (
            "project|set|Berlin|--runbook|ios=standard|--runbook|ios=standard",
            2,
            "is given twice",
        ),
        ("device|show|X?x=1", 2, "serial"),
        (
            "organisation|what-if|--unknown|nosuch=warn",
            2,
            "--unknown nosuch=warn: there is no such check",
        ),
        ("device|give-up|../projects/1|--dry-run", 2, "serial"),
        (
            "wave|accept|pilot|--digest|ABC",
            2,
            "digest: must be the 64 digits",
        ),
        (
            "wave|withdraw|pilot|--reason|",
            2,
            "must say something, or be left out",
        ),
        (
            "runbook|edit|own|--platform|ios|verify.retries=many",
            2,
            "must be a whole number",
        ),
        (
            "runbook|edit|own|--platform|ios|nostep.retries=1",
            2,
            "is no step; there are",
        ),
        ("declaration|put|/nope.json", 2, "/nope.json"),
    ] {
        let ended = town.ends(words, exit, says).await;
        for word in ["unknown variant", "invalid digit", "invalid type"] {
            assert!(!ended.err.contains(word), "{words}: {}", ended.err);
        }
    }
    let other = format!("wave|accept|pilot|--digest|{}", "ab".repeat(32));
    let ended = town
        .ends(&other, 3, "not the digest of what the what-if finds now")
        .await;
    assert!(
        !ended.err.contains("since they were accepted"),
        "{}",
        ended.err
    );
    let told = town.json(&["organisation", "list"]).await;
    let code = told["organisations"][0]["code"].as_str().unwrap();
    town.ends(&format!("partner|new|Ada|--for|{code}"), 0, "")
        .await;
    town.ends("partner|list", 0, code).await;
    town.ends("partner|new|Bob|--for|ffff", 2, "organisations[0]: must be")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_in_use_where_it_is_and_not_where_another_says_the_same() {
    let (town, _) = stage().await;
    for (name, platform) in [("phones", "ios"), ("pads", "ipados")] {
        let edit = format!("runbook|edit|{name}|--platform|{platform}|soft_ceiling=21m");
        town.ends(&edit, 0, "revision 1").await;
    }
    town.ends("project|set|Berlin|--runbook|ipados=pads", 0, "")
        .await;
    let kept = town.json(&["runbook", "list"]).await;
    let uses = |name: &str| {
        let mut all = kept["runbooks"].as_array().unwrap().iter();
        all.find(|r| r["name"] == name).unwrap()["uses"].clone()
    };
    assert_eq!(uses("pads")[0]["name"], "Berlin", "{kept}");
    assert_eq!(uses("phones"), json!([]), "{kept}");
    // For whoever comes by a migration that nobody planned here.
    let chosen = "organisation|enrolment|--unplanned|";
    for (words, says) in [
        ("ios=nope", "unplanned_runbooks.ios: "),
        ("ios=pads", "is for iPadOS"),
        ("ios", "PLATFORM=NAME"),
    ] {
        town.ends(&format!("{chosen}{words}"), 2, says).await;
    }
    let refused = format!("{chosen}ios=phones|--minimum-os|ios=soon");
    town.ends(&refused, 2, "minimum_os").await;
    town.ends(
        "organisation|enrolment",
        0,
        "not planned      the standard runbook",
    )
    .await;
    town.ends(
        &format!("{chosen}ios=phones"),
        0,
        "not planned      ios phones; else the standard runbook, which keeps no app",
    )
    .await;
    let kept = town.json(&["runbook", "list"]).await;
    let phones = kept["runbooks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "phones");
    assert_eq!(phones.unwrap()["uses"][0]["kind"], "enrolment", "{kept}");
    town.ends(
        &format!("{chosen}ios=none"),
        0,
        "not planned      the standard runbook",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_set_of_declarations_is_given_to_is_said_in_words() {
    let town = Town::found(1).await;
    let document = r#"{"Type": "com.apple.configuration.management.test", "Identifier": "example.test", "Payload": {"Echo": "a"}}"#;
    let document = town.file("test.json", document);
    town.ends(&format!("declaration|put|{document}"), 0, "example.test")
        .await;
    for (words, says) in [
        (
            "declaration|set|basics|example.test",
            "basics has example.test",
        ),
        (
            "declaration|assign|basics|--everybody",
            "basics is given to 1 more",
        ),
        (
            "declaration|assign|basics|--everybody",
            "basics was given to all of them before",
        ),
        (
            "declaration|unassign|basics|--everybody",
            "basics is taken from 1",
        ),
        ("declaration|remove-set|basics", "basics is out of use"),
        (
            "declaration|remove|example.test",
            "example.test is out of use",
        ),
    ] {
        let ended = town.ends(words, 0, says).await;
        assert!(!ended.out.contains('{'), "{words}: {}", ended.out);
    }
}

/// What is done to plans and waves is named before it is done, with the request and what it means.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_on_a_plan_says_what_it_means_before_it_is_done() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let serials = town.serials();
    for (line, means) in [
        (
            "project|new|Move|--prerequisite|told".to_owned(),
            "switched off",
        ),
        ("project|set|Move|--capacity|5".to_owned(), "from now on"),
        (
            "wave|new|pilot|--project|Move|--preset|pilot".to_owned(),
            "a draft",
        ),
        ("wave|new|main|--project|Move".to_owned(), "a draft"),
        ("wave|add|pilot|--all".to_owned(), "can be in no other"),
        (
            format!("wave|move|pilot|{}|--to|main", serials[0]),
            "go with the other wave",
        ),
        (
            "wave|met|pilot|--prerequisite|told|--evidence|letters".to_owned(),
            "counts as done",
        ),
        (
            format!("wave|remove|pilot|{}|--reason|on leave", serials[1]),
            "leave the wave",
        ),
        (
            "wave|withdraw|pilot|--reason|another year".to_owned(),
            "for good",
        ),
    ] {
        let ended = town.ends(&line, 0, "").await;
        let said = ended.err.lines().find(|l| l.starts_with("POST /api/v1/"));
        assert!(
            said.is_some_and(|s| s.contains(means)),
            "{line}: {}",
            ended.err
        );
    }
    // Also of a draft, of which nothing is offered yet.
    for (line, means) in [
        ("wave|pause|main|--reason|a bug", "go on"),
        (
            "wave|resume|main|--reason|mended",
            "are offered their migration from now on; local administrator had paused it: a bug",
        ),
    ] {
        let words: Vec<&str> = line.split('|').collect();
        let ended = town.mdmd(&words).await;
        let said = ended.err.lines().find(|l| l.starts_with("POST /api/v1/"));
        assert!(
            said.is_some_and(|s| s.contains(means)),
            "{line}: {}",
            ended.err
        );
    }

    // What ends otherwise is given up by nobody, and what does is named.
    let [main, gone] = [&serials[0], &serials[1]];
    for (line, exit, says) in [
        (format!("device|give-up|{main}"), 2, "--reason"),
        (
            format!("device|give-up|{main}|--reason| "),
            2,
            "must say something",
        ),
        (
            format!("device|give-up|{main}|--reason|lost"),
            3,
            "mdmd wave remove WAVE SERIAL",
        ),
        (
            format!("device|give-up|{main}|--dry-run"),
            3,
            "mdmd wave remove WAVE SERIAL",
        ),
        (
            format!("device|give-up|{gone}|--reason|lost"),
            3,
            "no attempt that is open",
        ),
        (
            "device|give-up|NOBODY123|--reason|lost".to_owned(),
            3,
            "no such device",
        ),
    ] {
        town.ends(&line, exit, says).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nothing_else_ends_is_given_up_by_an_approver_or_by_two() {
    let (town, serials) = stage().await;
    // Called back in vain, more than a day ago: Apple shows these devices nowhere.
    let code = town.made["organisation"].as_str().unwrap();
    let code = OrganisationCode::parse(code).unwrap();
    let org = town.app.mdm.organisation(&code).await.unwrap();
    let (id, store) = (org.organisation().id, town.app.mdm.store());
    let now = town.app.mdm.now();
    let mut batch = Batch::new();
    for mut attempt in store.all_attempts(id, MoveId(0), 10).await.unwrap() {
        let since = now - Duration::from_secs(25 * 3600);
        attempt.state = MoveState::Cancelling { since };
        attempt.wake_at = Some(now + Duration::from_secs(86_400));
        batch.put(attempt);
    }
    store.commit(batch).await.unwrap();
    let [first, second] = [&serials[0], &serials[1]];
    let look = format!("device|give-up|{first}|--dry-run");
    town.ends(&look, 0, "as abandoned").await;
    let planner = town.token("planner", "planner", &[]).await;
    let words = ["device", "give-up", first, "--reason", "stolen"];
    let refused = town.mdmd_by(&planner, &words).await;
    assert_ne!(refused.exit, 0, "{}", refused.out);
    town.ends(&look, 0, "as abandoned").await;

    let give_up = format!("device|give-up|{first}|--reason|stolen");
    let ended = town.ends(&give_up, 0, "ended as abandoned").await;
    let path = format!("POST /api/v1/devices/{first}/give-up: ");
    let said = ended.err.lines().find(|l| l.starts_with(&path));
    assert!(
        said.is_some_and(|s| s.contains("pending at Apple")),
        "{}",
        ended.err
    );
    town.ends(&give_up, 3, "no attempt that is open").await;
    let show = format!("device|show|{first}");
    let shown = town.ends(&show, 0, "ended: abandoned").await.out;
    for says in ["by local administrator: stolen", "attempt ended"] {
        assert!(shown.contains(says), "{shown}");
    }
    let report = format!("report|device|{first}");
    let shown = town.ends(&report, 0, "given up because").await.out;
    assert!(shown.contains("stolen"), "{shown}");
    let by = ("local administrator", "migration.given-up");
    let record = town.record().await;
    assert!(
        record
            .iter()
            .any(|(actor, what)| (actor.as_str(), what.as_str()) == by)
    );

    // Where two are demanded always nobody does it alone.
    town.ends("approval|always", 0, "").await;
    let alone = format!("device|give-up|{second}|--reason|lost");
    town.ends(&alone, 3, "mdmd approval confirm").await;
    town.ends("approval|list", 0, &format!("give up {second}"))
        .await;
    town.ends(
        &format!("device|give-up|{second}|--dry-run"),
        0,
        "as abandoned",
    )
    .await;
}
