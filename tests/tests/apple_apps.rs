//! `abm-client` against the simulated Apps and Books, and against what Apple has beside devices: over real HTTP and TLS,
//! with no code in common.

use std::sync::{Arc, Mutex};

use abm_client::apps::{
    AppsClient, AssetQuery, AssetRef, AssignmentQuery, ClientConfigChange, ContentToken,
    EventState, FollowUp, MdmInfo, NewUser, Notification, NotificationType, Targets, batches,
    follow_up,
};
use abm_client::assignment::AssignmentClient;
use abm_client::business::{
    ApiAccount, AuditQuery, BusinessClient, NewServer, ServerChange, ServerProductFamily,
};
use abm_client::{ErrorKind, HyperTransport, SecretText, ServerToken, TokenKeyPair};
use fixtures::apple::{Apple, AppleConfig, LicenceSeed};
use fixtures::clock::{DAY, MINUTE, SECOND, WorldClock};
use fixtures::http::{Answer, Authority, Call, ClientCertificates, Reply, Server, acceptor};
use tests::WorldTime;

const START: i64 = 1_795_190_400_000;

struct Stage {
    clock: WorldClock,
    apple: Apple,
    server: String,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut AppleConfig)) -> Self {
        let clock = WorldClock::new(START);
        let mut config = AppleConfig::new(clock.clone(), 42);
        // Domain time stands still between requests here; the limit has a test of its own.
        config.habits.licences.requests_per_second = 10_000;
        change(&mut config);
        let apple = Apple::start(config).await.expect("Apple starts");
        let server = apple.add_server("Destination");
        Self {
            clock,
            apple,
            server,
        }
    }

    fn pass(&self, ms: i64) {
        self.clock.advance_to(self.clock.now_ms() + ms);
    }

    fn transport(&self) -> Arc<HyperTransport> {
        let builder = HyperTransport::builder().without_system_authorities();
        let built = builder
            .trust_pem(self.apple.endpoints().ca_pem.as_bytes())
            .and_then(|b| b.build());
        Arc::new(built.expect("a transport"))
    }

    fn clock(&self) -> Arc<WorldTime> {
        Arc::new(WorldTime(self.clock.clone()))
    }

    fn location(&self) -> AppsClient {
        let token = ContentToken::read(self.apple.content_token().as_bytes()).expect("a token");
        let base = &self.apple.endpoints().apps;
        AppsClient::at(base, self.transport(), token, "test/1.0", self.clock())
    }

    fn ours(&self) -> AppsClient {
        self.location()
            .as_service(MdmInfo::new("we", "mdmd", "test"))
    }

    fn business(&self) -> BusinessClient {
        let account = self.apple.api_account();
        let account = ApiAccount::new(
            &account.client_id,
            &account.key_id,
            account.private_key_pem.as_bytes(),
        );
        let endpoints = self.apple.endpoints();
        BusinessClient::at(
            &endpoints.business,
            &endpoints.token,
            self.transport(),
            account.expect("an account"),
            "test/1.0",
            self.clock(),
        )
    }

    fn assignment(&self) -> AssignmentClient {
        let pair = TokenKeyPair::generate("mdmd", START, 365).expect("a pair");
        let certificate = pair.certificate_pem().expect("PEM");
        let file = self
            .apple
            .server_token(&self.server, certificate.as_bytes())
            .expect("a token file");
        let token = ServerToken::open(&file, &[pair]).expect("a token");
        let base = &self.apple.endpoints().assignment;
        AssignmentClient::at(base, self.transport(), token, "test/1.0", self.clock())
    }
}

fn serials(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("SERIAL{n:06}")).collect()
}

/// Follows an event to its end as the library advises; how many questions it took.
async fn followed(stage: &Stage, client: &AppsClient, event: &str) -> (EventState, usize) {
    let (sent, mut asked, mut questions) = (stage.clock.now_ms(), None, 0);
    loop {
        match follow_up(sent, asked, stage.clock.now_ms()) {
            FollowUp::WaitUntil(ms) => {
                stage.clock.advance_to(ms);
            }
            FollowUp::Ask => {
                questions += 1;
                asked = Some(stage.clock.now_ms());
                let status = client.event(event).await.expect("a status");
                if status.status != EventState::Pending {
                    return (status.status, questions);
                }
            }
            _ => return (EventState::Pending, questions),
        }
    }
}

#[tokio::test]
async fn a_location_is_claimed_before_anything_is_changed_and_a_takeover_stops_us() {
    let stage = Stage::new(|_| {}).await;
    stage.apple.buy_licences(&LicenceSeed::app("100", None));
    let client = stage.ours();
    let config = client.service_config().await.expect("open to all");
    assert_eq!(config.limits.max_assets, 25);
    let to = Targets::serials(serials(1));
    let assets = [AssetRef::new("100")];
    let error = client.associate(&assets, &to).await.expect_err("unclaimed");
    assert!(error.is_invalid_input(), "{error}");
    let config = client.claim(false).await.expect("claimed");
    assert_eq!(config.mdm_info.map(|i| i.id), Some("we".to_owned()));
    assert_eq!(client.library(), config.u_id);
    client.associate(&assets, &to).await.expect("ours");

    stage.apple.claim_location("they", "Another");
    assert!(client.taken_over_by().is_none(), "not yet seen");
    client
        .assets(&AssetQuery::default(), None)
        .await
        .expect("reading goes on");
    assert_eq!(
        client.taken_over_by().map(|o| o.id),
        Some("they".to_owned())
    );
    let error = client.associate(&assets, &to).await.expect_err("theirs");
    assert!(
        matches!(error.kind(), ErrorKind::TakenOver { .. }),
        "{error}"
    );
    assert!(error.needs_person().is_some());
    client.claim(false).await.expect_err("a person's decision");
    client.claim(true).await.expect("a person decided");
    client.associate(&assets, &to).await.expect("ours again");
}

#[tokio::test]
async fn many_apps_for_many_devices_go_in_batches_and_are_followed_to_their_end() {
    let stage = Stage::new(|config| {
        config.habits.licences.page = 700;
        config.habits.licences.max_assets = 2;
    })
    .await;
    let apps = ["100", "200", "300"];
    for app in apps {
        stage
            .apple
            .buy_licences(&LicenceSeed::app(app, Some(1_500)));
    }
    let client = stage.ours();
    client.service_config().await.expect("limits");
    client.claim(false).await.expect("claimed");
    let refs: Vec<AssetRef> = apps.iter().map(|a| AssetRef::new(*a)).collect();
    let parts = batches(&refs, &serials(1_200), &client.limits());
    assert_eq!(parts.len(), 4, "two apps and a thousand devices at once");
    for part in &parts {
        let event = client
            .associate(&part.assets, &part.targets)
            .await
            .expect("an event");
        let (state, questions) = followed(&stage, &client, &event).await;
        assert_eq!((state, questions), (EventState::Complete, 1));
    }
    let (mut seen, mut page, mut first_version) = (0, None, None);
    loop {
        let listing = client
            .assignments(&AssignmentQuery::default(), page)
            .await
            .expect("a page");
        first_version = first_version.or(listing.version_id);
        seen += listing.items.len();
        page = listing.next_page;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(seen, 3_600);
    let assets = client
        .assets(&AssetQuery::default(), None)
        .await
        .expect("assets");
    assert_eq!(assets.items[0].lacking(400), 100, "300 are left");

    let taken = Targets::serials(serials(1));
    let event = client
        .disassociate(&refs[..1], &taken)
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    assert!(!stage.apple.holds_licence("100", "SERIAL000000"));
    let event = client
        .associate(&refs[..1], &taken)
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    let mut news = AssignmentQuery::default();
    news.since_version_id = first_version;
    let listing = client.assignments(&news, None).await.expect("news");
    assert_eq!(listing.items.len(), 1, "only what changed since");
    news.since_version_id = Some("9-unknown".to_owned());
    let error = client.assignments(&news, None).await.expect_err("unknown");
    assert!(error.is_cursor_expired(), "{error}");
}

#[tokio::test]
async fn what_fails_within_an_event_is_told_by_number_and_device() {
    let stage = Stage::new(|_| {}).await;
    stage.apple.buy_licences(&LicenceSeed::app("100", Some(2)));
    let mut book = LicenceSeed::app("300", Some(9));
    book.device_assignable = false;
    stage.apple.buy_licences(&book);
    let client = stage.ours();
    client.claim(false).await.expect("claimed");
    let event = client
        .associate(&[AssetRef::new("100")], &Targets::serials(serials(3)))
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    let status = client.event(&event).await.expect("a status");
    assert!(!status.is_wholly_done());
    assert_eq!(
        (status.num_requested, status.num_completed),
        (Some(3), Some(2))
    );
    assert_eq!(status.failures[0].error_number, Some(9709));
    let about = status.failures[0].error_info.as_ref().expect("about whom");
    assert_eq!(about.serial_numbers, ["SERIAL000002"]);

    stage.apple.fail_licences("100", "SERIAL000000", Some(9644));
    let event = client
        .disassociate(&[AssetRef::new("100")], &Targets::serials(serials(2)))
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    let status = client.event(&event).await.expect("a status");
    assert_eq!(status.failures[0].error_number, Some(9644));
    assert!(stage.apple.holds_licence("100", "SERIAL000000"));
    assert!(!stage.apple.holds_licence("100", "SERIAL000001"));

    let error = client
        .associate(&[AssetRef::new("300")], &Targets::serials(serials(1)))
        .await
        .expect_err("refused at once");
    assert_eq!(error.code(), Some("9707"), "{error}");
    let error = client.event("nothing").await.expect_err("unknown");
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn an_event_that_never_ends_is_given_up_and_sent_again() {
    let stage = Stage::new(|config| config.habits.licences.stuck = 1.0).await;
    stage.apple.buy_licences(&LicenceSeed::app("100", None));
    let client = stage.ours();
    client.claim(false).await.expect("claimed");
    let to = Targets::serials(serials(1));
    let event = client
        .associate(&[AssetRef::new("100")], &to)
        .await
        .expect("an event");
    let (state, questions) = followed(&stage, &client, &event).await;
    assert_eq!((state, questions), (EventState::Pending, 11));
    client
        .associate(&[AssetRef::new("100")], &to)
        .await
        .expect("no harm");
}

#[tokio::test]
async fn users_are_made_changed_and_retired() {
    let stage = Stage::new(|_| {}).await;
    stage.apple.buy_licences(&LicenceSeed::app("100", Some(1)));
    let client = stage.ours();
    client.claim(false).await.expect("claimed");
    let user = NewUser {
        client_user_id: "u1".to_owned(),
        email: Some("ada@world.test".to_owned()),
        managed_apple_id: None,
    };
    let event = client
        .create_users(std::slice::from_ref(&user))
        .await
        .expect("an event");
    assert_eq!(
        followed(&stage, &client, &event).await.0,
        EventState::Complete
    );
    let event = client.create_users(&[user]).await.expect("an event");
    assert_eq!(
        followed(&stage, &client, &event).await.0,
        EventState::Failed
    );
    let listing = client.users(None, None).await.expect("users");
    assert_eq!(listing.items[0].status.as_deref(), Some("Registered"));
    let to = Targets::users(["u1", "nobody"]);
    let event = client
        .associate(&[AssetRef::new("100")], &to)
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    let status = client.event(&event).await.expect("a status");
    assert_eq!(status.failures[0].error_number, Some(9609));
    assert_eq!(stage.apple.licences_given("100"), 1);
    let event = client
        .retire_users(&["u1".to_owned()])
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    assert_eq!(stage.apple.licences_given("100"), 0, "given back");
}

#[tokio::test]
async fn tokens_that_may_not_or_not_any_more_need_a_person() {
    let stage = Stage::new(|config| config.habits.licences.read_only = true).await;
    let client = stage.ours();
    let error = client.claim(false).await.expect_err("read only");
    assert!(
        matches!(error.kind(), ErrorKind::AccessDenied { .. }),
        "{error}"
    );
    stage.apple.renew_content_token();
    for client in [client, stage.ours()] {
        stage.pass(366 * DAY);
        let error = client
            .assets(&AssetQuery::default(), None)
            .await
            .expect_err("replaced, then expired");
        assert!(
            error
                .needs_person()
                .is_some_and(|s| s.contains("content token")),
            "{error}"
        );
        assert!(!error.to_string().contains(&stage.apple.content_token()));
    }
}

#[tokio::test]
async fn one_request_too_many_in_a_second_is_told_when_to_come_back() {
    let stage = Stage::new(|config| config.habits.licences.requests_per_second = 15).await;
    let client = stage.location();
    for _ in 0..15 {
        client
            .assets(&AssetQuery::default(), None)
            .await
            .expect("within the limit");
    }
    let error = client
        .assets(&AssetQuery::default(), None)
        .await
        .expect_err("too many");
    assert!(matches!(error.kind(), ErrorKind::Throttled), "{error}");
    stage.pass(i64::try_from(error.retry_after().expect("a time").as_millis()).expect("short"));
    client
        .assets(&AssetQuery::default(), None)
        .await
        .expect("after the wait");
}

#[tokio::test]
async fn notifications_are_carried_with_our_token_and_tried_three_times() {
    let authority = Authority::new("Ours").expect("an authority");
    let identity = authority.server(&[]).expect("a certificate");
    let tls = acceptor(&identity, &[], ClientCertificates::None, &["http/1.1"]).expect("TLS");
    let taken: Arc<Mutex<Vec<Call>>> = Arc::default();
    let (box_, answers) = (
        Arc::clone(&taken),
        Arc::new(Mutex::new(vec![200, 500, 500, 500])),
    );
    let receiver = Server::start(
        tls,
        Arc::new(move |call: Call| -> Answer {
            box_.lock().expect("whole").push(call);
            let status = match answers.lock().expect("whole").as_mut_slice() {
                [] => 200,
                rest => {
                    let first = rest[0];
                    rest.rotate_left(1);
                    first
                }
            };
            Box::pin(async move { Some(Reply::empty(status)) })
        }),
    )
    .await
    .expect("a receiver");
    let roots = || vec![authority.certificate().to_der().expect("DER")];

    let stage = Stage::new(|_| {}).await;
    let client = stage.ours();
    client.claim(false).await.expect("claimed");
    let secret = SecretText::new("the-token-of-ours");
    let change = ClientConfigChange {
        notification_url: Some(format!("https://{}/licences", receiver.address())),
        notification_auth_token: Some(secret.clone()),
        notification_types: Some(vec![
            NotificationType::AssetCount,
            NotificationType::AssetManagement,
        ]),
        ..ClientConfigChange::default()
    };
    client.change_client_config(&change).await.expect("set");
    assert_eq!(
        stage.apple.deliver_licence_notifications(roots()).await,
        1,
        "the test"
    );
    stage.apple.buy_licences(&LicenceSeed::app("100", Some(7)));
    for _ in 0..5 {
        stage.apple.deliver_licence_notifications(roots()).await;
    }
    let calls = taken.lock().expect("whole").clone();
    let read: Vec<Notification> = calls
        .iter()
        .map(|c| Notification::read(c.header("authorization"), &secret, &c.body).expect("ours"))
        .collect();
    assert_eq!(read.len(), 4, "one test, three tries, then forgotten");
    assert_eq!(read[0].notification_type, NotificationType::Test);
    assert_eq!(read[3].asset_count().map(|c| c.count_delta), Some(7));
    assert!(
        read[1..].windows(2).all(|w| w[0].id == w[1].id),
        "the same notification"
    );
    let to = Targets::serials(serials(150));
    let event = client
        .associate(&[AssetRef::new("100")], &to)
        .await
        .expect("an event");
    followed(&stage, &client, &event).await;
    let waiting = stage.apple.take_licence_notifications();
    let told: Vec<_> = waiting
        .iter()
        .map(|n| {
            n.body["notification"]["result"]
                .as_str()
                .unwrap_or("")
                .to_owned()
        })
        .collect();
    assert_eq!(
        told,
        ["SUCCESS", "FAILURE"],
        "seven done, the rest without a licence"
    );
    receiver.stop().await;
}

#[tokio::test]
async fn service_entries_are_made_and_changed_and_the_rest_is_read() {
    let stage = Stage::new(|config| {
        config.habits.business_budget = (1_000, 1_000);
        config.habits.people = 1_150;
    })
    .await;
    stage.apple.buy_licences(&LicenceSeed::app("100", None));
    let apple = stage.business();
    let pair = TokenKeyPair::generate("new", START, 365).expect("a pair");
    let pem = pair.certificate_pem().expect("PEM");
    let made = apple
        .create_server(&NewServer::new("Third", pem.clone().into_bytes()))
        .await
        .expect("made");
    let again = apple
        .create_server(&NewServer::new("Third", pem.into_bytes()))
        .await
        .expect_err("the name is taken");
    assert!(
        matches!(again.kind(), ErrorKind::Refused { status: 409, .. }),
        "{again}"
    );
    let change = ServerChange {
        server_name: Some("Renamed".to_owned()),
        default_product_families: Some(vec![ServerProductFamily::Mac]),
        ..ServerChange::default()
    };
    let changed = apple
        .update_server(&made.id, &change)
        .await
        .expect("changed");
    let shown = changed.attributes;
    assert_eq!(shown.server_name.as_deref(), Some("Renamed"));
    assert_eq!(shown.default_product_families, [ServerProductFamily::Mac]);

    let people = apple.users(None).await.expect("a page");
    assert_eq!((people.items.len(), people.total), (1_000, Some(1_150)));
    let rest = apple.users(people.next.as_ref()).await.expect("the rest");
    assert_eq!(rest.items.len(), 150);
    let one = apple.user(&people.items[3].id).await.expect("one");
    assert_eq!(
        one.attributes.first_name,
        people.items[3].attributes.first_name
    );
    let groups = apple.user_groups(None).await.expect("groups");
    let members = apple
        .user_group_members(&groups.items[0].id, None)
        .await
        .expect("members");
    assert_eq!(members.total, Some(575));
    let apps = apple.apps(None).await.expect("apps");
    assert_eq!(
        apps.items[0].attributes.bundle_id.as_deref(),
        Some("test.world.app100")
    );
    let configurations = apple.configurations(None).await.expect("configurations");
    assert_eq!(
        configurations.items[0].attributes.kind.as_deref(),
        Some("CUSTOM_SETTING")
    );
    assert!(
        !apple
            .organizational_units(None)
            .await
            .expect("units")
            .items
            .is_empty()
    );
    assert!(
        !apple
            .packages(None)
            .await
            .expect("packages")
            .items
            .is_empty()
    );
    assert!(
        !apple
            .blueprints(None)
            .await
            .expect("blueprints")
            .items
            .is_empty()
    );

    stage.apple.add_crowd(&stage.server, 3);
    let serial = stage.apple.crowd_serial(0).expect("one");
    stage.pass(SECOND);
    stage.apple.assign(&serial, Some(&made.id));
    let events = apple
        .audit_events(&AuditQuery::between(START, START + MINUTE), None)
        .await
        .expect("events");
    assert!(
        events
            .items
            .iter()
            .any(|e| e.attributes.serial_number() == Some(serial.as_str())),
        "{events:?}"
    );
}

#[tokio::test]
async fn account_driven_enrolment_and_beta_tokens() {
    let stage = Stage::new(|_| {}).await;
    let apple = stage.assignment();
    assert!(apple.service_discovery().await.expect("none").is_none());
    let url = "https://mdm.test/.well-known/com.apple.remotemanagement";
    apple.set_service_discovery(url).await.expect("set");
    let found = apple
        .service_discovery()
        .await
        .expect("asked")
        .expect("set");
    assert_eq!(found.mdm_service_discovery_url, url);
    assert_eq!(
        found.last_updated_timestamp.and_then(|m| m.unix_ms()),
        Some(START)
    );
    apple.remove_service_discovery().await.expect("removed");
    assert!(apple.service_discovery().await.expect("none").is_none());
    assert_eq!(apple.beta_tokens().await.expect("tokens").len(), 4);

    let without = Stage::new(|config| {
        config.habits.account_driven = false;
        config.habits.seed_for_it = false;
    })
    .await;
    let apple = without.assignment();
    let error = apple
        .set_service_discovery(url)
        .await
        .expect_err("not here");
    assert!(error.feature_missing().is_some(), "{error}");
    let error = apple.beta_tokens().await.expect_err("turned off");
    assert!(error.feature_missing().is_some(), "{error}");
}
