//! Commands that no other story here uses, as people and their scripts run them: in words, and with `--json`.

mod device;
mod library;
mod report;
#[path = "../town/mod.rs"]
mod town;
mod wave;

use serde_json::json;
use town::Town;

/// A town whose installation is ready, and three devices that are known.
async fn furnished() -> Town {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    town
}

/// A project with two waves, and three devices that are known.
async fn stage() -> (Town, Vec<String>) {
    let town = furnished().await;
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
    for usual in ["standard", "none"] {
        town.ends(&format!("{chosen}ios=phones"), 0, "ios phones")
            .await;
        let usual = format!("{chosen}ios={usual}");
        town.ends(&usual, 0, "not planned      the standard runbook")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_taken_away_by_its_code_typed_once_more() {
    let town = Town::found(1).await;
    town.furnish().await;
    let own = town.made["organisation"].as_str().unwrap();
    let remove = |code: &str, more: &str| format!("organisation|remove|{code}|--reason|sold{more}");
    let confirmed = |code: &str| remove(code, &format!("|--confirm|{code}"));
    town.ends(&confirmed(own), 3, "the only organisation").await;
    let made = town.json(&["organisation", "new", "Branch"]).await;
    let branch = made["code"].as_str().unwrap();
    let says = "every recovery key, bypass code and password";
    town.ends(&remove(branch, ""), 3, says).await;
    let says = "must be the code of the organisation";
    town.ends(&remove(branch, "|--confirm|another"), 2, says)
        .await;
    // The way out is named.
    town.ends(&confirmed(own), 3, "`mdmd token remove`").await;
    let behind = format!("{}|--leave-behind|1", confirmed(own));
    town.ends(&behind, 3, "none is enrolled").await;

    let nameless = format!("{}|--by| ", confirmed(branch));
    town.ends(&nameless, 2, "must be a name, or left out").await;

    let says = "Branch is taken away; 0 rows have gone so far";
    let named = format!("{}|--by|Anna", confirmed(branch));
    town.ends(&named, 0, says).await;
    let listed = town.ends("organisation|removed", 0, branch).await;
    for word in ["Branch", "sold", "local administrator (Anna)"] {
        assert!(listed.out.contains(word), "{word}: {}", listed.out);
    }
    town.minutes(20).await;
    let listed = town.json(&["organisation", "removed"]).await;
    let row = &listed["removed"][0];
    assert_eq!(row["keys_gone"], true, "{row}");
    assert!(row["finished"].is_string(), "{row}");
    town.ends(&confirmed(branch), 0, "Branch is gone, with ")
        .await;
}
