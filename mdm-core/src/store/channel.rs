//! What a message of a channel is decided on, as one read gives it: organisation, enrolments, their open commands and, for
//! a check-in, everything around them. Messages that are under way at once share a statement, as commits share a
//! transaction. Contains no SQL and decides nothing.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gather;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) use gather::{Gather, Reader, Sorter};

use super::{Store, StoreError};
use crate::device::Device;
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, IssuedCertificate};
use crate::ids::OrganisationId;
use crate::migration::{Move, SetUp};
use crate::queue::Command;

/// What is asked of [`Store::channel`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a question with its parts")]
pub struct ChannelAsk {
    /// Whose channel.
    pub organisation: OrganisationId,
    /// The normalised id of the device channel.
    pub key: String,
    /// How deep.
    pub depth: Depth,
}

/// How much of a channel is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two kinds of messages")]
pub enum Depth {
    /// Open commands, at most so many of each enrolment: for a report.
    Queue(u32),
    /// Set-ups, devices, attempts, and the identity with this SHA-256 and its session: for a check-in.
    Identity(String),
}

/// What [`Store::channel`] found, all of it at one moment. What was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ChannelView {
    /// The version of the organisation's row; 0 when there is none.
    pub organisation_version: i64,
    /// As [`EnrollmentStore::enrollments_by_key`](super::EnrollmentStore::enrollments_by_key).
    pub enrollments: Vec<Enrollment>,
    /// Open commands of those enrolments, in the order in which they go out: by [`Command::turn`], then by id.
    pub commands: Vec<Command>,
    /// Set-ups of those enrolments.
    pub set_ups: Vec<SetUp>,
    /// The devices of those enrolments, and the one of the session.
    pub devices: Vec<Device>,
    /// Unfinished attempts of those devices.
    pub attempts: Vec<Move>,
    /// Every generation of those devices' device channels, oldest first.
    pub generations: Vec<Enrollment>,
    /// The certificate.
    pub certificate: Option<IssuedCertificate>,
    /// The session that it was issued in.
    pub session: Option<EnrolSession>,
}

/// The same from single reads: for stores that have nothing better.
pub(in crate::store) async fn one_by_one<S: Store + ?Sized>(
    store: &S,
    ask: ChannelAsk,
) -> Result<ChannelView, StoreError> {
    let id = ask.organisation;
    let mut view = ChannelView {
        organisation_version: store.organisation(id).await?.map_or(0, |o| o.version),
        enrollments: store.enrollments_by_key(id, &ask.key).await?,
        ..ChannelView::default()
    };
    match ask.depth {
        Depth::Queue(limit) => {
            for enrollment in &view.enrollments {
                let open = store.open_commands(id, enrollment.id, limit).await?;
                view.commands.extend(open);
            }
            in_turn(&mut view.commands);
        }
        Depth::Identity(sha256) => {
            view.certificate = store.certificate_by_hash(id, &sha256).await?;
            if let Some(certificate) = &view.certificate {
                view.session = store.session(id, certificate.session).await?;
            }
            let channels = view.enrollments.iter();
            let own = channels.filter(|e| e.channel == ChannelKind::Device);
            let mut devices: Vec<_> = own.filter_map(|e| e.device).collect();
            devices.extend(view.session.as_ref().and_then(|s| s.device));
            devices.sort_unstable();
            devices.dedup();
            for device in devices {
                view.devices.extend(store.device(id, device).await?);
                view.attempts.extend(store.open_attempt(id, device).await?);
                let all = store.enrollments_of_device(id, device).await?;
                view.generations.extend(all);
            }
            view.generations.sort_unstable_by_key(|e| e.id);
            for enrollment in &view.enrollments {
                view.set_ups
                    .extend(store.set_up_of(id, enrollment.id).await?);
            }
        }
    }
    Ok(view)
}

fn in_turn(commands: &mut [Command]) {
    commands.sort_unstable_by_key(|c| (c.turn(), c.id));
}
