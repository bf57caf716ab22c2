//! The load: keep-alive connections that write requests rendered beforehand and read as much of the answer as is needed.
//! Cheap on purpose, so that the processor is the server's; understands only answers with a length.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where to connect.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Address {
    /// Name or number.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// What an answer must be; anything else ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "programs of this crate match it")]
pub enum Wanted {
    /// Success without content.
    Nothing,
    /// Success with content.
    Content,
}

/// One request as bytes, and its answer.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Exchange<'a> {
    /// Head and body.
    pub request: &'a [u8],
    /// What the answer must be.
    pub wanted: Wanted,
}

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Line for T {}

/// A kept connection.
pub struct Connection {
    line: Box<dyn Line>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects. Who the server is does not matter.
    ///
    /// # Errors
    /// When nobody answers, or not in TLS.
    pub async fn open(address: &Address) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let line: Box<dyn Line> = if address.tls {
            let mut builder = SslConnector::builder(SslMethod::tls_client())?;
            // The load is not about who the server is.
            builder.set_verify(SslVerifyMode::NONE);
            let ssl = builder.build().configure()?.into_ssl("localhost")?;
            let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
            std::pin::Pin::new(&mut stream).connect().await?;
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        Ok(Self {
            line,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// What the last answer held.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        find(&self.buffer, b"\r\n\r\n").map_or(&[], |at| &self.buffer[at + 4..])
    }

    /// After how many seconds the last answer asks to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let end = find(&self.buffer, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.buffer[..end]).ok()?;
        let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
        value.trim().parse().ok()
    }

    /// Sends one request and reads its answer to the end; gives status and length of the content.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or the answer has no length.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, usize)> {
        self.line.write_all(request).await?;
        self.buffer.clear();
        let (status, length, head) = loop {
            let read = self.line.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let (status, length) = head(&self.buffer[..end])?;
                break (status, length, end + 4);
            }
        };
        while self.buffer.len() < head + length {
            let read = self.line.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
        }
        Ok((status, length))
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

fn head(bytes: &[u8]) -> anyhow::Result<(u16, usize)> {
    let text = std::str::from_utf8(bytes).context("an answer's head")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1));
    let status = status.and_then(|s| s.parse().ok()).context("a status")?;
    let mut length = 0;
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().context("content-length")?;
        }
        ensure!(
            !name.eq_ignore_ascii_case("transfer-encoding"),
            "an answer without a length"
        );
    }
    Ok((status, length))
}

/// What came of a load.
#[derive(Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Measured {
    /// Units of work that were finished.
    pub units: usize,
    /// From the first request to the last answer.
    pub time: Duration,
    /// Of every request, in microseconds, sorted.
    pub latencies: Vec<u32>,
}

impl Measured {
    /// The latency that this part of all requests (0.99) stays below, in milliseconds.
    #[must_use]
    pub fn percentile(&self, part: f64) -> f64 {
        if self.latencies.is_empty() {
            return 0.0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let at = ((self.latencies.len() - 1) as f64 * part) as usize;
        f64::from(self.latencies[at]) / 1000.0
    }
}

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Load {
    /// Kept connections.
    pub connections: usize,
    /// Ends then; `None` when the work itself has an end.
    pub until: Option<Duration>,
    /// Units offered per second. A unit that is due is late from then on, also when no connection was free for it.
    pub rate: Option<u64>,
}

/// One request outside any measurement; gives status and content length.
///
/// # Errors
/// As [`Connection`]'s.
pub async fn once(address: &Address, request: &[u8]) -> anyhow::Result<(u16, usize)> {
    Connection::open(address).await?.exchange(request).await
}

/// Works units off, each on one connection, its exchanges one after the other. `unit` gives the n-th, or `None` at the end.
/// A thread of its own does it, so that nothing else of this process delays it.
///
/// # Errors
/// When an answer is another than the one that is wanted.
pub fn drive<'a, F>(address: &Address, load: Load, unit: F) -> anyhow::Result<Measured>
where
    F: Fn(usize) -> Option<Vec<Exchange<'a>>> + Sync,
{
    std::thread::scope(|scope| {
        let driver = scope.spawn(|| drive_here(address, load, &unit));
        driver.join().ok().context("the load panicked")?
    })
}

fn drive_here<'a, F>(address: &Address, load: Load, unit: &F) -> anyhow::Result<Measured>
where
    F: Fn(usize) -> Option<Vec<Exchange<'a>>> + Sync,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut lines = Vec::with_capacity(load.connections);
        for _ in 0..load.connections {
            lines.push(Connection::open(address).await?);
        }
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let mut workers: FuturesUnordered<_> = lines
            .into_iter()
            .map(|line| work(line, load, begun, &next, unit))
            .collect();
        let mut all = Measured::default();
        while let Some(result) = workers.next().await {
            let (units, latencies) = result?;
            all.units += units;
            all.latencies.extend(latencies);
        }
        all.time = begun.elapsed();
        all.latencies.sort_unstable();
        Ok(all)
    })
}

async fn work<'a, F>(
    mut line: Connection,
    load: Load,
    begun: Instant,
    next: &AtomicUsize,
    unit: &F,
) -> anyhow::Result<(usize, Vec<u32>)>
where
    F: Fn(usize) -> Option<Vec<Exchange<'a>>> + Sync,
{
    let (mut units, mut latencies) = (0, Vec::with_capacity(64 * 1024));
    loop {
        if load.until.is_some_and(|limit| begun.elapsed() >= limit) {
            break;
        }
        let nth = next.fetch_add(1, Ordering::Relaxed);
        let Some(exchanges) = unit(nth) else { break };
        let due = match load.rate {
            None => None,
            Some(rate) => {
                let due =
                    begun + Duration::from_secs(1) * u32::try_from(nth)? / u32::try_from(rate)?;
                tokio::time::sleep_until(due.into()).await;
                Some(due)
            }
        };
        let mut sent = due.unwrap_or_else(Instant::now);
        for exchange in exchanges {
            let (status, length) = line.exchange(exchange.request).await?;
            let answered = Instant::now();
            latencies.push(u32::try_from((answered - sent).as_micros()).unwrap_or(u32::MAX));
            sent = answered;
            let fits = match exchange.wanted {
                Wanted::Nothing => length == 0,
                Wanted::Content => length > 0,
            };
            ensure!(
                status == 200 && fits,
                "unit {nth} was answered {status} with {length} bytes, wanted {:?}: {}",
                exchange.wanted,
                String::from_utf8_lossy(&line.buffer)
            );
        }
        units += 1;
    }
    Ok((units, latencies))
}
