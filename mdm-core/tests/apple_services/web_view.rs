//! Where devices that come by assignment sign in in a web view: members of waves get another ADE profile than all others.

use std::collections::BTreeMap;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, DeviceRecord, OrgReading, Platform};
use mdm_core::ids::{DeviceId, SecretId, Serial, WaveId};
use mdm_core::migration::{MoveState, PinnedRunbook, Variant};
use mdm_core::organisation::AdeOptions;
use mdm_core::person::{SignIn, WebView};
use mdm_core::service::{Detail, Member, Question};
use mdm_core::store::{Batch, Store as _};

use crate::script::{DAY, MINUTE, START, Stage};

/// Devices that come by assignment sign in in a web view.
async fn with_web_view(stage: &Stage) {
    let mut row = stage.org().await.organisation().clone();
    let issuer = "https://id.example.com".to_owned();
    let mut sign_in = SignIn::new(issuer, "mdm".to_owned(), SecretId(1));
    sign_in.web_view = WebView::Offered;
    row.sign_in = Some(sign_in);
    let mut batch = Batch::new();
    batch.put(row);
    stage.store.commit(batch).await.unwrap();
}

/// Whether members would wait, as the what-if of a wave and that of a list say it.
async fn awaits(stage: &Stage, wave: WaveId, list: &Question) -> [CheckResult; 2] {
    let org = stage.org().await;
    let of_wave = org.look_at_wave(wave, Detail::Counts).await.unwrap();
    let of_list = org.look_at(list, Detail::Counts).await.unwrap();
    [of_wave, of_list].map(|report| {
        let mut found = report.server.into_iter();
        found.find(|f| f.check == Check::Await).unwrap().result
    })
}

#[tokio::test]
async fn members_get_the_profile_without_a_web_view_or_none_and_the_what_if_waits_for_it() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    with_web_view(&stage).await;
    *stage.script.refuse_plain.lock().unwrap() = true;
    let server = stage.server("one").await;
    stage.pass(MINUTE * 30).await;
    let viewed = |name: &str| {
        let viewed = stage.script.viewed.lock().unwrap();
        viewed.iter().any(|serial| serial.as_str() == name)
    };
    let offered = |name: &str| {
        let assigned = stage.script.assigned.lock().unwrap();
        let mut all = assigned.iter().flatten();
        all.any(|serial| serial.as_str() == name)
    };
    assert!(viewed("A"), "outside of waves it goes on");
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
    let (deadline, available_from) = (START + DAY * 10, START + MINUTE * 10);
    let list = Question {
        serials: vec![Serial::parse("A").unwrap()],
        destination: server,
        deadline,
        available_from,
        runbooks: runbooks.clone(),
        undated: false,
    };
    // The time of another one has come, that goes with a wave.
    let serial = Serial::parse("B").unwrap();
    let mut device = Device::new(stage.organisation, DeviceId(1), serial.clone());
    let mut reading = OrgReading::default();
    reading.product = Some("iPhone17,2".to_owned());
    device.reading = Some(reading);
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    let member = Member {
        serial,
        deadline,
        available_from,
        original_server: None,
    };
    let org = stage.org().await;
    let wave = org.plan_wave("shops", server, &runbooks, &[member]).await;
    let wave = wave.unwrap();
    let mut attempt = org.members(wave).await.unwrap().remove(0);
    attempt.state = MoveState::Scheduled {
        since: START,
        visible: Some(START),
    };
    let mut device = stage.device("B").await;
    let mut record = DeviceRecord::new(server, START);
    record.profile_status = "empty".to_owned();
    device.record = Some(record);
    device.assignment.from = Some(START);
    let mut batch = Batch::new();
    batch.put(device).put(attempt);
    stage.store.commit(batch).await.unwrap();
    // Everybody is gone through anew: there is none that it could get.
    let mut options = AdeOptions::default();
    options.department = Some("Another".to_owned());
    org.set_ade_profile(&options).await.unwrap();
    stage.pass(MINUTE * 30).await;
    assert_eq!(stage.device("B").await.assignment.wanted, None);
    assert!(!offered("B"), "with a web view");
    let unknown = CheckResult::Unknown;
    assert_eq!(awaits(&stage, wave, &list).await, [unknown, unknown]);
    *stage.script.refuse_plain.lock().unwrap() = false;
    stage.pass(MINUTE * 120).await;
    let pass = CheckResult::Pass;
    assert_eq!(awaits(&stage, wave, &list).await, [pass, pass]);
    let wanted = stage.device("B").await.assignment.wanted;
    assert_eq!(wanted.as_deref(), Some("PROFILE-one"));
    assert!(offered("B") && !viewed("B"));
}
