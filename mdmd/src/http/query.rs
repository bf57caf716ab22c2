//! Queries as strangers send them: one parameter by its name, its escapes undone. Knows nothing of who asks, and of no other file
//! here: the fuzzer reads it as it is.

/// A parameter of a query, once, its escapes undone.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&');
    let mut found = pairs
        .filter_map(|p| p.split_once('='))
        .filter(|(key, _)| *key == name);
    let (_, value) = found.next()?;
    if found.next().is_some() {
        return None;
    }
    unescape(&value.replace('+', " "))
}

/// Undoes `%xx`. `None` when an escape is broken or the result is no text.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            let digit = |b: u8| char::from(b).to_digit(16);
            out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
