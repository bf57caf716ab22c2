//! The kinds of problems that the API tells of, and how it writes one.

use hyper::StatusCode;
use mdm_core::error::Error;

use super::Failure;

/// Every refusal of the API: status, the end of its type, title. The first one is for what is ours to mend.
pub(crate) const PROBLEMS: &[(u16, &str, &str)] = &[
    (500, "failure", "Failed on our side"),
    (400, "bad-input", "The request cannot be right as it is"),
    (401, "no-token", "No valid token"),
    (403, "refused", "Not allowed"),
    (404, "not-found", "There is no such thing here"),
    (405, "wrong-method", "This address takes another method"),
    (409, "precondition", "The state of things does not allow it"),
    (412, "changed", "It has changed meanwhile"),
    (413, "too-large", "The body is too large"),
    (422, "other-request", "The key stands for another request"),
    (502, "apple-refused", "Another service refused"),
    (503, "not-now", "Not available at the moment"),
];

/// Problem details, as the API writes them.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Problem {
    /// What kind of problem: `urn:mdmd:problem:` and a word.
    r#type: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// Of bad input: the field of the body or the query, or the part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Where waiting helps: so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// Problem details, for programs and people.
///
/// <https://www.rfc-editor.org/rfc/rfc9457>
pub(super) fn problem(
    status: StatusCode,
    failure: &Failure,
    detail: &str,
    retry: Option<u64>,
) -> String {
    let known = PROBLEMS.iter().find(|(code, ..)| *code == status.as_u16());
    let (_, kind, title) = known.unwrap_or(&PROBLEMS[0]);
    let field = match failure {
        Failure::Service(Error::BadInput { field, .. }) => Some(field.to_string()),
        _ => None,
    };
    let problem = Problem {
        r#type: format!("urn:mdmd:problem:{kind}"),
        title: (*title).to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        field,
        retry_after: retry,
    };
    // Texts and numbers: it can always be written.
    serde_json::to_string(&problem).unwrap_or_default()
}
