//! What one client may ask for before anybody knows who it is, and what the bodies of all requests together may hold. Judges
//! nobody: whoever asks for more is told when to come again.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::error;
use super::identity::ClientAddress;
use crate::config::{Duty, Limits, Network};
use crate::listen::Connection;

/// So many seconds' worth of requests may come at once.
const BURST_SECONDS: u32 = 5;
/// After so many requests clients that have been quiet are forgotten.
const FORGET_AFTER: u64 = 16_384;
/// What is refused for want of memory may come again after so many seconds.
const BUSY_SECONDS: u64 = 5;

/// The bounds, shared by all listeners of a process.
pub(crate) struct Edge {
    clients: Option<DefaultKeyedRateLimiter<IpAddr>>,
    asked: AtomicU64,
    trusted: Vec<Network>,
    bodies: Arc<Budget>,
}

impl Edge {
    pub(crate) fn new(limits: &Limits, trusted: &[Network]) -> Self {
        let clients = NonZeroU32::new(limits.client_requests).map(|each| {
            let burst = each.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
            RateLimiter::keyed(Quota::per_second(each).allow_burst(burst))
        });
        Self {
            clients,
            asked: AtomicU64::new(0),
            trusted: trusted.to_vec(),
            bodies: Arc::new(Budget::new(limits)),
        }
    }

    fn speaks_for_many(&self, client: IpAddr) -> bool {
        client.is_loopback() || self.trusted.iter().any(|n| n.contains(client))
    }

    /// Seconds after which this client may ask again; `None` when it may now. A proxy that does not say for whom it asks,
    /// and this machine itself, ask for many.
    fn too_often(&self, client: IpAddr) -> Option<u64> {
        let clients = self.clients.as_ref()?;
        if self.speaks_for_many(client) {
            return None;
        }
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(FORGET_AFTER)
        {
            clients.retain_recent();
        }
        let early = clients.check_key(&one_client(client)).err()?;
        let wait = early.wait_time_from(DefaultClock::default().now());
        Some(wait.as_secs() + 1)
    }
}

/// Whoever has an IPv6 address has a network of them.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Holds a client to its rate, and the request's body to the common budget until the request is answered.
pub(super) async fn hold(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientAddress>();
    let client = client.and_then(|address| address.0.parse().ok());
    if let Some(seconds) = client.and_then(|client| edge.too_often(client)) {
        crate::metrics::put_off("client");
        return error::come_again("too many requests from this address", seconds);
    }
    // Who has a body for people's doors is held to what one client may send; that it is somebody is for them to find out.
    let duty = request.extensions().get::<Arc<Connection>>();
    let stranger = duty.is_none_or(|connection| connection.duty != Duty::Admin);
    let own = client.filter(|client| !edge.speaks_for_many(*client));
    let ticket = Ticket::new(&edge.bodies, own.map(one_client), stranger);
    let ticket = Arc::new(ticket);
    let taken = Arc::clone(&ticket);
    let mut request = request.map(|inner| {
        Body::new(Metered {
            inner,
            ticket: taken,
        })
    });
    let passed = Passed(Arc::clone(&ticket));
    request.extensions_mut().insert(passed);
    let response = next.run(request).await;
    if ticket.refused.load(Ordering::Relaxed) {
        crate::metrics::put_off("bodies");
        return error::come_again("too much is being sent at the moment", BUSY_SECONDS);
    }
    response
}

/// What bodies may hold: all together, those of nobody who is known, and those of one client.
struct Budget {
    most: usize,
    strangers: usize,
    each: usize,
    held: Mutex<Held>,
}

/// What bodies hold.
#[derive(Default)]
struct Held {
    all: usize,
    strangers: usize,
    clients: HashMap<IpAddr, usize>,
}

impl Budget {
    /// Strangers have half of it, so that devices and people are heard whoever shouts; one client an eighth, but never less
    /// than the largest message.
    fn new(limits: &Limits) -> Self {
        let most = limits.bodies_bytes;
        let largest = limits.command_bytes.max(limits.check_in_bytes);
        Self {
            most,
            strangers: most / 2,
            each: (most / 8).max(largest).min(most),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request's body holds of the budget.
struct Ticket {
    budget: Arc<Budget>,
    /// Whose; `None` for whoever speaks for many.
    client: Option<IpAddr>,
    /// Changed under the budget's lock.
    stranger: AtomicBool,
    held: AtomicUsize,
    refused: AtomicBool,
}

impl Ticket {
    fn new(budget: &Arc<Budget>, client: Option<IpAddr>, stranger: bool) -> Self {
        Self {
            budget: Arc::clone(budget),
            client,
            stranger: AtomicBool::new(stranger),
            held: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        }
    }

    fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let budget = &*self.budget;
        let mut held = budget.held();
        let stranger = self.stranger.load(Ordering::Relaxed);
        let own = self.client.map_or(0, |client| {
            held.clients.get(&client).copied().unwrap_or_default()
        });
        if held.all + bytes > budget.most
            || (stranger && held.strangers + bytes > budget.strangers)
            || own + bytes > budget.each
        {
            self.refused.store(true, Ordering::Relaxed);
            return Err(OverBudget);
        }
        held.all += bytes;
        if stranger {
            held.strangers += bytes;
        }
        if let Some(client) = self.client {
            held.clients.insert(client, own + bytes);
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back so many bytes, and no more than were taken.
    fn give(&self, bytes: usize) {
        let mut held = self.budget.held();
        let bytes = bytes.min(self.held.load(Ordering::Relaxed));
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        held.all -= bytes;
        if self.stranger.load(Ordering::Relaxed) {
            held.strangers -= bytes;
        }
        if let Some(client) = self.client
            && let Some(own) = held.clients.get_mut(&client)
        {
            *own -= bytes;
            if *own == 0 {
                held.clients.remove(&client);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give(usize::MAX);
    }
}

/// What is learned of a request's body while it is on its way.
#[derive(Clone)]
pub(crate) struct Passed(Arc<Ticket>);

impl Passed {
    /// For a body that is not collected: so many bytes of it are in memory no more.
    pub(crate) fn on(&self, bytes: usize) {
        self.0.give(bytes);
    }

    /// Whoever sends it is somebody who has proved himself here before.
    pub(super) fn known(&self) {
        let mut held = self.0.budget.held();
        if self.0.stranger.swap(false, Ordering::Relaxed) {
            held.strangers -= self.0.held.load(Ordering::Relaxed);
        }
    }
}

/// The bodies of all requests hold as much as they may.
#[derive(Debug)]
pub(super) struct OverBudget;

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bodies of all requests hold as much as they may")
    }
}

impl StdError for OverBudget {}

/// Whether reading a body ended for want of budget.
pub(super) fn is_over_budget(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<OverBudget>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A body that takes from the budget what it has received, not what it announced: an announcement holds nothing.
struct Metered {
    inner: Body,
    ticket: Arc<Ticket>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(over) = self.ticket.take(data.len())
        {
            return Poll::Ready(Some(Err(axum::Error::new(over))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn edge(change: impl FnOnce(&mut Limits)) -> Edge {
        let mut config = crate::config::Config::for_directory(std::path::Path::new("/x"));
        change(&mut config.limits);
        let trusted = vec![Network::parse("10.0.0.0/8").unwrap()];
        Edge::new(&config.limits, &trusted)
    }

    #[test]
    fn a_client_is_put_off_alone_and_proxies_never() {
        let edge = edge(|limits| limits.client_requests = 2);
        let ask = |address: &str| edge.too_often(address.parse().unwrap());
        let put_off = (0..30)
            .filter(|_| ask("203.0.113.7").is_some_and(|s| (1..10).contains(&s)))
            .count();
        assert!((18..=20).contains(&put_off), "{put_off}");
        assert_eq!(ask("203.0.113.8"), None, "somebody else");
        // One network of IPv6 is one client.
        let put_off = (0..30)
            .filter(|n| ask(&format!("2001:db8::{n:x}")).is_some())
            .count();
        assert!((18..=20).contains(&put_off), "{put_off}");
        assert_eq!(ask("2001:db8:0:1::1"), None);
        for one_for_many in ["10.1.1.1", "127.0.0.1", "::1"] {
            assert!((0..30).all(|_| ask(one_for_many).is_none()));
        }
    }

    fn budget(most: usize, each: usize) -> Arc<Budget> {
        Arc::new(Budget {
            most,
            strangers: most / 2,
            each,
            held: Mutex::default(),
        })
    }

    fn metered(
        budget: &Arc<Budget>,
        from: Option<&str>,
        stranger: bool,
        bytes: usize,
    ) -> (Body, Arc<Ticket>) {
        let client = from.map(|address| address.parse().unwrap());
        let ticket = Arc::new(Ticket::new(budget, client, stranger));
        let body = Body::new(Metered {
            inner: Body::from(vec![0; bytes]),
            ticket: Arc::clone(&ticket),
        });
        (body, ticket)
    }

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let budget = budget(100, 100);
        let left = || 100 - budget.held().all;
        let metered = |bytes| metered(&budget, None, false, bytes);
        let (first, kept) = metered(60);
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), 60);
        let (second, refused) = metered(60);
        let error = second.collect().await.unwrap_err();
        assert!(is_over_budget(&error), "{error}");
        assert!(refused.refused.load(Ordering::Relaxed));
        // As long as the first is being answered its bytes are held; then they are free.
        assert_eq!(left(), 40);
        drop(kept);
        assert_eq!(left(), 100);
        let (third, kept) = metered(60);
        assert!(third.collect().await.is_ok());
        // A piece that was passed on is free while the request goes on, and is given back once.
        let passed = Passed(Arc::clone(&kept));
        passed.on(50);
        assert_eq!(left(), 90);
        passed.on(50);
        drop((passed, kept));
        assert_eq!(left(), 100);
    }

    #[tokio::test]
    async fn one_client_holds_its_share_and_strangers_half() {
        let budget = budget(160, 20);
        let send = async |from: &str, stranger, bytes| {
            let (body, ticket) = metered(&budget, Some(from), stranger, bytes);
            (body.collect().await.is_ok(), ticket)
        };
        let (taken, _one) = send("203.0.113.7", true, 20).await;
        assert!(taken);
        let (taken, _) = send("203.0.113.7", true, 1).await;
        assert!(!taken, "it has its share");
        let (taken, _) = send("203.0.113.7", false, 1).await;
        assert!(!taken, "known or not");
        let mut others = Vec::new();
        for n in 10..13 {
            let (taken, ticket) = send(&format!("203.0.113.{n}"), true, 20).await;
            assert!(taken, "somebody else");
            others.push(ticket);
        }
        let (taken, _) = send("203.0.113.99", true, 1).await;
        assert!(!taken, "strangers have half of it");
        let (taken, known) = send("203.0.113.99", false, 20).await;
        assert!(taken, "whoever is known has the other half");
        // A stranger who turns out to be known leaves room for another one.
        Passed(Arc::clone(&others[0])).known();
        let (taken, late) = send("203.0.113.98", true, 20).await;
        assert!(taken);
        drop((_one, others, known, late));
        let held = budget.held();
        assert_eq!((held.all, held.strangers, held.clients.len()), (0, 0, 0));
    }
}
