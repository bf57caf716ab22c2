//! Two organisations in one server: whoever has certificate, token, challenge, serial number or ids of the one gets nothing at
//! any door of the other, learns nothing, and leaves nothing. The stories walk the server's own lists of routes: one that they
//! do not know fails them. Here is what they have in common.

#[path = "doors/acme.rs"]
#[allow(dead_code, reason = "shared with the story of ACME")]
mod acme;
#[path = "organisations/api.rs"]
mod api;
#[path = "organisations/bodies.rs"]
mod bodies;
#[path = "organisations/devices.rs"]
mod devices;
#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;
#[path = "organisations/taken_away.rs"]
mod taken_away;

use fixtures::recorded::StandIn;
use house::{Ask, House, NOW_MS};
use mdm_core::clock::Timestamp;
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::hand_off::{HandOff, HandOffPart, HandedOver};
use mdm_core::ids::{
    CommandId, HandOffId, HandOffPartId, ProjectId, SecretId, Serial, ServerId, WaveId,
};
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::project::Project;
use mdm_core::secret::Secret;
use mdm_core::service::{NewDeclaration, NewFile};
use mdm_core::store::Batch;
use mdm_core::wave::Wave;
use mdmd::config::Duty;
use tests::{Reply, Request};

const OURS: [&str; 2] = ["DOORA", "DOORB"];
const THEIRS: [&str; 2] = ["OTHERX", "OTHERY"];
/// So large that no other number contains it.
const THEIR_WAVE: i64 = 7_340_911_223_344;
const THEIR_NAME: &str = "Neighbours and daughters";
const THEIR_RUNBOOK: &str = "neighbourly-runbook";
const THEIR_HOOK: &str = "neighbours-hook";
const THEIR_DECLARATION: &str = "neighbours.credential";

/// Two organisations; the second one has a wave.
async fn two() -> (House, House) {
    let ours = House::open().await;
    let theirs = ours.beside(THEIR_NAME, THEIRS).await;
    let mut batch = Batch::new();
    batch.put(Wave::draft(
        theirs.org.organisation().id,
        WaveId(THEIR_WAVE),
        "their wave",
        ServerId(1),
        std::collections::BTreeMap::new(),
        Timestamp::from_millis(NOW_MS),
    ));
    batch.put(Project::new(
        theirs.org.organisation().id,
        ProjectId(THEIR_WAVE),
        "their wave",
        ServerId(1),
        Timestamp::from_millis(NOW_MS),
    ));
    batch.put(HandOff::new(
        (theirs.org.organisation().id, HandOffId(THEIR_WAVE)),
        "their wave",
        (Vec::new(), SecretId(1)),
        (
            Timestamp::from_millis(NOW_MS),
            Timestamp::from_millis(NOW_MS + 1_000_000),
        ),
        "Neighbour",
    ));
    let part = HandedOver::rejected(THEIRS[0], "serial: is not known");
    batch.put(HandOffPart::new(
        (theirs.org.organisation().id, HandOffPartId(THEIR_WAVE)),
        HandOffId(THEIR_WAVE),
        vec![part],
    ));
    theirs.app.mdm.store().commit(batch).await.unwrap();
    let mut credential = NewDeclaration::new(
        THEIR_DECLARATION,
        "com.apple.asset.credential.userpassword",
        serde_json::Map::new(),
    );
    let content = Secret::from_text("{}".to_owned());
    credential.file = Some(NewFile::new(content, "application/json"));
    theirs.org.put_declaration(&credential).await.unwrap();
    let member = [THEIR_DECLARATION.to_owned()];
    let (hook, none) = ("https://hooks.invalid/", std::collections::BTreeSet::new());
    theirs.org.new_hook(THEIR_HOOK, hook, &none).await.unwrap();
    let set = theirs
        .org
        .put_declaration_set("neighbourly things", &member)
        .await;
    set.unwrap();
    let (everybody, own) = (Target::Organisation, Channels::Device);
    let assigned = theirs
        .org
        .assign_declarations("neighbourly things", &everybody, own);
    assigned.await.unwrap();
    let runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let kept = theirs
        .org
        .edit_runbook(THEIR_RUNBOOK, Platform::Macos, runbook, None, "theirs");
    kept.await.unwrap();
    (ours, theirs)
}

/// What nobody but the organisation itself should read.
async fn marks(of: &House) -> Vec<String> {
    let organisation = of.org.organisation();
    let mut marks = vec![
        organisation.code.to_string(),
        organisation.name.clone(),
        organisation.id.0.to_string(),
        of.serial.to_owned(),
        format!("UDID-{}", of.serial),
    ];
    if of.serial == THEIRS[0] {
        marks.extend(THEIRS.map(str::to_owned));
        marks.extend(["their wave".to_owned(), THEIR_WAVE.to_string()]);
        marks.push(THEIR_RUNBOOK.to_owned());
        marks.extend([
            THEIR_DECLARATION.to_owned(),
            "neighbourly things".to_owned(),
            THEIR_HOOK.to_owned(),
        ]);
    }
    let store = of.app.mdm.store();
    for token in store.tokens(organisation.id).await.unwrap() {
        marks.push(token.id.0.to_string());
    }
    marks
}

fn tells_nothing(case: &str, said: &str, marks: &[String], shown: &str) {
    for mark in marks.iter().filter(|mark| !shown.contains(*mark)) {
        assert!(!said.contains(mark), "{case} tells {mark}: {said}");
    }
}

/// Refused at `at`, with nothing told and nothing left at either organisation.
async fn refused(case: &str, at: &House, other: &House, ask: Ask) {
    let before = (at.contents().await, other.contents().await);
    let marks = [marks(at).await, marks(other).await].concat();
    let shown = format!("{} {}", ask.path, String::from_utf8_lossy(&ask.body));
    let (status, said) = at.send(ask).await;
    assert!((400..500).contains(&status), "{case}: {status} {said}");
    assert_ne!(status, 401, "{case}: a device takes 401 as being sent away");
    tells_nothing(case, &said, &marks, &shown);
    let after = (at.contents().await, other.contents().await);
    assert_eq!(after, before, "{case} left something");
}

/// The same question with a signature, and with the certificate on the connection.
fn both_ways(at: &House, door: &str, device: &StandIn, body: Vec<u8>) -> [Ask; 2] {
    let signed = at.signed(door, device, body);
    let mut connected = signed.clone();
    connected.headers.clear();
    connected.certificate = Some(device.identity());
    [signed, connected]
}

/// The name of the file of the neighbours' declaration.
async fn file_of(house: &House) -> String {
    let declaration = house.org.declaration(THEIR_DECLARATION).await.unwrap();
    let content = house.org.declaration_content(&declaration).await.unwrap();
    content.file.unwrap().name
}

/// A command that was handed to the device of this organisation.
async fn command_of(house: &House) -> String {
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let serial = Serial::parse(house.serial).unwrap();
    let device = house.org.device_report(&serial).await;
    let enrolment = device.unwrap().enrollments.last().unwrap().id;
    let commands = store
        .commands(id, enrolment, CommandId(i64::MAX), 100)
        .await
        .unwrap();
    commands.first().unwrap().uuid.clone()
}

async fn ask(house: &House, method: &str, path: &str, token: &str, body: &str) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(&method.to_uppercase(), path).by(token);
    request.with(body).send(address).await
}
