//! The sign-in in a real headless Chromium: somebody types name and password at the world's provider, sees who they are, signs out;
//! a command line gets its session the same way; a device in Setup Assistant and one that an account brings get their profile. Skips aloud where there is no Chromium.

mod people;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::recorded::{Described, Outcome, Visitor};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::ids::{DeviceId, OrganisationCode, Serial, ServerId};
use mdm_core::store::Batch;
use people::{Street, ada};
use serde_json::{Value, json};

/// How long a page may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser that is spoken to over two pipes, in messages that end with a zero byte.
///
/// <https://chromedevtools.github.io/devtools-protocol/>
struct Chromium {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    read: Vec<u8>,
    asked: u64,
    session: String,
    /// What happened meanwhile.
    events: Vec<Value>,
    profile: tempfile::TempDir,
}

fn program() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
        });
    if found.is_none() {
        assert!(
            std::env::var_os("MDMD_TEST_REQUIRE_CHROMIUM").is_none(),
            "there is no Chromium, and the tests must not skip"
        );
        eprintln!("SKIPPED: there is no Chromium on this machine");
    }
    found
}

impl Chromium {
    fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from descriptor 3 and writes to 4.
        let script = format!(
            "exec {program} --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --ignore-certificate-errors \
             --no-first-run --remote-debugging-pipe --user-data-dir={} about:blank 3<&0 4>&1 1>/dev/null 2>/dev/null",
            profile.path().display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut browser = Self {
            child,
            to,
            from,
            read: Vec::new(),
            asked: 0,
            session: String::new(),
            events: Vec::new(),
            profile,
        };
        let made = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &target);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// Asks for something and waits for its answer; events are kept.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let message = self.message();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == 0) {
                let rest = self.read.split_off(end + 1);
                let message = std::mem::replace(&mut self.read, rest);
                return serde_json::from_slice(&message[..end]).unwrap();
            }
            let mut part = [0; 64 * 1024];
            let length = self.from.read(&mut part).unwrap();
            assert!(length > 0, "the browser has ended");
            self.read.extend_from_slice(&part[..length]);
        }
    }

    /// What an expression gives in the page.
    fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        self.ask("Runtime.evaluate", &asked)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(expression) != json!(true) {
            if Instant::now() >= end {
                let page = self.value("location.href + ' ' + document.documentElement.outerHTML");
                panic!("{expression}: {page}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The first address that the browser was sent to that begins like this. Its own it does not know how to open.
    fn sent_to(&mut self, scheme: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.events.iter().find_map(|event| {
                let headers = event["params"]["headers"].as_object()?;
                let mut all = headers.iter();
                let (_, to) = all.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
                to.as_str()
                    .filter(|to| to.starts_with(scheme))
                    .map(str::to_owned)
            });
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < end, "nobody sent it to {scheme}");
            self.value("1");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has files kept that are no pages, and answers where.
    fn keep_downloads(&mut self) -> PathBuf {
        let directory = self.profile.path().join("downloads");
        std::fs::create_dir(&directory).unwrap();
        let how = json!({ "behavior": "allow", "downloadPath": directory });
        self.ask("Browser.setDownloadBehavior", &how);
        directory
    }

    fn open(&mut self, url: &str) {
        self.ask("Page.navigate", &json!({ "url": url }));
    }

    /// Types name and password at the provider.
    fn type_in(&mut self, name: &str, password: &str) {
        self.until("document.readyState === 'complete' && document.querySelector('#go') !== null");
        self.value(&format!(
            "document.querySelector('#name').value = '{name}'; document.querySelector('#password').value = '{password}'; \
             document.querySelector('#go').click(); true"
        ));
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector('{selector}').textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Cookies with everything about them.
    fn cookies(&mut self) -> Vec<Value> {
        let all = self.ask("Network.getCookies", &json!({}));
        all["cookies"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn somebody_signs_in_with_a_browser_and_signs_out() {
    let Some(program) = program() else {
        return;
    };
    let street = Street::open().await;
    street.provider.know("ada", "analytical", ada());
    let page = street.path("sign-in");
    tokio::task::block_in_place(|| {
        let mut browser = Chromium::start(program);
        browser.open(&page);
        browser.type_in("ada", "wrong");
        browser.until("document.querySelector('#said')?.textContent === 'That is not right.'");
        browser.type_in("ada", "analytical");
        browser.until(
            "document.readyState === 'complete' && document.querySelector('#role') !== null",
        );
        assert_eq!(browser.text("#name"), "Ada & Co");
        assert_eq!(browser.text("#role"), "admin");
        assert_eq!(browser.text("#organisation"), "Street");
        let cookies = browser.cookies();
        let session = cookies
            .iter()
            .find(|c| c["name"] == "__Host-mdmd-session")
            .unwrap_or_else(|| panic!("{cookies:?}"));
        assert_eq!(session["httpOnly"], true);
        assert_eq!(session["secure"], true);
        assert_eq!(session["sameSite"], "Lax");
        // Scripts see none of them.
        assert_eq!(browser.value("document.cookie"), "");
        browser.value("document.querySelector('#out').click(); true");
        browser.until("document.title === 'Signed out'");
        let left = browser.cookies();
        assert!(
            !left.iter().any(|c| c["name"] == "__Host-mdmd-session"),
            "{left:?}"
        );
    });
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_command_line_is_signed_in_by_a_browser() {
    let Some(program) = program() else {
        return;
    };
    let street = Street::open().await;
    street.provider.know("ada", "analytical", ada());
    let home = tempfile::tempdir().unwrap();
    let environment = [("HOME", home.path().to_str().unwrap())];
    let url = street.admin_url();
    let place = ["--url", url.as_str(), "--ca", street.ca.as_str()];
    let done = street
        .login_by(&environment, &place, async |address: String| {
            tokio::task::block_in_place(|| {
                let mut browser = Chromium::start(program);
                browser.open(&address);
                browser.type_in("ada", "analytical");
                browser.until("document.body?.textContent.startsWith('You are signed in.')");
            });
        })
        .await;
    assert!(done.status.success(), "{}", people::text(&done.stderr));
    let made: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(made["name"], "Ada & Co");
    assert!(Path::new(made["file"].as_str().unwrap()).exists());
    street.close().await;
}

fn described() -> Described {
    Described {
        serial: "BROWSE1".to_owned(),
        udid: "UDID-BROWSE1".to_owned(),
        product: "iPhone17,2".to_owned(),
        os_version: "26.1".to_owned(),
        build: "23B85".to_owned(),
    }
}

async fn set(street: &Street, body: Value) {
    let body = body.to_string();
    let done = street
        .api("POST", "/api/v1/sign-in", &street.admin, &body)
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn somebody_brings_a_device_with_their_account_in_a_window() {
    let Some(program) = program() else {
        return;
    };
    let street = Street::open().await;
    street.with_devices().await;
    street.provider.know("ada", "analytical", ada());
    set(
        &street,
        json!({ "account": ["byod"], "domains": ["world.test"] }),
    )
    .await;
    let mut device = Visitor::new(&street.stand_ins, described(), true, 1);
    let place = street.path("service-discovery");
    let servers = device.discover(&place, "ada@world.test").await;
    let (_, base) = servers.unwrap().remove(0);
    let Outcome::SignIn(url) = device.ask(&base).await.unwrap() else {
        panic!("nobody had to sign in");
    };
    let window = device.window(&url, "ada@world.test");
    let to = tokio::task::block_in_place(|| {
        let mut browser = Chromium::start(program);
        browser.ask("Network.enable", &json!({}));
        browser.open(&window);
        browser.type_in("ada", "analytical");
        browser.sent_to("apple-remotemanagement-user-login:")
    });
    device.take(&to).unwrap();
    let Outcome::Profile(profile) = device.ask(&base).await.unwrap() else {
        panic!("no profile");
    };
    let done = device.install(&profile, Some(("BYOD", "ada@world.test")));
    assert_eq!(done.await.unwrap(), Outcome::Done(Vec::new()));
    assert!(matches!(device.idle().await.unwrap(), Outcome::Done(_)));
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn somebody_signs_in_in_the_web_view_of_setup_assistant() {
    let Some(program) = program() else {
        return;
    };
    let street = Street::open().await;
    street.with_devices().await;
    street.provider.know("ada", "analytical", ada());
    set(&street, json!({ "web_view": "required" })).await;
    let code = OrganisationCode::parse(&street.code).unwrap();
    let org = street.app.mdm.organisation(&code).await.unwrap();
    let serial = Serial::parse("BROWSE1").unwrap();
    let mut row = Device::new(org.organisation().id, DeviceId(1), serial);
    row.record = Some(DeviceRecord::new(ServerId(1), street.now()));
    let mut batch = Batch::new();
    batch.put(row);
    street.app.mdm.store().commit(batch).await.unwrap();
    let mut device = Visitor::new(&street.stand_ins, described(), false, 1);
    let info = device.device_info_header().unwrap();
    let page = street.path("sign-in/device");
    let profile = tokio::task::block_in_place(|| {
        let mut browser = Chromium::start(program);
        let downloads = browser.keep_downloads();
        browser.ask("Network.enable", &json!({}));
        let header = json!({ "headers": { "x-apple-aspen-deviceinfo": info } });
        browser.ask("Network.setExtraHTTPHeaders", &header);
        browser.open(&page);
        browser.type_in("ada", "analytical");
        let end = Instant::now() + PATIENCE;
        loop {
            // A file that is still being written has another name.
            let all = std::fs::read_dir(&downloads).unwrap();
            let whole = all.filter_map(Result::ok).find(|file| {
                let name = file.file_name();
                let name = name.to_string_lossy().into_owned();
                !name.ends_with(".crdownload") && !name.starts_with('.')
            });
            if let Some(file) = whole {
                break std::fs::read(file.path()).unwrap();
            }
            assert!(Instant::now() < end, "no profile came");
            browser.value("1");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let done = device.install(&profile, None).await.unwrap();
    assert_eq!(done, Outcome::Done(Vec::new()));
    street.close().await;
}
