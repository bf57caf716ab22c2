//! Answers and check-in messages against the table: they are read whole, lose nothing, and show no secret.

use std::collections::BTreeSet;

use mdm_core::wire::checkin::CheckIn;
use mdm_core::wire::plist::write_dictionary;
use mdm_core::wire::report::CommandReport;
use mdm_core::wire::reports::{Answer, SECRET_ANSWER_KEYS};
use plist::Dictionary;

use super::schema_table::{Keys, Node, faults, sample, wrong};
use super::{commands, is_telling, table};

fn report(name: &str, keys: &Dictionary) -> CommandReport {
    let mut d = keys.clone();
    for (key, value) in [
        ("UDID", "A"),
        ("CommandUUID", "c"),
        ("Status", "Acknowledged"),
        ("RequestType", name),
    ] {
        d.insert(key.into(), value.into());
    }
    CommandReport::parse(&write_dictionary(&d)).unwrap()
}

/// A link of an error chain has the keys that every report's has, which the schema leaves out.
fn chained(mut node: Node) -> Node {
    fn go(node: &mut Node, link: &Node) {
        for (key, inner) in &mut node.keys {
            if key == "ErrorChain" {
                inner.items = vec![(String::new(), link.clone())];
            } else {
                go(inner, link);
            }
        }
        node.items.iter_mut().for_each(|(_, inner)| go(inner, link));
    }
    let all = table();
    let every = &all[&("command".into(), "*".into(), "response".into())];
    let (_, chain) = every
        .keys
        .iter()
        .find(|(key, _)| key == "ErrorChain")
        .unwrap();
    go(&mut node, &chain.items[0].1);
    node
}

#[test]
fn an_answer_is_typed_and_loses_nothing() {
    let answers = commands("response");
    let typed: BTreeSet<&str> = Answer::REQUEST_TYPES.iter().copied().collect();
    assert_eq!(typed, answers.keys().map(String::as_str).collect());
    for (name, node) in &answers {
        let node = &chained(node.clone());
        for keys in [
            sample(node, Keys::All(0)),
            sample(node, Keys::Required(0)),
            Dictionary::new(),
        ] {
            assert!(
                keys.is_empty() || faults(node, &keys).is_empty(),
                "{name}: {:?}",
                faults(node, &keys)
            );
            let report = report(name, &keys);
            let answer = report.answer(name).unwrap();
            let mut expected = report.redacted().clone();
            expected.retain(|key, _| keys.contains_key(key));
            assert_eq!(answer.to_dictionary(), expected, "{name}");
            // Every key has found its place.
            let shown = format!("{answer:?}");
            assert!(
                !shown.contains("other: {\"") && !shown.contains("Other("),
                "{name}: {shown}"
            );
        }
        // One key at a time: renamed or of another type it stays, under its own name.
        for wrong in wrong(node, &sample(node, Keys::All(0))) {
            assert_ne!(
                faults(node, &wrong.dictionary),
                [""; 0],
                "{name}: {}",
                wrong.what
            );
            let report = report(name, &wrong.dictionary);
            let mut expected = report.redacted().clone();
            expected.retain(|key, _| wrong.dictionary.contains_key(key));
            assert_eq!(
                report.answer(name).unwrap().to_dictionary(),
                expected,
                "{name}: {}",
                wrong.what
            );
        }
    }
    assert!(answers.len() >= 35);
}

#[test]
fn every_secret_of_an_answer_is_lifted_out() {
    // By name they could be secrets, and are none.
    let harmless = [
        "BootstrapTokenAllowedForAuthentication",
        "FDE_PersonalRecoveryKeyDeviceKey",
        "PushToken",
    ];
    let mut found = BTreeSet::new();
    for (name, node) in commands("response") {
        node.walk("", &mut |path, at| {
            let key = path.rsplit('/').next().unwrap_or_default();
            let holds = ["string", "data"].contains(&at.kind.as_str())
                || (at.kind == "dictionary" && at.is_free());
            if holds && is_telling(key) && !harmless.contains(&key) {
                found.insert((name.clone(), path.to_owned()));
            }
        });
    }
    let listed = SECRET_ANSWER_KEYS
        .iter()
        .map(|k| (k.request_type.to_owned(), k.path.to_owned()));
    assert_eq!(found, listed.collect());
    for secret in &SECRET_ANSWER_KEYS {
        let node = &commands("response")[secret.request_type];
        let report = report(secret.request_type, &sample(node, Keys::All(0)));
        let [lifted] = report.secrets() else {
            panic!("{secret:?}: {:?}", report.secrets())
        };
        assert_eq!(
            (lifted.kind, lifted.key.as_str()),
            (secret.kind, secret.key())
        );
        // A sample's value tells its path.
        let content = String::from_utf8_lossy(lifted.secret.expose()).into_owned();
        assert!(content.contains(secret.path), "{content}");
        let stored = String::from_utf8(report.redacted_xml()).unwrap();
        let shown = format!("{:?}", report.answer(secret.request_type));
        for text in [stored, shown] {
            assert!(
                !text.contains(&format!("of {}", secret.path))
                    && !text.contains(&format!("at {}", secret.path)),
                "{text}"
            );
        }
    }
}

#[test]
fn a_check_in_message_of_the_table_is_read_and_kept() {
    let messages: Vec<_> = table()
        .into_iter()
        .filter(|((kind, _, direction), _)| kind == "checkin" && direction == "request")
        .collect();
    assert_eq!(messages.len(), 9);
    for ((_, name, _), node) in messages {
        let mut keys = sample(&node, Keys::All(0));
        // The schema leaves it out where devices send it.
        keys.insert("UDID".into(), "A".into());
        let message =
            CheckIn::parse(&write_dictionary(&keys)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(message.name(), name);
        let kept = message.envelope().redacted();
        assert!(keys.keys().all(|key| kept.contains_key(key)), "{name}");
    }
}
