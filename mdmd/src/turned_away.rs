//! Handshakes that failed, for the list of whom nobody has heard: the organisation's where there is one, the installation's where nobody
//! can say whose they were. One a minute of each address; a scanner fills no table.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mdm_core::service::Mdm;
use tokio::sync::mpsc;

/// Handshakes that wait to be noted; what comes beyond is not.
const WAITING: usize = 64;
/// An address is noted no more often.
const EVERY: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const MOST: usize = 1_000;

/// Where listeners tell of one: the address, and why.
pub(crate) type Told = mpsc::Sender<(IpAddr, String)>;

/// Begins to note them; ends with the last listener.
pub(crate) fn note(mdm: Mdm) -> Told {
    let (told, mut heard) = mpsc::channel::<(IpAddr, String)>(WAITING);
    tokio::spawn(async move {
        let mut noted: HashMap<IpAddr, Instant> = HashMap::new();
        while let Some((address, why)) = heard.recv().await {
            if noted.get(&address).is_some_and(|at| at.elapsed() < EVERY) {
                continue;
            }
            if noted.len() >= MOST {
                noted.retain(|_, at| at.elapsed() < EVERY);
            }
            // So many at once are no devices.
            if noted.len() >= MOST {
                continue;
            }
            noted.insert(address, Instant::now());
            mdm.refused_handshake(&address.to_string(), &why).await;
        }
    });
    told
}
