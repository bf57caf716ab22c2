//! `mdmd replay`: plays recorded check-ins and command reports against a throw-away server, and says for each what was answered
//! and what was stored. Touches no installation, and judges nothing: a refusal is a result like another.
//!
//! The recordings of other servers carry certificates of those servers, or none. So each device that is recorded first goes
//! through an enrolment session of the throw-away server, and shows the certificate that it got there, as a proxy that ends TLS
//! would pass it on. A recorded `Mdm-Signature` (base64, in a file `NAME.signature` beside `NAME`) is sent as it is.

mod connection;
mod gather;
mod shelf;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use fixtures::recorded::{Described, Line, Proof};
use mdm_core::wire::WireError;
use mdm_core::wire::checkin::CheckIn;
use mdm_core::wire::report::CommandReport;
use serde::Serialize;

use super::{Common, Done, Exit, Means as _};
use connection::Answered;
use gather::{Gathered, Recording};
use shelf::Reader;
use stage::{Stage, invented_serial};

/// The push topic of the throw-away organisation when no recording names one.
const ANY_TOPIC: &str = "com.apple.mgmt.External.replay";

/// The longest piece of a sentence that is repeated, in characters.
const SENTENCE: usize = 300;

/// Plays recorded check-ins and reports against a throw-away server.
#[derive(clap::Args, Debug)]
pub(crate) struct Replay {
    /// A recording, or a directory of them (*.plist, *.xml, *.dump, in the order of names).
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// One of the two endpoints for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Door {
    /// For check-in messages.
    CheckIn,
    /// For command reports.
    Command,
}

impl Door {
    const fn path(self) -> &'static str {
        match self {
            Self::CheckIn => "checkin",
            Self::Command => "command",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::CheckIn => "application/x-apple-aspen-mdm-checkin",
            Self::Command => "application/x-apple-aspen-mdm; charset=UTF-8",
        }
    }
}

/// What became of one recording.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Played {
    /// The file, relative to the directory; with a number when it holds several.
    pub file: String,
    /// What the index of the recordings says that it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// The message or the status of the report; `unreadable` when it cannot be told.
    pub message: String,
    /// Where it was sent.
    pub door: Door,
    /// How the sender proved who it is.
    pub proof: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// `empty`, `plist`, `json` or `text`.
    pub kind: &'static str,
    /// The sentence of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// What was stored or changed, one line each.
    pub stored: Vec<String>,
    /// The record of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What the index says that the answer must be, when it is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

impl Played {
    /// Whether the request was refused. That there is no such declaration, or no managed user, is an answer.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.status >= 400 && !matches!(self.status, 404 | 410)
    }
}

/// A recording, as far as it can be read before it is sent.
enum Content {
    CheckIn(Box<CheckIn>),
    Report(Box<CommandReport>),
    /// Cannot be read; the error is of the door that it most looks like.
    Unreadable(Door),
}

impl Content {
    fn read(body: &[u8]) -> Self {
        match CheckIn::parse(body) {
            Ok(message) => Self::CheckIn(Box::new(message)),
            // Without a message type it may be a report, which has a status instead.
            Err(WireError::Missing {
                field: "MessageType",
                ..
            }) => match CommandReport::parse(body) {
                Ok(report) => Self::Report(Box::new(report)),
                Err(_) => Self::Unreadable(Door::Command),
            },
            Err(_) => Self::Unreadable(Door::CheckIn),
        }
    }

    fn door(&self) -> Door {
        match self {
            Self::CheckIn(_) => Door::CheckIn,
            Self::Report(_) => Door::Command,
            Self::Unreadable(door) => *door,
        }
    }

    /// The key of the device that speaks.
    fn device(&self) -> Option<String> {
        let channel = match self {
            Self::CheckIn(message) => message.channel(),
            Self::Report(report) => &report.channel,
            Self::Unreadable(_) => return None,
        };
        Some(channel.device_key().as_str().to_owned())
    }

    fn name(&self) -> String {
        match self {
            Self::CheckIn(message) => message.name().to_owned(),
            Self::Report(report) => report.status.as_str().to_owned(),
            Self::Unreadable(_) => "unreadable".to_owned(),
        }
    }

    fn topic(&self) -> Option<&str> {
        match self {
            Self::CheckIn(message) => match &**message {
                CheckIn::Authenticate(m) => Some(&m.topic),
                CheckIn::TokenUpdate(m) => Some(&m.topic),
                CheckIn::CheckOut(m) => m.topic.as_deref(),
                _ => None,
            },
            Self::Report(_) | Self::Unreadable(_) => None,
        }
    }
}

/// What all recordings together tell of the devices in them.
#[derive(Default)]
struct Cast {
    topic: Option<String>,
    devices: BTreeMap<String, Described>,
}

impl Cast {
    fn learn(&mut self, content: &Content) {
        if self.topic.is_none() {
            self.topic = content.topic().map(str::to_owned);
        }
        if let Content::CheckIn(message) = content
            && let CheckIn::Authenticate(m) = &**message
        {
            let key = m.envelope.channel.device_key().as_str().to_owned();
            let or = |told: &Option<String>, other: &str| told.clone().unwrap_or(other.to_owned());
            // Only Macs name themselves here.
            let product = if m.device_name.is_some() {
                "Mac15,7"
            } else {
                "iPhone17,2"
            };
            let described = Described {
                serial: or(&m.serial, &invented_serial(&key)),
                product: or(&m.product_name, product),
                os_version: or(&m.os_version, "26.0"),
                build: or(&m.build_version, "23A341"),
                udid: key.clone(),
            };
            self.devices.entry(key).or_insert(described);
        }
    }

    fn describe(&self, key: &str) -> Described {
        self.devices.get(key).cloned().unwrap_or_else(|| Described {
            serial: invented_serial(key),
            udid: key.to_owned(),
            product: "iPhone17,2".to_owned(),
            os_version: "26.0".to_owned(),
            build: "23A341".to_owned(),
        })
    }
}

/// Recordings on their stage: a server that lives as long as this value.
pub struct Player {
    gathered: Gathered,
    cast: Cast,
    stage: Stage,
    reader: Reader,
    /// Who spoke last.
    last: Option<String>,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player")
            .field("files", &self.gathered.files().len())
            .finish_non_exhaustive()
    }
}

/// Why nothing is played: the path, or ourselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The path cannot be read, or holds nothing to play.
    #[error("{0:#}")]
    Path(anyhow::Error),
    /// The throw-away server failed.
    #[error("{0:#}")]
    Server(anyhow::Error),
}

impl Player {
    /// Looks for recordings at a path and starts a server for them.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn open(path: &Path) -> Result<Self, ReplayError> {
        let gathered = Gathered::look(path).map_err(ReplayError::Path)?;
        let mut cast = Cast::default();
        for file in gathered.files() {
            for recording in gathered.read(file).map_err(ReplayError::Path)? {
                cast.learn(&Content::read(&recording.body));
            }
        }
        let topic = cast.topic.as_deref().unwrap_or(ANY_TOPIC);
        let stage = Stage::open(topic).await.map_err(ReplayError::Server)?;
        let reader = Reader::new(stage.org.organisation().id);
        Ok(Self {
            gathered,
            cast,
            stage,
            reader,
            last: None,
        })
    }

    /// The files, in the order of playing.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.gathered.files().to_vec()
    }

    /// The service of the throw-away server.
    #[must_use]
    pub fn mdm(&self) -> &mdm_core::service::Mdm {
        self.stage.mdm()
    }

    /// The throw-away organisation.
    #[must_use]
    pub fn org(&self) -> &mdm_core::service::Org {
        &self.stage.org
    }

    /// Plays one file.
    ///
    /// # Errors
    /// When the file cannot be read, or the server gives no answer at all. A refusal is no error.
    pub async fn play(&mut self, file: &str) -> Result<Vec<Played>, ReplayError> {
        let recordings = self.gathered.read(file).map_err(ReplayError::Path)?;
        let mut played = Vec::with_capacity(recordings.len());
        for recording in recordings {
            let name = recording.name.clone();
            let one = self.play_one(recording).await;
            played.push(one.context(name).map_err(ReplayError::Server)?);
        }
        Ok(played)
    }

    async fn play_one(&mut self, recording: Recording) -> anyhow::Result<Played> {
        let content = Content::read(&recording.body);
        let door = if recording.sender.command_door {
            Door::Command
        } else {
            content.door()
        };
        let key = content.device();
        let mut note = None;
        if let Some(key) = &key {
            note = self.certify(key, &content).await?;
        }
        if key
            .as_deref()
            .is_some_and(|k| self.stage.known(k).is_some())
        {
            self.last.clone_from(&key);
        }
        // A body that cannot be read does not tell who speaks: it is as if the one before spoke again.
        let speaker = key.as_ref().or(self.last.as_ref());
        let device = speaker.and_then(|k| self.stage.known(k));
        let device_id = device.map(|d| d.id);
        let proof = &recording.sender.proof;
        let (mut certificate, mut signature) = (None, None);
        match (proof, device) {
            (Proof::Certificate, Some(known)) => certificate = Some(known.stand_in.certificate()?),
            (Proof::CertificateOf(udid), _) => {
                let other = self.stage.known(udid);
                certificate = other.map(|k| k.stand_in.certificate()).transpose()?;
            }
            (Proof::Signed(form), Some(known)) => {
                signature = Some(known.stand_in.sign(&recording.body, *form)?);
            }
            (Proof::SignatureBeside, _) => signature.clone_from(&recording.signature),
            // Nobody; or nobody who has a certificate yet.
            _ => {}
        }
        if let Content::Report(report) = &content
            && !recording.sender.unasked
        {
            self.stage.ask_before(report).await?;
        }
        let mdm = self.stage.mdm().clone();
        let before = self.reader.before(&mdm, device_id).await?;
        let body = Bytes::from(recording.body);
        let answered = self
            .stage
            .send(door, certificate.as_deref(), signature.as_deref(), body)
            .await?;
        let change = self.reader.after(&mdm, device_id, &before).await?;
        let kind = kind_of(&answered);
        let sentence = (answered.status >= 400).then(|| sentence_of(&answered));
        let expected = recording.line.as_ref().and_then(|line| {
            let fits = fits(line, answered.status, kind, sentence.as_deref());
            (!fits).then(|| format!("{} {}", line.status, line.answer).trim().to_owned())
        });
        let proof = match (certificate, signature, note) {
            (Some(_), _, _) => "certificate".to_owned(),
            (None, Some(_), _) => "signature".to_owned(),
            (None, None, None) => "nobody".to_owned(),
            (None, None, Some(note)) => format!("nobody: {note}"),
        };
        // A result that nobody asked for is on record there, too, and is no refusal.
        let refusal = change.refusal.filter(|_| answered.status >= 400);
        Ok(Played {
            file: recording.name,
            shows: recording.line.map(|l| l.shows),
            message: content.name(),
            door,
            proof,
            status: answered.status,
            kind,
            sentence,
            stored: change.stored,
            refusal,
            expected,
        })
    }

    /// Gives the speaker a certificate if it needs one; says why it has none.
    async fn certify(&mut self, key: &str, content: &Content) -> anyhow::Result<Option<String>> {
        let is_authenticate =
            matches!(content, Content::CheckIn(m) if matches!(**m, CheckIn::Authenticate(_)));
        let again = is_authenticate && self.stage.begins_again(key).await?;
        if self.stage.known(key).is_some() && !again {
            return Ok(None);
        }
        let who = self.cast.describe(key);
        // A device that the server would not even give a profile goes without.
        Ok(self.stage.enrol(&who).await.err().map(|e| format!("{e:#}")))
    }

    /// Ends the server.
    ///
    /// # Errors
    /// When it could not be closed in order.
    pub async fn close(self) -> Result<(), ReplayError> {
        self.stage.close().await.map_err(ReplayError::Server)
    }
}

/// Plays everything at a path, in order.
///
/// # Errors
/// See [`ReplayError`].
pub async fn play(path: &Path) -> Result<Vec<Played>, ReplayError> {
    let mut player = Player::open(path).await?;
    let mut all = Vec::new();
    for file in player.files() {
        all.extend(player.play(&file).await?);
    }
    player.close().await?;
    Ok(all)
}

fn kind_of(answered: &Answered) -> &'static str {
    let kind = &answered.content_type;
    if answered.body.is_empty() {
        "empty"
    } else if kind.starts_with("application/xml") {
        "plist"
    } else if kind.starts_with("application/json") {
        "json"
    } else {
        "text"
    }
}

/// The sentence of a refusal, one line of it.
fn sentence_of(answered: &Answered) -> String {
    let text = String::from_utf8_lossy(&answered.body);
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(SENTENCE)
        .collect()
}

fn fits(line: &Line, status: u16, kind: &str, sentence: Option<&str>) -> bool {
    line.status == status
        && match sentence {
            Some(sentence) => sentence.contains(&line.answer),
            None => line.answer.is_empty() || line.answer == kind,
        }
}

/// Runs the command; 2 when the path cannot be read.
pub(crate) async fn run(common: &Common, args: &Replay) -> Done {
    let exit = |error: ReplayError| {
        let exit = match &error {
            ReplayError::Path(_) => Exit::BadInput,
            ReplayError::Server(_) => Exit::Failure,
        };
        (exit, error)
    };
    let told = |(exit, error): (Exit, ReplayError)| Err(error).means(exit);
    let mut player = match Player::open(&args.path).await.map_err(exit) {
        Ok(player) => player,
        Err(failed) => return told(failed),
    };
    let mut all = Vec::new();
    for file in player.files() {
        let played = match player.play(&file).await.map_err(exit) {
            Ok(played) => played,
            Err(failed) => return told(failed),
        };
        if !common.json {
            played.iter().for_each(print);
        }
        all.extend(played);
    }
    player.close().await?;
    let refused = all.iter().filter(|p| p.is_refused()).count();
    let differ = all.iter().filter(|p| p.expected.is_some()).count();
    if common.json {
        let answer = serde_json::json!({ "played": all, "refused": refused, "unexpected": differ });
        println!("{answer:#}");
        return Ok(());
    }
    println!(
        "\n{} played, {} accepted, {refused} refused{}",
        all.len(),
        all.len() - refused,
        match differ {
            0 => String::new(),
            n => format!(", {n} answered in another way than their index says"),
        }
    );
    Ok(())
}

fn print(played: &Played) {
    let clean = |text: &str| super::cell(&text.into());
    println!("{}", clean(&played.file));
    if let Some(shows) = &played.shows {
        println!("  shows     {}", clean(shows));
    }
    println!(
        "  sent      {} to {}, by {}",
        played.message,
        played.door.path(),
        clean(&played.proof)
    );
    match &played.sentence {
        Some(sentence) => println!("  answered  {} {}", played.status, clean(sentence)),
        None => println!("  answered  {} {}", played.status, played.kind),
    }
    if let Some(expected) = &played.expected {
        println!("  expected  {}", clean(expected));
    }
    for line in &played.stored {
        println!("  stored    {}", clean(line));
    }
    match (&played.refusal, played.stored.is_empty()) {
        (Some(_), _) => println!("  stored    a record of the refusal"),
        (None, true) => println!("  stored    nothing"),
        (None, false) => {}
    }
}
