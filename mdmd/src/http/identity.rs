//! Who speaks, as far as connection and headers tell: builds the `Peer` of a request. Proves nothing; the service does.
//!
//! A certificate in a header counts only on a `plain` listener, from a listed proxy: where TLS ends here, whatever stands in a
//! header was written by the client itself, also behind a balancer that is listed. An address in a header counts only from
//! a listed proxy. From anybody else such headers are ignored.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::HeaderMap;
use mdm_core::error::Error;
use mdm_core::identity::certificate_from_header;
use mdm_core::ids::OrganisationCode;
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;

use super::Front;
use super::desk::Peer;
use super::edge::Passed;
use super::error::{Door, Refusal};
use crate::config::{Duty, Proxy};
use crate::listen::Connection;
use crate::telemetry::Parent;

/// Who is at the other end, as text for the log and the record of refusals.
#[derive(Clone, Debug)]
pub(super) struct ClientAddress(pub(super) String);

/// Puts the [`ClientAddress`] into the request's extensions. Cannot fail: everything after it, refusals too, has one.
pub(super) async fn locate(
    State(proxy): State<Arc<Proxy>>,
    mut request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>();
    let address = connection.map(|c| client_address(c, request.headers(), &proxy));
    // Every accept loop adds a connection.
    let address = address.unwrap_or_else(|| "unknown".to_owned());
    let parent = connection.and_then(|c| trace_parent(c, request.headers(), &proxy));
    request.extensions_mut().insert(ClientAddress(address));
    if let Some(parent) = parent {
        request.extensions_mut().insert(parent);
    }
    next.run(request).await
}

/// Puts a [`Peer`] into the request's extensions. A request whose headers cannot be read is refused and on record.
pub(super) async fn introduce(
    State(front): State<Front>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<ClientAddress>();
    let address = address.map(|a| a.0.clone()).unwrap_or_default();
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return Refusal::new(Door::CheckIn, Error::Refused("no connection")).into_response();
    };
    match peer(
        &connection,
        request.headers(),
        &front.proxy,
        address.clone(),
    ) {
        Ok(peer) => {
            if let (Some(organisation), _) = addressee(request.uri().path())
                && let Some(passed) = request.extensions().get::<Passed>()
                && front.desk.knows(&organisation, &peer)
            {
                passed.known();
            }
            request.extensions_mut().insert(peer);
            next.run(request).await
        }
        Err(error) => {
            let (organisation, door) = addressee(request.uri().path());
            if let Some(organisation) = organisation {
                let nobody = Peer {
                    address,
                    ..Peer::default()
                };
                let (desk, reason) = (&front.desk, error.to_string());
                desk.unread(&organisation, &nobody, door.name(), &reason)
                    .await;
            }
            Refusal::new(door, error).into_response()
        }
    }
}

/// Whose path it is, and which door.
fn addressee(path: &str) -> (Option<OrganisationCode>, Door) {
    let mut parts = path.split('/').skip(1);
    let organisation = match (parts.next(), parts.next()) {
        (Some("mdm"), Some(code)) => OrganisationCode::parse(code).ok(),
        _ => None,
    };
    let door = match parts.next() {
        Some("command") => Door::Command,
        Some("enrol") => Door::Enrol,
        Some("scep") => Door::Scep,
        Some("acme") => Door::Acme,
        Some("sign-in") => Door::Page,
        Some("account" | "service-discovery") => Door::Enrol,
        _ => Door::CheckIn,
    };
    (organisation, door)
}

fn peer(
    connection: &Connection,
    headers: &HeaderMap,
    proxy: &Proxy,
    address: String,
) -> Result<Peer, Error> {
    let mut passed = headers.get_all(&proxy.certificate_header).iter();
    let from_proxy = match (connection.duty, passed.next()) {
        (Duty::Plain, Some(value)) if is_listed(connection.address, proxy) => {
            if passed.next().is_some() {
                // One of them is not the proxy's.
                return Err(Error::bad_input(
                    &proxy.certificate_header,
                    "must stand there once",
                ));
            }
            let text = value
                .to_str()
                .map_err(|_| Error::bad_input(&proxy.certificate_header, "must be ASCII"))?;
            // A proxy that always sends the header leaves it empty when there was no certificate.
            (!text.trim().is_empty())
                .then(|| certificate_from_header(text))
                .transpose()
                .map_err(|error| Error::bad_input(&proxy.certificate_header, error.to_string()))?
                .map(Der)
        }
        _ => None,
    };
    let signature = match headers.get("mdm-signature") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Error::bad_input("Mdm-Signature", "must be base64"))?
                .to_owned(),
        ),
    };
    Ok(Peer {
        certificate: from_proxy.or_else(|| {
            let shown = connection.certificate.as_ref()?;
            Some(Der(shown.to_vec()))
        }),
        signature,
        bearer: super::sign_in::bearer(headers).map(Secret::from_text),
        address,
    })
}

/// The trace that a request belongs to, where a listed proxy says so. Anybody else could fill our traces with its own.
fn trace_parent(connection: &Connection, headers: &HeaderMap, proxy: &Proxy) -> Option<Parent> {
    if !is_listed(connection.address, proxy) {
        return None;
    }
    let mut all = headers.get_all("traceparent").iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Parent::parse(one.to_str().ok()?),
        _ => None,
    }
}

fn is_listed(address: Option<IpAddr>, proxy: &Proxy) -> bool {
    address.is_some_and(|a| proxy.trusted.iter().any(|n| n.contains(a)))
}

/// The nearest address that is no listed proxy of ours.
fn client_address(connection: &Connection, headers: &HeaderMap, proxy: &Proxy) -> String {
    // What the PROXY protocol said is nearer to the truth than any header.
    if let Some(client) = connection.client {
        return client.to_string();
    }
    let Some(mut nearest) = connection.address else {
        return "local".to_owned();
    };
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    for hop in forwarded.iter().rev() {
        if !is_listed(Some(nearest), proxy) {
            break;
        }
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        nearest = address;
    }
    nearest.to_canonical().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn proxy() -> Proxy {
        let mut proxy = crate::config::Config::for_directory(std::path::Path::new("/x")).proxy;
        proxy.trusted = vec![Network::parse("10.0.0.0/8").unwrap()];
        proxy
    }

    fn connection(address: &str, duty: Duty) -> Connection {
        Connection {
            duty,
            address: Some(address.parse().unwrap()),
            client: None,
            certificate: None,
        }
    }

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn both_header_forms_give_the_same_certificate() {
        let (certificate, _) = crate::testing::certificate("device", None);
        let der = certificate.to_der().unwrap();
        let rfc = format!(":{}:", STANDARD.encode(&der));
        let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
        let escaped: String = pem
            .bytes()
            .map(|b| match b {
                b'\n' | b' ' | b'+' | b'=' | b'/' => format!("%{b:02X}"),
                _ => char::from(b).to_string(),
            })
            .collect();
        for text in [rfc, escaped] {
            let sent = headers(&[("client-cert", text)]);
            let plain = connection("10.1.1.1", Duty::Plain);
            let got = peer(&plain, &sent, &proxy(), String::new()).unwrap();
            assert_eq!(got.certificate, Some(Der(der.clone())));
            // The same header from an address that is not listed is nobody's.
            let stranger = connection("192.0.2.1", Duty::Device);
            let got = peer(&stranger, &sent, &proxy(), String::new()).unwrap();
            assert_eq!(got.certificate, None);
            // Where TLS ends here the client wrote it, whoever passed its bytes on, and no other door looks at it.
            for duty in [Duty::Device, Duty::Enrol] {
                let within = connection("10.1.1.1", duty);
                let got = peer(&within, &sent, &proxy(), String::new()).unwrap();
                assert_eq!(got.certificate, None, "{duty:?}");
            }
            let twice = headers(&[
                (
                    "client-cert",
                    sent["client-cert"].to_str().unwrap().to_owned(),
                ),
                ("client-cert", String::new()),
            ]);
            let plain = connection("10.1.1.1", Duty::Plain);
            let error = peer(&plain, &twice, &proxy(), String::new()).unwrap_err();
            assert!(error.to_string().contains("once"), "{error}");
        }
    }

    #[test]
    fn a_broken_certificate_header_is_refused_by_name() {
        for text in [":AAAA", ":!!!:", "%zz", "-----BEGIN%20nothing"] {
            let sent = headers(&[("client-cert", text.to_owned())]);
            let error = peer(
                &connection("10.1.1.1", Duty::Plain),
                &sent,
                &proxy(),
                String::new(),
            )
            .unwrap_err();
            assert!(error.to_string().starts_with("client-cert: "), "{error}");
        }
    }

    #[test]
    fn an_address_is_believed_as_far_as_listed_proxies_go() {
        let check = |from: &str, forwarded: &str| {
            let sent = headers(&[("x-forwarded-for", forwarded.to_owned())]);
            client_address(&connection(from, Duty::Plain), &sent, &proxy())
        };
        assert_eq!(check("10.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(
            check("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2"),
            "203.0.113.7"
        );
        assert_eq!(check("203.0.113.9", "1.1.1.1"), "203.0.113.9");
        assert_eq!(check("10.0.0.1", "nonsense"), "10.0.0.1");
        let mut passed_on = connection("10.0.0.1", Duty::Plain);
        passed_on.client = Some("198.51.100.2".parse().unwrap());
        let sent = headers(&[("x-forwarded-for", "1.1.1.1".to_owned())]);
        let told = client_address(&passed_on, &sent, &proxy());
        assert_eq!(told, "198.51.100.2");
    }
}
