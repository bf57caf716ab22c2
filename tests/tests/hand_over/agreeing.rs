//! What people agree: both sides before anything is handed over, and an export of one's own by two persons.

use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::ids::Serial;
use mdmd::config::Duty;
use tests::Request;

use super::house::{NOW_MS, captured};
use super::{
    CODE, HOUR, agree, both_later, checks_out, close, code, handed, knows, leaves_the_list,
};
use super::{open, tells_its_code, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_moves_is_handed_over_once_both_sides_agree() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    let device = old.enrolled().await;
    tells_its_code(&old, &device, CODE).await;

    let ours = old.org.hand_off_signer().await.unwrap();
    let until = within(10);
    let carla = new.org.clone().acting_for("Carla");
    let token = carla
        .new_api_token(
            "old server",
            Role::Helpdesk,
            ["hand-off".to_owned()].into(),
            None,
        )
        .await
        .unwrap();
    let token = token.secret.expose_text().unwrap().to_owned();
    // The token opens its own door and no other.
    let admin = new.app.address(Duty::Admin).unwrap();
    for (method, path) in [
        ("GET", "/api/v1/devices"),
        ("POST", "/api/v1/hand-off/jobs"),
        ("POST", "/api/v1/hand-off/sources"),
        ("POST", "/api/v1/secrets/reveal"),
    ] {
        let reply = Request::new(method, path)
            .by(&token)
            .with("{}")
            .send(admin)
            .await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
    }
    // First the person at the destination confirms a wrong signer.
    let wrong = carla
        .agree_source("Old MDM", &"0f".repeat(32), until)
        .await
        .unwrap();
    agree(&old, &new, wrong.id, &token).await;

    checks_out(&old, &device).await;
    both_later(&old, &new, HOUR).await;
    // Our list still has it: somebody may have unenrolled it.
    assert!(!knows(&new.org, &serial).await);
    assert!(
        old.org
            .device_report(&serial)
            .await
            .unwrap()
            .moved
            .is_none()
    );
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    assert!(
        !knows(&new.org, &serial).await,
        "it is signed by somebody whom nobody confirmed"
    );
    let report = old.org.device_report(&serial).await.unwrap();
    assert!(report.moved.is_some() && report.device.handed_over.is_none());

    let right = carla
        .agree_source("Old MDM", &ours.sha256, until)
        .await
        .unwrap();
    agree(&old, &new, right.id, &token).await;
    both_later(&old, &new, HOUR * 7).await;
    let facts = new.org.original(&serial).await.unwrap();
    assert_eq!(facts.system.unwrap().by, "Old MDM");
    assert_eq!(code(&new, &serial).await, CODE);
    assert!(
        old.org
            .device_report(&serial)
            .await
            .unwrap()
            .device
            .handed_over
            .is_some()
    );
    assert_eq!(handed(&old).await, 1);
    // Nothing is left to be done, and nothing of it was logged.
    both_later(&old, &new, HOUR * 24).await;
    let log = captured().since(0);
    assert!(!log.contains(CODE) && !log.contains(&token));
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_ones_own_takes_two_persons_and_is_made_once() {
    let (old, new) = (open().await, open().await);
    let (anna, bo) = (
        old.org.clone().acting_for("Anna"),
        old.org.clone().acting_for("Bo"),
    );
    let signer = old.org.hand_off_signer().await.unwrap();
    let until = Timestamp::from_millis(NOW_MS) + HOUR;
    let job = new
        .org
        .new_hand_off("Old MDM", until, Some(&signer.sha256))
        .await
        .unwrap();
    let ask = |told: &str| {
        let (anna, certificate, told) = (anna.clone(), job.certificate.clone(), told.to_owned());
        let (number, serials) = (job.id, Default::default());
        async move {
            anna.ask_export(
                certificate.as_bytes(),
                &told,
                Some(number),
                serials,
                "the move",
            )
            .await
        }
    };
    let other = ask(&"0f".repeat(32)).await.unwrap_err().to_string();
    assert!(other.starts_with("sha256: "), "{other}");
    let asked = ask(&job.sha256).await.unwrap();
    for (who, why) in [(&anna, "nobody has confirmed it"), (&bo, "it is not his")] {
        assert!(who.make_export(asked).await.is_err(), "{why}");
    }
    assert!(
        anna.confirm(asked).await.is_err(),
        "it takes another person"
    );
    bo.confirm(asked).await.unwrap();
    assert!(bo.make_export(asked).await.is_err(), "it is for who asked");
    let sealed = anna.make_export(asked).await.unwrap();
    assert_eq!(sealed.devices, 2);
    assert!(anna.make_export(asked).await.is_err(), "once");
    let outcome = new
        .org
        .import_hand_off(job.id, sealed.bundle)
        .await
        .unwrap();
    assert_eq!((outcome.accepted, outcome.rejected), (2, 0), "{outcome:?}");
    close([old, new]).await;
}
