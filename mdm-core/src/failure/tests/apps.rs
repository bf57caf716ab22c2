//! Apps that are gone: against the forecast, and what somebody accepted.

use std::time::Duration;

use serde_json::json;

use super::{NOW, device, exception, said_with, set_up_json, words};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::failure::{FailureMode, ForeseenLoss, LossAccepted};
use crate::ids::{DeviceId, OrganisationId};
use crate::migration::what_if::AppFate;
use crate::migration::{Owner, SetUp};
use crate::original::{OriginalApp, OriginalFacts, Told};

fn foreseen(app: &str, fate: AppFate) -> ForeseenLoss {
    ForeseenLoss {
        app: app.to_owned(),
        fate,
        accepted: None,
    }
}

fn listed(apps: &[&str], at: Timestamp) -> Told<Vec<OriginalApp>> {
    Told {
        value: apps.iter().map(|app| OriginalApp::new(app)).collect(),
        at,
        by: "somebody".to_owned(),
    }
}

#[test]
fn what_was_lost_is_held_against_the_forecast() {
    let phone = device();
    let more = json!({
        "released": NOW,
        "exceptions": [
            exception("apps-keep: app.Mail", Owner::Licence),
            exception("apps-keep: app.notes", Owner::Device),
        ],
    });
    let set_up = set_up_json(&phone, more);
    let forecast = [
        foreseen("app.mail", AppFate::LostLicence),
        foreseen("app.nobody", AppFate::LostUndecided),
    ];
    let of = |forecast: &[ForeseenLoss], original: Option<&OriginalFacts>| {
        let all = (&[][..], forecast, original);
        said_with(&phone, &set_up, all, FailureMode::AppsGone).unwrap()
    };
    let failure = of(&forecast, None);
    assert_eq!(failure.owner, Owner::Licence);
    assert!(failure.counts);
    let nobody = "forecast as lost, and the device has not listed its apps since: app.nobody: nobody decided on it";
    let notes = "lost, and not forecast: app.notes: it did not come";
    assert_eq!(
        words(&failure),
        [nobody, "lost, as forecast: app.Mail", notes]
    );
    // Whether it is gone says the device.
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
    let hour = Duration::from_hours(1);
    original.reported_apps = Some(listed(&["app.other"], NOW + hour));
    let gone = "lost, as forecast: app.nobody: nobody decided on it";
    assert_eq!(words(&of(&forecast, Some(&original)))[0], gone);
    original.reported_apps = Some(listed(&["app.nobody", "app.notes"], NOW + hour));
    let again = format!("{notes}; it is managed again since, without its data");
    assert_eq!(
        words(&of(&forecast, Some(&original))),
        ["lost, as forecast: app.Mail", again.as_str()]
    );
    // A list of before it was let go says nothing.
    original.reported_apps = Some(listed(&["app.nobody"], NOW - hour));
    assert_eq!(words(&of(&forecast, Some(&original)))[0], nobody);
}

#[test]
fn a_loss_that_somebody_accepted_is_said_so_and_is_nobodys_task() {
    let phone = device();
    let more = json!({ "released": NOW, "exceptions": [exception("apps-keep: app.mail", Owner::Licence)] });
    let set_up = set_up_json(&phone, more);
    let accepted = |mut loss: ForeseenLoss| {
        loss.accepted = Some(LossAccepted {
            by: "Eva".to_owned(),
            at: NOW - Duration::from_hours(50),
            reason: "they are few".to_owned(),
        });
        loss
    };
    let mail = accepted(foreseen("app.mail", AppFate::LostLicence));
    let viewer = accepted(foreseen("app.viewer", AppFate::LostUndecided));
    let of = |forecast: &[ForeseenLoss]| {
        said_with(
            &phone,
            &set_up,
            (&[], forecast, None),
            FailureMode::AppsGone,
        )
        .unwrap()
    };
    let failure = of(&[mail.clone(), viewer.clone()]);
    assert!(!failure.counts, "{failure:#?}");
    assert!(failure.next.starts_with("nothing: "), "{failure:#?}");
    for (said, app) in words(&failure).iter().zip(["app.viewer", "app.mail"]) {
        assert!(
            said.contains("accepted by Eva") && said.contains(app),
            "{said}"
        );
        assert!(said.ends_with("they are few"), "{said}");
    }
    // What nobody accepted is somebody's task, beside the others.
    let failure = of(&[viewer]);
    assert!(failure.counts);
    assert_eq!(failure.owner, Owner::Licence);
    assert_eq!(words(&failure).len(), 2);
    let failure = of(&[mail, foreseen("app.nobody", AppFate::LostUndecided)]);
    assert_eq!(failure.owner, Owner::Destination);
    assert!(failure.next.starts_with("decide on them"), "{failure:#?}");
}

#[test]
fn an_app_that_was_there_and_that_another_step_or_the_proof_misses_is_gone_too() {
    let phone = device();
    let more = json!({ "released": NOW, "exceptions": [
        exception("apps-required: app.there", Owner::Licence),
        exception("apps-required: app.new", Owner::Licence),
        exception("verify: app.TAKEN", Owner::Device),
        exception("verify: com.example.profile", Owner::Device),
        exception("verify: app.late", Owner::Device),
        exception("declare-apps: app.there", Owner::Device),
    ] });
    let mut set_up = set_up_json(&phone, more);
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
    let hour = Duration::from_hours(1);
    original.apps = Some(listed(&["app.there", "app.taken", "app.late"], NOW - hour));
    original.reported_apps = Some(listed(&["app.late"], NOW + hour));
    let of = |set_up: &SetUp, original: &OriginalFacts| {
        said_with(
            &phone,
            set_up,
            (&[], &[], Some(original)),
            FailureMode::AppsGone,
        )
    };
    let failure = of(&set_up, &original).unwrap();
    assert_eq!(
        words(&failure),
        [
            "lost, and not forecast: app.there: it did not come",
            "lost, and not forecast: app.TAKEN: it did not come",
        ]
    );
    // What was told of it after it came is no list of what it had.
    original.apps = Some(listed(&["app.there"], NOW + hour));
    assert_eq!(of(&set_up, &original), None);
    // A Mac keeps what nobody manages.
    set_up.platform = Platform::Macos;
    original.apps = Some(listed(&["app.there"], NOW - hour));
    assert_eq!(of(&set_up, &original), None);
}
