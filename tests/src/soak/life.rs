//! What the devices of a soak do, and what is asked of them. Draws everything from the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fixtures::clock::{DAY, HOUR};
use fixtures::world::World;
use futures_util::StreamExt as _;
use serde_json::json;

use super::Options;
use crate::chaos::Rng;
use crate::fleet::client::{Address, Connection};
use crate::fleet::devices::{self, Device, Mode, TOPIC, Writer};
use crate::fleet::house::House;

/// The longest time between two visits of a device that nobody pushed, in ms.
const SELDOM: u64 = 8 * HOUR as u64;
/// Commands of one request of a client.
const AT_ONCE: usize = 500;
/// A connection that nobody has used for so long is left: the server will close it.
const STALE: Duration = Duration::from_secs(5);
/// Commands that a device answers in one visit, at the most.
const MOST: usize = 20;

/// One device as the soak knows it.
struct Member {
    device: Device,
    enrolled: bool,
    /// The version of its push token.
    version: u8,
    /// Until when it is off, in ms.
    away_until: i64,
}

pub(super) struct Life {
    world: World,
    members: Vec<Member>,
    by_serial: BTreeMap<String, usize>,
    /// When who comes by itself.
    due: BinaryHeap<Reverse<(i64, usize)>>,
    /// Who was pushed.
    pushed: Vec<usize>,
    rng: Rng,
    writer: Writer,
    address: Address,
    admin: Address,
    authorization: String,
    /// Connections, and when each was last used.
    lines: Vec<(Connection, Instant)>,
    at_once: usize,
    commands: u64,
    /// The next device that a client thinks of.
    next: usize,
    latencies: Vec<u32>,
}

/// What a visit is like.
#[derive(Clone, Copy)]
struct Visit {
    authenticate: bool,
    token: Option<u8>,
    bootstrap: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It says that it cannot now.
    NotNow,
    /// It says that it cannot at all.
    Error,
    /// It says everything twice.
    Twice,
    /// It hangs up before the answer.
    HangsUp,
}

impl Life {
    pub(super) fn new(
        house: &House,
        world: &World,
        enrolled: Vec<Device>,
        invited: Vec<Device>,
        options: &Options,
    ) -> Self {
        let mut rng = Rng::new(options.seed);
        let now = world.clock().now_ms();
        let member = |device, enrolled| Member {
            device,
            enrolled,
            version: 0,
            away_until: i64::MIN,
        };
        let old = enrolled.into_iter().map(|device| member(device, true));
        let new = invited.into_iter().map(|device| member(device, false));
        let members: Vec<Member> = old.chain(new).collect();
        let mut due = BinaryHeap::new();
        let mut by_serial = BTreeMap::new();
        let days = u64::try_from(options.days).unwrap_or(1).max(1);
        for (at, member) in members.iter().enumerate() {
            let span = match member.enrolled {
                true => SELDOM,
                // They enrol all through the days.
                false => days * DAY as u64,
            };
            due.push(Reverse((now + within(&mut rng, span), at)));
            by_serial.insert(member.device.serial.clone(), at);
            if member.enrolled {
                let token = format!("{:064x}", member.device.number);
                register(world, &member.device, &token, None);
            }
        }
        let token = String::from_utf8_lossy(house.token.expose()).into_owned();
        Self {
            world: world.clone(),
            members,
            by_serial,
            due,
            pushed: Vec::new(),
            rng,
            writer: Writer {
                host: "localhost".to_owned(),
                check_in_path: house.check_in_path.clone(),
                command_path: house.command_path.clone(),
                mode: Mode::Header,
            },
            address: house.address.clone(),
            admin: house.admin.clone(),
            authorization: format!("Bearer {token}"),
            lines: Vec::new(),
            at_once: options.connections,
            commands: 0,
            next: 0,
            latencies: Vec::new(),
        }
    }

    /// How long requests took since it was last asked, in microseconds.
    pub(super) fn take_latencies(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.latencies)
    }

    /// Everybody who is due comes.
    pub(super) async fn step(&mut self) -> anyhow::Result<()> {
        let now = self.world.clock().now_ms();
        let mut who: Vec<usize> = std::mem::take(&mut self.pushed);
        for push in self.world.apple().take_pushes() {
            // They come in the next step.
            self.pushed.extend(self.by_serial.get(&push.serial));
        }
        while let Some(Reverse((at, member))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            who.push(member);
            let next = now + within(&mut self.rng, SELDOM);
            self.due.push(Reverse((next, member)));
        }
        who.sort_unstable();
        who.dedup();
        let mut visits = Vec::new();
        for at in who {
            if let Some(visit) = self.decide(at, now) {
                visits.push((at, visit));
            }
        }
        self.lines.retain(|(_, used)| used.elapsed() < STALE);
        while self.lines.len() < self.at_once {
            let line = Connection::open(&self.address).await?;
            self.lines.push((line, Instant::now()));
        }
        // Each connection takes its part of them.
        let lines = std::mem::take(&mut self.lines);
        let share = visits.len().div_ceil(lines.len()).max(1);
        let parts: Vec<&[(usize, Visit)]> = visits.chunks(share).collect();
        let mut idle = lines;
        let spoken = {
            let life = &*self;
            let mut running = futures_util::stream::FuturesUnordered::new();
            for part in parts {
                let (line, _) = idle.pop().context("a connection for each part")?;
                running.push(life.speak(line, part));
            }
            let mut spoken = Vec::new();
            while let Some(one) = running.next().await {
                spoken.push(one?);
            }
            spoken
        };
        self.lines = idle;
        for (line, latencies) in spoken {
            self.lines.extend(line.map(|line| (line, Instant::now())));
            self.latencies.extend(latencies);
        }
        for (at, visit) in visits {
            self.settle(at, visit);
        }
        Ok(())
    }

    /// Whether it comes, and what it does then.
    fn decide(&mut self, at: usize, now: i64) -> Option<Visit> {
        let rng = &mut self.rng;
        let member = &mut self.members[at];
        if member.away_until > now {
            return None;
        }
        if member.enrolled && rng.below(400) == 0 {
            // In the drawer for a day.
            member.away_until = now + DAY;
            return None;
        }
        let fault = match rng.below(100) {
            0..3 => Some(Fault::NotNow),
            3 => Some(Fault::Error),
            4 => Some(Fault::Twice),
            5 | 6 => Some(Fault::HangsUp),
            _ => None,
        };
        let renews = !member.enrolled || rng.below(20) == 0;
        Some(Visit {
            authenticate: !member.enrolled,
            // Never the seeded one again.
            token: renews.then(|| member.version % 255 + 1),
            bootstrap: rng.below(50) == 0,
            // Who is about to enrol says everything to the end.
            fault: fault.filter(|_| member.enrolled),
        })
    }

    fn settle(&mut self, at: usize, visit: Visit) {
        let member = &mut self.members[at];
        member.enrolled = true;
        if let Some(version) = visit.token {
            let hex = |version| -> String {
                let token = devices::push_token(&member.device, version);
                token.iter().map(|b| format!("{b:02x}")).collect()
            };
            let before = match member.version {
                0 => format!("{:064x}", member.device.number),
                version => hex(version),
            };
            register(&self.world, &member.device, &hex(version), Some(&before));
            member.version = version;
        }
    }

    /// Speaks for these devices over one connection; gives it back, unless one of them hung up last, with how long everything took.
    async fn speak(
        &self,
        line: Connection,
        visits: &[(usize, Visit)],
    ) -> anyhow::Result<(Option<Connection>, Vec<u32>)> {
        let (mut line, mut latencies) = (Some(line), Vec::new());
        for (at, visit) in visits {
            let mut open = match line.take() {
                Some(line) => line,
                None => Connection::open(&self.address).await?,
            };
            let device = &self.members[*at].device;
            let stays = self
                .visit(&mut open, device, *visit, &mut latencies)
                .await
                .with_context(|| device.serial.clone())?;
            line = stays.then_some(open);
        }
        Ok((line, latencies))
    }

    /// One visit; answers whether the connection is still good.
    async fn visit(
        &self,
        line: &mut Connection,
        device: &Device,
        visit: Visit,
        latencies: &mut Vec<u32>,
    ) -> anyhow::Result<bool> {
        if visit.authenticate {
            let body = devices::authenticate(device);
            let request = self.writer.check_in(device, &body)?;
            said(line, &request, latencies).await?;
        }
        if let Some(version) = visit.token {
            let body = devices::token_update(device, version);
            let request = self.writer.check_in(device, &body)?;
            said(line, &request, latencies).await?;
        }
        if visit.bootstrap {
            let body = devices::bootstrap_token(device, "soaked");
            let request = self.writer.check_in(device, &body)?;
            said(line, &request, latencies).await?;
        }
        let mut next = said(
            line,
            &self.writer.report(device, &devices::idle(device))?,
            latencies,
        )
        .await?;
        for _ in 0..MOST {
            let Some((uuid, asks)) = next else {
                return Ok(true);
            };
            let body = match visit.fault {
                Some(Fault::NotNow) => devices::not_now(device, &uuid),
                Some(Fault::Error) => devices::refused(device, &uuid),
                _ if asks => devices::acknowledged(device, &uuid),
                _ => devices::refused(device, &uuid),
            };
            let request = self.writer.report(device, &body)?;
            match visit.fault {
                Some(Fault::HangsUp) => {
                    // The server has it, and nobody waits for what it says.
                    let _ =
                        tokio::time::timeout(Duration::from_micros(200), line.exchange(&request))
                            .await;
                    return Ok(false);
                }
                Some(Fault::Twice) => {
                    said(line, &request, latencies).await?;
                }
                _ => {}
            }
            next = said(line, &request, latencies).await?;
            if visit.fault == Some(Fault::NotNow) {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// A client queues one command for an hour's share of the devices, with pushes.
    pub(super) async fn queue_commands(&mut self) -> anyhow::Result<()> {
        let share = self.members.len().div_ceil(24);
        let mut channels = Vec::new();
        for _ in 0..share {
            let member = &self.members[self.next];
            self.next = (self.next + 1) % self.members.len();
            if member.enrolled {
                channels.push(member.device.udid.clone());
            }
        }
        let mut line = Connection::open(&self.admin).await?;
        for part in channels.chunks(AT_ONCE) {
            self.commands += 1;
            let body = json!({
                "channels": part, "uuid": format!("50A40000-0000-4000-8000-{:012}", self.commands),
                "request_type": "DeviceInformation", "keys": { "Queries": ["SerialNumber"] },
            })
            .to_string();
            let request = format!(
                "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                self.authorization,
                body.len()
            );
            let (status, _) = line.exchange(request.as_bytes()).await?;
            ensure!(
                status == 200,
                "queueing was answered {status}: {}",
                String::from_utf8_lossy(line.content())
            );
        }
        Ok(())
    }
}

/// Says something, and notes how long the answer took. What was answered is the next command: its UUID, and whether it asks what the
/// device is.
async fn said(
    line: &mut Connection,
    request: &[u8],
    latencies: &mut Vec<u32>,
) -> anyhow::Result<Option<(String, bool)>> {
    let begun = Instant::now();
    let (status, _) = line.exchange(request).await?;
    latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    let text = String::from_utf8_lossy(line.content()).into_owned();
    ensure!(status == 200, "a device was answered {status}: {text}");
    let asks = text.contains("<string>DeviceInformation</string>");
    Ok(devices::command_uuid(&text).map(|uuid| (uuid, asks)))
}

fn within(rng: &mut Rng, span: u64) -> i64 {
    i64::try_from(rng.below(span)).unwrap_or(0)
}

fn register(world: &World, device: &Device, token: &str, before: Option<&str>) {
    let magic = format!("A5D3C1E2-0B7F-4E62-9D0B-{:012X}", device.number);
    world
        .apple()
        .adopt_push_token(&device.serial, token, TOPIC, &magic, before);
}
