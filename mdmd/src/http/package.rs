//! `/mdm/{org}/package/{file}` and its manifest: what Macs fetch that were told to install a package. They show no certificate
//! for that, so the address is the proof: nobody can guess it, and the organisation's command alone tells it. A file is given
//! out whole or by a range of it, and read from the disk as fast as it is taken.

use std::io::SeekFrom;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use hyper::HeaderMap;
use hyper::header::{IF_RANGE, RANGE};
use mdm_core::error::Error;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::At;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer, piece};
use crate::listen::Progress;

/// Bytes that are read at a time.
const READ: usize = 128 * 1024;

/// The manifest: the address that a command names.
pub(super) async fn manifest(
    State(front): At,
    Path((org, file)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Enrol)?;
    let found = front.desk.package(&org, &file).await;
    let (_, package) = found.map_err(|error| Refusal::new(Door::Enrol, error))?;
    let manifest = package.manifest().encode();
    Ok(answer(super::desk::Answer::Plist(manifest)))
}

/// The file.
pub(super) async fn file(
    State(front): At,
    Path((org, file)): Path<(String, String)>,
    headers: HeaderMap,
    Extension(progress): Extension<Progress>,
) -> Result<Response, Refusal> {
    let refuse = |error: Error| Refusal::new(Door::Enrol, error);
    let org = organisation(&org, Door::Enrol)?;
    let (owner, package) = front.desk.package(&org, &file).await.map_err(refuse)?;
    let gone = || refuse(Error::NotFound("package"));
    let path = front.packages.path(owner, &file).ok_or_else(gone)?;
    let opened = match tokio::fs::File::open(&path).await {
        Ok(opened) => opened,
        Err(error) => {
            // The library knows it: somebody has taken it away below us, or another server does not share the directory.
            tracing::error!(%error, path = %path.display(), "the file of a package cannot be opened");
            return Err(gone());
        }
    };
    let size = opened.metadata().await.map_or(0, |about| about.len());
    if size != package.size {
        tracing::error!(path = %path.display(), size, "the file of a package has another size than it had");
        return Err(gone());
    }
    // The content behind a name never changes.
    let tag = format!("\"{}\"", &file[..16]);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(IF_RANGE).is_none_or(|wanted| wanted == tag);
    let wanted = text(RANGE).filter(|_| same);
    match wanted.map_or(Wanted::All, |wanted| range(wanted, size)) {
        Wanted::All => Ok(piece(size, None, &tag, body(opened, size, progress))),
        Wanted::Nothing => Ok(super::error::no_such_piece(size)),
        Wanted::Bytes(from, to) => {
            let mut opened = opened;
            let sought = opened.seek(SeekFrom::Start(from)).await;
            sought.map_err(|_| gone())?;
            let body = body(opened, to - from + 1, progress);
            Ok(piece(size, Some((from, to)), &tag, body))
        }
    }
}

/// Which bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// All, also where the range cannot be read or there are several: a server may always give everything.
    All,
    /// From the first to the second, both included.
    Bytes(u64, u64),
    /// Bytes beyond the end.
    Nothing,
}

/// <https://www.rfc-editor.org/rfc/rfc9110#section-14.1.2>
fn range(header: &str, size: u64) -> Wanted {
    let Some((first, last)) = header
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(from), Some(to)) if from <= to && from < size => {
            Wanted::Bytes(from, to.min(size - 1))
        }
        (Some(from), None) if last.is_empty() && from < size => Wanted::Bytes(from, size - 1),
        (None, Some(count)) if first.is_empty() && count > 0 && size > 0 => {
            Wanted::Bytes(size - count.min(size), size - 1)
        }
        (Some(from), Some(to)) if from > to => Wanted::All,
        (Some(_), Some(_)) => Wanted::Nothing,
        (Some(_), None) if last.is_empty() => Wanted::Nothing,
        (None, Some(_)) if first.is_empty() => Wanted::Nothing,
        _ => Wanted::All,
    }
}

fn body(file: tokio::fs::File, left: u64, progress: Progress) -> Body {
    let read = futures_util::stream::unfold((file, left), |(mut file, left)| async move {
        if left == 0 {
            return None;
        }
        let most = READ.min(usize::try_from(left).unwrap_or(READ));
        let mut buffer = vec![0; most];
        match file.read(&mut buffer).await {
            // Shorter than it was: the connection must break, or half a package would pass for a whole one.
            Ok(0) => Some((Err(std::io::ErrorKind::UnexpectedEof.into()), (file, 0))),
            Ok(count) => {
                buffer.truncate(count);
                let left = left - count as u64;
                Some((Ok(Bytes::from(buffer)), (file, left)))
            }
            Err(error) => Some((Err(error), (file, 0))),
        }
    });
    Body::from_stream(Taken {
        read: Box::pin(read),
        progress,
    })
}

/// Tells of each piece that its reader takes: a slow reader is not an idle one.
struct Taken {
    read: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>,
    progress: Progress,
}

impl Stream for Taken {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.read.as_mut().poll_next(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.progress.made();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_specification_says() {
        for (header, wanted) in [
            ("bytes=0-0", Wanted::Bytes(0, 0)),
            ("bytes=2-5", Wanted::Bytes(2, 5)),
            ("bytes=2-", Wanted::Bytes(2, 9)),
            ("bytes=2-99999999999999999999999", Wanted::Bytes(2, 9)),
            ("bytes=-3", Wanted::Bytes(7, 9)),
            ("bytes=-30", Wanted::Bytes(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=1-2,4-5", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes=+1-2", Wanted::All),
        ] {
            assert_eq!(range(header, 10), wanted, "{header}");
        }
    }
}
