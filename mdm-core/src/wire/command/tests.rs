use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::wire::plist::read_dictionary;

fn every_body() -> Vec<CommandBody> {
    let app = InstallApplication::taking_over(AppSource::StoreId(900_000_001));
    let mut manifest = Dictionary::new();
    manifest.insert("items".into(), Value::Array(Vec::new()));
    let package = InstallEnterpriseApplication::taking_over(PackageSource::Inline(manifest.into()))
        .management_flags(ManagementFlags::RemoveWithProfile)
        .pinning_certificates([vec![1, 2, 3]]);
    let mut other = Dictionary::new();
    other.insert("Item".into(), "Wallpaper".into());
    let mut raw = Dictionary::new();
    raw.insert("RequestType".into(), "FutureCommand".into());
    let secret = || Secret::from_text("p & <q>");
    vec![
        CommandBody::DeviceInformation(DeviceInformation::for_set_up()),
        CommandBody::DeviceInformation(DeviceInformation::of([Query::Other("New".into())])),
        CommandBody::SecurityInfo,
        CommandBody::InstalledApplicationList(InstalledApplicationList::for_migration()),
        CommandBody::ManagedApplicationList(ManagedApplicationList::of(&["a.b".into()])),
        CommandBody::InstallApplication(app.clone()),
        CommandBody::InstallApplication(app.for_mac().configuration(Dictionary::new())),
        CommandBody::InstallApplication(InstallApplication::taking_over(AppSource::BundleId(
            "a.b".into(),
        ))),
        CommandBody::InstallApplication(InstallApplication::taking_over(AppSource::Manifest(
            "https://example.net/m.plist".into(),
        ))),
        CommandBody::InstallEnterpriseApplication(package),
        RemoveApplication::new("a.b").into(),
        CommandBody::install_profile(Secret::new([0, 1, 2, 255])),
        RemoveProfile::new("net.example").into(),
        ProfileList::default().managed_only(true).into(),
        CertificateList::default().managed_only(false).into(),
        CommandBody::DeviceConfigured,
        CommandBody::Settings(Settings::new([
            Setting::DeviceName("Kim\u{7}'s Mac".into()),
            Setting::HostName("kim".into()),
            Setting::organization_info(OrganizationInfo::new("Example").email("it@example.net")),
            Setting::activation_lock_allowed(false),
            Setting::Other(other.into()),
        ])),
        CommandBody::UserList,
        CommandBody::ActivationLockBypassCode,
        CommandBody::ClearActivationLockBypassCode,
        CommandBody::SetRecoveryLock(SetRecoveryLock::replacing(secret(), secret())),
        CommandBody::SetRecoveryLock(SetRecoveryLock::first(secret())),
        VerifyRecoveryLock::new(secret()).into(),
        CommandBody::RotateFileVaultKey(RotateFileVaultKey::new(secret(), vec![48, 0])),
        CommandBody::RestartDevice(RestartDevice {
            notify_user: Some(true),
            ..RestartDevice::default()
        }),
        DeclarativeManagement::default().tokens(*b"{}").into(),
        DeclarativeManagement::default().into(),
        AccountConfiguration::default()
            .skip_primary_account(true)
            .administrators([AdministratorAccount::with_password_hash(
                "admin",
                Secret::new([9, 9]),
            )])
            .into(),
        CommandBody::Raw(raw.into()),
    ]
}

#[test]
fn a_kept_app_is_asked_for_as_apple_wants_it() {
    let body = CommandBody::InstallApplication(InstallApplication::taking_over(
        AppSource::StoreId(900_000_001),
    ));
    let read = read_dictionary(&body.encode("keep-0007"), 4096).unwrap();
    assert_eq!(
        read.get("CommandUUID").unwrap().as_string(),
        Some("keep-0007")
    );
    let command = read.get("Command").unwrap().as_dictionary().unwrap();
    let number = |key: &str| command.get(key).and_then(Value::as_unsigned_integer);
    let text = |key: &str| command.get(key).and_then(Value::as_string);
    assert_eq!(text("RequestType"), Some("InstallApplication"));
    assert_eq!(number("iTunesStoreID"), Some(900_000_001));
    assert_eq!(text("ChangeManagementState"), Some("Managed"));
    assert_eq!(number("ManagementFlags"), Some(1));
    let options = command.get("Options").unwrap().as_dictionary().unwrap();
    assert_eq!(
        options.get("PurchaseMethod").unwrap().as_unsigned_integer(),
        Some(1)
    );
    assert!(!command.contains_key("InstallAsManaged"));
}

#[test]
fn no_debug_output_shows_a_secret() {
    for body in every_body() {
        let shown = format!("{body:?}");
        assert!(!shown.contains("p & <q>"), "{shown}");
    }
    let mut password = Dictionary::new();
    password.insert("AccountPassword".into(), "p & <q>".into());
    let app = InstallApplication::new(AppSource::StoreId(1)).configuration(password.clone());
    for hidden in [
        CommandBody::InstallApplication(app),
        CommandBody::Raw(password.clone().into()),
        Settings::new([Setting::Other(password.into())]).into(),
    ] {
        assert!(hidden.carries_secret());
        let shown = format!("{hidden:?}");
        assert!(!shown.contains("p & <q>"), "{shown}");
    }
    let lock = CommandBody::from(VerifyRecoveryLock::new(Secret::from_text("x")));
    assert!(lock.carries_secret());
    assert!(!CommandBody::DeviceConfigured.carries_secret());
}

/// An independent reader: Python's plistlib.
#[test]
fn python_reads_every_command_that_we_send() {
    let script = "import sys,plistlib\n\
        for line in sys.stdin:\n\
        \x20   p=plistlib.loads(bytes.fromhex(line.strip()))\n\
        \x20   print(p['CommandUUID'], p['Command']['RequestType'])\n";
    let spawned = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = spawned else {
        eprintln!("SKIPPED: python3 is not here");
        return;
    };
    let bodies = every_body();
    let mut input = String::new();
    let mut expected = String::new();
    for (n, body) in bodies.iter().enumerate() {
        let uuid = format!("c-{n}");
        for byte in body.encode(&uuid).iter() {
            input.push_str(&format!("{byte:02x}"));
        }
        input.push('\n');
        expected.push_str(&format!("{uuid} {}\n", body.request_type()));
    }
    python
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// Devices have seen these bytes; a change of them is a decision, never an accident.
#[test]
fn the_bytes_of_each_command_are_those_on_record() {
    let mut written = String::new();
    for (n, body) in every_body().iter().enumerate() {
        let bytes = body.encode(&format!("c-{n}"));
        written.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    if std::env::var_os("RECORD").is_some() {
        std::fs::write("src/wire/command/recorded.txt", &written).unwrap();
    }
    assert_eq!(written, include_str!("recorded.txt"));
}
