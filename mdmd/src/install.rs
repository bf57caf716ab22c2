//! Lays a data directory out: its modes, the master key, a small CA with a server certificate. Overwrites nothing.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::organisation::Der;

use crate::key_wrap::MasterKeys;
use crate::pki;

/// Our own CA lives long; whoever wants another one gives a certificate.
const CA_DAYS: u32 = 3650;
/// Apple's clients refuse server certificates of more than 825 days.
const SERVER_DAYS: u32 = 825;

/// Lays out a data directory with which a server can start in this process: for rehearsals and tests. Answers the
/// certificate that clients of its listeners must trust.
///
/// # Errors
/// When something of it is there already, or cannot be written.
pub fn lay_out(directory: &Path, organisation: &str, host: &str) -> anyhow::Result<Der> {
    prepare(directory)?;
    let anchor = own_certificates(directory, organisation, host)?;
    MasterKeys::create(&directory.join("master.key"))?;
    Ok(anchor)
}

/// The directory, made or found empty of what we would make.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<()> {
    for name in ["master.key", "mdmd.sqlite", "tls/server.key", "tls/ca.key"] {
        let path = directory.join(name);
        anyhow::ensure!(
            !path.exists(),
            "{} is there already; init never overwrites an installation",
            path.display()
        );
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory.join("tls"))
        .with_context(|| format!("data directory {}", directory.display()))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("data directory {}", directory.display()))
}

/// A CA of our own and a certificate for our listeners; answers the CA's certificate.
pub(crate) fn own_certificates(
    directory: &Path,
    organisation: &str,
    host: &str,
) -> anyhow::Result<Der> {
    let now = SystemClock.now();
    let ca = pki::authority(&format!("{} device management", organisation), CA_DAYS, now)?;
    let mut names = vec![host.to_ascii_lowercase()];
    for local in ["localhost", "127.0.0.1"] {
        if host != local {
            names.push(local.to_owned());
        }
    }
    let server = pki::server(&ca, &names, SERVER_DAYS, now)?;
    write(directory, "tls/ca.pem", &ca.certificate_pem()?, 0o644)?;
    write(directory, "tls/ca.key", &ca.key_pem()?, 0o600)?;
    write(
        directory,
        "tls/server.pem",
        &server.certificate_pem()?,
        0o644,
    )?;
    write(directory, "tls/server.key", &server.key_pem()?, 0o600)?;
    Ok(Der(ca.certificate.to_der()?))
}

/// A new file; one that is there is an error.
pub(crate) fn write(directory: &Path, name: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = directory.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(content)?;
    file.sync_all().with_context(|| path.display().to_string())
}
