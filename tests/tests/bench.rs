//! The benchmark itself, small: every story is played on our own server, on either database, in either mode, over TLS, and against
//! another server that speaks the protocol; what it prints for programs is read, the machine's own figures too. None is judged here.
//!
//! PostgreSQL's part skips aloud without a server, unless one is required.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use mdm_core::store::testing::TestPostgres;
use serde_json::Value;
use tests::chaos::SERVE;

const DEVICES: usize = 12;
const PRESENT: usize = 30;

fn main() -> ExitCode {
    // The benchmark starts this program as its server.
    tests::program("bench", async {
        ours().await?;
        another()
    })
}

/// The benchmark, with what all runs have in common.
fn bench() -> Command {
    let devices = DEVICES.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["--devices", &devices, "--connections", "4", "--many", "8"]);
    command.args(["--seconds", "1", "--rounds", "1", "--json"]);
    command
}

/// What it printed, when it went well.
fn read(output: &Output) -> anyhow::Result<Vec<Value>> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("what is printed is no JSON")
}

/// The stories of a run by their names; each was played.
fn stories(run: &Value) -> anyhow::Result<BTreeMap<String, Value>> {
    let all = run["stories"].as_array().context("stories")?;
    let mut found = BTreeMap::new();
    for story in all {
        let name = story["story"].as_str().context("a name")?.to_owned();
        let above = |what: &str| story[what].as_f64().is_some_and(|figure| figure > 0.0);
        ensure!(above("units") && above("per_second"), "{name}: {story}");
        // Queueing is one request for everybody.
        ensure!(name == "enqueue" || above("p99_ms"), "{name}: {story}");
        found.insert(name, story.clone());
    }
    Ok(found)
}

async fn ours() -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path")?;
    let own = |words: &[&str]| -> anyhow::Result<Value> {
        let mut command = bench();
        command.args(["--server", program]).args(words);
        // For the server: it is this program.
        let mut runs = read(&command.env(SERVE, "1").output()?)?;
        ensure!(runs.len() == 1, "{} runs", runs.len());
        runs.pop().context("a run")
    };
    let present = PRESENT.to_string();
    let words = [
        "--database",
        "sqlite",
        "--present",
        &present,
        "--no-machine",
    ];
    let run = own(&words)?;
    let all = stories(&run)?;
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    let every = [
        "day", "ddm", "ddm-sync", "enqueue", "enrol", "idle", "offered", "round", "token",
    ];
    ensure!(names == every, "{names:?}");
    for (name, story) in &all {
        let counted = story["statements"].as_f64();
        // Its polls are counted in another story.
        let right = name == "offered" || counted.is_some_and(|each| each > 0.0);
        ensure!(right, "{name}: {counted:?} statements");
    }
    let units = |name: &str| {
        all[name]["units"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
    };
    for name in ["enrol", "enqueue", "round", "ddm-sync"] {
        ensure!(units(name) == Some(DEVICES), "{name}: {:?}", units(name));
    }
    // A half of them was called, and each of those is one of six units.
    let of_a_day = units("day");
    ensure!(of_a_day == Some(6 * (DEVICES / 2)), "day: {of_a_day:?}");
    ensure!(units("idle") >= Some(DEVICES), "not everybody has polled");
    let crowds = run["present"].as_array().context("crowds")?;
    let crowds: Vec<Option<u64>> = crowds.iter().map(|c| c["present"].as_u64()).collect();
    let wanted = [Some(0), Some(u64::try_from(PRESENT)?)];
    ensure!(crowds == wanted, "{crowds:?}");
    ensure!(
        run["bytes_per_device"].as_u64() > Some(0),
        "no bytes of a device"
    );
    ensure!(
        run["started"]["rows"].as_u64() > Some(0),
        "{}",
        run["started"]
    );
    if cfg!(target_os = "linux") {
        ensure!(run["memory_bytes"].as_u64() > Some(0), "no memory");
    }

    // Over TLS, beside what the machine does of its own.
    let only = "enrol,idle,round";
    let words = [
        "--database",
        "sqlite",
        "--tls",
        "--no-statements",
        "--only",
        only,
    ];
    compared(&own(&words)?, only)?;

    let Some(server) = TestPostgres::find().await else {
        return Ok(());
    };
    // The benchmark starts its own.
    server.clean().await;
    let only = "enrol,idle,enqueue,round,token,day";
    let run = own(&[
        "--database",
        "postgres",
        "--only",
        only,
        "--mode",
        "header",
        "--key",
        "p256",
    ])?;
    ensure!(run["database"] == "postgres", "{}", run["database"]);
    compared(&run, only)?;
    let all = stories(&run)?;
    ensure!(
        all.values().all(|story| story["statements"].is_f64()),
        "uncounted"
    );
    // Without `--present` there is another installation beside it, without its enrolled devices.
    ensure!(
        run["bytes_per_device"].as_u64() > Some(0),
        "no bytes of a device"
    );
    Ok(())
}

/// These stories were played, and those that the field's pattern has too stand beside it and beside what the machine does.
fn compared(run: &Value, only: &str) -> anyhow::Result<()> {
    let machine = run["machine"].as_object().context("a machine")?;
    ensure!(machine.len() == 6, "{machine:?}");
    for (what, figure) in machine {
        ensure!(figure.as_f64() > Some(0.0), "{what}: {figure}");
    }
    let all = stories(run)?;
    ensure!(all.len() == only.split(',').count(), "{:?}", all.keys());
    for (name, story) in &all {
        let patterned = ["enrol", "idle", "round", "enqueue"].contains(&name.as_str());
        for (ratio, wanted) in [("to_machine", true), ("to_pattern", patterned)] {
            let found = story[ratio].as_f64().is_some_and(|figure| figure > 0.0);
            ensure!(found == wanted, "{name}: {ratio} is {}", story[ratio]);
        }
    }
    Ok(())
}

/// What another server has been told: how often, by the message or the status.
#[derive(Default)]
struct Told {
    times: BTreeMap<String, usize>,
    /// The command that every device is to get once, and who has it still to get.
    uuid: String,
    waiting: Vec<String>,
}

/// A server that takes everybody for enrolled and hands everybody the command that was queued last.
fn stand_in(told: &Arc<Mutex<Told>>) -> anyhow::Result<u16> {
    let door = TcpListener::bind("127.0.0.1:0")?;
    let port = door.local_addr()?.port();
    let told = Arc::clone(told);
    std::thread::spawn(move || {
        for line in door.incoming().flatten() {
            let told = Arc::clone(&told);
            // A connection that breaks is the benchmark's to report.
            std::thread::spawn(move || drop(serve(&line, &told)));
        }
    });
    Ok(port)
}

fn serve(line: &TcpStream, told: &Mutex<Told>) -> std::io::Result<()> {
    let mut from = BufReader::new(line);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if from.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut closes = false;
        loop {
            let mut field = String::new();
            from.read_line(&mut field)?;
            let field = field.trim().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(told) = field.strip_prefix("content-length:") {
                length = told.trim().parse().unwrap_or_default();
            }
            closes |= field == "connection: close";
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let answer = decide(&first, &String::from_utf8_lossy(&body), told);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut to = line;
        to.write_all((head + &answer).as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}

fn decide(first: &str, body: &str, told: &Mutex<Told>) -> String {
    let Ok(mut told) = told.lock() else {
        return String::new();
    };
    let path = first.split(' ').nth(1).unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/v1/enqueue/") {
        let ids = rest.split('?').next().unwrap_or_default();
        told.waiting = ids.split(',').map(str::to_owned).collect();
        told.uuid = string(body, "CommandUUID");
        *told.times.entry("enqueue".to_owned()).or_default() += 1;
        return "{}".to_owned();
    }
    let (message, status) = (string(body, "MessageType"), string(body, "Status"));
    let said = format!("{message}{status}");
    *told.times.entry(said).or_default() += 1;
    if message == "DeclarativeManagement" {
        return "{}".to_owned();
    }
    let udid = string(body, "UDID");
    match told.waiting.iter().position(|waits| *waits == udid) {
        Some(at) if status == "Idle" => {
            told.waiting.swap_remove(at);
            format!(
                "<plist><dict><key>CommandUUID</key><string>{}</string></dict></plist>",
                told.uuid
            )
        }
        _ => String::new(),
    }
}

/// The string behind a key of a property list, or nothing.
fn string(body: &str, key: &str) -> String {
    let behind = body.split_once(&format!("<key>{key}</key>"));
    let value = behind.and_then(|(_, rest)| rest.split_once("<string>"));
    let value = value.and_then(|(_, rest)| rest.split_once("</string>"));
    value.map_or_else(String::new, |(value, _)| value.to_owned())
}

fn another() -> anyhow::Result<()> {
    let told = Arc::new(Mutex::new(Told::default()));
    let port = stand_in(&told)?;
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca");
    let only = "enrol,idle,enqueue,round,token,day,offered";
    let (target, queue) = (
        format!("http://127.0.0.1:{port}/mdm"),
        format!("http://nanomdm:key@127.0.0.1:{port}/v1/enqueue"),
    );
    let run = |authority: &Path| {
        let authority = authority.to_str().context("a path")?;
        let mut command = bench();
        command.args(["--target", &target, "--enqueue-url", &queue]);
        command.args(["--authority", authority, "--only", only, "--no-machine"]);
        anyhow::Ok(command.output()?)
    };
    // The first time there is no authority that the server could trust.
    let made = run(&authority)?;
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    ensure!(!made.status.success() && said.contains("is new"), "{said}");
    ensure!(authority.join("ca.pem").is_file(), "no authority was made");

    let runs = read(&run(&authority)?)?;
    let all = stories(runs.first().context("a run")?)?;
    ensure!(all.len() == only.split(',').count(), "{:?}", all.keys());
    let told = told.lock().ok().context("the stand-in panicked")?;
    let times = |what: &str| told.times.get(what).copied().unwrap_or_default();
    // Everybody enrols once; `enqueue`, `round` and, for a half of them, `day` each have a command.
    ensure!(times("Authenticate") == DEVICES, "{:?}", told.times);
    ensure!(times("TokenUpdate") > DEVICES, "{:?}", told.times);
    ensure!(times("enqueue") == 3, "{:?}", told.times);
    ensure!(
        times("Acknowledged") == 2 * DEVICES + DEVICES / 2,
        "{:?}",
        told.times
    );
    ensure!(
        told.waiting.is_empty(),
        "{:?} did not fetch theirs",
        told.waiting
    );
    Ok(())
}
