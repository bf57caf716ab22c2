//! `mdmd profile`, `library` and `declaration`: what is kept for devices and for groups of owners, and to whom it is given.

use serde_json::{Value, json};

use super::stage;
use super::town::Town;

const PROFILE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>example.clock</string><key>PayloadUUID</key><string>6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11</string>
<key>PayloadDisplayName</key><string>Clock</string><key>PayloadContent</key><array/></dict></plist>"#;

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
