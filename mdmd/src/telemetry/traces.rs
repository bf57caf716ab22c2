//! Spans for a collector: a layer of `tracing` that keeps what a span is, how long it took and the few fields that are
//! listed here, and hands it on when it ends. It waits for nobody: what the collector does not take in time is dropped and
//! counted. No other field of a span or an event is ever read, so that no secret can be among them.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mdm_core::clock::{Clock as _, SystemClock};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Fields that go to the collector. None of them ever holds anything of a body, a header, a query or a path with values.
const FIELDS: [&str; 9] = [
    "duty", "method", "route", "status", "host", "writes", "outcome", "round", "id",
];

/// What ties spans of several programs together (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(super) trace: u128,
    pub(super) span: u64,
    sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`. `None` for anything that is not one: then the trace begins here.
    ///
    /// <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = |part: &str| {
            part.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version.len(), trace.len(), span.len(), flags.len()];
        // Later versions may have more parts; the first has four.
        let more = parts.next().is_some();
        if lengths != [2, 32, 16, 2]
            || ![version, trace, span, flags].into_iter().all(lower)
            || version == "ff"
            || (version == "00" && more)
        {
            return None;
        }
        let parent = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (parent.trace != 0 && parent.span != 0).then_some(parent)
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// A span that ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) me: Parent,
    /// The span above; 0 for none.
    pub(super) above: u64,
    pub(super) name: &'static str,
    /// Nanoseconds since 1970.
    pub(super) begun: u128,
    pub(super) ended: u128,
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// A span that has not ended, as the registry keeps it.
struct Open {
    me: Parent,
    above: u64,
    /// When the trace's first span here began, by the clock and by the monotonic one: all spans under it are placed from
    /// there, so that none begins before the one above it.
    anchor: (u128, Instant),
    begun: Instant,
    fields: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Open {
    fn nanoseconds(&self, at: Instant) -> u128 {
        self.anchor.0 + at.saturating_duration_since(self.anchor.1).as_nanos()
    }
}

/// The layer.
pub(super) struct Traces {
    /// Of a hundred traces that begin here, so many are kept.
    percent: u8,
    queue: mpsc::Sender<Ended>,
}

impl Traces {
    pub(super) fn new(percent: u8, queue: mpsc::Sender<Ended>) -> Self {
        Self { percent, queue }
    }
}

impl<S> Layer<S> for Traces
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let now = Instant::now();
        let above = span.parent().and_then(|parent| {
            let kept = parent.extensions();
            kept.get::<Open>().map(|open| (open.me, open.anchor))
        });
        let mut open = match above {
            Some((parent, anchor)) => Open {
                me: Parent {
                    span: random_u64(),
                    ..parent
                },
                above: parent.span,
                anchor,
                begun: now,
                fields: Vec::new(),
                failed: false,
            },
            None => {
                let trace = (u128::from(random_u64()) << 64) | u128::from(random_u64());
                Open {
                    me: Parent {
                        trace,
                        span: random_u64(),
                        sampled: trace % 100 < u128::from(self.percent),
                    },
                    above: 0,
                    anchor: (now_ns(), now),
                    begun: now,
                    fields: Vec::new(),
                    failed: false,
                }
            }
        };
        attributes.record(&mut Listed(&mut open.fields));
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut Listed(&mut open.fields));
        }
    }

    /// What is said in a span of what it is: how a request was answered, above all. Errors mark it; their words stay here.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else {
            return;
        };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            event.record(&mut Listed(&mut open.fields));
            open.failed |= *event.metadata().level() == Level::ERROR;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(open) = span.extensions_mut().remove::<Open>() else {
            return;
        };
        if !open.me.sampled {
            return;
        }
        let ended = Ended {
            me: open.me,
            above: open.above,
            name: span.name(),
            begun: open.nanoseconds(open.begun),
            ended: open.nanoseconds(Instant::now()),
            failed: open.failed || open.fields.iter().any(is_server_error),
            fields: open.fields,
        };
        if self.queue.try_send(ended).is_err() {
            crate::metrics::spans_dropped("queue", 1);
        }
    }
}

fn is_server_error((name, value): &(&'static str, Value)) -> bool {
    *name == "status" && matches!(value, Value::Number(500..))
}

/// Takes the listed fields and looks at no other.
struct Listed<'a>(&'a mut Vec<(&'static str, Value)>);

impl Listed<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        let Some(name) = FIELDS.into_iter().find(|name| *name == field.name()) else {
            return;
        };
        let value = value();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, kept)) => *kept = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Listed<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || {
            Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
        });
    }
}

/// Puts a span, before anything is under it, into the trace of the program that asked. Without traces it does nothing.
pub(crate) fn adopt(span: &Span, parent: Parent) {
    with_open(span, |open| {
        open.me.trace = parent.trace;
        open.me.sampled = parent.sampled;
        open.above = parent.span;
    });
}

/// The `traceparent` of a request that is sent in this span. `None` without traces.
pub(crate) fn header(span: &Span) -> Option<String> {
    with_open(span, |open| open.me.to_string())
}

fn with_open<T>(span: &Span, act: impl FnOnce(&mut Open) -> T) -> Option<T> {
    span.with_subscriber(|(id, subscriber)| {
        let registry = subscriber.downcast_ref::<Registry>()?;
        let span = registry.span(id)?;
        let mut kept = span.extensions_mut();
        kept.get_mut::<Open>().map(act)
    })?
}

fn now_ns() -> u128 {
    u128::try_from(SystemClock.now().as_millis()).unwrap_or(0) * 1_000_000
}

/// Unique, no secret: splitmix64 from a random start, so that a span costs no call of the operating system. Never 0.
fn random_u64() -> u64 {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let mut bytes = [0_u8; 8];
        // Without randomness the names are only less unique.
        let _ = openssl::rand::rand_bytes(&mut bytes);
        AtomicU64::new(u64::from_be_bytes(bytes))
    });
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = next.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn a_traceparent_is_taken_as_the_specification_says_and_nothing_else() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Parent::parse(good).unwrap();
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), good);
        let off = good.replace("-01", "-00");
        assert!(!Parent::parse(&off).unwrap().sampled);
        // A later version may say more.
        assert!(Parent::parse(&format!("{}-what", good.replace("00-4", "cc-4"))).is_some());
        for wrong in [
            String::new(),
            format!("{good}-more"),
            good.to_uppercase(),
            good.replace("00-4", "ff-4"),
            good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            good.replace('-', "_"),
            good[..50].to_owned(),
            format!("+{}", &good[1..]),
        ] {
            assert_eq!(Parent::parse(&wrong), None, "{wrong}");
        }
    }

    fn told(percent: u8, room: usize, act: impl FnOnce()) -> Vec<Ended> {
        let (sender, mut receiver) = mpsc::channel(room);
        let subscriber = tracing_subscriber::registry().with(Traces::new(percent, sender));
        tracing::subscriber::with_default(subscriber, act);
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    #[test]
    fn listed_fields_only_are_told_and_an_error_is_a_mark() {
        let spans = told(100, 10, || {
            let span = tracing::info_span!("request", duty = "device", serial = "HIDDEN");
            let _here = span.enter();
            tracing::info!(status = 200_u16, address = "HIDDEN", route = "/x", "HIDDEN");
            let below = tracing::info_span!("commit", writes = 3_usize, password = "HIDDEN");
            below.in_scope(|| tracing::error!(why = "HIDDEN", "HIDDEN"));
        });
        assert_eq!(spans.len(), 2);
        assert!(!format!("{spans:?}").contains("HIDDEN"));
        let (commit, request) = (&spans[0], &spans[1]);
        assert_eq!((commit.name, commit.failed), ("commit", true));
        assert_eq!(commit.fields, [("writes", Value::Number(3))]);
        assert_eq!(
            (commit.above, commit.me.trace),
            (request.me.span, request.me.trace)
        );
        assert!(!request.failed && request.above == 0);
        assert!(request.begun <= commit.begun && commit.ended <= request.ended);
        let status = ("status", Value::Number(200));
        assert!(request.fields.contains(&status), "{request:?}");
    }

    #[test]
    fn a_trace_goes_on_from_the_one_who_asked_and_follows_its_wish() {
        let asked = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let spans = told(0, 10, || {
            let span = tracing::info_span!("request");
            adopt(&span, Parent::parse(asked).unwrap());
            let below = span.in_scope(|| tracing::info_span!("call"));
            let sent = Parent::parse(&header(&below).unwrap()).unwrap();
            assert_eq!(sent.trace, Parent::parse(asked).unwrap().trace);
        });
        assert_eq!(spans.len(), 2);
        assert!(
            spans
                .iter()
                .all(|s| format!("{:032x}", s.me.trace) == asked[3..35])
        );
        assert_eq!(spans[1].above, 0x00f0_67aa_0ba9_02b7);
        let unwanted = told(100, 10, || {
            let span = tracing::info_span!("request");
            adopt(&span, Parent::parse(&asked.replace("-01", "-00")).unwrap());
        });
        assert!(unwanted.is_empty());
        assert!(told(0, 10, || drop(tracing::info_span!("request"))).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_nobody_waits() {
        let spans = told(100, 2, || {
            for _ in 0..50 {
                drop(tracing::info_span!("request"));
            }
        });
        assert_eq!(spans.len(), 2);
    }
}
