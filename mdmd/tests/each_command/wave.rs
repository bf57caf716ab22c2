//! `mdmd project` and `mdmd wave`: who goes with which, what a wave has of its own, and what is said before anything is done.

use serde_json::{Value, json};

use super::{furnished, stage};

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
    // A name of more than one word is one word in what is suggested.
    let on = "`mdmd project on 'Main office'`";
    town.ends("project|new|Main office", 0, on).await;
    town.ends("project|on|Main office", 0, "is on").await;
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

/// What is done to plans and waves is named before it is done, with the request and what it means.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_on_a_plan_says_what_it_means_before_it_is_done() {
    let town = furnished().await;
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
