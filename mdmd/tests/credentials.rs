//! Credentials from the command line: API tokens with roles, server tokens over rotations of their key pairs, the account of
//! the organisation API.

mod town;

use std::process::Command;

use mdm_core::ids::{OrganisationCode, OrganisationId, SecretId, Serial, ServerId};
use mdm_core::inventory::PullPhase;
use mdm_core::organisation::TokenKey;
use mdmd::config::Duty;
use serde_json::json;
use town::Town;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_token_comes_in_for_its_certificate_only_and_is_renewed() {
    let town = Town::found(2).await;
    let account = town.world.apple().api_account();

    // A wrong key of the account is not kept.
    let wrong = openssl::ec::EcKey::generate(
        &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap(),
    )
    .unwrap();
    let wrong = town.file("wrong.key", wrong.private_key_to_pem().unwrap());
    let add = ["business", "add", "--client-id", &account.client_id];
    let with = |key| [add.as_slice(), &["--key-id", &account.key_id, "--key", key]].concat();
    let ended = town.mdmd(&with(&wrong)).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert_eq!(
        town.json(&["business", "status"]).await["client_id"],
        json!(null)
    );

    // The right one comes from standard input: it is on no command line and in no file.
    let ended = town
        .mdmd_with(&with("-"), Some(account.private_key_pem.as_bytes()))
        .await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert!(ended.out.contains("Destination MDM"), "{}", ended.out);
    assert!(ended.err.contains("POST /api/v1/business"), "{}", ended.err);

    // No key pair yet: the file cannot be ours.
    let stranger = abm_client::TokenKeyPair::generate("stranger", 1_795_190_400_000, 365).unwrap();
    let apple = town.world.apple();
    let destination = town.world.destination_server();
    let p7m = apple
        .server_token(destination, stranger.certificate_pem().unwrap().as_bytes())
        .unwrap();
    let foreign = town.file("foreign.p7m", p7m);
    let ended = town.mdmd(&["token", "import", &foreign]).await;
    assert_eq!(ended.exit, 3);
    assert!(
        ended.err.contains("made for another certificate"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains(&stranger.describe()), "{}", ended.err);

    // A directory that is missing is made; one that cannot be is named.
    let blocked = town.file("plain", "a file");
    let ended = town
        .mdmd(&["token", "key", "--out", &format!("{blocked}/below")])
        .await;
    assert_eq!(ended.exit, 3);
    assert!(ended.err.contains("plain/below"), "{}", ended.err);
    assert_eq!(
        town.json(&["token", "status"]).await["keys"],
        json!([]),
        "no key pair for a certificate that could not be written"
    );
    // Nobody can write into this one, whoever they are.
    town.ends("token|key|--out|/proc", 3, "/proc").await;
    let status = town.json(&["token", "status"]).await;
    assert_eq!(status["keys"], json!([]), "it looks before it makes");
    let first = town.token_file("first/of/many").await;

    // A second key pair: the token for the first one still opens.
    let second = town.token_file("second").await;
    let imported = town.json(&["token", "import", &first]).await;
    let status = town.json(&["token", "status"]).await;
    assert_eq!(status["servers"][0]["id"], imported["server"]);
    assert_eq!(status["servers"][0]["name"], "Destination MDM");
    assert_eq!(status["keys"].as_array().unwrap().len(), 2);

    // The other service's token is no renewal of this entry.
    let key = town
        .json(&[
            "token",
            "key",
            "--out",
            town.directory.path().join("x").to_str().unwrap(),
        ])
        .await;
    let certificate = std::fs::read(key["certificate"].as_str().unwrap()).unwrap();
    let other = apple
        .server_token(town.world.original_server(), &certificate)
        .unwrap();
    let other = town.file("other.p7m", other);
    let number = imported["server"].as_str().unwrap().to_owned();
    let ended = town
        .mdmd(&["token", "import", &other, "--renews", &number])
        .await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert!(ended.err.contains("Original MDM"), "{}", ended.err);
    let ended = town
        .mdmd(&["token", "import", &second, "--renews", "99"])
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    let said = ended.err.contains("no server entry 99") && ended.err.contains("mdmd token status");
    assert!(said, "{}", ended.err);
    let renewed = town
        .json(&["token", "import", &second, "--renews", &number])
        .await;
    assert_eq!(renewed["server"], imported["server"]);
    let ended = town
        .mdmd_with(&["token", "import", "-"], Some(b"nonsense"))
        .await;
    assert_eq!(ended.exit, 2, "{}", ended.err);

    let record = town.record().await;
    for deed in ["api.imported", "token-key.made", "token.imported"] {
        let by = |entry: &&(String, String)| entry.1 == deed && entry.0 == "local administrator";
        assert!(record.iter().find(by).is_some(), "{deed}: {record:?}");
    }
    // Nothing secret is in the database in clear.
    let database = std::fs::read(town.data().join("mdmd.sqlite")).unwrap();
    let secret = account.private_key_pem.lines().nth(1).unwrap().as_bytes();
    assert!(!database.windows(secret.len()).any(|w| w == secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_the_service_that_devices_leave_waits_for_a_word_and_can_be_given_up_again() {
    let town = Town::found(2).await;
    town.furnish().await;
    town.ends("project|new|Berlin", 0, "switched off").await;
    let out = town.directory.path().join("original");
    let key = town
        .json(&["token", "key", "--out", out.to_str().unwrap()])
        .await;
    let certificate = std::fs::read(key["certificate"].as_str().unwrap()).unwrap();
    let apple = town.world.apple();
    let original = apple.server_token(town.world.original_server(), &certificate);
    let original = town.file("original.p7m", original.unwrap());
    let import = format!("token|import|{original}");

    // All of its devices would get our profile: that is wanted in a word, or nothing is kept.
    let refused = town.ends(&import, 3, "Original MDM").await;
    for word in [
        "2 devices in its list",
        "none of them is ours",
        "--take-over",
    ] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let servers = async || {
        let status = town.json(&["token", "status"]).await;
        status["servers"].as_array().unwrap().clone()
    };
    let before = servers().await;
    assert_eq!(before.len(), 1);
    let destination = before[0]["id"].as_str().unwrap().to_owned();
    let taken = town
        .json(&["token", "import", &original, "--take-over"])
        .await;
    assert_eq!(taken["name"], "Original MDM");
    assert_eq!(taken["devices"], 2, "{taken}");
    let number = taken["server"].as_str().unwrap().to_owned();

    // Its devices are in our lists now, and have our profile.
    let profiles = async || {
        let listed = town.json(&["device", "list"]).await;
        let rows = listed["devices"].as_array().unwrap().clone();
        rows.into_iter()
            .filter(|d| d["profile_status"] == "assigned")
            .count()
    };
    let mut waited = 0;
    while profiles().await < 2 {
        waited += 1;
        assert!(waited < 60, "no profile was assigned");
        town.minutes(1).await;
    }

    // It is given up by its name alone, and never while something needs it.
    let remove = |number: &str, name: &str| format!("token|remove|{number}|--confirm|{name}");
    town.ends(
        &format!("token|remove|{number}"),
        3,
        "--confirm \"Original MDM\"",
    )
    .await;
    town.ends(&remove(&number, "original mdm"), 2, "must be the name")
        .await;
    town.ends(&remove("99", "Original MDM"), 3, "no server entry 99")
        .await;
    town.ends(&remove(&destination, "Destination MDM"), 3, "Berlin")
        .await;
    assert_eq!(servers().await.len(), 2);
    town.ends(&remove(&number, "Original MDM"), 0, "is removed")
        .await;
    assert_eq!(servers().await.len(), 1);
    assert!(
        town.record()
            .await
            .iter()
            .any(|(_, what)| what == "server-entry.removed")
    );
    let (store, org) = (town.app.mdm.store(), org(&town).await);
    let row = ServerId(number.parse().unwrap());
    let row = store.server(org, row).await.unwrap().unwrap();
    let token = store.secret(org, row.token).await.unwrap().unwrap();
    assert!(token.destroyed.is_some() && token.sealed.0.is_empty());
    // Its devices leave our lists; at Apple they keep what they have.
    let mut waited = 0;
    loop {
        let shown = town.json(&["assignment", "list"]).await;
        let rows = shown["devices"].as_array().unwrap();
        if rows.iter().all(|d| d["assignment"]["gone"] == true) {
            break;
        }
        waited += 1;
        assert!(waited < 60, "{shown}");
        town.minutes(1).await;
    }
    for serial in town.serials() {
        let at_apple = apple.activation_profile(&serial).expect("a profile");
        let mut ours = row.profiles.values().chain(&row.profile);
        assert!(ours.any(|p| p.uuid == at_apple.profile_uuid), "{serial}");
        let serial = Serial::parse(&serial).unwrap();
        let device = store.device_by_serial(org, &serial).await.unwrap();
        let record = device.unwrap().record.unwrap();
        assert!(record.given_up && !record.has_left());
    }
    // Whoever wants it back is not asked again: the profile there is ours.
    let again = town.json(&["token", "import", &original]).await;
    assert_eq!(again["devices"], 2, "{again}");
    assert_ne!(again["server"], json!(number));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_service_that_a_project_leaves_is_refused_with_any_word() {
    let town = Town::found(2).await;
    town.furnish().await;
    town.ends("project|new|Berlin", 0, "switched off").await;
    let leaves = "project|set|Berlin|--original|Original MDM";
    town.ends(leaves, 0, "Berlin").await;
    let out = town.directory.path().join("original");
    let key = town
        .json(&["token", "key", "--out", out.to_str().unwrap()])
        .await;
    let certificate = std::fs::read(key["certificate"].as_str().unwrap()).unwrap();
    let apple = town.world.apple();
    let original = apple.server_token(town.world.original_server(), &certificate);
    let original = town.file("original.p7m", original.unwrap());
    let before: Vec<_> = town.serials();
    let before: Vec<_> = before
        .iter()
        .map(|serial| apple.activation_profile(serial).map(|p| p.profile_uuid))
        .collect();

    // Whoever means it is not asked for a word that would help nothing.
    let not_for_us = "Original MDM is a service that devices leave in the project Berlin: its token is not for us";
    let import = format!("token|import|{original}");
    let refused = town.ends(&import, 3, not_for_us).await;
    assert!(!refused.err.contains("--take-over"), "{}", refused.err);
    town.ends(&format!("{import}|--take-over"), 3, not_for_us)
        .await;
    // Nothing of it was kept, and nothing at Apple is another.
    let status = town.json(&["token", "status"]).await;
    assert_eq!(status["servers"].as_array().unwrap().len(), 1, "{status}");
    for _ in 0..30 {
        town.minutes(1).await;
    }
    let now: Vec<_> = town.serials();
    let now: Vec<_> = now
        .iter()
        .map(|serial| apple.activation_profile(serial).map(|p| p.profile_uuid))
        .collect();
    assert_eq!(now, before);
    let (store, org) = (town.app.mdm.store(), org(&town).await);
    assert_eq!(store.servers(org).await.unwrap().len(), 1);
    let imported = town.record().await.into_iter();
    let imported = imported.filter(|(_, what)| what == "token.imported");
    assert_eq!(imported.count(), 1, "ours alone");

    // Once the project is over, a word decides again.
    town.ends("project|close|Berlin", 0, "").await;
    let asked = town.ends(&import, 3, "--take-over").await;
    assert!(!asked.err.contains("not for us"), "{}", asked.err);
    town.ends(&format!("{import}|--take-over"), 0, "Original MDM")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_key_pair_without_a_token_can_be_taken_away() {
    let town = Town::found(1).await;
    town.furnish().await;
    let (store, own) = (town.app.mdm.store(), org(&town).await);
    let row = async || store.organisation(own).await.unwrap().unwrap();
    let is_destroyed = async |key: SecretId| {
        let kept = store.secret(own, key).await.unwrap().unwrap();
        kept.destroyed.is_some() && kept.sealed.0.is_empty()
    };

    // A pair stays as long as a token of ours was made for it.
    let spare = town.token_file("spare").await;
    town.token_file("uploaded").await;
    let keys = row().await.token_keys;
    let key = keys[1].key;
    let serials: Vec<String> = keys.iter().map(TokenKey::serial).collect();
    let [used, unused, uploaded] = serials.as_slice() else {
        panic!("{serials:?}");
    };
    // It goes by its serial number, which is shown whole, and not by a place in a list that closes up.
    for serial in &serials {
        town.ends("token|status", 0, serial).await;
    }
    let sure = |serial: &str| format!("token|remove-key|{serial}|--confirm|{serial}");
    town.ends(&sure(used), 3, "Destination MDM was made for it")
        .await;
    town.ends(&sure("2"), 3, "no key pair with the serial number 2")
        .await;
    let word = format!("nothing was done. With --confirm {unused}, unless");
    town.ends(&format!("token|remove-key|{unused}"), 3, &word)
        .await;
    let other = format!("token|remove-key|{unused}|--confirm|{uploaded}");
    town.ends(&other, 2, "must be that of the key pair").await;
    assert!(!is_destroyed(key).await);
    let small = format!(
        "token|remove-key|{}|--confirm|{unused}",
        unused.to_lowercase()
    );
    town.ends(&small, 0, "is removed").await;
    assert!(is_destroyed(key).await);
    // The same line again destroys no other.
    town.ends(&small, 3, "no key pair with the serial number")
        .await;
    let left: Vec<String> = row()
        .await
        .token_keys
        .iter()
        .map(TokenKey::serial)
        .collect();
    assert_eq!([used, uploaded], [&left[0], &left[1]]);
    assert_eq!(left.len(), 2);
    // The next certificate has a name of its own beside that of the pair that is gone.
    let out = town.directory.path().join("spare");
    let made = town
        .json(&["token", "key", "--out", out.to_str().unwrap()])
        .await;
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let next = made["serial"].as_str().unwrap();
    let mut wanted = [unused.as_str(), next].map(|serial| format!("server-token-{serial}.pem"));
    wanted.sort();
    assert_eq!(names, wanted);
    let import = format!("token|import|{spare}");
    town.ends(&import, 3, "made for another certificate").await;

    // The key that another takes the place of is destroyed, and not only the last one.
    let shown = town.world.apple().api_account();
    let file = town.file("again.key", shown.private_key_pem.as_bytes());
    let (id, name) = (&shown.client_id, &shown.key_id);
    let add = format!("business|add|--client-id|{id}|--key-id|{name}|--key|{file}");
    let first = row().await.api.unwrap();
    assert!(!is_destroyed(first.key).await);
    town.ends(&add, 0, "Destination MDM").await;
    assert!(is_destroyed(first.key).await);

    // The account goes by its name; not while a wave needs it (tests/wave.rs), which a command without the name cannot know.
    let account = row().await.api.unwrap();
    assert!(!is_destroyed(account.key).await);
    let remove = format!("business|remove|--confirm|{}", account.client_id);
    let word = format!(
        "nothing was done. With --confirm {}, unless something still needs it: the key of",
        account.client_id
    );
    town.ends("business|remove", 3, &word).await;
    let other = "business|remove|--confirm|BUSINESSAPI.other";
    town.ends(other, 2, "must be that of the account").await;
    // A reading that is under way ends with it.
    let code = OrganisationCode::parse(&code(&town).await).unwrap();
    let handle = town.app.mdm.organisation(&code).await.unwrap();
    handle.start_pull().await.unwrap();
    town.ends(&remove, 0, "is removed").await;
    assert!(is_destroyed(account.key).await);
    let read = handle.inventory().await.unwrap().unwrap();
    assert_eq!((read.phase, read.wanted), (PullPhase::Idle, None));
    let shown = town.json(&["business", "status"]).await;
    assert_eq!(shown["client_id"], json!(null));
    town.ends(&remove, 3, "there is no account").await;
    town.ends("inventory|pull", 3, "mdmd business add").await;
    let record = town.record().await;
    for deed in ["api.removed", "token-key.removed"] {
        let times = record.iter().filter(|(_, what)| what == deed).count();
        assert_eq!(times, 1, "{deed}: {record:?}");
    }
    // It can come back, and everything is read again.
    town.ends(&add, 0, "Destination MDM").await;
    town.ends("inventory|pull", 0, "").await;
}

async fn org(town: &Town) -> OrganisationId {
    town.org().await.organisation().id
}

/// The code of the town's organisation.
async fn code(town: &Town) -> String {
    let all = town.json(&["organisation", "list"]).await;
    all["organisations"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_does_what_its_role_may_until_it_is_revoked() {
    let town = Town::found(1).await;
    let file = town.directory.path().join("helper.token");
    let out = file.to_str().unwrap();
    let made = town
        .json(&[
            "api-token",
            "new",
            "help desk",
            "--role",
            "helpdesk",
            "--expires",
            "30",
            "--out",
            out,
        ])
        .await;
    assert_eq!(
        made["token"],
        json!(null),
        "it is in the file, and only there"
    );
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.len() >= 40);
    let database = std::fs::read(town.data().join("mdmd.sqlite")).unwrap();
    assert!(!database.windows(token.len()).any(|w| w == token.as_bytes()));

    let port = town.app.address(Duty::Admin).unwrap().port();
    let ask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(arguments)
            .args(["--url", &format!("https://localhost:{port}"), "--ca"])
            .arg(town.data().join("tls/ca.pem"))
            .env_remove("MDMD_TOKEN")
            .env("MDMD_TOKEN_FILE", &file)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    };
    assert_eq!(ask(&["hold", "list"]), (0, String::new()));
    let (exit, said) = ask(&["api-token", "new", "more", "--role", "admin"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("takes the role of an admin"), "{said}");
    // What it would mean is not said as if it had come to pass.
    let before = "POST /api/v1/api-tokens, if it is not refused: ";
    assert!(said.starts_with(before), "{said}");
    assert_eq!(ask(&["organisation", "new", "Mine"]).0, 3);
    // Whose certificate is not trusted is told what to name; what cannot be read is bad input.
    for (ca, exit, words) in [(None, 3, "--ca FILE"), (Some("/nope"), 2, "--ca /nope")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
        command.args([
            "hold",
            "list",
            "--url",
            &format!("https://localhost:{port}"),
        ]);
        let output = command
            .args(ca.map(|ca| format!("--ca={ca}")))
            .env("MDMD_TOKEN_FILE", &file)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }

    for (name, expires, what) in [
        ("help desk", "30", "taken"),
        ("WORKER", "30", "taken"),
        (" ", "30", "1 to 100 bytes"),
        ("a\u{7}b", "30", "name: must be without control characters"),
        (
            "a\u{202e}b",
            "30",
            "name: must be without control characters",
        ),
        ("a<b", "30", "name: must be without < and >"),
        ("other", "2020-01-01T00:00:00Z", "future"),
        ("other", "soon", "moment"),
    ] {
        let ended = town
            .mdmd(&[
                "api-token",
                "new",
                name,
                "--role",
                "viewer",
                "--expires",
                expires,
            ])
            .await;
        assert_eq!(ended.exit, 2, "{name}: {}", ended.err);
        assert!(ended.err.contains(what), "{name}: {}", ended.err);
    }
    // Not over a file that is there.
    let ended = town
        .mdmd(&["api-token", "new", "over", "--role", "viewer", "--out", out])
        .await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    // And then nothing was made at the server either, whatever is asked for.
    for asked in [
        &["webhook", "new", "over", "https://hooks.example.com/x"][..],
        &["hand-off", "key", "--from", "over"],
        &["partner", "new", "over", "--for", &code(&town).await],
        &["push", "csr", "--name", "over"],
    ] {
        let ended = town.mdmd(&[asked, &["--out", out]].concat()).await;
        assert_eq!(ended.exit, 3, "{asked:?}: {}", ended.err);
    }
    for list in [
        &["api-token", "list"][..],
        &["webhook", "list"],
        &["hand-off", "list"],
        &["partner", "list"],
        &["push", "status"],
    ] {
        let shown = town.json(list).await.to_string();
        assert!(
            !shown.contains("over") && !shown.contains("request\":{"),
            "{list:?}: {shown}"
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    // A place that can be written stays empty of what was refused.
    let free = town.directory.path().join("free.token");
    let asked = [
        "api-token",
        "new",
        " ",
        "--role",
        "viewer",
        "--out",
        free.to_str().unwrap(),
    ];
    assert_eq!(town.mdmd(&asked).await.exit, 2);
    assert!(!free.exists());

    let number = made["id"].as_str().unwrap().to_owned();
    town.json(&["api-token", "revoke", &number]).await;
    let (exit, said) = ask(&["hold", "list"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("bearer token"), "{said}");
    let listed = town.json(&["api-token", "list"]).await;
    let row = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["id"] == made["id"])
        .unwrap();
    assert!(row["revoked"].is_string() && row["hash"].is_null(), "{row}");
    assert_eq!(town.mdmd(&["api-token", "revoke", "7"]).await.exit, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_in_waits_out_apples_trouble() {
    let town = Town::found(2).await;
    let apple = town.world.apple();
    town.furnish().await;
    // The next request meets trouble, and each second one after it.
    apple.set_trouble(Some(fixtures::apple::Trouble::every(2)));
    let token = apple.content_token();
    let import = ["licences", "token", "-", "--json"];
    let calm = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        apple.set_trouble(None);
    };
    let (ended, ()) = tokio::join!(town.mdmd_with(&import, Some(token.as_bytes())), calm);
    assert_eq!(ended.exit, 0, "{}", ended.err);
    assert!(ended.err.contains("mdmd: waits, for "), "{}", ended.err);
    apple.set_trouble(None);

    // New terms: the token is good, and is not here.
    let token = town.token_file("waiting").await;
    apple.set_terms_pending(true);
    let ended = town.mdmd(&["token", "import", &token]).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert!(ended.err.contains("import it again"), "{}", ended.err);
    apple.set_terms_pending(false);
    let ended = town.mdmd(&["token", "import", &token]).await;
    assert_eq!(ended.exit, 0, "{}", ended.err);
}
