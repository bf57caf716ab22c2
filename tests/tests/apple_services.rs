//! `abm-client` against the simulated Apple, over real HTTP and TLS: two readings of the same facts, with no code in
//! common, must understand each other.

use std::sync::Arc;

use abm_client::assignment::{
    ActivationLockRequest, ActivationLockStatus, AdeProfile, AssignmentClient, AssignmentOutcome,
    DeviceRecord, PageSize, ProfileStatus, SyncCursor, latest_per_serial,
};
use abm_client::business::{
    Activity, ApiAccount, BusinessClient, Deadline, Force, LockType, MigrationStatus, OrgDevice,
};
use abm_client::lock_removal::{LockRemovalClient, Unlock, UnlockRequest};
use abm_client::{
    Budget, BudgetGate, BypassCode, ClientIdentity, ErrorKind, HyperTransport, Moment, ServerToken,
    TokenKeyPair,
};
use fixtures::apple::organisation::{DeviceSeed, Family};
use fixtures::apple::{Apple, AppleConfig};
use fixtures::clock::{DAY, HOUR, MINUTE, SECOND, WorldClock};
use tests::WorldTime;

const START: i64 = 1_795_190_400_000;
const SERIALS: [&str; 4] = [
    "PHONE0000001",
    "PAD000000001",
    "MAC000000001",
    "MAC000000002",
];

struct Stage {
    clock: WorldClock,
    apple: Apple,
    original: String,
    destination: String,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut AppleConfig)) -> Self {
        let clock = WorldClock::new(START);
        let mut config = AppleConfig::new(clock.clone(), 42);
        change(&mut config);
        let apple = Apple::start(config).await.expect("Apple starts");
        let (original, destination) = (
            apple.add_server("Original"),
            apple.add_server("Destination"),
        );
        for serial in SERIALS {
            let family = match &serial[..3] {
                "PHO" => Family::IPhone,
                "PAD" => Family::IPad,
                _ => Family::Mac,
            };
            let mut seed = DeviceSeed::new(serial, family, START - 400 * DAY);
            seed.server = Some(original.clone());
            apple.add_device(seed);
        }
        Self {
            clock,
            apple,
            original,
            destination,
        }
    }

    fn pass(&self, ms: i64) {
        self.clock.advance_to(self.clock.now_ms() + ms);
    }

    fn transport(&self) -> HyperTransport {
        let builder = HyperTransport::builder().without_system_authorities();
        builder
            .trust_pem(self.apple.endpoints().ca_pem.as_bytes())
            .and_then(|b| b.build())
            .expect("a transport")
    }

    fn token(&self, server: &str) -> ServerToken {
        let pair = TokenKeyPair::generate("mdmd", START, 365).expect("a pair");
        let certificate = pair.certificate_pem().expect("PEM");
        let file = self
            .apple
            .server_token(server, certificate.as_bytes())
            .expect("a token file");
        ServerToken::open(&file, &[pair]).expect("a token")
    }

    fn assignment(&self, server: &str) -> AssignmentClient {
        let base = &self.apple.endpoints().assignment;
        let clock = Arc::new(WorldTime(self.clock.clone()));
        AssignmentClient::at(
            base,
            Arc::new(self.transport()),
            self.token(server),
            "test/1.0",
            clock,
        )
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
            Arc::new(self.transport()),
            account.expect("an account"),
            "test/1.0",
            Arc::new(WorldTime(self.clock.clone())),
        )
    }
}

fn list(serials: &[&str]) -> Vec<String> {
    serials.iter().map(|s| (*s).to_owned()).collect()
}

/// A complete fetch in small pages; the cursor at its end.
async fn fetch(apple: &AssignmentClient) -> (Vec<DeviceRecord>, SyncCursor) {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = apple
            .fetch_devices_with(cursor.as_ref(), PageSize::Limit(2))
            .await
            .expect("a page");
        all.extend(page.devices);
        cursor = page.cursor;
        if !page.more_to_follow {
            return (all, cursor.expect("a cursor"));
        }
    }
}

#[tokio::test]
async fn a_token_opens_a_session_that_rotates_and_expires() {
    let stage = Stage::new(|config| config.habits.session_rotates_after = 2).await;
    let apple = stage.assignment(&stage.original);
    let account = apple.account().await.expect("account");
    assert_eq!(
        (account.server_name.as_str(), account.server_uuid.as_str()),
        ("Original", stage.original.as_str())
    );
    for _ in 0..10 {
        apple.account().await.expect("over every rotation");
        stage.pass(MINUTE);
    }
    stage.pass(HOUR);
    apple.account().await.expect("renewed after it expired");
    apple
        .verify_renewal(&stage.original)
        .await
        .expect("the same entry");
    let other = apple
        .verify_renewal(&stage.destination)
        .await
        .expect_err("another entry");
    assert!(matches!(other.kind(), ErrorKind::OtherServer { .. }));

    stage.apple.set_terms_pending(true);
    let error = apple.account().await.expect_err("terms");
    assert!(
        matches!(error.kind(), ErrorKind::TermsNotAccepted),
        "{error}"
    );
    stage.apple.set_terms_pending(false);
    apple.account().await.expect("accepted");

    stage.apple.renew_server_token(&stage.original);
    stage.pass(HOUR);
    let error = apple.account().await.expect_err("replaced");
    assert!(
        matches!(error.kind(), ErrorKind::CredentialRefused { .. }),
        "{error}"
    );
    assert!(stage.token(&stage.original).same_entry(apple.token()));
}

#[tokio::test]
async fn devices_are_fetched_followed_and_given_a_profile() {
    let stage = Stage::new(|_| {}).await;
    let apple = stage.assignment(&stage.original);
    let (all, cursor) = fetch(&apple).await;
    let mut serials: Vec<_> = all
        .iter()
        .map(|device| device.serial_number.as_str())
        .collect();
    serials.sort_unstable();
    assert_eq!(
        serials,
        [
            "MAC000000001",
            "MAC000000002",
            "PAD000000001",
            "PHONE0000001"
        ]
    );

    let profile = AdeProfile::for_migration("standard", "https://mdm.test/ade");
    let defined = apple.define_profile(&profile).await.expect("defined");
    let read = apple
        .profile(&defined.profile_uuid)
        .await
        .expect("read back");
    assert_eq!(
        profile.differences(&read).expect("JSON"),
        Vec::<String>::new()
    );
    let report = apple
        .assign_profile(&defined.profile_uuid, &list(&[SERIALS[0], "UNKNOWN"]))
        .await
        .expect("a report");
    assert_eq!(report.outcomes[SERIALS[0]], AssignmentOutcome::Success);
    assert_eq!(report.outcomes["UNKNOWN"], AssignmentOutcome::NotAccessible);

    stage.pass(MINUTE);
    let page = apple.sync_devices(&cursor).await.expect("changes");
    // The page also tells how the device came to us: the latest record counts.
    let latest = latest_per_serial(page.devices);
    let changed = &latest[SERIALS[0]];
    assert_eq!(changed.profile_status, Some(ProfileStatus::Assigned));
    assert!(!changed.needs_profile(&defined.profile_uuid));
    let details = apple
        .device_details(&list(&[SERIALS[0], "UNKNOWN"]))
        .await
        .expect("details");
    assert!(!details[SERIALS[0]].needs_profile(&defined.profile_uuid));

    let removed = apple
        .remove_profile(&list(&[SERIALS[0]]))
        .await
        .expect("a report");
    assert_eq!(removed.outcomes[SERIALS[0]], AssignmentOutcome::Success);
    stage.pass(8 * DAY);
    let error = apple
        .sync_devices(&page.cursor.expect("a cursor"))
        .await
        .expect_err("too old");
    assert!(error.is_cursor_expired(), "{error}");
    let error = apple
        .sync_devices(&SyncCursor::new("nonsense"))
        .await
        .expect_err("foreign");
    assert!(error.is_cursor_expired(), "{error}");
    assert!(
        apple
            .profile("00000000000000000000000000000000")
            .await
            .expect_err("unknown")
            .is_not_found()
    );
}

#[tokio::test]
async fn a_device_that_is_assigned_too_often_is_throttled_with_a_time() {
    let stage = Stage::new(|_| {}).await;
    let apple = stage.assignment(&stage.original);
    let profile = AdeProfile::for_migration("standard", "https://mdm.test/ade");
    let uuid = apple
        .define_profile(&profile)
        .await
        .expect("defined")
        .profile_uuid;
    let mut last = None;
    for _ in 0..6 {
        let report = apple
            .assign_profile(&uuid, &list(&[SERIALS[0]]))
            .await
            .expect("a report");
        last = report.outcomes.into_values().next();
    }
    let Some(AssignmentOutcome::Throttled {
        retry_after: Some(wait),
    }) = last
    else {
        panic!("{last:?}")
    };
    assert!(wait.as_secs() > 0);
}

#[tokio::test]
async fn a_migration_is_asked_for_moved_and_cancelled() {
    let stage = Stage::new(|_| {}).await;
    let apple = stage.business();
    apple.open_session().await.expect("a bearer token");
    let page = apple.devices(&[], None).await.expect("a page");
    assert_eq!(page.items.len(), 4);
    assert_eq!(apple.servers(None).await.expect("a page").items.len(), 2);
    assert_eq!(
        apple
            .server_devices(&stage.original, None)
            .await
            .expect("a page")
            .items
            .len(),
        4
    );
    assert_eq!(
        apple.assigned_server_id(SERIALS[2]).await.expect("read"),
        Some(stage.original.clone())
    );

    let now = stage.clock.now_ms();
    let deadline =
        Deadline::for_assignment(&Moment::from_unix_ms(now + 10 * DAY), now).expect("a deadline");
    let devices = list(&[SERIALS[2], SERIALS[3]]);
    let migrate = Activity::AssignWithDeadline {
        server: stage.destination.clone(),
        deadline,
        devices: devices.clone(),
    };
    let made = apple.submit_activity(&migrate).await.expect("submitted");
    stage.pass(5 * MINUTE);
    let over = apple.activity(&made.id).await.expect("read").attributes;
    assert!(over.is_over() && over.claims_success(), "{over:?}");
    let report = apple
        .activity_report(&over)
        .await
        .expect("downloaded")
        .expect("a file");
    assert!(report.serial_column(&devices).is_some());
    assert_eq!(report.failed_serials(&devices), Vec::<String>::new());

    let device: OrgDevice = apple
        .device(SERIALS[2], &[])
        .await
        .expect("read")
        .attributes;
    assert_eq!(
        device.mdm_migration_status,
        Some(MigrationStatus::Requested)
    );
    let current = device.mdm_migration_deadline_date_time.expect("a deadline");
    assert_eq!(current.unix_ms(), Some(now + 10 * DAY));
    assert_eq!(
        apple.assigned_server_id(SERIALS[2]).await.expect("read"),
        Some(stage.destination.clone())
    );
    let record = stage
        .assignment(&stage.destination)
        .device_details(&devices)
        .await
        .expect("details");
    let told = record[SERIALS[2]]
        .mdm_migration_deadline
        .as_ref()
        .and_then(Moment::unix_ms);
    assert_eq!(told, Some(now + 10 * DAY));

    let (now, earlier) = (
        stage.clock.now_ms(),
        Moment::from_unix_ms(stage.clock.now_ms() + DAY),
    );
    assert!(Deadline::for_update(&earlier, Some(&current), None, now).is_err());
    let force = Force::because("ordered").expect("a reason");
    let deadline =
        Deadline::for_update(&earlier, Some(&current), Some(&force), now).expect("forced");
    let update = Activity::UpdateDeadline {
        deadline,
        devices: list(&[SERIALS[2]]),
    };
    apple.submit_activity(&update).await.expect("submitted");
    let cancel = Activity::CancelMigration {
        devices: list(&[SERIALS[3]]),
    };
    apple.submit_activity(&cancel).await.expect("submitted");
    stage.pass(5 * MINUTE);
    let moved = apple
        .device(SERIALS[2], &[])
        .await
        .expect("read")
        .attributes;
    assert_eq!(moved.mdm_migration_deadline_date_time, Some(earlier));
    let cancelled = apple
        .device(SERIALS[3], &[])
        .await
        .expect("read")
        .attributes;
    assert_ne!(
        cancelled.mdm_migration_status,
        Some(MigrationStatus::Requested)
    );
    assert_eq!(
        apple.assigned_server_id(SERIALS[3]).await.expect("read"),
        Some(stage.original.clone())
    );
}

#[tokio::test]
async fn our_budget_keeps_within_apples() {
    let stage = Stage::new(|config| config.habits.business_budget = (5, 2)).await;
    let apple = stage.business();
    let mut throttled = None;
    for _ in 0..6 {
        throttled = apple.servers(None).await.err();
    }
    let throttled = throttled.expect("Apple throttles");
    assert!(
        matches!(throttled.kind(), ErrorKind::Throttled) && throttled.retry_after().is_some(),
        "{throttled}"
    );
    stage.pass(2 * MINUTE);
    let quota =
        |requests, ms| abm_client::Quota::new(requests, std::time::Duration::from_millis(ms));
    let budget = Budget {
        reads: quota(5, 60_000),
        writes: quota(2, 3_600_000),
        together: false,
    };
    let apple = apple.with_gate(BudgetGate::refusing(budget, WorldTime(stage.clock.clone())));
    let mut done = 0;
    for _ in 0..60 {
        match apple.servers(None).await {
            Ok(_) => done += 1,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::BudgetSpent), "{error}"),
        }
        stage.pass(5 * SECOND);
    }
    assert!(done >= 24, "{done}");
}

#[tokio::test]
async fn a_lock_is_set_read_and_lifted_with_the_code() {
    let stage = Stage::new(|_| {}).await;
    let apple = stage.assignment(&stage.original);
    let (ours, other) = (
        BypassCode::generate().expect("a code"),
        BypassCode::generate().expect("a code"),
    );
    let request = ActivationLockRequest::new(SERIALS[0], ours.escrow_key().expect("a hash"));
    let locked = apple.lock_activation(&request).await.expect("an answer");
    assert_eq!(locked.response_status, ActivationLockStatus::Success);
    let again = apple.lock_activation(&request).await.expect("an answer");
    assert_eq!(
        again.response_status,
        ActivationLockStatus::DeviceAlreadyLocked
    );
    let business = stage.business();
    stage.pass(MINUTE);
    let state = business.activation_lock(SERIALS[0]).await.expect("read");
    assert_eq!(
        (state.is_locked, state.lock_type),
        (Some(true), Some(LockType::Mdm))
    );

    let (certificate, key) = stage
        .apple
        .push_certificate("com.apple.mgmt.External.test")
        .expect("a certificate");
    let identity = ClientIdentity::from_pem(certificate.as_bytes(), key.as_bytes(), None)
        .expect("an identity");
    let endpoints = stage.apple.endpoints();
    let builder = HyperTransport::builder()
        .without_system_authorities()
        .identity(identity);
    let transport = builder
        .trust_pem(endpoints.ca_pem.as_bytes())
        .and_then(|b| b.build())
        .expect("a transport");
    let clock = Arc::new(WorldTime(stage.clock.clone()));
    let removal = LockRemovalClient::at(
        &endpoints.lock_removal,
        Arc::new(transport),
        "test/1.0",
        clock,
    );
    let device = business
        .device(SERIALS[0], &[])
        .await
        .expect("read")
        .attributes;
    let (product, imei) = (
        device.product_type.expect("a type"),
        device.imei.into_iter().next(),
    );
    let mut wanted = UnlockRequest::new(SERIALS[0], product, "Us & them", "person-7");
    wanted.imei = imei;
    let refused = removal
        .unlock_with(&wanted, &other)
        .await
        .expect("an answer");
    assert!(matches!(refused, Unlock::CodeRefused { .. }), "{refused:?}");
    assert_eq!(
        removal
            .unlock_with(&wanted, &ours)
            .await
            .expect("an answer"),
        Unlock::Unlocked
    );
    stage.pass(MINUTE);
    assert_eq!(
        business
            .activation_lock(SERIALS[0])
            .await
            .expect("read")
            .is_locked,
        Some(false)
    );

    let clock = Arc::new(WorldTime(stage.clock.clone()));
    let bare = LockRemovalClient::at(
        &endpoints.lock_removal,
        Arc::new(stage.transport()),
        "test/1.0",
        clock,
    );
    assert!(
        bare.unlock_with(&wanted, &ours).await.is_err(),
        "without a certificate nobody is let in"
    );
}
