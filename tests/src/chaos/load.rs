//! Devices and clients that speak until nobody answers any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::json;

use super::ledger::{Ledger, Sent};
use super::rng::Rng;
use crate::fleet::client::{Address, Connection};
use crate::fleet::devices::{self, Device, Mode, Writer};
use crate::fleet::house::House;

/// Clients of the API, beside the devices.
const CLIENTS: usize = 2;
/// The most devices that a client queues one command for.
const MANY: u64 = 8;
/// After so many turns, on average, a speaker that rests opens another connection.
const STAYS: u64 = 32;

/// A connection of a device.
pub(super) struct Voice {
    line: Connection,
    writer: Writer,
}

/// What became of a request.
enum Answer {
    /// Done.
    Done,
    /// Nobody knows.
    Unknown,
}

impl Voice {
    pub(super) async fn open(house: &House) -> anyhow::Result<Self> {
        Self::at(&house.address, &writer(house)).await
    }

    async fn at(address: &Address, writer: &Writer) -> anyhow::Result<Self> {
        Ok(Self {
            line: Connection::open(address).await?,
            writer: writer.clone(),
        })
    }

    async fn check_in(&mut self, device: &Device, body: &str) -> anyhow::Result<u16> {
        let request = self.writer.check_in(device, body)?;
        Ok(self.line.exchange(&request).await?.0)
    }

    async fn report(&mut self, device: &Device, body: &str) -> anyhow::Result<u16> {
        let request = self.writer.report(device, body)?;
        Ok(self.line.exchange(&request).await?.0)
    }

    /// The number in the bootstrap token that the server keeps.
    pub(super) async fn which_bootstrap_token(
        &mut self,
        device: &Device,
    ) -> anyhow::Result<Option<u64>> {
        let body = devices::which_bootstrap_token(device);
        let status = self.check_in(device, &body).await?;
        // One whose enrolment was lost is nobody any more, and has none: what was acknowledged of it is lost, and told as that.
        if status == 400 {
            return Ok(None);
        }
        ensure!(status == 200, "GetBootstrapToken was answered {status}");
        let text = String::from_utf8_lossy(self.line.content()).into_owned();
        let Some((_, rest)) = text.split_once("<data>") else {
            return Ok(None);
        };
        let data: String = rest
            .split("</data>")
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        let token = String::from_utf8(STANDARD.decode(data)?)?;
        if token.is_empty() {
            return Ok(None);
        }
        Ok(Some(token.parse().context("a bootstrap token of ours")?))
    }
}

fn writer(house: &House) -> Writer {
    Writer {
        host: "localhost".to_owned(),
        check_in_path: house.check_in_path.clone(),
        command_path: house.command_path.clone(),
        mode: Mode::Header,
    }
}

/// Everything that the speakers need.
pub(super) struct Load<'a> {
    ledger: &'a Ledger,
    address: Address,
    admin: Address,
    authorization: String,
    writer: Writer,
    connections: usize,
    /// After every turn of a speaker.
    rest: Duration,
    next: AtomicU64,
}

impl<'a> Load<'a> {
    /// One that speaks less: so long a rest after every turn, and clients ten times as long.
    pub(super) const fn resting(mut self, rest: Duration) -> Self {
        self.rest = rest;
        self
    }

    pub(super) fn new(house: &House, ledger: &'a Ledger, connections: usize) -> Self {
        let token = String::from_utf8_lossy(house.token.expose()).into_owned();
        Self {
            ledger,
            address: house.address.clone(),
            admin: house.admin.clone(),
            authorization: format!("Bearer {token}"),
            writer: writer(house),
            connections,
            rest: Duration::ZERO,
            next: AtomicU64::new(0),
        }
    }

    /// Speaks for a while; then the server is killed, in the middle of whatever it does.
    pub(super) async fn drive(
        &self,
        rng: &mut Rng,
        time: Duration,
        kill: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let end = async {
            tokio::time::sleep(time).await;
            kill()
        };
        self.drive_until(rng, end).await
    }

    /// Speaks until that has come to an end. From then on nobody begins anything; what is under way may be answered or not.
    pub(super) async fn drive_until(
        &self,
        rng: &mut Rng,
        end: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let over = AtomicBool::new(false);
        let devices =
            (0..self.connections).map(|seat| self.device(seat, Rng::new(rng.next()), &over));
        let devices: Vec<_> = devices.collect();
        let clients = (0..CLIENTS).map(|_| self.client(Rng::new(rng.next()), &over));
        let clients: Vec<_> = clients.collect();
        let end = async {
            let ended = end.await;
            over.store(true, Ordering::SeqCst);
            ended
        };
        let (devices, clients, ended) = tokio::join!(join_all(devices), join_all(clients), end);
        ended?;
        devices.into_iter().chain(clients).collect()
    }

    /// Speaks for every device of its seat, one after the other.
    async fn device(&self, seat: usize, mut rng: Rng, over: &AtomicBool) -> anyhow::Result<()> {
        let own: Vec<usize> = (seat..self.ledger.len())
            .step_by(self.connections)
            .collect();
        'line: while !over.load(Ordering::SeqCst) && !own.is_empty() {
            let Ok(mut voice) = Voice::at(&self.address, &self.writer).await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            while !over.load(Ordering::SeqCst) {
                let at = own[rng.place(own.len())];
                if matches!(self.turn(&mut voice, at, &mut rng).await?, Answer::Unknown) {
                    continue 'line;
                }
                if !self.rest.is_zero() {
                    tokio::time::sleep(self.rest).await;
                    // Among several servers, the next one may take over.
                    if rng.below(STAYS) == 0 {
                        continue 'line;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes an answer into account. `Unknown` also for a refusal that says nothing about what was done.
    fn settle(
        &self,
        voice: &Voice,
        what: &str,
        device: &Device,
        told: &anyhow::Result<u16>,
    ) -> Answer {
        match told {
            Ok(200) => {
                self.ledger.acknowledged();
                Answer::Done
            }
            Ok(503) if voice.line.retry_after().is_some() => {
                self.ledger.put_off();
                Answer::Unknown
            }
            Err(_) => {
                self.ledger.unanswered();
                Answer::Unknown
            }
            Ok(status) => {
                let serial = &device.serial;
                self.ledger
                    .wrong(format!("{serial}: {what} was answered {status}"));
                Answer::Unknown
            }
        }
    }

    async fn turn(&self, voice: &mut Voice, at: usize, rng: &mut Rng) -> anyhow::Result<Answer> {
        let (device, authenticated, token) = {
            let mut entry = self.ledger.entry(at);
            entry.touched = true;
            (
                entry.device.clone(),
                entry.authenticated.sure,
                entry.token.sure,
            )
        };
        if !authenticated {
            self.ledger.entry(at).authenticated.ask(true);
            let told = voice
                .check_in(&device, &devices::authenticate(&device))
                .await;
            if let Answer::Unknown = self.settle(voice, "Authenticate", &device, &told) {
                return Ok(Answer::Unknown);
            }
            self.ledger.entry(at).authenticated.told(true);
        }
        match (token, rng.below(10)) {
            (None, _) | (_, 0 | 1) => {
                // Never the seeded one again, and never the same twice in a row.
                let next = token.unwrap_or(0) % 255 + 1;
                self.ledger.entry(at).token.ask(Some(next));
                let told = voice
                    .check_in(&device, &devices::token_update(&device, next))
                    .await;
                if let Answer::Unknown = self.settle(voice, "TokenUpdate", &device, &told) {
                    return Ok(Answer::Unknown);
                }
                self.ledger.entry(at).token.told(Some(next));
                Ok(Answer::Done)
            }
            (_, 2 | 3) => {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                self.ledger.entry(at).bootstrap.ask(Some(next));
                let body = devices::bootstrap_token(&device, &next.to_string());
                let told = voice.check_in(&device, &body).await;
                if let Answer::Unknown = self.settle(voice, "SetBootstrapToken", &device, &told) {
                    return Ok(Answer::Unknown);
                }
                self.ledger.entry(at).bootstrap.told(Some(next));
                Ok(Answer::Done)
            }
            _ => self.rounds(voice, at, &device).await,
        }
    }

    /// Fetches commands and answers them until there is none.
    async fn rounds(
        &self,
        voice: &mut Voice,
        at: usize,
        device: &Device,
    ) -> anyhow::Result<Answer> {
        let mut told = voice.report(device, &devices::idle(device)).await;
        loop {
            if let Answer::Unknown = self.settle(voice, "a report", device, &told) {
                return Ok(Answer::Unknown);
            }
            let text = String::from_utf8_lossy(voice.line.content()).into_owned();
            let Some(uuid) = devices::command_uuid(&text) else {
                return Ok(Answer::Done);
            };
            let ours = match self.ledger.entry(at).commands.get_mut(&uuid) {
                Some(sent) => {
                    if sent.answered.sure {
                        let again =
                            format!("{}: {uuid} came again after its answer", device.serial);
                        self.ledger.wrong(again);
                    }
                    sent.answered.ask(true);
                    true
                }
                None => false,
            };
            let answer = match ours {
                true => devices::acknowledged(device, &uuid),
                // The server's own: these devices can nothing but what clients ask here.
                false => devices::refused(device, &uuid),
            };
            told = voice.report(device, &answer).await;
            if let Ok(200) = told
                && let Some(sent) = self.ledger.entry(at).commands.get_mut(&uuid)
            {
                // It was there, so it had been queued, whatever its client heard.
                sent.queued.told(true);
                sent.answered.told(true);
            }
        }
    }

    /// Queues commands by the API.
    async fn client(&self, mut rng: Rng, over: &AtomicBool) -> anyhow::Result<()> {
        'line: while !over.load(Ordering::SeqCst) {
            let Ok(mut line) = Connection::open(&self.admin).await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            while !over.load(Ordering::SeqCst) {
                let together = rng.below(2) == 0;
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let uuid = format!("C4A05000-0000-4000-8000-{number:012}");
                let mut asked = Vec::new();
                for _ in 0..=rng.below(MANY) {
                    let at = rng.place(self.ledger.len());
                    let mut entry = self.ledger.entry(at);
                    if entry.token.sure.is_some() && !entry.commands.contains_key(&uuid) {
                        let mut sent = Sent::asked(together);
                        sent.queued.ask(true);
                        entry.commands.insert(uuid.clone(), sent);
                        entry.touched = true;
                        asked.push((at, entry.device.udid.clone()));
                    }
                }
                if asked.is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let channels: Vec<&String> = asked.iter().map(|(_, udid)| udid).collect();
                let body = json!({
                    "channels": channels, "uuid": uuid, "request_type": "DeviceInformation",
                    "keys": { "Queries": ["SerialNumber"] }, "together": together, "push": false,
                });
                match self.post(&mut line, &body.to_string()).await {
                    Ok(200) => {
                        self.ledger.acknowledged();
                        for (at, _) in &asked {
                            if let Some(sent) = self.ledger.entry(*at).commands.get_mut(&uuid) {
                                sent.queued.told(true);
                            }
                        }
                    }
                    Ok(503) if line.retry_after().is_some() => {
                        self.ledger.put_off();
                        continue 'line;
                    }
                    Err(_) => {
                        self.ledger.unanswered();
                        continue 'line;
                    }
                    Ok(status) => {
                        let said = String::from_utf8_lossy(line.content()).into_owned();
                        self.ledger
                            .wrong(format!("queueing was answered {status}: {said}"));
                        continue 'line;
                    }
                }
                if !self.rest.is_zero() {
                    tokio::time::sleep(self.rest * 10).await;
                    if rng.below(STAYS) == 0 {
                        continue 'line;
                    }
                }
            }
        }
        Ok(())
    }

    async fn post(&self, line: &mut Connection, body: &str) -> anyhow::Result<u16> {
        let request = format!(
            "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        Ok(line.exchange(request.as_bytes()).await?.0)
    }
}
