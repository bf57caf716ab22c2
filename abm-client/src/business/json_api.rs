//! The frame of every answer of the organisation API: JSON:API documents, pages and errors. Knows no resource.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer;
use crate::error::{Endpoint, Error, ErrorKind, Refusal};
use crate::transport::Response;

/// One thing that the API knows, with its attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resource<A> {
    /// Its identifier; a device's is its serial number.
    pub id: String,
    /// Its type on the wire, for example `orgDevices`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What is known of it.
    #[serde(default, bound(deserialize = "A: Default + Deserialize<'de>"))]
    pub attributes: A,
    /// Relationships, links and what this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where a list goes on. Opaque; can be stored, and used by another process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageCursor(String);

impl PageCursor {
    /// A cursor that was stored before.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text, for storing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<PageCursor>,
    /// How many there are in all, if the service says so.
    pub total: Option<u64>,
}

/// The type and identifier of something that is related.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Linkage {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct One<T> {
    pub(super) data: T,
}

#[derive(Deserialize)]
struct Many<T> {
    data: Vec<T>,
    #[serde(default)]
    links: Option<Links>,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paging {
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    total: Option<u64>,
}

/// Reads one page.
pub(super) fn page<T: serde::de::DeserializeOwned>(
    endpoint: Endpoint,
    body: &[u8],
) -> Result<Page<T>, Error> {
    let read: Many<T> = answer::json(endpoint, body)?;
    let paging = read.meta.and_then(|meta| meta.paging);
    let total = paging.as_ref().and_then(|paging| paging.total);
    let named = paging
        .and_then(|paging| paging.next_cursor)
        .filter(|cursor| !cursor.is_empty());
    let link = read
        .links
        .and_then(|links| links.next)
        .filter(|link| !link.is_empty());
    let next =
        match (named, link) {
            (Some(cursor), _) => Some(cursor),
            // Only the cursor is taken from the link: following it as a whole would send our bearer token wherever it leads.
            (None, Some(link)) => {
                let cursor = cursor_of(&link);
                Some(cursor.ok_or_else(|| {
                    Error::malformed(endpoint, "links.next", "it holds no cursor")
                })?)
            }
            (None, None) => None,
        };
    Ok(Page {
        items: read.data,
        next: next.map(PageCursor),
        total,
    })
}

/// The value of `cursor` in the query of a link.
fn cursor_of(link: &str) -> Option<String> {
    let (_, query) = link.split_once('?')?;
    let query = query.split('#').next()?;
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("cursor="))?;
    percent_decode(value).filter(|cursor| !cursor.is_empty())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            // Not a space: cursors are base64, and an address may carry its plus signs as they are.
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The errors in an answer; none when it holds no readable ones.
pub(super) fn refusals(response: &Response) -> Vec<Refusal> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: Option<String>,
        status: Option<Value>,
        title: Option<String>,
        detail: Option<String>,
        source: Option<Source>,
    }
    #[derive(Deserialize)]
    struct Source {
        pointer: Option<String>,
        parameter: Option<String>,
    }
    let shown = |text: Option<String>| {
        text.map(|text| answer::shown(&text))
            .filter(|text| !text.is_empty())
    };
    let read: Option<Answer> = serde_json::from_slice(response.body.expose()).ok();
    read.map(|answer| answer.errors)
        .unwrap_or_default()
        .into_iter()
        .take(20)
        .map(|entry| Refusal {
            code: shown(entry.code),
            status: entry
                .status
                .map(|status| answer::shown(status.as_str().unwrap_or(&status.to_string()))),
            title: shown(entry.title),
            detail: shown(entry.detail),
            about: shown(
                entry
                    .source
                    .and_then(|source| source.pointer.or(source.parameter)),
            ),
        })
        .collect()
}

/// The error that an answer other than 2xx stands for. `collection` says that the path names no single thing.
pub(super) fn refused(
    endpoint: Endpoint,
    response: &Response,
    collection: bool,
    now_ms: i64,
) -> Error {
    let refusals = refusals(response);
    let code = |part: &str| {
        refusals
            .iter()
            .any(|r| r.code.as_deref().is_some_and(|code| code.contains(part)))
    };
    let about_cursor = refusals
        .iter()
        .any(|r| r.about.as_deref() == Some("cursor"));
    let kind = match response.status {
        403 if code("AGREEMENT") || code("TERMS") => ErrorKind::TermsNotAccepted,
        400 if about_cursor => {
            let code = refusals.iter().find_map(|r| r.code.clone());
            ErrorKind::CursorExpired {
                code: code.unwrap_or_else(|| "cursor".into()),
            }
        }
        401 => ErrorKind::SessionRefused,
        403 => ErrorKind::AccessDenied { refusals },
        // A list that does not exist is a function that this organisation does not have.
        404 if collection => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        404 if code("PATH_ERROR") => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        404 => ErrorKind::NotFound { refusals },
        405 | 501 => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        429 => ErrorKind::Throttled,
        status @ 500.. => ErrorKind::Unavailable { status },
        status if answer::says_nothing(status) => ErrorKind::Unavailable { status },
        status => ErrorKind::Refused { status, refusals },
    };
    Error::new(endpoint, kind).waiting(answer::retry_after(response, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Service;

    const LIST: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/orgDevices");

    fn next(frame: &str) -> Option<PageCursor> {
        let body = format!(r#"{{"data":[]{frame}}}"#);
        page::<Linkage>(LIST, body.as_bytes()).expect("a page").next
    }

    #[test]
    fn the_end_of_a_list_is_told_in_several_ways() {
        for frame in [
            "",
            r#","links":{"self":"https://x/y"}"#,
            r#","links":{"next":""},"meta":{"paging":{"nextCursor":""}}"#,
            r#","links":{"next":null},"meta":{"paging":{"limit":100,"nextCursor":null}}"#,
        ] {
            assert_eq!(next(frame), None, "{frame}");
        }
    }

    #[test]
    fn only_the_cursor_of_a_link_is_used() {
        let link =
            r#","links":{"next":"https://elsewhere.example/v1/x?limit=1&cursor=a%2Bb%3D&y=1"}"#;
        assert_eq!(next(link), Some(PageCursor::new("a+b=")));
        let both = r#","links":{"next":"https://x/?cursor=a"},"meta":{"paging":{"nextCursor":"b","total":7}}"#;
        assert_eq!(next(both), Some(PageCursor::new("b")));
        let without = page::<Linkage>(LIST, br#"{"data":[],"links":{"next":"https://x/?page=2"}}"#);
        assert!(
            without
                .expect_err("no cursor")
                .to_string()
                .contains("links.next")
        );
    }

    #[test]
    fn errors_are_read_as_objects_and_unreadable_ones_do_no_harm() {
        let body = r#"{"errors":[{"id":"1","status":"409","code":"ENTITY_ERROR.INVALID","title":"t","detail":"d\u0007","source":{"pointer":"/data"}},{"code":"B"}]}"#;
        let error = refused(LIST, &Response::new(409, body), false, 0);
        let ErrorKind::Refused {
            status: 409,
            refusals,
        } = error.kind()
        else {
            panic!("{error}")
        };
        assert_eq!(refusals[0].to_string(), "ENTITY_ERROR.INVALID at /data: d");
        assert_eq!(refusals.len(), 2);
        assert_eq!(error.code(), Some("ENTITY_ERROR.INVALID"));
        for body in ["", "<html>", "[]", r#"{"errors":7}"#] {
            let error = refused(LIST, &Response::new(403, body), false, 0);
            assert!(
                matches!(error.kind(), ErrorKind::AccessDenied { .. })
                    && error.needs_person().is_some()
            );
        }
    }

    #[test]
    fn a_redirection_or_a_time_out_says_nothing_of_what_was_done() {
        const ACT: Endpoint =
            Endpoint::write(Service::Organisation, "POST /v1/orgDeviceActivities");
        for status in [301, 302, 307, 308, 408, 425, 500, 504] {
            let error = refused(ACT, &Response::new(status, ""), true, 0);
            assert!(error.is_unknown_outcome(), "{error}");
            let error = refused(LIST, &Response::new(status, ""), true, 0);
            assert!(
                !error.is_unknown_outcome() && error.retry_after().is_some(),
                "{error}"
            );
        }
        assert!(!refused(ACT, &Response::new(409, ""), true, 0).is_unknown_outcome());
    }

    #[test]
    fn a_status_has_its_meaning() {
        let error = |status, body: &str, collection| {
            refused(LIST, &Response::new(status, body), collection, 0)
        };
        assert!(error(404, "", true).feature_missing().is_some());
        assert!(error(404, "", false).is_not_found());
        assert!(error(400, r#"{"errors":[{"code":"PARAMETER_ERROR.INVALID","source":{"parameter":"cursor"}}]}"#, true).is_cursor_expired());
        let terms = error(
            403,
            r#"{"errors":[{"code":"FORBIDDEN.REQUIRED_AGREEMENTS_MISSING_OR_EXPIRED"}]}"#,
            true,
        );
        assert!(matches!(terms.kind(), ErrorKind::TermsNotAccepted));
        assert!(matches!(error(429, "", true).kind(), ErrorKind::Throttled));
        assert!(error(502, "", true).retry_after().is_some());
    }
}
