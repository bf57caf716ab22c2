//! Certificates that follow their files: changed files are used for the next handshake; files that cannot be read are
//! reported, and what was read before stays in use. Watches nothing by itself: somebody asks it to look.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use super::PortTls;
use crate::config::{Config, ListenerConfig};

/// What tells one content of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

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
    let of = |path: &Option<PathBuf>, common: &PathBuf| -> Stamp {
        stamp(&config.path(path.as_ref().unwrap_or(common)))
    };
    listeners
        .iter()
        .flat_map(|l| {
            [
                of(&l.certificate, &config.tls.certificate),
                of(&l.key, &config.tls.key),
            ]
        })
        .collect()
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}
