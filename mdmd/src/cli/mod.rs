//! The command line: one subcommand, one file. Commands that act on an installation speak its API; only `init`, `serve`,
//! `backup`, `restore`, `config`, `rehearse`, `replay`, `world` and reading a stopped data directory open files.

mod act;
mod api;
mod api_token;
mod approval;
mod apps;
mod assignment;
mod audit;
mod backup;
mod business;
mod check;
mod client;
mod command;
mod config;
mod declaration;
mod device;
mod doctor;
mod events;
mod failures;
mod give_up;
mod hand_off;
mod hold;
mod identity;
mod init;
mod inventory;
mod library;
mod licences;
mod lock;
mod login;
mod manual;
mod migration;
mod new_file;
mod organisation;
mod original;
mod partner;
mod profile;
mod project;
mod push;
#[cfg(feature = "world")]
mod rehearse;
mod removal;
#[cfg(feature = "world")]
pub mod replay;
mod report;
mod restore;
mod runbook;
#[cfg(feature = "world")]
mod runbook_try;
mod secret_file;
mod serials;
mod serve;
mod sign_in;
mod support;
mod tag;
mod template;
mod token;
mod user;
mod wave;
mod webhook;
#[cfg(feature = "world")]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use mdm_core::clock::Timestamp;
use mdm_core::counted::counted;
use mdm_core::ids::AnyId;
use mdm_core::shell::is_obeyed;
use serde::Deserialize as _;
use serde_json::Value;

use crate::out;

/// How a command ended, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Our own failure.
    Failure = 1,
    /// What was given cannot be right.
    BadInput = 2,
    /// What it needs is not there.
    Precondition = 3,
    /// Partly done, or the proof disagrees.
    Disagrees = 4,
    /// Something never ended.
    NeverEnded = 5,
}

/// An error with the exit status that it means.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) why: anyhow::Error,
    /// Waiting so long may help.
    pub(crate) again: Option<Duration>,
    /// What was asked for is not there.
    pub(crate) not_found: bool,
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(why: E) -> Self {
        Self {
            exit: Exit::Failure,
            why: why.into(),
            again: None,
            not_found: false,
        }
    }
}

/// What a command answers.
pub(crate) type Done = Result<(), Ended>;

/// Gives an error its exit status.
pub(crate) trait Means<T> {
    fn means(self, exit: Exit) -> Result<T, Ended>;
}

impl<T, E: Into<anyhow::Error>> Means<T> for Result<T, E> {
    fn means(self, exit: Exit) -> Result<T, Ended> {
        self.map_err(|why| Ended {
            exit,
            why: why.into(),
            again: None,
            not_found: false,
        })
    }
}

/// Names the file that an error is about: the sentence of bad input alone would not say which.
pub(crate) trait About<T> {
    fn about(self, file: &std::path::Path) -> Result<T, Ended>;
}

impl<T> About<T> for Result<T, Ended> {
    fn about(self, file: &std::path::Path) -> Self {
        self.map_err(|ended| match ended.exit {
            Exit::BadInput => Ended {
                why: ended.why.context(file.display().to_string()),
                ..ended
            },
            _ => ended,
        })
    }
}

/// The version with the OpenSSL in use, so that a missing security release can be seen.
fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| {
        format!(
            "{} ({})",
            env!("CARGO_PKG_VERSION"),
            openssl::version::version()
        )
    })
}

/// The destination server for Apple's device-management migration.
#[derive(Parser, Debug)]
#[command(name = "mdmd", version = version(), propagate_version = true)]
struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Common {
    /// Data directory; also read from MDMD_DATA_DIRECTORY.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file; `mdmd.toml` in the data directory when left out.
    #[arg(long, global = true, value_name = "FILE", env = "MDMD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key of the configuration, over file and environment.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a data directory with everything for a start.
    Init(init::Init),
    /// Run the server.
    Serve,
    Backup(backup::Backup),
    Restore(restore::Restore),
    /// Organisations of this installation.
    #[command(subcommand)]
    Organisation(organisation::Organisation),
    /// Devices.
    #[command(subcommand)]
    Device(device::Device),
    /// Commands of devices.
    #[command(subcommand, name = "command")]
    Queue(command::Queue),
    /// What the service that devices leave hands over, sealed: inventory, apps, networks, owners, keys and codes.
    #[command(subcommand)]
    HandOff(Box<hand_off::HandOff>),
    /// Devices that wait for us during their set-up.
    #[command(subcommand)]
    Hold(hold::Hold),
    /// The certificates that devices speak with, and who issues them.
    #[command(subcommand)]
    Identity(identity::Identity),
    /// The server token of the device-assignment service.
    #[command(subcommand)]
    Token(token::Token),
    /// The push certificate.
    #[command(subcommand)]
    Push(push::Push),
    /// The organisation's account at Apple Business or School Manager.
    #[command(subcommand)]
    Business(business::Business),
    /// Migrations of a list of devices.
    #[command(subcommand)]
    Migration(migration::Migration),
    Check(check::Look),
    /// The record: what happened, by whom and why.
    #[command(subcommand)]
    Audit(audit::Audit),
    Events(events::Events),
    Doctor(doctor::Doctor),
    SupportBundle(support::SupportBundle),
    #[command(subcommand)]
    Report(report::Report),
    /// What takes two persons: asked for by one, confirmed by another.
    #[command(subcommand)]
    Approval(approval::Approval),
    /// Configuration profiles, and whether devices get again what they have from the service that they leave.
    #[command(subcommand)]
    Profile(profile::Profile),
    /// Whole moves: from which services to which, when, and with what.
    #[command(subcommand)]
    Project(project::Project),
    /// Waves: devices that go together.
    #[command(subcommand)]
    Wave(Box<wave::Wave>),
    /// Plans of what happens in a hold.
    #[command(subcommand)]
    Runbook(runbook::Runbook),
    /// Apps that devices have from the service that they leave.
    #[command(subcommand)]
    Apps(apps::Apps),
    /// What is known of each device from three sides: Apple's organisation API, Apple's assignment service, our enrolment.
    #[command(subcommand)]
    Inventory(inventory::Inventory),
    /// Which ADE profile each device has, and why not.
    #[command(subcommand)]
    Assignment(assignment::Assignment),
    /// Tags of devices, by which the library, declarations, waves and steps of runbooks find them.
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Templates of this installation: what projects of chosen organisations are like, locked there.
    #[command(subcommand)]
    Template(Box<template::Template>),
    /// Partners of this installation: planners in some of its organisations.
    #[command(subcommand)]
    Partner(partner::Partner),
    /// Profiles and packages for the devices that have their tags.
    #[command(subcommand)]
    Library(library::Library),
    /// Declarations, and the sets in which devices get them.
    #[command(subcommand)]
    Declaration(declaration::Declaration),
    /// Licences of Apps and Books.
    #[command(subcommand)]
    Licences(licences::Licences),
    /// Tokens of this installation's own API.
    #[command(subcommand)]
    ApiToken(api_token::ApiToken),
    /// What owners of devices are told, by language.
    #[command(subcommand)]
    Text(wave::Text),
    /// Programs that are told what becomes of devices.
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// How people sign in at the organisation's own provider.
    #[command(subcommand)]
    SignIn(sign_in::SignIn),
    /// Sign in with a browser; the other commands act in this name then, where --url is given.
    Login(login::Login),
    /// End one's own session.
    Logout(login::Logout),
    /// Sessions of people who have signed in.
    #[command(subcommand)]
    Session(login::Session),
    /// People who sign in, one by one: what they may do whatever their groups say.
    #[command(subcommand)]
    User(user::User),
    /// Play a whole migration against simulated devices; the verdict is the simulated world's.
    #[cfg(feature = "world")]
    Rehearse(rehearse::Rehearse),
    /// Play recorded check-ins and reports against a throw-away server.
    #[cfg(feature = "world")]
    Replay(replay::Replay),
    /// Start a simulated Apple alone, for any client.
    #[cfg(feature = "world")]
    World(Box<world::World>),
    /// Show or check the configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// The API of this program.
    #[command(subcommand)]
    Api(api::Api),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Runs the command line of this process to its exit status.
#[must_use]
pub fn main() -> ExitCode {
    crate::memory::keep_private();
    let line = CommandLine::parse();
    let done = match &line.command {
        Command::Config(command) => config::run(&line.common, command),
        Command::Api(command) => api::run(&line.common, command),
        Command::Completions(asked) => {
            manual::completions(&line.common, asked, CommandLine::command())
        }
        Command::Man(asked) => manual::man(&line.common, asked, CommandLine::command()),
        other => runtime(&line.common, other),
    };
    let printed = out::finish().map_err(|why| anyhow::anyhow!(why).into());
    match done.and(printed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            eprintln!("mdmd: {:#}", ended.why);
            ExitCode::from(ended.exit as u8)
        }
    }
}

fn runtime(common: &Common, command: &Command) -> Done {
    // Before there are threads.
    let sockets = match command {
        Command::Serve => crate::listen::Inherited::take().means(Exit::Precondition)?,
        _ => crate::listen::Inherited::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Init(init) => init::run(common, init).await,
            Command::Serve => serve::run(common, sockets).await,
            Command::Backup(command) => backup::back_up(common, command).await,
            Command::Restore(command) => restore::run(common, command).await,
            Command::Organisation(command) => organisation::run(common, command).await,
            Command::Device(command) => device::run(common, command).await,
            Command::Queue(command) => command::run(common, command).await,
            Command::HandOff(command) => hand_off::run(common, command).await,
            Command::Hold(command) => hold::run(common, command).await,
            Command::Identity(command) => identity::run(common, command).await,
            Command::Token(command) => token::run(common, command).await,
            Command::Push(command) => push::run(common, command).await,
            Command::Business(command) => business::run(common, command).await,
            Command::Migration(command) => migration::run(common, command).await,
            Command::Check(look) => check::run(common, look).await,
            Command::Audit(command) => audit::run(common, command).await,
            Command::Events(command) => events::run(common, command).await,
            Command::Doctor(command) => doctor::run(common, command).await,
            Command::SupportBundle(command) => support::run(common, command).await,
            Command::Report(command) => report::run(common, command).await,
            Command::Approval(command) => approval::run(common, command).await,
            Command::Profile(command) => profile::run(common, command).await,
            Command::Project(command) => project::run(common, command).await,
            Command::Wave(command) => wave::run(common, command).await,
            Command::Runbook(command) => runbook::run(common, command).await,
            Command::Apps(command) => apps::run(common, command).await,
            Command::Inventory(command) => inventory::run(common, command).await,
            Command::Assignment(command) => assignment::run(common, command).await,
            Command::Tag(command) => tag::run(common, command).await,
            Command::Template(command) => template::run(common, command).await,
            Command::Partner(command) => partner::run(common, command).await,
            Command::Library(command) => library::run(common, command).await,
            Command::Declaration(command) => declaration::run(common, command).await,
            Command::Licences(command) => licences::run(common, command).await,
            Command::ApiToken(command) => api_token::run(common, command).await,
            Command::Text(command) => wave::text(common, command).await,
            Command::Webhook(command) => webhook::run(common, command).await,
            Command::SignIn(command) => sign_in::run(common, command).await,
            Command::Login(args) => login::login(common, args).await,
            Command::Logout(args) => login::logout(common, args).await,
            Command::Session(command) => login::session(common, command).await,
            Command::User(command) => user::run(common, command).await,
            #[cfg(feature = "world")]
            Command::Rehearse(args) => rehearse::run(common, args).await,
            #[cfg(feature = "world")]
            Command::Replay(args) => replay::run(common, args).await,
            #[cfg(feature = "world")]
            Command::World(args) => world::run(common, args).await,
            Command::Config(command) => config::run(common, command),
            // Without a runtime, above.
            Command::Api(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
        }
    })
}

/// Prints an answer: as JSON if that was asked for, else as `people` does it.
fn print(common: &Common, answer: &Value, people: impl FnOnce(&Value)) {
    if common.json {
        println!("{answer:#}");
    } else {
        people(answer);
    }
}

/// One value in a line for people.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // What a device says of itself may hold anything; a terminal must not obey it.
        Value::String(text) => text
            .chars()
            .map(|c| if is_obeyed(c) { ' ' } else { c })
            .collect(),
        other => other.to_string(),
    }
}

/// How many of something an answer tells of, in words.
fn many(count: &Value, one: &str) -> String {
    match count.as_u64() {
        Some(count) => counted(count, one),
        None => format!("{} {one}s", cell(count)),
    }
}

/// A reason or another sentence: where one is given, it says something.
fn sentence(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("must say something, or be left out".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// What a person has typed, as one part of a path: whatever is in it, the request goes to no other address. What is nothing but dots
/// the client refuses.
fn in_path(text: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    escaped.replace('+', "%20")
}

/// An id in an answer of the API.
fn id_of(value: &Value) -> Option<i64> {
    AnyId::deserialize(value).ok().map(|id| id.0)
}

/// A time span for people: seconds below a minute, then minutes, hours, days.
fn span(seconds: i64) -> String {
    let (minus, s) = if seconds < 0 {
        ("-", -seconds)
    } else {
        ("", seconds)
    };
    match s {
        0..60 => format!("{minus}{s}s"),
        60..3600 => format!("{minus}{}m", s / 60),
        3600..86_400 => format!("{minus}{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{minus}{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The span between two moments of an answer, in seconds.
fn seconds_between(from: &Value, to: &Value) -> Option<i64> {
    let moment = |v: &Value| Timestamp::parse(v.as_str()?);
    Some(moment(to)?.as_secs() - moment(from)?.as_secs())
}

/// What a list holds; nothing where there is none.
fn rows(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

/// Rows with a heading, columns as wide as they need to be.
fn table(rows: &Value, columns: &[(&str, &str)]) {
    for line in lines(rows, columns) {
        println!("{line}");
    }
}

/// The widest that a column is: a SHA-256 in hex. One long name must not push what stands beside every other out of sight;
/// `--json` has all of it.
const WIDEST: usize = 64;

fn lines(rows: &Value, columns: &[(&str, &str)]) -> Vec<String> {
    let last = columns.len().saturating_sub(1);
    let shown = |(n, key): (usize, &str), row: &Value| {
        let text = cell(&row[key]);
        // Nothing stands behind the last one.
        if n == last || text.chars().count() <= WIDEST {
            return text;
        }
        let cut: String = text.chars().take(WIDEST - 1).collect();
        format!("{cut}…")
    };
    let keys = || columns.iter().map(|(_, key)| *key).enumerate();
    let rows = rows.as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = rows
        .map(|row| keys().map(|at| shown(at, row)).collect())
        .collect();
    let heads: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let wide = |n: usize| {
        rows.iter()
            .chain([&heads])
            .map(|row| row[n].chars().count())
            .max()
            .unwrap_or(0)
    };
    // The last one is as long as it is, and is not filled up.
    let widths: Vec<usize> = (0..last).map(wide).chain([0]).collect();
    let all = std::iter::once(&heads).chain(&rows);
    all.map(|row| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    })
    .collect()
}

#[cfg(test)]
mod said;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_name_makes_no_table_wide() {
        let long = "x".repeat(300);
        let rows = serde_json::json!([{ "a": long, "b": "one" }, { "a": "short", "b": long }]);
        let lines = lines(&rows, &[("A", "a"), ("B", "b")]);
        assert_eq!(lines[1].find("one"), Some(WIDEST + "…".len() + 1));
        assert!(lines[1].contains('…'));
        assert!(lines[2].ends_with(&long), "the last one is whole");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        for (kept, shown) in [
            ("a\u{1b}[2Jb", "a [2Jb"),
            ("wave\u{202e}x\u{2069}", "wave x "),
            ("a\u{2028}b", "a b"),
            ("a\u{200d}b", "a\u{200d}b"),
        ] {
            assert_eq!(cell(&kept.into()), shown, "{kept:?}");
        }
    }

    #[test]
    fn a_last_cell_of_any_length_is_shown_whole() {
        let long = "x".repeat(100_000);
        let rows = serde_json::json!([{ "a": "one", "b": long }, { "a": "two", "b": "short" }]);
        let lines = lines(&rows, &[("A", "a"), ("B", "b")]);
        assert_eq!(lines[1], format!("one  {long}"));
        assert_eq!(lines[2], "two  short");
    }

    #[test]
    fn every_command_is_on_the_page_of_the_command_line() {
        let page = include_str!("../../../docs/command-line.md");
        fn check(command: &clap::Command, name: &str, page: &str) {
            let mut below = command.get_subcommands().peekable();
            if below.peek().is_none() {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
            for command in below {
                check(command, &format!("{name} {}", command.get_name()), page);
            }
        }
        check(&CommandLine::command(), "mdmd", page);
    }

    /// An option of every command and one of a single command share one place: clap finds that out only when it is used.
    #[test]
    fn no_command_has_an_option_of_its_own_under_a_common_name() {
        let line = CommandLine::command();
        let common: Vec<_> = line
            .get_arguments()
            .filter(|a| a.is_global_set())
            .map(|a| a.get_id().clone())
            .collect();
        assert!(common.len() >= 4, "{common:?}");
        fn check(command: &clap::Command, common: &[clap::Id]) {
            for command in command.get_subcommands() {
                for argument in command.get_arguments() {
                    let name = command.get_name();
                    assert!(!common.contains(argument.get_id()), "{name}: {argument}");
                }
                check(command, common);
            }
        }
        check(&line, &common);
    }

    #[test]
    fn what_somebody_types_stays_one_part_of_a_path() {
        for (typed, sent) in [
            ("C02X", "C02X"),
            ("X?x=1", "X%3Fx%3D1"),
            ("../projects/1", "..%2Fprojects%2F1"),
            ("Field phones #1", "Field%20phones%20%231"),
            ("a+b", "a%2Bb"),
        ] {
            assert_eq!(in_path(typed), sent);
        }
    }

    #[test]
    fn one_of_something_is_not_told_as_several() {
        let said = |count: Value| many(&count, "device");
        let all = [serde_json::json!(0), serde_json::json!(1), Value::Null];
        assert_eq!(all.map(said), ["0 devices", "1 device", "- devices"]);
    }

    #[test]
    fn spans_below_a_minute_are_seconds() {
        let shown: Vec<String> = [0, 59, 60, 3599, 3600, 90_061, -5].map(span).into();
        assert_eq!(shown, ["0s", "59s", "1m", "59m", "1h00m", "1d01h", "-5s"]);
    }

    #[test]
    fn the_command_line_holds_together_and_its_version_names_openssl() {
        CommandLine::command().debug_assert();
        assert!(version().contains("OpenSSL "), "{}", version());
    }
}
