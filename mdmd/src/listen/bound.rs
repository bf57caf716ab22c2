//! The ports: which there are, whose certificates they show, and whether we opened them or a service manager did. Accepts
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::inherited::Inherited;
use crate::config::{Config, Duty, ListenerConfig};
use crate::tls::LiveTls;

/// How one port talks.
pub(super) struct Wrapping {
    /// TLS, where the server name decides the duty.
    pub(super) tls: Option<Arc<LiveTls>>,
    /// The duty where there is no TLS: `plain`, for listed proxies only, or `challenge`.
    pub(super) bare: Duty,
    /// Listed proxies say first whose connection it is.
    pub(super) proxy_protocol: bool,
}

/// Ports that are bound and whose certificates are read; nothing is accepted yet.
pub(crate) struct Bound {
    pub(super) ports: Vec<Port>,
    /// The local socket, if a service manager holds it.
    pub(super) local: Option<std::os::unix::net::UnixListener>,
}

/// One port.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) wrapping: Wrapping,
    pub(super) duties: Vec<Duty>,
    /// A service manager holds it too, and whoever waits at it is the next process's.
    pub(super) held: bool,
}

impl Bound {
    /// Which duty is where; port 0 has become the one that the operating system chose.
    pub(crate) fn addresses(&self) -> Vec<(Duty, SocketAddr)> {
        self.ports
            .iter()
            .flat_map(|port| port.duties.iter().map(|duty| (*duty, port.address)))
            .collect()
    }
}

/// Binds every configured port that we were not given.
pub(crate) async fn bind(config: &Config, given: &mut Inherited) -> anyhow::Result<Bound> {
    let mut groups: Vec<Vec<&ListenerConfig>> = Vec::new();
    for listener in &config.listeners {
        // Port 0 is a port of its own each time: the operating system chooses.
        let shared = groups
            .iter_mut()
            .find(|g| g[0].address == listener.address && listener.address.port() != 0);
        match shared {
            Some(group) => group.push(listener),
            None => groups.push(vec![listener]),
        }
    }
    let shared = Arc::new(config.clone());
    let mut ports = Vec::new();
    for group in groups {
        let tls = if group[0].duty.has_tls() {
            let listeners = group.iter().map(|l| (*l).clone()).collect();
            Some(Arc::new(LiveTls::load(&shared, listeners)?))
        } else {
            None
        };
        let wrapping = Wrapping {
            tls,
            bare: group[0].duty,
            proxy_protocol: group[0].proxy_protocol,
        };
        let wanted = group[0].address;
        let told = || format!("listener {wanted}");
        let (listener, held) = match given.port(wanted) {
            Some(listener) => (TcpListener::from_std(listener).with_context(told)?, true),
            None => (TcpListener::bind(wanted).await.with_context(told)?, false),
        };
        ports.push(Port {
            address: listener.local_addr()?,
            listener,
            wrapping,
            duties: group.iter().map(|l| l.duty).collect(),
            held,
        });
    }
    let local = given.local(&config.socket());
    given.all_used()?;
    Ok(Bound { ports, local })
}
