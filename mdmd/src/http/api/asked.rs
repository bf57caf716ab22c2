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

/// The longest way to a field that is repeated: longer than to any of ours, but there may be keys of maps in it.
const PLACE: usize = 256;

/// The longest list of fields that is told, in bytes: longer than that of any body.
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
    let own = unplaced(said);
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let inside = |name: &str| {
        // A reader that has met a field names it in the path as well.
        let above = match path == "." || path == name {
            true => "",
            false => path
                .strip_suffix(name)
                .and_then(|above| above.strip_suffix('.'))
                .unwrap_or(path),
        };
        let name = cut(name, NAME);
        match above {
            "" => name,
            _ => format!("{}.{name}", cut(above, PLACE)),
        }
    };
    let quoted = |before: &str| own.strip_prefix(before)?.strip_suffix('`');
    if let Some(name) = quoted("missing field `") {
        return Error::bad_input(inside(name), "is missing");
    }
    if let Some(name) = quoted("duplicate field `") {
        return Error::bad_input(inside(name), "stands there twice");
    }
    if let Some(rest) = own.strip_prefix("unknown field `") {
        // Our own names, where the reader has them, are the end of what it says; what was sent may end in the same way only before
        // them, or before the words that there are none.
        let (name, known) = match rest.rsplit_once("`, expected ") {
            Some((name, known)) if known.ends_with('`') => (name, Some(known)),
            _ => {
                let name = rest.strip_suffix("`, there are no fields");
                (name.unwrap_or(rest), None)
            }
        };
        let problem = match known.filter(|known| known.len() <= KNOWN) {
            Some(known) => format!("is not known here: must be {known}"),
            None => "is not known here".to_owned(),
        };
        return Error::bad_input(inside(name), problem);
    }
    let field: String = match path {
        "." | "" => whole.to_owned(),
        _ => cut(path, NAME),
    };
    // What was expected is our own words, behind whatever was sent.
    let ours = ["invalid type: ", "invalid value: ", "unknown variant `"];
    let expected = own
        .rsplit_once(", expected ")
        .filter(|_| ours.iter().any(|start| own.starts_with(start)));
    match expected {
        Some((_, expected)) => Error::bad_input(&field, format!("must be {}", plain(expected))),
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

/// What a reader says without the place that it adds at the end: a key that was sent may have one in it, too.
fn unplaced(said: &str) -> &str {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match said.rsplit_once(" at line ") {
        Some((own, place))
            if place
                .split_once(" column ")
                .is_some_and(|(line, column)| number(line) && number(column)) =>
        {
            own
        }
        _ => said,
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

    /// One without fields.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bare {}

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
    fn of_a_key_that_is_not_known_no_more_than_its_beginning_is_told() {
        let known = "must be one of `name`, `days`, `tags`, `kind`, `inner`, `free`, `zone`, `at`";
        for key in [
            "x, expected `whatever at line ",
            "x, expected `whatever`",
            "x`, expected `whatever` at line ",
            "x`, expected one of `a`, `b` at line 1 column 2",
            "x`, there are no fields",
            "x.y`, expected `whatever",
        ] {
            let told = said(&format!(r#"{{"name":"a","{key}":1}}"#));
            assert_eq!(told, format!("{key}: is not known here: {known}"));
            let bare = json::<Bare>(format!(r#"{{"{key}":1}}"#).as_bytes());
            let told = bare.unwrap_err().to_string();
            assert_eq!(told, format!("{key}: is not known here"));
        }
        let (long, cut) = ("k".repeat(5_000), "k".repeat(NAME));
        for begins in ["", "x`, expected `"] {
            let told = said(&format!(r#"{{"name":"a","{begins}{long}":1}}"#));
            let cut = &format!("{begins}{cut}")[..NAME];
            assert_eq!(told, format!("{cut}: is not known here: {known}"));
        }
        // Keys of maps stand in the way to a field.
        let told = problem("body", &long, "missing field `x`").to_string();
        let way = "k".repeat(PLACE);
        assert_eq!(told, format!("{way}.x: is missing"));
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
