//! `mdmd login`, `mdmd logout`, `mdmd session …`: a person's own session, got with their browser at the organisation's provider and
//! kept in a file that only they can read. The session is never on a command line, and nowhere else on the disk.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mdm_core::secret::same;
use mdm_core::shell::is_obeyed;
use mdm_core::sign_in::{escape, loopback, pkce};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Client, Where, until};
use super::{Common, Done, Ended, Exit, Means as _, cell, table};

/// Longest request line that is read from a browser.
const LINE: usize = 8 * 1024;

/// Sign in.
#[derive(clap::Args, Debug)]
pub(crate) struct Login {
    /// Print the address instead of opening a browser.
    #[arg(long)]
    no_browser: bool,
    /// For how many seconds to wait for the browser.
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    wait: u64,
    #[command(flatten)]
    place: Where,
}

/// Sign out.
#[derive(clap::Args, Debug)]
pub(crate) struct Logout {
    #[command(flatten)]
    place: Where,
}

/// Sessions of people.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Session {
    /// Who one's own commands act as.
    Show {
        #[command(flatten)]
        place: Where,
    },
    /// List everybody who is signed in.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// End somebody's session.
    Revoke {
        /// Its number in `session list`.
        number: i64,
        #[command(flatten)]
        place: Where,
    },
}

/// Where the sessions of this person lie: one file for each installation.
///
/// # Errors
/// When neither `XDG_STATE_HOME` nor `HOME` says where.
pub(super) fn file_of(host: &str, port: u16) -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .filter(|p| !p.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))
        .context("HOME: says not where the session is to be kept")?;
    let name: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    Ok(base.join("mdmd").join(format!("session-{name}-{port}")))
}

/// The session that is kept for an installation, if there is one that nobody else can read.
pub(super) fn kept(host: &str, port: u16) -> anyhow::Result<Option<Zeroizing<String>>> {
    use std::os::unix::fs::MetadataExt as _;
    let path = file_of(host, port)?;
    let Ok(about) = std::fs::metadata(&path) else {
        return Ok(None);
    };
    anyhow::ensure!(
        about.mode() & 0o077 == 0,
        "{}: others can read it; sign in again with `mdmd login`",
        path.display()
    );
    let token = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(Some(Zeroizing::new(token)))
}

fn keep(host: &str, port: u16, token: &str) -> anyhow::Result<PathBuf> {
    let path = file_of(host, port)?;
    let directory = path.parent().unwrap_or(&path);
    let name = || path.display().to_string();
    std::fs::create_dir_all(directory).with_context(name)?;
    // Written beside it and moved there: half a session is none, and another's file is not written into.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .with_context(name)?;
    file.write_all(token.as_bytes()).with_context(name)?;
    file.sync_all().with_context(name)?;
    std::fs::rename(&beside, &path).with_context(name)?;
    Ok(path)
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) async fn login(common: &Common, login: &Login) -> Done {
    let (client, host, port) = Client::strange(&login.place, None).means(Exit::BadInput)?;
    let place = client.get("/sign-in/place").await?;
    let address = place["address"].as_str().unwrap_or_default();
    if !address.starts_with("https://") || address.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(anyhow!("the server names no https address to sign in at"))
            .means(Exit::Failure);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("127.0.0.1")?;
    let back = loopback::address(listener.local_addr()?.port());
    let (verifier, state) = (Zeroizing::new(random()?), random()?);
    let challenge = pkce::challenge(&verifier);
    let to = format!(
        "{address}?redirect={}&challenge={challenge}&state={state}",
        escape(&back)
    );
    eprintln!("Sign in with a browser at\n{to}");
    if !login.no_browser {
        open(&to);
    }
    let end = until(login.wait);
    let waiting = tokio::task::spawn_blocking(move || wait(&listener, &state, end));
    let code = waiting.await??;
    let answer = client
        .post(
            "/sign-in/session",
            &json!({ "code": code.as_str(), "verifier": verifier.as_str() }),
        )
        .await?;
    let token = Zeroizing::new(answer["token"].as_str().unwrap_or_default().to_owned());
    let file = keep(&host, port, &token).means(Exit::Precondition)?;
    let mut shown = answer;
    shown["token"] = Value::Null;
    shown["file"] = json!(file);
    super::print(common, &shown, |shown| {
        println!("name   {}", cell(&shown["name"]));
        println!("role   {}", cell(&shown["role"]));
        println!("until  {}", cell(&shown["expires"]));
        println!("kept   {}", cell(&shown["file"]));
    });
    Ok(())
}

/// Has the desktop open an address. That there is none is no failure: the address was printed.
fn open(address: &str) {
    let program = std::env::var_os("BROWSER").filter(|b| !b.is_empty());
    let program = program.unwrap_or_else(|| match cfg!(target_os = "macos") {
        true => "open".into(),
        false => "xdg-open".into(),
    });
    let _ = Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

/// What the browser brings back.
#[derive(Debug, PartialEq)]
enum Brought {
    /// A code that opens once.
    Code(Zeroizing<String>),
    /// Why there is none, as the server says it.
    Refused(String),
}

/// Waits for the browser to bring the code of this sign-in. Whatever else knocks is told that nothing is here.
fn wait(listener: &TcpListener, state: &str, end: Instant) -> Result<Zeroizing<String>, Ended> {
    listener.set_nonblocking(true)?;
    loop {
        if Instant::now() >= end {
            return Err(anyhow!("nobody signed in in time")).means(Exit::NeverEnded);
        }
        match listener.accept() {
            Ok((stream, _)) => match receive(stream, state) {
                Some(Brought::Code(code)) => return Ok(code),
                Some(Brought::Refused(why)) => {
                    return Err(anyhow!("nobody was signed in: {why}")).means(Exit::Precondition);
                }
                None => {}
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(mut stream: TcpStream, state: &str) -> Option<Brought> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut head = Zeroizing::new(Vec::with_capacity(LINE));
    let mut part = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < LINE {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => head.extend_from_slice(&part[..length]),
        }
    }
    let brought = brought(&head, state);
    let (status, text) = match &brought {
        Some(Brought::Code(_)) => (
            "200 OK",
            "You are signed in. You may close this window.".to_owned(),
        ),
        Some(Brought::Refused(why)) => (
            "200 OK",
            format!("You are not signed in: {why}. You may close this window."),
        ),
        None => ("404 Not Found", "Nothing is here.".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // That the browser does not read it is its own affair.
    let _ = stream.write_all(answer.as_bytes());
    brought
}

/// What a request for our path with our state brings.
fn brought(head: &[u8], state: &str) -> Option<Brought> {
    let line = head.split(|b| *b == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix(loopback::PATH)?.strip_prefix('?')?;
    let named = |name: &str| {
        let mut found = query.split('&').filter_map(|p| p.split_once('='));
        found.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let shown = named("state")?;
    if !same(shown, state) {
        return None;
    }
    if let Some(code) = named("code") {
        let fits = !code.is_empty()
            && code
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        return fits.then(|| Brought::Code(Zeroizing::new(code.to_owned())));
    }
    named("error")?;
    let why = crate::http::parameter(Some(query), "error_description");
    // It goes to a terminal and into a page: words, and of them not more than a sentence.
    let why: String = why
        .unwrap_or_default()
        .chars()
        .filter(|c| !is_obeyed(*c) && !"<>&".contains(*c))
        .take(300)
        .collect();
    Some(Brought::Refused(match why.is_empty() {
        true => "the server refused it".to_owned(),
        false => why,
    }))
}

pub(crate) async fn logout(common: &Common, logout: &Logout) -> Done {
    let (_, host, port) = Client::strange(&logout.place, None).means(Exit::BadInput)?;
    let path = file_of(&host, port).means(Exit::Precondition)?;
    let Some(token) = kept(&host, port).means(Exit::Precondition)? else {
        return Err(anyhow!("nobody is signed in at {host}:{port}")).means(Exit::Precondition);
    };
    // The session that is kept here, whatever token the environment has.
    let (client, ..) = Client::strange(&logout.place, Some(token)).means(Exit::BadInput)?;
    let ended = client.post("/sign-in/session/end", &json!({})).await;
    // Also when the server is away: whoever signs out does not want it on this disk.
    std::fs::remove_file(&path)
        .with_context(|| path.display().to_string())
        .means(Exit::Precondition)?;
    let mut answer = ended?;
    answer["forgotten"] = json!(path);
    super::print(common, &answer, |_| println!("signed out"));
    Ok(())
}

pub(crate) async fn session(common: &Common, command: &Session) -> Done {
    match command {
        Session::Show { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/session").await?;
            super::print(common, &answer, |answer| {
                println!("name          {}", cell(&answer["name"]));
                println!("role          {}", cell(&answer["role"]));
                println!("organisation  {}", cell(&answer["organisation_name"]));
                println!("until         {}", cell(&answer["until"]));
            });
        }
        Session::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/sessions", "sessions").await?;
            super::print(common, &answer, |answer| {
                let columns = [
                    ("NUMBER", "id"),
                    ("NAME", "name"),
                    ("ACCOUNT", "account"),
                    ("FOR", "for"),
                    ("SINCE", "created"),
                    ("UNTIL", "expires"),
                ];
                table(&answer["sessions"], &columns);
            });
        }
        Session::Revoke { number, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/sessions/{number}/revoke");
            let answer = client
                .act(&path, &json!({}), "its holder must sign in again.")
                .await?;
            super::print(common, &answer, |answer| {
                println!(
                    "{} signed out since {}",
                    cell(&answer["name"]),
                    cell(&answer["revoked"])
                );
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_path_with_our_state_brings_a_code() {
        let state = "s".repeat(43);
        let check = |line: &str, want: Option<&str>| {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
            let code = match brought(head.as_bytes(), &state) {
                Some(Brought::Code(code)) => Some(code),
                _ => None,
            };
            assert_eq!(code.as_ref().map(|c| c.as_str()), want, "{line}");
        };
        check(
            &format!("GET /mdmd-sign-in?code=abc&state={state}"),
            Some("abc"),
        );
        check(
            &format!("GET /mdmd-sign-in?state={state}&code=a-_1"),
            Some("a-_1"),
        );
        check(
            &format!("GET /mdmd-sign-in?code=abc&state={}", "t".repeat(43)),
            None,
        );
        check("GET /mdmd-sign-in?code=abc&state=", None);
        check("GET /mdmd-sign-in?code=abc", None);
        check(&format!("GET /mdmd-sign-in?code=&state={state}"), None);
        check(&format!("GET /favicon.ico?code=abc&state={state}"), None);
        check(&format!("POST /mdmd-sign-in?code=abc&state={state}"), None);
        check("", None);
    }

    #[test]
    fn a_refusal_with_our_state_ends_the_wait_with_its_reason() {
        let state = "s".repeat(43);
        let check = |query: &str, want: Option<&str>| {
            let head = format!("GET /mdmd-sign-in?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
            let why = match brought(head.as_bytes(), &state) {
                Some(Brought::Refused(why)) => Some(why),
                _ => None,
            };
            assert_eq!(why.as_deref(), want, "{query}");
        };
        let said = "error=access_denied&error_description=no+role%0A%1b%5b2J%3Cb%3E";
        check(&format!("{said}&state={state}"), Some("no role[2Jb"));
        check(
            &format!("error=access_denied&state={state}"),
            Some("the server refused it"),
        );
        // Whatever another page on this machine sends ends nothing.
        check(&format!("{said}&state={}", "t".repeat(43)), None);
        check(said, None);
    }
}
