//! The command as a person runs it: an installation from `init` to its end, and every exit status on the way.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name};

fn mdmd(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed.
fn done(data: &Path, arguments: &[&str]) -> String {
    let output = mdmd(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status and diagnostics of a command that must not succeed.
fn fails(data: &Path, arguments: &[&str]) -> (i32, String) {
    let output = mdmd(data, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors)
}

/// A running server that is told to end when the test ends.
struct Server(Option<Child>);

impl Server {
    fn start(data: &Path) -> Self {
        let log = std::fs::File::create(data.with_extension("log")).unwrap();
        Self::start_with(data, log.into())
    }

    fn start_with(data: &Path, log: Stdio) -> Self {
        let listeners = r#"listener=[
            { address = "127.0.0.1:0", duty = "device" },
            { address = "127.0.0.1:0", duty = "enrol" },
            { address = "127.0.0.1:0", duty = "admin" },
        ]"#
        .replace('\n', " ");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(["serve", "--set", &listeners, "--data"])
            .arg(data)
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(data.join("mdmd.sock")).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(Some(child))
    }

    /// Asks it to end, as a service manager does.
    fn stop(mut self) -> Option<i32> {
        let mut child = self.0.take().unwrap();
        let asked = Command::new("kill").arg(child.id().to_string()).status();
        assert!(asked.unwrap().success());
        child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A push certificate as Apple would issue one, and its key, as PEM files.
fn push_files(directory: &Path, topic: &str) -> (String, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::USERID, topic).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(365).unwrap())
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let write = |file: &str, content: Vec<u8>| {
        let path = directory.join(file);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (
        write("push.pem", builder.build().to_pem().unwrap()),
        write("push.key", key.private_key_to_pem_pkcs8().unwrap()),
    )
}

#[test]
fn an_installation_from_its_making_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");

    // Nothing there: a precondition, named with what helps.
    let (exit, said) = fails(&data, &["serve"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("mdmd init"), "{said}");
    assert_eq!(fails(&data, &["hold", "release", "C02X"]).0, 3);

    let made = done(&data, &["init", "--organisation", "Test School", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let token = made["administrator_token"].as_str().unwrap().to_owned();
    assert!(token.len() >= 20);
    let mode = |name: &str| {
        let data = std::fs::metadata(data.join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for secret in ["master.key", "tls/server.key", "tls/ca.key", "mdmd.sqlite"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    for file in ["mdmd.sqlite", "mdmd.toml"] {
        let content = std::fs::read(data.join(file)).unwrap();
        let found = content.windows(token.len()).any(|w| w == token.as_bytes());
        assert!(!found, "the token is in {file}");
    }

    // A second one overwrites nothing.
    let key = std::fs::read(data.join("master.key")).unwrap();
    let (exit, said) = fails(&data, &["init"]);
    assert_eq!(exit, 3);
    assert!(said.contains("never overwrites"), "{said}");
    assert_eq!(std::fs::read(data.join("master.key")).unwrap(), key);

    // A stopped data directory can be read, and not acted on.
    assert!(done(&data, &["organisation", "list"]).contains("Test School"));
    assert_eq!(fails(&data, &["organisation", "new", "Second"]).0, 3);
    assert_eq!(fails(&data, &["device", "show", "C02X"]).0, 3);
    assert_eq!(fails(&data, &["device", "show", "not a serial"]).0, 2);

    what_leaves_a_stopped_data_directory(&data, directory.path());

    let server = Server::start(&data);
    assert_eq!(
        fails(&data, &["serve"]).0,
        3,
        "two servers on one directory"
    );
    assert!(done(&data, &["device", "list", "--json"]).contains("\"devices\": []"));
    assert!(done(&data, &["hold", "list"]).starts_with("SERIAL"));
    assert_eq!(fails(&data, &["hold", "release", "C02X"]).0, 3);

    let (certificate, key) = push_files(directory.path(), "com.apple.mgmt.External.one");
    let import = [
        "push",
        "import",
        "--certificate",
        &certificate,
        "--key",
        &key,
    ];
    assert!(done(&data, &import).contains("com.apple.mgmt.External.one"));
    assert!(done(&data, &["push", "status"]).contains("com.apple.mgmt.External.one"));
    // Another topic would orphan every device.
    let (certificate, key) = push_files(directory.path(), "com.apple.mgmt.External.two");
    let import = [
        "push",
        "import",
        "--certificate",
        &certificate,
        "--key",
        &key,
    ];
    let (exit, said) = fails(&data, &import);
    assert_eq!(exit, 3, "{said}");
    let wrong = ["push", "import", "--certificate", &key, "--key", &key];
    let (exit, said) = fails(&data, &wrong);
    assert_eq!(exit, 2);
    assert!(said.contains("certificate: must be"), "{said}");

    // With a second organisation, the one that is meant must be named.
    done(&data, &["organisation", "new", "Second"]);
    let (exit, said) = fails(&data, &["device", "list"]);
    assert_eq!(exit, 2);
    assert!(said.contains("name one by its code"), "{said}");
    let code = made["organisation"].as_str().unwrap();
    done(&data, &["device", "list", "--organisation", code]);

    assert_eq!(server.stop(), Some(0));
    assert!(!data.join("mdmd.sock").exists());
    // A log that goes to a file has no colours in it.
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("serving") && log.contains("stopped"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

/// What lies in a directory, and below it.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        found.extend(files(&path));
    }
    found
}

/// An `init` that fails leaves nothing: the next one, with what was wrong put right, makes the installation.
#[test]
fn an_init_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("junk"), "junk").unwrap();
    std::fs::write(at("taken"), "another's").unwrap();
    let (junk, taken) = (at("junk"), at("taken"));
    let (junk, taken) = (junk.to_str().unwrap(), taken.to_str().unwrap());
    let (certificate, _) = push_files(directory.path(), "one");
    let elsewhere = at("nowhere/mdmd.sqlite");
    let nowhere = format!("database=sqlite:{}", elsewhere.display());
    let database = format!("database=sqlite:{taken}");
    let key = format!("master_key.file={taken}");
    let variable = ["--set", "master_key.source=environment", "--set"];
    let variable = [&variable[..], &["master_key.name=UNSET_MASTER_KEY"]].concat();
    // Its last word is that devices go to localhost.
    std::fs::write(at("quiet.toml"), "").unwrap();
    let quiet = at("quiet.toml");
    let quiet = quiet.to_str().unwrap();
    let cases: [(i32, &str, &[&str]); 11] = [
        (
            2,
            "device_url = \"https://mdm.example.com:8443\"",
            &["--host", "mdm.example.com", "--config", quiet],
        ),
        (2, "--organisation", &["--organisation", ""]),
        (2, "--host", &["--host", "a b"]),
        (2, "--host", &["--host=-x.example.com"]),
        (3, "UNSET_MASTER_KEY", &variable),
        (2, "certificate", &["--certificate", junk, "--key", junk]),
        (
            2,
            "key file",
            &["--certificate", &certificate, "--key", junk],
        ),
        // Its directory is not there: this is found out when everything else is made already.
        (3, "nowhere", &["--set", &nowhere]),
        (3, "is there already", &["--set", &database]),
        (3, "is there already", &["--set", &key]),
        (
            3,
            "refused",
            &["--set", "database=postgres://u:hunter2@127.0.0.1:1/x"],
        ),
    ];
    let before = files(directory.path());
    let data = at("data");
    for (status, word, options) in cases {
        let all = [&["init"], options].concat();
        let (exit, said) = fails(&data, &all);
        assert_eq!(exit, status, "{options:?}: {said}");
        assert!(said.contains(word), "{options:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(files(directory.path()), before, "{options:?}");
    }
    done(&data, &["init"]);
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "another's");
}

/// A directory named from where one is, as the README writes it.
#[test]
fn an_installation_is_made_in_a_relative_directory() {
    let place = tempfile::tempdir().unwrap();
    for data in ["plain", "./dotted", "one/in/another"] {
        for arguments in [["init"].as_slice(), &["organisation", "list"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
                .current_dir(place.path())
                .args(arguments)
                .args(["--data", data])
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{data}: {errors}");
        }
    }
}

/// What `init` was told holds for the commands after it, and a password is in no file.
#[test]
fn what_init_was_told_is_in_the_file_that_it_makes() {
    let directory = tempfile::tempdir().unwrap();
    let (data, other) = (
        directory.path().join("data"),
        directory.path().join("other"),
    );
    std::fs::create_dir(&other).unwrap();
    let database = format!("database=sqlite:{}/db", other.display());
    let init = [
        "init",
        "--host",
        "mdm.example.com",
        "--set",
        &database,
        "--set",
        "push.port=2197",
    ];
    done(&data, &init);
    assert!(other.join("db").exists() && !data.join("mdmd.sqlite").exists());
    // Without the flags: the same database.
    assert!(done(&data, &["organisation", "list"]).contains("My organisation"));
    let shown = done(&data, &["config", "check"]);
    assert!(shown.contains("https://mdm.example.com:8443"), "{shown}");
    assert!(shown.contains("other/db"), "{shown}");
    let toml = std::fs::read_to_string(data.join("mdmd.toml")).unwrap();
    assert!(toml.contains("port = 2197"), "{toml}");
    Server::start(&data).stop();

    // Another database than the one that was made: neither made nor served without a word.
    for wrong in ["database=sqlite", "database=sqlite:/dev/null"] {
        let (exit, said) = fails(&data, &["serve", "--set", wrong]);
        assert_eq!(exit, 3, "{wrong}: {said}");
    }
    let (exit, said) = fails(&data, &["serve", "--set", "database=sqlite"]);
    assert_eq!(
        (exit, said.contains("is no installation's")),
        (3, true),
        "{said}"
    );
    assert!(!data.join("mdmd.sqlite").exists());

    // A file that was there first has the last word, and what it does not say is told.
    let data = directory.path().join("second");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mdmd.toml"), "[push]\nport = 2197\n").unwrap();
    let said = mdmd(&data, &["init", "--set", "push.port=443"]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("push.port holds for this command only"),
        "{said}"
    );
}

/// Whoever only looks changes nothing, whatever lies there.
#[test]
fn a_command_that_only_looks_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for look in [
        ["device", "list"],
        ["organisation", "list"],
        ["hold", "list"],
    ] {
        let (exit, said) = fails(&data, &look);
        assert_eq!(exit, 3, "{look:?}: {said}");
        assert!(files(&data).is_empty(), "{look:?}: {:?}", files(&data));
    }
    done(&data, &["init"]);
    let before = files(&data);
    done(&data, &["device", "list"]);
    assert_eq!(files(&data), before);
    std::fs::remove_file(data.join("mdmd.sqlite")).unwrap();
    let (exit, said) = fails(&data, &["device", "list"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("mdmd.sqlite"), "{said}");
    assert!(!data.join("mdmd.sqlite").exists());
}

/// A directory that nobody may look into is not one that has to be made.
#[test]
fn a_data_directory_that_cannot_be_looked_at_is_not_called_missing() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("mdmd.toml");
    std::fs::write(&config, "").unwrap();
    // Rights hold root back from nothing: a link that leads to itself holds everybody.
    let around = directory.path().join("around");
    std::os::unix::fs::symlink(&around, &around).unwrap();
    let config = config.to_str().unwrap();
    let (exit, said) = fails(&around, &["--config", config, "device", "list"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("cannot be looked at"), "{said}");
    assert!(!said.contains("mdmd init"), "{said}");
    let none = directory.path().join("none");
    let (exit, said) = fails(&none, &["--config", config, "device", "list"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("mdmd init"), "{said}");
}

/// A row that cannot be read breaks the first reading of a report off: what is shown, or is in the file, is the second one alone.
#[test]
fn a_report_of_a_stopped_directory_is_whole_but_for_rows_that_cannot_be_read() {
    use mdm_core::device::Device;
    use mdm_core::ids::{DeviceId, EnrollmentId, OrganisationId, Serial};
    use mdm_core::store::{Batch, OrganisationStore as _, SqliteStore, Store as _};
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init"]);
    let database = data.join("mdmd.sqlite");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&database).await.unwrap();
        let all = store.organisations(OrganisationId(0), 1).await.unwrap();
        let mut batch = Batch::new();
        for (id, serial) in [(1, "C02WHOLE1"), (2, "C02SPOILT"), (3, "C02WHOLE3")] {
            let serial = Serial::parse(serial).unwrap();
            let mut device = Device::new(all[0].id, DeviceId(id), serial);
            device.enrollment = Some(EnrollmentId(id));
            batch.put(device);
        }
        store.commit(batch).await.unwrap();
        store.close().await.unwrap();
    });
    // As a disk does it: a byte of the row's text is another one, wherever a page has it.
    let mut bytes = std::fs::read(&database).unwrap();
    let text = br#""C02SPOILT""#;
    let places: Vec<usize> = (0..bytes.len() - text.len())
        .filter(|at| bytes[*at..].starts_with(text))
        .collect();
    assert!(!places.is_empty(), "the row is written otherwise");
    for at in places {
        bytes[at] = b'x';
    }
    std::fs::write(&database, bytes).unwrap();
    let shown = done(&data, &["report", "unheard"]);
    let as_json = done(&data, &["report", "unheard", "--format", "json"]);
    let file = directory.path().join("unheard.txt");
    let out = file.to_str().unwrap();
    done(&data, &["report", "unheard", "--out", out]);
    let written = std::fs::read_to_string(&file).unwrap();
    for report in [shown, as_json, written] {
        for (text, times) in [("C02WHOLE1", 1), ("C02WHOLE3", 1), ("C02SPOILT", 0)] {
            assert_eq!(report.matches(text).count(), times, "{text}: {report}");
        }
        assert!(report.contains("devices.doc"), "{report}");
    }
    // Another trouble is told as it is: there is no such wave.
    let none = directory.path().join("none.csv");
    let out = none.to_str().unwrap();
    let (exit, said) = fails(&data, &["report", "wave", "--wave", "7", "--out", out]);
    assert_eq!(exit, 3, "{said}");
    assert!(!none.exists());
}

#[test]
fn a_wrong_configuration_ends_with_2_and_every_name() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("mdmd.toml"),
        "datbase = \"x\"\n[push]\nport = 0\n",
    )
    .unwrap();
    let (exit, said) = fails(directory.path(), &["config", "check"]);
    assert_eq!(exit, 2);
    assert!(said.contains("did you mean database?"), "{said}");
    assert!(said.contains("push.port: must be a whole number"), "{said}");
    let (exit, said) = fails(directory.path(), &["--set", "push", "config", "check"]);
    assert_eq!((exit, said.contains("KEY=VALUE")), (2, true), "{said}");
}

#[test]
fn a_check_of_the_configuration_says_what_serve_would_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Before anything is made nothing can lie there.
    done(&data, &["config", "check"]);
    done(&data, &["init", "--organisation", "Files"]);
    done(&data, &["config", "check"]);
    for set in [
        "tls.key=/nope/key.pem",
        "tls.certificate=/nope/key.pem",
        "webhooks.ca=/nope/key.pem",
    ] {
        let (exit, said) = fails(&data, &["--set", set, "config", "check"]);
        assert_eq!(exit, 3, "{set}: {said}");
        assert!(said.contains("/nope/key.pem"), "{set}: {said}");
        let (exit, served) = fails(&data, &["--set", set, "serve"]);
        assert_eq!(exit, 3, "{set}: {served}");
        let why = said.trim().trim_start_matches("mdmd: ");
        assert!(served.contains(why), "{set}: {served}");
    }
    // What is no pack is the wrong file, and nobody has changed it.
    for content in ["{\"a\":1}", &"x".repeat(4096), ""] {
        let file = directory.path().join("no.pack");
        std::fs::write(&file, content).unwrap();
        let (exit, said) = fails(&data, &["audit", "verify", file.to_str().unwrap()]);
        assert_eq!(exit, 2, "{said}");
        assert!(said.contains("is no evidence pack"), "{said}");
    }
}

/// A pipe from which nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_declaration_is_shown_and_removed_whatever_is_in_its_identifier() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init", "--organisation", "Test School"]);
    let server = Server::start(&data);
    // Everything that a device takes, and that an address has another use for, or none.
    let odd = "a+b&c=d;e:f@g,h!i$j(k)l*m~n<o>p`q{r}s|t^u[v]";
    let file = directory.path().join("declaration.json");
    let document = format!(
        r#"{{ "Type": "com.apple.configuration.management.test", "Identifier": "{odd}", "Payload": {{ "Echo": "odd" }} }}"#
    );
    std::fs::write(&file, document).unwrap();
    done(&data, &["declaration", "put", file.to_str().unwrap()]);
    let shown = done(&data, &["declaration", "show", odd, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown.to_string().contains("\"Echo\":\"odd\""), "{shown}");
    // One that only begins like it is another.
    let (exit, said) = fails(&data, &["declaration", "remove", "a"]);
    assert_eq!(exit, 3, "{said}");
    done(&data, &["declaration", "remove", odd]);
    let (exit, said) = fails(&data, &["declaration", "show", odd]);
    assert_eq!(exit, 3, "{said}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure_and_a_full_disk_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], out: Stdio| {
        let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .arg("--data")
            .arg(directory.path())
            .args(arguments)
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    for command in [["config", "example"], ["config", "check"]] {
        assert_eq!(run(&command, unread()), (Some(0), String::new()));
    }
    // The status is the command's own.
    let (exit, said) = run(&["device", "list"], unread());
    assert_eq!(exit, Some(3), "{said}");
    let full = std::fs::File::options().write(true).open("/dev/full");
    let (exit, said) = run(&["config", "example"], full.unwrap().into());
    assert_eq!(exit, Some(1));
    assert!(said.starts_with("mdmd: standard output: "), "{said}");
    // Diagnostics that nobody reads change nothing either.
    let status = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(directory.path())
        .args(["device", "list"])
        .stderr(unread())
        .status();
    assert_eq!(status.unwrap().code(), Some(3));
}

#[test]
fn a_server_whose_log_nobody_reads_serves_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init"]);
    let server = Server::start_with(&data, unread());
    assert!(done(&data, &["device", "list"]).starts_with("SERIAL"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_version_names_the_openssl_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let said = done(directory.path(), &["--version"]);
    assert!(said.contains("OpenSSL 3."), "{said}");
}

#[test]
fn an_init_that_was_cut_off_is_known_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init"]);
    assert!(!data.join("init.unfinished").exists());
    // As a kill between two files leaves it: some of them, and the list of what was begun.
    let key = data.join("tls/server.key");
    let database = data.join("mdmd.sqlite");
    std::fs::remove_file(&database).unwrap();
    let list = format!("{}\n{}\n", key.display(), database.display());
    std::fs::write(data.join("init.unfinished"), list).unwrap();
    for command in ["init", "serve"] {
        let (exit, said) = fails(&data, &[command]);
        assert_eq!(exit, 3, "{command}: {said}");
        assert!(said.contains("cut off"), "{command}: {said}");
        assert!(said.contains(key.to_str().unwrap()), "{command}: {said}");
        // What is not there need not be removed.
        let absent = database.to_str().unwrap();
        assert!(!said.contains(absent), "{command}: {said}");
        assert!(said.contains("init.unfinished"), "{command}: {said}");
        assert!(key.exists(), "{command} removed something");
    }
}

/// That is when one wants to look: whether anybody has touched the record, and the pack of a wave, which the record knows of
/// afterwards.
fn what_leaves_a_stopped_data_directory(data: &Path, beside: &Path) {
    use mdm_core::ids::{OrganisationId, ServerId, WaveId};
    use mdm_core::store::{Batch, OrganisationStore as _, SqliteStore, Store as _};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&data.join("mdmd.sqlite")).await.unwrap();
        let all = store.organisations(OrganisationId(0), 1).await.unwrap();
        let (id, at) = (WaveId(7), mdm_core::clock::Timestamp::from_millis(1));
        let none = std::collections::BTreeMap::new();
        let mut batch = Batch::new();
        batch.put(mdm_core::wave::Wave::draft(
            all[0].id,
            id,
            "pilot",
            ServerId(1),
            none,
            at,
        ));
        store.commit(batch).await.unwrap();
        store.close().await.unwrap();
    });
    let looked = done(data, &["audit", "verify"]);
    assert!(
        looked.contains("unsealed   ") && !looked.contains("unsealed   0"),
        "{looked}"
    );
    let pack = beside.join("pilot.tar");
    let pack = pack.to_str().unwrap();
    done(
        data,
        &["report", "evidence", "--wave", "pilot", "--out", pack],
    );
    assert!(done(data, &["audit", "verify", pack]).contains("pilot"));
    assert!(done(data, &["audit", "tail"]).contains("evidence.exported"));
    let point = beside.join("checkpoint.json");
    let point = point.to_str().unwrap();
    done(data, &["audit", "checkpoint", "--out", point]);
    let looked = done(data, &["audit", "verify", "--checkpoint", point]);
    // The line that says that the checkpoint left is the tail.
    assert!(looked.contains("unsealed   1"), "{looked}");
    let version = format!("with checkpoint, by version {}", env!("CARGO_PKG_VERSION"));
    assert!(looked.contains(&version), "{looked}");
}

/// What a program gets of commands whose answer is a text for people, and of those that ask nobody.
#[test]
fn whatever_asks_no_server_answers_programs_too() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init"]);
    let pages = directory.path().join("pages");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let said = done(&data, &[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {said}"))
    };
    let example = json(&["config", "example"]);
    let file = example["file"].as_str().unwrap();
    assert_eq!(file, done(&data, &["config", "example"]));
    // Every key of the page is there, and each stands in the file.
    let reference = json(&["config", "reference"]);
    let page = done(&data, &["config", "reference"]);
    let keys = reference["keys"].as_array().unwrap();
    assert_eq!(page.matches("| `MDMD_").count(), keys.len());
    for key in keys {
        let (name, variable) = (key["key"].as_str().unwrap(), &key["variable"]);
        assert!(page.contains(&format!("| `{name}` |")), "{key}");
        assert!(page.contains(variable.as_str().unwrap()), "{key}");
        // Ports stand there as tables of their own.
        let leaf = name.rsplit('.').next().unwrap();
        let stands = name == "listener" || file.contains(&format!("# {leaf} = "));
        assert!(stands, "{key}");
    }
    assert_eq!(reference["listeners"][0]["duty"], "device");
    assert!(!reference["listener_keys"].as_array().unwrap().is_empty());
    assert!(json(&["config", "check"])["listeners"].is_array());
    assert_eq!(json(&["api", "openapi"])["openapi"], "3.1.1");
    assert_eq!(json(&["completions", "bash"])["shell"], "bash");
    assert!(json(&["man", pages.to_str().unwrap()])["pages"].is_array());
}
