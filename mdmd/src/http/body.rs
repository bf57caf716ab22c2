//! Reads a request body whole, within its size and time. Keeps nothing of what is too large.

use std::fmt;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use mdm_core::ids::OrganisationCode;
use zeroize::Zeroizing;

use super::Front;
use super::desk::Peer;
use super::edge::is_over_budget;
use super::error::{Door, Refusal};
use crate::config::Limits;

/// Up to so many bytes are read from anybody.
const SMALL: u64 = 64 * 1024;

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge(usize),
    TooSlow,
    Broken,
    /// All requests together are sending as much as they may.
    Busy,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "body: must be at most {limit} bytes"),
            Self::TooSlow => f.write_str("body: did not arrive in time"),
            Self::Broken => f.write_str("body: ended early or was not well-formed"),
            Self::Busy => f.write_str("not available at the moment"),
        }
    }
}

/// Reads it.
pub(crate) async fn read(body: Body, limit: usize, limits: &Limits) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    let collected = tokio::time::timeout(limits.body_time(), Limited::new(body, limit).collect());
    match collected.await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(limit)),
        Ok(Err(error)) => Err(broken(&*error)),
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> BodyError {
    if is_over_budget(error) {
        BodyError::Busy
    } else {
        BodyError::Broken
    }
}

/// Reads one that a device sent to an organisation; one that is not taken goes into its record of refusals.
pub(super) async fn of_device(
    front: &Front,
    door: Door,
    organisation: &OrganisationCode,
    peer: &Peer,
    body: Body,
) -> Result<Bytes, Refusal> {
    let limits = &front.limits;
    let limit = match door {
        Door::CheckIn => limits.check_in_bytes,
        Door::Command => limits.command_bytes,
        Door::Enrol | Door::Scep | Door::Acme | Door::Api | Door::Page => limits.enrol_bytes,
    };
    // Whoever may have much to say must be somebody who can be known.
    let told = body.size_hint().upper();
    if matches!(door, Door::CheckIn | Door::Command) && told.is_none_or(|bytes| bytes > SMALL) {
        front
            .desk
            .may_send(organisation, peer, door.name())
            .await
            .map_err(|error| Refusal::new(door, error))?;
    }
    match read(body, limit, limits).await {
        Ok(body) => Ok(body),
        Err(BodyError::Busy) => Err(Refusal::new(door, BodyError::Busy)),
        Err(error) => {
            let reason = error.to_string();
            let desk = &front.desk;
            desk.unread(organisation, peer, door.name(), &reason).await;
            Err(Refusal::new(door, error))
        }
    }
}

/// Reads one that may hold a secret: what was collected is zeroed after use.
pub(crate) async fn read_hidden(
    mut body: Body,
    limit: usize,
    limits: &Limits,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > limit {
        return Err(BodyError::TooLarge(limit));
    }
    let collect = async {
        // With room for all of it where its length is told: growing would leave a copy behind.
        let mut all = Zeroizing::new(Vec::with_capacity(told.max(4096)));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else {
                continue;
            };
            if all.len() + data.len() > limit {
                return Err(BodyError::TooLarge(limit));
            }
            if all.len() + data.len() > all.capacity() {
                let mut larger = Zeroizing::new(Vec::with_capacity(2 * (all.len() + data.len())));
                larger.extend_from_slice(&all);
                all = larger;
            }
            all.extend_from_slice(&data);
        }
        Ok(all)
    };
    tokio::time::timeout(limits.body_time(), collect)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::collection::vec;
    use proptest::strategy::Just;

    use super::*;
    use crate::testing::runner;

    /// In pieces of these sizes, over and over; its length is not told.
    fn in_pieces(all: &[u8], sizes: &[usize]) -> Body {
        let mut pieces = Vec::new();
        let mut rest = all;
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            if piece.is_empty() {
                break;
            }
            pieces.push(Ok::<_, Infallible>(piece.to_vec()));
            rest = after;
        }
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[test]
    fn a_body_is_taken_whole_up_to_its_limit_however_it_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let limits = crate::config::Config::for_directory(std::path::Path::new("/x")).limits;
        // Around what is read from anybody, around what room is made for, and around nothing.
        let limit = proptest::prop_oneof![0_usize..20, 4_000_usize..9_000, 65_000_usize..66_000];
        let more = proptest::prop_oneof![-3_isize..=3, Just(-1_000_000_isize), Just(5_000_isize)];
        let case = (limit, more, vec(1_usize..5_000, 1..6));
        let law = |(limit, more, sizes): (usize, isize, Vec<usize>)| {
            let length = limit.saturating_add_signed(more);
            let all: Vec<u8> = (0_u8..=250).cycle().take(length).collect();
            let expected = match length <= limit {
                true => Ok(all.clone()),
                false => Err(BodyError::TooLarge(limit)),
            };
            for told in [true, false] {
                let body = || match told {
                    true => Body::from(all.clone()),
                    false => in_pieces(&all, &sizes),
                };
                let taken = runtime.block_on(read(body(), limit, &limits));
                assert_eq!(taken.map(|taken| taken.to_vec()), expected, "told: {told}");
                let hidden = runtime.block_on(read_hidden(body(), limit, &limits));
                assert_eq!(hidden.map(|taken| taken.to_vec()), expected, "told: {told}");
            }
            Ok(())
        };
        runner(100).run(&case, law).unwrap();
    }
}
