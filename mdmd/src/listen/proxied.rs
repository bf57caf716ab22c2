//! The PROXY protocol (versions 1 and 2): the line or block with which a load balancer says whose connection it passes on.
//! Reads not one byte more, so that what follows (a TLS handshake, HTTP) is untouched. Whether the balancer is to be
//! believed is for the caller.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every version 2 header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest version 1 line, its end included.
const LONGEST_LINE: usize = 107;
/// The longest version 2 header that is read: addresses and some extensions.
const LONGEST_BLOCK: usize = 2048;

/// Why a connection cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    /// It ended before its header did.
    #[error("the connection ended within the PROXY header")]
    Ended,
    /// Something else, or a header that is too long.
    #[error("the connection does not begin with a PROXY header of version 1 or 2")]
    Unreadable,
}

/// Reads the header; answers the client's address, or `None` when the proxy speaks for itself (a health check).
pub(super) async fn client(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut head = vec![0_u8; SIGNATURE.len()];
    fill(stream, &mut head).await?;
    if head.as_slice() == SIGNATURE {
        head.resize(16, 0);
        fill(stream, &mut head[12..]).await?;
        let rest = usize::from(u16::from_be_bytes([head[14], head[15]]));
        if rest > LONGEST_BLOCK {
            return Err(HeaderError::Unreadable);
        }
        head.resize(16 + rest, 0);
        fill(stream, &mut head[16..]).await?;
    } else {
        if !head.starts_with(b"PROXY ") {
            return Err(HeaderError::Unreadable);
        }
        while !head.ends_with(b"\r\n") {
            if head.len() >= LONGEST_LINE {
                return Err(HeaderError::Unreadable);
            }
            head.push(stream.read_u8().await.map_err(|_| HeaderError::Ended)?);
        }
    }
    match HeaderResult::parse(&head) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(a) => Some(at(a.source_address, a.source_port)),
            v1::Addresses::Tcp6(a) => Some(at(a.source_address, a.source_port)),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(a)) => {
                Some(at(a.source_address, a.source_port))
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(a)) => {
                Some(at(a.source_address, a.source_port))
            }
            // The proxy itself, or a kind of address that is no client of ours.
            _ => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(HeaderError::Unreadable),
    }
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<(), HeaderError> {
    stream
        .read_exact(into)
        .await
        .map(drop)
        .map_err(|_| HeaderError::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(sent: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
        let mut stream = sent;
        let found = client(&mut stream).await;
        (found, stream.to_vec())
    }

    fn block(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut all = SIGNATURE.to_vec();
        all.extend([0x20 | command, family]);
        all.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        all.extend(addresses);
        all
    }

    #[tokio::test]
    async fn both_versions_give_the_client_and_leave_what_follows() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let mut v6 = [0_u8; 36];
        v6[0] = 0x20;
        v6[15] = 1;
        v6[32..].copy_from_slice(&[0x30, 0x39, 0x01, 0xbb]);
        // An extension (TLV) behind the addresses is skipped.
        let mut extended = v4.to_vec();
        extended.extend([0x04, 0x00, 0x02, 1, 2]);
        for (header, expected) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n".to_vec(),
                Some("203.0.113.7:12345"),
            ),
            (
                b"PROXY TCP6 2000::1 ::1 12345 443\r\n".to_vec(),
                Some("[2000::1]:12345"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (block(1, 0x11, &v4), Some("203.0.113.7:12345")),
            (block(1, 0x11, &extended), Some("203.0.113.7:12345")),
            (block(1, 0x21, &v6), Some("[2000::1]:12345")),
            (block(0, 0x00, &[]), None),
        ] {
            let mut sent = header;
            sent.extend(b"\x16\x03\x01 and on");
            let (found, rest) = check(&sent).await;
            assert_eq!(found, Ok(expected.map(|a| a.parse().unwrap())));
            assert_eq!(rest, b"\x16\x03\x01 and on");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused_within_bounds() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        let mut huge = block(1, 0x11, &[0; 12]);
        huge[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        for (sent, error) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), HeaderError::Unreadable),
            (b"PROXY TCP4 1.2.3.4".to_vec(), HeaderError::Ended),
            (
                b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n".to_vec(),
                HeaderError::Unreadable,
            ),
            (long, HeaderError::Unreadable),
            (huge, HeaderError::Unreadable),
            (block(1, 0x11, &[1, 2, 3]), HeaderError::Unreadable),
            (Vec::new(), HeaderError::Ended),
        ] {
            assert_eq!(check(&sent).await.0, Err(error), "{sent:?}");
        }
    }
}
