//! Certificates that follow their files: changed files are used for the next handshake; files that cannot be read are
//! reported, and what was read before stays in use. Watches nothing by itself: somebody asks it to look.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use mdm_core::clock::Timestamp;

use super::PortTls;
use crate::config::{Config, ListenerConfig};

/// What tells one content of a file from another without reading it.
type Stamp = (PathBuf, Option<(SystemTime, u64)>);

/// The certificates of one port.
pub(crate) struct LiveTls {
    config: Arc<Config>,
    listeners: Vec<ListenerConfig>,
    now: RwLock<PortTls>,
    seen: Mutex<Vec<Stamp>>,
}

impl LiveTls {
    /// Reads the certificates of all duties at one address.
    ///
    /// # Errors
    /// As [`PortTls::load`].
    pub(crate) fn load(
        config: &Arc<Config>,
        listeners: Vec<ListenerConfig>,
    ) -> anyhow::Result<Self> {
        // Before reading: a change in between is then seen at the next look.
        let seen = stamps(config, &listeners);
        let now = read(config, &listeners)?;
        Ok(Self {
            config: Arc::clone(config),
            listeners,
            now: RwLock::new(now),
            seen: Mutex::new(seen),
        })
    }

    /// The certificates for the next handshake.
    pub(crate) fn current(&self) -> PortTls {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads files that have changed since the last look. Answers whether others are in use now.
    ///
    /// # Errors
    /// As [`PortTls::load`]; the certificates in use are as they were, and the same files are not tried again until they change.
    pub(crate) fn look(&self) -> anyhow::Result<bool> {
        let found = stamps(&self.config, &self.listeners);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return Ok(false);
            }
            *seen = found;
        }
        let fresh = read(&self.config, &self.listeners)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

fn read(config: &Config, listeners: &[ListenerConfig]) -> anyhow::Result<PortTls> {
    PortTls::load(config, &listeners.iter().collect::<Vec<_>>())
}

fn stamps(config: &Config, listeners: &[ListenerConfig]) -> Vec<Stamp> {
    listeners
        .iter()
        .flat_map(|listener| {
            let (certificate, key) = super::files(config, listener);
            // The names too: the first certificate of an authority lies elsewhere than what was shown until then.
            [certificate, key].map(|path| {
                let stamp = stamp(&path);
                (path, stamp)
            })
        })
        .collect()
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// The certificates of all ports of a server.
#[derive(Clone, Default)]
pub(crate) struct Certificates(Arc<Mutex<Vec<Arc<LiveTls>>>>);

impl Certificates {
    /// One more port.
    pub(crate) fn add(&self, port: Arc<LiveTls>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(port);
    }

    fn all(&self) -> Vec<Arc<LiveTls>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets new connections have the certificates that lie in the files now. Ones that cannot be read are reported; the
    /// old ones stay in use.
    pub(crate) fn look(&self) {
        for port in self.all() {
            match port.look() {
                Ok(true) => tracing::info!("certificates of a port were read anew"),
                Ok(false) => {}
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::error!(
                        why,
                        "changed certificates cannot be used; the old ones stay"
                    );
                }
            }
        }
    }

    /// When the first of them ends; `None` without a port that has one.
    pub(crate) fn first_end(&self) -> Option<Timestamp> {
        self.all().iter().map(|port| port.current().ends()).min()
    }
}
