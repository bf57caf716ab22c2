//! `mdmd report`: every form of it, and the list that is cleaned up by a person's word.

use mdm_core::ids::MoveId;
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::store::Batch;
use serde_json::{Value, json};

use super::stage;

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
                // What is used of Apple's budgets, and no rows of ours as they are kept.
                "text" if report == "requests" => {
                    let of_budget =
                        |l: &str| l.starts_with("organisation-api") && l.contains("writes");
                    assert!(out.lines().any(of_budget), "{out}");
                    assert!(!out.contains("(id "), "{out}");
                }
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
async fn the_clean_up_list_goes_from_a_report_to_a_persons_word_and_back() {
    let (town, serials) = stage().await;
    let none = town.json(&["report", "clean-up"]).await;
    assert_eq!(none["count"], 0, "{none}");
    let early = "wave|cleaned|pilot|--evidence|their list";
    town.ends(early, 3, "no member of the wave has migrated")
        .await;
    // Two of them have come, as the machine leaves them.
    let org = town.org().await;
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
    town.ends(&said, 0, "cleaned 0: of all of them it was said already")
        .await;
    assert_eq!(open().await, 1);
    town.ends("wave|cleaned|pilot|--evidence|all of it", 0, "cleaned 1")
        .await;
    assert_eq!(open().await, 0);
    let back = format!("{one}|--not|it is there");
    town.ends(&back, 0, "cleaned 1").await;
    town.ends(&back, 0, "cleaned 0: of none of them it was said")
        .await;
    assert_eq!(open().await, 1);
    let both = format!("{one}|--not|it is there|--evidence|their list");
    town.ends(&both, 2, "").await;
}
