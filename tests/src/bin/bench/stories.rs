//! The kinds of work, each rendered first and then driven; and what was used meanwhile.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::options::{Options, Story};
use crate::other::Place;
use crate::process;
use crate::report::{Figures, Run};
use crate::statements;
use mdm_core::service::Mdm;
use tests::fleet::client::{Address, Exchange, Load, Measured, Wanted, drive};
use tests::fleet::devices::{self, Device, Writer, in_parallel};
use tests::fleet::house::House;

/// Where commands come from.
pub(crate) enum Queue<'a> {
    House(&'a House, &'a Mdm),
    Other(Place),
    None,
}

/// Everything that a story needs.
pub(crate) struct Stage<'a> {
    pub(crate) options: &'a Options,
    pub(crate) address: Address,
    pub(crate) writer: Writer,
    pub(crate) enrolled: &'a [Device],
    pub(crate) invited: &'a [Device],
    pub(crate) server: Option<u32>,
    pub(crate) database: Option<u32>,
    pub(crate) queue: Queue<'a>,
}

/// Declarations of each device, and devices that synchronise them.
const DECLARED: usize = 30;
const SYNCHRONISED: usize = 500;

/// Requests of every device, for each kind.
type Requests = Vec<Vec<u8>>;

impl Stage<'_> {
    /// Plays the stories that were asked for.
    pub(crate) fn play(&self, run: &mut Run) -> anyhow::Result<()> {
        let ours = matches!(self.queue, Queue::House(..));
        if !ours && !self.options.only.contains(&Story::Enrol) {
            self.enrol()?;
        }
        for story in &self.options.only {
            let figures = self.one(*story, run)?;
            run.add(*story, figures);
            if *story == Story::Enqueue {
                // The devices fetch them, so that nothing waits for the stories to come.
                self.fetch(run.queued)?;
            }
        }
        run.memory = self.server.and_then(process::memory_of);
        Ok(())
    }

    /// Counts statements: the stories again, and nothing is timed.
    pub(crate) fn count(&self, run: &mut Run) -> anyhow::Result<()> {
        for story in &self.options.only {
            let (figures, statements) = match story {
                // Polls, as in another story.
                Story::Offered => continue,
                // Queueing has a story of its own.
                Story::Round => {
                    run.queued += 1;
                    self.enqueue(run.queued)?;
                    let nth = run.queued;
                    statements::during(|| self.fetch(nth))?
                }
                Story::Day => {
                    run.queued += 1;
                    let nth = run.queued;
                    self.enqueue_for(self.called()?, nth)?;
                    statements::during(|| self.day(nth))?
                }
                // What is declared is there since it was played.
                Story::DdmSync => {
                    let all = self.synchronisations()?;
                    statements::during(|| self.synchronise(&all))?
                }
                other => statements::during(|| self.one(*other, run))?,
            };
            run.counted(*story, statements, figures.requests());
            if *story == Story::Enqueue {
                self.fetch(run.queued)?;
            }
        }
        Ok(())
    }

    fn one(&self, story: Story, run: &mut Run) -> anyhow::Result<Figures> {
        match story {
            Story::Enrol => self.enrol(),
            Story::Idle => {
                let idle = self.idle()?;
                let (begun, span) = (OnceLock::new(), self.span());
                // Who has not polled yet is in none of the server's caches.
                self.load(None, |nth| {
                    let begun = begun.get_or_init(Instant::now);
                    if nth < idle.len() || begun.elapsed() < span {
                        poll(&idle, nth)
                    } else {
                        None
                    }
                })
            }
            Story::Enqueue => {
                run.queued += 1;
                crate::pause(self.options, "a story", self.server);
                self.enqueue(run.queued)
            }
            Story::Round => {
                let before = run.queued;
                run.queued += self.options.rounds;
                self.rounds(before, run.queued)
            }
            Story::Token => self.polls(&self.tokens()?),
            Story::Ddm => {
                let all = self.render(|w, d| w.check_in(d, &devices::declarations(d)))?;
                self.load(Some(self.span()), |nth| {
                    let request = &all[nth % all.len()];
                    Some(vec![Exchange {
                        request,
                        wanted: Wanted::Content,
                    }])
                })
            }
            Story::Day => {
                run.queued += 1;
                self.enqueue_for(self.called()?, run.queued)?;
                self.day(run.queued)
            }
            Story::Offered => {
                let idle = self.idle()?;
                let peak = match run.rate_of(Story::Idle) {
                    Some(peak) => peak,
                    None => self.polls(&idle)?.rate(),
                };
                let load = Load {
                    connections: self.options.many,
                    until: Some(self.span()),
                    rate: Some((peak / 2).max(1)),
                };
                self.loaded(load, |nth| poll(&idle, nth))
            }
            Story::DdmSync => {
                self.declare()?;
                self.synchronise(&self.synchronisations()?)
            }
        }
    }

    fn span(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn render(
        &self,
        each: impl Fn(&Writer, &Device) -> anyhow::Result<Vec<u8>> + Sync,
    ) -> anyhow::Result<Requests> {
        in_parallel(self.enrolled, |device| each(&self.writer, device))
    }

    fn idle(&self) -> anyhow::Result<Requests> {
        self.render(|w, d| w.report(d, &devices::idle(d)))
    }

    /// Two for each device, one after the other, so that each changes what the one before said.
    fn tokens(&self) -> anyhow::Result<Requests> {
        let mut all = self.render(|w, d| w.check_in(d, &devices::token_update(d, 1)))?;
        all.extend(self.render(|w, d| w.check_in(d, &devices::token_update(d, 2)))?);
        Ok(all)
    }

    /// Drives a load, and says what was used for it.
    fn load<'b, F>(&self, until: Option<Duration>, unit: F) -> anyhow::Result<Figures>
    where
        F: Fn(usize) -> Option<Vec<Exchange<'b>>> + Sync,
    {
        let load = Load {
            connections: self.options.connections,
            until,
            rate: self.options.rate,
        };
        self.loaded(load, unit)
    }

    fn loaded<'b, F>(&self, load: Load, unit: F) -> anyhow::Result<Figures>
    where
        F: Fn(usize) -> Option<Vec<Exchange<'b>>> + Sync,
    {
        crate::pause(self.options, "a story", self.server);
        self.used(|| drive(&self.address, load, unit))
    }

    fn used(&self, work: impl FnOnce() -> anyhow::Result<Measured>) -> anyhow::Result<Figures> {
        let times = || {
            (
                self.server.map(process::time_of).unwrap_or_default(),
                self.database.map(process::time_of).unwrap_or_default(),
                process::own_time(),
            )
        };
        let before = times();
        let measured = work()?;
        let after = times();
        Ok(Figures {
            measured,
            server: after.0.saturating_sub(before.0),
            database: after.1.saturating_sub(before.1),
            load: after.2.saturating_sub(before.2),
            statements: None,
        })
    }

    /// One request for each unit, answered with nothing, for as long as was asked.
    fn polls(&self, all: &Requests) -> anyhow::Result<Figures> {
        self.load(Some(self.span()), |nth| poll(all, nth))
    }

    /// Every invited device enrols.
    pub(crate) fn enrol(&self) -> anyhow::Result<Figures> {
        let all = in_parallel(self.invited, |device| {
            Ok([
                self.writer
                    .check_in(device, &devices::authenticate(device))?,
                self.writer
                    .check_in(device, &devices::token_update(device, 0))?,
            ])
        })?;
        self.load(None, |nth| {
            let both = all.get(nth)?.iter().map(|request| Exchange {
                request,
                wanted: Wanted::Nothing,
            });
            Some(both.collect())
        })
    }

    /// Queues one command for every device.
    fn enqueue(&self, nth: usize) -> anyhow::Result<Figures> {
        self.enqueue_for(self.enrolled, nth)
    }

    fn enqueue_for(&self, devices: &[Device], nth: usize) -> anyhow::Result<Figures> {
        let uuid = command(nth);
        let enqueue = async {
            match &self.queue {
                Queue::House(house, _) => house.enqueue(devices, &uuid).await,
                Queue::Other(place) => place.enqueue(devices, &uuid).await,
                Queue::None => anyhow::bail!("--enqueue-url is needed for that story"),
            }
        };
        let work = || {
            let begun = Instant::now();
            let handle = tokio::runtime::Handle::current();
            let time = tokio::task::block_in_place(|| handle.block_on(enqueue))?;
            debug_assert!(time <= begun.elapsed());
            Ok(Measured {
                units: devices.len(),
                time,
                latencies: Vec::new(),
            })
        };
        self.used(work)
    }

    /// Every device fetches the `nth` command and answers it.
    fn fetch(&self, nth: usize) -> anyhow::Result<Figures> {
        let uuid = command(nth);
        let idle = self.idle()?;
        let done = self.render(|w, d| w.report(d, &devices::acknowledged(d, &uuid)))?;
        self.load(None, |nth| {
            let request = idle.get(nth)?;
            Some(vec![
                Exchange {
                    request,
                    wanted: Wanted::Content,
                },
                Exchange {
                    request: &done[nth],
                    wanted: Wanted::Nothing,
                },
            ])
        })
    }

    fn rounds(&self, from: usize, to: usize) -> anyhow::Result<Figures> {
        let mut all = Figures::default();
        for nth in from + 1..=to {
            self.enqueue(nth)?;
            all.merge(self.fetch(nth)?);
        }
        Ok(all)
    }

    /// Declares to everybody what is synchronised.
    fn declare(&self) -> anyhow::Result<()> {
        let Queue::House(house, mdm) = &self.queue else {
            anyhow::bail!("only our own server is told what to declare");
        };
        let handle = tokio::runtime::Handle::current();
        let declared = house.declare(mdm, DECLARED);
        tokio::task::block_in_place(|| handle.block_on(declared))
    }

    /// What every device, or the first of many, says to take its list, to fetch what is in it and to report.
    fn synchronisations(&self) -> anyhow::Result<Vec<Requests>> {
        let report = r#"{"StatusItems":{"device":{"model":{"family":"Mac"}}},"Errors":[],"FullReport":false}"#;
        let some = &self.enrolled[..self.enrolled.len().min(SYNCHRONISED)];
        in_parallel(some, |device| {
            let say = |endpoint: &str, json| {
                let message = devices::declarative(device, endpoint, json);
                self.writer.check_in(device, &message)
            };
            let mut messages = vec![say("tokens", None)?, say("declaration-items", None)?];
            for nth in 0..DECLARED {
                let name = House::declaration(nth);
                messages.push(say(&format!("declaration/configuration/{name}"), None)?);
            }
            messages.push(say("status", Some(report))?);
            Ok(messages)
        })
    }

    fn synchronise(&self, all: &[Requests]) -> anyhow::Result<Figures> {
        self.load(None, |nth| {
            let messages = all.get(nth)?;
            let last = messages.len() - 1;
            let all = messages.iter().enumerate();
            let all = all.map(|(n, request)| Exchange {
                request,
                wanted: if n == last {
                    Wanted::Nothing
                } else {
                    Wanted::Content
                },
            });
            Some(all.collect())
        })
    }

    /// Those who have a command in the story `day`. The others find nothing when they poll.
    fn called(&self) -> anyhow::Result<&[Device]> {
        let half = self.enrolled.len() / 2;
        anyhow::ensure!(half > 0, "a day needs two devices");
        Ok(&self.enrolled[..half])
    }

    /// Ends when everybody who was called has fetched and answered the `nth` command, once: a device does one thing after the other.
    fn day(&self, nth: usize) -> anyhow::Result<Figures> {
        let called = self.called()?.len();
        let (idle, tokens) = (self.idle()?, self.tokens()?);
        let declarations = self.render(|w, d| w.check_in(d, &devices::declarations(d)))?;
        let uuid = command(nth);
        let done = in_parallel(self.called()?, |d| {
            self.writer.report(d, &devices::acknowledged(d, &uuid))
        })?;
        let others = &idle[called..];
        self.load(None, |nth| {
            // Two of twelve.
            let round = nth / 6;
            if round >= called {
                return None;
            }
            Some(match nth % 12 {
                0 => vec![one(&tokens[nth / 12 % tokens.len()], Wanted::Nothing)],
                6 => vec![one(
                    &declarations[nth % declarations.len()],
                    Wanted::Content,
                )],
                3 | 9 => vec![
                    one(&idle[round], Wanted::Content),
                    one(&done[round], Wanted::Nothing),
                ],
                _ => vec![one(&others[nth % others.len()], Wanted::Nothing)],
            })
        })
    }
}

/// One request and its answer.
fn one(request: &[u8], wanted: Wanted) -> Exchange<'_> {
    Exchange { request, wanted }
}

/// The n-th poll.
fn poll(all: &[Vec<u8>], nth: usize) -> Option<Vec<Exchange<'_>>> {
    Some(vec![one(&all[nth % all.len()], Wanted::Nothing)])
}

/// The UUID of the n-th command of every device.
fn command(nth: usize) -> String {
    format!("BE4C0000-0000-4000-8000-{nth:012}")
}
