//! Completions and manual pages as a person meets them: the scripts are read by the shells themselves where they are here, and
//! every command that there is has a page.

use std::path::Path;
use std::process::{Command, Output};

fn mdmd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(arguments)
        .output()
        .unwrap()
}

fn has(shell: &str) -> bool {
    let here = Command::new(shell).arg("--version").output().is_ok();
    if !here {
        eprintln!("SKIPPED: {shell} is not here");
    }
    here
}

#[test]
fn shells_read_their_completions() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let made = mdmd(&["completions", shell]);
        assert_eq!(made.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(made.stdout).unwrap();
        for word in ["wave", "organisation", "what-if", "api-token"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let path = directory.path().join(shell);
        std::fs::write(&path, script).unwrap();
        if ["bash", "zsh", "fish"].contains(&shell) && has(shell) {
            let read = Command::new(shell).arg("-n").arg(&path).output().unwrap();
            assert!(read.status.success(), "{shell}: {read:?}");
        }
    }
    // What bash offers behind `mdmd wave `.
    if has("bash") {
        let asked = format!(
            "source {}; COMP_WORDS=(mdmd wave ''); COMP_CWORD=2; _mdmd mdmd '' wave; echo \"${{COMPREPLY[@]}}\"",
            directory.path().join("bash").display()
        );
        let told = Command::new("bash").args(["-c", &asked]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("submit") && told.contains("whatif"), "{told}");
    }
    let json = mdmd(&["completions", "bash", "--json"]);
    assert!(String::from_utf8_lossy(&json.stdout).contains("\"shell\": \"bash\""));
    assert_eq!(mdmd(&["completions", "dos"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("man1");
    let made = mdmd(&["man", into.to_str().unwrap(), "--json"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    for page in ["mdmd.1", "mdmd-wave.1", "mdmd-wave-submit.1", "mdmd-man.1"] {
        let text = std::fs::read_to_string(into.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    let text = std::fs::read_to_string(into.join("mdmd-wave-submit.1")).unwrap();
    assert!(
        text.contains("mdmd wave submit") || text.contains("mdmd\\-wave\\-submit"),
        "{text}"
    );
    // A second time writes over the first.
    assert_eq!(
        mdmd(&["man", into.to_str().unwrap()]).status.code(),
        Some(0)
    );
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(mdmd(&["man", as_text(&file)]).status.code(), Some(3));
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
