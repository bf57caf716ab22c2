//! The credentials of a simulated Apple as files: what an administrator would download in the portals, and the addresses.
//! They open nothing but this world, and are written for their owner alone all the same.

use std::path::Path;

use abm_client::TokenKeyPair;
use anyhow::Context as _;
use fixtures::apple::Apple;
use fixtures::clock::WorldClock;
use fixtures::openid::OpenIdProvider;
use serde_json::{Value, json};

use crate::cli::new_file::NewFile;
use crate::cli::{Ended, Exit, Means as _};

/// What is written down.
pub(super) struct Papers<'a> {
    pub(super) apple: &'a Apple,
    pub(super) openid: &'a OpenIdProvider,
    pub(super) original: &'a str,
    pub(super) destination: &'a str,
    pub(super) devices: u32,
}

impl Papers<'_> {
    /// Writes all files into a directory, which is made if it is not there. Answers what is told on standard output.
    pub(super) fn write(
        &self,
        out: &Path,
        certificate: Option<&Path>,
        clock: &WorldClock,
    ) -> Result<Value, Ended> {
        std::fs::create_dir_all(out)
            .with_context(|| out.display().to_string())
            .means(Exit::Precondition)?;
        let keep = |name: &str, bytes: &[u8]| NewFile::open(&out.join(name), 0o600)?.fill(bytes);
        let endpoints = self.apple.endpoints();
        // What is wrong with the certificate is said before a file is made.
        let given = certificate.map(std::fs::read).transpose();
        let given = given
            .with_context(|| {
                certificate.map_or_else(String::new, |path| path.display().to_string())
            })
            .means(Exit::BadInput)?;
        if let Some(given) = &given {
            self.apple
                .server_token(self.original, given)
                .means(Exit::BadInput)?;
        }
        keep("ca.pem", endpoints.ca_pem.as_bytes())?;
        keep("openid-ca.pem", self.openid.ca_pem().as_bytes())?;
        let certificate = match given {
            Some(given) => given,
            None => {
                let pair = TokenKeyPair::generate("mdmd world", clock.now_ms(), 365)?;
                let certificate = pair.certificate_pem()?.into_bytes();
                keep("server-token.key", pair.private_key_pem()?.expose())?;
                keep("server-token.pem", &certificate)?;
                certificate
            }
        };
        for (name, server) in [
            ("original.p7m", self.original),
            ("destination.p7m", self.destination),
        ] {
            let token = self.apple.server_token(server, &certificate);
            keep(name, &token.means(Exit::BadInput)?)?;
        }
        let account = self.apple.api_account();
        keep("api.key", account.private_key_pem.as_bytes())?;
        for (name, n) in [("original-push", 1), ("push", 2)] {
            let topic = self.apple.topic(n);
            let (certificate, key) = self.apple.push_certificate(&topic)?;
            keep(&format!("{name}.pem"), certificate.as_bytes())?;
            keep(&format!("{name}.key"), key.as_bytes())?;
        }
        keep("content-token.vpp", self.apple.content_token().as_bytes())?;
        let config = self.configuration(&out.join("ca.pem"))?;
        keep("mdmd-world.toml", config.as_bytes())?;
        let told = json!({
            "addresses": {
                "assignment": endpoints.assignment,
                "organisation": endpoints.business,
                "token": endpoints.token,
                "push": endpoints.push,
                "lock-removal": endpoints.lock_removal,
                "apps": endpoints.apps,
                "openid": self.openid.issuer(),
            },
            "servers": { "original": self.original, "destination": self.destination },
            "api": { "client_id": account.client_id, "key_id": account.key_id },
            "openid": { "client_id": self.openid.client_id() },
            "devices": self.devices,
            "credentials": out,
        });
        let mut written = told.clone();
        // In the file only: standard output may end in a log.
        written["openid"]["client_secret"] = Value::from(self.openid.client_secret());
        keep("world.json", format!("{written:#}").as_bytes())?;
        Ok(told)
    }

    /// The part of `mdmd`'s configuration that points it here.
    fn configuration(&self, ca: &Path) -> anyhow::Result<String> {
        let endpoints = self.apple.endpoints();
        let (host, port) = endpoints
            .push
            .rsplit_once(':')
            .context("the push address has no port")?;
        let ca = std::path::absolute(ca)?;
        let text = |value: &str| Value::from(value).to_string();
        let ca = text(&ca.display().to_string());
        Ok(format!(
            "# Points mdmd at this simulated Apple.\n[push]\nhost = {}\nport = {port}\nca = {ca}\n\n[apple]\n\
             assignment_url = {}\norganisation_url = {}\ntoken_url = {}\nlock_url = {}\n\
             apps_url = {}\nca = {ca}\n",
            text(host),
            text(&endpoints.assignment),
            text(&endpoints.business),
            text(&endpoints.token),
            text(&endpoints.lock_removal),
            text(&endpoints.apps),
        ))
    }
}
