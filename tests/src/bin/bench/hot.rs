//! `--hot`: the functions that every message passes through, each by itself, in nanoseconds. Says where the time of a
//! request goes before a profiler is needed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::audit::AuditEntry;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::device::Platform;
use mdm_core::enrollment::{ChannelKind, Enrollment};
use mdm_core::ids::{AuditId, CommandId, EnrollmentId, OrganisationId, RunbookId, SetUpId};
use mdm_core::migration::{
    Event, PinnedRunbook, SetUp, Variant, VerdictFacts, advance_set_up, judge,
};
use mdm_core::queue::{self, Command};
use mdm_core::store::{Batch, SqliteStore, Store as _};
use mdm_core::wire::checkin::CheckIn;
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::report::CommandReport;
use mdm_core::wire::requests::DeviceInformation;
use mdm_core::wire::signature::verify_header;

use tests::fleet::devices::{self, Authority, KeyKind};

/// How long each of them is measured.
const SPAN: Duration = Duration::from_millis(400);
const ORG: OrganisationId = OrganisationId(1);

fn time<T>(name: &str, mut each: impl FnMut() -> T) {
    let begun = Instant::now();
    let mut times = 0_u32;
    while begun.elapsed() < SPAN {
        for _ in 0..16 {
            black_box(each());
        }
        times += 16;
    }
    let nanoseconds = begun.elapsed().as_secs_f64() * 1e9 / f64::from(times);
    println!("{name:<44} {nanoseconds:>12.0} ns");
}

/// Prints them all.
pub(crate) async fn all() -> anyhow::Result<()> {
    let now = SystemClock.now();
    let authority = Authority::create(now)?;
    let rsa = devices::make(&authority, KeyKind::Rsa2048, 1, 1, now)?.remove(0);
    let p256 = devices::make(&authority, KeyKind::P256, 2, 1, now)?.remove(0);
    let token = devices::token_update(&rsa, 1);
    let answer = devices::acknowledged(&rsa, "BE4C0000-0000-4000-8000-000000000001");
    time("plist in: TokenUpdate", || CheckIn::parse(token.as_bytes()));
    time("plist in: answer to DeviceInformation", || {
        CommandReport::parse(answer.as_bytes())
    });
    let report = CommandReport::parse(answer.as_bytes())?;
    time("plist out: the report with its secrets gone", || {
        report.redacted_xml()
    });
    let body = CommandBody::DeviceInformation(DeviceInformation::for_set_up());
    time("plist out: DeviceInformation", || {
        body.encode("BE4C0000-0000-4000-8000-000000000001")
    });
    for (name, device) in [("RSA-2048", &rsa), ("P-256", &p256)] {
        let idle = devices::idle(device);
        let header = STANDARD.encode(device.sign(idle.as_bytes())?);
        verify_header(&header, idle.as_bytes())?;
        time(&format!("signature check: {name}"), || {
            verify_header(&header, idle.as_bytes())
        });
        let refused = verify_header(&header, b"another body").is_err();
        anyhow::ensure!(refused, "a signature fits another body");
        time(&format!("signature refused: {name}"), || {
            verify_header(&header, b"another body")
        });
    }
    engine(now);
    waiting(now);
    commits(now).await
}

/// The machine of a set-up, at its enrolment.
fn engine(now: Timestamp) {
    let channel = Enrollment::pending(
        ORG,
        EnrollmentId(1),
        "UDID".to_owned(),
        ChannelKind::Device,
        "00".to_owned(),
        now,
    );
    let plan = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let verdict = judge(VerdictFacts {
        device: None,
        open_attempt: true,
    });
    let set_up = SetUp::begin(
        ORG,
        SetUpId(1),
        &channel,
        Platform::Macos,
        None,
        RunbookId(1),
        verdict,
        now,
    );
    let enrolled = Event::Enrolled {
        awaiting: Some(true),
        profile_awaits: true,
    };
    time("advance: a set-up's enrolment", || {
        advance_set_up(&set_up, &plan, &enrolled, now)
    });
    let holding = advance_set_up(&set_up, &plan, &enrolled, now).next;
    time("advance: a set-up that wakes too early", || {
        advance_set_up(&holding, &plan, &Event::Woke, now)
    });
}

/// The next command among a hundred.
fn waiting(now: Timestamp) {
    let open: Vec<Command> = (1..=100)
        .map(|id| {
            let uuid = format!("{id}");
            Command::queued(
                ORG,
                CommandId(id),
                EnrollmentId(1),
                uuid,
                "ProfileList",
                vec![0; 600],
                now,
            )
        })
        .collect();
    time("queue: the next of a hundred", || {
        queue::next(&open, false, now).map(|c| c.id)
    });
}

/// Sixty-four who commit a line each, in memory: what the grouping costs without a disk.
async fn commits(now: Timestamp) -> anyhow::Result<()> {
    let store = SqliteStore::in_memory().await?;
    let (mut id, begun, mut done) = (0, Instant::now(), 0_u32);
    while begun.elapsed() < SPAN {
        let lines = (0..64).map(|_| {
            id += 1;
            let mut batch = Batch::new();
            let detail = serde_json::Value::Null;
            batch.put(AuditEntry::new(
                ORG,
                AuditId(id),
                now,
                "a",
                "b",
                None,
                detail,
            ));
            store.commit(batch)
        });
        futures_util::future::try_join_all(lines).await?;
        done += 64;
    }
    let nanoseconds = begun.elapsed().as_secs_f64() * 1e9 / f64::from(done);
    println!(
        "{:<44} {nanoseconds:>12.0} ns",
        "group commit: each of 64 at once"
    );
    Ok(store.close().await?)
}
