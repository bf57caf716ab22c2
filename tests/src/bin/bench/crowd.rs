//! `--present`: what enrols while so many are enrolled already, beside the same in an empty database; and how long the server takes
//! to start on all those rows.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tests::fleet::devices::{Authority, Device};
use tests::fleet::house::{House, Seed};

use crate::ground::Ground;
use crate::options::Options;
use crate::report::Figures;
use crate::stories::{Queue, Stage};

/// One installation with so many present.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Enrolled devices that were there before.
    pub(crate) present: usize,
    /// Rows when the server started.
    pub(crate) rows: usize,
    /// From its start until it answered.
    pub(crate) start_up: Duration,
    /// Bytes on the disk then.
    pub(crate) bytes: u64,
    /// The enrolments.
    pub(crate) enrol: Figures,
}

/// An empty database first, then the crowded one.
pub(crate) async fn measure(
    options: &Options,
    ground: &Ground,
    authority: &Authority,
    invited: &[Device],
) -> anyhow::Result<Vec<Crowd>> {
    ensure!(
        ground.has_room(),
        "--present needs a database for each of two installations: sqlite, postgres or both"
    );
    let mut both = Vec::new();
    for present in [0, options.present] {
        let seed = Seed {
            authority,
            enrolled: &[],
            invited,
            present,
        };
        let database = ground.database().await;
        let mut house = House::lay(options.start(), &database, &seed).await?;
        let bytes = ground.bytes(&house, &database).await?;
        let begun = Instant::now();
        house.start().await?;
        let start_up = begun.elapsed();
        let stage = Stage {
            options,
            address: house.address.clone(),
            writer: house.writer(options.mode),
            enrolled: &[],
            invited,
            server: house.pid(),
            database: ground.process(),
            queue: Queue::None,
        };
        let enrol = stage.enrol()?;
        house.close().await?;
        both.push(Crowd {
            present,
            rows: seed.rows(),
            start_up,
            bytes,
            enrol,
        });
    }
    Ok(both)
}

/// What an enrolled device takes on the disk before it has said anything, by what so many of them add.
pub(crate) fn per_device(crowds: &[Crowd]) -> u64 {
    let [empty, crowded] = crowds else { return 0 };
    let added = crowded.bytes.saturating_sub(empty.bytes);
    added / u64::try_from(crowded.present).map_or(1, |n| n.max(1))
}
