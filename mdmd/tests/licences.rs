//! Licences of Apps and Books from the command line, against the simulated Apple.

mod town;

use fixtures::apple::LicenceSeed;
use serde_json::json;
use town::Town;

const APP: &str = "361309726";

#[tokio::test(flavor = "multi_thread")]
async fn licences_come_in_with_their_token_and_are_given_and_taken_back_with_proof() {
    let town = Town::found(3).await;
    town.furnish().await;
    let serials = town.serials();
    let apple = town.world.apple();
    apple.buy_licences(&LicenceSeed::app(APP, Some(2)));
    town.json(&["inventory", "pull"]).await;

    let assign = ["licences", "assign", "--app", APP, "--json"];
    let with = |more: &[&str]| -> Vec<String> {
        assign.iter().chain(more).map(|a| (*a).to_owned()).collect()
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        town.mdmd(&arguments).await
    };
    let ended = run(with(&[&serials[0]])).await;
    assert_eq!(ended.exit, 3, "there is no location yet: {}", ended.err);
    assert!(ended.err.contains("licences token"), "{}", ended.err);

    // Nonsense is no token; the real one comes by standard input.
    let ended = town
        .mdmd_with(&["licences", "token", "-"], Some(b"nonsense"))
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    let nonsense = town.file("nonsense.vpptoken", [0, 200, 7, 10]);
    for command in ["licences", "token"] {
        let verb = if command == "token" {
            "import"
        } else {
            "token"
        };
        let ended = town.mdmd(&[command, verb, &nonsense]).await;
        assert_eq!(ended.exit, 2, "{}", ended.err);
        assert!(ended.err.contains("nonsense.vpptoken"), "{}", ended.err);
        assert!(
            !ended.err.contains("POST"),
            "before anything is announced: {}",
            ended.err
        );
    }
    let token = apple.content_token();
    let ended = town
        .mdmd_with(
            &["licences", "token", "-", "--json"],
            Some(token.as_bytes()),
        )
        .await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    let location = ended.json()["location"].as_str().unwrap().to_owned();
    let listed = town
        .json(&["licences", "list", "--refresh", &location])
        .await;
    assert_eq!(
        listed["locations"][0]["stock"][0]["available"], 2,
        "{listed}"
    );
    // The same again is the same location, and leaves the budget of no other one.
    let again = town
        .mdmd_with(
            &["licences", "token", "-", "--json"],
            Some(token.as_bytes()),
        )
        .await;
    assert_eq!(again.json()["location"], location, "{}", again.err);
    let org = town.org().await;
    let rows = town
        .app
        .mdm
        .store()
        .budgets(org.organisation().id)
        .await
        .unwrap();
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.retain(|name| name.starts_with("apps "));
    names.sort_unstable();
    assert_eq!(names, ["apps 0", &format!("apps {location}")]);

    // Whom nobody knows is left out with the reason; an app that cannot be one is bad input.
    let ended = run(with(&[&serials[0], "C02NOBODYXX"])).await;
    let plan = ended.json();
    assert_eq!((ended.exit, &plan["blocked"]), (3, &json!(1)), "{plan}");
    let why = plan["findings"]["C02NOBODYXX"][0].as_str().unwrap();
    assert!(why.contains("pull the inventory"), "{plan}");
    assert!(!plan["requests"].to_string().contains("NOBODY"), "{plan}");
    let ended = town
        .mdmd(&["licences", "assign", "--app", "0", &serials[0]])
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    // An app of which the location has nothing: nothing would be sent, so nobody waits for its proof.
    let ended = town
        .mdmd(&["licences", "assign", "--app", "99", &serials[0]])
        .await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert!(
        ended.err.contains("no licence of these apps"),
        "{}",
        ended.err
    );
    // What is named twice is bad input as well.
    let ended = run(with(&["--app", APP, &serials[0]])).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(
        ended.err.contains("apps: names something twice"),
        "{}",
        ended.err
    );
    let database = std::fs::read(town.data().join("mdmd.sqlite")).unwrap();
    assert!(!database.windows(token.len()).any(|w| w == token.as_bytes()));

    let ended = run(with(&[&serials[0], &serials[1]])).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let plan = ended.json();
    assert!(
        plan["requests"][0]["body"].to_string().contains(APP),
        "{plan}"
    );
    assert_eq!(apple.licences_given(APP), 0, "a plan gives nothing");
    let digest = plan["digest"].as_str().unwrap();
    let ended = run(with(&[&serials[0], &serials[1], "--accept", digest])).await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert!(apple.holds_licence(APP, &serials[0]) && apple.holds_licence(APP, &serials[1]));

    // The stock follows soon, and the plan says who has one.
    town.minutes(5).await;
    let listed = town.json(&["licences", "list"]).await;
    assert_eq!(
        listed["locations"][0]["stock"][0]["available"], 0,
        "{listed}"
    );
    let plan = run(with(&[&serials[0], &serials[2]])).await.json();
    let warned = plan["warnings"].to_string();
    assert!(
        warned.contains("1 devices have a licence already"),
        "{plan}"
    );
    assert!(
        warned.contains("0 licences are left for 1 devices"),
        "{plan}"
    );

    let plan = run(with(&["--take-back", &serials[0]])).await.json();
    let digest = plan["digest"].as_str().unwrap();
    let ended = run(with(&["--take-back", &serials[0], "--accept", digest])).await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert!(!apple.holds_licence(APP, &serials[0]));

    // One that is left for two devices: the plan warns, as far as the stock was read, and the proof disagrees for one of them.
    town.json(&["licences", "list", "--refresh", &location])
        .await;
    let plan = run(with(&[&serials[0], &serials[2]])).await.json();
    assert_ne!(plan["warnings"], json!([]), "{plan}");
    let digest = plan["digest"].as_str().unwrap();
    let ended = run(with(&[
        &serials[0],
        &serials[2],
        "--accept",
        digest,
        "--wait",
        "60",
    ]))
    .await;
    assert!(
        [4, 5].contains(&ended.exit),
        "{}: {}",
        ended.exit,
        ended.err
    );
    let record = town.record().await;
    let by = |entry: &(String, String)| {
        entry.1 == "content-token.imported" && entry.0 == "local administrator"
    };
    assert!(record.iter().any(by), "{record:?}");
}
