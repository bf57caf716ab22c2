use super::*;
use crate::ca::Ca;
use crate::clock::Timestamp;
use crate::testing::{Files, NOW, tool};
use crate::wire::plist::read_dictionary;

fn profile() -> EnrolmentProfile {
    let mut profile = EnrolmentProfile::new(
        "net.example.mdm.enrol".into(),
        Uuid::from_u128(7),
        "Example & Sons".into(),
        IdentitySource::Scep {
            url: "https://enrol.example.net/scep".into(),
            name: None,
            challenge: Some(Secret::from_text("one-time-value")),
            authority: Some(vec![1, 2, 3]),
        },
        "session-9f2c".into(),
        "com.apple.mgmt.External.1".into(),
        "https://mdm.example.net/command".into(),
        "https://mdm.example.net/checkin".into(),
    );
    profile.anchors.push(vec![0x30, 0]);
    profile.wifi = Some(WifiPayload::new(
        "Office",
        Some(Secret::from_text("wifi-password")),
    ));
    profile
}

#[test]
fn parts_come_in_order_and_refer_to_each_other() {
    let encoded = profile().build().encode();
    let read = read_dictionary(&encoded, 1 << 20).unwrap();
    let parts = read.get("PayloadContent").unwrap().as_array().unwrap();
    let part = |n: usize, key: &str| parts[n].as_dictionary().unwrap().get(key).unwrap();
    let types: Vec<_> = (0..parts.len())
        .map(|n| part(n, "PayloadType").as_string().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "com.apple.security.root",
            "com.apple.wifi.managed",
            "com.apple.security.scep",
            "com.apple.mdm"
        ]
    );
    assert_eq!(part(3, "IdentityCertificateUUID"), part(2, "PayloadUUID"));
    assert_eq!(part(3, "AccessRights").as_unsigned_integer(), Some(8191));
    assert_eq!(part(3, "SignMessage").as_boolean(), Some(true));
    assert_eq!(part(3, "CheckOutWhenRemoved").as_boolean(), Some(true));
    let scep = part(2, "PayloadContent").as_dictionary().unwrap();
    assert_eq!(
        scep.get("Challenge").unwrap().as_string(),
        Some("one-time-value")
    );
    assert_eq!(
        scep.get("CAFingerprint").unwrap().as_data().unwrap().len(),
        32
    );
    assert_eq!(&*profile().build().encode(), &*encoded, "the same twice");
    let shown = format!("{:?} {:?}", profile(), profile().build());
    assert!(!shown.contains("one-time-value") && !shown.contains("wifi-password"));
}

#[test]
fn openssl_verifies_and_python_reads_what_is_signed() {
    let now = Timestamp::from_millis(NOW * 1000);
    let ca = Ca::create("Example", now).unwrap();
    let (certificate, key) = ca
        .issue_profile_signer(9, "Example Profiles", now, 365)
        .unwrap();
    let xml = profile().build().encode();
    let chain = [ca.certificate().to_vec()];
    let signed = sign(&xml, &key, &certificate, &chain).unwrap();
    let files = Files::new();
    let root = X509::from_der(ca.certificate()).unwrap().to_pem().unwrap();
    let root = files.put("root.pem", &root);
    let at = NOW.to_string();
    let verify = [
        "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", &root, "-attime", &at,
        "-purpose", "any",
    ];
    let Some(content) = tool("openssl", &verify, &signed) else {
        return;
    };
    let content = content.unwrap();
    assert_eq!(content, *xml);
    let script = "import sys,plistlib;p=plistlib.loads(sys.stdin.buffer.read());\
        print(p['PayloadOrganization'],len(p['PayloadContent']),p['PayloadVersion'])";
    if let Some(read) = tool("python3", &["-c", script], &content) {
        assert_eq!(
            String::from_utf8(read.unwrap()).unwrap(),
            "Example & Sons 4 1\n"
        );
    }
    assert_eq!(
        sign(&xml, &Secret::new([1]), &certificate, &chain),
        Err(SignError)
    );
    let other = ca.private_key().unwrap();
    assert_eq!(sign(&xml, &other, &certificate, &chain), Err(SignError));
}

#[test]
fn a_platform_is_told_what_it_knows() {
    let check = |platform, expected: &[&str]| {
        let mut profile = profile();
        profile.platform = platform;
        let read = read_dictionary(&profile.build().encode(), 1 << 20).unwrap();
        let parts = read.get("PayloadContent").unwrap().as_array().unwrap();
        let mdm = parts.last().unwrap().as_dictionary().unwrap();
        let told = mdm.get("ServerCapabilities").unwrap().as_array().unwrap();
        let told: Vec<_> = told.iter().map(|c| c.as_string().unwrap()).collect();
        assert_eq!(told, expected, "{platform:?}");
    };
    let (users, bootstrap, token) = (
        "com.apple.mdm.per-user-connections",
        "com.apple.mdm.bootstraptoken",
        "com.apple.mdm.token",
    );
    check(Some(Platform::Ios), &[token]);
    check(Some(Platform::Ipados), &[users, token]);
    check(Some(Platform::Macos), &[users, bootstrap, token]);
    check(None, &[users, bootstrap, token]);
}
