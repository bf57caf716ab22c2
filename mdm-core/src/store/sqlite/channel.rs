//! Everything that a channel's message needs in one statement, for all messages that are under way at once: one way to a
//! reading thread and back instead of one for each row.

use std::collections::HashMap;

use sqlx::sqlite::Sqlite;

use super::failed;
use crate::ids::EnrollmentId;
use crate::store::channel::{Reader, Sorter};
use crate::store::kept::Kept;
use crate::store::row::Met;
use crate::store::{ChannelAsk, ChannelView, Depth, StoreError};

/// `?1` is a JSON array with `[organisation, key, how many open commands]` for each who asks, `?2` the most of them that
/// anybody wants: a limit cannot be another one for each row. As a sum for the sake of the plan, see `rows!`.
pub(super) const QUEUE: &str = "\
    WITH k AS MATERIALIZED (SELECT key AS n, value ->> 0 AS o, value ->> 1 AS word, value ->> 2 AS most FROM json_each(?1)), \
    e AS MATERIALIZED (SELECT k.n, k.most, t.organisation, t.id, t.version, t.doc FROM k CROSS JOIN enrollments AS t \
      ON t.organisation = k.o AND t.live_key = k.word) \
    SELECT k.n, 0, t.organisation, t.id, t.version, '' FROM k CROSS JOIN organisations AS t \
      ON t.organisation = k.o AND t.id = k.o \
    UNION ALL SELECT n, 1, organisation, id, version, doc FROM e \
    UNION ALL SELECT e.n, 2, t.organisation, t.id, t.version, t.doc FROM e CROSS JOIN commands AS t \
      ON e.most > 0 AND t.organisation = e.organisation AND t.id IN (SELECT i.id FROM commands AS i \
        WHERE i.organisation = e.organisation AND i.open_of = e.id ORDER BY i.turn, i.id LIMIT ?2 + 0)";

/// `?1` is a JSON array with `[organisation, key, SHA-256 of the certificate]` for each who asks.
pub(super) const IDENTITY: &str = "\
    WITH k AS MATERIALIZED (SELECT key AS n, value ->> 0 AS o, value ->> 1 AS word, value ->> 2 AS sha FROM json_each(?1)), \
    e AS MATERIALIZED (SELECT k.n, t.organisation, t.id, t.version, t.device, t.doc FROM k CROSS JOIN enrollments AS t \
      ON t.organisation = k.o AND t.live_key = k.word), \
    c AS MATERIALIZED (SELECT k.n, t.organisation, t.id, t.version, t.doc FROM k CROSS JOIN certificates AS t \
      ON t.organisation = k.o AND t.sha256 = k.sha), \
    s AS MATERIALIZED (SELECT c.n, t.organisation, t.id, t.version, t.doc FROM c CROSS JOIN sessions AS t \
      ON t.organisation = c.organisation AND t.id = c.doc ->> 'session'), \
    x AS MATERIALIZED (SELECT n, organisation, device FROM e \
      UNION SELECT n, organisation, CAST(doc ->> 'device' AS INTEGER) FROM s) \
    SELECT k.n, 0, t.organisation, t.id, t.version, '' FROM k CROSS JOIN organisations AS t \
      ON t.organisation = k.o AND t.id = k.o \
    UNION ALL SELECT n, 1, organisation, id, version, doc FROM e \
    UNION ALL SELECT e.n, 3, t.organisation, t.id, t.version, t.doc FROM e CROSS JOIN set_ups AS t \
      ON t.organisation = e.organisation AND t.enrollment = e.id \
    UNION ALL SELECT x.n, 4, t.organisation, t.id, t.version, t.doc FROM x CROSS JOIN devices AS t \
      ON t.organisation = x.organisation AND t.id = x.device \
    UNION ALL SELECT x.n, 5, t.organisation, t.id, t.version, t.doc FROM x CROSS JOIN moves AS t \
      ON t.organisation = x.organisation AND t.open_device = x.device \
    UNION ALL SELECT x.n, 6, t.organisation, t.id, t.version, t.doc FROM x CROSS JOIN enrollments AS t \
      ON t.organisation = x.organisation AND t.device = x.device \
    UNION ALL SELECT n, 7, organisation, id, version, doc FROM c \
    UNION ALL SELECT n, 8, organisation, id, version, doc FROM s";

/// The connections for shared reads, and where it is noted what cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Channels(pub(super) Kept<Sqlite>, pub(super) Met);

type Found = (i64, i64, i64, i64, i64, Vec<u8>);

impl Reader for Channels {
    async fn read(
        &mut self,
        asks: &[ChannelAsk],
    ) -> Result<Vec<Result<ChannelView, StoreError>>, StoreError> {
        let found = self.found(asks).await;
        if found.is_err() {
            self.0.let_go();
        }
        let mut views = found.map_err(failed)?.views(&self.1);
        for (view, ask) in views.iter_mut().zip(asks) {
            if let Ok(view) = view {
                trim(view, most_of(ask));
            }
        }
        Ok(views)
    }

    fn rest(&mut self) {
        self.0.let_go();
    }
}

impl Channels {
    async fn found(&mut self, asks: &[ChannelAsk]) -> Result<Sorter, sqlx::Error> {
        let mut sorter = Sorter::new(asks.len());
        // Who asked for what; a statement serves one kind.
        let (mut queues, mut identities) = (Vec::new(), Vec::new());
        for (nth, ask) in asks.iter().enumerate() {
            let (organisation, key) = (ask.organisation.0, &ask.key);
            match &ask.depth {
                Depth::Queue(most) => {
                    queues.push((nth, serde_json::json!([organisation, key, most])));
                }
                Depth::Identity(sha256) => {
                    identities.push((nth, serde_json::json!([organisation, key, sha256])));
                }
            }
        }
        let most = asks.iter().map(most_of).max().unwrap_or(0);
        for (sql, asked) in [(QUEUE, queues), (IDENTITY, identities)] {
            if asked.is_empty() {
                continue;
            }
            let (askers, words): (Vec<usize>, Vec<serde_json::Value>) = asked.into_iter().unzip();
            let mut query = sqlx::query_as(sql).bind(serde_json::Value::Array(words).to_string());
            if sql == QUEUE {
                query = query.bind(i64::from(most));
            }
            let found: Vec<Found> = query.fetch_all(self.0.take().await?).await?;
            for (nth, part, organisation, id, version, doc) in found {
                let asker = usize::try_from(nth).ok().and_then(|n| askers.get(n));
                if let Some(asker) = asker {
                    sorter.take(*asker, part, (organisation, id, version, doc));
                }
            }
        }
        Ok(sorter)
    }
}

const fn most_of(ask: &ChannelAsk) -> u32 {
    match ask.depth {
        Depth::Queue(most) => most,
        Depth::Identity(_) => 0,
    }
}

/// Leaves each enrolment the first of its commands.
fn trim(view: &mut ChannelView, most: u32) {
    let mut counts: HashMap<EnrollmentId, u32> = HashMap::new();
    view.commands.retain(|command| {
        let count = counts.entry(command.enrollment).or_default();
        *count += 1;
        *count <= most
    });
}
