//! Reads what all services have in common: JSON with the field named on failure, `Retry-After`, texts for people.
//! Decides nothing; the meaning of a status belongs to each service.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::{DEFAULT_WAIT, Endpoint, Error};
use crate::transport::Response;

/// No longer is a pause believed at once: a larger number may be a mistake, and would stop everybody for as long. Where it is
/// meant, the service says so again when it is asked a day later.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Parses a body, naming the field that cannot be read. The content never gets into the error.
pub(crate) fn json<T: DeserializeOwned>(endpoint: Endpoint, body: &[u8]) -> Result<T, Error> {
    // To know where it is costs as much again as reading: only what cannot be read is read for its field.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // A key of a map comes from the answer: it is shortened like every text of it.
        let path = shown(&error.path().to_string());
        let (field, why) = explain(path, error.inner());
        Error::malformed(endpoint, field, why)
    })?;
    reader
        .end()
        .map_err(|_| Error::malformed(endpoint, ".", "something follows the JSON value"))?;
    Ok(value)
}

/// Field and reason of a JSON error, without quoting the content as `serde_json` would.
fn explain(path: String, error: &serde_json::Error) -> (String, String) {
    use serde_json::error::Category;
    match error.classify() {
        Category::Eof => (path, "the JSON ends too early".into()),
        Category::Syntax | Category::Io => (
            path,
            format!("no JSON (line {}, column {})", error.line(), error.column()),
        ),
        Category::Data => {
            let text = error.to_string();
            // The name of a missing field comes from our own types, not from the answer.
            match text
                .strip_prefix("missing field `")
                .and_then(|rest| rest.split('`').next())
            {
                Some(name) if path == "." => (name.to_owned(), "missing".into()),
                Some(name) => (format!("{path}.{name}"), "missing".into()),
                None => (path, "of another type than expected".into()),
            }
        }
    }
}

/// The time to wait, from `Retry-After`: seconds or an HTTP date, which is compared with `now_ms`.
pub(crate) fn retry_after(response: &Response, now_ms: i64) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let wait_ms = at
        .unix_timestamp()
        .checked_mul(1000)?
        .saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(LONGEST_WAIT))
}

/// For how long everybody behind the same gate keeps silent after this answer: after 429, and after whatever else names a
/// time itself.
pub(crate) fn pause(response: &Response, now_ms: i64) -> Option<Duration> {
    let told = match response.status {
        429 | 500.. => retry_after(response, now_ms),
        _ => return None,
    };
    told.or((response.status == 429).then_some(DEFAULT_WAIT))
}

/// Statuses that say nothing of what was asked: somebody on the way answered (a redirection), or the service did not get it
/// whole in time. Whether a request that changes something was done is not known then.
pub(crate) const fn says_nothing(status: u16) -> bool {
    matches!(status, 0..200 | 300..400 | 408 | 425)
}

/// A text of Apple, made fit for a screen: one line, no control characters, at most 300 characters.
pub(crate) fn shown(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    clean.trim().to_owned()
}

/// `null` like an absent field.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A text, a list of texts, or nothing: some attributes have changed between the two.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<Option<String>>),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Either::One(text)) if text.is_empty() => Vec::new(),
        Some(Either::One(text)) => vec![text],
        Some(Either::Many(texts)) => texts.into_iter().flatten().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Service};

    const CALL: Endpoint = Endpoint::read(Service::DeviceAssignment, "GET /account");

    #[derive(Deserialize, Debug)]
    struct Outer {
        #[allow(dead_code, reason = "only read to be refused")]
        rows: Vec<Row>,
    }
    #[derive(Deserialize, Debug)]
    struct Row {
        #[allow(dead_code, reason = "only read to be refused")]
        count: u32,
    }

    fn check(body: &str, field: &str, why: &str) {
        let error = json::<Outer>(CALL, body.as_bytes()).expect_err("malformed");
        let ErrorKind::Malformed { field: f, why: w } = error.kind() else {
            panic!("{error}")
        };
        assert_eq!((f.as_str(), w.as_str()), (field, why), "{body}");
        assert!(!format!("{error} {error:?}").contains("HIDDEN"));
    }

    #[test]
    fn a_malformed_answer_is_named_by_field_and_never_quoted() {
        check(
            r#"{"rows":[{"count":1},{"count":"HIDDEN"}]}"#,
            "rows[1].count",
            "of another type than expected",
        );
        check(r#"{"rows":[{"HIDDEN":1}]}"#, "rows[0].count", "missing");
        check(r#"{"HIDDEN":1}"#, "rows", "missing");
        check(r#"{"rows":["#, "rows", "the JSON ends too early");
        check("", ".", "the JSON ends too early");
        check(
            r#"{"rows":[]} HIDDEN"#,
            ".",
            "something follows the JSON value",
        );
        check("<html>HIDDEN</html>", ".", "no JSON (line 1, column 1)");
    }

    #[test]
    fn a_deeply_nested_answer_is_refused() {
        let body = "[".repeat(100_000);
        assert!(json::<serde_json::Value>(CALL, body.as_bytes()).is_err());
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = 1_795_190_400_000; // 2026-11-20T16:00:00Z
        let wait = |text: &str| {
            retry_after(
                &Response::new(429, []).with_header("Retry-After", text),
                now,
            )
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            wait("Fri, 20 Nov 2026 16:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(wait("Fri, 20 Nov 2026 15:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("soon"), None);
    }
}
