//! What a request of the API asks, read in one way for all routes: the parameters of the path, the query, the JSON body.
//! What cannot be read is refused with a problem that names the field. Repeats no content: it may be a key.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, MatchedPath, path::ErrorKind};
use hyper::http::request::Parts;
use hyper::http::uri::Uri;
use mdm_core::error::Error;
use mdm_core::service::Org;
use serde::de::DeserializeOwned;

use super::super::body;
use super::super::error::{Door, Failure, Refusal};
use super::{Caller, Nothing, Office, Which, refused};

/// The longest name of a field that is repeated.
const NAME: usize = 64;

/// The longest list of fields that is told, in bytes: longer than that of any body, and no place for what was sent.
const KNOWN: usize = 1_000;

/// The parameters of the path.
pub(crate) struct Path<T>(pub(crate) T);

/// The query.
pub(crate) struct Query<T>(pub(crate) T);

/// What most routes begin with: the organisation that they are about, in the name of who asks.
pub(crate) struct About<Q = Nothing> {
    pub(super) office: Office,
    pub(super) org: Org,
    /// What else the query says.
    pub(super) which: Q,
}

impl<Q: DeserializeOwned + Send> FromRequestParts<Office> for About<Q> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, office: &Office) -> Result<Self, Refusal> {
        let Query(named) = Query::<Which>::from_request_parts(parts, office).await?;
        // Proved before any route is found; without it nobody asks.
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Refusal::new(Door::Api, Failure::NoToken))?;
        let org = caller.organisation(&office.mdm, &named).await?;
        // Whose it is comes first.
        let Query(which) = Query::<Q>::from_request_parts(parts, office).await?;
        Ok(Self {
            org,
            office: office.clone(),
            which,
        })
    }
}

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(read)) => Ok(Self(read)),
            Err(rejection) => {
                let route = parts.extensions.get::<MatchedPath>();
                let field = named(&rejection)
                    .or_else(|| route.and_then(|route| parameter(route.as_str())))
                    .unwrap_or_else(|| "path".to_owned());
                let problem = "cannot be what stands in the path";
                Err(refused(Error::bad_input(&field, problem)))
            }
        }
    }
}

/// The parameter that is wrong, where the rejection knows.
fn named(rejection: &PathRejection) -> Option<String> {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return None;
    };
    match failed.kind() {
        ErrorKind::ParseErrorAtKey { key, .. }
        | ErrorKind::InvalidUtf8InPathParam { key }
        | ErrorKind::DeserializeError { key, .. } => Some(key.clone()),
        _ => None,
    }
}

/// The first parameter of a route.
fn parameter(route: &str) -> Option<String> {
    let (_, rest) = route.split_once('{')?;
    Some(rest.split_once('}')?.0.to_owned())
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Self::of(&parts.uri)
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// The query of an address.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let query = uri.query().unwrap_or_default();
        // Undone leniently, what is no UTF-8 would become another text.
        if !decodes(query) {
            return Err(refused(Error::bad_input("query", "must be UTF-8")));
        }
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                refused(problem("query", &path, &error.into_inner().to_string()))
            })
    }
}

/// Refuses a query with a key that the route does not know: what is misspelt must not pass for what is left out.
pub(super) fn only(uri: &Uri, known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let query = uri.query().unwrap_or_default();
    if !decodes(query) {
        return Err(refused(Error::bad_input("query", "must be UTF-8")));
    }
    let mut keys = form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key);
    match keys.find(|key| !known(key)) {
        Some(key) => {
            let name: String = key.chars().take(NAME).collect();
            Err(refused(Error::bad_input(name, "is not known here")))
        }
        None => Ok(()),
    }
}

/// Whether a query's escapes stand for UTF-8.
fn decodes(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (hex(rest.next()), hex(rest.next())) else {
            return false;
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// The JSON body of a request, within its limits.
pub(super) async fn read<T: DeserializeOwned>(office: &Office, sent: Body) -> Result<T, Refusal> {
    let sent = body::read_hidden(sent, office.limits.api_bytes, &office.limits)
        .await
        .map_err(|error| Refusal::new(Door::Api, error))?;
    json(&sent).map_err(refused)
}

fn json<T: DeserializeOwned>(sent: &[u8]) -> Result<T, Error> {
    // A list would pass for an object whose fields stand in their order.
    if sent
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first != b'{')
    {
        return Err(Error::bad_input("body", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(sent);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            problem("body", &path, &inner.to_string())
        } else {
            not_json(&inner)
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(read)
}

fn not_json(error: &serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    Error::bad_input("body", format!("must be a JSON object ({place})"))
}

/// What is wrong, by the words of the reader; what it repeats of the content is left out. The words are matched, for the
/// reader has no other way to say a field's name. `whole` is what has no field.
pub(super) fn problem(whole: &str, path: &str, said: &str) -> Error {
    // A key of a map is no field: what is wrong with it is wrong with the map.
    let path = path.strip_suffix(".?").unwrap_or(path);
    let own = said.split_once(" at line ").map_or(said, |(own, _)| own);
    let quoted = |before: &str| {
        let rest = said.strip_prefix(before)?;
        let name = rest.split_once('`').map_or(rest, |(name, _)| name);
        Some(name.chars().take(NAME).collect::<String>())
    };
    let inside = |name: String| match path {
        "." | "" => name,
        // A reader that has met a field names it in the path as well.
        _ if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        _ => format!("{path}.{name}"),
    };
    if let Some(name) = quoted("missing field `") {
        return Error::bad_input(inside(name), "is missing");
    }
    if let Some(name) = quoted("unknown field `") {
        // Our own names, where the reader tells them, behind whatever was sent.
        let known = own
            .rsplit_once(", expected ")
            .map(|(_, known)| known)
            .filter(|known| known.starts_with('`') || known.starts_with("one of `"))
            .filter(|known| known.len() <= KNOWN);
        let problem = known.map_or_else(
            || "is not known here".to_owned(),
            |known| format!("is not known here: must be {known}"),
        );
        return Error::bad_input(inside(name), problem);
    }
    if let Some(name) = quoted("duplicate field `") {
        return Error::bad_input(inside(name), "stands there twice");
    }
    let field: String = match path {
        "." | "" => whole.to_owned(),
        _ => path.chars().take(NAME).collect(),
    };
    // What was expected is our own words, behind whatever was sent.
    let ours = ["invalid type: ", "invalid value: ", "unknown variant `"];
    let expected = said
        .rsplit_once(", expected ")
        .filter(|_| ours.iter().any(|start| said.starts_with(start)))
        .map(|(_, rest)| rest.split_once(" at line ").map_or(rest, |(own, _)| own));
    match expected {
        Some(expected) => Error::bad_input(&field, format!("must be {}", plain(expected))),
        None => {
            // What a type of ours says of itself, behind the name of its field.
            let own = own.rsplit_once(": ").map_or(own, |(_, own)| own);
            let quotes = said.contains(['`', '"']);
            let problem = match own.starts_with("must ") && own.len() <= NAME && !quotes {
                true => own,
                false => "cannot be what stands there",
            };
            Error::bad_input(&field, problem)
        }
    }
}

/// What a reader expects, for people: not by the names of our types.
fn plain(expected: &str) -> String {
    if let Some(inner) = expected.strip_prefix("struct ") {
        let _ = inner;
        return "an object".to_owned();
    }
    match expected {
        "i64" | "i32" => "a whole number".to_owned(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => "a whole number from 0".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read only")]
    struct Sent {
        name: String,
        days: Option<u32>,
        #[serde(default)]
        tags: Vec<String>,
        kind: Option<Kind>,
        inner: Option<Inner>,
        free: Option<mdm_core::calendar::FreeBound>,
        zone: Option<mdm_core::calendar::Zone>,
        at: Option<mdm_core::clock::Timestamp>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        BuiltIn,
        Scep,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read only")]
    struct Inner {
        size: u64,
    }

    fn said(sent: &str) -> String {
        json::<Sent>(sent.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_body_that_is_wrong_is_told_by_its_field_and_never_by_its_content() {
        for (sent, told) in [
            ("", "body: must be a JSON object (line 1, column 0)"),
            (
                "{\"name\":\"a\"} x",
                "body: must be a JSON object (line 1, column 14)",
            ),
            ("7", "body: must be an object"),
            ("[]", "body: must be an object"),
            ("[\"a\"]", "body: must be an object"),
            ("{}", "name: is missing"),
            (
                r#"{"name":"a","hunter2":1}"#,
                "hunter2: is not known here: must be one of `name`, `days`, `tags`, `kind`, `inner`, `free`, `zone`, `at`",
            ),
            (r#"{"name":"a","name":"b"}"#, "name: stands there twice"),
            (r#"{"name":7}"#, "name: must be a string"),
            (
                r#"{"name":"a","days":"hunter2"}"#,
                "days: must be a whole number from 0 to 4294967295",
            ),
            (
                r#"{"name":"a","days":-1}"#,
                "days: must be a whole number from 0 to 4294967295",
            ),
            (
                r#"{"name":"a","tags":["b",7]}"#,
                "tags[1]: must be a string",
            ),
            (r#"{"name":"a","tags":"b"}"#, "tags: must be a list"),
            (
                r#"{"name":"a","kind":"hunter2, expected x"}"#,
                "kind: must be `built-in` or `scep`",
            ),
            (r#"{"name":"a","inner":{}}"#, "inner.size: is missing"),
            (
                r#"{"name":"a","inner":{"size":"hunter2"}}"#,
                "inner.size: must be a whole number from 0",
            ),
            // What a type of ours says of its form is passed on.
            (
                r#"{"name":"a","free":"2026-12-24T10:00:00Z"}"#,
                "free: must be a day like 2026-12-24 or a time like 2026-12-24T18:00",
            ),
            (
                r#"{"name":"a","zone":"Mars/Base"}"#,
                "zone: must be the name of a time zone, like Europe/Berlin",
            ),
            (
                r#"{"name":"a","at":"+275760-09-13T00:00:00Z"}"#,
                "at: must be a time like 2026-12-24T18:00:00Z or with an offset",
            ),
        ] {
            assert_eq!(said(sent), told, "{sent}");
        }
    }

    #[test]
    fn escapes_that_are_no_text_are_seen() {
        for (query, fits) in [
            ("", true),
            ("a=%C3%A4+b", true),
            ("a=%ff", false),
            ("a=%4", false),
            ("a=%zz", false),
        ] {
            assert_eq!(decodes(query), fits, "{query}");
        }
    }
}
