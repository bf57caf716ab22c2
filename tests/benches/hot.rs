//! The functions that every message passes through, each by itself: `cargo bench -p tests --bench hot`. Says where the time of a
//! request goes before a profiler is needed, and how often each of them asks for memory. `cargo test` runs each of them once, untimed.

use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use divan::Bencher;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::ids::OrganisationId;
use tests::fleet::devices::{self, Authority, Device, KeyKind};

const ORG: OrganisationId = OrganisationId(1);
/// The command that is answered.
const UUID: &str = "BE4C0000-0000-4000-8000-000000000001";

/// Counts what each of them asks for, beside its time.
#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--bench") {
        divan::main();
        return ExitCode::SUCCESS;
    }
    tests::program("hot", async {
        // On a thread of its own: one of them starts a runtime.
        let each = || divan::Divan::default().test_benches();
        tokio::task::spawn_blocking(each).await?;
        Ok(())
    })
}

/// A device of each kind.
struct Made {
    now: Timestamp,
    rsa: Device,
    p256: Device,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let now = SystemClock.now();
    let authority = Authority::create(now).unwrap();
    let one = |kind, from| {
        devices::make(&authority, kind, from, 1, now)
            .unwrap()
            .remove(0)
    };
    Made {
        now,
        rsa: one(KeyKind::Rsa2048, 1),
        p256: one(KeyKind::P256, 2),
    }
});

/// Property lists in and out.
mod plist {
    use mdm_core::wire::checkin::CheckIn;
    use mdm_core::wire::command::CommandBody;
    use mdm_core::wire::report::CommandReport;
    use mdm_core::wire::requests::DeviceInformation;

    use super::{Bencher, MADE, UUID, devices};

    #[divan::bench]
    fn in_token_update(bencher: Bencher<'_, '_>) {
        let token = devices::token_update(&MADE.rsa, 1);
        bencher.bench_local(|| CheckIn::parse(token.as_bytes()).unwrap());
    }

    #[divan::bench]
    fn in_answer(bencher: Bencher<'_, '_>) {
        let answer = devices::acknowledged(&MADE.rsa, UUID);
        bencher.bench_local(|| CommandReport::parse(answer.as_bytes()).unwrap());
    }

    /// As it is kept, with its secrets gone.
    #[divan::bench]
    fn out_answer(bencher: Bencher<'_, '_>) {
        let answer = devices::acknowledged(&MADE.rsa, UUID);
        let report = CommandReport::parse(answer.as_bytes()).unwrap();
        bencher.bench_local(|| report.redacted_xml());
    }

    #[divan::bench]
    fn out_command(bencher: Bencher<'_, '_>) {
        let body = CommandBody::DeviceInformation(DeviceInformation::for_set_up());
        bencher.bench_local(|| body.encode(UUID));
    }
}

/// `Mdm-Signature`.
mod signature {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use mdm_core::wire::signature::verify_header;

    use super::{Bencher, KeyKind, MADE, devices};

    /// A body with its header.
    fn signed(kind: KeyKind) -> (String, String) {
        let device = match kind {
            KeyKind::Rsa2048 => &MADE.rsa,
            KeyKind::P256 => &MADE.p256,
        };
        let idle = devices::idle(device);
        let header = STANDARD.encode(device.sign(idle.as_bytes()).unwrap());
        (idle, header)
    }

    #[divan::bench(args = [KeyKind::Rsa2048, KeyKind::P256])]
    fn accepted(bencher: Bencher<'_, '_>, kind: KeyKind) {
        let (idle, header) = signed(kind);
        bencher.bench_local(|| verify_header(&header, idle.as_bytes()).unwrap());
    }

    #[divan::bench(args = [KeyKind::Rsa2048, KeyKind::P256])]
    fn refused(bencher: Bencher<'_, '_>, kind: KeyKind) {
        let (_, header) = signed(kind);
        bencher.bench_local(|| verify_header(&header, b"another body").unwrap_err());
    }
}

/// The machine of a set-up.
mod advance {
    use mdm_core::device::Platform;
    use mdm_core::enrollment::{ChannelKind, Enrollment};
    use mdm_core::ids::{EnrollmentId, RunbookId, SetUpId};
    use mdm_core::migration::{
        Event, PinnedRunbook, SetUp, Variant, VerdictFacts, advance_set_up, judge,
    };

    use super::{Bencher, MADE, ORG};

    const ENROLLED: Event = Event::Enrolled {
        awaiting: Some(true),
        profile_awaits: true,
    };

    fn begun() -> (SetUp, PinnedRunbook) {
        let channel = Enrollment::pending(
            ORG,
            EnrollmentId(1),
            "UDID".to_owned(),
            ChannelKind::Device,
            "00".to_owned(),
            MADE.now,
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
            MADE.now,
        );
        (set_up, plan)
    }

    #[divan::bench]
    fn enrolled(bencher: Bencher<'_, '_>) {
        let (set_up, plan) = begun();
        bencher.bench_local(|| advance_set_up(&set_up, &plan, &ENROLLED, MADE.now));
    }

    #[divan::bench]
    fn woken_too_early(bencher: Bencher<'_, '_>) {
        let (set_up, plan) = begun();
        let holding = advance_set_up(&set_up, &plan, &ENROLLED, MADE.now).next;
        bencher.bench_local(|| advance_set_up(&holding, &plan, &Event::Woke, MADE.now));
    }
}

/// The next command among so many.
#[divan::bench(args = [1, 100])]
fn queue_next(bencher: Bencher<'_, '_>, waiting: i64) {
    use mdm_core::ids::{CommandId, EnrollmentId};
    use mdm_core::queue::{self, Command};

    let command = |id: i64| {
        let uuid = format!("{id}");
        Command::queued(
            ORG,
            CommandId(id),
            EnrollmentId(1),
            uuid,
            "ProfileList",
            vec![0; 600],
            MADE.now,
        )
    };
    let open: Vec<Command> = (1..=waiting).map(command).collect();
    bencher.bench_local(|| queue::next(&open, false, MADE.now).map(|c| c.id));
}

/// So many who commit a line each at once, in memory: what the grouping costs without a disk. The time is that of all of them.
#[divan::bench(args = [1, 64])]
fn group_commit(bencher: Bencher<'_, '_>, at_once: i64) {
    use mdm_core::audit::AuditEntry;
    use mdm_core::ids::AuditId;
    use mdm_core::store::{Batch, SqliteStore, Store as _};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime.block_on(SqliteStore::in_memory()).unwrap();
    let id = AtomicI64::new(0);
    let commit = |_: i64| {
        let id = AuditId(id.fetch_add(1, Ordering::Relaxed) + 1);
        let mut batch = Batch::new();
        let detail = serde_json::Value::Null;
        batch.put(AuditEntry::new(ORG, id, MADE.now, "a", "b", None, detail));
        store.commit(batch)
    };
    let items = divan::counter::ItemsCount::new(at_once.unsigned_abs());
    bencher.counter(items).bench_local(|| {
        let all = futures_util::future::try_join_all((0..at_once).map(commit));
        runtime.block_on(all).unwrap();
    });
    runtime.block_on(store.close()).unwrap();
}
