//! Cookies of our pages. Each has the prefix that binds it to this very host and to TLS, is kept from scripts, and is not sent
//! along with what other sites post here.
//!
//! <https://www.rfc-editor.org/rfc/rfc6265>

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue};

/// What a browser holds from the door of the provider to the way back.
pub(super) const BROWSER: &str = "__Host-mdmd-browser";
/// The session of a page.
pub(super) const SESSION: &str = "__Host-mdmd-session";

/// The value of a cookie, if it is one of ours by its form. A name that stands there twice has none.
pub(super) fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let mut found = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name);
    let (_, value) = found.next()?;
    let fits = (20..=200).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    (fits && found.next().is_none()).then(|| value.to_owned())
}

/// Has a browser keep this until it is closed, or for so many seconds.
pub(super) fn set(name: &str, value: &str, seconds: Option<u64>) -> Option<HeaderValue> {
    let age = seconds
        .map(|s| format!("; Max-Age={s}"))
        .unwrap_or_default();
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}");
    HeaderValue::from_str(&text).ok()
}

/// Has a browser forget it.
pub(super) fn forget(name: &str) -> Option<HeaderValue> {
    set(name, "", Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_value_of_our_form_is_read() {
        let value = "a".repeat(43);
        let check = |line: &str, want: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(line).unwrap());
            assert_eq!(read(&headers, SESSION).as_deref(), want, "{line}");
        };
        check(&format!("x=1; {SESSION}={value}"), Some(&value));
        check(&format!("{SESSION}={value}; {SESSION}={value}"), None);
        check(&format!("{SESSION}=\"{value}\""), None);
        check(&format!("{SESSION}=short"), None);
        check(&format!("x{SESSION}={value}"), None);
        let set = set(SESSION, &value, None).unwrap();
        let text = set.to_str().unwrap();
        for part in ["__Host-", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Domain"));
    }
}
