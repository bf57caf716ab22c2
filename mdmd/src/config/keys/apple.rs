//! `[apple]`: Apple's services for organisations.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "apple.assignment_url",
        Form::Url,
        None,
        "\"https://mdmenrollment.apple.com\"",
        "The device-assignment service, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.organisation_url",
        Form::Url,
        None,
        "\"https://api-business.apple.com\"",
        "The organisation API, for a test service. Left out: Apple's, chosen by the account's kind.",
    ),
    key(
        "apple.token_url",
        Form::Url,
        None,
        "\"https://account.apple.com/auth/oauth2/token\"",
        "Where the organisation API's access tokens come from, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.lock_url",
        Form::Url,
        None,
        "\"https://deviceservices-external.apple.com\"",
        "The lock-removal service, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.apps_url",
        Form::Url,
        None,
        "\"https://vpp.itunes.apple.com/mdm/v2\"",
        "Apps and Books, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.ca",
        Form::Path,
        None,
        "\"tls/apple-ca.pem\"",
        "A CA (PEM) to trust for these services beside the system's.",
    ),
];
