//! Commands that no other story here uses, as people and their scripts run them: in words, and with `--json`.

mod town;

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
    town.ends(&send, 4, serial).await;
    town.ends(&format!("command|send|{serial}|--request|"), 2, "")
        .await;
    let nobody = "command|send|NOBODY1|--request|RestartDevice";
    town.ends(nobody, 4, "NOBODY1").await;
    town.ends("command|list|NOBODY1", 3, "").await;
    town.ends("command|cancel|NOBODY1|--all", 4, "NOBODY1")
        .await;
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
