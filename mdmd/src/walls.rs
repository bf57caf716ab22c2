//! Which addresses this server connects to where others than those who run it say where: receivers of webhooks, manifests of apps.
//! Whoever may name one must not reach what stands behind our walls, nor learn what is there. The address that was judged is the one
//! to connect to, whatever its name means a moment later. Connects to nothing itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::Uri;

use crate::config::{Config, Network};

/// The public internet, and the networks that the configuration adds to it.
#[derive(Clone, Debug)]
pub(crate) struct Walls {
    allowed: Vec<Network>,
    /// The key that adds them.
    key: &'static str,
}

/// Why nobody connects there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is none of the public internet, and this key has not added it.
    NotPublic(&'static str),
    /// Without TLS it is only gone to what this key has added.
    Http(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic(key) => {
                write!(f, "its address is not a public one; `{key}` may allow it")
            }
            Self::Http(key) => write!(f, "http is taken only for addresses in `{key}`"),
        }
    }
}

impl std::error::Error for Refused {}

impl Walls {
    /// For receivers of webhooks.
    pub(crate) fn of_hooks(config: &Config) -> Self {
        Self {
            allowed: config.webhooks.allowed_networks.clone(),
            key: "webhooks.allowed_networks",
        }
    }

    /// For manifests of apps of one's own.
    pub(crate) fn of_manifests(config: &Config) -> Self {
        Self {
            allowed: config.packages.allowed_networks.clone(),
            key: "packages.allowed_networks",
        }
    }

    /// Whether an address may be connected to, with TLS or without.
    pub(crate) fn judge(&self, address: IpAddr, secure: bool) -> Result<(), Refused> {
        let address = address.to_canonical();
        let allowed = self.allowed.iter().any(|n| n.contains(address));
        match allowed {
            true => Ok(()),
            false if !is_public(address) => Err(Refused::NotPublic(self.key)),
            false if !secure => Err(Refused::Http(self.key)),
            false => Ok(()),
        }
    }

    /// Whether those to which a name leads may be. One address behind our walls is enough to distrust the name.
    pub(crate) fn judge_all(&self, found: &[SocketAddr], secure: bool) -> Result<(), Refused> {
        if found.is_empty() {
            return Err(Refused::NotPublic(self.key));
        }
        found
            .iter()
            .try_for_each(|address| self.judge(address.ip(), secure))
    }

    /// Whether a name may be of which nobody has looked where it leads: http leads nowhere where no network is allowed.
    pub(crate) fn judge_name(&self, secure: bool) -> Result<(), Refused> {
        match secure || !self.allowed.is_empty() {
            true => Ok(()),
            false => Err(Refused::Http(self.key)),
        }
    }
}

/// What the header `Host` says of an address: never who somebody is there.
pub(crate) fn host_and_port(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, at)| at)
}

/// The port that an address names, `otherwise` where it names none. `None` where none can be what stands there: the one that is
/// meant by default would be another address.
pub(crate) fn port(uri: &Uri, otherwise: u16) -> Option<u16> {
    let named = host_and_port(uri).rsplit_once(':').map(|(_, port)| port);
    // Those within brackets are of an address of version 6.
    match named.filter(|port| !port.ends_with(']')) {
        None | Some("") => Some(otherwise),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
    }
}

/// Whether an address is one of the public internet.
///
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        // Behind a carrier's translation.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let segments = v6.segments();
    // Only what is handed out for everybody; and of that not what leads to an IPv4 address, or documents things.
    let global = segments[0] & 0xe000 == 0x2000;
    let transition = segments[0] == 0x2002 || (segments[0] == 0x2001 && segments[1] == 0);
    let special = segments[0] == 0x2001 && (segments[1] == 0xdb8 || (segments[1] & 0xfff0) == 0x10);
    // The translation of a network with IPv6 alone: judged by the address within.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [_, _, _, _, _, _, high, low] = segments;
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    global && !transition && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_behind_walls_are_not_public() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("10.0.0.1", false),
            ("172.16.9.9", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:93.184.216.34", true),
            ("2002:a00:1::1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::5db8:d822", true),
            ("2001:db8::1", false),
            ("2606:2800:220:1::1", true),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(is_public(address.to_canonical()), public, "{address}");
        }
    }

    #[test]
    fn a_name_is_judged_by_all_that_it_leads_to() {
        let inside = Network::parse("10.20.0.0/16").unwrap();
        let walls = |allowed: &[Network]| Walls {
            allowed: allowed.to_vec(),
            key: "some.key",
        };
        let leads = |to: &[&str]| -> Vec<SocketAddr> {
            let all = to.iter().map(|it| it.parse().unwrap());
            all.map(|address: IpAddr| SocketAddr::new(address, 443))
                .collect()
        };
        let not_public = Err(Refused::NotPublic("some.key"));
        let judged = |allowed: &[Network], to: &[&str], secure: bool| {
            walls(allowed).judge_all(&leads(to), secure)
        };
        assert_eq!(judged(&[], &["93.184.216.34"], true), Ok(()));
        assert_eq!(
            judged(&[], &["93.184.216.34", "10.20.0.1"], true),
            not_public
        );
        assert_eq!(judged(&[], &[], true), not_public);
        let both = ["93.184.216.34", "::ffff:10.20.0.1"];
        assert_eq!(judged(&[inside], &both, true), Ok(()));
        let http = Err(Refused::Http("some.key"));
        assert_eq!(judged(&[inside], &both, false), http);
        assert_eq!(judged(&[inside], &["10.20.0.1"], false), Ok(()));
        assert_eq!(judged(&[inside], &["10.21.0.1"], true), not_public);
        assert_eq!(walls(&[]).judge_name(false), http);
        assert_eq!(walls(&[]).judge_name(true), Ok(()));
        let said = Refused::NotPublic("some.key").to_string();
        assert!(said.contains("`some.key` may allow it"), "{said}");
    }

    #[test]
    fn who_somebody_is_there_is_no_host() {
        for (url, says) in [
            ("https://files.example.com/a", "files.example.com"),
            (
                "https://me:word@files.example.com:8443/a",
                "files.example.com:8443",
            ),
            ("https://[::1]:8443/a", "[::1]:8443"),
        ] {
            let uri: Uri = url.parse().unwrap();
            assert_eq!(host_and_port(&uri), says);
        }
    }

    #[test]
    fn a_port_that_cannot_be_is_never_the_one_that_is_meant_by_default() {
        for (url, leads_to) in [
            ("https://files.example.com/a", Some(443)),
            ("https://files.example.com:8443/a", Some(8443)),
            ("https://files.example.com:65535/a", Some(65535)),
            ("https://[::1]/a", Some(443)),
            ("https://[::1]:8443/a", Some(8443)),
            ("https://files.example.com:65536/a", None),
            ("https://files.example.com:84430/a", None),
            ("https://[::1]:84430/a", None),
            ("https://files.example.com:0/a", None),
        ] {
            let uri: Uri = url.parse().unwrap();
            assert_eq!(port(&uri, 443), leads_to, "{url}");
        }
    }
}
