//! What a message of a channel is decided on, as one read gives it: organisation, enrolments, their open commands and, for
//! a check-in, everything around them. Messages that are under way at once share a statement, as commits share a
//! transaction. Contains no SQL and decides nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::row::{Raw, Stored, decode_all, decode_readable};
use super::{Store, StoreError};
use crate::device::Device;
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, IssuedCertificate};
use crate::ids::OrganisationId;
use crate::migration::{Move, SetUp};
use crate::queue::Command;

/// What is asked of [`Store::channel`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a question with its parts")]
pub struct ChannelAsk {
    /// Whose channel.
    pub organisation: OrganisationId,
    /// The normalised id of the device channel.
    pub key: String,
    /// How deep.
    pub depth: Depth,
}

/// How much of a channel is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two kinds of messages")]
pub enum Depth {
    /// Open commands, at most so many of each enrolment: for a report.
    Queue(u32),
    /// Set-ups, devices, attempts, and the identity with this SHA-256 and its session: for a check-in.
    Identity(String),
}

/// What [`Store::channel`] found, all of it at one moment. What was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ChannelView {
    /// The version of the organisation's row; 0 when there is none.
    pub organisation_version: i64,
    /// As [`EnrollmentStore::enrollments_by_key`](super::EnrollmentStore::enrollments_by_key).
    pub enrollments: Vec<Enrollment>,
    /// Open commands of those enrolments, in the order in which they go out: by [`Command::turn`], then by id.
    pub commands: Vec<Command>,
    /// Set-ups of those enrolments.
    pub set_ups: Vec<SetUp>,
    /// The devices of those enrolments, and the one of the session.
    pub devices: Vec<Device>,
    /// Unfinished attempts of those devices.
    pub attempts: Vec<Move>,
    /// Every generation of those devices' device channels, oldest first.
    pub generations: Vec<Enrollment>,
    /// The certificate.
    pub certificate: Option<IssuedCertificate>,
    /// The session that it was issued in.
    pub session: Option<EnrolSession>,
}

/// The same from single reads: for stores that have nothing better.
pub(in crate::store) async fn one_by_one<S: Store + ?Sized>(
    store: &S,
    ask: ChannelAsk,
) -> Result<ChannelView, StoreError> {
    let id = ask.organisation;
    let mut view = ChannelView {
        organisation_version: store.organisation(id).await?.map_or(0, |o| o.version),
        enrollments: store.enrollments_by_key(id, &ask.key).await?,
        ..ChannelView::default()
    };
    match ask.depth {
        Depth::Queue(limit) => {
            for enrollment in &view.enrollments {
                let open = store.open_commands(id, enrollment.id, limit).await?;
                view.commands.extend(open);
            }
            in_turn(&mut view.commands);
        }
        Depth::Identity(sha256) => {
            view.certificate = store.certificate_by_hash(id, &sha256).await?;
            if let Some(certificate) = &view.certificate {
                view.session = store.session(id, certificate.session).await?;
            }
            let channels = view.enrollments.iter();
            let own = channels.filter(|e| e.channel == ChannelKind::Device);
            let mut devices: Vec<_> = own.filter_map(|e| e.device).collect();
            devices.extend(view.session.as_ref().and_then(|s| s.device));
            devices.sort_unstable();
            devices.dedup();
            for device in devices {
                view.devices.extend(store.device(id, device).await?);
                view.attempts.extend(store.open_attempt(id, device).await?);
                let all = store.enrollments_of_device(id, device).await?;
                view.generations.extend(all);
            }
            view.generations.sort_unstable_by_key(|e| e.id);
            for enrollment in &view.enrollments {
                view.set_ups
                    .extend(store.set_up_of(id, enrollment.id).await?);
            }
        }
    }
    Ok(view)
}

fn in_turn(commands: &mut [Command]) {
    commands.sort_unstable_by_key(|c| (c.turn(), c.id));
}

/// What a row of a shared statement is; the numbers stand in the statements.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Organisation,
    Enrollment,
    Command,
    SetUp,
    Device,
    Attempt,
    Generation,
    Certificate,
    Session,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Part {
    const fn of(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Organisation,
            1 => Self::Enrollment,
            2 => Self::Command,
            3 => Self::SetUp,
            4 => Self::Device,
            5 => Self::Attempt,
            6 => Self::Generation,
            7 => Self::Certificate,
            8 => Self::Session,
            _ => return None,
        })
    }
}

/// Sorts the rows of a shared statement to those who asked. A row that cannot be read is an error for its owner alone.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug)]
pub(super) struct Sorter(Vec<BTreeMap<(Part, i64), Raw>>);

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Sorter {
    /// For so many who ask.
    pub(super) fn new(asks: usize) -> Self {
        Self(vec![BTreeMap::new(); asks])
    }

    /// Takes a row: who asked for it, what it is, and the row. The same row twice is one.
    pub(super) fn take(&mut self, asker: usize, part: i64, row: Raw) {
        if let (Some(rows), Some(part)) = (self.0.get_mut(asker), Part::of(part)) {
            rows.insert((part, row.1), row);
        }
    }

    /// What each of them gets.
    pub(super) fn views(self) -> Vec<Result<ChannelView, StoreError>> {
        self.0.into_iter().map(view).collect()
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn view(mut rows: BTreeMap<(Part, i64), Raw>) -> Result<ChannelView, StoreError> {
    fn some<T: Stored>(
        rows: &mut BTreeMap<(Part, i64), Raw>,
        part: Part,
    ) -> Result<Vec<T>, StoreError> {
        decode_all(of_part(rows, part))
    }
    // What a device can do without: it must not keep the rest from it. Who looks for one that is missing reads it alone.
    fn readable<T: Stored>(rows: &mut BTreeMap<(Part, i64), Raw>, part: Part) -> Vec<T> {
        decode_readable(of_part(rows, part))
    }
    fn of_part(rows: &mut BTreeMap<(Part, i64), Raw>, part: Part) -> Vec<Raw> {
        let mut found = Vec::new();
        // In the order of ids, as the map keeps them.
        while let Some(entry) = rows.first_entry() {
            if entry.key().0 != part {
                break;
            }
            found.push(entry.remove());
        }
        found
    }
    let version = match rows.first_entry() {
        Some(first) if first.key().0 == Part::Organisation => first.remove().2,
        _ => 0,
    };
    let enrollments = some(&mut rows, Part::Enrollment)?;
    let mut commands = readable(&mut rows, Part::Command);
    in_turn(&mut commands);
    Ok(ChannelView {
        organisation_version: version,
        enrollments,
        commands,
        set_ups: some(&mut rows, Part::SetUp)?,
        devices: readable(&mut rows, Part::Device),
        attempts: readable(&mut rows, Part::Attempt),
        generations: some(&mut rows, Part::Generation)?,
        certificate: some(&mut rows, Part::Certificate)?.pop(),
        session: some(&mut rows, Part::Session)?.pop(),
    })
}

/// How many who ask may share a statement.
const GATHERED: usize = 128;
/// How many may wait.
const WAITING: usize = 8192;

type Answer = Result<ChannelView, StoreError>;

/// A database, as far as shared reads need one.
pub(super) trait Reader: Clone + Send + 'static {
    /// One statement for all of them; an answer for each, or the failure that all share.
    fn read(
        &self,
        asks: &[ChannelAsk],
    ) -> impl Future<Output = Result<Vec<Answer>, StoreError>> + Send;
}

struct Waiting {
    ask: ChannelAsk,
    answer: oneshot::Sender<Answer>,
}

/// The door to the tasks that read. They end when the last clone is gone.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    queue: mpsc::Sender<Waiting>,
}

impl Gather {
    /// Starts `readers` tasks: while one waits for its statement, another gathers the next. Needs a Tokio runtime.
    pub(super) fn start<R: Reader>(reader: &R, readers: usize) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..readers {
            tokio::spawn(serve(reader.clone(), Arc::clone(&waiting)));
        }
        Self { queue }
    }

    /// Asks.
    pub(super) async fn ask(&self, ask: ChannelAsk) -> Answer {
        let stopped = || StoreError::Unavailable("the store is shutting down".to_owned());
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(Waiting { ask, answer }).await;
        sent.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn serve<R: Reader>(reader: R, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut gathered = Vec::with_capacity(GATHERED);
    loop {
        let count = waiting
            .lock()
            .await
            .recv_many(&mut gathered, GATHERED)
            .await;
        if count == 0 {
            return;
        }
        let (asks, doors): (Vec<_>, Vec<_>) = gathered.drain(..).map(|w| (w.ask, w.answer)).unzip();
        match reader.read(&asks).await {
            Ok(answers) => {
                for (door, answer) in doors.into_iter().zip(answers) {
                    // Nobody there any more: nothing is lost with a read.
                    let _ = door.send(answer);
                }
            }
            Err(error) => {
                for door in doors {
                    let _ = door.send(Err(error.clone()));
                }
            }
        }
    }
}
