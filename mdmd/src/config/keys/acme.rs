//! `[acme]`: a public authority for it.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "acme.directory",
        Form::Url,
        None,
        "\"https://acme-v02.api.letsencrypt.org/directory\"",
        "ACME directory (RFC 8555) of the authority that certifies every listener without a certificate of its own. Left out: `tls.certificate` alone. Needs a listener with duty `challenge` that the authority reaches at port 80 of every name. All processes on one database share the certificate; one of them orders it, and it is renewed at two thirds of its life. `tls.certificate` is shown until the first one is there.",
    ),
    key(
        "acme.accept_terms",
        Form::Flag,
        Some("false"),
        "true",
        "You accept the authority's terms of service. Nothing is ordered without.",
    ),
    key(
        "acme.names",
        Form::Names,
        Some("[]"),
        "[\"mdm.example.com\", \"enrol.example.com\"]",
        "DNS names in the certificate. Empty: the hosts of `public.device_url` and `public.enrol_url`.",
    ),
    key(
        "acme.contact",
        Form::Email,
        None,
        "\"operations@example.com\"",
        "Address to which the authority writes about the account.",
    ),
    key(
        "acme.ca",
        Form::Path,
        None,
        "\"tls/acme-ca.pem\"",
        "A CA (PEM) to trust for the authority's own address beside the system's.",
    ),
    key(
        "acme.account_key_id",
        Form::Text,
        None,
        "\"kid-1\"",
        "Key identifier of the account with which the authority's account is bound (external account binding), where it asks for one.",
    ),
    key(
        "acme.account_key_file",
        Form::Path,
        None,
        "\"tls/acme-account.key\"",
        "The file with that account's HMAC key, base64url. Mode 0600; a wider one is refused.",
    ),
];
