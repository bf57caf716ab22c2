//! Everything that a channel's message needs in one statement, for all messages that are under way at once.

use sqlx::postgres::Postgres;

use super::{failed, raw};
use crate::store::channel::{Reader, Sorter};
use crate::store::kept::Kept;
use crate::store::row::Met;
use crate::store::{ChannelAsk, ChannelView, Depth, StoreError};

/// `$1` organisations, `$2` keys, `$3` how many open commands each wants.
pub(super) const QUEUE: &str = "\
    WITH k AS (SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) WITH ORDINALITY AS k (o, key, most, n)), \
    e AS MATERIALIZED (SELECT k.n, k.most, t.organisation, t.id, t.version, t.doc FROM k JOIN enrollments AS t \
      ON t.organisation = k.o AND t.live_key = k.key) \
    SELECT k.n, 0::bigint, t.organisation, t.id, t.version, ''::text FROM k JOIN organisations AS t \
      ON t.organisation = k.o AND t.id = k.o \
    UNION ALL SELECT n, 1::bigint, organisation, id, version, doc::text FROM e \
    UNION ALL SELECT e.n, 2::bigint, c.organisation, c.id, c.version, c.doc::text FROM e CROSS JOIN LATERAL \
      (SELECT t.* FROM commands AS t WHERE t.organisation = e.organisation AND t.open_of = e.id ORDER BY t.turn, t.id LIMIT e.most) AS c";

/// `$1` organisations, `$2` keys, `$3` SHA-256 of the speakers' certificates.
pub(super) const IDENTITY: &str = "\
    WITH k AS (SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS k (o, key, sha, n)), \
    e AS MATERIALIZED (SELECT k.n, t.organisation, t.id, t.version, t.device, t.doc FROM k JOIN enrollments AS t \
      ON t.organisation = k.o AND t.live_key = k.key), \
    c AS MATERIALIZED (SELECT k.n, t.organisation, t.id, t.version, t.doc FROM k JOIN certificates AS t \
      ON t.organisation = k.o AND t.sha256 = k.sha), \
    s AS MATERIALIZED (SELECT c.n, t.organisation, t.id, t.version, t.doc FROM c JOIN sessions AS t \
      ON t.organisation = c.organisation AND t.id = (c.doc ->> 'session')::bigint), \
    x AS MATERIALIZED (SELECT n, organisation, device FROM e \
      UNION SELECT n, organisation, (doc ->> 'device')::bigint FROM s) \
    SELECT k.n, 0::bigint, t.organisation, t.id, t.version, ''::text FROM k JOIN organisations AS t \
      ON t.organisation = k.o AND t.id = k.o \
    UNION ALL SELECT n, 1::bigint, organisation, id, version, doc::text FROM e \
    UNION ALL SELECT e.n, 3::bigint, t.organisation, t.id, t.version, t.doc::text FROM e JOIN set_ups AS t \
      ON t.organisation = e.organisation AND t.enrollment = e.id \
    UNION ALL SELECT x.n, 4::bigint, t.organisation, t.id, t.version, t.doc::text FROM x JOIN devices AS t \
      ON t.organisation = x.organisation AND t.id = x.device \
    UNION ALL SELECT x.n, 5::bigint, t.organisation, t.id, t.version, t.doc::text FROM x JOIN moves AS t \
      ON t.organisation = x.organisation AND t.open_device = x.device \
    UNION ALL SELECT x.n, 6::bigint, t.organisation, t.id, t.version, t.doc::text FROM x JOIN enrollments AS t \
      ON t.organisation = x.organisation AND t.device = x.device \
    UNION ALL SELECT n, 7::bigint, organisation, id, version, doc::text FROM c \
    UNION ALL SELECT n, 8::bigint, organisation, id, version, doc::text FROM s";

/// The connections for shared reads, and where it is noted what cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Channels(pub(super) Kept<Postgres>, pub(super) Met);

type Found = (i64, i64, i64, i64, i64, String);

impl Reader for Channels {
    async fn read(
        &mut self,
        asks: &[ChannelAsk],
    ) -> Result<Vec<Result<ChannelView, StoreError>>, StoreError> {
        let found = self.found(asks).await;
        if found.is_err() {
            self.0.let_go();
        }
        Ok(found.map_err(failed)?.views(&self.1))
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
            match &ask.depth {
                Depth::Queue(most) => queues.push((nth, ask, i64::from(*most))),
                Depth::Identity(sha256) => identities.push((nth, ask, sha256.clone())),
            }
        }
        if !queues.is_empty() {
            let found: Vec<Found> = sqlx::query_as(QUEUE)
                .bind(each(&queues, |(_, ask, _)| ask.organisation.0))
                .bind(each(&queues, |(_, ask, _)| ask.key.clone()))
                .bind(each(&queues, |(_, _, most)| *most))
                .fetch_all(self.0.take().await?)
                .await?;
            sort(&mut sorter, found, &each(&queues, |(nth, ..)| *nth));
        }
        if !identities.is_empty() {
            let found: Vec<Found> = sqlx::query_as(IDENTITY)
                .bind(each(&identities, |(_, ask, _)| ask.organisation.0))
                .bind(each(&identities, |(_, ask, _)| ask.key.clone()))
                .bind(each(&identities, |(_, _, sha256)| sha256.clone()))
                .fetch_all(self.0.take().await?)
                .await?;
            sort(&mut sorter, found, &each(&identities, |(nth, ..)| *nth));
        }
        Ok(sorter)
    }
}

fn each<T, R>(all: &[T], part: impl Fn(&T) -> R) -> Vec<R> {
    all.iter().map(part).collect()
}

fn sort(sorter: &mut Sorter, found: Vec<Found>, askers: &[usize]) {
    for (nth, part, organisation, id, version, doc) in found {
        // Ordinality counts from 1.
        let asker = usize::try_from(nth - 1).ok().and_then(|n| askers.get(n));
        if let Some(asker) = asker {
            sorter.take(*asker, part, raw((organisation, id, version, doc)));
        }
    }
}
