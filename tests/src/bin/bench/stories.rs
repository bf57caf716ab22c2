//! The kinds of work, each rendered first and then driven; and what was used meanwhile.

use std::time::{Duration, Instant};

use crate::options::{Options, Story};
use crate::other::Place;
use crate::process;
use crate::report::{Figures, Run};
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
        let mut queued = 0;
        for story in &self.options.only {
            let figures = match story {
                Story::Enrol => self.enrol()?,
                Story::Idle => self.polls(&self.idle()?)?,
                Story::Enqueue => {
                    queued += 1;
                    self.enqueue(queued, true)?
                }
                Story::Round => {
                    let before = queued;
                    queued += self.options.rounds;
                    self.rounds(before, queued)?
                }
                Story::Token => self.polls(&self.tokens()?)?,
                Story::Ddm => {
                    let all = self.render(|w, d| w.check_in(d, &devices::declarations(d)))?;
                    self.load(Some(self.span()), |nth| {
                        let request = &all[nth % all.len()];
                        Some(vec![Exchange {
                            request,
                            wanted: Wanted::Content,
                        }])
                    })?
                }
                Story::Day => self.day()?,
                Story::DdmSync => self.synchronise()?,
            };
            run.add(*story, figures);
        }
        run.memory = self.server.and_then(process::memory_of);
        Ok(())
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
        })
    }

    /// One request for each unit, answered with nothing, for as long as was asked.
    fn polls(&self, all: &Requests) -> anyhow::Result<Figures> {
        self.load(Some(self.span()), |nth| {
            let request = &all[nth % all.len()];
            Some(vec![Exchange {
                request,
                wanted: Wanted::Nothing,
            }])
        })
    }

    fn enrol(&self) -> anyhow::Result<Figures> {
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
    fn enqueue(&self, nth: usize, measured: bool) -> anyhow::Result<Figures> {
        let uuid = command(nth);
        let enqueue = async {
            match &self.queue {
                Queue::House(house, mdm) => house.enqueue(mdm, self.enrolled, &uuid).await,
                Queue::Other(place) => place.enqueue(self.enrolled, &uuid).await,
                Queue::None => anyhow::bail!("--enqueue-url is needed for that story"),
            }
        };
        let work = || {
            let begun = Instant::now();
            let handle = tokio::runtime::Handle::current();
            let time = tokio::task::block_in_place(|| handle.block_on(enqueue))?;
            debug_assert!(time <= begun.elapsed());
            Ok(Measured {
                units: self.enrolled.len(),
                time,
                latencies: Vec::new(),
            })
        };
        let figures = self.used(work)?;
        if measured {
            // The devices fetch them, so that nothing waits for the stories to come.
            self.fetch(nth)?;
        }
        Ok(figures)
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
            self.enqueue(nth, false)?;
            all.merge(self.fetch(nth)?);
        }
        Ok(all)
    }

    /// Every device, or the first of many, takes its list, fetches what is in it and reports.
    fn synchronise(&self) -> anyhow::Result<Figures> {
        let Queue::House(house, mdm) = &self.queue else {
            anyhow::bail!("only our own server is told what to declare");
        };
        let handle = tokio::runtime::Handle::current();
        let declared = house.declare(mdm, DECLARED);
        let names = tokio::task::block_in_place(|| handle.block_on(declared))?;
        let report = r#"{"StatusItems":{"device":{"model":{"family":"Mac"}}},"Errors":[],"FullReport":false}"#;
        let some = &self.enrolled[..self.enrolled.len().min(SYNCHRONISED)];
        let all = in_parallel(some, |device| {
            let say = |endpoint: &str, json| {
                let message = devices::declarative(device, endpoint, json);
                self.writer.check_in(device, &message)
            };
            let mut messages = vec![say("tokens", None)?, say("declaration-items", None)?];
            for name in &names {
                messages.push(say(&format!("declaration/configuration/{name}"), None)?);
            }
            messages.push(say("status", Some(report))?);
            Ok(messages)
        })?;
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

    fn day(&self) -> anyhow::Result<Figures> {
        let (idle, tokens) = (self.idle()?, self.tokens()?);
        let declarations = self.render(|w, d| w.check_in(d, &devices::declarations(d)))?;
        self.load(Some(self.span()), |nth| {
            let (request, wanted) = match nth % 10 {
                0 => (&tokens[nth / 10 % tokens.len()], Wanted::Nothing),
                5 => (&declarations[nth % declarations.len()], Wanted::Content),
                _ => (&idle[nth % idle.len()], Wanted::Nothing),
            };
            Some(vec![Exchange { request, wanted }])
        })
    }
}

/// The UUID of the n-th command of every device.
fn command(nth: usize) -> String {
    format!("BE4C0000-0000-4000-8000-{nth:012}")
}
