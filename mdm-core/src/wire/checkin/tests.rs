use super::*;
use crate::wire::plist::PlistError;

fn plist(body: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>{body}</dict></plist>")
        .into_bytes()
}

fn parse(body: &str) -> Result<CheckIn, WireError> {
    CheckIn::parse(&plist(body))
}

const AUTHENTICATE: &str = "<key>MessageType</key><string>Authenticate</string>\
    <key>Topic</key><string>com.apple.mgmt.External.1</string>\
    <key>UDID</key><string>0f3A-11b2</string><key>SerialNumber</key><string>C02X</string>\
    <key>FutureKey</key><dict><key>A</key><integer>7</integer></dict>";

const TOKEN_UPDATE: &str = "<key>Token</key><data>q83vEg==</data>\
    <key>MessageType</key><string>TokenUpdate</string>\
    <key>Topic</key><string>com.apple.mgmt.External.1</string>\
    <key>PushMagic</key><string>51C2</string>\
    <key>UDID</key><string>0f3A-11b2</string>";

#[test]
fn authenticate_keeps_what_it_does_not_know() {
    let CheckIn::Authenticate(message) = parse(AUTHENTICATE).unwrap() else {
        panic!("another message");
    };
    assert_eq!(message.serial.as_deref(), Some("C02X"));
    assert_eq!(message.envelope.channel.key().as_str(), "0f3A-11b2");
    let future = message.envelope.redacted().get("FutureKey").unwrap();
    let inner = future.as_dictionary().unwrap().get("A").unwrap();
    assert_eq!(inner.as_unsigned_integer(), Some(7));
    let stored = read_dictionary(&message.envelope.redacted_xml(), 4096).unwrap();
    assert!(stored.contains_key("FutureKey"));
}

#[test]
fn a_token_update_gives_its_unlock_token_to_nobody_but_the_vault() {
    let body = format!(
        "{TOKEN_UPDATE}<key>UnlockToken</key><data>c2VjcmV0LXVubG9jaw==</data>\
         <key>AwaitingConfiguration</key><true/>"
    );
    let message = parse(&body).unwrap();
    let CheckIn::TokenUpdate(update) = &message else {
        panic!("another message");
    };
    assert_eq!(update.token, [0xab, 0xcd, 0xef, 0x12]);
    assert_eq!(update.awaiting_configuration, Some(true));
    assert!(
        update
            .unlock_token
            .as_ref()
            .unwrap()
            .matches(b"secret-unlock")
    );
    let shown = format!("{message:?}");
    let stored = String::from_utf8(message.envelope().redacted_xml()).unwrap();
    for text in [shown, stored] {
        assert!(
            !text.contains("secret-unlock") && !text.contains("c2VjcmV0"),
            "{text}"
        );
        assert!(text.contains("UnlockToken"), "{text}");
    }
}

#[test]
fn an_absent_awaiting_key_is_not_false() {
    let CheckIn::TokenUpdate(update) = parse(TOKEN_UPDATE).unwrap() else {
        panic!("another message");
    };
    assert_eq!(update.awaiting_configuration, None);
    assert_eq!(update.unlock_token, None);
}

#[test]
fn channels_are_told_apart() {
    let check = |keys: &str, kind: ChannelKind, key: &str, device: &str| {
        let body = format!("<key>MessageType</key><string>CheckOut</string>{keys}");
        let message = parse(&body).unwrap();
        let channel = message.channel();
        assert_eq!(channel.kind, kind);
        assert_eq!(channel.key().as_str(), key);
        assert_eq!(channel.device_key().as_str(), device);
        assert_eq!(channel.is_device(), key == device);
    };
    let s = |key: &str, value: &str| format!("<key>{key}</key><string>{value}</string>");
    check(&s("UDID", "A"), ChannelKind::Device, "A", "A");
    check(
        &(s("UDID", "A") + &s("UserID", "B")),
        ChannelKind::User,
        "A:B",
        "A",
    );
    check(
        &(s("UDID", "A") + &s("UserID", "")),
        ChannelKind::Device,
        "A",
        "A",
    );
    check(
        &(s("UDID", "A")
            + &s("UserID", "ffffffff-ffff-ffff-ffff-ffffffffffff")
            + &s("UserShortName", "kim@example.net")),
        ChannelKind::SharedIpadUser,
        "A:kim@example.net",
        "A",
    );
    check(
        &s("EnrollmentID", "E"),
        ChannelKind::UserEnrolment,
        "E",
        "E",
    );
    check(
        &(s("EnrollmentID", "E") + &s("EnrollmentUserID", "U")),
        ChannelKind::UserEnrolmentUser,
        "E:U",
        "E",
    );
    check(
        &(s("UDID", "A") + &s("EnrollmentID", "E")),
        ChannelKind::Device,
        "A",
        "A",
    );
}

#[test]
fn every_message_is_read() {
    let s = |key: &str, value: &str| format!("<key>{key}</key><string>{value}</string>");
    for name in NAMES {
        let body = s("MessageType", name)
            + &s("UDID", "A")
            + &s("Topic", "t")
            + &s("PushMagic", "m")
            + "<key>Token</key><data>AAAA</data>"
            + &s("Endpoint", "tokens")
            + &s("TokenServiceType", "com.apple.maid");
        let message = parse(&body).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(message.name(), name);
        assert_eq!(message.channel().device, "A");
    }
}

#[test]
fn bootstrap_tokens_are_lifted_and_answered() {
    let body = "<key>MessageType</key><string>SetBootstrapToken</string>\
        <key>UDID</key><string>A</string><key>BootstrapToken</key><data>dG9rZW4=</data>";
    let CheckIn::SetBootstrapToken(message) = parse(body).unwrap() else {
        panic!("another message");
    };
    let token = message.token.unwrap();
    assert!(token.matches(b"token"));
    let answer = read_dictionary(&bootstrap_token_answer(Some(&token)), 4096).unwrap();
    assert_eq!(
        answer.get("BootstrapToken").unwrap().as_data(),
        Some(&b"token"[..])
    );
    assert!(
        read_dictionary(&bootstrap_token_answer(None), 4096)
            .unwrap()
            .is_empty()
    );
    let empty = parse(&body.replace("dG9rZW4=", "")).unwrap();
    assert!(matches!(empty, CheckIn::SetBootstrapToken(m) if m.token.is_none()));
}

#[test]
fn refusals_name_message_and_field_and_no_content() {
    let check = |body: &str, expected: &str| {
        let error = parse(body).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let without = |key: &str, of: &str| {
        let from = of.find(&format!("<key>{key}</key>")).unwrap();
        let end = of[from + 5..]
            .find("<key>")
            .map_or(of.len(), |n| from + 5 + n);
        format!("{}{}", &of[..from], &of[end..])
    };
    check("", "check-in: MessageType is missing");
    check(
        "<key>MessageType</key><true/>",
        "check-in: MessageType is not of type string",
    );
    check(
        "<key>MessageType</key><string>Hello</string>",
        "check-in: unknown MessageType",
    );
    check(
        &without("UDID", AUTHENTICATE),
        "Authenticate: UDID is missing",
    );
    check(
        &without("Topic", AUTHENTICATE),
        "Authenticate: Topic is missing",
    );
    check(
        &without("PushMagic", TOKEN_UPDATE),
        "TokenUpdate: PushMagic is missing",
    );
    check(
        &without("Token", TOKEN_UPDATE),
        "TokenUpdate: Token is missing",
    );
    check(
        &TOKEN_UPDATE.replace("q83vEg==", ""),
        "TokenUpdate: Token is empty",
    );
    check(
        &TOKEN_UPDATE.replace("51C2", " "),
        "TokenUpdate: PushMagic is empty",
    );
    check(
        &TOKEN_UPDATE.replace("<data>q83vEg==</data>", "<string>q83vEg==</string>"),
        "TokenUpdate: Token is not of type data",
    );
    check(
        &format!("{TOKEN_UPDATE}<key>UnlockToken</key><string>hush</string>"),
        "TokenUpdate: UnlockToken is not of type data",
    );
    check(
        &AUTHENTICATE.replace("0f3A-11b2", &"a".repeat(600)),
        "Authenticate: UDID is longer than 512 bytes",
    );
    assert_eq!(
        CheckIn::parse(b"bplist00").unwrap_err(),
        WireError::Plist(PlistError::Binary)
    );
}

/// An independent reader: Python's plistlib.
#[test]
fn python_reads_every_answer() {
    let token = Secret::new([0, 1, 254, 255]);
    let script = "import sys,plistlib;print(plistlib.loads(sys.stdin.buffer.read()))";
    for (answer, expected) in [
        (
            bootstrap_token_answer(Some(&token)),
            "{'BootstrapToken': b'\\x00\\x01\\xfe\\xff'}",
        ),
        (bootstrap_token_answer(None), "{}"),
        (digest_challenge(""), "{'DigestChallenge': ''}"),
        (
            token_answer(&token),
            "{'TokenData': b'\\x00\\x01\\xfe\\xff'}",
        ),
    ] {
        if let Some(read) = crate::testing::tool("python3", &["-c", script], &answer) {
            assert_eq!(String::from_utf8(read.unwrap()).unwrap().trim(), expected);
        }
    }
}

#[test]
fn the_parameters_of_a_token_are_read_and_their_types_asked_for() {
    let get = |parameters: &str| {
        let body = format!(
            "<key>MessageType</key><string>GetToken</string><key>UDID</key><string>U</string>\
             <key>TokenServiceType</key><string>com.apple.watch.pairing</string>{parameters}"
        );
        parse(&body).map(|message| match message {
            CheckIn::GetToken(message) => message.parameters,
            other => panic!("{}", other.name()),
        })
    };
    assert_eq!(get("").unwrap(), None);
    let whole = "<key>TokenParameters</key><dict><key>SecurityToken</key><string>S</string>\
                 <key>PhoneUDID</key><string>P</string><key>WatchUDID</key><string>W</string></dict>";
    let read = get(whole).unwrap().unwrap();
    assert_eq!(read.security_token, Some(Secret::from_text("S")));
    assert_eq!(read.phone_udid.as_deref(), Some("P"));
    assert_eq!(read.watch_udid.as_deref(), Some("W"));
    let none = get("<key>TokenParameters</key><dict/>").unwrap().unwrap();
    assert_eq!(none.security_token, None);
    assert_eq!((none.phone_udid, none.watch_udid), (None, None));
    for (wrong, field) in [
        ("<string>S</string>", "TokenParameters"),
        (
            "<dict><key>PhoneUDID</key><integer>1</integer></dict>",
            "PhoneUDID",
        ),
        (
            "<dict><key>SecurityToken</key><data>AAEC</data></dict>",
            "SecurityToken",
        ),
    ] {
        let refused = get(&format!("<key>TokenParameters</key>{wrong}")).unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }
}
