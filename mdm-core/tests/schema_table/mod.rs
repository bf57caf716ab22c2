//! The table of Apple's keys as a measure: it is read from `fixtures/schema`, makes samples, says what is wrong with a
//! property list, and makes wrong ones out of right ones. It knows nothing of our types.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use mdm_core::wire::plist::{read_dictionary, write_dictionary};
use plist::{Dictionary, Value};

/// What may stand at one place of a property list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) kind: String,
    pub(crate) presence: String,
    pub(crate) values: Vec<String>,
    /// Of a dictionary; `*` is any key.
    pub(crate) keys: Vec<(String, Self)>,
    /// Of an array, by the kind of item; one kind alone has no name.
    pub(crate) items: Vec<(String, Self)>,
}

/// Kind, name and direction, such as `command`, `DeviceLock`, `request`.
pub(crate) type Entity = (String, String, String);

/// Every row of the tables, the newer ones over the others.
pub(crate) fn tables(files: &[&str]) -> BTreeMap<Entity, Node> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/schema");
    let mut all: BTreeMap<Entity, Node> = BTreeMap::new();
    for file in files {
        let path = folder.join(file);
        // No table, no test: it must not pass for want of a measure.
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()));
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split('\t').collect();
            assert!(cells.len() >= 8, "{file}: {line}");
            let entity = (cells[0].into(), cells[1].into(), cells[2].into());
            let node = all.entry(entity).or_insert_with(|| Node {
                kind: "dictionary".into(),
                ..Node::default()
            });
            let values = cells[6].split('|').filter(|v| !v.is_empty());
            node.add(
                cells[3],
                cells[4],
                cells[5],
                values.map(str::to_owned).collect(),
            );
        }
    }
    all
}

impl Node {
    fn add(&mut self, path: &str, kind: &str, presence: &str, values: Vec<String>) {
        if path == "." || kind == "recursive" {
            return;
        }
        let mut node = self;
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(value) = rest.strip_prefix('=') {
                node.values.push(value.to_owned());
                return;
            }
            if let Some(inner) = rest.strip_prefix('[') {
                let (item, after) = inner.split_once(']').expect("a closed bracket");
                node = child(&mut node.items, item);
                rest = after;
            } else {
                rest = rest.strip_prefix('/').unwrap_or(rest);
                let end = rest.find(['/', '[', '=']).unwrap_or(rest.len());
                node = child(&mut node.keys, &rest[..end]);
                rest = &rest[end..];
            }
        }
        node.kind = kind.to_owned();
        node.presence = presence.to_owned();
        node.values = values;
    }

    fn key(&self, name: &str) -> Option<&Self> {
        let find = |wanted: &str| self.keys.iter().find(|(key, _)| key == wanted);
        find(name).or_else(|| find("*")).map(|(_, node)| node)
    }

    /// Whether Apple says nothing of what is in it.
    pub(crate) fn is_free(&self) -> bool {
        match self.kind.as_str() {
            "any" => true,
            "dictionary" => self.keys.is_empty() || self.key("").is_some_and(|n| n.kind == "any"),
            "array" => self.items.is_empty(),
            _ => false,
        }
    }

    /// How many keys the largest group of alternatives has, in it or below.
    pub(crate) fn alternatives(&self) -> usize {
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, node) in &self.keys {
            if node.presence.starts_with("one of") {
                *groups.entry(&node.presence).or_default() += 1;
            }
        }
        let own = groups.into_values().max().unwrap_or(1);
        let below = self
            .keys
            .iter()
            .chain(&self.items)
            .map(|(_, n)| n.alternatives());
        below.max().unwrap_or(1).max(own)
    }

    /// Every node with its path.
    pub(crate) fn walk<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Self)) {
        visit(path, self);
        for (key, node) in &self.keys {
            let separator = if path.is_empty() { "" } else { "/" };
            node.walk(&format!("{path}{separator}{key}"), visit);
        }
        for (item, node) in &self.items {
            node.walk(&format!("{path}[{item}]"), visit);
        }
    }
}

fn child<'a>(of: &'a mut Vec<(String, Node)>, name: &str) -> &'a mut Node {
    let at = of
        .iter()
        .position(|(known, _)| known == name)
        .unwrap_or_else(|| {
            of.push((name.to_owned(), Node::default()));
            of.len() - 1
        });
    &mut of[at].1
}

/// Which keys a sample has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Keys<'a> {
    /// All of them; of alternatives, the n-th.
    All(usize),
    /// Those that must be there; of alternatives, the n-th.
    Required(usize),
    /// Those that must be there, and this path.
    With(&'a str),
    /// All of them, with this value at this path.
    Value(&'a str, &'a str),
}

/// A property list as the table wants it. Each value tells its path, so that none can be taken for another.
pub(crate) fn sample(node: &Node, keys: Keys<'_>) -> Dictionary {
    match value(node, "", keys) {
        Value::Dictionary(d) => d,
        other => panic!("{other:?} is no dictionary"),
    }
}

fn value(node: &Node, path: &str, keys: Keys<'_>) -> Value {
    let wanted = match keys {
        Keys::Value(at, value) if at == path => Some(value),
        _ => node.values.first().map(String::as_str),
    };
    let number = i64::try_from(path.len()).expect("a short path");
    match node.kind.as_str() {
        "dictionary" => Value::Dictionary(dictionary(node, path, keys)),
        "array" => {
            let item =
                |(name, node): &(String, Node)| value(node, &format!("{path}[{name}]"), keys);
            Value::Array(node.items.iter().map(item).collect())
        }
        "boolean" => Value::Boolean(true),
        "integer" => match wanted.map(|v| v.split("..").next().unwrap_or_default()) {
            Some(text) if !text.is_empty() => {
                Value::Integer(text.parse::<i64>().expect("a number").into())
            }
            _ => Value::Integer(number.into()),
        },
        "real" => Value::Real(0.5),
        "date" => Value::Date((UNIX_EPOCH + Duration::from_secs(1_800_000_000)).into()),
        "data" => Value::Data(path.as_bytes().to_vec()),
        "string" => match wanted {
            Some(text) => Value::String(text.to_owned()),
            None if is_uuid(path) => Value::String(uuid_of(path)),
            None => Value::String(format!("text of {path}")),
        },
        "any" => Value::String(format!("anything at {path}")),
        other => panic!("{path} is of type {other}"),
    }
}

/// Whether a text must be a UUID, by the name of its key.
fn is_uuid(path: &str) -> bool {
    let key = path.rsplit('/').next().unwrap_or_default();
    let key = key.trim_end_matches("[]");
    key.ends_with("UUID") || key.ends_with("UUIDs")
}

fn uuid_of(path: &str) -> String {
    let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, path.as_bytes());
    uuid.to_string().to_uppercase()
}

fn dictionary(node: &Node, path: &str, keys: Keys<'_>) -> Dictionary {
    let mut d = Dictionary::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, inner) in &node.keys {
        let separator = if path.is_empty() { "" } else { "/" };
        let own = format!("{path}{separator}{key}");
        let sizes = |group: &str| {
            node.keys
                .iter()
                .filter(|(_, n)| n.presence == group)
                .count()
        };
        let one_of = |n: usize, seen: &mut BTreeMap<_, usize>| {
            let at = seen.entry(inner.presence.as_str()).or_default();
            *at += 1;
            *at - 1 == n % sizes(&inner.presence)
        };
        let alternative = inner.presence.starts_with("one of");
        let leads_to = |wanted: &str| {
            wanted == own
                || wanted
                    .strip_prefix(&own)
                    .is_some_and(|rest| rest.starts_with(['/', '[']))
        };
        let there = match keys {
            Keys::All(n) if alternative => one_of(n, &mut seen),
            Keys::Required(n) if alternative => one_of(n, &mut seen),
            Keys::With(wanted) if alternative => {
                let chosen = node
                    .keys
                    .iter()
                    .any(|(k, n)| n.presence == inner.presence && wanted == k);
                if chosen {
                    leads_to(wanted)
                } else {
                    one_of(0, &mut seen)
                }
            }
            Keys::Value(..) if alternative => one_of(0, &mut seen),
            Keys::All(_) | Keys::Value(..) => true,
            Keys::Required(_) => inner.presence == "required",
            Keys::With(wanted) => inner.presence == "required" || leads_to(wanted),
        };
        if there {
            let name = if key == "*" { "net.example.any" } else { key };
            d.insert(name.to_owned(), value(inner, &own, keys));
        }
    }
    d
}

/// What the table says against a property list; nothing if it is right.
pub(crate) fn faults(node: &Node, of: &Dictionary) -> Vec<String> {
    let mut faults = Vec::new();
    check(node, &Value::Dictionary(of.clone()), "", &mut faults);
    faults
}

fn check(node: &Node, value: &Value, path: &str, faults: &mut Vec<String>) {
    let (fits, text) = match (node.kind.as_str(), value) {
        ("any", _) => return,
        ("string", Value::String(text)) => (true, Some(text.clone())),
        ("integer", Value::Integer(number)) => (true, Some(number.to_string())),
        ("dictionary", Value::Dictionary(_))
        | ("array", Value::Array(_))
        | ("boolean", Value::Boolean(_))
        | ("real", Value::Real(_))
        | ("date", Value::Date(_))
        | ("data", Value::Data(_)) => (true, None),
        _ => (false, None),
    };
    if !fits {
        faults.push(format!("{path} is no {}", node.kind));
        return;
    }
    let ranged = node.values.iter().any(|v| v.contains(".."));
    if let Some(text) = text
        && !ranged
        && !node.values.is_empty()
        && !node.values.contains(&text)
    {
        faults.push(format!("{path} is none of its values"));
    }
    match value {
        Value::Dictionary(d) if !node.is_free() => {
            for (key, inner) in d {
                match node.key(key) {
                    Some(known) => check(known, inner, &format!("{path}/{key}"), faults),
                    None => faults.push(format!("{path}/{key} is not known")),
                }
            }
            let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
            for (key, known) in &node.keys {
                let there = d.contains_key(key);
                if known.presence == "required" && key != "*" && !there {
                    faults.push(format!("{path}/{key} is missing"));
                }
                if known.presence.starts_with("one of") {
                    *groups.entry(&known.presence).or_default() += usize::from(there);
                }
            }
            for (group, number) in groups {
                if number != 1 {
                    faults.push(format!("{path}: {number} keys, and it is {group}"));
                }
            }
        }
        Value::Array(items) if !node.is_free() => {
            for item in items {
                let of_kind = |(_, kind): &(String, Node)| {
                    let mut own = Vec::new();
                    check(kind, item, &format!("{path}[]"), &mut own);
                    own
                };
                let best = node.items.iter().map(of_kind).min_by_key(Vec::len);
                faults.extend(best.unwrap_or_default());
            }
        }
        // Scalars, and what is free.
        _ => {}
    }
}

/// One wrong property list, and what was done to it.
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) dictionary: Dictionary,
}

/// Every property list that differs from a right one in one key: removed where it must be there, of another type,
/// under another name.
pub(crate) fn wrong(node: &Node, right: &Dictionary) -> Vec<Wrong> {
    let mut all = Vec::new();
    change_dictionary(node, right, "", &mut |what, dictionary| {
        all.push(Wrong { what, dictionary });
    });
    all
}

fn change_dictionary(
    node: &Node,
    of: &Dictionary,
    path: &str,
    found: &mut dyn FnMut(String, Dictionary),
) {
    if node.is_free() {
        return;
    }
    let any_key = node.keys.iter().any(|(key, _)| key == "*");
    for (key, value) in of {
        let Some(known) = node.key(key) else { continue };
        let own = format!("{path}/{key}");
        if !any_key && (known.presence == "required" || known.presence.starts_with("one of")) {
            let mut without = of.clone();
            without.remove(key);
            found(format!("{own} removed"), without);
        }
        if known.kind != "any" {
            let mut retyped = of.clone();
            retyped.insert(key.clone(), another_type(value));
            found(format!("{own} retyped"), retyped);
        }
        if !any_key {
            let mut renamed = of.clone();
            renamed.remove(key);
            renamed.insert(format!("{key}X"), value.clone());
            found(format!("{own} renamed"), renamed);
        }
        change(known, value, &own, &mut |what, changed| {
            let mut d = of.clone();
            d.insert(key.clone(), changed);
            found(what, d);
        });
    }
}

fn change(node: &Node, value: &Value, path: &str, found: &mut dyn FnMut(String, Value)) {
    match value {
        Value::Dictionary(inner) => change_dictionary(node, inner, path, &mut |what, d| {
            found(what, Value::Dictionary(d));
        }),
        Value::Array(items) if !node.is_free() => {
            for (at, item) in items.iter().enumerate() {
                let kind = &node.items[at.min(node.items.len() - 1)].1;
                let own = format!("{path}[{at}]");
                let with = |changed: Value| {
                    let mut items = items.clone();
                    items[at] = changed;
                    Value::Array(items)
                };
                if kind.kind != "any" {
                    found(format!("{own} retyped"), with(another_type(item)));
                }
                change(kind, item, &own, &mut |what, changed| {
                    found(what, with(changed))
                });
            }
        }
        // A scalar was retyped by whoever holds it.
        _ => {}
    }
}

fn another_type(value: &Value) -> Value {
    match value {
        Value::Boolean(_) => Value::Array(vec!["no boolean".into()]),
        _ => Value::Boolean(true),
    }
}

/// As it comes back from what is sent: written as XML and read by the guard.
pub(crate) fn through_xml(d: &Dictionary) -> Dictionary {
    read_dictionary(&write_dictionary(d), 1 << 20).expect("what was written is read")
}
