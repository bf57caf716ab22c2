//! Where a program on a person's own machine may have the answer of a sign-in sent: this machine's loopback, by number, any
//! port, one path. Every other address is refused, so that no link can send a code to a stranger.
//!
//! <https://www.rfc-editor.org/rfc/rfc8252#section-7.3>

/// The one path.
pub const PATH: &str = "/mdmd-sign-in";

/// The address for a port.
#[must_use]
pub fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}{PATH}")
}

/// Whether an address is one of those. `localhost` is a name, and names can be made to lead elsewhere.
#[must_use]
pub fn is_allowed(address: &str) -> bool {
    let rest = address
        .strip_prefix("http://127.0.0.1:")
        .or_else(|| address.strip_prefix("http://[::1]:"));
    let Some(port) = rest.and_then(|rest| rest.strip_suffix(PATH)) else {
        return false;
    };
    port.bytes().all(|b| b.is_ascii_digit())
        && !port.starts_with('0')
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_by_number_with_a_port_and_the_path() {
        let check = |address: &str, allowed: bool| {
            assert_eq!(is_allowed(address), allowed, "{address}");
        };
        check(&address(50_123), true);
        check("http://127.0.0.1:1/mdmd-sign-in", true);
        check("http://[::1]:65535/mdmd-sign-in", true);
        for other in [
            "https://127.0.0.1:1/mdmd-sign-in",
            "http://localhost:1/mdmd-sign-in",
            "http://127.0.0.1/mdmd-sign-in",
            "http://127.0.0.1:/mdmd-sign-in",
            "http://127.0.0.1:0/mdmd-sign-in",
            "http://127.0.0.1:01/mdmd-sign-in",
            "http://127.0.0.1:65536/mdmd-sign-in",
            "http://127.0.0.1:1@evil.example/mdmd-sign-in",
            "http://127.0.0.1:1/other",
            "http://127.0.0.1:1/mdmd-sign-in?x=1",
            "http://127.0.0.1:1/mdmd-sign-in#x",
            "http://127.0.0.1.evil.example:1/mdmd-sign-in",
            "http://0.0.0.0:1/mdmd-sign-in",
            "http://127.0.0.1:+1/mdmd-sign-in",
            "//127.0.0.1:1/mdmd-sign-in",
            "",
        ] {
            check(other, false);
        }
    }
}
