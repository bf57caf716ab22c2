//! How many connections each client address has: one that opens and opens takes no place from others. Proxies and this machine
//! itself speak for many and have no bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Network;

/// The open connections of one port, by client.
pub(super) struct Clients {
    most: usize,
    trusted: Vec<Network>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; gives its place back when dropped.
pub(super) struct Own {
    clients: Arc<Clients>,
    counted: Option<IpAddr>,
}

impl Clients {
    /// `most` of each client; 0: no bound.
    pub(super) fn new(most: usize, trusted: &[Network]) -> Self {
        Self {
            most,
            trusted: trusted.to_vec(),
            open: Mutex::default(),
        }
    }

    /// A place for one more connection of this client; `None` when it has all that it may have.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Own> {
        let client = client.to_canonical();
        let own = |counted| Own {
            clients: Arc::clone(self),
            counted,
        };
        let for_many = client.is_loopback() || self.trusted.iter().any(|n| n.contains(client));
        if self.most == 0 || for_many {
            return Some(own(None));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(own(Some(client)))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let Some(client) = self.counted else { return };
        let mut open = self
            .clients
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_no_more_until_one_ends() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        let clients = Arc::new(Clients::new(2, &trusted));
        let admit = |address: &str| clients.admit(address.parse().unwrap());
        let first = admit("203.0.113.7").unwrap();
        let _second = admit("::ffff:203.0.113.7").unwrap();
        assert!(admit("203.0.113.7").is_none(), "the same client");
        let _other = admit("203.0.113.8").unwrap();
        drop(first);
        let third = admit("203.0.113.7");
        assert!(third.is_some());
        let proxies: Vec<_> = (0..9).map(|_| admit("10.0.0.1")).collect();
        assert!(proxies.iter().all(Option::is_some));
        drop((third, proxies, _second, _other));
        assert!(clients.open.lock().unwrap().is_empty(), "nothing is kept");
    }
}
