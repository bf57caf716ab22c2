//! The checklist from the command line: of nothing, of an installation that was just made, of one that is connected; doors looked at from outside;
//! and a bundle for whoever helps, in which nobody is named.

mod town;

use std::process::Command;

use mdmd::config::Duty;
use openssl::ssl::{SslConnector, SslMethod};
use town::Town;

/// How an item of the checklist stands.
fn state(list: &serde_json::Value, item: &str) -> String {
    let items = list["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|i| i["item"].as_str().unwrap().starts_with(item));
    let found = found.unwrap_or_else(|| panic!("{item} is not on the list: {list:#}"));
    found["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checklist_says_what_is_missing_and_how_to_mend_it() {
    // Of nothing.
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args([
            "--data",
            nothing.path().join("none").to_str().unwrap(),
            "doctor",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("MISSING  server") && said.contains("mdmd init"),
        "{said}"
    );

    let town = Town::found(3).await;
    let ended = town.mdmd(&["doctor", "--json"]).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    let list = ended.json();
    for item in [
        "push certificate",
        "organisation API",
        "server token",
        "device list",
    ] {
        assert_eq!(state(&list, item), "missing", "{item}");
    }
    for item in [
        "authority of identities",
        "certificate of the FileVault escrow",
        // Looked at by their public names, from here.
        "check-in",
        "enrolment",
        "SCEP",
        "TLS certificate",
    ] {
        assert_eq!(state(&list, item), "done", "{item}");
    }
    let items = list["items"].as_array().unwrap();
    assert!(
        items
            .iter()
            .all(|i| i["state"] == "done" || i["fix"].is_string())
    );
    let stages: Vec<&str> = items.iter().map(|i| i["stage"].as_str().unwrap()).collect();
    assert_eq!(stages[0], "install");
    assert!(
        stages.iter().position(|s| *s == "learn") > stages.iter().position(|s| *s == "connect")
    );

    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let list = town.mdmd(&["doctor", "--json"]).await.json();
    for item in [
        "push certificate",
        "organisation API",
        "server token of",
        "device list",
    ] {
        assert_eq!(state(&list, item), "done", "{item}: {list:#}");
    }

    // What ends is held against the latest deadline.
    for line in [
        "project|new|Berlin",
        "wave|new|pilot|--project|Berlin|--preset|pilot",
        "wave|add|pilot|--all",
    ] {
        let words: Vec<&str> = line.split('|').collect();
        assert_eq!(town.mdmd(&words).await.exit, 0, "{line}");
    }
    let ended = town.mdmd(&["doctor"]).await;
    assert!(
        ended.out.contains("latest deadline 20") && ended.out.contains("Berlin"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("was not looked at") && ended.out.contains("mdmd wave whatif"));

    // From outside: a door with its anchors, without them, another path, nothing.
    let port = town.app.address(Duty::Device).unwrap().port();
    let code = town.made["organisation"].as_str().unwrap();
    let door = format!("https://localhost:{port}/mdm/{code}/checkin");
    let anchors = town.data().join("tls/ca.pem");
    let anchors = anchors.to_str().unwrap();
    let ended = town
        .mdmd(&["doctor", "--probe", &door, "--anchors", anchors, "--json"])
        .await;
    assert_eq!(ended.exit, 0, "{}{}", ended.out, ended.err);
    let seen = &ended.json()["endpoints"][0];
    assert_eq!(seen["trusted_by"], "anchor_certs");
    assert!(seen["ends"].is_string() && seen["clock_ahead"].as_i64().unwrap().abs() < 60);
    for (url, with, why) in [
        (door.as_str(), false, "accepted neither by"),
        (
            &format!("https://localhost:{port}/mdm/{code}/else/checkin"),
            true,
            "404",
        ),
        ("https://localhost:1/x", true, "nothing answers"),
        ("https://no-such-name.invalid/", true, "cannot be looked up"),
        ("http://localhost/", true, "is not https"),
    ] {
        let mut words = vec!["doctor", "--probe", url];
        if with {
            words.extend(["--anchors", anchors]);
        }
        let ended = town.mdmd(&words).await;
        assert_eq!(ended.exit, 3, "{url}: {}", ended.out);
        assert!(ended.out.contains(why), "{url}: {}", ended.out);
    }

    for url in ["notaurl", "https://", "mdm.example.com/x", "/mdm"] {
        let ended = town.mdmd(&["doctor", "--probe", url]).await;
        assert_eq!(ended.exit, 2, "{url}: {}{}", ended.out, ended.err);
    }

    // Whoever looks at its own doors is no sender that was refused, whomever it trusts.
    let handshakes = async || {
        let unheard = town.json(&["report", "unheard"]).await;
        let refused = unheard["rows"].as_array().unwrap().iter();
        let handshakes = refused.filter(|row| row["door"] == "tls");
        handshakes
            .map(|row| row["address"].clone())
            .collect::<Vec<_>>()
    };
    assert!(handshakes().await.is_empty(), "{:?}", handshakes().await);
    // A device that does not trust our authority breaks off: whoever looks for it sees the address.
    let stranger = SslConnector::builder(SslMethod::tls_client())
        .unwrap()
        .build();
    let stream = std::net::TcpStream::connect(("localhost", port)).unwrap();
    assert!(stranger.connect("localhost", stream).is_err());
    for _ in 0..100 {
        if !handshakes().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(handshakes().await.iter().any(|at| at == "127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_for_whoever_helps_names_nobody() {
    let town = Town::found(4).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let serials = town.serials();
    let log = format!(
        "enrolled {} from 198.51.100.7 by eva@example.com with {}\nplain words\n",
        serials[0],
        "A".repeat(40)
    );
    let log = town.file("mdmd.log", log);
    let listed = town.mdmd(&["support-bundle", "--log", &log]).await;
    assert_eq!(listed.exit, 0, "{}", listed.err);
    assert!(listed.err.contains("nothing was written"));
    for file in [
        "version.json",
        "configuration.json",
        "checklist.json",
        "record.json",
        "sizes.json",
        "log.txt",
    ] {
        assert!(listed.out.contains(file), "{file}: {}", listed.out);
    }
    let out = town.directory.path().join("bundle.tar");
    let out = out.to_str().unwrap();
    let made = town
        .mdmd(&["support-bundle", "--log", &log, "--out", out])
        .await;
    assert_eq!(made.exit, 0, "{}", made.err);
    let bytes = std::fs::read(out).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("plain words")
            && text.contains("push certificate")
            && text.contains("organisation.created")
    );
    for serial in &serials {
        assert!(!text.contains(serial), "{serial}");
    }
    let token = town.made["administrator_token"]
        .as_str()
        .unwrap_or("none at all")
        .to_owned();
    let key = std::fs::read(town.data().join("master.key")).unwrap();
    let key = String::from_utf8_lossy(&key).trim().to_owned();
    let account = town.world.apple().api_account();
    for secret in [
        &*token,
        &*key,
        &*account.client_id,
        "198.51.100.7",
        "eva@example.com",
        "AAAAAAAA",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    // The same bundle is not written over.
    assert_eq!(town.mdmd(&["support-bundle", "--out", out]).await.exit, 2);
}
