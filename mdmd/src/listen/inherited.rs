//! Ports that a service manager opened and goes on holding while we are restarted (`LISTEN_FDS`, `LISTEN_PID`; what systemd
//! calls socket activation, sd_listen_fds(3)). Who connects in between waits in the port's queue instead of being refused.
//! Opens nothing itself, and takes no socket that the configuration does not name.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use listenfd::ListenFd;

/// The sockets that we were given and have not put to use yet.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    ports: Vec<(SocketAddr, TcpListener)>,
    local: Vec<(PathBuf, UnixListener)>,
}

impl Inherited {
    /// Takes over what the environment names. To be called once, before there is a second thread: it removes the variables,
    /// so that no child takes the sockets for its own.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut all = Self::default();
        for at in 0..given.len() {
            let told = || format!("LISTEN_FDS: descriptor {}", at + 3);
            if let Ok(Some(listener)) = given.take_tcp_listener(at) {
                listener.set_nonblocking(true).with_context(told)?;
                let address = listener.local_addr().with_context(told)?;
                all.ports.push((address, listener));
                continue;
            }
            let listener = given
                .take_unix_listener(at)
                .with_context(|| format!("{}: listens neither on TCP nor locally", told()))?
                .with_context(told)?;
            listener.set_nonblocking(true).with_context(told)?;
            let address = listener.local_addr().with_context(told)?;
            let path = address
                .as_pathname()
                .with_context(|| format!("{}: a local socket without a path", told()))?;
            all.local.push((path.to_owned(), listener));
        }
        Ok(all)
    }

    /// The socket of a configured listener, if we were given one.
    pub(super) fn port(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.ports.iter().position(|(given, _)| *given == address)?;
        Some(self.ports.swap_remove(at).1)
    }

    /// The local socket, if we were given it.
    pub(super) fn local(&mut self, path: &Path) -> Option<UnixListener> {
        let same = |given: &Path| match (given.canonicalize(), path.canonicalize()) {
            (Ok(given), Ok(path)) => given == path,
            _ => given == path,
        };
        let at = self.local.iter().position(|(given, _)| same(given))?;
        Some(self.local.swap_remove(at).1)
    }

    /// A socket that nobody accepts on would let clients wait for ever: that is a mistake of the configuration.
    pub(super) fn all_used(&self) -> anyhow::Result<()> {
        let left = self.ports.iter().map(|(address, _)| address.to_string());
        let local = self
            .local
            .iter()
            .map(|(path, _)| path.display().to_string());
        let left: Vec<String> = left.chain(local).collect();
        ensure!(
            left.is_empty(),
            "the service manager holds {} for us, which is no [[listener]] and not the local socket",
            left.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_by_the_listener_that_has_its_address() {
        let given = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = given.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mdmd.sock");
        let local = UnixListener::bind(&path).unwrap();
        let mut all = Inherited {
            ports: vec![(address, given)],
            local: vec![(path.clone(), local)],
        };
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
        assert!(all.port(other).is_none());
        assert!(all.local(&directory.path().join("other.sock")).is_none());
        let said = all.all_used().unwrap_err().to_string();
        assert!(said.contains(&address.to_string()), "{said}");
        assert!(said.contains("mdmd.sock"), "{said}");
        assert!(all.port(address).is_some());
        assert!(all.port(address).is_none());
        let roundabout = directory
            .path()
            .join("../")
            .join(directory.path().file_name().unwrap());
        assert!(all.local(&roundabout.join("mdmd.sock")).is_some());
        all.all_used().unwrap();
    }
}
