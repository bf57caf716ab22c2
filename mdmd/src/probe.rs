//! Looks at an address as a device or a stranger would: by its public name, from here. Says whether it answers, whose chain it shows and until
//! when, and how far its clock is off. Sends nothing but a GET.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{DATE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use mdm_core::checklist::{ChainEnd, DoorSays, Endpoint, Outside};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::identity;
use mdm_core::ids::OrganisationId;
use mdm_core::organisation::Der;
use mdm_core::service::{Mdm, Org};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslRef, SslVerifyMode};
use openssl::stack::Stack;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

use crate::walls::{self, Walls, host_and_port};

/// No step of a look takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after the start it is looked first, and how long it is good.
const FIRST: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(900);
/// A clock that is further off than this breaks certificates and signatures.
const CLOCK: i64 = 60;
/// The most bytes of an answer that are read.
const LARGEST: usize = 64 * 1024;

/// What is said of an address whose port is none.
const NO_PORT: &str = "names a port that cannot be: those are 1 to 65535";

/// How the answer of a device's door begins that is asked with another method than its own: so it is known as ours.
const OURS: &[u8] = b"method: ";
/// How a door of ours begins where it has nothing: that may be another one's.
const NOTHING: &[u8] = b"path: nothing is here";
/// What is wrong with such an address.
pub(crate) const NOTHING_THERE: &str =
    "answers with 404: a door of mdmd that has nothing at this path";
/// What the doors of identities say of a code that no organisation has.
const NO_ORGANISATION: &str = "no such organisation";
/// What the ACME server of an organisation says whose identities others issue.
const ISSUED_ELSEWHERE: &str = "gets its identities elsewhere";

/// By whose authorities a chain is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    System,
    Anchors,
}

/// Who has said that it is to be asked there.
#[derive(Clone, Copy)]
enum Whose<'a> {
    /// Whoever runs this server: its own doors, wherever they stand. What is wrong with them is wanted to the end.
    Ours,
    /// Others. What they name may be secret in itself, and what stands behind our walls is none of their business.
    Others(&'a Walls),
}

/// What a good answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Any answer of HTTP, but that there is nothing where something was named.
    Any,
    /// That of a door of ours that takes no GET.
    Refusal,
    /// A good one.
    Good,
    /// A good one, or ours that identities come from elsewhere: whoever asks knows no more than the organisation's address.
    GoodOrElsewhere,
    /// A good one, also without TLS: then nothing can be said of chain and clock.
    Elsewhere,
}

/// Looks at the doors of an organisation by their public names.
pub(crate) async fn doors(org: &Org) -> Outside {
    let anchors = org.organisation().anchors.clone();
    let looks = org.doors().into_iter().map(|(name, url, says)| {
        let wanted = match says {
            DoorSays::Refusal => Wanted::Refusal,
            DoorSays::Good => Wanted::Good,
            DoorSays::Elsewhere => Wanted::Elsewhere,
        };
        let anchors = anchors.clone();
        async move { look(name, &url, &anchors, wanted).await }
    });
    let endpoints = futures_util::future::join_all(looks).await;
    Outside {
        at: SystemClock.now(),
        endpoints,
    }
}

/// Looks at the doors of every organisation at the start and then now and again: the what-if knows of them without asking.
pub(crate) async fn keep_looking(mdm: Mdm, stop: CancellationToken) {
    // A start is busy enough.
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = AGAIN;
        let round = async {
            let mut after = OrganisationId(0);
            while let Ok(page) = mdm.organisations(after, 50).await {
                let Some(last) = page.last() else { return };
                after = last.id;
                for organisation in &page {
                    if let Ok(org) = mdm.organisation_by_id(organisation.id).await {
                        mdm.tell_outside(organisation.id, doors(&org).await);
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// What lies at an address that others have named: by https, over a chain that is trusted, with 200, and with at most so many bytes.
/// Nothing is asked behind walls, and of nobody whose chain is not trusted.
///
/// # Errors
/// What is wrong with it; [`crate::walls::Refused`] where nobody looks.
pub(crate) async fn fetch(
    url: &str,
    anchors: &[Der],
    walls: &Walls,
    most: usize,
) -> anyhow::Result<Vec<u8>> {
    let mut seen = Endpoint {
        name: "manifest".to_owned(),
        url: url.to_owned(),
        problem: None,
        trusted_by: None,
        ends: None,
        chain: None,
        clock_ahead: None,
    };
    let uri: Uri = url.parse().context("is no address")?;
    let answered = reach(&mut seen, &uri, anchors, Whose::Others(walls), most).await?;
    let status = answered.status;
    anyhow::ensure!(
        !(300..400).contains(&status),
        "answers with {status}: redirects are not followed here, name the address itself"
    );
    anyhow::ensure!(status == 200, "answers with {status}");
    anyhow::ensure!(
        !answered.cut,
        "its answer breaks off, or is larger than {most} bytes"
    );
    Ok(answered.says)
}

/// Looks at one address. Never fails: what is wrong is what it answers.
pub(crate) async fn look(name: &str, url: &str, anchors: &[Der], wanted: Wanted) -> Endpoint {
    let mut seen = Endpoint {
        name: name.to_owned(),
        url: url.to_owned(),
        problem: None,
        trusted_by: None,
        ends: None,
        chain: None,
        clock_ahead: None,
    };
    if let Err(problem) = fill(&mut seen, anchors, wanted).await {
        seen.problem = Some(format!("{problem:#}"));
    }
    seen
}

async fn fill(seen: &mut Endpoint, anchors: &[Der], wanted: Wanted) -> anyhow::Result<()> {
    let uri: Uri = seen.url.parse().context("is no address")?;
    let host = uri.host().context("names no host")?.to_owned();
    // An address of version 6 stands in brackets.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    if wanted == Wanted::Elsewhere && uri.scheme_str() == Some("http") {
        let port = walls::port(&uri, 80).context(NO_PORT)?;
        let stream = dial(name, port, Whose::Ours).await?;
        return is_good(wanted, &ask(stream, &uri, &host, LARGEST).await?);
    }
    let answered = reach(seen, &uri, anchors, Whose::Ours, LARGEST).await?;
    if let Some(ahead) = answered.ahead.filter(|ahead| ahead.abs() > CLOCK) {
        let (by, way) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        return Err(anyhow!("its clock is {by} seconds {way} the one here"));
    }
    is_good(wanted, &answered)
}

/// Asks by https for at most so many bytes, over a chain that is trusted.
async fn reach(
    seen: &mut Endpoint,
    uri: &Uri,
    anchors: &[Der],
    whose: Whose<'_>,
    most: usize,
) -> anyhow::Result<Answered> {
    let host = uri.host().context("names no host")?.to_owned();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    anyhow::ensure!(uri.scheme_str() == Some("https"), "is not https");
    let port = walls::port(uri, 443).context(NO_PORT)?;
    let stream = connect(name, port, whose).await?;
    let mut problem = None;
    for trust in [Trust::System, Trust::Anchors] {
        if trust == Trust::Anchors && anchors.is_empty() {
            continue;
        }
        match judge(stream.ssl(), name, anchors, trust) {
            Ok(chain) => {
                seen.chain = chain;
                seen.trusted_by = Some(match trust {
                    Trust::System => "the system's authorities".to_owned(),
                    Trust::Anchors => "anchor_certs".to_owned(),
                });
                break;
            }
            Err(why) => problem = Some(why),
        }
    }
    let certificate = stream.ssl().peer_certificate();
    let der = certificate.and_then(|c| c.to_der().ok());
    seen.ends = der.as_deref().and_then(identity::ends);
    let untrusted = seen.trusted_by.is_none().then(|| {
        let why = problem.map_or_else(String::new, |why| format!(": {why:#}"));
        anyhow!(
            "its certificate is accepted neither by the system's authorities nor by anchor_certs{why}"
        )
    });
    let untrusted = match (untrusted, whose) {
        // The path alone may open what lies there: it is told to nobody else. A device would not ask, either.
        (Some(why), Whose::Others(_)) => return Err(why),
        (untrusted, _) => untrusted,
    };
    let answered = ask(stream, uri, &host, most).await?;
    seen.clock_ahead = answered.ahead;
    untrusted.map_or(Ok(answered), Err)
}

fn is_good(wanted: Wanted, answered: &Answered) -> anyhow::Result<()> {
    let status = answered.status;
    match wanted {
        // Where no place is named nothing need be.
        Wanted::Any if status != 404 || answered.whole => Ok(()),
        Wanted::Good | Wanted::GoodOrElsewhere | Wanted::Elsewhere
            if (200..300).contains(&status) =>
        {
            Ok(())
        }
        Wanted::GoodOrElsewhere
            if status == 400
                && String::from_utf8_lossy(&answered.says).contains(ISSUED_ELSEWHERE) =>
        {
            Ok(())
        }
        Wanted::Elsewhere => Err(anyhow!(
            "answers with {status}: devices get no identity there"
        )),
        Wanted::Refusal if status == 400 && answered.says.starts_with(OURS) => Ok(()),
        _ if status == 404 && answered.says.starts_with(NOTHING) => Err(anyhow!(NOTHING_THERE)),
        _ if status == 404 => Err(anyhow!(
            "answers with 404: another server, or a proxy that changes paths"
        )),
        _ if status == 400 && String::from_utf8_lossy(&answered.says).contains(NO_ORGANISATION) => {
            Err(anyhow!("answers that no organisation has this code"))
        }
        _ => Err(anyhow!(
            "answers with {status}, which this server does not say there"
        )),
    }
}

/// Takes whatever chain is shown: it is judged afterwards. Who breaks a handshake off is a sender that was refused, and who looks at
/// its own doors is none.
async fn connect(name: &str, port: u16, whose: Whose<'_>) -> anyhow::Result<SslStream<TcpStream>> {
    let stream = dial(name, port, whose).await?;
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    let ssl = builder.build().configure()?.verify_hostname(false);
    let mut stream = SslStream::new(ssl.into_ssl(name)?, stream)?;
    tokio::time::timeout(PATIENCE, Pin::new(&mut stream).connect())
        .await
        .map_err(|_| anyhow!("the TLS handshake does not end"))?
        .map_err(|e| anyhow!("the TLS handshake fails: {e}"))?;
    Ok(stream)
}

async fn dial(name: &str, port: u16, whose: Whose<'_>) -> anyhow::Result<TcpStream> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, port))).await;
    let found = found
        .map_err(|_| anyhow!("{name} could not be looked up in time"))?
        .map_err(|e| anyhow!("{name} cannot be looked up: {e}"))?;
    let addresses: Vec<_> = found.collect();
    if let Whose::Others(walls) = whose {
        walls.judge_all(&addresses, true)?;
    }
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(&*addresses)).await;
    stream
        .map_err(|_| anyhow!("nothing answers at {name} port {port}"))?
        .map_err(|e| anyhow!("nothing answers at {name} port {port}: {e}"))
}

/// Whether these authorities stand for the chain that was shown, and it for this name. Answers which certificate above its own ends first.
fn judge(
    ssl: &SslRef,
    name: &str,
    anchors: &[Der],
    trust: Trust,
) -> anyhow::Result<Option<ChainEnd>> {
    let certificate = ssl.peer_certificate().context("it shows no certificate")?;
    let mut store = X509StoreBuilder::new()?;
    match trust {
        Trust::System => {
            // A vendored OpenSSL does not know where the system keeps its CAs.
            let found = openssl_probe::probe();
            if let Some(file) = &found.cert_file {
                let lookup = store.add_lookup(X509Lookup::file())?;
                let _ = lookup.load_cert_file(file, SslFiletype::PEM);
            }
            for directory in found.cert_dir.iter().filter_map(|at| at.to_str()) {
                let lookup = store.add_lookup(X509Lookup::hash_dir())?;
                let _ = lookup.add_dir(directory, SslFiletype::PEM);
            }
        }
        Trust::Anchors => {
            for anchor in anchors {
                store.add_cert(X509::from_der(&anchor.0)?)?;
            }
        }
    }
    let mut wanted = X509VerifyParam::new()?;
    wanted.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
    match name.parse() {
        Ok(address) => wanted.set_ip(address)?,
        Err(_) => wanted.set_host(name)?,
    }
    wanted.set_purpose(X509PurposeId::SSL_SERVER)?;
    store.set_param(&wanted)?;
    let none = Stack::new()?;
    let chain = ssl.peer_cert_chain().unwrap_or(&none);
    let mut context = X509StoreContext::new()?;
    let (good, why, above) = context.init(&store.build(), &certificate, chain, |context| {
        let good = context.verify_cert()?;
        let above = context.chain().into_iter().flatten().skip(1);
        Ok((
            good,
            context.error(),
            above.filter_map(end_of).min_by_key(|end| end.ends),
        ))
    })?;
    anyhow::ensure!(good, "{}", why.error_string());
    Ok(above)
}

fn end_of(certificate: &X509Ref) -> Option<ChainEnd> {
    let der = certificate.to_der().ok()?;
    Some(ChainEnd {
        name: identity::name_of(&der),
        ends: identity::ends(&der)?,
    })
}

struct Answered {
    status: u16,
    /// The server was asked as a whole, and for nothing on it.
    whole: bool,
    ahead: Option<i64>,
    /// Its body.
    says: Vec<u8>,
    /// That broke off, or was larger than wanted: nothing of it is kept.
    cut: bool,
}

async fn ask<S>(stream: S, uri: &Uri, host: &str, most: usize) -> anyhow::Result<Answered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let whole = uri.path() == "/";
    let host = match host_and_port(uri) {
        "" => host.to_owned(),
        told => told.to_owned(),
    };
    let asked = async move {
        let shake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shake?;
        let driver = tokio::spawn(connection);
        let request = Request::get(path)
            .header(HOST, host)
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let date = answer.headers().get(DATE).and_then(|d| d.to_str().ok());
        let ahead = date.and_then(clock_ahead);
        let body = Limited::new(answer.into_body(), most).collect().await;
        let cut = body.is_err();
        let says = body.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec());
        driver.abort();
        Ok::<_, anyhow::Error>(Answered {
            status,
            whole,
            ahead,
            says,
            cut,
        })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => answered.context("does not speak HTTP as it should"),
        Err(_) => Err(anyhow!("takes the connection, and does not answer")),
    }
}

/// How many seconds a `Date` is ahead of the clock here.
fn clock_ahead(date: &str) -> Option<i64> {
    let here: Timestamp = SystemClock.now();
    Some(moment(date)? - here.as_secs())
}

/// The seconds of a `Date`.
pub(crate) fn moment(date: &str) -> Option<i64> {
    // The old name of the zone stands in HTTP.
    let date = date.replace("GMT", "+0000");
    let said = OffsetDateTime::parse(&date, &Rfc2822).ok()?;
    Some(said.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_is_there_is_no_answer_of_what_was_named() {
        let answered = |status: u16, whole: bool| Answered {
            status,
            whole,
            ahead: None,
            says: Vec::new(),
            cut: false,
        };
        for (status, whole, good) in [
            (404, false, false),
            (404, true, true),
            (401, false, true),
            (200, false, true),
        ] {
            let found = is_good(Wanted::Any, &answered(status, whole));
            assert_eq!(found.is_ok(), good, "{status} {whole}: {found:?}");
        }
        let found = is_good(Wanted::Good, &answered(404, true));
        assert!(found.is_err());
    }

    #[test]
    fn that_identities_come_from_elsewhere_is_an_answer_where_nobody_knows_better() {
        let answered = |status: u16, says: &str| Answered {
            status,
            whole: false,
            ahead: None,
            says: says.as_bytes().to_vec(),
            cut: false,
        };
        let ours = r#"{"detail":"this organisation gets its identities elsewhere"}"#;
        for (wanted, status, says, good) in [
            (Wanted::GoodOrElsewhere, 200, "{}", true),
            (Wanted::GoodOrElsewhere, 400, ours, true),
            (Wanted::GoodOrElsewhere, 400, "no", false),
            (Wanted::GoodOrElsewhere, 404, ours, false),
            (Wanted::Good, 400, ours, false),
        ] {
            let found = is_good(wanted, &answered(status, says));
            assert_eq!(found.is_ok(), good, "{wanted:?} {status} {says}");
        }
    }

    #[test]
    fn what_is_at_another_door_of_ours_is_told_from_another_server() {
        let why = |wanted: Wanted, status: u16, says: &str| {
            let answered = Answered {
                status,
                whole: false,
                ahead: None,
                says: says.as_bytes().to_vec(),
                cut: false,
            };
            is_good(wanted, &answered).unwrap_err().to_string()
        };
        for wanted in [Wanted::Refusal, Wanted::Good, Wanted::GoodOrElsewhere] {
            let ours = why(wanted, 404, "path: nothing is here\n");
            assert_eq!(ours, NOTHING_THERE, "{wanted:?}");
            let others = why(wanted, 404, "Not Found");
            assert!(others.contains("another server"), "{wanted:?}: {others}");
        }
        for says in [
            "no such organisation\n",
            r#"{"detail":"no such organisation"}"#,
        ] {
            let unknown = why(Wanted::GoodOrElsewhere, 400, says);
            assert_eq!(unknown, "answers that no organisation has this code");
        }
    }

    #[test]
    fn the_clock_of_an_answer_is_read() {
        let now = SystemClock.now().as_secs();
        let date = |ahead: i64| {
            let moment = OffsetDateTime::from_unix_timestamp(now + ahead).unwrap();
            moment.format(&Rfc2822).unwrap().replace("+0000", "GMT")
        };
        for ahead in [0, 90, -3600] {
            let read = clock_ahead(&date(ahead)).unwrap();
            assert!((read - ahead).abs() <= 2, "{ahead}: {read}");
        }
        assert_eq!(clock_ahead("yesterday"), None);
    }
}
