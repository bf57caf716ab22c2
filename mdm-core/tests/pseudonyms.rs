//! With pseudonyms no file of an evidence pack names a group of owners, an owner or an address, wherever our rows have them: limits,
//! runbooks, places in the gap, what was imported, what people typed, reports.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::device::{Device, Platform};
use mdm_core::evidence::pack::{PackAsk, Redact, ReportText, verify_pack};
use mdm_core::evidence::{ReportHead, ReportRow};
use mdm_core::gap::{GapGroup, GapLimits, GapPlace};
use mdm_core::ids::WaveId;
use mdm_core::migration::{PinnedRunbook, StepId, Variant};
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::project::Gate;
use mdm_core::service::{Dates, Org, ProjectChange};
use mdm_core::store::Batch;
use serde_json::Value;
use service_house::fleet::serials;
use service_house::{Bytes, House, START};

const DAY: Duration = Duration::from_hours(24);
/// Groups: of one word, as they often are, and of several; one that nobody is in but a limit names, and one that a device has left.
const ONE: &str = "Zollhof";
const SEVERAL: &str = "Nachtschicht Nord";
const LIMITED: &str = "Quaestur";
const FORMER: &str = "Altenteil";
const NAME: &str = "Xanthippe";
const FULL_NAME: &str = "Eulalia Morgenrot";
const MAIL: &str = "xanthippe@people.example";

/// Reports within the pack, as lines.
struct Lines;

impl ReportText for Lines {
    fn head(&mut self, head: &ReportHead) -> Option<String> {
        Some(format!("{}\n", serde_json::to_string(head).unwrap()))
    }

    fn rows(&mut self, rows: &[ReportRow]) -> String {
        let lines = rows
            .iter()
            .map(|row| format!("{}\n", Value::from(row.clone())));
        lines.collect()
    }

    fn end(&self) -> String {
        String::new()
    }
}

async fn pack(org: &Org, wave: WaveId, redact: &[Redact]) -> String {
    let ask = PackAsk {
        wave,
        redact: redact.iter().copied().collect(),
        server: "mdmd".to_owned(),
        formats: vec![("jsonl", || Box::new(Lines))],
    };
    let mut bytes = Bytes(Vec::new());
    org.evidence_to(&ask, &mut bytes).await.unwrap();
    let report = verify_pack(&mut &*bytes.0, None).unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
    String::from_utf8_lossy(&bytes.0).into_owned()
}

/// Four phones: two of each group, and of each owner.
async fn fleet(house: &House) -> Org {
    let differs = |n: usize, _: &mut Device, said: &mut Said| {
        let mut owner = DeviceOwner::default();
        let (name, group) = match n.is_multiple_of(2) {
            true => (NAME, ONE),
            false => (FULL_NAME, SEVERAL),
        };
        owner.name = Some(name.to_owned());
        owner.email = n.is_multiple_of(2).then(|| MAIL.to_owned());
        owner.groups.insert(group.to_owned());
        said.owner = Some(owner);
    };
    house.fleet(4, differs).await
}

fn limits(most: u32) -> ProjectChange {
    let mut limits = GapLimits::default();
    limits.groups.insert(ONE.to_owned(), most);
    limits.groups.insert(SEVERAL.to_owned(), 10);
    limits.groups.insert(LIMITED.to_owned(), 10);
    ProjectChange {
        gap: Some(limits),
        ..ProjectChange::default()
    }
}

/// A runbook that knows the groups.
fn runbook() -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    for step in &mut runbook.steps {
        let group = match step.id {
            StepId::Security => ONE,
            StepId::AppsRequired => SEVERAL,
            _ => continue,
        };
        step.only = BTreeSet::from([format!("group:{group}"), "lab".to_owned()]);
    }
    runbook
}

#[tokio::test]
async fn with_pseudonyms_no_file_names_a_group_or_an_owner() {
    let house = House::new().await;
    let org = fleet(&house).await;
    let change = ProjectChange {
        runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
        gate: Some(Gate::default()),
        ..limits(1)
    };
    let project = org.new_project("Berlin", house.server, &change);
    let project = project.await.unwrap().id;
    org.switch_project(project, true).await.unwrap();
    let wave = org.new_wave(project, "pilot", None).await.unwrap().id;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(wave, &serials(0..4), dates).await.unwrap();

    // A look that finds too many of a group is in the pack, with the limits and the runbook.
    let seen = org.run_what_if(wave).await.unwrap();
    let against = seen.against_all.join("; ");
    assert!(
        against.contains(&format!("2 devices of the group {ONE} around")),
        "{against}"
    );
    let all = pack(&org, wave, &[]).await;
    let says = format!("of the group {ONE} around");
    for known in [says.as_str(), ONE, SEVERAL, LIMITED, NAME, FULL_NAME, MAIL] {
        assert!(all.contains(known), "{known} is nowhere: nothing is shown");
    }
    let redacted = pack(&org, wave, &[Redact::Owners]).await;
    for gone in [ONE, SEVERAL, "Nachtschicht", LIMITED] {
        assert!(!redacted.contains(gone), "{gone}");
    }

    // Accepted and on its way, with words that somebody typed, and a place as a group that the device has left.
    org.change_project(project, &limits(10)).await.unwrap();
    let digest = org.run_what_if(wave).await.unwrap().digest;
    let typed = format!("{NAME} of {ONE} agreed, and {FULL_NAME}, and {SEVERAL}");
    org.accept(wave, &digest, &[], &typed).await.unwrap();
    let mut first = org.members(wave).await.unwrap().remove(0);
    first.gap = Some(GapPlace {
        since: START,
        groups: BTreeSet::from([GapGroup::Group(FORMER.to_owned())]),
    });
    let mut batch = Batch::new();
    batch.put(first);
    house.mdm.store().commit(batch).await.unwrap();
    let all = pack(&org, wave, &[]).await;
    let needles = [
        typed.as_str(),
        ONE,
        SEVERAL,
        LIMITED,
        FORMER,
        NAME,
        FULL_NAME,
        MAIL,
    ];
    for known in needles {
        assert!(all.contains(known), "{known} is nowhere: nothing is shown");
    }
    for redact in [
        &[Redact::Owners][..],
        &[Redact::Owners, Redact::Serials, Redact::Actors],
    ] {
        let text = pack(&org, wave, redact).await;
        let parts = ["Nachtschicht", "Eulalia", "Morgenrot", "people.example"];
        for gone in needles.into_iter().chain(parts) {
            assert!(!text.contains(gone), "{redact:?}: {gone}");
            let small = gone.to_lowercase();
            assert!(!text.contains(&small), "{redact:?}: {small}");
        }
        // What belongs together can still be joined: limit and devices.
        let limit = text.split("\"groups\": {").nth(1).unwrap();
        let name = limit.split('"').nth(1).unwrap();
        assert!(name.starts_with("group-"), "{name}");
        assert!(text.contains("group:group-"), "the runbook keeps its form");
    }
}
