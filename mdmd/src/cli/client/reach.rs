//! How an installation is reached: by its socket, by its address with a token, or by its stopped data directory.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use axum::Router;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use mdm_core::store::Store;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::{X509, X509VerifyResult};
use rustix::io::Errno;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::app::{Overrides, assemble, look_at_store, open_store};
use crate::config::Config;
use crate::http::api;
use crate::key_wrap::MasterKeys;
use crate::packages::Packages;

pub(super) enum Way {
    Socket(PathBuf),
    Url {
        host: String,
        port: u16,
        ca: Option<PathBuf>,
        /// `None` before anybody has signed in.
        token: Option<Zeroizing<String>>,
    },
    /// Nothing serves: the routes themselves, over the stopped data directory.
    Stopped(Box<Stopped>),
}

impl Way {
    /// With whom a request is for, and in whose name. The routes themselves need neither.
    pub(super) fn addressed(&self, request: Builder) -> Builder {
        match self {
            Self::Stopped(_) => request,
            Self::Socket(_) => request.header(HOST, "localhost"),
            Self::Url { host, token, .. } => {
                let request = request.header(HOST, host);
                let Some(token) = token else {
                    return request;
                };
                let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
                request.header(AUTHORIZATION, bearer.as_str())
            }
        }
    }
}

/// What a command does where nothing serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfStopped {
    /// Nothing: a server must run.
    Refused,
    /// It reads the data directory.
    Read,
    /// It reads and writes it.
    Written,
}

pub(super) struct Stopped {
    pub(super) routes: Router,
    store: Arc<dyn Store>,
}

impl Drop for Stopped {
    /// Closed in order, SQLite takes its log away; that it could not be is nothing to somebody who only looked.
    fn drop(&mut self) {
        let closing = self.store.close();
        let _ = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(closing));
    }
}

/// The routes over a data directory that nothing serves. Whatever is wrong with it, it is as it was before.
pub(super) async fn stopped(config: &Config, how: IfStopped) -> anyhow::Result<Stopped> {
    // Before the database: without a key there is nothing to see.
    MasterKeys::load(config)?;
    let store = match how {
        IfStopped::Written => match open_store(config).await {
            Ok(store) => store,
            Err(why) => return Err(not_written(config, why).await),
        },
        IfStopped::Refused | IfStopped::Read => look_at_store(config).await?,
    };
    let overrides = Overrides {
        store: Some(Arc::clone(&store)),
        ..Overrides::default()
    };
    let mdm = assemble(config, &overrides).await?;
    let packages = Arc::new(Packages::new(config));
    let routes = api::routes(
        &mdm,
        &config.limits,
        &packages,
        &Arc::default(),
        &Arc::default(),
    )
    .1;
    Ok(Stopped { routes, store })
}

/// Why a database cannot be opened to be written; of a file that can be looked at where nothing can be written, what to do.
async fn not_written(config: &Config, why: anyhow::Error) -> anyhow::Error {
    // A copy helps neither against a full disk or a lock, nor does it hold what PostgreSQL has.
    let file = config.database.sqlite_file(&config.data_directory);
    if !file.is_some_and(|file| is_sealed(&file)) {
        return why;
    }
    let store = match look_at_store(config).await {
        Ok(store) => store,
        // It says more than that something could not be opened.
        Err(looked) => return looked,
    };
    // Nothing was written.
    let _ = store.close().await;
    // What the database said of it is a number.
    anyhow!(
        "this goes into the record, which cannot be written in {}: where a server has it open, ask that one, as the owner of the directory or with --url; otherwise copy the whole data directory to where it can (`cp -a`), and name the copy with --data",
        config.data_directory.display()
    )
}

/// Whether a file, or the folder in which its log would lie, cannot be written by whoever asks.
fn is_sealed(file: &Path) -> bool {
    // The folder is that of the file itself, and not that of a link to it.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    [&*file, folder].into_iter().any(|path| {
        let may = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
        matches!(may, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
    })
}

/// Host and port of a server.
pub(super) fn address(url: &str) -> anyhow::Result<(String, u16)> {
    let rest = url
        .strip_prefix("https://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
        .context("--url: must be https://host or https://host:port")?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse().context("--url: the port must be a number")?,
        ),
        None => (rest, 443),
    };
    Ok((host.to_owned(), port))
}

pub(super) fn remote(url: &str, ca: Option<PathBuf>) -> anyhow::Result<Way> {
    if let Some(file) = &ca {
        // Before a token is looked for: what cannot be read will not be read later.
        let read = std::fs::read(file).map_err(anyhow::Error::from);
        let read = read.and_then(|pem| Ok(X509::stack_from_pem(&pem)?));
        if !read.is_ok_and(|all| !all.is_empty()) {
            return Err(anyhow!(
                "--ca {}: no certificates (PEM) can be read there",
                file.display()
            ));
        }
    }
    let (host, port) = address(url)?;
    let token = match (
        std::env::var("MDMD_TOKEN"),
        std::env::var_os("MDMD_TOKEN_FILE"),
    ) {
        (Ok(token), _) => Zeroizing::new(token),
        (_, Some(file)) => {
            let read = std::fs::read_to_string(&file);
            Zeroizing::new(read.with_context(|| format!("MDMD_TOKEN_FILE {}", file.display()))?)
        }
        _ => crate::cli::login::kept(&host, port)?.context(
            "--url needs a session of `mdmd login`, or a token in MDMD_TOKEN or MDMD_TOKEN_FILE",
        )?,
    };
    Ok(Way::Url {
        host,
        port,
        ca,
        token: Some(token),
    })
}

pub(super) async fn tls(
    host: &str,
    port: u16,
    ca: Option<&std::path::Path>,
) -> anyhow::Result<tokio_openssl::SslStream<TcpStream>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    // A vendored OpenSSL does not know where the system keeps its CAs. A machine without any may still name one.
    let found = openssl_probe::probe();
    let _ = builder.load_verify_locations(
        found.cert_file.as_deref(),
        found.cert_dir.first().map(PathBuf::as_path),
    );
    if let Some(file) = ca {
        builder
            .set_ca_file(file)
            .with_context(|| format!("--ca {}", file.display()))?;
    }
    let ssl = builder.build().configure()?.into_ssl(host)?;
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("{host}:{port}"))?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
    let done = Pin::new(&mut stream).connect().await;
    let verified = stream.ssl().verify_result();
    if done.is_err() && verified != X509VerifyResult::OK {
        return Err(anyhow!(
            "{host}:{port}: its certificate is not trusted here ({verified}): --ca FILE names the certificates that are, such as tls/ca.pem of the server's data directory"
        ));
    }
    done.with_context(|| format!("{host}:{port}"))?;
    Ok(stream)
}
