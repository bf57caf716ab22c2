//! Looks at the manifests of apps of one's own that runbooks name, as devices would: by their public names, from here. A task of its own, so
//! that files that do not answer keep nobody waiting who wants to know of this server's doors.

use std::time::Duration;

use futures_util::StreamExt as _;
use mdm_core::checklist::SeenManifest;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationId;
use mdm_core::organisation::Der;
use mdm_core::service::Mdm;
use mdm_core::wire::requests::MANIFEST_LIMIT;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::probe;
use crate::walls::{Refused, Walls};

/// How long after the start it is looked first.
const FIRST: Duration = Duration::from_secs(3);
/// How often it is read again which manifests runbooks name.
const AGAIN: Duration = Duration::from_secs(900);
/// How often it is asked whether one is to be looked at: somebody wants to know of it, or it has failed a minute ago.
const TICK: Duration = Duration::from_secs(3);
/// Manifests of one organisation that are looked at side by side, and organisations.
const AT_ONCE: usize = 8;
const ORGANISATIONS: usize = 4;
/// So long it is looked for one organisation; what is left comes again, after those of the others.
const ENOUGH: Duration = Duration::from_secs(60);

/// Looks at the manifests of every organisation at the start and then now and again, and at once when a what-if asks for others. Also
/// where no worker runs: what was seen is known to this process alone, and it answers, too.
pub(crate) async fn keep_looking(mdm: Mdm, walls: Walls, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds(&mdm, &walls) => {}
    }
}

async fn rounds(mdm: &Mdm, walls: &Walls) {
    tokio::time::sleep(FIRST).await;
    loop {
        let mut after = OrganisationId(0);
        while let Ok(page) = mdm.organisations(after, 50).await {
            let Some(last) = page.last() else { break };
            after = last.id;
            look_for(mdm, walls, page.iter().map(|it| it.id).collect()).await;
        }
        let until = Instant::now() + AGAIN;
        while Instant::now() < until {
            tokio::time::sleep(TICK).await;
            look_for(mdm, walls, mdm.manifests_wanted()).await;
        }
    }
}

async fn look_for(mdm: &Mdm, walls: &Walls, organisations: Vec<OrganisationId>) {
    let all: Vec<_> = organisations
        .into_iter()
        .map(|id| async move {
            // Where the time is up, what was seen until then is told.
            let looked = tokio::time::timeout(ENOUGH, look(mdm, walls, id)).await;
            if let Ok(Err(error)) = looked {
                tracing::warn!(organisation = %id, %error, "manifests of apps cannot be looked at");
            }
        })
        .collect();
    let mut all = futures_util::stream::iter(all).buffer_unordered(ORGANISATIONS);
    while all.next().await.is_some() {}
}

/// Looks at those of an organisation that are to be looked at, and tells of each as it is seen.
async fn look(mdm: &Mdm, walls: &Walls, id: OrganisationId) -> Result<(), Error> {
    let org = mdm.organisation_by_id(id).await?;
    let anchors = org.organisation().anchors.as_slice();
    let looks: Vec<_> = org
        .manifests()
        .await?
        .into_iter()
        .map(|url| async move { look_at(&url, mdm.now(), anchors, walls).await })
        .collect();
    let mut looks = futures_util::stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some(seen) = looks.next().await {
        mdm.tell_manifests(id, vec![seen]);
    }
    Ok(())
}

async fn look_at(url: &str, at: Timestamp, anchors: &[Der], walls: &Walls) -> SeenManifest {
    match probe::fetch(url, anchors, walls, MANIFEST_LIMIT).await {
        Ok(bytes) => SeenManifest::read(url, at, &bytes),
        Err(why) if why.is::<Refused>() => SeenManifest::not_looked_at(url, at, why.to_string()),
        Err(problem) => SeenManifest::wrong(url, at, format!("{problem:#}")),
    }
}

#[cfg(all(test, feature = "world"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Network};

    fn walls(allowed: &str) -> Walls {
        let mut config = Config::for_directory(Path::new("/nowhere"));
        config.packages.allowed_networks = Network::parse(allowed).into_iter().collect();
        Walls::of_manifests(&config)
    }

    #[tokio::test]
    async fn a_manifest_is_read_as_devices_would_and_what_is_wrong_is_said() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use fixtures::http::{
            Answer, Authority, Call, ClientCertificates, Reply, Server, acceptor,
        };

        const HEAD: &str =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>";
        let manifest = |url: &str, hashes: &str| {
            format!(
                "{HEAD}<key>items</key><array><dict><key>assets</key><array><dict><key>kind</key><string>software-package</string>\
                 <key>url</key><string>{url}</string>{hashes}</dict></array><key>metadata</key><dict>\
                 <key>bundle-identifier</key><string>com.example.notes</string><key>kind</key><string>software</string>\
                 <key>title</key><string>Notes</string></dict></dict></array></dict></plist>"
            )
        };
        let file = "https://files.example.com/notes.ipa";
        let hashes = "<key>sha256-size</key><integer>1024</integer><key>sha256s</key><array><string>00</string></array>";
        let pages = [
            ("/good", 200, manifest(file, hashes)),
            ("/bare", 200, manifest(file, "")),
            (
                "/plain",
                200,
                manifest("http://files.example.com/a", hashes),
            ),
            (
                "/other",
                200,
                format!("{HEAD}<key>a</key><string>b</string></dict></plist>"),
            ),
            (
                "/page",
                200,
                "<html><body>Please sign in</body></html>".to_owned(),
            ),
            ("/moved", 302, String::new()),
            (
                "/large",
                200,
                format!("{HEAD}{}", " ".repeat(MANIFEST_LIMIT)),
            ),
        ];
        let authority = Authority::new("Ours").unwrap();
        let identity = authority.server(&[]).unwrap();
        let tls = acceptor(&identity, &[], ClientCertificates::None, &["http/1.1"]).unwrap();
        let answers = pages.clone();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move |call: Call| -> Answer {
            counted.fetch_add(1, Ordering::Relaxed);
            let page = answers.iter().find(|(path, ..)| *path == call.path);
            let reply = page.map_or_else(
                || Reply::empty(404),
                |(_, status, body)| Reply::new(*status, "application/xml", body.clone()),
            );
            Box::pin(async move { Some(reply) })
        };
        let server = Server::start(tls, Arc::new(answer)).await.unwrap();
        let anchors = [Der(authority.certificate().to_der().unwrap())];
        let now = Timestamp::from_millis(1_796_112_000_000);
        let inside = walls("127.0.0.0/8");
        let address = server.address();
        let look = async |path: &str, anchors: &[Der]| {
            let url = format!("https://{address}{path}");
            look_at(&url, now, anchors, &inside).await
        };
        let good = look("/good", &anchors).await;
        assert_eq!((good.problem, good.hashed), (None, true));
        let bare = look("/bare", &anchors).await;
        assert_eq!((bare.problem, bare.hashed), (None, false));
        for (path, says) in [
            ("/plain", "not there by https"),
            ("/other", "no manifest"),
            ("/page", "is no manifest"),
            ("/moved", "answers with 302"),
            ("/large", "larger than"),
            ("/nothing", "answers with 404"),
        ] {
            let problem = look(path, &anchors).await.problem.unwrap();
            assert!(problem.contains(says), "{path}: {problem}");
        }
        // Whoever is not trusted is not asked: the address alone may open what lies there.
        let before = asked.load(Ordering::Relaxed);
        let problem = look("/good", &[]).await.problem.unwrap();
        assert!(problem.contains("accepted neither"), "{problem}");
        assert_eq!(asked.load(Ordering::Relaxed), before);
        // Behind the walls nobody looks, and nothing is known of it.
        let url = format!("https://{address}/good");
        let refused = look_at(&url, now, &anchors, &walls("10.0.0.0/8")).await;
        assert!(!refused.looked);
        let why = refused.problem.unwrap();
        assert!(why.contains("`packages.allowed_networks` may"), "{why}");
        assert_eq!(asked.load(Ordering::Relaxed), before);
        server.stop().await;
        let gone = look("/good", &anchors).await;
        assert!(gone.looked);
        let problem = gone.problem.unwrap();
        assert!(problem.contains("nothing answers"), "{problem}");
        let plain = look_at("http://127.0.0.1/good", now, &anchors, &inside).await;
        assert_eq!(plain.problem.as_deref(), Some("is not https"));
    }
}
