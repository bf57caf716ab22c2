//! A data directory that cannot be written, as in a snapshot or on storage that is read-only: whoever looks sees what is there, whoever
//! would write is told what to do, and nothing is changed.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Somebody who is not root: rights hold nobody else back.
const NOBODY: u32 = 65_534;

/// How a command ended and what it said, run by `somebody` if that is another than who runs the test. `None` where that cannot run
/// the program.
fn mdmd(data: &Path, arguments: &[&str], somebody: Option<u32>) -> Option<(i32, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.arg("--data").arg(data).args(arguments);
    command
        .env_remove("MDMD_TOKEN")
        .env_remove("MDMD_URL")
        .current_dir("/");
    if let Some(uid) = somebody {
        command.uid(uid).gid(uid);
    }
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        output => output.unwrap(),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some((output.status.code().unwrap(), said))
}

/// Gives everything in a directory, and itself, these rights and this owner.
fn give(directory: &Path, [file, folder]: [u32; 2], owner: Option<u32>) {
    let rights = |path: &Path, mode| {
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, rights).unwrap();
        if owner.is_some() {
            chown(path, owner, owner).unwrap();
        }
    };
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => give(&path, [file, folder], owner),
            false => rights(&path, file),
        }
    }
    rights(directory, folder);
}

/// Every file with what is in it.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn what_cannot_be_written_can_be_looked_at_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let data = directory.path().join("data");
    let none = mdmd(&data, &["device", "list"], None).unwrap();
    assert_eq!(none.0, 3, "{}", none.1);
    assert!(none.1.contains("there is no data directory"), "{}", none.1);
    let made = mdmd(&data, &["init", "--organisation", "Test School"], None).unwrap();
    assert_eq!(made.0, 0, "{}", made.1);

    let is_root = std::fs::metadata(directory.path()).unwrap().uid() == 0;
    let nobody = is_root.then_some(NOBODY);
    if mdmd(&data, &["--version"], nobody).is_none() {
        eprintln!(
            "skipped: {} cannot be run by nobody",
            env!("CARGO_BIN_EXE_mdmd")
        );
        return;
    }
    // The file itself, and a file that could be written in a folder that cannot.
    for rights in [[0o400, 0o500], [0o600, 0o500]] {
        give(&data, rights, nobody);
        let before = content(&data);
        let says = |line: &str, exit: i32, word: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let (ended, said) = mdmd(&data, &words, nobody).unwrap();
            assert_eq!(ended, exit, "{line}: {said}");
            assert!(said.contains(word), "{line}: {said}");
            assert!(!said.contains("code: "), "{line}: {said}");
            said
        };
        says("organisation list", 0, "Test School");
        says("device list", 0, "SERIAL");
        says("device show C02X", 3, "no such device");
        says("audit verify", 0, "unsealed");
        let missing = says("doctor", 3, "MISSING");
        assert!(!missing.contains("not available"), "{missing}");
        // What leaves the building goes into the record first.
        says("report exceptions", 3, "cp -a");
        assert_eq!(content(&data), before, "something was written");

        // A log may hold what the file does not.
        give(&data, [0o600, 0o700], nobody);
        let log = data.join("mdmd.sqlite-wal");
        std::fs::write(&log, "what a server that was killed has left").unwrap();
        give(&data, rights, nobody);
        let before = content(&data);
        for line in ["device list", "audit verify", "report exceptions"] {
            says(line, 3, "copy the whole folder");
        }
        let missing = says("doctor", 3, "copy the whole folder");
        assert!(!missing.contains("mdmd init"), "{missing}");
        assert_eq!(content(&data), before, "something was written");
        give(&data, [0o600, 0o700], nobody);
        std::fs::remove_file(&log).unwrap();
    }
    // A file of somebody else's in a folder that can be written: no log is left there in which its owner could not write.
    if is_root {
        let database = data.join("mdmd.sqlite");
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&database, open).unwrap();
        chown(&database, Some(0), Some(0)).unwrap();
        let before = content(&data);
        let (ended, said) = mdmd(&data, &["organisation", "list"], nobody).unwrap();
        assert_eq!(ended, 0, "{said}");
        assert!(said.contains("Test School"), "{said}");
        assert_eq!(content(&data), before, "something was written");
        give(&data, [0o600, 0o700], nobody);
    }
    // A copy of it can be written.
    give(&data, [0o600, 0o700], nobody);
    let (ended, said) = mdmd(&data, &["report", "exceptions"], nobody).unwrap();
    assert_eq!(ended, 0, "{said}");
}
