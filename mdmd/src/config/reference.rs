//! The example file and the reference page, made from the tables of keys.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::form::Form;
use super::keys::{Key, LISTENER_KEYS, all};

/// A configuration file with every key, its default and its meaning; keys that are at their default are commented out.
pub(super) fn example_file() -> String {
    let mut out = String::from(
        "# Configuration of mdmd. Every key is shown; those behind `# ` stand at their default or are optional.\n",
    );
    let mut last = None;
    for key in all().filter(|k| !matches!(k.form, Form::Listeners)) {
        if section(key.path) != last {
            last = section(key.path);
            let _ = write!(out, "\n[{}]\n", last.unwrap_or_default());
        } else {
            out.push('\n');
        }
        let _ = writeln!(out, "# {}", key.meaning);
        let _ = writeln!(
            out,
            "# {} = {}",
            leaf(key.path),
            key.default.unwrap_or(key.example)
        );
    }
    out.push_str("\n# The ports. These three hold when there is no [[listener]] at all.\n");
    for (address, duty) in super::DEFAULT_LISTENERS {
        let _ = write!(
            out,
            "\n# [[listener]]\n# address = \"{address}\"\n# duty = \"{duty}\"\n"
        );
    }
    for key in LISTENER_KEYS {
        let _ = writeln!(out, "# {}: {}", key.path, key.meaning);
    }
    out
}

/// Every key for programs; values are TOML, as in a file.
pub(super) fn reference() -> Value {
    let told = |key: &Key| {
        json!({
            "key": key.path, "default": key.default, "example": key.example, "meaning": key.meaning,
        })
    };
    let keys = all().map(|key| {
        let mut told = told(key);
        told["variable"] = json!(key.variable());
        told
    });
    let listeners = super::DEFAULT_LISTENERS
        .iter()
        .map(|(address, duty)| json!({ "address": address, "duty": duty }));
    json!({
        "keys": keys.collect::<Vec<_>>(),
        "listener_keys": LISTENER_KEYS.iter().map(told).collect::<Vec<_>>(),
        "listeners": listeners.collect::<Vec<_>>(),
    })
}

/// The reference page.
pub(super) fn reference_page() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One TOML file (`mdmd.toml` in the data directory, or `--config FILE`), over it the environment, over it `--set KEY=VALUE`.\n\
         A key that does not exist and a value that cannot be right are refused with the name and with what would be right.\n\
         `mdmd config check` reads all three and says what holds; `mdmd config example` prints a file with every key.\n\
         This page is made by `mdmd config reference`.\n\n\
         Relative paths start at the data directory.\n\n\
         | key | default | meaning | variable |\n|---|---|---|---|\n",
    );
    for key in all() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | `{}` |",
            key.path,
            key.default
                .map_or_else(|| "none".to_owned(), |d| format!("`{d}`")),
            key.meaning,
            key.variable()
        );
    }
    out.push_str("\n## `[[listener]]`\n\n| key | default | meaning |\n|---|---|---|\n");
    for key in LISTENER_KEYS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            key.path,
            key.default
                .map_or_else(|| "none".to_owned(), |d| format!("`{d}`")),
            key.meaning
        );
    }
    out.push_str(
        "\nOne port for devices and enrolment, told apart by server name:\n\n\
         ```toml\n[[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"device\"\nnames = [\"mdm.example.com\"]\n\n\
         [[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"enrol\"\n```\n\n\
         A certificate from a public authority ([docs/edge.md](edge.md) says more):\n\n\
         ```toml\n[acme]\ndirectory = \"https://acme-v02.api.letsencrypt.org/directory\"\naccept_terms = true\n\
         contact = \"operations@example.com\"\n\n[[listener]]\naddress = \"0.0.0.0:80\"\nduty = \"challenge\"\n```\n",
    );
    out
}

fn section(path: &str) -> Option<&str> {
    path.split_once('.').map(|(section, _)| section)
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
