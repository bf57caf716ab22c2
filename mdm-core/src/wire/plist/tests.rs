use proptest::prelude::*;

use super::*;

fn wrapped(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \
         \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">{body}</plist>"
    )
}

fn check(body: &str, expected: PlistError) {
    let result = read(body.as_bytes(), 1 << 20);
    assert_eq!(
        result.err(),
        Some(expected),
        "{}",
        &body[..body.len().min(200)]
    );
}

#[test]
fn an_ordinary_property_list_is_read() {
    let text =
        wrapped("<dict><key>A</key><string>x &amp; &#233;</string><key>B</key><true/></dict>");
    let dictionary = read_dictionary(text.as_bytes(), 1024).unwrap();
    assert_eq!(dictionary.get("A").unwrap().as_string(), Some("x & é"));
    assert_eq!(dictionary.get("B").unwrap().as_boolean(), Some(true));
}

#[test]
fn comments_and_quotes_do_not_hide_anything() {
    let text =
        wrapped("<!-- </dict> & <dict> --><dict a='>' b=\"/>\"><key>A</key><array /></dict>");
    assert!(read_dictionary(text.as_bytes(), 1024).is_ok());
    check(&wrapped("<!--><dict></dict>-->"), PlistError::Malformed);
    check(&wrapped("<!---><dict></dict>-->"), PlistError::Malformed);
    check(&wrapped("<?><dict></dict>?>"), PlistError::Malformed);
}

#[test]
fn each_refusal_has_its_own_reason() {
    check("", PlistError::Empty);
    check(" \n\t", PlistError::Empty);
    check("hello", PlistError::NotXml);
    check("{ a = b; }", PlistError::Ascii);
    check("(1, 2)", PlistError::Ascii);
    check("// !$*UTF8*$!\n{ a = b; }", PlistError::Ascii);
    check("<0fbd77 1c2735ae>", PlistError::Ascii);
    check("bplist00\u{1}\u{2}", PlistError::Binary);
    check(
        &wrapped("<dict><key>a</key><string>\0</string></dict>"),
        PlistError::NotText,
    );
    check(
        &wrapped("<dict><key>a</key><string>&x;</string></dict>"),
        PlistError::Entity,
    );
    check(
        &wrapped("<dict><key>a</key><string><![CDATA[b]]></string></dict>"),
        PlistError::Cdata,
    );
    check(
        "<!DOCTYPE plist [<!ENTITY x \"y\">]><plist><dict/></plist>",
        PlistError::InternalSubset,
    );
    check(
        "<!ENTITY x \"y\"><plist><dict/></plist>",
        PlistError::Entity,
    );
    check(&wrapped("<dict>"), PlistError::Malformed);
    check(&wrapped("<dict></array>"), PlistError::Malformed);
    check(
        &wrapped("<dict><key>a</key><integer>x</integer></dict>"),
        PlistError::Invalid,
    );
    check(
        &wrapped("<dict><key>a</key><date>yesterday</date></dict>"),
        PlistError::Invalid,
    );
    assert_eq!(
        read(&[0xff, 0xfe, b'<', 0], 9).err(),
        Some(PlistError::NotText)
    );
    assert_eq!(
        read(wrapped("<dict/>").as_bytes(), 20).err(),
        Some(PlistError::TooLarge { limit: 20 })
    );
    assert_eq!(
        read_dictionary(wrapped("<array/>").as_bytes(), 1024).err(),
        Some(PlistError::NotADictionary)
    );
}

#[test]
fn depth_is_bounded_whatever_the_elements_are() {
    let nested = |open: &str, close: &str, n: usize| wrapped(&(open.repeat(n) + &close.repeat(n)));
    assert!(
        read(
            nested("<array>", "</array>", MAX_DEPTH - 1).as_bytes(),
            1 << 20
        )
        .is_ok()
    );
    for (open, close) in [
        ("<array>", "</array>"),
        ("<dict><key>a</key>", "</dict>"),
        ("<array >", "</array >"),
        ("<foo>", "</foo>"),
        ("<array a='/>'>", "</array>"),
    ] {
        check(
            &nested(open, close, MAX_DEPTH),
            PlistError::TooDeep { limit: MAX_DEPTH },
        );
        check(
            &nested(open, close, 5_000),
            PlistError::TooDeep { limit: MAX_DEPTH },
        );
    }
    // Closing elements in comments do not count.
    let sly = "<array><!-- </array> -->".repeat(5_000);
    check(&wrapped(&sly), PlistError::TooDeep { limit: MAX_DEPTH });
    // Wide is not deep.
    let wide = format!("<array>{}</array>", "<array/><dict></dict>".repeat(5_000));
    assert!(read(wrapped(&wide).as_bytes(), 1 << 20).is_ok());
}

#[test]
fn other_spellings_of_a_date_mean_the_same_moment() {
    for spelt in [
        "2026-11-20T07:15:30Z",
        "2026-11-20T08:15:30+01:00",
        "2026-11-20T08:15:30+0100",
        "2026-11-20 08:15:30 +0100",
        "2026-11-20 07:15:30",
        "2026-11-20T07:15:30.250Z",
        " 2026-11-20T02:15:30-05 ",
    ] {
        let text = wrapped(&format!("<array><date>{spelt}</date></array>"));
        let value = read(text.as_bytes(), 1024).unwrap_or_else(|e| panic!("{spelt}: {e}"));
        let date = whole_seconds(value.as_array().unwrap()[0].as_date().unwrap());
        assert_eq!(date.to_xml_format(), "2026-11-20T07:15:30Z", "{spelt}");
    }
}

#[test]
fn what_is_written_has_whole_seconds_and_no_control_characters() {
    let date = plist::Date::from_xml_format("2026-11-20T07:15:30.987Z").unwrap();
    let early = plist::Date::from_xml_format("1969-12-31T23:59:58.5Z").unwrap();
    let mut dictionary = Dictionary::new();
    dictionary.insert("Date\u{1}".into(), Value::Date(date));
    dictionary.insert("Early".into(), Value::Date(early));
    dictionary.insert("Name".into(), "a\0b\u{8}c\td<&>".into());
    let written = write_dictionary(&dictionary);
    let read = read_dictionary(&written, 4096).unwrap();
    assert_eq!(read.get("Name").unwrap().as_string(), Some("abc\td<&>"));
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("<date>2026-11-20T07:15:30Z</date>"), "{text}");
    assert!(text.contains("<date>1969-12-31T23:59:58Z</date>"), "{text}");
    assert!(text.contains("<key>Date</key>"), "{text}");
}

/// What may stand between two elements without being one.
fn noise() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "\n\t",
        "<!-- </array></array></array> -->",
        "<!-- <array> -- > -->",
        "<!-- & -->",
        "<?pi </array> ?>",
        "<array/>",
        "<array />",
        "<dict a='</array>'></dict>",
        "<string>&lt;/array&gt;</string>",
        "<string a=\"'>\"></string>",
        "<true/>",
    ])
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Dictionary(inner) => 1 + inner.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

proptest! {
    /// The guard sees the same elements as the parser, whatever stands between them.
    #[test]
    fn the_guard_counts_what_the_parser_sees(
        levels in 50_usize..80,
        noises in prop::collection::vec(noise(), 160),
    ) {
        let mut body = String::new();
        let (before, after) = noises.split_at(80);
        for noise in &before[..levels] {
            body.push_str(noise);
            body.push_str("<array>");
        }
        for noise in &after[..levels] {
            body.push_str(noise);
            body.push_str("</array>");
        }
        // Noise before the first element is a value of its own beside it.
        let text = wrapped(&format!("<array>{body}</array>"));
        // Eighty levels do the parser no harm.
        let parsed = Value::from_reader_xml(text.as_bytes());
        let guarded = read(text.as_bytes(), 1 << 20);
        let Ok(value) = parsed else {
            return Err(TestCaseError::fail("the parser refuses"));
        };
        let too_deep = Err(PlistError::TooDeep { limit: MAX_DEPTH });
        // Around the arrays stands `plist`, and in the innermost one perhaps a text.
        match depth(&value) {
            ..=62 => prop_assert_eq!(guarded, Ok(value)),
            63 => prop_assert!(guarded == too_deep || guarded == Ok(value)),
            _ => prop_assert_eq!(guarded, too_deep),
        }
    }

    /// Nothing that the guard lets through is deeper than it says, and nothing panics.
    #[test]
    fn pieces_in_any_order_do_no_harm(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<array>", "</array>", "<dict>", "</dict>", "<key>a</key>", "<!--", "-->", "<!-->",
                "<?", "?>", "<![CDATA[", "]]>", "<!DOCTYPE plist", "[", "]", ">", "'", "\"",
                "<array a='", "/>", "<string>", "</string>", "&amp;", "&x;", "&", "<", "</", "\n",
                "<date>", "</date>", "2026-11-20", "<plist>", "</plist>", "\0", "<data>", "AA==",
            ]),
            0..60,
        ),
        deep in any::<bool>(),
    ) {
        let text = pieces.concat();
        let text = if deep { format!("{}{text}", "<array>".repeat(MAX_DEPTH)) } else { text };
        if let Ok(value) = read(text.as_bytes(), 1 << 20) {
            prop_assert!(depth(&value) <= MAX_DEPTH);
        }
    }

    /// What we write, we and everybody else can read.
    #[test]
    fn any_text_survives_being_written(text in any::<String>()) {
        let mut dictionary = Dictionary::new();
        dictionary.insert("A".into(), text.as_str().into());
        let read = read_dictionary(&write_dictionary(&dictionary), 1 << 20).unwrap();
        // Line ends are XML's to change.
        let plain = |t: &str| t.replace("\r\n", "\n").replace('\r', "\n");
        let back = read.get("A").and_then(Value::as_string).unwrap_or_default();
        prop_assert_eq!(plain(back), plain(&printable(&text)));
    }
}
