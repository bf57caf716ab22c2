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
    assert!(warned.contains("1 device has a licence already"), "{plan}");
    assert!(
        warned.contains("0 licences are left for 1 device"),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_location_is_given_up_by_its_name_and_its_token_brings_it_back() {
    let town = Town::found(1).await;
    town.furnish().await;
    let apple = town.world.apple();
    apple.buy_licences(&LicenceSeed::app(APP, Some(2)));
    town.json(&["inventory", "pull"]).await;
    let token = town.file("content.vpptoken", apple.content_token());
    let import = ["licences", "token", &token];
    let taken = town.json(&import).await;
    let number = taken["location"].as_str().unwrap().to_owned();
    let refresh = ["licences", "list", "--refresh", &number];
    let listed = town.json(&refresh).await;
    let name = listed["locations"][0]["name"].as_str().unwrap().to_owned();

    let remove = format!("licences|remove|{number}");
    let confirmed = format!("{remove}|--confirm|{name}");
    let word = format!("--confirm \"{name}\"");
    town.ends(&remove, 3, &word).await;
    town.ends(
        &format!("{remove}|--confirm|nowhere"),
        2,
        "must be the name",
    )
    .await;
    let other = format!("licences|remove|99|--confirm|{name}");
    town.ends(&other, 3, "no location 99").await;
    // Not while somebody counts on it.
    let mut content = town.json(&["runbook", "show", "ios"]).await;
    content["apps"] = json!([{
        "bundle_id": "com.acme.notes", "store_id": APP.parse::<u64>().unwrap(), "manifest_url": null, "action": "install",
    }]);
    let file = town.file("apps.json", content.to_string());
    let keep = format!("runbook|edit|apps|--platform|ios|--file|{file}");
    town.ends(&keep, 0, "revision 1").await;
    town.ends("project|new|Move|--runbook|ios=apps", 0, "is Move")
        .await;
    town.ends(&confirmed, 3, "the project Move wants licences")
        .await;
    town.ends("project|close|Move", 0, "").await;

    let code = mdm_core::ids::OrganisationCode::parse(town.made["organisation"].as_str().unwrap());
    let org = town.app.mdm.organisation(&code.unwrap()).await.unwrap();
    let (store, own) = (town.app.mdm.store(), org.organisation().id);
    let row = async || store.locations(own).await.unwrap().remove(0);
    let is_destroyed = async |secret| {
        let kept = store.secret(own, secret).await.unwrap().unwrap();
        kept.destroyed.is_some() && kept.sealed.0.is_empty()
    };
    // The token that another takes the place of is destroyed, and not only the last one.
    let first = row().await.token;
    assert!(!is_destroyed(first).await);
    assert_eq!(town.json(&import).await["location"], json!(number));
    assert!(is_destroyed(first).await);
    let secret = row().await.token;
    assert!(!is_destroyed(secret).await);
    town.json(&refresh).await;
    town.ends(&confirmed, 0, "is removed").await;
    assert!(is_destroyed(secret).await);
    assert!(row().await.removed.is_some() && row().await.stock.is_empty());
    let listed = town.json(&["licences", "list"]).await;
    assert_eq!(listed["locations"], json!([]));
    town.ends(&confirmed, 3, "no location").await;
    let serial = &town.serials()[0];
    let assign = format!("licences|assign|--app|{APP}|{serial}|--location|{number}");
    town.ends(&assign, 3, "location").await;
    assert_eq!(apple.licences_given(APP), 0);
    let again = format!("licences|list|--refresh|{number}");
    town.ends(&again, 3, "no such location").await;
    let record = town.record().await;
    let removed = record.iter().filter(|(_, what)| what == "location.removed");
    assert_eq!(removed.count(), 1);

    assert_eq!(town.json(&import).await["location"], json!(number));
    let listed = town.json(&refresh).await;
    assert_eq!(
        listed["locations"][0]["stock"][0]["available"], 2,
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_of_another_organisation_of_this_server_is_told_as_such_and_without_a_name() {
    let town = Town::found(1).await;
    town.furnish().await;
    let token = town.file("content.vpptoken", town.world.apple().content_token());
    town.json(&["licences", "token", &token]).await;
    let branch = town.json(&["organisation", "new", "Branch"]).await;
    let again = format!(
        "licences|token|{token}|--organisation|{}",
        branch["code"].as_str().unwrap()
    );
    let says = "is claimed by mdmd, for another organisation of this installation";
    town.ends(&again, 3, says).await;
}
