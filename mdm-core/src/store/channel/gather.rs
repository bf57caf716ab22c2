//! Messages under way at once share a statement: who asks waits at one door, a few tasks read for all who wait there, and rows
//! go to those who asked. Contains no SQL.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChannelAsk, ChannelView, in_turn};
use crate::store::StoreError;
use crate::store::row::{Met, Raw, Stored};

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
    pub(in crate::store) fn views(self, met: &Met) -> Vec<Result<ChannelView, StoreError>> {
        self.0.into_iter().map(|rows| view(rows, met)).collect()
    }
}

fn view(mut rows: BTreeMap<(Part, i64), Raw>, met: &Met) -> Result<ChannelView, StoreError> {
    fn some<T: Stored>(
        met: &Met,
        rows: &mut BTreeMap<(Part, i64), Raw>,
        part: Part,
    ) -> Result<Vec<T>, StoreError> {
        met.all(of_part(rows, part))
    }
    // What a device can do without: it must not keep the rest from it. Who looks for one that is missing reads it alone.
    fn readable<T: Stored>(met: &Met, rows: &mut BTreeMap<(Part, i64), Raw>, part: Part) -> Vec<T> {
        met.readable(of_part(rows, part))
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
    let enrollments = some(met, &mut rows, Part::Enrollment)?;
    let mut commands = readable(met, &mut rows, Part::Command);
    in_turn(&mut commands);
    Ok(ChannelView {
        organisation_version: version,
        enrollments,
        commands,
        set_ups: some(met, &mut rows, Part::SetUp)?,
        devices: readable(met, &mut rows, Part::Device),
        attempts: readable(met, &mut rows, Part::Attempt),
        generations: some(met, &mut rows, Part::Generation)?,
        certificate: some(met, &mut rows, Part::Certificate)?.pop(),
        session: some(met, &mut rows, Part::Session)?.pop(),
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
        &mut self,
        asks: &[ChannelAsk],
    ) -> impl Future<Output = Result<Vec<Answer>, StoreError>> + Send;

    /// Nobody waits: what is kept from one statement to the next is let go.
    fn rest(&mut self) {}
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

async fn serve<R: Reader>(mut reader: R, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut gathered = Vec::with_capacity(GATHERED);
    loop {
        let mut door = match waiting.try_lock() {
            Ok(door) if !door.is_empty() => door,
            // Where another task stands at the door, nobody waits there either.
            tried => {
                drop(tried);
                reader.rest();
                waiting.lock().await
            }
        };
        let count = door.recv_many(&mut gathered, GATHERED).await;
        drop(door);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::ids::OrganisationId;
    use crate::store::Depth;

    /// A database whose statements wait at a gate, and are counted.
    #[derive(Clone)]
    struct Gated {
        gate: Arc<Semaphore>,
        statements: Arc<AtomicUsize>,
        taken: Arc<AtomicUsize>,
    }

    impl Reader for Gated {
        async fn read(&mut self, asks: &[ChannelAsk]) -> Result<Vec<Answer>, StoreError> {
            self.statements.fetch_add(1, Ordering::SeqCst);
            self.taken.fetch_add(asks.len(), Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            let view = |ask: &ChannelAsk| ChannelView {
                organisation_version: ask.organisation.0,
                ..ChannelView::default()
            };
            Ok(asks.iter().map(|ask| Ok(view(ask))).collect())
        }
    }

    #[tokio::test]
    async fn a_hundred_who_ask_at_once_share_three_statements() {
        const READERS: usize = 2;
        const ASKING: usize = 100;
        let reader = Gated {
            gate: Arc::new(Semaphore::new(0)),
            statements: Arc::default(),
            taken: Arc::default(),
        };
        let gather = Gather::start(&reader, READERS);
        let asked = (1_i64..).take(ASKING).map(|n| {
            let gather = gather.clone();
            let ask = ChannelAsk {
                organisation: OrganisationId(n),
                key: "UDID".to_owned(),
                depth: Depth::Queue(1),
            };
            tokio::spawn(async move { gather.ask(ask).await })
        });
        let asked: Vec<_> = asked.collect();
        // Until everybody stands at the door, or is in one of the statements that are under way.
        while reader.taken.load(Ordering::SeqCst) + (WAITING - gather.queue.capacity()) < ASKING {
            tokio::task::yield_now().await;
        }
        reader.gate.add_permits(ASKING);
        for (asked, n) in asked.into_iter().zip(1_i64..) {
            let view = asked.await.unwrap().unwrap();
            assert_eq!(view.organisation_version, n, "somebody else's answer");
        }
        // One for each reader, which came first; then one for all the rest.
        let statements = reader.statements.load(Ordering::SeqCst);
        assert!(statements <= READERS + 1, "{statements} statements");
    }
}
