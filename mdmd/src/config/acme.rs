//! What must be so for a public authority to certify the listeners. Asks nobody: a name that leads elsewhere is found out by
//! the order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Config, Duty};

/// Authorities certify no more names than this at once.
const MOST_NAMES: usize = 100;

impl Config {
    /// The DNS names to be certified: those that are configured, else the hosts of the public addresses.
    pub(crate) fn acme_names(&self) -> BTreeSet<String> {
        if self.acme.names.is_empty() {
            [&self.public.device_url, &self.public.enrol_url]
                .into_iter()
                .map(|url| host_of(url).to_ascii_lowercase())
                .collect()
        } else {
            self.acme.names.iter().cloned().collect()
        }
    }

    pub(super) fn acme_contradictions(&self) -> Vec<String> {
        let acme = &self.acme;
        let mut problems = Vec::new();
        let answers = self.listeners.iter().any(|l| l.duty == Duty::Challenge);
        if acme.account_key_id.is_some() != acme.account_key_file.is_some() {
            problems.push(
                "acme.account_key_id and acme.account_key_file: must be given together".to_owned(),
            );
        }
        if acme.directory.is_none() {
            if answers {
                problems.push(
                    "listener: duty challenge answers nobody without acme.directory".to_owned(),
                );
            }
            return problems;
        }
        if !acme.accept_terms {
            problems.push(
                "acme.accept_terms: must be true with acme.directory: no authority certifies anybody who does not accept its terms".to_owned(),
            );
        }
        if !answers {
            problems.push(
                "acme.directory: needs a [[listener]] with duty = \"challenge\", for example at address 0.0.0.0:80".to_owned(),
            );
        }
        let names = self.acme_names();
        if names.len() > MOST_NAMES {
            problems.push(format!("acme.names: must be at most {MOST_NAMES}"));
        }
        for name in &names {
            if let Some(why) = not_certified(name) {
                let from = match acme.names.is_empty() {
                    true => " (from public.device_url or public.enrol_url)",
                    false => "",
                };
                problems.push(format!("acme.names: {name}{from}: {why}"));
            }
        }
        problems
    }
}

/// Why no public authority certifies this name.
fn not_certified(name: &str) -> Option<&'static str> {
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Some("is an address; must be a DNS name");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !name.contains('.') || name.len() > 253 || !name.split('.').all(label) {
        return Some("must be a whole DNS name, for example mdm.example.com");
    }
    None
}

/// The host of `https://host[:port][/…]`.
fn host_of(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const RIGHT: &str = "[public]\ndevice_url = \"https://mdm.example.com:8443\"\nenrol_url = \"https://enrol.example.com\"\n\
        [acme]\ndirectory = \"https://acme.example/dir\"\naccept_terms = true\n\
        [[listener]]\naddress = \"0.0.0.0:80\"\nduty = \"challenge\"\n";

    fn load(text: &str) -> Result<Config, String> {
        Config::load(Some(text), &BTreeMap::new(), &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_names_are_those_of_the_public_addresses_unless_others_are_told() {
        let names = |text: &str| Vec::from_iter(load(text).unwrap().acme_names());
        assert_eq!(names(RIGHT), ["enrol.example.com", "mdm.example.com"]);
        let other = RIGHT.replace("accept_terms", "names = [\"x.example\"]\naccept_terms");
        assert_eq!(names(&other), ["x.example"]);
    }

    #[test]
    fn what_cannot_be_certified_is_refused_before_anybody_is_asked() {
        let check = |from: &str, to: &str, said: &str| {
            let error = load(&RIGHT.replace(from, to)).unwrap_err();
            assert!(error.contains(said), "{from} -> {to}: {error}");
        };
        check("accept_terms = true", "", "acme.accept_terms: must be true");
        check("challenge", "device", "needs a [[listener]]");
        check(
            "directory = \"https://acme.example/dir\"",
            "",
            "answers nobody",
        );
        check(
            "https://acme.example/dir",
            "http://acme.example/dir",
            "acme.directory: must be",
        );
        check(
            "https://mdm.example.com:8443",
            "https://localhost",
            "whole DNS name",
        );
        check(
            "https://mdm.example.com:8443",
            "https://10.0.0.1:1",
            "is an address",
        );
        check(
            "https://mdm.example.com:8443",
            "https://[::1]:1",
            "is an address",
        );
        for (name, said) in [
            ("10.0.0.1", "is an address"),
            ("a..b", "whole DNS name"),
            ("*.a.b", "acme.names: must be"),
        ] {
            check(
                "accept_terms",
                &format!("names = [\"{name}\"]\naccept_terms"),
                said,
            );
        }
        check(
            "accept_terms",
            "contact = \"mailto:a@b.example\"\naccept_terms",
            "without mailto:",
        );
        check(
            "accept_terms",
            "account_key_id = \"k\"\naccept_terms",
            "given together",
        );
        let more = format!("{RIGHT}[[listener]]\naddress = \"0.0.0.0:80\"\nduty = \"enrol\"\n");
        assert!(load(&more).unwrap_err().contains("cannot share a port"));
    }
}
