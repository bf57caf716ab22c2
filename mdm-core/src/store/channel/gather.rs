//! Messages under way at once share a statement: who asks waits at one door, a few tasks read for all who wait there, and rows
//! go to those who asked. Contains no SQL.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChannelAsk, ChannelView, in_turn};
use crate::store::StoreError;
use crate::store::row::{Raw, Stored, decode_all, decode_readable};

/// What a row of a shared statement is; the numbers stand in the statements.
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
#[derive(Debug)]
pub(in crate::store) struct Sorter(Vec<BTreeMap<(Part, i64), Raw>>);

impl Sorter {
    /// For so many who ask.
    pub(in crate::store) fn new(asks: usize) -> Self {
        Self(vec![BTreeMap::new(); asks])
    }

    /// Takes a row: who asked for it, what it is, and the row. The same row twice is one.
    pub(in crate::store) fn take(&mut self, asker: usize, part: i64, row: Raw) {
        if let (Some(rows), Some(part)) = (self.0.get_mut(asker), Part::of(part)) {
            rows.insert((part, row.1), row);
        }
    }

    /// What each of them gets.
    pub(in crate::store) fn views(self) -> Vec<Result<ChannelView, StoreError>> {
        self.0.into_iter().map(view).collect()
    }
}

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
pub(in crate::store) trait Reader: Clone + Send + 'static {
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
pub(in crate::store) struct Gather {
    queue: mpsc::Sender<Waiting>,
}

impl Gather {
    /// Starts `readers` tasks: while one waits for its statement, another gathers the next. Needs a Tokio runtime.
    pub(in crate::store) fn start<R: Reader>(reader: &R, readers: usize) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..readers {
            tokio::spawn(serve(reader.clone(), Arc::clone(&waiting)));
        }
        Self { queue }
    }

    /// Asks.
    pub(in crate::store) async fn ask(&self, ask: ChannelAsk) -> Answer {
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
