//! Two operators and three servers on one PostgreSQL, at one wave, at once: every device is asked of Apple once for each thing that
//! somebody wanted, whoever asked, and all three servers tell the same of it. Skips aloud without PostgreSQL, unless it is required.

mod town;

use std::collections::BTreeMap;

use mdm_core::store::testing::TestPostgres;
use serde_json::Value;
use town::{Ended, Town};

const DEVICES: usize = 24;

/// How often each device was named in requests of this kind that Apple took.
fn asked(town: &Town, about: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in town.world.apple().ledger() {
        if entry.method == "POST" && entry.about == about && (200..300).contains(&entry.status) {
            for serial in entry.serials {
                *found.entry(serial).or_default() += 1;
            }
        }
    }
    found
}

/// Each of these devices was named once.
fn once(town: &Town, about: &str, serials: &[String]) {
    let wanted: BTreeMap<String, usize> = serials.iter().map(|s| (s.clone(), 1)).collect();
    assert_eq!(asked(town, about), wanted, "{about}");
}

/// Done, or nothing was left to do; never our own failure.
fn in_order(ended: &Ended) {
    if ended.err.contains("is in an open wave already") {
        return;
    }
    assert!(
        [0, 3, 4].contains(&ended.exit),
        "{}: {}",
        ended.exit,
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_and_three_servers_do_nothing_twice_and_lose_nothing() {
    let Some(server) = TestPostgres::find().await else {
        let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
        assert!(!required, "there is no PostgreSQL, and one is required");
        return;
    };
    let url = server.database().await;
    let town = Town::several(DEVICES, &url, 3).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let serials = town.serials();
    let csv = |name: &str, some: &[String]| town.file(name, some.join("\n"));
    let (anna, bo) = (
        town.token("Anna", "approver", &[]).await,
        town.token("Bo", "approver", &[]).await,
    );
    let (first, second, third) = (&town.app, &town.others[0], &town.others[1]);
    let a = async |words: &[&str]| town.mdmd_at(second, &anna, words).await;
    let b = async |words: &[&str]| town.mdmd_at(third, &bo, words).await;

    // Both plan: one project, one wave, half of the devices each, at two servers at once.
    let new = [
        "project",
        "new",
        "Move",
        "--zone",
        "Europe/Berlin",
        "--capacity",
        "6",
        "--days",
        "mon,tue,wed,thu,fri,sat,sun",
    ];
    let (one, other) = tokio::join!(a(&new), b(&new));
    let mut exits = [one.exit, other.exit];
    exits.sort_unstable();
    assert_eq!(exits, [0, 2], "{} {}", one.err, other.err);
    assert_eq!(a(&["project", "on", "Move"]).await.exit, 0);
    assert_eq!(
        b(&["wave", "new", "main", "--project", "Move"]).await.exit,
        0
    );
    let (left, right) = (
        csv("left.csv", &serials[..14]),
        csv("right.csv", &serials[10..]),
    );
    let add = |file| ["wave", "add", "main", "--csv", file];
    let (adds_left, adds_right) = (add(&left), add(&right));
    let (one, other) = tokio::join!(a(&adds_left), b(&adds_right));
    in_order(&one);
    in_order(&other);
    // All of a list, or nobody: whoever came second adds the rest.
    for serial in &serials {
        in_order(&a(&["wave", "add", "main", serial]).await);
    }
    assert_eq!(a(&["wave", "plan", "main"]).await.exit, 0);
    let run = a(&["wave", "whatif", "main", "--json"]).await;
    assert_eq!(run.exit, 0, "{}", run.err);
    let digest = run.json()["digest"].as_str().unwrap().to_owned();
    let accept = ["wave", "accept", "main", "--digest", &digest];
    let (one, other) = tokio::join!(a(&accept), b(&accept));
    in_order(&one);
    in_order(&other);

    // Three submit at once.
    let submit = ["wave", "submit", "main", "--confirm", "main"];
    let (one, other, local) = tokio::join!(a(&submit), b(&submit), town.mdmd(&submit));
    for ended in [&one, &other, &local] {
        in_order(ended);
    }
    assert!(
        [&one, &other, &local].iter().any(|e| e.exit == 0),
        "{}",
        one.err
    );
    once(
        &town,
        "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE",
        &serials,
    );

    // Both give more time at once.
    let extend = [
        "wave",
        "extend",
        "main",
        "--deadline",
        "2027-02-10T12:00:00Z",
        "--json",
    ];
    let plan = a(&extend).await;
    let digest = plan.json()["digest"].as_str().unwrap().to_owned();
    let extend = [&extend[..], &["--accept", &digest]].concat();
    let (one, other) = tokio::join!(a(&extend), b(&extend));
    in_order(&one);
    in_order(&other);
    town.minutes(40).await;
    once(&town, "UPDATE_MDM_MIGRATION_DEADLINE", &serials);

    // Both call devices back, some of them the same.
    let cancel = |file| ["migration", "cancel", "--csv", file, "--json"];
    let (cancels_left, cancels_right) = (cancel(&left), cancel(&right));
    let of = |ended: &Ended| ended.json()["digest"].as_str().unwrap().to_owned();
    let (one, other) = (of(&a(&cancels_left).await), of(&b(&cancels_right).await));
    let cancels_left = [&cancels_left[..], &["--accept", &one]].concat();
    let cancels_right = [&cancels_right[..], &["--accept", &other]].concat();
    let (one, other) = tokio::join!(a(&cancels_left), b(&cancels_right));
    in_order(&one);
    in_order(&other);
    // What the other one's cancellation made void is asked for again, for those who are left.
    for file in [&left, &right] {
        let plan = a(&cancel(file)).await;
        let digest = of(&plan);
        let accepted = [&cancel(file)[..], &["--accept", &digest]].concat();
        in_order(&a(&accepted).await);
    }
    town.minutes(40).await;
    once(&town, "CANCEL_MDM_MIGRATION", &serials);
    for serial in &serials {
        let now = town.world.apple().assigned_server(serial);
        assert_eq!(
            now.as_deref(),
            Some(town.world.original_server()),
            "{serial}"
        );
    }

    // Whatever was acknowledged is there, whoever is asked.
    let all = csv("all.csv", &serials);
    let mut told: Vec<Value> = Vec::new();
    for app in [first, second, third] {
        let status = ["migration", "status", "--csv", &all, "--json"];
        let shown = town.mdmd_at(app, &anna, &status).await.json();
        assert_eq!(shown["migrations"].as_array().unwrap().len(), DEVICES);
        told.push(shown);
    }
    let cancelled = told[0]
        .to_string()
        .to_lowercase()
        .matches("cancelled")
        .count();
    assert!(cancelled >= DEVICES, "{:#}", told[0]);
    assert_eq!(told[0], told[1]);
    assert_eq!(told[1], told[2]);
    drop(town);
    server.clean().await;
}
