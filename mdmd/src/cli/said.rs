//! Whatever this project says of its own commands, in sentences of the program and on pages for people, is run through the parser of
//! the command line: a next action that does not exist is no next action.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

/// Where nobody of this project writes sentences.
const ELSEWHERE: [&str; 4] = ["target", ".git", "corpus", "node_modules"];

/// The parser, with values of any form: what stands for a value is a name in capitals. Lists of possible values stay.
fn parser(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let takes = argument.get_action().takes_values();
            if takes && argument.get_possible_values().is_empty() {
                return argument.value_parser(ValueParser::string());
            }
            argument
        })
        .mut_subcommands(parser)
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            if !ELSEWHERE.contains(&name.as_str()) {
                files(&path, into);
            }
        } else if [".rs", ".md", ".html", ".txt", ".toml"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            into.push(path);
        }
    }
}

/// What stands between backquotes and begins with the name of the program; on pages also what is typed at a prompt.
fn said(text: &str, page: bool) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(from) = rest.find("`mdmd ") {
        rest = &rest[from + 1..];
        let Some(end) = rest.find(['`', '\n']) else {
            break;
        };
        all.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    if page {
        let typed = text.lines().filter_map(|line| line.split_once("$ "));
        let typed = typed.filter(|(before, _)| before.chars().all(|c| c.is_ascii_lowercase()));
        all.extend(
            typed
                .map(|(_, line)| line.trim())
                .filter(|line| line.starts_with("mdmd ") && !line.ends_with('\\'))
                .map(str::to_owned),
        );
    }
    all
}

/// The words of a line as a shell would have them, up to a pipe, a redirection or a remark.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let ends = |word: &String| ["|", ">", "#", "…", "&&", "&"].contains(&word.as_str());
    if let Some(end) = words.iter().position(ends) {
        // Dots in the place of a value stand for it.
        if words[end] == "…" && end > 0 && words[end - 1].starts_with("--") {
            words[end] = "VALUE".to_owned();
        } else {
            words.truncate(end);
        }
    }
    words
}

/// Every way to read it: `a|b` is either, `[…]` may be there.
fn readings(line: &str) -> Vec<Vec<String>> {
    let plain = line.replace(['[', ']'], " ");
    let mut all = vec![Vec::new()];
    for word in words(&plain) {
        let name = |part: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !part.is_empty() && part.chars().all(letter)
        };
        let parts: Vec<&str> = match word.split('|').all(name) {
            true => word.split('|').collect(),
            false => vec![&word],
        };
        all = all
            .into_iter()
            .flat_map(|before: Vec<String>| {
                let with = |part: &&str| {
                    let mut with = before.clone();
                    with.push((*part).to_owned());
                    with
                };
                parts.iter().map(with).collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

/// Why there is no such command; nothing where it is only not whole.
fn wrong(line: &str) -> Option<String> {
    for words in readings(line) {
        let parsed = parser(super::CommandLine::command()).try_get_matches_from(&words);
        let Err(error) = parsed else { continue };
        let stands_for = |word: &str| {
            word.starts_with('{')
                || word
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || "-_=".contains(c))
        };
        let whole = match error.kind() {
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::TooFewValues
            // Said together, in the sense of either.
            | ErrorKind::ArgumentConflict => continue,
            ErrorKind::InvalidValue => match error.get(ContextKind::InvalidValue) {
                // An option without its value, or with a name that stands for one.
                Some(ContextValue::String(value)) => value.is_empty() || stands_for(value),
                _ => false,
            },
            _ => false,
        };
        if !whole {
            let said = error.to_string();
            return Some(said.lines().next().unwrap_or_default().to_owned());
        }
    }
    None
}

#[test]
fn every_command_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    files(&root, &mut all);
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for file in &all {
        // Its examples of what is wrong.
        if file.ends_with("mdmd/src/cli/said.rs") {
            continue;
        }
        let text = std::fs::read_to_string(file).unwrap();
        let page = file.extension().is_some_and(|end| end == "md");
        for line in said(&text, page) {
            if let Some(why) = wrong(&line) {
                let file = file.strip_prefix(&root).unwrap().display();
                found.push(format!("{file}: `{line}`: {why}"));
            }
            seen.insert(line);
        }
    }
    assert!(seen.len() > 200, "{} is not all of them", seen.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_wrong_is_found_and_what_is_not_whole_is_not() {
    for line in [
        "mdmd token sync",
        "mdmd push request",
        "mdmd inventory show",
        "mdmd wave add|plann",
        "mdmd doctor --prob URL",
        "mdmd report evidence --wave pilot --out pilot.tar --redakt owners",
        "mdmd logout now",
        "mdmd world --at somewhere",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
    for line in [
        "mdmd wave add|plan",
        "mdmd identity authority",
        "mdmd device reveal SERIAL recovery_lock_password --reason …",
        "mdmd completions bash > /etc/bash_completion.d/mdmd",
        "mdmd completions SHELL",
        "mdmd hold release {}",
        "mdmd wave …",
        "mdmd rehearse [--devices N] [--faults none|some|many]",
    ] {
        assert_eq!(wrong(line), None, "{line}");
    }
}
