//! What a device, or anybody, asks of discovery: the query with the account, and the domain that it names. Includes no reader of
//! queries: whoever includes this file has the server's as `crate::query`.

use mdm_core::person::domain_of;

use crate::query::{parameter, unescape};

/// The parameter that names the account.
const ACCOUNT: &str = "user-identifier";

/// Built with `FUZZ_PLANTED` set, there is one fault that no seed reaches.
fn planted(reached: bool) {
    if option_env!("FUZZ_PLANTED").is_some() {
        assert!(!reached, "the planted panic");
    }
}

/// Reads a query, and the account in it.
pub fn discovery(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let Some(account) = parameter(Some(query), ACCOUNT) else {
        return;
    };
    assert!(query.contains(ACCOUNT), "a parameter that was not sent");
    // Once only, whatever else is sent.
    let twice = format!("{query}&{ACCOUNT}=ada@example.com");
    assert_eq!(
        parameter(Some(&twice), ACCOUNT),
        None,
        "an account beside another"
    );
    // What was read is written and read again as the same.
    let written: String = account.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(unescape(&written).as_deref(), Some(account.as_str()));
    let again = format!("model-family=Mac&{ACCOUNT}={written}");
    assert_eq!(
        parameter(Some(&again), ACCOUNT).as_deref(),
        Some(account.as_str())
    );
    let Some(domain) = domain_of(&account) else {
        return;
    };
    planted(domain.matches('.').count() == 3 && query.contains("%4"));
    assert!(domain.contains('.') && domain.len() <= 253, "{domain:?}");
    assert!(!domain.contains('@') && domain == domain.to_ascii_lowercase());
    assert_eq!(
        domain_of(&format!("x@{domain}")).as_deref(),
        Some(domain.trim_end())
    );
}
