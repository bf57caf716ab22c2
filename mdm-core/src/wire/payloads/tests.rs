use uuid::Uuid;

use super::*;
use crate::secret::Secret;

/// Devices have seen these bytes; a change of them is a decision, never an accident.
#[test]
fn the_bytes_of_an_enrolment_and_an_escrow_profile_are_those_on_record() {
    let uuid = Uuid::from_u128(7);
    let mut profile = ConfigurationProfile::new("net.example.enrol", uuid, "Example");
    profile.organization = Some("Example".into());
    profile.description = Some("Everything".into());
    profile.scope = Some(PayloadScope::System);
    profile.removal_disallowed = true;
    let root = CertificatePayload::root(vec![1, 2]);
    let pkcs1 = CertificatePayload::pkcs1(vec![3, 4]);
    let open = WifiPayload::new("Open", None);
    let closed = WifiPayload::new("Closed", Some(Secret::from_text("p & q")));
    let mut scep = ScepPayload::new("https://x/scep", Secret::from_text("once"), "session-1");
    scep.ca_fingerprint = Some(vec![5; 32]);
    let mdm = MdmPayload::new(uuid, "com.apple.mgmt.x", "https://x/c", "https://x/i");
    let mut escrow = EscrowPayload::new("Example", uuid);
    escrow.device_key = Some("C02".into());
    profile.payloads = vec![
        root.payload(uuid, "a").named("Trust"),
        pkcs1.payload(uuid, "b"),
        open.payload(uuid, "c"),
        closed.payload(uuid, "d"),
        scep.payload(uuid, "e"),
        mdm.payload(uuid, "f"),
        escrow.payload(uuid, "g"),
    ];
    let written = profile.encode();
    if std::env::var_os("RECORD").is_some() {
        std::fs::write("src/wire/payloads/recorded.txt", &*written).unwrap();
    }
    assert_eq!(&*written, include_bytes!("recorded.txt"));
}
