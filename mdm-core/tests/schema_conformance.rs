//! Our commands, answers and payloads against the table of Apple's keys in `fixtures/schema`; the commands here, the others
//! in modules of their own.
//!
//! The table is read at every run; without it the tests fail. That the measure measures is shown with each command: its
//! property list is right, and every list that differs from it in one key is not.

mod schema_answers;
mod schema_payloads;
mod schema_table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use mdm_core::secret::Secret;
use mdm_core::wire::command::{CommandBody, KeysError};
use mdm_core::wire::requests::*;
use plist::{Dictionary, Value};
use schema_table::{Entity, Keys, Node, faults, sample, through_xml, wrong};

fn table() -> BTreeMap<Entity, Node> {
    schema_table::tables(&["commands.tsv", "checkin.tsv", "newer.tsv"])
}

/// The requests or the answers of every command, by `RequestType`.
fn commands(direction: &str) -> BTreeMap<String, Node> {
    table()
        .into_iter()
        .filter(|((kind, name, of), _)| kind == "command" && of == direction && name != "*")
        .map(|((_, name, _), node)| (name, node))
        .collect()
}

fn with_type(name: &str, mut keys: Dictionary) -> Dictionary {
    keys.insert("RequestType".into(), name.into());
    keys
}

/// What a device would get, without its `RequestType`.
fn sent(body: &CommandBody) -> Dictionary {
    let envelope = mdm_core::wire::plist::read_dictionary(&body.encode("uuid-1"), 1 << 20).unwrap();
    assert_eq!(
        envelope.get("CommandUUID").and_then(Value::as_string),
        Some("uuid-1")
    );
    let mut command = envelope
        .get("Command")
        .unwrap()
        .as_dictionary()
        .unwrap()
        .clone();
    let request_type = command.remove("RequestType");
    assert_eq!(
        request_type.as_ref().and_then(Value::as_string),
        Some(body.request_type())
    );
    command
}

/// Whether every key has found a typed place: no raw command, no raw setting, no unknown word.
fn is_typed(body: &CommandBody) -> bool {
    !matches!(body, CommandBody::Raw(_)) && !format!("{body:?}").contains("Other(")
}

#[test]
fn every_command_of_the_table_is_a_typed_value() {
    let table: BTreeSet<String> = commands("request").into_keys().collect();
    let typed: BTreeSet<String> = CommandBody::REQUEST_TYPES
        .iter()
        .map(|t| (*t).to_owned())
        .collect();
    let without: Vec<_> = table.difference(&typed).collect();
    assert!(
        without.is_empty(),
        "commands without a typed value: {without:?}"
    );
    let unknown: Vec<_> = typed.difference(&table).collect();
    assert!(
        unknown.is_empty(),
        "commands that Apple does not have: {unknown:?}"
    );
    assert!(table.len() >= 65, "the table has {} commands", table.len());
}

#[test]
fn with_every_key_a_command_is_as_the_table_says_and_any_other_is_not() {
    let mut changed = 0;
    for (name, node) in commands("request") {
        let both = |n| [Keys::All(n), Keys::Required(n)];
        for which in (0..node.alternatives()).flat_map(both) {
            let keys = sample(&node, which);
            let body = CommandBody::from_dictionary(with_type(&name, keys.clone()));
            assert!(is_typed(&body), "{name}: {body:?}");
            let sent = sent(&body);
            assert_eq!(sent, through_xml(&keys), "{name}");
            assert_eq!(faults(&node, &sent), [""; 0], "{name}");
            for wrong in wrong(&node, &sent) {
                let what = format!("{name}: {}", wrong.what);
                assert_ne!(faults(&node, &wrong.dictionary), [""; 0], "{what}");
                let read = CommandBody::from_dictionary(with_type(&name, wrong.dictionary.clone()));
                assert!(!is_typed(&read), "{what}: {read:?}");
                // What is not understood goes on as it came.
                assert_eq!(
                    read.to_dictionary(),
                    with_type(&name, wrong.dictionary),
                    "{what}"
                );
                changed += 1;
            }
        }
    }
    assert!(changed > 500, "only {changed} changes were tried");
}

/// What people and programs write as JSON is refused by name where it contradicts the table, and goes on where it may be newer.
#[test]
fn a_command_in_json_that_contradicts_the_table_is_refused_and_a_newer_one_is_not() {
    let (mut wrongs, mut cases) = (0, 0);
    let json = |name: &str, keys: &Dictionary| {
        CommandBody::of_json(name, &mdm_core::wire::json::of_dictionary(keys))
    };
    for (name, node) in commands("request") {
        for n in 0..node.alternatives() {
            let right = sample(&node, Keys::All(n));
            let body = json(&name, &right).unwrap();
            assert!(is_typed(&body), "{name}: {body:?}");
            for wrong in wrong(&node, &right) {
                let what = format!("{name}: {}", wrong.what);
                let (path, done) = wrong.what.rsplit_once(' ').unwrap();
                if done == "renamed" {
                    continue;
                }
                let Err(KeysError::Key(misfit)) = json(&name, &wrong.dictionary) else {
                    panic!("{what} is taken");
                };
                let key = path.rsplit('/').next().unwrap();
                assert!(
                    misfit.path.ends_with(key) || misfit.problem.contains(key),
                    "{what}: {misfit}"
                );
                wrongs += 1;
            }
            for key in right.keys() {
                let mut other = right.clone();
                let value = other.remove(key).unwrap();
                other.insert(key.to_uppercase(), value.clone());
                if key.to_uppercase() != *key {
                    let refused = json(&name, &other).unwrap_err().to_string();
                    assert!(refused.ends_with(&format!("is written {key}")), "{refused}");
                    cases += 1;
                }
                let mut newer = right.clone();
                newer.insert(format!("{key}2"), value);
                assert!(matches!(json(&name, &newer), Ok(CommandBody::Raw(_))));
            }
        }
        let refused = json(&name.to_lowercase(), &Dictionary::new()).unwrap_err();
        assert_eq!(refused.to_string(), format!("is written {name}"));
    }
    assert!(wrongs > 200 && cases > 100, "{wrongs} {cases}");
    let tomorrow = json("Tomorrow", &sample_of("DeviceLock")).unwrap();
    assert!(matches!(tomorrow, CommandBody::Raw(_)));
    assert_eq!(
        CommandBody::kind_of_key("DeviceLock", "PIN"),
        Some("string")
    );
    assert_eq!(CommandBody::kind_of_key("DeviceLock", "Pin"), None);
}

fn sample_of(name: &str) -> Dictionary {
    sample(&commands("request")[name], Keys::All(0))
}

/// An independent reader: Python's plistlib finds each command as we meant it, with every key.
#[test]
fn python_reads_every_command_with_every_key() {
    let script = "import sys,plistlib\n\
        for line in sys.stdin:\n\
        \x20   p=plistlib.loads(bytes.fromhex(line.strip()))['Command']\n\
        \x20   print(p['RequestType'], ' '.join(sorted(p)))\n";
    let spawned = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = spawned else {
        eprintln!("SKIPPED: python3 is not here");
        return;
    };
    let (mut input, mut expected) = (String::new(), String::new());
    for (name, node) in commands("request") {
        let keys = with_type(&name, sample(&node, Keys::All(0)));
        let sorted: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
        expected.push_str(&name);
        sorted
            .iter()
            .for_each(|key| expected.push_str(&format!(" {key}")));
        expected.push('\n');
        for byte in CommandBody::from_dictionary(keys).encode("c").iter() {
            input.push_str(&format!("{byte:02x}"));
        }
        input.push('\n');
    }
    let mut pipe = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn every_allowed_value_is_a_word_of_its_own() {
    let mut tried = 0;
    for (name, node) in commands("request") {
        let mut values = Vec::new();
        node.walk("", &mut |path, at| {
            for value in &at.values {
                if !value.contains("..") && at.kind != "dictionary" {
                    values.push((path.to_owned(), value.clone()));
                }
            }
        });
        for (path, value) in values {
            // The word that tells settings apart has one value for each.
            let keys = sample(&node, Keys::Value(&path, &value));
            let body = CommandBody::from_dictionary(with_type(&name, keys.clone()));
            assert!(is_typed(&body), "{name} {path} = {value}: {body:?}");
            assert_eq!(sent(&body), through_xml(&keys), "{name} {path} = {value}");
            tried += 1;
        }
    }
    assert!(tried > 150, "only {tried} values were tried");
}

#[test]
fn a_closed_set_has_a_type_of_its_own_in_which_a_newer_value_survives() {
    let mut tried = 0;
    for (name, node) in commands("request") {
        let mut closed = Vec::new();
        node.walk("", &mut |path, at| {
            let ranged = at.values.iter().any(|v| v.contains(".."));
            // By its item a setting is known; another item is another setting.
            if !at.values.is_empty() && !ranged && !path.ends_with("/Item") {
                closed.push((path.to_owned(), at.kind.clone()));
            }
        });
        for (path, kind) in closed {
            let newer = if kind == "integer" {
                "987654"
            } else {
                "net.example.newer"
            };
            let keys = with_type(&name, sample(&node, Keys::Value(&path, newer)));
            let body = CommandBody::from_dictionary(keys.clone());
            assert!(!matches!(body, CommandBody::Raw(_)), "{name} {path}");
            assert!(
                format!("{body:?}").contains("Other("),
                "{name} {path}: {body:?}"
            );
            assert_eq!(body.to_dictionary(), keys, "{name} {path}");
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} sets were tried");
}

/// Each command as its constructor makes it.
fn smallest() -> Vec<CommandBody> {
    let text = || Secret::from_text("secret");
    let data = || Secret::new([1, 2, 3]);
    let of = || vec!["net.example.app".to_owned()];
    let action = LightsOutRequest::new(
        LightsOutAction::PowerOn,
        "u",
        "mac.example.net",
        of(),
        of(),
        1,
    );
    vec![
        DeviceInformation::of([Query::Udid]).into(),
        InstalledApplicationList::default().into(),
        ManagedApplicationList::default().into(),
        InstallApplication::new(AppSource::StoreId(1)).into(),
        InstallApplication::new(AppSource::BundleId("a.b".into())).into(),
        InstallApplication::new(AppSource::Manifest("https://example.net".into())).into(),
        InstallEnterpriseApplication::new(PackageSource::Url("https://example.net".into())).into(),
        InstallEnterpriseApplication::new(PackageSource::Inline(Dictionary::new().into())).into(),
        RemoveApplication::new("a.b").into(),
        ApplyRedemptionCode::new("a.b", text()).into(),
        ValidateApplications::default().into(),
        ManagedApplicationAttributes::new(of()).into(),
        ManagedApplicationConfiguration::new(of()).into(),
        ManagedApplicationFeedback::new(of()).into(),
        InviteToProgram::new(ProgramId::VolumePurchase, "https://example.net").into(),
        ActiveNSExtensions::default().into(),
        InstallMedia::new(MediaType::Book).into(),
        RemoveMedia::new(MediaType::Book).into(),
        InstallProfile::new(data()).into(),
        RemoveProfile::new("net.example").into(),
        ProfileList::default().into(),
        CertificateList::default().into(),
        InstallProvisioningProfile::new([1, 2]).into(),
        RemoveProvisioningProfile::new("u").into(),
        ProvisioningProfileList::default().into(),
        Settings::new([Setting::DataRoaming(true)]).into(),
        Restrictions::default().into(),
        SetRecoveryLock::first(text()).into(),
        VerifyRecoveryLock::new(text()).into(),
        SetFirmwarePassword::new(text()).into(),
        VerifyFirmwarePassword::new(text()).into(),
        RotateFileVaultKey::of(RecoveryKeyType::Personal, FileVaultUnlock::default()).into(),
        ClearPasscode::new(data()).into(),
        DeviceLock::default().into(),
        EraseDevice::default().into(),
        EnableLostMode::default().into(),
        RestartDevice::default().into(),
        RefreshCellularPlans::new("https://example.net").into(),
        RequestMirroring::default().into(),
        LOMDeviceRequest::new([action]).into(),
        DeclarativeManagement::default().into(),
        AccountConfiguration::default().into(),
        SetAutoAdminPassword::new("guid", data()).into(),
        DeleteUser::default().into(),
        UnlockUserAccount::new("rk").into(),
        ScheduleOSUpdate::new([UpdateRequest::new(InstallAction::Default)]).into(),
        ScheduleOSUpdateScan::default().into(),
        CommandBody::ActivationLockBypassCode,
        CommandBody::ClearActivationLockBypassCode,
        CommandBody::SecurityInfo,
        CommandBody::DeviceConfigured,
        CommandBody::UserConfigured,
        CommandBody::UserList,
        CommandBody::LogOutUser,
        CommandBody::ShutDownDevice,
        CommandBody::DisableLostMode,
        CommandBody::PlayLostModeSound,
        CommandBody::DeviceLocation,
        CommandBody::ClearRestrictionsPassword,
        CommandBody::RequestUnlockToken,
        CommandBody::StopMirroring,
        CommandBody::DisableRemoteDesktop,
        CommandBody::EnableRemoteDesktop,
        CommandBody::AvailableOSUpdates,
        CommandBody::OSUpdateStatus,
        CommandBody::ManagedMediaList,
        CommandBody::NSExtensionMappings,
        CommandBody::ContentCachingInformation,
        CommandBody::LOMSetupRequest,
    ]
}

#[test]
fn a_constructor_asks_for_what_must_be_there_and_writes_nothing_else() {
    let table = commands("request");
    let mut seen = BTreeSet::new();
    for body in smallest() {
        let name = body.request_type().to_owned();
        let node = &table[&name];
        let sent = sent(&body);
        assert_eq!(faults(node, &sent), [""; 0], "{name}");
        let expected: Vec<BTreeSet<String>> = (0..node.alternatives())
            .map(|n| sample(node, Keys::Required(n)).keys().cloned().collect())
            .collect();
        let own: BTreeSet<String> = sent.keys().cloned().collect();
        assert!(
            expected.contains(&own),
            "{name} has {own:?}, not {expected:?}"
        );
        for wrong in wrong(node, &sent) {
            assert_ne!(
                faults(node, &wrong.dictionary),
                [""; 0],
                "{name}: {}",
                wrong.what
            );
        }
        assert_eq!(
            CommandBody::from_dictionary(with_type(&name, sent)),
            body,
            "{name}"
        );
        seen.insert(name);
    }
    assert_eq!(seen, table.into_keys().collect::<BTreeSet<_>>());
}

#[test]
fn what_apple_leaves_free_is_free_here_and_nothing_else() {
    let mut free = BTreeSet::new();
    for (name, node) in commands("request") {
        node.walk("", &mut |path, at| {
            if at.kind == "dictionary" && at.is_free() && !path.is_empty() {
                free.insert((name.clone(), path.to_owned()));
            }
        });
    }
    let listed: BTreeSet<_> = FREE_KEYS
        .map(|(c, p)| (c.to_owned(), p.to_owned()))
        .into_iter()
        .collect();
    assert_eq!(free, listed);
}

/// Words in the name of a key behind which a secret stands.
const TELLING: [&str; 11] = [
    "password",
    "passcode",
    "pin",
    "token",
    "profiledata",
    "redemptioncode",
    "bypasscode",
    "configuration",
    "recoverykey",
    "privatekey",
    "unlock",
];

fn is_telling(key: &str) -> bool {
    let key = key.to_lowercase();
    TELLING.iter().any(|word| match *word {
        "pin" => key == "pin",
        word => key.contains(word),
    })
}

#[test]
fn a_request_with_a_secret_says_so() {
    // By name they could be secrets, and are none.
    let harmless = [
        "BootstrapTokenAllowed",
        "PromptUserToAllowBootstrapTokenForAuthentication",
    ];
    let mut secrets = 0;
    for (name, node) in commands("request") {
        let mut paths = Vec::new();
        node.walk("", &mut |path, at| {
            let key = path.rsplit('/').next().unwrap_or_default().to_owned();
            if ["string", "data"].contains(&at.kind.as_str())
                || FREE_KEYS.contains(&(name.as_str(), path))
            {
                paths.push((path.to_owned(), key));
            }
        });
        let smallest =
            CommandBody::from_dictionary(with_type(&name, sample(&node, Keys::Required(0))));
        for (path, key) in paths {
            let keys = sample(&node, Keys::With(&path));
            let body = CommandBody::from_dictionary(with_type(&name, keys));
            assert!(!matches!(body, CommandBody::Raw(_)), "{name} {path}");
            let telling = is_telling(&key) && !harmless.contains(&key.as_str())
                || name == "InstallProfile"
                || (name.as_str(), path.as_str()) == ("InstallEnterpriseApplication", "Manifest");
            if telling {
                assert!(body.carries_secret(), "{name} {path}");
                secrets += 1;
            } else {
                assert!(
                    !body.carries_secret() || smallest.carries_secret(),
                    "{name} {path}"
                );
            }
        }
    }
    assert!(secrets >= 20, "only {secrets} secrets were found");
    assert!(
        CommandBody::from_dictionary(with_type("FutureCommand", Dictionary::new()))
            .carries_secret()
    );
}
