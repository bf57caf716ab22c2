//! What a wave has of its own: the words that its owners are told, and its ADE profile.

use std::collections::BTreeMap;

use mdm_core::ids::{MoveId, WaveId};
use mdm_core::migration::MoveState;
use mdm_core::organisation::AdeOptions;
use mdm_core::service::{Org, WaveTerms};
use mdm_core::store::Batch;
use mdm_core::texts::{OwnerText, OwnerTexts};

use super::service_house::{House, START};
use super::{days, fleet, old_fleet, project, says, serials, wave};

fn text(subject: &str) -> OwnerText {
    OwnerText {
        subject: subject.to_owned(),
        body: "{owner}: {deadline}".to_owned(),
    }
}

fn changes(all: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<OwnerText>> {
    let change =
        |(language, subject): &(&str, Option<&str>)| ((*language).to_owned(), subject.map(text));
    all.iter().map(change).collect()
}

/// In which language, and with which line, the owners of a wave are told in this language.
async fn told(org: &Org, wave: WaveId, language: &str) -> (String, String) {
    let page = org.owner_notices(wave, Some(language), MoveId(0), 10).await;
    let one = page.unwrap().notices.remove(0);
    let calendar = org.wave_calendar(wave, Some(language), MoveId(0), 10);
    let calendar = calendar.await.unwrap().text;
    assert!(
        calendar.contains(&format!("SUMMARY:{}", one.subject)),
        "{calendar}"
    );
    (one.language, one.subject)
}

#[tokio::test]
async fn owners_of_a_wave_are_told_its_own_words_in_their_language() {
    let (house, org) = old_fleet(3).await;
    let id = project(&org, &house, "Berlin", None).await;
    let shops = wave(&org, id, "shops", &serials(0..1), days(2, 9)).await;
    let rest = wave(&org, id, "rest", &serials(1..2), days(2, 9)).await;
    let of_all = [
        ("de", Some("all de")),
        ("de-CH", Some("all de-CH")),
        ("en", Some("all en")),
    ];
    org.set_owner_texts(&changes(&of_all)).await.unwrap();
    let org = house.org().await.acting_for("Anna");
    let of_wave = [("de", Some("shops de")), ("pt-BR", Some("shops pt"))];
    let (all, own) = org
        .set_wave_owner_texts(shops, &changes(&of_wave))
        .await
        .unwrap();
    assert_eq!(own, ["de", "pt-BR"]);
    assert_eq!(
        (&*all["de"].subject, &*all["en"].subject),
        ("shops de", "all en")
    );
    assert!(all.contains_key("ja"), "ours are there, too");
    for (language, of_shops, of_rest) in [
        ("de", ("de", "shops de"), ("de", "all de")),
        // A wave's word of that language comes before the organisation's of the region.
        ("de-CH", ("de", "shops de"), ("de-CH", "all de-CH")),
        ("de-AT", ("de", "shops de"), ("de", "all de")),
        ("pt-BR", ("pt-BR", "shops pt"), ("en", "all en")),
        // In the owner's language before English, whoever says it.
        ("en", ("en", "all en"), ("en", "all en")),
        ("xx", ("en", "all en"), ("en", "all en")),
    ] {
        for (wave, (found, subject)) in [(shops, of_shops), (rest, of_rest)] {
            let expected = (found.to_owned(), subject.to_owned());
            assert_eq!(told(&org, wave, language).await, expected, "{language}");
        }
    }
    let wrong = changes(&[("en", Some("{nobody}"))]);
    says(
        org.set_wave_owner_texts(shops, &wrong).await,
        "texts.en.subject: has a place",
    );
    // It goes out with the plan, and comes in as it went.
    let mut options = AdeOptions::default();
    options.department = Some("Shops".to_owned());
    let set = org.set_wave_ade_profile(shops, Some(&options)).await;
    assert_eq!(set.unwrap().ade.as_ref(), Some(&options));
    let mut plan = org.plan_file(id).await.unwrap();
    assert_eq!(plan.waves[0].ade.as_ref(), Some(&options));
    assert_eq!(plan.waves[1].ade, None);
    let languages: Vec<&String> = plan.waves[0].owner_texts.0.keys().collect();
    assert_eq!(languages, ["de", "pt-BR"]);
    assert!(plan.waves[1].owner_texts.is_empty());
    let elsewhere = House::new().await;
    let there = fleet(&elsewhere, 3).await;
    let written = serde_json::to_string(&plan).unwrap();
    let read = serde_json::from_str(&written).unwrap();
    there.take_plan(&read).await.unwrap();
    let copy = there.plan_file(there.projects().await.unwrap()[0].id);
    assert_eq!(copy.await.unwrap().waves, plan.waves);
    // What cannot be right is named before anything is made.
    plan.project.name = "Another".to_owned();
    plan.waves[1].owner_texts = OwnerTexts([("en".to_owned(), text(""))].into());
    says(
        there.take_plan(&plan).await,
        "waves[1].texts.en.subject: must be",
    );
    plan.waves[1].owner_texts = OwnerTexts::default();
    plan.waves[0].ade.as_mut().unwrap().department = Some(String::new());
    says(
        there.take_plan(&plan).await,
        "waves[0].department: must have",
    );
    assert_eq!(there.projects().await.unwrap().len(), 1);

    org.set_wave_owner_texts(shops, &changes(&[("de", None), ("pt-BR", None)]))
        .await
        .unwrap();
    let all = told(&org, shops, "de").await;
    assert_eq!(all, ("de".to_owned(), "all de".to_owned()));
    let record = org.record_tail(100).await.unwrap();
    let entries = record.iter().filter(|e| e.what == "wave.owner-texts");
    assert_eq!(entries.count(), 2);

    // Whoever was left behind when the wave was submitted is told nothing, and the calendar calls it off.
    let mut left = org.members(rest).await.unwrap().remove(0);
    left.state = MoveState::Blocked {
        blockers: vec!["its system is too old".to_owned()],
    };
    let mut batch = Batch::new();
    batch.put(left);
    house.mdm.store().commit(batch).await.unwrap();
    let page = org.owner_notices(rest, None, MoveId(0), 10).await.unwrap();
    assert!(page.notices.is_empty());
    assert_eq!((page.staying, page.left_out), (1, 0));
    let calendar = org.wave_calendar(rest, None, MoveId(0), 10).await.unwrap();
    assert!(
        calendar.text.contains("STATUS:CANCELLED"),
        "{}",
        calendar.text
    );

    // Nor is whoever would read a date that is not theirs; whose date it still is reads it. Nor does the calendar hold a date that
    // Apple has refused for good.
    let since = START;
    let refused = |may_come| MoveState::SubmitFailed {
        since,
        why: "no".to_owned(),
        may_come,
    };
    for (state, word, called_off) in [
        (MoveState::Cancelling { since }, false, false),
        (MoveState::Started { since }, false, false),
        (refused(true), false, false),
        (refused(false), false, true),
        (MoveState::Offered { since }, true, false),
        (MoveState::Overdue { since }, true, false),
    ] {
        let mut member = org.members(rest).await.unwrap().remove(0);
        member.state = state;
        let mut batch = Batch::new();
        batch.put(member);
        house.mdm.store().commit(batch).await.unwrap();
        let page = org.owner_notices(rest, None, MoveId(0), 10).await.unwrap();
        let found = (page.notices.len(), page.left_out, page.staying);
        assert_eq!(found, (usize::from(word), usize::from(!word), 0));
        let calendar = org.wave_calendar(rest, None, MoveId(0), 10).await.unwrap();
        let text = calendar.text;
        assert_eq!(text.contains("STATUS:CANCELLED"), called_off, "{text}");
        assert_eq!(text.contains("STATUS:CONFIRMED"), !called_off, "{text}");
    }
}

#[tokio::test]
async fn a_wave_takes_no_terms_that_cannot_be_and_none_once_it_is_closed() {
    let (house, org) = old_fleet(2).await;
    let id = project(&org, &house, "Berlin", None).await;
    let mut wrong = AdeOptions::default();
    wrong.support_phone_number = Some("1".repeat(51));
    let terms = WaveTerms {
        ade: Some(wrong.clone()),
        ..WaveTerms::default()
    };
    says(
        org.new_wave_with(id, "shops", None, &terms).await,
        "support_phone_number: must have",
    );
    let shops = wave(&org, id, "shops", &serials(0..1), days(2, 9)).await;
    says(
        org.set_wave_ade_profile(shops, Some(&wrong)).await,
        "support_phone_number: must have",
    );
    // What was accepted is void with another profile.
    let digest = async || org.what_if(shops).await.unwrap().digest;
    let before = digest().await;
    let mut own = AdeOptions::default();
    own.department = Some("Shops".to_owned());
    org.set_wave_ade_profile(shops, Some(&own)).await.unwrap();
    assert_ne!(digest().await, before);
    org.set_wave_ade_profile(shops, None).await.unwrap();
    assert_eq!(digest().await, before);
    let mut row = house
        .mdm
        .store()
        .wave(house.org, shops)
        .await
        .unwrap()
        .unwrap();
    row.state = mdm_core::wave::WaveState::Closed { at: START };
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    says(org.set_wave_ade_profile(shops, None).await, "is closed");
    says(
        org.set_wave_owner_texts(shops, &changes(&[("de", None)]))
            .await,
        "is closed",
    );
}
