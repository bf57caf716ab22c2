//! Our payloads against the table of Apple's keys in `fixtures/schema`, in the same way as the commands.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::schema_table::{self, Entity, Node, faults, sample, through_xml, wrong};
use mdm_core::secret::Secret;
use mdm_core::wire::keys::Keys;
use mdm_core::wire::payloads::*;
use mdm_core::wire::plist::read_dictionary;
use mdm_core::wire::requests::Manifest;
use plist::{Dictionary, Value};
use uuid::Uuid;

fn table() -> BTreeMap<Entity, Node> {
    schema_table::tables(&["profiles.tsv", "other.tsv", "newer.tsv"])
}

fn payload(name: &str) -> Node {
    let entity = ("profile".to_owned(), name.to_owned(), "request".to_owned());
    table()
        .remove(&entity)
        .unwrap_or_else(|| panic!("the table has no {name}"))
}

fn is_typed<T: Debug>(read: Option<&T>) -> bool {
    read.is_some_and(|read| !format!("{read:?}").contains("Other("))
}

/// With every key, with those that must be there, with each allowed value; and each change is seen, by the table and by us.
fn conforms<T: Keys + Debug>(name: &str, node: &Node) {
    for keys in [schema_table::Keys::All(0), schema_table::Keys::Required(0)] {
        let keys = sample(node, keys);
        let read = T::from_dictionary(&keys);
        assert!(is_typed(read.as_ref()), "{name}: {read:?} of {keys:?}");
        assert_eq!(
            through_xml(&read.unwrap().to_dictionary()),
            through_xml(&keys),
            "{name}"
        );
        assert_eq!(faults(node, &keys), [""; 0], "{name}");
        for wrong in wrong(node, &keys) {
            let what = format!("{name}: {}", wrong.what);
            assert_ne!(faults(node, &wrong.dictionary), [""; 0], "{what}");
            assert!(
                !is_typed(T::from_dictionary(&wrong.dictionary).as_ref()),
                "{what}"
            );
        }
    }
    let mut values = Vec::new();
    node.walk("", &mut |path, at| {
        let words = at.values.iter().filter(|v| !v.contains(".."));
        values.extend(words.map(|v| (path.to_owned(), v.clone())));
    });
    for (path, value) in values {
        let keys = sample(node, schema_table::Keys::Value(&path, &value));
        assert!(
            is_typed(T::from_dictionary(&keys).as_ref()),
            "{name} {path} = {value}"
        );
    }
}

#[test]
fn every_payload_that_we_type_is_as_the_table_says() {
    let check = |name: &str, conforms: fn(&str, &Node)| conforms(name, &payload(name));
    check("com.apple.mdm", conforms::<MdmPayload>);
    check("com.apple.wifi.managed", conforms::<WifiPayload>);
    check("com.apple.security.acme", conforms::<AcmePayload>);
    check("com.apple.security.root", conforms::<Certificate>);
    check("com.apple.security.pkcs1", conforms::<Certificate>);
    check("com.apple.security.pem", conforms::<Certificate>);
    check("com.apple.security.pkcs12", conforms::<Pkcs12Payload>);
    check(
        "com.apple.security.FDERecoveryKeyEscrow",
        conforms::<EscrowPayload>,
    );
    check("com.apple.MCX.FileVault2", conforms::<FileVaultPayload>);
    check(
        "com.apple.MCX(FileVault2)",
        conforms::<FileVaultOptionsPayload>,
    );
    check(
        "com.apple.TCC.configuration-profile-policy",
        conforms::<PrivacyPayload>,
    );
    check(
        "com.apple.system-extension-policy",
        conforms::<SystemExtensionPayload>,
    );
    check(
        "com.apple.syspolicy.kernel-extension-policy",
        conforms::<KernelExtensionPayload>,
    );
    check(
        "com.apple.notificationsettings",
        conforms::<NotificationsPayload>,
    );
    check(
        "com.apple.servicemanagement",
        conforms::<ServiceManagementPayload>,
    );
    check(
        "com.apple.loginitems.managed",
        conforms::<LoginItemsPayload>,
    );
    check(
        "com.apple.mobiledevice.passwordpolicy",
        conforms::<PasscodePayload>,
    );
    check("com.apple.extensiblesso", conforms::<SsoPayload>);
    // Its keys are one level deeper.
    let scep = payload("com.apple.security.scep").keys.remove(0);
    assert_eq!(scep.0, "PayloadContent");
    conforms::<ScepPayload>("com.apple.security.scep", &scep.1);
    // The kinds of connections that are not typed.
    let mut vpn = payload("com.apple.vpn.managed");
    let untyped = [
        "VendorConfig",
        "IPv4",
        "PPP",
        "IPSec",
        "AlwaysOn",
        "TransparentProxy",
    ];
    let before = vpn.keys.len();
    vpn.keys.retain(|(key, _)| !untyped.contains(&key.as_str()));
    assert_eq!(vpn.keys.len(), before - untyped.len());
    conforms::<VpnPayload>("com.apple.vpn.managed", &vpn);
}

#[test]
fn a_manifest_is_as_the_table_says() {
    let entity = (
        "other".to_owned(),
        "manifesturl".to_owned(),
        "request".to_owned(),
    );
    conforms::<Manifest>("manifest", &table()[&entity]);
}

/// One of each, as it is made for a device.
fn profile() -> ConfigurationProfile {
    let uuid = Uuid::from_u128(7);
    let secret = || Secret::from_text("secret");
    let subject = || vec![vec![vec!["CN".to_owned(), "session".to_owned()]]];
    let mut profile = ConfigurationProfile::new("net.example", uuid, "Example");
    profile.organization = Some("Example".into());
    profile.description = Some("One of each".into());
    profile.scope = Some(PayloadScope::System);
    profile.removal_disallowed = true;
    let code = CodeIdentity::new(
        "net.example.app",
        CodeIdentityType::BundleId,
        "anchor apple",
        true,
    )
    .authorization(Authorization::Allow);
    let services = PrivacyServices::default().system_policy_all_files([code]);
    let ikev2 = Ikev2::new(
        "vpn.example.net",
        "a",
        "b",
        Ikev2Authentication::Certificate,
    );
    profile.payloads = vec![
        CertificatePayload::root(vec![1]).payload(uuid, "1"),
        CertificatePayload::pkcs1(vec![2]).payload(uuid, "2"),
        CertificatePayload::of(CertificateKind::Pem, Certificate::new(*b"PEM")).payload(uuid, "3"),
        Pkcs12Payload::new(secret())
            .password(secret())
            .payload(uuid, "4"),
        WifiPayload::new("Net", Some(secret())).payload(uuid, "5"),
        ScepPayload::new("https://x", secret(), "session").payload(uuid, "6"),
        AcmePayload::new("https://x", secret(), AcmeKeyType::Ec, 384, true, subject())
            .payload(uuid, "7"),
        MdmPayload::new(uuid, "com.apple.mgmt.x", "https://x/c", "https://x/i").payload(uuid, "8"),
        EscrowPayload::new("Example", uuid).payload(uuid, "9"),
        FileVaultPayload::new(FileVaultSwitch::On)
            .defer(true)
            .max_bypass_attempts(0)
            .payload(uuid, "10"),
        FileVaultOptionsPayload::default()
            .dont_allow_disable(true)
            .payload(uuid, "11"),
        PrivacyPayload::new(services).payload(uuid, "12"),
        SystemExtensionPayload::default()
            .allowed_team_identifiers(["TEAM".to_owned()])
            .payload(uuid, "13"),
        KernelExtensionPayload::default()
            .allow_user_overrides(false)
            .payload(uuid, "14"),
        NotificationsPayload::new([NotificationSettings::new("a.b").enabled(true)])
            .payload(uuid, "15"),
        ServiceManagementPayload::new([ServiceRule::new(ServiceRuleType::TeamIdentifier, "TEAM")])
            .payload(uuid, "16"),
        LoginItemsPayload::new([LoginItem::new("/Applications/A.app")]).payload(uuid, "17"),
        PasscodePayload::default().min_length(8).payload(uuid, "18"),
        SsoPayload::new("a.b.sso", SsoType::Redirect).payload(uuid, "19"),
        VpnPayload::new("Example", VpnType::Ikev2)
            .ikev2(ikev2)
            .payload(uuid, "20")
            .named("VPN"),
    ];
    profile
}

#[test]
fn a_profile_with_one_of_each_is_as_the_table_says() {
    let whole = read_dictionary(&profile().encode(), 1 << 20).unwrap();
    assert_eq!(faults(&payload("TopLevel"), &whole), [""; 0]);
    let common = payload("CommonPayloadKeys");
    let payloads = whole
        .get("PayloadContent")
        .and_then(Value::as_array)
        .unwrap();
    assert_eq!(payloads.len(), 20);
    for one in payloads {
        let one = one.as_dictionary().unwrap();
        let (shared, own): (Dictionary, Dictionary) = one
            .clone()
            .into_iter()
            .partition(|(key, _)| common.keys.iter().any(|(known, _)| known == key));
        let kind = shared
            .get("PayloadType")
            .and_then(Value::as_string)
            .unwrap();
        assert_eq!(faults(&common, &shared), [""; 0], "{kind}");
        let name = if kind == "com.apple.MCX" {
            "com.apple.MCX(FileVault2)"
        } else {
            kind
        };
        let node = payload(name);
        assert_eq!(faults(&node, &own), [""; 0], "{kind}");
        for wrong in wrong(&node, &own) {
            assert_ne!(
                faults(&node, &wrong.dictionary),
                [""; 0],
                "{kind}: {}",
                wrong.what
            );
        }
    }
}

#[test]
fn a_payload_with_a_password_says_so_and_shows_none() {
    let open = WifiPayload::new("Net", None);
    let closed = WifiPayload::new("Net", Some(Secret::from_text("open sesame")));
    assert!(!open.carries_secret());
    assert!(closed.carries_secret());
    assert!(!format!("{closed:?} {:?}", profile()).contains("sesame"));
    assert!(!format!("{:?}", profile()).contains("secret"));
}
