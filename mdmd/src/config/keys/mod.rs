//! Every key of the configuration, once: name, form, default, example and meaning, one file for each section. The example file,
//! the reference page, the environment's names and the refusals are all made from these tables. Reads nothing itself.

mod acme;
mod apple;
mod limits;
mod listener;
mod log;
mod master_key;
mod metrics;
mod packages;
mod proxy;
mod public;
mod push;
mod sign_in;
mod tls;
mod traces;
mod webhooks;
mod whole;
mod workers;

use toml::Value;

use super::form::Form;
pub(super) use listener::LISTENER_KEYS;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands: `push.port`.
    pub(super) path: &'static str,
    /// What it must look like.
    pub(super) form: Form,
    /// What holds when it is left out, as TOML; `None` when nothing does, in which case `meaning` says what that means.
    pub(super) default: Option<&'static str>,
    /// A value that is right, as TOML.
    pub(super) example: &'static str,
    /// What it does, with its unit.
    pub(super) meaning: &'static str,
}

const fn key(
    path: &'static str,
    form: Form,
    default: Option<&'static str>,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        form,
        default,
        example,
        meaning,
    }
}

/// The sections in the order of the example file.
const SECTIONS: &[&[Key]] = &[
    whole::KEYS,
    public::KEYS,
    tls::KEYS,
    acme::KEYS,
    proxy::KEYS,
    master_key::KEYS,
    push::KEYS,
    apple::KEYS,
    sign_in::KEYS,
    webhooks::KEYS,
    workers::KEYS,
    limits::KEYS,
    packages::KEYS,
    metrics::KEYS,
    traces::KEYS,
    log::KEYS,
];

/// All keys outside `[[listener]]`, in the order of the example file.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().copied().flatten()
}

impl Key {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("MDMD_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// Reads text from the environment or a flag: as it stands for texts, as TOML for everything else.
    pub(super) fn read(&self, text: &str) -> Option<Value> {
        match self.form {
            Form::Text
            | Form::Header
            | Form::Host
            | Form::Path
            | Form::Origin
            | Form::Url
            | Form::Database
            | Form::OneOf(_)
            | Form::Email
            | Form::Collector
            | Form::Address => Some(Value::String(text.to_owned())),
            Form::Flag | Form::Whole(..) | Form::Networks | Form::Names | Form::Listeners => {
                let mut table: toml::Table = format!("v = {text}").parse().ok()?;
                table.remove("v")
            }
        }
    }

    /// What is wrong with a value, and what would be right.
    pub(super) fn problem(&self, value: &Value) -> Option<String> {
        let right = self.form.problem(value)?;
        // The value itself is not repeated: it may be a database URL with a password.
        Some(format!("{right}, for example {}", self.example))
    }
}

/// The known key that is most like an unknown one.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (distance(wrong, k), k))
        .filter(|(d, k)| *d <= 1 + k.len() / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
