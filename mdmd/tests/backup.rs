//! A backup as a person makes and restores it: while the server runs, into an empty place, onto the other database; and every
//! way in which it is refused, after which nothing is there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::store::testing::TestPostgres;
use serde_json::Value;

fn mdmd(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The answer of a command that must succeed.
fn done(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let output = mdmd(data, &[arguments, &["--json"]].concat(), environment);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit status and diagnostics of a command that must not succeed.
fn fails(data: &Path, arguments: &[&str]) -> (i32, String) {
    let output = mdmd(data, arguments, &[]);
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors)
}

struct Server(Child);

impl Server {
    fn start(data: &Path, environment: &[(&str, &str)]) -> Self {
        let listeners = r#"listener=[{ address = "127.0.0.1:0", duty = "device" }, { address = "127.0.0.1:0", duty = "enrol" }]"#;
        let log = std::fs::File::create(data.with_extension("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(["serve", "--set", listeners, "--data"])
            .arg(data)
            .envs(environment.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(data.join("mdmd.sock")).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An installation with an organisation, its backup made while the server runs, and an administrator's token.
struct Installation {
    folder: tempfile::TempDir,
    data: PathBuf,
    file: PathBuf,
    token: String,
    made: Value,
}

fn installation() -> Installation {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let init = done(&data, &["init", "--organisation", "Kept School"], &[]);
    let token = init["administrator_token"].as_str().unwrap().to_owned();
    let file = folder.path().join("today.backup");
    let server = Server::start(&data, &[]);
    done(
        &data,
        &["api-token", "new", "helpdesk", "--role", "helpdesk"],
        &[("MDMD_TOKEN", &token)],
    );
    let made = done(&data, &["backup", "--out", file.to_str().unwrap()], &[]);
    drop(server);
    Installation {
        folder,
        data,
        file,
        token,
        made,
    }
}

impl Installation {
    /// An empty data directory with the master key in it.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        std::fs::copy(self.data.join("master.key"), place.join("master.key")).unwrap();
        place
    }

    /// What people see there through the API.
    fn seen(&self, data: &Path, environment: &[(&str, &str)]) -> (Value, Value) {
        let _server = Server::start(data, environment);
        let token = [("MDMD_TOKEN", self.token.as_str())];
        let organisations = done(data, &["organisation", "list"], &token);
        let tokens = done(data, &["api-token", "list"], &token);
        (organisations, tokens)
    }

    fn restore(&self, place: &Path) -> (i32, String) {
        fails(place, &["restore", self.file.to_str().unwrap()])
    }
}

fn names(directory: &Path) -> Vec<String> {
    let all = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_there_is_back_in_an_empty_place() {
    let it = installation();
    assert!(it.made["rows"].as_u64().unwrap() > 3, "{}", it.made);
    let mode = std::fs::metadata(&it.file).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    // Neither name nor key is in it for everybody.
    let bytes = std::fs::read(&it.file).unwrap();
    for hidden in ["Kept School", "PRIVATE KEY"] {
        assert!(
            !bytes
                .windows(hidden.len())
                .any(|part| part == hidden.as_bytes())
        );
    }
    let place = it.place("again");
    let told = done(&place, &["restore", it.file.to_str().unwrap()], &[]);
    assert_eq!(told["rows"], it.made["rows"]);
    assert_eq!(told["organisations"], 1);
    for file in ["mdmd.toml", "tls/ca.key", "tls/server.pem"] {
        let (old, new) = (it.data.join(file), place.join(file));
        assert_eq!(
            std::fs::read(&old).unwrap(),
            std::fs::read(&new).unwrap(),
            "{file}"
        );
        let mode = |path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(mode(old), mode(new), "{file}");
    }
    assert_eq!(it.seen(&it.data, &[]), it.seen(&place, &[]));
    // A second time it is no empty place.
    let (exit, said) = it.restore(&place);
    assert_eq!(exit, 3, "{said}");
    // Nor does a backup replace another one.
    let (exit, said) = fails(&it.data, &["backup", "--out", it.file.to_str().unwrap()]);
    assert_eq!(exit, 3, "{said}");
}

#[test]
fn an_installation_moves_to_postgres_with_its_backup() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(server) = runtime.block_on(TestPostgres::find()) else {
        return;
    };
    let url = runtime.block_on(server.database());
    let environment = [
        ("MDMD_DATABASE", url.as_str()),
        ("MDMD_ACCEPT_LOST_COMMITS", "true"),
    ];
    let it = installation();
    let place = it.place("outgrown");
    let told = done(
        &place,
        &["restore", it.file.to_str().unwrap()],
        &environment,
    );
    assert_eq!(told["rows"], it.made["rows"]);
    assert!(!place.join("mdmd.sqlite").exists());
    assert_eq!(it.seen(&it.data, &[]), it.seen(&place, &environment));
    // And back, from there.
    let file = it.folder.path().join("back.backup");
    done(
        &place,
        &["backup", "--out", file.to_str().unwrap()],
        &environment,
    );
    let back = it.place("back");
    done(&back, &["restore", file.to_str().unwrap()], &[]);
    assert_eq!(it.seen(&it.data, &[]), it.seen(&back, &[]));
    // Another installation's database stays what it is.
    let other = it.place("other");
    let output = mdmd(
        &other,
        &["restore", it.file.to_str().unwrap()],
        &environment,
    );
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(names(&other), ["master.key"]);
    runtime.block_on(server.clean());
}

#[test]
fn a_stolen_backup_has_no_master_key_in_it() {
    let it = installation();
    let stolen = std::fs::read(&it.file).unwrap();
    let key = std::fs::read_to_string(it.data.join("master.key")).unwrap();
    let raw = STANDARD.decode(key.trim()).unwrap();
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    for (what, bytes) in [
        ("the master key", key.trim().as_bytes()),
        ("its bytes", raw.as_slice()),
        ("the same as hexadecimal", hex.as_bytes()),
        ("a token", it.token.as_bytes()),
        // Nothing else that it is about, either.
        ("the organisation", &b"Kept School"[..]),
    ] {
        assert!(bytes.len() > 8, "{what}");
        let found = stolen.windows(bytes.len()).any(|here| here == bytes);
        assert!(!found, "{what} is in the backup");
    }
}

#[test]
fn a_backup_that_is_not_whole_or_not_ours_restores_nothing() {
    let it = installation();
    let whole = std::fs::read(&it.file).unwrap();
    let place = it.place("place");
    let mut tried = 0;
    let mut refused = |bytes: &[u8], what: &str| {
        std::fs::write(&it.file, bytes).unwrap();
        let (exit, said) = it.restore(&place);
        assert!(matches!(exit, 2 | 3), "{what}: {exit} {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        assert_eq!(names(&place), ["master.key"], "{what}: {said}");
        tried += 1;
    };
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut altered = whole.clone();
        altered[at] ^= 0x10;
        refused(&altered, &format!("byte {at} altered"));
        refused(&whole[..at], &format!("cut off at {at}"));
    }
    refused(&[&whole[..], b"x"].concat(), "more behind it");
    assert!(tried > 20);
    std::fs::write(&it.file, &whole).unwrap();

    // Another key, and none.
    let stranger = it.folder.path().join("stranger");
    done(&stranger, &["init"], &[]);
    let theirs = it.folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let (exit, said) = it.restore(&theirs);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("master key"), "{said}");
    std::fs::copy(stranger.join("master.key"), theirs.join("master.key")).unwrap();
    let (exit, said) = it.restore(&theirs);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("has not made this backup"), "{said}");
    assert_eq!(names(&theirs), ["master.key"]);
    // The whole one still does.
    assert_eq!(it.restore(&place).0, 0);
}

#[test]
fn packages_are_carried_from_wherever_they_lie_and_what_is_left_out_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let elsewhere = folder.path().join("volume/packages");
    let init = done(&data, &["init"], &[]);
    let token = init["administrator_token"].as_str().unwrap().to_owned();
    let token = [("MDMD_TOKEN", token.as_str())];
    let certificate = folder.path().join("public.pem");
    std::fs::rename(data.join("tls/server.pem"), &certificate).unwrap();
    let configuration = std::fs::read_to_string(data.join("mdmd.toml")).unwrap();
    let more = format!(
        "{configuration}\n[packages]\ndirectory = {elsewhere:?}\n\n[tls]\ncertificate = {certificate:?}\n"
    );
    std::fs::write(data.join("mdmd.toml"), more).unwrap();
    // Links, as a client of a certificate authority makes them, and one to a folder.
    let linked = folder.path().join("live.pem");
    std::fs::write(&linked, "linked").unwrap();
    std::os::unix::fs::symlink(&linked, data.join("tls/live.pem")).unwrap();
    std::os::unix::fs::symlink(folder.path(), data.join("link")).unwrap();
    let earlier = data.join("earlier.backup");
    done(&data, &["backup", "--out", earlier.to_str().unwrap()], &[]);

    // Larger than one piece of a backup, and no part is like another.
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes();
    let content: Vec<u8> = b"xar!"
        .iter()
        .copied()
        .chain((0..200_000).flat_map(word))
        .collect();
    let package = folder.path().join("tool.pkg");
    std::fs::write(&package, &content).unwrap();
    let server = Server::start(&data, &[]);
    let add = ["library", "package", package.to_str().unwrap()];
    let about = ["--bundle-id", "com.example.tool", "--name", "tool"];
    done(&data, &[&add[..], &about[..]].concat(), &token);
    let stored = |place: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let folders = std::fs::read_dir(place).unwrap();
        let files = folders.flat_map(|f| std::fs::read_dir(f.unwrap().path()).unwrap());
        let read = files.map(|f| f.unwrap().path());
        let read = read.map(|f| {
            (
                f.strip_prefix(place).unwrap().to_owned(),
                std::fs::read(&f).unwrap(),
            )
        });
        read.collect()
    };
    let before = stored(&elsewhere);
    assert_eq!(before.len(), 1);
    assert!(before[0].1 == content);
    // An upload that is under way is none yet.
    let half = elsewhere.join(&before[0].0).with_extension("part");
    std::fs::write(&half, b"half").unwrap();
    let file = folder.path().join("today.backup");
    let made = done(&data, &["backup", "--out", file.to_str().unwrap()], &[]);
    drop(server);
    let left_out = made["left_out"].to_string();
    assert_eq!(made["left_out"].as_array().unwrap().len(), 3, "{left_out}");
    assert!(left_out.contains("earlier.backup (a backup)"), "{left_out}");
    assert!(
        left_out.contains("tls.certificate") && left_out.contains("public.pem"),
        "{left_out}"
    );
    assert!(left_out.contains("link (a link)"), "{left_out}");

    // On another machine, where nothing of it is.
    let place = |name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        std::fs::copy(data.join("master.key"), place.join("master.key")).unwrap();
        place
    };
    std::fs::remove_dir_all(folder.path().join("volume")).unwrap();
    let told = done(&place("again"), &["restore", file.to_str().unwrap()], &[]);
    assert_eq!(told["files"], made["files"]);
    let live = std::fs::read(folder.path().join("again/tls/live.pem"));
    assert_eq!(live.unwrap(), b"linked");
    assert!(stored(&elsewhere) == before);
    // On one whose volume outlived it: the same are kept.
    done(
        &place("volume-kept"),
        &["restore", file.to_str().unwrap()],
        &[],
    );
    assert!(stored(&elsewhere) == before);
    // Another of that name is nobody's to overwrite, and nothing is restored.
    let there = elsewhere.join(&before[0].0);
    for other in [
        &content[..content.len() - 1],
        &[&content[..], b"x"].concat(),
    ] {
        std::fs::write(&there, other).unwrap();
        let other_place = place(&format!("other-{}", other.len()));
        let (exit, said) = fails(&other_place, &["restore", file.to_str().unwrap()]);
        assert_eq!(exit, 2, "{said}");
        assert!(said.contains("is there already"), "{said}");
        assert_eq!(names(&other_place), ["master.key"]);
        assert!(std::fs::read(&there).unwrap() == other);
    }
    // A configuration given at the restore says where else they go.
    std::fs::remove_file(&there).unwrap();
    let new = folder.path().join("new");
    let moved = [("MDMD_PACKAGES_DIRECTORY", new.to_str().unwrap())];
    done(
        &place("moved"),
        &["restore", file.to_str().unwrap()],
        &moved,
    );
    assert!(stored(&new) == before);
}
