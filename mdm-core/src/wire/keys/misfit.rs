//! What in a dictionary cannot be what its writer meant: a known key with a value of another type, one that is missing, one
//! that is spelt in other letters. A key that nobody knows is no misfit: it may be newer than this library. For what people
//! and programs write as JSON; nothing here looks at what devices send.

use plist::{Dictionary, Value};

use super::{Field, Keys};

/// One thing that is wrong with a dictionary. Names keys and types, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
#[non_exhaustive]
pub struct Misfit {
    /// The key, with those around it: `Settings[0].DeviceName`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Misfit {
    fn new(path: String, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { path, problem }
    }

    /// A value of another type than `kind`, in the words of JSON.
    pub(crate) fn of_kind(at: &str, kind: &str) -> Self {
        let must = match kind {
            "string" => "text",
            "integer" => "a whole number",
            "real" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            "dictionary" => "an object",
            "data" => "data: {\"$data\": base64}",
            "date" => "a moment: {\"$date\": \"2027-01-31T00:00:00Z\"}",
            other => other,
        };
        Self::new(at.to_owned(), format!("must be {must}"))
    }
}

/// The type of a value, in Apple's words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Dictionary(_) => "dictionary",
        Value::Boolean(_) => "boolean",
        Value::Data(_) => "data",
        Value::Date(_) => "date",
        Value::Integer(_) => "integer",
        Value::Real(_) => "real",
        Value::String(_) => "string",
        _ => "nothing known",
    }
}

/// The path of a key beneath another.
pub(crate) fn below(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    }
}

/// What is wrong with a key that may be left out.
pub(crate) fn optional<T: Field>(of: &Dictionary, at: &str, key: &str) -> Option<Misfit> {
    T::misfit(of.get(key)?, &below(at, key))
}

/// What is wrong with a key that must be there.
pub(crate) fn required<T: Field>(of: &Dictionary, at: &str, key: &str) -> Option<Misfit> {
    match of.get(key) {
        Some(value) => T::misfit(value, &below(at, key)),
        None => Some(Misfit::new(below(at, key), "must be there")),
    }
}

/// What is wrong with keys of which exactly one must be there.
pub(crate) fn one_of(of: &Dictionary, at: &str, keys: &[(&'static str, &str)]) -> Option<Misfit> {
    let mut there = keys.iter().filter(|(key, _)| of.contains_key(key));
    match (there.next(), there.next()) {
        (Some(_), None) => None,
        (Some((one, _)), Some((other, _))) => {
            let problem = format!("cannot stand beside {one}");
            Some(Misfit::new(below(at, other), problem))
        }
        (None, _) => {
            let names: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
            let (first, rest) = names.split_first()?;
            let problem = format!("must be there, or {}", rest.join(", "));
            Some(Misfit::new(below(at, first), problem))
        }
    }
}

/// What is wrong with a dictionary as a whole.
pub(crate) fn of_keys<T: Keys>(of: &Dictionary, at: &str) -> Option<Misfit> {
    // First what is spelt wrong: that is why another one is missing.
    spelt(of, at, &T::kinds()).or_else(|| T::misfit(of, at))
}

/// A key that differs from a known one in nothing but capital and small letters.
pub(crate) fn spelt(of: &Dictionary, at: &str, known: &[(&str, &str)]) -> Option<Misfit> {
    of.keys().find_map(|key| {
        if known.iter().any(|(right, _)| right == key) {
            return None;
        }
        let (right, _) = known.iter().find(|(k, _)| k.eq_ignore_ascii_case(key))?;
        let problem = format!("is written {right}");
        Some(Misfit::new(below(at, key), problem))
    })
}
