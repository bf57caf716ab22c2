//! A sealed hand-off by command, from a job to what the what-if knows; the exporter's side runs without a server.

mod town;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use town::Town;

const KEY: &str = "ABCD-EFGH-2345-WXYZ-0000-1111";

/// The exporter's side: no data directory, no server, nothing in the environment.
fn anywhere(directory: &std::path::Path, arguments: &[&str]) -> (i32, Value, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(arguments)
        .arg("--json")
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let answer = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    (done.status.code().unwrap_or(-1), answer, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_goes_from_a_file_of_the_original_to_the_what_if_and_the_vault() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["business", "sync"]).await;
    let serials = town.serials();
    let away = tempfile::tempdir().unwrap();
    let at = |name: &str| away.path().join(name).to_str().unwrap().to_owned();

    let made = [
        "hand-off",
        "signer",
        "--name",
        "Old MDM",
        "--certificate",
        "signer.pem",
        "--key",
        "signer.key",
    ];
    let (exit, signer, said) = anywhere(away.path(), &made);
    assert_eq!(exit, 0, "{said}");
    // What is there is never overwritten.
    assert_eq!(anywhere(away.path(), &made).0, 3);
    let job = town
        .json(&[
            "hand-off",
            "key",
            "--from",
            "Old MDM",
            "--out",
            &at("job.pem"),
        ])
        .await;
    let number = job["id"].as_str().unwrap().to_owned();

    let csv = format!(
        "Serial Number,OS Version,Bundle ID,SSID,FileVault Key,Activation Lock Bypass Code,Asset\n\
         {0},18.5,com.example.a,Office,{KEY},,1\n{0},18.5,com.example.b,Office,{KEY},,1\n{1},26.1,,,,CODE-17,2\nSTRANGER,26.1,,,,,3\n",
        serials[0], serials[1]
    );
    std::fs::write(away.path().join("devices.csv"), &csv).unwrap();
    let export = |file: &str, out: &str, more: &[&str]| {
        let mut all = vec![
            "hand-off",
            "export",
            file,
            "--recipient",
            "job.pem",
            "--signer",
            "signer.pem",
            "--key",
            "signer.key",
            "--taken",
            "2026-11-20T08:00:00Z",
            "--job",
            &number,
            "--out",
            out,
        ];
        all.extend_from_slice(more);
        anywhere(away.path(), &all)
    };
    // What is wrong is told with its place and never repeated, and nothing is sealed.
    std::fs::write(away.path().join("bad.csv"), csv.replacen(KEY, "hunter2", 1)).unwrap();
    let (exit, _, said) = export("bad.csv", "bad.p7m", &[]);
    assert_eq!(exit, 2);
    assert!(
        said.contains("line 2, column 5: secrets.recovery_key") && !said.contains("hunter2"),
        "{said}"
    );
    let zeros = "0".repeat(64);
    let (exit, _, said) = export("devices.csv", "bad.p7m", &["--recipient-sha256", &zeros]);
    assert_eq!(exit, 3, "{said}");
    assert!(!away.path().join("bad.p7m").exists());
    let told = job["sha256"].as_str().unwrap();
    let (exit, sealed, said) = export("devices.csv", "bundle.p7m", &["--recipient-sha256", told]);
    assert_eq!(exit, 0, "{said}");
    assert!(
        said.contains("Asset"),
        "a column that is left out is named: {said}"
    );
    assert_eq!(
        (&sealed["devices"], &sealed["secrets"]),
        (&json!(3), &json!(2))
    );
    let bytes = std::fs::read(away.path().join("bundle.p7m")).unwrap();
    assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()));

    // Nobody has said whose signature is believed.
    let import = ["hand-off", "import", &number, &at("bundle.p7m")];
    let ended = town.mdmd(&import).await;
    assert_eq!(ended.exit, 3, "{}", ended.err);
    assert!(ended.err.contains("mdmd hand-off confirm"), "{}", ended.err);
    let wrong = ["hand-off", "confirm", &number, "--signer", "0f"];
    assert_eq!(town.mdmd(&wrong).await.exit, 2);
    let by = signer["sha256"].as_str().unwrap();
    let confirmed = town
        .json(&["hand-off", "confirm", &number, "--signer", by])
        .await;
    assert_eq!(confirmed["signer"]["by"], "local administrator");

    // A list that nobody sealed is told from a bundle.
    let list = ["hand-off", "import", &number, &at("devices.csv")];
    let ended = town.mdmd(&list).await;
    assert_eq!(ended.exit, 2, "{}", ended.err);
    assert!(ended.err.contains("this is no bundle"), "{}", ended.err);

    // A stranger is no device of the organisation: partly done.
    let mut arguments = import.to_vec();
    arguments.push("--json");
    let ended = town.mdmd(&arguments).await;
    assert_eq!(ended.exit, 4, "{}", ended.err);
    let outcome = ended.json();
    assert_eq!(
        (&outcome["accepted"], &outcome["rejected"]),
        (&json!(2), &json!(1))
    );
    assert!(!outcome.to_string().contains(KEY) && !ended.err.contains(KEY));
    let again = town.mdmd(&import).await;
    assert_eq!(again.exit, 3, "{}", again.err);
    assert!(again.err.contains("was used"), "{}", again.err);

    let shown = town.json(&["hand-off", "show", &number]).await;
    assert!(shown["state"]["imported"].is_object(), "{shown}");
    assert_eq!(shown["devices"].as_array().unwrap().len(), 3);
    let listed = town.json(&["hand-off", "list"]).await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(town.mdmd(&["hand-off", "close", &number]).await.exit, 3);
    assert_eq!(town.mdmd(&["hand-off", "show", "99"]).await.exit, 3);
    let apps = town.json(&["apps", "list"]).await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 2, "{apps}");
    let device = town.json(&["device", "show", &serials[0]]).await;
    let held: Vec<&Value> = device["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["kind"])
        .collect();
    assert_eq!(held, ["original_recovery_key"]);

    // The table of profiles names the network that nobody brings again.
    let table = ["profile", "equivalence", &serials[0], "--json"];
    let ended = town.mdmd(&table).await;
    assert_eq!(ended.exit, 4, "{}", ended.err);
    let rows = &ended.json()["profiles"]["rows"];
    assert_eq!(
        (&rows[0]["what"], &rows[0]["gap"]),
        (&json!("Office"), &json!([serials[0]])),
        "{rows}"
    );
    let look = town.mdmd(&["check", &serials[0], "--json"]).await.json();
    let wifi = look["members"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["check"] == "wifi.path");
    assert_eq!(wifi.unwrap()["result"], "block", "{look}");

    let (exit, schema, _) = anywhere(away.path(), &["hand-off", "schema"]);
    assert_eq!((exit, &schema["title"]), (0, &json!("Hand-off bundle")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_original_exports_as_json_is_sealed_by_the_same_command() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["business", "sync"]).await;
    let serials = town.serials();
    let away = tempfile::tempdir().unwrap();
    let at = |name: &str| away.path().join(name).to_str().unwrap().to_owned();
    let signer = ["--certificate", "signer.pem", "--key", "signer.key"];
    let made = [&["hand-off", "signer", "--name", "Old MDM"], &signer[..]].concat();
    let (exit, signer, said) = anywhere(away.path(), &made);
    assert_eq!(exit, 0, "{said}");
    let (pem, by) = (at("job.pem"), signer["sha256"].as_str().unwrap());
    let job = ["hand-off", "key", "--from", "Old MDM", "--out", &pem];
    let job = town.json(&job).await["id"].as_str().unwrap().to_owned();
    let export = |content: &str, out: &str| {
        std::fs::write(away.path().join("devices.json"), content).unwrap();
        let all = [
            "hand-off",
            "export",
            "devices.json",
            "--recipient",
            "job.pem",
            "--signer",
            "signer.pem",
            "--key",
            "signer.key",
            "--taken",
            "2026-11-20T08:00:00Z",
            "--job",
            &job,
            "--out",
            out,
        ];
        anywhere(away.path(), &all)
    };
    let good = json!({ "devices": [
        { "serial": serials[0], "system": "18.5", "networks": [{ "ssid": "Office", "managed": true }],
          "apps": [{ "bundle_id": "com.example.a" }],
          "secrets": { "recovery_key": KEY, "door_code": "4711-DOOR" } },
        { "serial": serials[1], "secrets": { "bypass_code": "CODE-17" } },
    ] });
    // What is wrong anywhere is told with its place and never repeated, and nothing is sealed.
    let text = good.to_string();
    for (content, why) in [
        (
            text.replace(KEY, "hunter2"),
            "devices[0]: secrets.recovery_key",
        ),
        (
            text.replace("\"CODE-17\"", "17"),
            "devices[1]: secrets.bypass_code",
        ),
        (
            text.replace("\"18.5\"", "[\"hunter2\"]"),
            "devices[0]: system",
        ),
        (text.replace(&serials[1], "hunter2 x"), "devices[1].serial"),
        (text.replace(&serials[1], &serials[0]), "occurs twice"),
        (
            text.replace("\"devices\"", "\"hunter2\""),
            "devices: must be a list",
        ),
        (text[..text.len() - 1].to_owned(), "line 1, column"),
        ("{}".to_owned(), "devices: must be a list"),
        ("[]".to_owned(), "devices"),
    ] {
        let (exit, _, said) = export(&content, "bad.p7m");
        assert_eq!(exit, 2, "{why}: {said}");
        assert!(
            said.contains(why) && !said.contains("hunter2"),
            "{why}: {said}"
        );
        assert!(!away.path().join("bad.p7m").exists(), "{why}");
    }
    let (exit, sealed, said) = export(&text, "bundle.p7m");
    assert_eq!(exit, 0, "{said}");
    let counts = (&sealed["devices"], &sealed["secrets"]);
    assert_eq!(counts, (&json!(2), &json!(3)));
    let bytes = std::fs::read(away.path().join("bundle.p7m")).unwrap();
    for secret in [KEY, "CODE-17", "4711-DOOR"] {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret}");
    }
    town.json(&["hand-off", "confirm", &job, "--signer", by])
        .await;
    let import = ["hand-off", "import", &job, &at("bundle.p7m")];
    let outcome = town.json(&import).await;
    let counts = (&outcome["accepted"], &outcome["rejected"]);
    assert_eq!(counts, (&json!(2), &json!(0)), "{outcome}");
    let held = async |serial: &str| {
        let device = town.json(&["device", "show", serial]).await;
        let held = device["secrets"].as_array().unwrap().iter();
        let mut held: Vec<String> = held
            .map(|s| s["kind"].as_str().unwrap().to_owned())
            .collect();
        held.sort();
        held
    };
    let both = ["original_other", "original_recovery_key"];
    assert_eq!(held(&serials[0]).await, both);
    assert_eq!(held(&serials[1]).await, ["original_bypass_code"]);
    let apps = town.json(&["apps", "list"]).await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1, "{apps}");
    // A list by itself is one too.
    let list = json!([{ "serial": serials[2] }]).to_string();
    let (exit, sealed, said) = export(&list, "list.p7m");
    assert_eq!((exit, &sealed["devices"]), (0, &json!(1)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_an_installation_goes_out_of_a_stopped_directory_once_two_persons_agreed() {
    let town = Town::found(3).await;
    town.furnish().await;
    town.json(&["business", "sync"]).await;
    let pem = town.directory.path().join("job.pem");
    let key = [
        "hand-off",
        "key",
        "--from",
        "Old MDM",
        "--out",
        pem.to_str().unwrap(),
    ];
    let job = town.json(&key).await;
    let text = |key: &str| job[key].as_str().unwrap().to_owned();
    let (number, sha256) = (text("id"), text("sha256"));
    let ask = [
        "hand-off",
        "ask",
        "--recipient",
        pem.to_str().unwrap(),
        "--recipient-sha256",
        &sha256,
        "--job",
        &number,
        "--reason",
        "the move",
    ];
    let asked = town.json(&ask).await;
    let approval = asked["approval"].as_str().unwrap().to_owned();
    // A backup of now, and one of when another person had confirmed it.
    let place = |name: &str| town.directory.path().join(name);
    let back_up = async |name: &str| {
        let file = place(name);
        town.json(&["backup", "--out", file.to_str().unwrap()])
            .await;
        let data = place(&format!("{name}.data"));
        std::fs::create_dir(&data).unwrap();
        std::fs::copy(town.data().join("master.key"), data.join("master.key")).unwrap();
        let restored = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .arg("--data")
            .arg(&data)
            .arg("restore")
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            restored.status.success(),
            "{}",
            String::from_utf8_lossy(&restored.stderr)
        );
        data
    };
    let early = back_up("early").await;
    let second = town.token("second", "admin", &[]).await;
    let confirmed = town
        .mdmd_by(&second, &["approval", "confirm", &approval])
        .await;
    assert_eq!(confirmed.exit, 0, "{}", confirmed.err);
    let late = back_up("late").await;
    let export = |data: &std::path::Path, out: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .arg("--data")
            .arg(data)
            .args([
                "hand-off",
                "export",
                "--approval",
                &approval,
                "--json",
                "--out",
            ])
            .arg(place(out))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code().unwrap_or(-1), said)
    };
    let (exit, said) = export(&early, "early.p7m");
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("not confirmed by another person"), "{said}");
    assert!(!place("early.p7m").exists());
    // Nothing serves there, and the export is in its record, once.
    let (exit, said) = export(&late, "late.p7m");
    assert_eq!(exit, 0, "{said}");
    let (exit, said) = export(&late, "again.p7m");
    assert_eq!(exit, 3, "{said}");
    let tail = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(&late)
        .args(["audit", "tail", "--json"])
        .output()
        .unwrap();
    let tail = String::from_utf8_lossy(&tail.stdout).into_owned();
    assert!(tail.contains("hand-off.exported"), "{tail}");
    // With what is not of an installation it is bad input.
    let both = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args([
            "hand-off",
            "export",
            "devices.csv",
            "--approval",
            "7",
            "--out",
            "x",
        ])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
    let sealed = std::fs::read(place("late.p7m")).unwrap();
    assert!(!sealed.is_empty());
}
