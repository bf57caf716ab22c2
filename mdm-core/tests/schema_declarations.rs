//! Declarations and status items against the table of Apple's keys in `fixtures/schema`: each has a typed value, which says
//! everything that the table knows; and every document that differs from a right one in one key is none.

#[allow(dead_code, reason = "shared with the test of commands")]
mod schema_table;

use std::collections::{BTreeMap, BTreeSet};

use mdm_core::secret::Secret;
use mdm_core::service::NewDeclaration;
use mdm_core::wire::declared::*;
use mdm_core::wire::json::of_dictionary;
use mdm_core::wire::keys::Keys as _;
use plist::Dictionary;
use schema_table::{Keys, Node, faults, sample, wrong};
use serde_json::{Map, Value, json};

/// JSON has no data: it is text, base64 of it.
fn as_json(node: &mut Node) {
    if node.kind == "data" {
        "string".clone_into(&mut node.kind);
    }
    let below = node.keys.iter_mut().chain(&mut node.items);
    below.for_each(|(_, node)| as_json(node));
}

fn table(kind: &str) -> BTreeMap<String, Node> {
    let all = schema_table::tables(&["declarations.tsv", "status.tsv", "newer.tsv"]);
    let own = all.into_iter().filter(|((of, _, _), _)| of == kind);
    own.map(|((_, name, _), mut node)| {
        as_json(&mut node);
        (name, node)
    })
    .collect()
}

/// Declarations; without the documents that credential assets refer to, and the dictionary around all of them.
fn declarations() -> BTreeMap<String, Node> {
    let all = table("declaration").into_iter();
    all.filter(|(name, _)| name.starts_with("com.apple."))
        .collect()
}

fn map(dictionary: &Dictionary) -> Map<String, Value> {
    of_dictionary(dictionary).as_object().cloned().unwrap()
}

fn is_typed(payload: &Payload) -> bool {
    !matches!(payload, Payload::Raw { .. }) && !format!("{payload:?}").contains("Other(")
}

#[test]
fn every_declaration_and_status_item_of_the_table_has_a_typed_value() {
    let same = |known: &[&str], table: BTreeSet<String>| {
        let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(known, table);
        known.len()
    };
    assert!(same(Payload::TYPES, declarations().into_keys().collect()) >= 38);
    let mut items: BTreeSet<String> = table("status").into_keys().collect();
    // The reason that stands in many of them.
    assert!(items.remove("statusreason"));
    assert!(same(StatusItem::NAMES, items) >= 50);
}

#[test]
fn with_every_key_a_declaration_is_as_the_table_says_and_any_other_is_not() {
    let mut changed = 0;
    for (name, node) in declarations() {
        let both = |n| [Keys::All(n), Keys::Required(n)];
        for which in (0..node.alternatives()).flat_map(both) {
            let keys = sample(&node, which);
            let payload = Payload::read(&name, &map(&keys));
            assert!(is_typed(&payload), "{name}: {payload:?}");
            assert_eq!(payload.declaration_type(), name);
            assert_eq!(payload.to_json(), map(&keys), "{name}");
            assert_eq!(faults(&node, &keys), [""; 0], "{name}");
            assert_eq!(fault(&name, &map(&keys)), None, "{name}");
            if name == "com.apple.management.properties" {
                continue;
            }
            for wrong in wrong(&node, &keys) {
                let what = format!("{name}: {}", wrong.what);
                assert_ne!(faults(&node, &wrong.dictionary), [""; 0], "{what}");
                let wrong = map(&wrong.dictionary);
                let read = Payload::read(&name, &wrong);
                assert!(!is_typed(&read), "{what}: {read:?}");
                // What is not understood goes on as it came.
                assert_eq!(read.to_json(), wrong, "{what}");
                changed += 1;
            }
        }
    }
    assert!(changed > 300, "only {changed} changes were tried");
}

#[test]
fn with_every_key_a_status_item_is_as_the_table_says_and_any_other_is_not() {
    let mut changed = 0;
    for (name, node) in table("status") {
        if name == "statusreason" {
            continue;
        }
        let typed = |keys: &Dictionary| {
            let value = map(keys).remove(&name).unwrap_or(Value::Null);
            let item = StatusItem::read(&name, &value);
            assert_eq!(item.name(), name);
            assert_eq!(item.to_json(), value, "{name}");
            let raw = matches!(item, StatusItem::Raw { .. });
            !raw && !format!("{item:?}").contains("Other(")
        };
        for which in [Keys::All(0), Keys::Required(0)] {
            let keys = sample(&node, which);
            assert!(typed(&keys), "{name}: {keys:?}");
            for wrong in wrong(&node, &keys) {
                // An item is its name: another key beside it is another item.
                if wrong.dictionary.len() == 1 && wrong.dictionary.contains_key(&name) {
                    assert!(!typed(&wrong.dictionary), "{name}: {}", wrong.what);
                    changed += 1;
                }
            }
        }
    }
    assert!(changed > 250, "only {changed} changes were tried");
}

#[test]
fn every_allowed_value_is_a_word_of_its_own_and_a_newer_one_survives() {
    let mut tried = 0;
    for (name, node) in declarations() {
        let mut values = Vec::new();
        node.walk("", &mut |path, at| {
            let closed = at.values.iter().filter(|value| !value.contains(".."));
            values.extend(closed.map(|value| (path.to_owned(), value.clone())));
        });
        for (path, value) in values {
            let payload = map(&sample(&node, Keys::Value(&path, &value)));
            assert!(
                is_typed(&Payload::read(&name, &payload)),
                "{name} {path} {value}"
            );
            let newer = map(&sample(&node, Keys::Value(&path, "net.example.newer")));
            let read = Payload::read(&name, &newer);
            assert!(
                format!("{read:?}").contains("Other("),
                "{name} {path}: {read:?}"
            );
            assert_eq!(read.to_json(), newer);
            assert_eq!(fault(&name, &newer), None, "{name} {path}");
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} values were tried");
}

/// Credentials as files of their assets.
#[test]
fn credentials_are_as_the_table_says() {
    let all = table("declaration");
    let check = |name: &str, read: &dyn Fn(&Dictionary) -> Option<Secret>| {
        let node = &all[name];
        for which in [Keys::All(0), Keys::Required(0)] {
            let keys = sample(node, which);
            let file = read(&keys).unwrap_or_else(|| panic!("{name}: {keys:?}"));
            let file: Value = serde_json::from_slice(file.expose()).unwrap();
            assert_eq!(file, of_dictionary(&keys), "{name}");
            for wrong in wrong(node, &keys) {
                // A range, and text for a number of a closed set, are other values of the same type.
                let read = read(&wrong.dictionary);
                let same = read.is_none_or(|file| {
                    let file: Value = serde_json::from_slice(file.expose()).unwrap();
                    file == of_dictionary(&wrong.dictionary)
                });
                assert!(same, "{name}: {}", wrong.what);
            }
        }
    };
    check("usernameandpassword", &|d| {
        UserNameAndPassword::from_dictionary(d).map(|it| credential(&it))
    });
    check("identity", &|d| {
        IdentityCredential::from_dictionary(d).map(|it| credential(&it))
    });
    check("acme", &|d| {
        AcmeCredential::from_dictionary(d).map(|it| credential(&it))
    });
    check("scep", &|d| {
        ScepCredential::from_dictionary(d).map(|it| credential(&it))
    });
    let one = UserNameAndPassword::new("anna").password(Secret::from_text("hunter2".to_owned()));
    assert!(!format!("{one:?}").contains("hunter2"), "{one:?}");
}

#[test]
fn what_the_schema_rules_out_is_said_and_what_is_newer_is_not() {
    let check = |name: &str, payload: Value, says: Option<&str>| {
        let payload = payload.as_object().cloned().unwrap();
        let said = fault(name, &payload);
        match says {
            Some(part) => assert!(said.as_ref().is_some_and(|s| s.contains(part)), "{said:?}"),
            None => assert_eq!(said, None, "{payload:?}"),
        }
    };
    let app = "com.apple.configuration.app.managed";
    check(
        app,
        json!({ "AppStoreID": "1", "InstallBehavior": { "Install": "Required" } }),
        None,
    );
    check(app, json!({ "InstallBehavior": {} }), Some("lacks a key"));
    check(
        app,
        json!({ "BundleID": "a.b", "IncludeInBackup": "yes" }),
        Some("IncludeInBackup"),
    );
    check(
        app,
        json!({ "BundleID": "a.b", "InstallBehavior": { "Newer": 1 } }),
        None,
    );
    check(
        "com.apple.configuration.siri.settings",
        json!({ "Anything": [1] }),
        None,
    );
}

/// A type that this library does not know goes out as it came in, predicates and all.
#[test]
fn a_newer_declaration_is_raw_json() {
    let payload = json!({ "AllowedSources": ["Mac"], "Deep": { "n": [1, 0.5, true, null] } });
    let payload = payload.as_object().cloned().unwrap();
    let name = "com.apple.configuration.siri.settings";
    let read = Payload::read(name, &payload);
    assert!(matches!(read, Payload::Raw { .. }));
    assert_eq!((read.declaration_type(), read.to_json()), (name, payload));
    let predicate = "(@status(device.model.family) == 'iPad')";
    let activation = SimpleActivation::new(["app.pages".to_owned()]).predicate(predicate);
    let new = NewDeclaration::of("a", activation);
    assert_eq!(new.declaration_type, "com.apple.activation.simple");
    assert_eq!(new.payload["Predicate"], predicate);
    let source = ManagedApplication::AppStoreId("361309726".to_owned());
    let mut app = ManagedApp::new(source);
    app.install_behavior = Some(InstallBehavior::default().install(AppInstall::Required));
    let new = NewDeclaration::of("app.pages", app);
    assert_eq!(
        Value::Object(new.payload),
        json!({ "AppStoreID": "361309726", "InstallBehavior": { "Install": "Required" } })
    );
}
