//! What Apple calls failed before it began: its audit events are asked once who did what with the device, and what they name, or
//! why they were not asked, stands beside the failure.

use std::time::Duration;

use mdm_core::clock::{Clock as _, Timestamp};
use mdm_core::device::MigrationStatus;
use mdm_core::error::PortError;
use mdm_core::failure::{Failure, FailureMode};
use mdm_core::ids::{MoveId, WaveId};
use mdm_core::migration::{AuditedAct, MoveState, Outcome};

use super::apple::MINUTE;
use super::stage::Stage;

const HOUR: Duration = Duration::from_secs(3600);

/// A wave of one device that somebody cancels in the portal, where Apple leaves it with us.
async fn cancelled_elsewhere(answers: Vec<Result<Vec<AuditedAct>, PortError>>) -> (Stage, WaveId) {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(HOUR).await;
    {
        let mut inside = stage.apple.inside();
        inside.audited = answers;
        let device = inside.devices.get_mut(&stage.serials[0]).unwrap();
        device.status = Some(MigrationStatus::Failed);
    }
    stage.pass(13 * HOUR).await;
    let failed = [MoveState::Ended(Outcome::Failed)];
    assert_eq!(stage.states(wave).await, failed);
    (stage, wave)
}

async fn failure(stage: &Stage, wave: WaveId) -> Failure {
    let org = stage.org().await;
    let all = Box::pin(org.failures_of_wave(wave, MoveId(0), 10)).await;
    let mut of_device = all.unwrap().devices.remove(0).2;
    of_device.retain(|failure| failure.mode == FailureMode::AppleFailed);
    of_device.remove(0)
}

fn act(at: Timestamp) -> AuditedAct {
    AuditedAct {
        at: Some(at),
        what: "DEVICE_UNASSIGNED_FROM_SERVER (OURS)".to_owned(),
        apple_actor: "eva@example.com (USER)".to_owned(),
        ours: false,
    }
}

#[tokio::test]
async fn whom_apples_audit_events_name_stands_in_evidence_and_next_action() {
    let at = super::apple::START + HOUR;
    let (stage, wave) = cancelled_elsewhere(vec![
        // Its budget is used up, then nobody knows what came of it: a reading may be repeated.
        Err(PortError::retry("429")),
        Err(PortError::Unknown("the connection broke".to_owned())),
        Err(PortError::CursorExpired),
        Ok(vec![act(at)]),
    ])
    .await;
    let failure_now = failure(&stage, wave).await;
    let named = failure_now.evidence.iter().find(|e| e.at == Some(at));
    assert_eq!(
        named.map(|e| e.what.as_str()),
        Some(
            "Apple's audit events: DEVICE_UNASSIGNED_FROM_SERVER (OURS), by eva@example.com (USER)"
        ),
    );
    let next = format!("ask eva@example.com (USER), whom Apple's audit events name at {at},");
    assert!(failure_now.next.starts_with(&next), "{failure_now:#?}");
    let audits = stage.apple.inside().audits.clone();
    assert_eq!(audits.len(), 4);
    // From when on its migration was asked for.
    let (serial, since) = &audits[0];
    assert_eq!(*serial, stage.serials[0]);
    assert!(*since < at && *since <= stage.clock.now());
    // Once is enough, however long it stays as it is.
    stage.pass(48 * HOUR).await;
    assert_eq!(stage.apple.inside().audits.len(), 4);
}

#[tokio::test]
async fn that_nobody_could_be_asked_is_said_as_such() {
    for (answer, said) in [
        (
            Some(PortError::FeatureMissing("audit events".to_owned())),
            "cannot be asked: not available in this organisation",
        ),
        (
            Some(PortError::Refused("403".to_owned())),
            "may not be asked: refused: 403",
        ),
        (
            Some(PortError::NeedsPerson("new terms".to_owned())),
            "were asked in vain: new terms",
        ),
        (None, "were not asked: no audit event port"),
    ] {
        let answers = answer.map(Err).into_iter().collect();
        let (stage, wave) = cancelled_elsewhere(answers).await;
        let failure = failure(&stage, wave).await;
        let last = failure.evidence.last().unwrap();
        assert!(last.what.contains(said), "{last:?}");
        assert!(last.at.is_some(), "{last:?}");
        assert!(failure.next.starts_with("look in the portal"));
        stage.pass(48 * HOUR).await;
        assert_eq!(stage.apple.inside().audits.len(), 1, "{said}");
    }
}
