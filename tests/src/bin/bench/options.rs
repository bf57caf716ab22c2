//! What can be asked of the benchmark on its command line. Measures nothing.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use tests::fleet::devices::{KeyKind, Mode};
use tests::fleet::house::Start;

/// Measures a running server with simulated devices, and beside it the machine that it runs on, so that the ratios hold
/// elsewhere too. Run by cargo it builds the server first; else that lies beside it.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Enrolled devices, and as many more that enrol.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) devices: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: usize,
    /// How long each story without an end of its own runs; polls go on until every device has polled.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// How many command rounds each device makes.
    #[arg(long, default_value_t = 2)]
    pub(crate) rounds: usize,
    /// `sqlite`, `postgres` (a private server), a PostgreSQL URL, or `both` of the first two.
    #[arg(long, default_value = "both")]
    pub(crate) database: String,
    /// How devices prove who they are.
    #[arg(long, value_enum, default_value = "signature")]
    pub(crate) mode: Mode,
    /// The devices' keys.
    #[arg(long, value_enum, default_value = "rsa2048")]
    pub(crate) key: KeyKind,
    /// TLS at our own listener instead of plain HTTP behind a proxy.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Another server's one URL for check-ins and commands (`http://127.0.0.1:9000/mdm`) instead of ours. Its devices enrol
    /// by the protocol; it must trust `--authority`.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// With `--target`: where check-ins go there, if not to the same path (NanoMDM with `-checkin`: `/checkin`).
    #[arg(long, requires = "target")]
    pub(crate) check_in_path: Option<String>,
    /// With `--target`: the folder with `ca.pem` and `ca.key` of the devices' authority; made when it is empty.
    #[arg(long, requires = "target")]
    pub(crate) authority: Option<PathBuf>,
    /// With `--target`: where one command is queued for several devices (`http://user:key@127.0.0.1:9000/v1/enqueue`).
    #[arg(long, requires = "target")]
    pub(crate) enqueue_url: Option<String>,
    /// With `--target`: a process whose time, and that of its children, is the server's.
    #[arg(long, requires = "target")]
    pub(crate) pid: Option<u32>,
    /// Which stories, in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "enrol,idle,enqueue,round,token,ddm,day,ddm-sync,offered"
    )]
    pub(crate) only: Vec<Story>,
    /// The server's program; by default `mdmd` beside this one.
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,
    /// Requests offered per second, instead of as many as go through.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// Connections of the story `offered`.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) many: usize,
    /// After the stories: enrolments while so many devices are enrolled already, beside the same in an empty database, and how long
    /// the server takes to start then.
    #[arg(long, default_value_t = 0, conflicts_with = "target")]
    pub(crate) present: usize,
    /// Instead of the stories: the questions that people ask of a fleet, in one of so many devices and in one of a tenth of them.
    #[arg(long, conflicts_with = "target")]
    pub(crate) fleet: Option<usize>,
    /// With `--fleet`: members of each wave.
    #[arg(long, default_value_t = 1_000, requires = "fleet")]
    pub(crate) members: usize,
    /// With `--fleet`: leave unjudged whether each question is answered within a second, on a machine that has other work.
    #[arg(long, requires = "fleet")]
    pub(crate) no_clock: bool,
    /// Leave statements uncounted.
    #[arg(long)]
    pub(crate) no_statements: bool,
    /// Leave the machine unmeasured.
    #[arg(long)]
    pub(crate) no_machine: bool,
    /// The results as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Pause before each story, so that a profiler can be attached to the server, whose process number is printed.
    #[arg(long, default_value_t = 0)]
    pub(crate) pause: u64,
}

impl Options {
    /// The databases that are asked for, one after the other.
    pub(crate) fn databases(&self) -> Vec<&str> {
        match self.database.as_str() {
            "both" => vec!["postgres", "sqlite"],
            one => vec![one],
        }
    }

    /// The same, for a run that is not timed.
    pub(crate) fn briefly(&self) -> Self {
        Self {
            seconds: 1,
            rate: None,
            pause: 0,
            ..self.clone()
        }
    }

    /// How our server is started.
    pub(crate) fn start(&self) -> Start {
        Start {
            program: self.server.clone(),
            tls: self.tls,
            environment: Vec::new(),
        }
    }
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Story {
    /// Authenticate and TokenUpdate.
    Enrol,
    /// A poll of a device for which nothing waits.
    Idle,
    /// One command queued for every device.
    Enqueue,
    /// Idle, a command, Acknowledged, nothing more.
    Round,
    /// A TokenUpdate with another push token.
    Token,
    /// A look at the declarations' tokens.
    Ddm,
    /// A day of a fleet: eight polls for two command rounds, one TokenUpdate and one look at the declarations.
    Day,
    /// Polls over many connections, offered at half the rate that the story `idle` came to.
    Offered,
    /// A whole synchronisation of thirty declarations by one device after the other: thirty-three messages each.
    DdmSync,
}

impl Story {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|v| v.get_name().to_owned())
            .unwrap_or_default()
    }
}
