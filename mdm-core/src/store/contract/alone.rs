//! Two organisations with equal ids never see each other's rows.

use super::samples::{self, Sample, of_every_noun};
use super::{A, B, Finding, at, ensure, put, refuse, same, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::ids::{
    AcceptedId, ApprovalId, AssignmentId, AuditId, AuditSealId, CommandId, DeclarationId,
    DeclarationSetId, DeviceId, EnrollmentId, ErrandId, HandOffId, HandOffPartId, JobId,
    ManifestId, MoveId, OrganisationId, RefusalId, RunbookId, SecretId, ServerId, SetUpId, WaveId,
};
use crate::store::{Lease, Noun, Store, Write};

const ALL: u32 = 1_000;

pub(super) async fn organisations_never_meet(store: &impl Store) -> Finding {
    of_every_noun!(apart(store));
    let line = |o| {
        let device = Some(DeviceId(7));
        AuditEntry::new(o, AuditId(7), at(1), "a", "b", device, o.0.into())
    };
    let refusal = |o: OrganisationId| {
        Refusal::new(o, RefusalId(7), at(1), "192.0.2.1", "enrol", &o.to_string())
    };
    for o in [A, B] {
        let mut pinned = samples::pinned(o, RunbookId(7));
        pinned.name = o.to_string();
        let mut user = samples::enrollment(o, EnrollmentId(8));
        user.parent = Some(EnrollmentId(7));
        let mut device = samples::device(o, DeviceId(8));
        device.assignment.wanted = Some("P".to_owned());
        let rows: [Write; 8] = [
            // Of the one above, one organisation's has ended.
            samples::declaration_assignment(o, AssignmentId(8)).into(),
            // That of one of them above is no first piece.
            samples::accepted_part(o, AcceptedId(8)).into(),
            pinned.into(),
            line(o).into(),
            refusal(o).into(),
            samples::job(o, 7, 1).into(),
            user.into(),
            device.into(),
        ];
        put(store, rows).await?;
        let heard = [(DeviceId(7), at(o.0))];
        store.keep_heard(o, &heard).await.map_err(sentence)?;
    }
    // Everything once more, in every list: one row of each, and it is the asker's own.
    for o in [A, B] {
        let own = |found: OrganisationId| found == o;
        let code = "a list shows another organisation's rows";
        macro_rules! own {
            ($($list:expr),* $(,)?) => {$(
                let list = $list.await.map_err(sentence)?;
                ensure!(!list.is_empty() && list.iter().all(|row| own(row.organisation)),
                    "{code}: {}", stringify!($list));
            )*};
        }
        own! {
            store.devices(o, DeviceId(0), ALL),
            store.devices_by_serial(o, &[samples::serial("SERIAL7")]),
            store.devices_unseen_since(o, ServerId(3), at(1_000), ALL),
            store.devices_to_assign(o, ServerId(3), at(1_000), ALL),
            store.enrollments_of(o, &[EnrollmentId(7)]),
            store.enrollments_by_key(o, "UDID-7"),
            store.user_channels(o, EnrollmentId(7)),
            store.enrollments_of_device(o, DeviceId(40)),
            store.open_commands(o, EnrollmentId(5), ALL),
            store.commands(o, EnrollmentId(5), CommandId(i64::MAX), ALL),
            store.holds(o, None, ALL),
            store.runbooks(o, ALL),
            store.kept_runbooks(o),
            store.templates(o),
            store.attempts(o, WaveId(2), MoveId(0), ALL),
            store.all_attempts(o, MoveId(0), ALL),
            store.attempts_in_gap(o, MoveId(0), ALL),
            store.set_ups(o, SetUpId(0), ALL),
            store.set_ups_of(o, &[SetUpId(7)]),
            store.set_ups_of_enrollments(o, &[EnrollmentId(7)]),
            store.projects(o),
            store.approvals(o, at(97), ApprovalId(0), ALL),
            store.waves(o, WaveId(0), ALL),
            store.servers(o),
            store.secrets(o, DeviceId(40)),
            store.audit(o, AuditId(0), ALL),
            store.audit_of(o, DeviceId(7), AuditId(0), ALL),
            store.unsealed_audit(o, ALL),
            store.audit_seals(o, AuditSealId(0), ALL),
            store.newest_audit_seals(o, ALL),
            store.refusals(o, ALL),
            store.tokens(o),
            store.errands(o, ErrandId(0), ALL),
            store.errands_of(o, WaveId(2), ErrandId(0), ALL),
            store.open_errands(o, ErrandId(0), ALL),
            store.budgets(o),
            store.locations(o),
            store.library(o),
            store.originals_of(o, &[DeviceId(7)]),
            store.originals(o, DeviceId(0), ALL),
            store.hand_offs(o, HandOffId(0), ALL),
            store.hand_off_parts(o, HandOffId(3), HandOffPartId(0), ALL),
            store.accepted_parts(o, WaveId(3), AcceptedId(0), ALL),
            store.first_accepted(o, WaveId(3), AcceptedId(0), ALL),
            store.declarations(o, DeclarationId(0), ALL),
            store.declarations_of(o, &[DeclarationId(7)]),
            store.declaration_sets(o),
            store.declaration_sets_of(o, &[DeclarationSetId(7)]),
            store.declaration_assignments_under(o, &["d:tag:tag 8".to_owned()]),
            store.declaration_assignments_of(o, DeclarationSetId(7)),
            store.declaration_manifests_of(o, &[manifest_token(o)]),
            store.declared_channels_of(o, &[EnrollmentId(7)]),
            store.channel_statuses(o, EnrollmentId(0), ALL),
            store.channels(o, EnrollmentId(0), ALL),
            store.devices_of(o, &[DeviceId(7)]),
            store.last_heard(o, &[DeviceId(7)]),
            store.secrets_of(o, &[DeviceId(40)]),
            store.open_commands_of_type(o, &[EnrollmentId(5)], "ProfileList"),
        }
        macro_rules! mine {
            ($($one:expr),* $(,)?) => {$(
                let row = $one.await.map_err(sentence)?;
                ensure!(row.is_some_and(|row| own(row.organisation)),
                    "a read gives another organisation's row: {}", stringify!($one));
            )*};
        }
        mine! {
            store.device_by_serial(o, &samples::serial("SERIAL7")),
            store.session_by_challenge(o, "hash7"),
            store.certificate_by_hash(o, "sha7"),
            store.command(o, EnrollmentId(5), &samples::uuid(CommandId(7))),
            store.set_up_of(o, EnrollmentId(7)),
            store.open_attempt(o, DeviceId(7)),
            store.runbook(o, RunbookId(7)),
            store.secret(o, SecretId(7)),
            store.declaration_by_identifier(o, "declaration.7"),
            store.declaration_content_by_token(o, "token7"),
            store.declaration_content_by_file(o, "file7"),
            store.acme_account_by_key(o, "thumb7"),
            store.acme_order_by_key(o, "key7"),
        }
    }
    // Ending one organisation's job leaves the other's, and a lease proves nothing across.
    let lease = Lease(at(50));
    let jobs = store.claim_jobs(at(1), lease, 10).await;
    same(
        jobs,
        |j| (j.organisation.0, j.id.0),
        &[(1, 7), (2, 7)],
        "jobs of both",
    )?;
    let done = |organisation, lease| Write::JobDone {
        organisation,
        id: JobId(7),
        lease,
    };
    put(store, [done(A, lease)]).await?;
    refuse(store, [done(A, lease)], "ending a job twice").await?;
    let left = store.claim_jobs(at(50), Lease(at(60)), 10).await;
    same(left, |j| j.organisation.0, &[2], "the other's job")
}

fn manifest_token(organisation: OrganisationId) -> String {
    samples::declaration_manifest(organisation, ManifestId(7)).token
}

/// The same id in both, changed in one.
async fn apart<T: Sample>(store: &impl Store) -> Finding {
    let noun = T::NOUN;
    put(store, [T::sample(A, 7).into()]).await?;
    let none = T::read(store, B, 7).await.map_err(sentence)?;
    ensure!(none.is_none(), "{noun:?}: read across organisations");
    let mut stolen = T::sample(B, 7);
    stolen.set_version(1);
    refuse(
        store,
        [stolen.into()],
        &format!("{noun:?}: a change across organisations"),
    )
    .await?;
    let mut across = crate::store::Batch::new();
    across.expect(noun, B, 7, 1);
    super::conflict(
        store.commit(across).await,
        &format!("{noun:?}: an expectation across organisations"),
    )?;
    put(store, [T::sample(B, 7).into()]).await?;
    let mut mine = T::sample(A, 7);
    mine.set_version(1);
    mine.change();
    put(store, [mine.clone().into()]).await?;
    mine.set_version(2);
    let mut theirs = T::sample(B, 7);
    theirs.set_version(1);
    let found = (
        T::read(store, A, 7).await.map_err(sentence)?,
        T::read(store, B, 7).await.map_err(sentence)?,
    );
    ensure!(
        found == (Some(mine), Some(theirs)),
        "{noun:?}: two organisations share a row: {found:?}"
    );
    ensure!(
        noun != Noun::Organisation,
        "an organisation belongs to none"
    );
    Ok(())
}
