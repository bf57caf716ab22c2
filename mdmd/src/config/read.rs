//! From file, environment and flags to one table; every key that is not known and every value that is not right is named.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::DEFAULT_LISTENERS;
use super::form::Form;
use super::keys;

pub(super) fn defaults() -> Table {
    let mut table = Table::new();
    for key in keys::all() {
        let value = match key.form {
            Form::Listeners => Some(Value::Array(
                DEFAULT_LISTENERS
                    .iter()
                    .map(|(address, duty)| {
                        Value::Table(Table::from_iter([
                            ("address".to_owned(), Value::from(*address)),
                            ("duty".to_owned(), Value::from(*duty)),
                        ]))
                    })
                    .collect(),
            )),
            _ => key
                .default
                .and_then(|text| format!("v = {text}").parse::<Table>().ok())
                .and_then(|mut t| t.remove("v")),
        };
        if let Some(value) = value {
            put(&mut table, key.path, value);
        } else if let Some((section, _)) = key.path.split_once('.') {
            table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
        }
    }
    table
}

pub(super) fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, leaf)) => table.get(section)?.get(leaf),
        None => table.get(path),
    }
}

pub(super) fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        Some((section, leaf)) => {
            if let Value::Table(inner) = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()))
            {
                inner.insert(leaf.to_owned(), value);
            }
        }
        None => {
            table.insert(path.to_owned(), value);
        }
    }
}

pub(super) fn unknown(path: &str) -> String {
    let known = keys::all().map(|k| k.path);
    match keys::nearest(path, known) {
        Some(meant) => format!("{path}: there is no such key; did you mean {meant}?"),
        None => format!("{path}: there is no such key; `mdmd config example` shows all"),
    }
}

pub(super) fn overlay(table: &mut Table, read: Table, section: &str, problems: &mut Vec<String>) {
    for (name, value) in read {
        let path = if section.is_empty() {
            name
        } else {
            format!("{section}.{name}")
        };
        let is_section = keys::all().any(|k| {
            k.path
                .strip_prefix(&path)
                .is_some_and(|r| r.starts_with('.'))
        });
        match (keys::all().find(|k| k.path == path), value) {
            (Some(key), value) => set(table, key, value, problems),
            (None, Value::Table(inner)) if is_section => overlay(table, inner, &path, problems),
            (None, _) if is_section => {
                problems.push(format!("{path}: must be a section, [{path}]"))
            }
            (None, _) => problems.push(unknown(&path)),
        }
    }
}

pub(super) fn set(table: &mut Table, key: &keys::Key, value: Value, problems: &mut Vec<String>) {
    if let Some(problem) = key.problem(&value) {
        problems.push(format!("{}: {problem}", key.path));
        return;
    }
    if let (Form::Listeners, Value::Array(list)) = (key.form, &value) {
        let before = problems.len();
        for (n, listener) in list.iter().filter_map(Value::as_table).enumerate() {
            check_listener(n + 1, listener, problems);
        }
        if problems.len() > before {
            return;
        }
    }
    put(table, key.path, value);
}

pub(super) fn check_listener(number: usize, listener: &Table, problems: &mut Vec<String>) {
    for (name, value) in listener {
        match keys::LISTENER_KEYS.iter().find(|k| k.path == name) {
            Some(key) => {
                if let Some(problem) = key.problem(value) {
                    problems.push(format!("listener {number}, {name}: {problem}"));
                }
            }
            None => {
                let known = keys::LISTENER_KEYS.iter().map(|k| k.path);
                let hint = keys::nearest(name, known)
                    .map(|k| format!("; did you mean {k}?"))
                    .unwrap_or_default();
                problems.push(format!(
                    "listener {number}, {name}: there is no such key{hint}"
                ));
            }
        }
    }
    for needed in ["address", "duty"] {
        if !listener.contains_key(needed) {
            problems.push(format!("listener {number}: {needed} is missing"));
        }
    }
}

/// Variables with our prefix that are no configuration: read elsewhere.
const OTHER_VARIABLES: [&str; 4] = ["MDMD_CONFIG", "MDMD_URL", "MDMD_TOKEN", "MDMD_TOKEN_FILE"];

pub(super) fn from_environment(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<String>,
) {
    // The variable that holds a master key is named by the configuration itself, and its value is never read here.
    let key_name = environment
        .get("MDMD_MASTER_KEY_NAME")
        .cloned()
        .or_else(|| {
            let name = table.get("master_key")?.get("name")?.as_str()?;
            Some(name.to_owned())
        });
    for (variable, text) in environment {
        if !variable.starts_with("MDMD_")
            || variable.starts_with("MDMD_TEST_")
            || OTHER_VARIABLES.contains(&variable.as_str())
            || Some(variable) == key_name.as_ref()
        {
            continue;
        }
        match keys::all().find(|k| k.variable() == *variable) {
            Some(key) => set_text(table, key, variable, text, problems),
            None => {
                let variables: Vec<String> = keys::all().map(keys::Key::variable).collect();
                let hint = keys::nearest(variable, variables.iter().map(String::as_str))
                    .map(|v| format!("; did you mean {v}?"))
                    .unwrap_or_default();
                problems.push(format!("{variable}: there is no such variable{hint}"));
            }
        }
    }
}

pub(super) fn set_text(
    table: &mut Table,
    key: &keys::Key,
    source: &str,
    text: &str,
    problems: &mut Vec<String>,
) {
    match key.read(text) {
        Some(value) => {
            let before = problems.len();
            set(table, key, value, problems);
            for problem in &mut problems[before..] {
                *problem = format!("{problem} ({source})");
            }
        }
        None => problems.push(format!(
            "{}: cannot be read, for example {} ({source})",
            key.path, key.example
        )),
    }
}
