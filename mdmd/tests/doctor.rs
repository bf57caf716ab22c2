//! The checklist from the command line: of nothing, of an installation that was just made, of one that is connected; doors looked at from outside;
//! and a bundle for whoever helps, in which nobody is named.

mod town;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use mdm_core::clock::{Clock as _, SystemClock};
use mdmd::config::Duty;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslConnector, SslMethod};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509NameBuilder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
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

/// The item of the checklist that begins so, if it is there.
fn named(list: &serde_json::Value, item: &str) -> Option<String> {
    let items = list["items"].as_array().unwrap().iter();
    let mut names = items.map(|i| i["item"].as_str().unwrap());
    names.find(|name| name.starts_with(item)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_devices_get_their_identities_is_looked_at_whoever_issues_them() {
    let town = Town::found(1).await;
    let look = async || town.mdmd(&["doctor", "--json"]).await.json();
    assert_eq!(named(&look().await, "ACME at "), None);
    // By ACME from here: its directory, too.
    town.ends("identity|set|--protocol|macos=acme", 0, "").await;
    let list = look().await;
    assert_eq!(state(&list, "ACME at "), "done", "{list:#}");
    assert_eq!(state(&list, "SCEP at "), "done", "{list:#}");

    // By SCEP from elsewhere: that address and no other, and what it answers.
    let authority = town.data().join("tls/ca.pem");
    let authority = authority.to_str().unwrap();
    town.ends(&format!("identity|authority|trust|{authority}"), 0, "")
        .await;
    for (status, stands) in [("200 OK", "done"), ("503 Down", "missing")] {
        let there = scep_elsewhere(status);
        town.ends(&format!("identity|use|scep|{there}"), 0, "")
            .await;
        let list = look().await;
        assert_eq!(named(&list, "ACME at "), None, "{list:#}");
        let name = named(&list, "SCEP at ").unwrap();
        assert!(name.contains(&there), "{name}");
        assert_eq!(state(&list, "SCEP at "), stands, "{list:#}");
    }
    // Whoever looks at the whole from outside is not told that its ACME server were wrong: it issues nothing, and says so. Check-in has
    // a listener of its own here.
    let port = town.app.address(Duty::Enrol).unwrap().port();
    let code = town.made["organisation"].as_str().unwrap();
    let all = format!("https://localhost:{port}/mdm/{code}");
    let probe = async |url: &str| {
        let words = ["doctor", "--probe", url, "--anchors", authority, "--json"];
        town.mdmd(&words).await.json()
    };
    let seen = probe(&all).await;
    let rows = seen["endpoints"].as_array().unwrap().iter();
    let states: Vec<_> = rows.map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        ["absent", "answers", "answers", "answers"],
        "{seen:#}"
    );
    assert_eq!(seen["wrong"], 0, "{seen:#}");
    // Its directory by itself is wrong: nobody gets an identity there.
    let seen = probe(&format!("{all}/acme/directory")).await;
    let row = &seen["endpoints"][0];
    assert_eq!(row["state"], "wrong", "{seen:#}");
    let problem = row["problem"].as_str().unwrap();
    assert!(problem.starts_with("answers with 400"), "{problem}");
    // A code that nobody has is no organisation that answers, and it shows where identities come from.
    let seen = probe(&format!("https://localhost:{port}/mdm/aaaaaaaaaaaa")).await;
    let rows = seen["endpoints"].as_array().unwrap().iter();
    let states: Vec<_> = rows.map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["absent", "reached", "wrong", "wrong"], "{seen:#}");
}

/// A server that answers whoever asks what it can with this status; its address.
fn scep_elsewhere(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("http://{}/scep", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0_u8; 4096];
            let read = stream.read(&mut asked).unwrap();
            // Nothing else is asked there.
            let asked = asked[..read].starts_with(b"GET /scep?operation=GetCACaps ");
            let status = if asked { status } else { "400 Bad" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    there
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
        // As the answers of Apple's services show it.
        "clock",
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
    // It says the same for a code that nobody has.
    assert_eq!(seen["state"], "reached");
    // The whole of an organisation, and a place where nothing is.
    let enrol = town.app.address(Duty::Enrol).unwrap().port();
    let all = format!("https://localhost:{enrol}/mdm/{code}");
    let whole = town
        .mdmd(&["doctor", "--probe", &all, "--anchors", anchors, "--json"])
        .await
        .json();
    let stands = |name: &str| {
        let rows = whole["endpoints"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("{name}: {whole:#}"))["problem"].is_null()
    };
    assert!(stands("SCEP") && stands("ACME"), "{whole:#}");
    assert_eq!(seen["trusted_by"], "anchor_certs");
    assert!(seen["ends"].is_string() && seen["clock_ahead"].as_i64().unwrap().abs() < 60);
    for (url, with, why) in [
        (door.as_str(), false, "accepted neither by"),
        (
            &format!("https://localhost:{port}/mdm/{code}/else/checkin"),
            true,
            "404",
        ),
        (
            &format!("https://localhost:{port}/nothing/here"),
            true,
            "answers with 404",
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

    let plain = town.file("plain.json", "{}");
    let ended = town
        .mdmd(&["doctor", "--probe", &door, "--anchors", &plain])
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.out);
    assert!(ended.err.contains("holds no certificate"), "{}", ended.err);

    for url in [
        "notaurl",
        "https://",
        "mdm.example.com/x",
        "/mdm",
        "https://localhost:99999/",
        "https://localhost:84430/mdm/x",
        "https://[::1]:0/",
    ] {
        let ended = town.mdmd(&["doctor", "--probe", url]).await;
        assert_eq!(ended.exit, 2, "{url}: {}{}", ended.out, ended.err);
    }
    let told = "https://ada:hunter2@mdm.example.com/";
    let ended = town.mdmd(&["doctor", "--probe", told]).await;
    assert_eq!(ended.exit, 2, "{}{}", ended.out, ended.err);
    assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"));

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
    assert_eq!(town.mdmd(&["support-bundle", "--out", out]).await.exit, 3);
}

/// Runs the checklist of a directory that nothing serves: how it ended, and what it said.
fn stopped(data: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.arg("--data").arg(data).arg("doctor").args(more);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.code().unwrap_or(-1), said)
}

/// Every file of a directory, with what is in it.
fn content(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut to_do = vec![data.to_owned()];
    while let Some(directory) = to_do.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => to_do.push(path),
                false => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
            }
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_directory_is_looked_at_and_stays_as_it_is() {
    let town = Town::found(2).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    for line in [
        "project|new|Berlin",
        "wave|new|pilot|--project|Berlin|--preset|pilot",
        "wave|add|pilot|--all",
    ] {
        town.ends(line, 0, "").await;
    }
    // What was served, where nothing serves it.
    let file = town.directory.path().join("backup");
    town.json(&["backup", "--out", file.to_str().unwrap()])
        .await;
    let data = town.directory.path().join("stopped");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(town.data().join("master.key"), data.join("master.key")).unwrap();
    let mut restore = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    restore.arg("--data").arg(&data).arg("restore").arg(&file);
    assert!(restore.output().unwrap().status.success());
    let before = content(&data);
    let (exit, said) = stopped(&data, &["--json"]);
    assert_eq!(exit, 3, "{said}");
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    for item in [
        "push certificate",
        "organisation API",
        "server token of",
        "device list",
        "authority of identities",
        "Berlin: lock policy",
    ] {
        assert_eq!(state(&list, item), "done", "{item}: {list:#}");
    }
    // Its doors are shut, and it says so.
    for item in ["check-in", "enrolment", "SCEP"] {
        assert_eq!(state(&list, item), "missing", "{item}: {list:#}");
    }
    let doors = list["items"].as_array().unwrap().iter().filter(|item| {
        let name = item["item"].as_str().unwrap();
        name.contains(" at http") && item["state"] == "missing"
    });
    let fixes: Vec<&str> = doors.map(|door| door["fix"].as_str().unwrap()).collect();
    assert!(fixes.len() >= 3, "{list:#}");
    for fix in fixes {
        assert!(
            fix.contains("`mdmd serve`") && !fix.contains("proxy"),
            "{fix}"
        );
    }
    let (exit, said) = stopped(&data, &[]);
    assert_eq!(exit, 3);
    assert!(said.contains("latest deadline 20") && said.contains("was not looked at"));
    let after = content(&data);
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "a file was changed");

    // What keeps it from being looked at is the first thing on the list.
    let lacks = |data: &Path, why: &str| {
        let (exit, said) = stopped(data, &[]);
        assert_eq!(exit, 3, "{why}: {said}");
        assert!(
            said.contains("MISSING  server") && said.contains(why),
            "{why}: {said}"
        );
    };
    let (key, aside) = (data.join("master.key"), data.join("aside.key"));
    std::fs::rename(&key, &aside).unwrap();
    lacks(&data, "master.key");
    std::fs::rename(&aside, &key).unwrap();
    let database = before.iter().find(|f| f.1.starts_with(b"SQLite format 3"));
    std::fs::write(&database.unwrap().0, "nothing of the kind").unwrap();
    lacks(&data, "database");
}

/// A server whose clock is so many seconds off, and the certificate that it shows.
fn with_clock(off: i64) -> (String, Vec<u8>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let (from, to) = (Asn1Time::from_unix(0), Asn1Time::days_from_now(10));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&to.unwrap()).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else {
                continue;
            };
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                asked.push(byte[0]);
            }
            let now = now() + time::Duration::seconds(off);
            let date = now.format(&Rfc2822).unwrap().replace("+0000", "GMT");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            );
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown();
        }
    });
    let pem = certificate.to_pem().unwrap();
    (format!("https://localhost:{port}/"), pem)
}

#[test]
fn a_clock_that_is_wrong_is_named_by_whoever_probes() {
    let directory = tempfile::tempdir().unwrap();
    for (off, says) in [
        (0, None),
        (3600, Some("seconds ahead of the one here")),
        (-3600, Some("seconds behind the one here")),
    ] {
        let (url, pem) = with_clock(off);
        let anchors = directory.path().join("anchors.pem");
        std::fs::write(&anchors, pem).unwrap();
        let anchors = anchors.to_str().unwrap();
        let nowhere = directory.path().join("none");
        let (exit, said) = stopped(&nowhere, &["--probe", &url, "--anchors", anchors, "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
        let seen = &answer["endpoints"][0];
        let ahead = seen["clock_ahead"].as_i64().unwrap();
        assert!((ahead - off).abs() < 60, "{off}: {said}");
        match says {
            None => assert_eq!((exit, &seen["problem"]), (0, &serde_json::Value::Null)),
            Some(says) => {
                let problem = seen["problem"].as_str().unwrap();
                assert_eq!(exit, 3, "{off}: {said}");
                assert!(
                    problem.starts_with("its clock is 3") && problem.ends_with(says),
                    "{said}"
                );
            }
        }
        assert_eq!(seen["trusted_by"], "anchor_certs", "{off}: {said}");
    }
}

fn now() -> OffsetDateTime {
    let seconds = SystemClock.now().as_millis() / 1000;
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_organisations_a_handshake_that_fails_is_in_the_list_of_the_machine() {
    let town = Town::found(5).await;
    town.json(&["organisation", "new", "A second one"]).await;
    let port = town.app.address(Duty::Device).unwrap().port();
    let stranger = SslConnector::builder(SslMethod::tls_client())
        .unwrap()
        .build();
    let stream = std::net::TcpStream::connect(("localhost", port)).unwrap();
    assert!(stranger.connect("localhost", stream).is_err());
    let noted = async || {
        let all = town.json(&["organisation", "handshakes"]).await;
        let all = all["handshakes"].as_array().unwrap().clone();
        let of = all.iter().filter(|it| it["address"] == "127.0.0.1");
        of.cloned().collect::<Vec<_>>()
    };
    for _ in 0..100 {
        if !noted().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let noted = noted().await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0]["door"], "tls");
    assert!(
        noted[0]["reason"]
            .as_str()
            .is_some_and(|why| !why.is_empty())
    );
}
