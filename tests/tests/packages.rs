//! A package from its upload to the Mac that fetches it: kept as a file, told by a manifest at an address that nobody can
//! guess, given out whole or by ranges, replaced and removed with its item.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use fixtures::recorded::{Described, StandIn};
use house::{House, described, report};
use mdmd::config::Duty;
use serde_json::{Value, json};
use tests::{Reply, Request};

async fn api(house: &House, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(method, path).by(&house.token);
    request.with(body).send(address).await
}

fn json_of(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

async fn upload(house: &House, more: &str, content: &[u8]) -> Reply {
    let path = format!("/api/v1/library/packages/upload?name=tool{more}");
    api(house, "POST", &path, content).await
}

/// The name of the file that an item has.
fn file_of(item: &Value) -> String {
    item["content"]["file"].as_str().unwrap().to_owned()
}

async fn fetch(house: &House, method: &str, path: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = Request::new(method, path);
    for (name, value) in headers {
        request.headers.push((name, (*value).to_owned()));
    }
    request.send(house.app.address(Duty::Enrol).unwrap()).await
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let mut lines = reply.head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// A package as far as anybody looks at it, with bytes no part of which is like another.
fn content(length: u32) -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).to_le_bytes();
    let words = (1..length / 4).flat_map(word);
    b"xar!".iter().copied().chain(words).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_given_out_whole_or_by_ranges_and_goes_with_its_item() {
    let house = House::open().await;
    // More than one part of the manifest.
    let bytes = content(11 * 1024 * 1024);
    let about = "&bundle_identifier=com.example.tool&title=Tool%20one&tags=lab,desk";
    let item = json_of(&upload(&house, about, &bytes).await);
    assert_eq!(item["tags"], json!(["desk", "lab"]));
    let file = file_of(&item);
    let path = house.path(&format!("package/{file}"));

    let whole = fetch(&house, "GET", &path, &[]).await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == bytes, "other bytes than were sent");
    let tag = header(&whole, "etag").unwrap().to_owned();
    assert_eq!(header(&whole, "accept-ranges"), Some("bytes"));
    let head = fetch(&house, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        header(&head, "content-length"),
        Some(&*bytes.len().to_string())
    );
    for (range, from, to) in [
        ("bytes=0-9", 0, 9),
        ("bytes=10485750-10485769", 10_485_750, 10_485_769),
        ("bytes=-5", bytes.len() - 5, bytes.len() - 1),
    ] {
        let piece = fetch(&house, "GET", &path, &[("Range", range)]).await;
        assert_eq!(piece.status, 206, "{range}");
        assert_eq!(piece.body, bytes[from..=to], "{range}");
        let told = format!("bytes {from}-{to}/{}", bytes.len());
        assert_eq!(header(&piece, "content-range"), Some(&*told), "{range}");
    }
    let beyond = fetch(&house, "GET", &path, &[("Range", "bytes=99999999-")]).await;
    assert_eq!(beyond.status, 416);
    // Somebody goes on where it stopped, if it is still the same file.
    for (if_range, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
        let headers = [("Range", "bytes=0-9"), ("If-Range", if_range)];
        let piece = fetch(&house, "GET", &path, &headers).await;
        assert_eq!(piece.status, status, "{if_range}");
    }

    // The manifest names the file and the hash of each part.
    let manifest = fetch(&house, "GET", &format!("{path}/manifest"), &[]).await;
    assert_eq!(manifest.status, 200);
    let manifest = manifest.text();
    assert!(manifest.contains(&format!(
        "{}</string>",
        house.url(&format!("package/{file}"))
    )));
    for part in bytes.chunks(10 * 1024 * 1024) {
        let hash = openssl::sha::sha256(part);
        let hash: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert!(manifest.contains(&hash), "{manifest}");
    }

    // The same bytes again are the same revision in the same file, and heal it.
    let kept = house.directory().join("packages");
    let folder = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap();
    std::fs::write(folder.path().join(&file), b"torn").unwrap();
    let again = json_of(&upload(&house, about, &bytes).await);
    assert_eq!(
        (&again["revision"], &again["unchanged"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(file_of(&again), file);
    assert!(fetch(&house, "GET", &path, &[]).await.body == bytes);

    // Guesses and paths get nothing.
    for name in [
        "0".repeat(64),
        "..".to_owned(),
        "%2e%2e%2fmdmd.sqlite".to_owned(),
        file[1..].to_owned(),
    ] {
        for end in ["", "/manifest"] {
            let path = house.path(&format!("package/{name}{end}"));
            let reply = fetch(&house, "GET", &path, &[]).await;
            assert!(
                (400..500).contains(&reply.status),
                "{path}: {}",
                reply.status
            );
        }
    }

    // A new revision is another file, and the old one is gone; so is the last one with the item.
    let newer = json_of(&upload(&house, about, b"xar!: the newer one").await);
    assert_eq!(newer["revision"], 2);
    let second = file_of(&newer);
    assert_ne!(second, file);
    assert_eq!(fetch(&house, "GET", &path, &[]).await.status, 400);
    let path = house.path(&format!("package/{second}"));
    assert_eq!(
        fetch(&house, "GET", &path, &[]).await.body,
        b"xar!: the newer one"
    );
    let files = || {
        let folders = std::fs::read_dir(&kept).unwrap().map(|f| f.unwrap().path());
        folders
            .map(|f| std::fs::read_dir(f).unwrap().count())
            .sum::<usize>()
    };
    assert_eq!(files(), 1);
    json_of(
        &api(
            &house,
            "POST",
            "/api/v1/library/remove",
            r#"{"name":"tool"}"#,
        )
        .await,
    );
    assert_eq!(fetch(&house, "GET", &path, &[]).await.status, 400);
    assert_eq!(files(), 0);

    // What is too large, empty or not a package is refused and leaves nothing.
    let path = format!("/api/v1/library/packages/upload?name=tool{about}");
    let mut large = Request::new("POST", &path).by(&house.token).with("x");
    large.announced = Some(17 * 1024 * 1024);
    let large = large.send(house.app.address(Duty::Admin).unwrap()).await;
    assert_eq!(large.status, 413, "{}", large.text());
    for none in [&b""[..], b"xar", b"root:x:0:0:root:/root:/bin/bash"] {
        let refused = upload(&house, about, none).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("xar!"), "{}", refused.text());
    }
    let nameless = upload(&house, "&bundle_identifier=", b"xar!").await;
    assert_eq!(nameless.status, 400, "{}", nameless.text());
    let own = json!({ "name": "other", "package": {
        "bundle_identifier": "a", "title": "a", "size": 1, "part_size": 1, "sha256s": ["0".repeat(64)], "file": file,
    } });
    let own = api(&house, "POST", "/api/v1/library/packages", own.to_string()).await;
    assert_eq!(own.status, 400, "{}", own.text());
    assert_eq!(files(), 0);
    house.close().await;
}

/// What the device is told, one command after the other, until one that is of this kind.
async fn told(house: &House, device: &StandIn, kind: &str) -> String {
    let mut ask = house.idle(device);
    for _ in 0..60 {
        let (status, said) = house.send(ask).await;
        assert_eq!(status, 200, "{said}");
        if said.contains(&format!("<string>{kind}</string>")) {
            return said;
        }
        let (_, rest) = said
            .split_once("<key>CommandUUID</key>")
            .expect("a command");
        let (_, rest) = rest.split_once("<string>").unwrap();
        let uuid = rest.split_once("</string>").unwrap().0;
        let more = format!("<key>CommandUUID</key><string>{uuid}</string>");
        let answer = report(house.serial, "Acknowledged", &more);
        ask = house.signed("command", device, answer);
    }
    panic!("{kind} never came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mac_is_told_the_address_of_the_manifest_and_finds_the_package_there() {
    let house = House::open().await;
    let who = Described {
        product: "Mac15,7".to_owned(),
        ..described(house.serial)
    };
    let enrol = house.url("enrol");
    let mac = house.stand_ins.enrol(&enrol, &who, 1).await.unwrap();
    for (message, more) in [
        (
            "Authenticate",
            "<key>ProductName</key><string>Mac15,7</string>",
        ),
        ("TokenUpdate", ""),
    ] {
        let body = house::check_in(house.serial, message, more);
        let (status, said) = house.send(house.signed("checkin", &mac, body)).await;
        assert_eq!(status, 200, "{message}: {said}");
    }
    let about = "&bundle_identifier=com.example.tool&bundle_version=1.2&managed=true&tags=lab";
    let bytes = content(4096);
    json_of(&upload(&house, about, &bytes).await);
    let tags = json!({ "serials": [house.serial], "add": ["lab"] }).to_string();
    json_of(&api(&house, "POST", "/api/v1/devices/tags", tags).await);
    while house.app.mdm.work(50).await.unwrap() > 0 {}
    let command = told(&house, &mac, "InstallEnterpriseApplication").await;
    assert!(command.contains("<key>InstallAsManaged</key>"), "{command}");
    let (_, url) = command
        .split_once("<key>ManifestURL</key>")
        .expect("an address");
    let (_, url) = url.split_once("<string>").unwrap();
    let url = url.split_once("</string>").unwrap().0;
    let path = &url[url.find("/mdm/").unwrap()..];
    let manifest = fetch(&house, "GET", path, &[]).await;
    let manifest = manifest.text();
    let (_, url) = manifest.split_once("<key>url</key>").expect("a file");
    let (_, url) = url.split_once("<string>").unwrap();
    let url = url.split_once("</string>").unwrap().0;
    assert!(url.starts_with("https://"), "{url}");
    let path = &url[url.find("/mdm/").unwrap()..];
    assert_eq!(fetch(&house, "GET", path, &[]).await.body, bytes);
    house.close().await;
}
