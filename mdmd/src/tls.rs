//! Certificates of the listeners, and which duty a handshake gets by its server name. Judges no client certificate: *device*
//! asks for one and takes any, the application decides what it is worth; *enrol* and *admin* never ask.
//!
//! Choosing another context by server name does not change a connection's verify mode, so the callback sets both;
//! otherwise a CertificateRequest would leak to the enrolment host, where Apple's clients misbehave on one.

mod live;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use mdm_core::clock::Timestamp;
use openssl::ex_data::Index;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, NameType, SniError, Ssl, SslAcceptor, SslAlert, SslContext, SslMethod, SslOptions,
    SslRef, SslSessionCacheMode, SslVerifyMode, select_next_proto,
};
use openssl::x509::X509;

use crate::config::{Config, Duty, ListenerConfig};
pub(crate) use live::{Certificates, LiveTls};

/// Everything that one port needs for its handshakes.
#[derive(Clone)]
pub(crate) struct PortTls {
    /// Carries the server-name callback; has the certificate of the duty for every other name, if there is one.
    base: SslContext,
    /// When the first of its certificates ends.
    ends: Timestamp,
}

/// One duty's certificate and session rules.
struct Face {
    context: SslContext,
    duty: Duty,
}

impl PortTls {
    /// Reads the certificates of all duties at one address.
    ///
    /// # Errors
    /// Names the file that is missing, unreadable or does not fit.
    pub(crate) fn load(config: &Config, listeners: &[&ListenerConfig]) -> anyhow::Result<Self> {
        let mut named = HashMap::new();
        let mut other = None;
        let mut ends = Timestamp::from_millis(i64::MAX);
        for listener in listeners {
            let (certificate, key) = files(config, listener);
            let (builder, end) = context(listener.duty, &certificate, &key)?;
            ends = ends.min(end);
            let face = Arc::new(Face {
                context: builder.build().into_context(),
                duty: listener.duty,
            });
            for name in &listener.names {
                named.insert(name.clone(), Arc::clone(&face));
            }
            if listener.names.is_empty() {
                other = Some(face);
            }
        }
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        // Without this OpenSSL would look for a certificate before it calls us back.
        if let Some(listener) = listeners.first() {
            let (certificate, key) = files(config, listener);
            builder = context(listener.duty, &certificate, &key)?.0;
        }
        // TLS 1.2 decides on resumption before the server name: a session of *enrol*, resumed on *device*, would never be
        // asked for its certificate. So a port with several duties resumes nothing.
        if listeners.iter().any(|l| l.duty != listeners[0].duty) {
            builder.set_options(SslOptions::NO_TICKET);
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
            builder.set_num_tickets(0)?;
        }
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_servername_callback(move |ssl, alert| {
            let face = ssl
                .servername(NameType::HOST_NAME)
                .map(str::to_ascii_lowercase)
                .and_then(|name| named.get(&name))
                .or(other.as_ref());
            match face {
                Some(face) => show(ssl, face).map_err(|()| {
                    *alert = SslAlert::INTERNAL_ERROR;
                    SniError::ALERT_FATAL
                }),
                None => {
                    *alert = SslAlert::UNRECOGNIZED_NAME;
                    Err(SniError::ALERT_FATAL)
                }
            }
        });
        Ok(Self {
            base: builder.build().into_context(),
            ends,
        })
    }

    /// When the first of its certificates ends.
    pub(crate) const fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The state of one handshake.
    pub(crate) fn handshake(&self) -> anyhow::Result<Ssl> {
        Ok(Ssl::new(&self.base)?)
    }
}

/// The duty that a finished handshake got.
pub(crate) fn duty_of(ssl: &SslRef) -> Option<Duty> {
    ssl.ex_data(duty_index().ok()?).copied()
}

fn duty_index() -> Result<Index<Ssl, Duty>, ()> {
    static INDEX: OnceLock<Option<Index<Ssl, Duty>>> = OnceLock::new();
    INDEX
        .get_or_init(|| Ssl::new_ex_index::<Duty>().ok())
        .ok_or(())
}

/// Turns the connection into this duty's: certificate, verify mode, tickets and the mark that the listener reads.
fn show(ssl: &mut SslRef, face: &Face) -> Result<(), ()> {
    ssl.set_ssl_context(&face.context).map_err(drop)?;
    if face.duty == Duty::Device {
        ssl.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    } else {
        ssl.set_verify(SslVerifyMode::NONE);
    }
    ssl.set_ex_data(duty_index()?, face.duty);
    Ok(())
}

/// Looks at the certificates of all listeners as they are read when the server starts. Those of an installation that is not
/// made yet cannot lie there.
///
/// # Errors
/// Names the file that is missing, unreadable or does not fit.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let usual = Config::for_directory(&config.data_directory);
    let inside = std::fs::read_dir(&config.data_directory);
    let made = inside.is_ok_and(|mut inside| inside.next().is_some());
    for listener in config.listeners.iter().filter(|l| l.duty.has_tls()) {
        let (certificate, key) = files(config, listener);
        let common =
            certificate == usual.path(&usual.tls.certificate) && key == usual.path(&usual.tls.key);
        if made || !common {
            context(listener.duty, &certificate, &key)?;
        }
    }
    Ok(())
}

/// Where a listener's certificate and key lie: its own; else the one that an authority issued, once it is there; else the
/// common ones.
fn files(config: &Config, listener: &ListenerConfig) -> (PathBuf, PathBuf) {
    if let (Some(certificate), Some(key)) = (&listener.certificate, &listener.key) {
        return (config.path(certificate), config.path(key));
    }
    if config.acme.directory.is_some() {
        let issued = config.issued_certificate();
        if issued.exists() {
            return (issued.clone(), issued);
        }
    }
    (
        config.path(&config.tls.certificate),
        config.path(&config.tls.key),
    )
}

fn context(
    duty: Duty,
    certificate: &Path,
    key: &Path,
) -> anyhow::Result<(openssl::ssl::SslAcceptorBuilder, Timestamp)> {
    let chain = std::fs::read(certificate)
        .with_context(|| format!("certificate file {}", certificate.display()))?;
    let chain = X509::stack_from_pem(&chain)
        .with_context(|| format!("certificate file {}: not PEM", certificate.display()))?;
    let Some((leaf, rest)) = chain.split_first() else {
        bail!(
            "certificate file {}: holds no certificate",
            certificate.display()
        );
    };
    let key_pem = zeroize::Zeroizing::new(
        std::fs::read(key).with_context(|| format!("key file {}", key.display()))?,
    );
    let private = PKey::private_key_from_pem_callback(&key_pem, |_| Ok(0)).with_context(|| {
        format!(
            "key file {}: not a PEM key without passphrase",
            key.display()
        )
    })?;
    if !leaf.public_key()?.public_eq(&private) {
        bail!(
            "key file {} does not belong to the first certificate of {}",
            key.display(),
            certificate.display()
        );
    }
    let ends = crate::pki::validity(leaf)?.1;
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(leaf)?;
    for issuer in rest {
        builder.add_extra_chain_cert(issuer.clone())?;
    }
    builder.set_private_key(&private)?;
    builder.check_private_key()?;
    builder.set_session_id_context(format!("mdmd:{}", duty.as_str()).as_bytes())?;
    builder.set_alpn_select_callback(|_, client| {
        select_next_proto(b"\x02h2\x08http/1.1", client).ok_or(AlpnError::NOACK)
    });
    Ok((builder, ends))
}
