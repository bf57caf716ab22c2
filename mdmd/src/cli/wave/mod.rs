//! `mdmd wave …`: waves of a project, made, filled, planned, looked at, accepted by name, submitted and steered.

mod acts;
mod changes;
mod notices;
mod plan;
mod shown;
mod steered;
mod submitted;

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

use super::act::Acceptance;
use super::client::{Client, Where};
use super::serials::Serials;
use super::{Ended, Exit, Means as _, cell, id_of};

pub(crate) use acts::run;
use changes::Change;
pub(super) use notices::{Text, text};
pub(super) use shown::{COLUMNS, row};

/// Waves: devices that go together.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Wave {
    /// Make a wave of a project, without members.
    New {
        /// What people call it.
        name: String,
        /// The project, by its name or number.
        #[arg(long, value_name = "PROJECT")]
        project: String,
        /// What it is for; the later ones wait for the gates of those before them.
        #[arg(long, value_parser = ["pilot", "early", "main", "rest"])]
        preset: Option<String>,
        /// What its ADE profile says, if not what the organisation's says: JSON as `mdmd assignment ade-profile` takes it.
        #[arg(long, value_name = "FILE")]
        ade_profile: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Give a wave an ADE profile of its own, or take it back. What was accepted of the wave is void.
    Set {
        /// The wave, by its name or number.
        wave: String,
        /// What it says: JSON as `mdmd assignment ade-profile` takes it.
        #[arg(long, value_name = "FILE", required_unless_present = "no_ade_profile")]
        ade_profile: Option<PathBuf>,
        /// Have it get what the organisation's says.
        #[arg(long, conflicts_with = "ade_profile")]
        no_ade_profile: bool,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// What owners of its devices are told, as CSV for a mail merge.
    Notices(notices::Notices),
    /// Its deadlines as a calendar (iCalendar).
    Calendar(notices::Notices),
    /// Put devices into a wave, by serial number or by what they have in common.
    Add(Box<plan::Add>),
    /// Take devices out before anything of them is at Apple.
    Remove {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        devices: Serials,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Move members that are not submitted to another wave.
    Move {
        /// The wave, by its name or number.
        wave: String,
        /// The other one.
        #[arg(long, value_name = "WAVE")]
        to: String,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Spread members over deadlines, in the office hours of their owners; or give them one.
    Plan(Box<plan::Plan>),
    /// Say that something was done for members at the service that they leave.
    Met {
        /// The wave, by its name or number.
        wave: String,
        /// One of the project's prerequisites.
        #[arg(long, value_name = "NAME")]
        prerequisite: String,
        /// What shows it.
        #[arg(long, value_name = "SENTENCE", required_unless_present = "not")]
        evidence: Option<String>,
        /// Take that word back, and why; goes into the record.
        #[arg(long, value_name = "WHY", conflicts_with = "evidence")]
        not: Option<String>,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Say that the service that members left does not list them any more: `report clean-up` names them.
    Cleaned {
        /// The wave, by its name or number.
        wave: String,
        /// What shows it.
        #[arg(long, value_name = "SENTENCE", required_unless_present = "not")]
        evidence: Option<String>,
        /// Take that word back, and why; goes into the record.
        #[arg(long, value_name = "WHY", conflicts_with = "evidence")]
        not: Option<String>,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
    /// Have the what-if run: what stands for and against each member, what has changed since, what would be sent.
    Whatif {
        /// The wave, by its name or number.
        wave: String,
        /// The requests as they would be sent, too.
        #[arg(long)]
        requests: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Accept what the what-if found, in your name; void when anything of it changes.
    Accept {
        /// The wave, by its name or number.
        wave: String,
        /// The digest that `wave whatif` shows.
        #[arg(long, value_name = "DIGEST")]
        digest: String,
        /// A finding that is no reason to stay behind: of all members, or of one with CHECK@SERIAL.
        #[arg(long, value_name = "CHECK[@SERIAL]=WHY")]
        waive: Vec<String>,
        /// Why it is accepted; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Submit what was accepted; shows the exact requests first, and waits for the proof.
    Submit {
        /// The wave, by its name or number.
        wave: String,
        /// The name of the wave, typed once more: without it the requests are shown and nothing is sent (exit 3).
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// Wait so many seconds for the proof; the work goes on at the server all the same.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// How a wave stands: where its members are, its gate, its drift, how it goes on.
    Status {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        place: Where,
    },
    /// Give every member that is at Apple more time.
    Extend {
        /// The wave, by its name or number.
        wave: String,
        /// The later deadline.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Propose later deadlines for what has not begun: with the reason, and never an earlier one. Changes nothing.
    Later {
        /// The wave, by its name or number.
        wave: String,
        /// Write a list of devices for each proposed deadline into this new directory, for `mdmd migration extend --csv`.
        #[arg(long, value_name = "DIRECTORY")]
        lists: Option<std::path::PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Take time away from members of a wave: takes a list of them and a reason.
    Force {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        devices: Serials,
        /// The earlier deadline; it may have passed.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Take every member out that is not at Apple. A draft is closed with that, and its name is free.
    Withdraw {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Call every member back that has not begun, and prove the return to the original service.
    Cancel {
        /// The wave, by its name or number.
        wave: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Whether the waves after this one may go; exit 3 when they may not.
    Gate {
        /// The wave, by its name or number.
        wave: String,
        /// Sign that they may: takes a reason.
        #[arg(long, value_name = "REASON")]
        sign: Option<String>,
        /// With `--sign`: open the gate though the wave does not stand as was wanted. The record says what stood against it.
        #[arg(long, requires = "sign")]
        despite: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Offer no more of its devices their migration. Those that were offered it go on.
    Pause {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
    /// Go on with the offers of a paused wave.
    Resume {
        /// The wave, by its name or number.
        wave: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
}

/// A wave that is named or numbered, by its path in the API, with its row.
struct Found {
    number: i64,
    path: String,
    name: String,
}

async fn find(client: &Client, named: &str) -> Result<Found, Ended> {
    let all = client.pages("/api/v1/waves", "waves").await?;
    let rows: Vec<&Value> = all["waves"].as_array().into_iter().flatten().collect();
    let number: Option<i64> = named.parse().ok();
    let by_number = |row: &&&Value| number.is_some() && id_of(&row["id"]) == number;
    // Of those of one name the one that is open: a closed wave may have been called the same.
    let open = |row: &&&Value| row["name"] == named && !row["state"].is_object_with("closed");
    let any = |row: &&&Value| row["name"] == named;
    let row = rows
        .iter()
        .find(by_number)
        .or_else(|| rows.iter().find(open))
        .or_else(|| rows.iter().rfind(any))
        .with_context(|| format!("there is no wave called {named}: `mdmd wave list`"))
        .means(Exit::Precondition)?;
    let number = id_of(&row["id"]).unwrap_or_default();
    Ok(Found {
        number,
        path: format!("/api/v1/waves/{number}"),
        name: cell(&row["name"]),
    })
}

/// The number of a wave that is named or numbered.
pub(super) async fn number(client: &Client, named: &str) -> Result<i64, Ended> {
    find(client, named).await.map(|found| found.number)
}

/// Whether a value is an object with this key.
trait IsObjectWith {
    fn is_object_with(&self, key: &str) -> bool;
}

impl IsObjectWith for Value {
    fn is_object_with(&self, key: &str) -> bool {
        self.as_object()
            .is_some_and(|object| object.contains_key(key))
    }
}
