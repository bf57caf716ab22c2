//! Plays the busiest hour, request by request: they come at random, wait for a processor of the servers, for one of the databases,
//! and, where they write, for the commit that they share. Means come from what was measured; each single time is drawn around its
//! mean exponentially, which is wider than what was measured and so no flattery. One seed is one hour. Measures nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Requests of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// How many come in a second.
    pub(crate) rate: f64,
    /// Microseconds of a processor in the server and in the database, on average.
    pub(crate) server: f64,
    pub(crate) database: f64,
    /// The part of them that writes.
    pub(crate) writes: f64,
}

/// What they come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plant {
    /// Processors of all servers, and of all databases.
    pub(crate) servers: usize,
    pub(crate) databases: usize,
    /// Server processes: each has one commit under way at a time.
    pub(crate) processes: usize,
    /// How long a commit is under way beside its processor time.
    pub(crate) flush: Duration,
    /// How many requests share one at most.
    pub(crate) group: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Played {
    pub(crate) requests: usize,
    pub(crate) mean: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// How much of the processors' time was used.
    pub(crate) servers_used: f64,
    pub(crate) databases_used: f64,
    /// Requests that shared a commit, on average; 0 when nothing was written.
    pub(crate) group: f64,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    came: Duration,
    kind: usize,
    /// Whose commits it shares, if it writes.
    writer: Option<usize>,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes { kind: usize },
    Served(Request),
    Read(Request),
    Flushed { writer: usize },
}

/// SplitMix64: the same numbers from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// At least 0, less than 1.
    fn share(&mut self) -> f64 {
        let [a, b, c, d, ..] = self.draw().to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
    }

    /// Exponentially around a mean, in seconds.
    fn around(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.share()).ln() * mean)
    }

    fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % n).unwrap_or_default()
    }
}

/// Processors before which requests stand in one queue.
struct Pool {
    free: usize,
    queue: VecDeque<Request>,
    busy: Duration,
}

impl Pool {
    fn new(processors: usize) -> Self {
        Self {
            free: processors.max(1),
            queue: VecDeque::new(),
            busy: Duration::ZERO,
        }
    }

    /// Who begins now that one more waits, or that a processor is free.
    fn begin(&mut self) -> Option<Request> {
        if self.free == 0 {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.free -= 1;
        Some(next)
    }
}

/// One process's commits: who waits for the next one, and who shares the one that is under way.
#[derive(Default)]
struct Writer {
    waits: VecDeque<Request>,
    shares: Vec<Request>,
}

/// Everything that is under way.
struct Play<'a> {
    kinds: &'a [Kind],
    plant: &'a Plant,
    random: Random,
    /// By the time, then in the order in which they were put here.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    put: u64,
    servers: Pool,
    databases: Pool,
    writers: Vec<Writer>,
    flushes: usize,
    flushed: usize,
    times: Vec<Duration>,
}

/// Plays so many seconds from an empty plant, and until everybody who came has gone.
pub(crate) fn play(kinds: &[Kind], plant: &Plant, span: Duration, seed: u64) -> Played {
    let mut play = Play {
        kinds,
        plant,
        random: Random(seed),
        events: BinaryHeap::new(),
        put: 0,
        servers: Pool::new(plant.servers),
        databases: Pool::new(plant.databases),
        writers: Vec::new(),
        flushes: 0,
        flushed: 0,
        times: Vec::new(),
    };
    let writers = plant.processes.max(1);
    play.writers.resize_with(writers, Writer::default);
    for (kind, of) in kinds.iter().enumerate() {
        if of.rate > 0.0 {
            let first = play.random.around(1.0 / of.rate);
            play.put(first, Event::Comes { kind });
        }
    }
    let mut now = Duration::ZERO;
    while let Some(Reverse((at, _, event))) = play.events.pop() {
        now = at;
        play.happens(now, span, event);
    }
    play.told(now)
}

impl Play<'_> {
    fn put(&mut self, at: Duration, event: Event) {
        self.put += 1;
        self.events.push(Reverse((at, self.put, event)));
    }

    fn happens(&mut self, now: Duration, span: Duration, event: Event) {
        match event {
            Event::Comes { kind } => {
                if now >= span {
                    return;
                }
                let of = self.kinds[kind];
                let next = self.random.around(1.0 / of.rate);
                self.put(now + next, Event::Comes { kind });
                let writes = self.random.share() < of.writes;
                let writer = writes.then(|| self.random.below(self.writers.len()));
                let request = Request {
                    came: now,
                    kind,
                    writer,
                };
                self.servers.queue.push_back(request);
            }
            Event::Served(request) => {
                self.servers.free += 1;
                self.databases.queue.push_back(request);
            }
            Event::Read(request) => {
                self.databases.free += 1;
                match request.writer {
                    Some(writer) => {
                        self.writers[writer].waits.push_back(request);
                        self.flush(now, writer);
                    }
                    None => self.times.push(now - request.came),
                }
            }
            Event::Flushed { writer } => {
                let shared = std::mem::take(&mut self.writers[writer].shares);
                self.times.extend(shared.iter().map(|r| now - r.came));
                self.flush(now, writer);
            }
        }
        while let Some(request) = self.servers.begin() {
            let takes = self.random.around(self.kinds[request.kind].server / 1e6);
            self.servers.busy += takes;
            self.put(now + takes, Event::Served(request));
        }
        while let Some(request) = self.databases.begin() {
            let takes = self.random.around(self.kinds[request.kind].database / 1e6);
            self.databases.busy += takes;
            self.put(now + takes, Event::Read(request));
        }
    }

    /// Begins a commit for those who wait, unless one is under way.
    fn flush(&mut self, now: Duration, writer: usize) {
        let all = &mut self.writers[writer];
        if !all.shares.is_empty() || all.waits.is_empty() {
            return;
        }
        let together = all.waits.len().min(self.plant.group.max(1));
        all.shares.extend(all.waits.drain(..together));
        self.flushes += 1;
        self.flushed += together;
        self.put(now + self.plant.flush, Event::Flushed { writer });
    }

    fn told(mut self, end: Duration) -> Played {
        self.times.sort_unstable();
        let requests = self.times.len();
        let place = |thousandths: usize| {
            let at = requests.saturating_sub(1) * thousandths / 1000;
            self.times.get(at).copied().unwrap_or_default()
        };
        let all: Duration = self.times.iter().sum();
        let used = |pool: &Pool, processors: usize| {
            let there = end.as_secs_f64() * count(processors.max(1));
            pool.busy.as_secs_f64() / there.max(1e-9)
        };
        Played {
            requests,
            mean: Duration::from_secs_f64(all.as_secs_f64() / count(requests.max(1))),
            p50: place(500),
            p99: place(990),
            servers_used: used(&self.servers, self.plant.servers),
            databases_used: used(&self.databases, self.plant.databases),
            group: count(self.flushed) / count(self.flushes.max(1)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(2_000);

    /// Requests that only need a server's processor, 10 ms of it: the textbook's queue.
    fn textbook(rate: f64) -> Kind {
        Kind {
            rate,
            server: 10_000.0,
            database: 0.0,
            writes: 0.0,
        }
    }

    fn plant(servers: usize) -> Plant {
        Plant {
            servers,
            databases: 1,
            processes: 1,
            flush: Duration::ZERO,
            group: 512,
        }
    }

    fn near(what: &str, is: f64, wanted: f64) {
        let off = (is / wanted - 1.0).abs();
        assert!(off < 0.05, "{what}: {is}, not {wanted}");
    }

    /// The mean time of M/M/c, by Erlang's formula: service, and the wait of those who have to.
    fn erlang(servers: u32, rate: f64, mean: f64) -> f64 {
        let offered = rate * mean;
        let (mut term, mut below) = (1.0, 0.0);
        for n in 0..servers {
            below += term;
            term *= offered / f64::from(n + 1);
        }
        let used = offered / f64::from(servers);
        let waits = term / (1.0 - used);
        let waits = waits / (below + waits);
        mean + waits / (f64::from(servers) / mean - rate)
    }

    #[test]
    fn one_processor_is_the_textbooks() {
        // Half used: 50 a second of 100. The time of each is exponential around 1 / (100 - 50) s.
        let played = play(&[textbook(50.0)], &plant(1), LONG, 1);
        near("mean", played.mean.as_secs_f64(), 0.02);
        near("Erlang", erlang(1, 50.0, 0.01), 0.02);
        near("p50", played.p50.as_secs_f64(), 0.02 * 2_f64.ln());
        near("p99", played.p99.as_secs_f64(), 0.02 * 100_f64.ln());
        near("used", played.servers_used, 0.5);
        near("requests", count(played.requests), 50.0 * 2_000.0);
    }

    #[test]
    fn several_processors_are_erlangs() {
        for (servers, at_once, rate) in [(2_u32, 2, 150.0), (4, 4, 300.0), (8, 8, 400.0)] {
            let played = play(&[textbook(rate)], &plant(at_once), LONG, 2);
            let wanted = erlang(servers, rate, 0.01);
            near("mean", played.mean.as_secs_f64(), wanted);
            near(
                "used",
                played.servers_used,
                rate / f64::from(servers) / 100.0,
            );
        }
    }

    #[test]
    fn two_queues_in_a_row_are_as_if_each_were_alone() {
        // Burke: what leaves the first one comes at random, too. Kinds of one rate are one kind of twice the rate.
        let kind = Kind {
            database: 5_000.0,
            ..textbook(25.0)
        };
        let played = play(&[kind, kind], &plant(1), LONG, 3);
        let wanted = 1.0 / (100.0 - 50.0) + 1.0 / (200.0 - 50.0);
        near("mean", played.mean.as_secs_f64(), wanted);
        near("databases", played.databases_used, 0.25);
    }

    #[test]
    fn commits_are_shared_by_those_who_wait() {
        let kind = Kind {
            rate: 1_000.0,
            server: 0.0,
            database: 0.0,
            writes: 1.0,
        };
        let slow = Plant {
            flush: Duration::from_millis(20),
            ..plant(1)
        };
        // Each alone would be 20 seconds of commits in a second. Who comes waits for half a commit, and then for its own.
        let span = Duration::from_secs(100);
        let played = play(&[kind], &slow, span, 4);
        near("group", played.group, 20.0);
        near("mean", played.mean.as_secs_f64(), 0.030);
        assert!(played.p99 <= Duration::from_millis(40), "{played:?}");
        // Ten to a commit are half of what comes.
        let narrow = Plant { group: 10, ..slow };
        let played = play(&[kind], &narrow, span, 4);
        assert!(played.p50 > Duration::from_secs(10), "{played:?}");
        // Few come: each has a commit of its own.
        let few = Kind { rate: 1.0, ..kind };
        let played = play(&[few], &slow, LONG, 4);
        near("group", played.group, 1.0);
        assert_eq!(played.p50, Duration::from_millis(20));
    }

    #[test]
    fn one_seed_is_one_hour() {
        let hour = |seed| play(&[textbook(50.0)], &plant(1), Duration::from_secs(60), seed);
        assert_eq!(hour(5), hour(5));
        assert_ne!(hour(5), hour(6));
    }
}
