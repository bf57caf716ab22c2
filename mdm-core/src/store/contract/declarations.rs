//! Declarations, sets, for whom they are, and what channels were told: what each list contains, and in which order.

use super::{A, B, Finding, at, ensure, put, same, samples, sentence};
use crate::ddm::{DeclarationAssignment, DeclaredChannel, Target};
use crate::enrollment::EnrollmentState;
use crate::ids::{
    AssignmentId, CommandId, ContentId, DeclarationId, DeclarationSetId, DeviceId, EnrollmentId,
    ManifestId, SecretId,
};
use crate::queue::CommandState;
use crate::store::{Store, Write};

const ALL: u32 = 1_000;

pub(super) async fn lists_in_order(store: &impl Store) -> Finding {
    for id in [3, 1, 2] {
        put(
            store,
            [
                samples::declaration(A, DeclarationId(id)).into(),
                samples::declaration_set(A, DeclarationSetId(id)).into(),
                samples::declaration_content(A, ContentId(id)).into(),
                samples::declaration_manifest(A, ManifestId(id)).into(),
                samples::device(A, DeviceId(id)).into(),
            ],
        )
        .await?;
    }
    let page = async |after, limit| store.declarations(A, DeclarationId(after), limit).await;
    same(page(0, ALL).await, |d| d.id.0, &[1, 2, 3], "declarations")?;
    same(page(0, 2).await, |d| d.id.0, &[1, 2], "a first page")?;
    same(page(2, 2).await, |d| d.id.0, &[3], "a second page")?;
    let of = [3, 9, 1, 3].map(DeclarationId);
    let some = store.declarations_of(A, &of).await;
    same(some, |d| d.id.0, &[1, 3], "declarations by ids")?;
    let none = store.declarations_of(A, &[]).await;
    same(none, |d| d.id.0, &[], "declarations by no ids")?;
    let found = store.declaration_by_identifier(A, "declaration.2").await;
    let found = found.map_err(sentence)?;
    ensure!(
        found.is_some_and(|d| d.id.0 == 2 && d.version == 1),
        "no declaration by its identifier"
    );
    let none = store.declaration_by_identifier(A, "Declaration.2").await;
    ensure!(
        none.map_err(sentence)?.is_none(),
        "identifiers are told apart by case"
    );
    let sets = store.declaration_sets(A).await;
    same(sets, |s| s.id.0, &[1, 2, 3], "sets")?;
    let of = [3, 9, 1].map(DeclarationSetId);
    let sets = store.declaration_sets_of(A, &of).await;
    same(sets, |s| s.id.0, &[1, 3], "sets by ids")?;
    let found = store.declaration_content_by_token(A, "token3").await;
    let found = found.map_err(sentence)?;
    ensure!(
        found.is_some_and(|c| c.id.0 == 3),
        "no content by its token"
    );
    let token = |id| samples::declaration_manifest(A, ManifestId(id)).token;
    let tokens = [token(3), token(9), token(1)];
    let lists = store.declaration_manifests_of(A, &tokens).await;
    same(lists, |m| m.id.0, &[1, 3], "lists by tokens")?;
    let devices = store.devices_of(A, &[3, 9, 1].map(DeviceId)).await;
    same(devices, |d| d.id.0, &[1, 3], "devices by ids")?;

    let assigned = |id: i64, set: i64, target: Target, ended: bool| {
        let mut it: DeclarationAssignment = samples::declaration_assignment(A, AssignmentId(id));
        (it.set, it.target) = (DeclarationSetId(set), target);
        it.ended = ended.then(|| at(90));
        Write::from(it)
    };
    let tag = |name: &str| Target::Tag(name.to_owned());
    put(
        store,
        [
            assigned(4, 1, tag("lab"), false),
            assigned(3, 2, tag("lab"), false),
            assigned(2, 1, tag("lab"), true),
            assigned(1, 1, Target::Organisation, false),
            assigned(5, 2, Target::Group("Sales / Süd".to_owned()), false),
        ],
    )
    .await?;
    let under = async |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        store.declaration_assignments_under(A, &words).await
    };
    let found = under(&["d:tag:lab", "d:tag:other"]).await;
    same(found, |a| a.id.0, &[3, 4], "under a tag")?;
    let found = under(&["d:group:Sales / Süd", "d:tag:Sales / Süd"]).await;
    same(found, |a| a.id.0, &[5], "under a group")?;
    let found = under(&["d:all", "d:tag:lab"]).await;
    same(found, |a| a.id.0, &[1, 3, 4], "under two words")?;
    same(under(&["u:all"]).await, |a| a.id.0, &[], "under another")?;
    let of = store.declaration_assignments_of(A, DeclarationSetId(1));
    same(of.await, |a| a.id.0, &[1, 2, 4], "of a set, ended ones too")
}

pub(super) async fn what_channels_were_told(store: &impl Store) -> Finding {
    for id in [3, 1, 2] {
        put(
            store,
            [
                samples::declared_channel(A, EnrollmentId(id)).into(),
                samples::channel_status(A, EnrollmentId(id)).into(),
            ],
        )
        .await?;
    }
    let of = [3, 9, 1].map(EnrollmentId);
    let told = store.declared_channels_of(A, &of).await;
    same(told, |c| c.id.0, &[1, 3], "channels by ids")?;
    let page = async |after, limit| store.channel_statuses(A, EnrollmentId(after), limit).await;
    same(page(0, 2).await, |s| s.id.0, &[1, 2], "a page of statuses")?;
    same(page(2, 2).await, |s| s.id.0, &[3], "the next page")?;
    let states = [
        EnrollmentState::Enrolled,
        EnrollmentState::Superseded,
        EnrollmentState::Pending,
        EnrollmentState::CheckedOut,
        EnrollmentState::Enrolled,
    ];
    for (id, state) in (11..).zip(states) {
        let mut it = samples::enrollment(A, EnrollmentId(id));
        it.state = state;
        put(store, [it.into()]).await?;
    }
    let page = async |after, limit| store.channels(A, EnrollmentId(after), limit).await;
    same(
        page(0, ALL).await,
        |e| e.id.0,
        &[11, 13, 14, 15],
        "channels that are not superseded",
    )?;
    same(page(0, 1).await, |e| e.id.0, &[11], "a page of channels")?;
    same(page(11, 1).await, |e| e.id.0, &[13], "the next page")
}

pub(super) async fn open_commands_of_a_type(store: &impl Store) -> Finding {
    let command = |id: i64, of: i64, request_type: &str, state: CommandState| {
        let mut it = samples::command(A, CommandId(id));
        it.enrollment = EnrollmentId(of);
        request_type.clone_into(&mut it.request_type);
        it.state = state;
        Write::from(it)
    };
    let (ours, other) = ("DeclarativeManagement", "ProfileList");
    put(
        store,
        [
            command(4, 5, ours, CommandState::Queued),
            command(3, 6, ours, CommandState::NotNow),
            command(2, 5, ours, CommandState::Acknowledged),
            command(1, 5, other, CommandState::Queued),
            command(5, 7, ours, CommandState::Sent),
        ],
    )
    .await?;
    let open = async |of: &[i64]| {
        let of: Vec<_> = of.iter().copied().map(EnrollmentId).collect();
        store.open_commands_of_type(A, &of, ours).await
    };
    same(open(&[5, 6, 8]).await, |c| c.id.0, &[3, 4], "open ones")?;
    same(open(&[]).await, |c| c.id.0, &[], "of no channel")
}

pub(super) async fn lists_that_nobody_has_go(store: &impl Store) -> Finding {
    let list = |organisation, id: i64, created: i64| {
        let mut it = samples::declaration_manifest(organisation, ManifestId(id));
        it.created = at(created);
        Write::from(it)
    };
    let told = |id: i64, lists: &[i64], ended: Option<i64>| {
        let mut it = DeclaredChannel::new(A, EnrollmentId(id), at(1));
        for list in lists {
            it.tell(ManifestId(*list), at(1));
        }
        if let Some(ended) = ended {
            it.end(at(ended));
        }
        Write::from(it)
    };
    let mut gone = samples::channel_status(A, EnrollmentId(3));
    gone.ended = Some(at(100));
    put(
        store,
        [
            list(A, 1, 100),
            list(A, 2, 110),
            list(A, 3, 120),
            list(A, 4, 130),
            list(A, 5, 300),
            list(B, 6, 100),
            told(1, &[1, 2], None),
            told(2, &[3], Some(300)),
            told(3, &[], Some(100)),
            gone.into(),
            samples::channel_status(A, EnrollmentId(1)).into(),
        ],
    )
    .await?;
    let prune = async |limit| store.prune(A, at(200), limit).await.map_err(sentence);
    // A channel and a status that are over, and one of the two old lists that nobody has.
    let first = prune(1).await?;
    ensure!(
        first == 3,
        "{first} rows went in a round of one of each kind"
    );
    let second = prune(10).await?;
    ensure!(second == 1, "{second} rows went in the second round");
    let third = prune(10).await?;
    ensure!(third == 0, "{third} rows went that are in use, or young");
    for (id, there) in [(1, true), (2, true), (3, false), (4, false), (5, true)] {
        let found = store.declaration_manifest(A, ManifestId(id)).await;
        let found = found.map_err(sentence)?;
        ensure!(found.is_some() == there, "list {id} is wrong: {found:?}");
    }
    let theirs = store.declaration_manifest(B, ManifestId(6)).await;
    ensure!(
        theirs.map_err(sentence)?.is_some(),
        "another organisation's list is gone"
    );
    for (id, there) in [(1, true), (3, false)] {
        let status = store.channel_status(A, EnrollmentId(id)).await;
        let status = status.map_err(sentence)?;
        ensure!(
            status.is_some() == there,
            "status {id} is wrong: {status:?}"
        );
    }
    Ok(())
}

pub(super) async fn what_is_out_of_use_goes_with_what_nothing_names(store: &impl Store) -> Finding {
    let declaration = |id: i64, removed: Option<i64>| {
        let mut it = samples::declaration(A, DeclarationId(id));
        it.content = ContentId(10 * id);
        it.removed = removed.map(at);
        it
    };
    let set = |id: i64, removed: Option<i64>| {
        let mut it = samples::declaration_set(A, DeclarationSetId(id));
        it.removed = removed.map(at);
        it
    };
    let assignment = |id: i64, ended: Option<i64>| {
        let mut it = samples::declaration_assignment(A, AssignmentId(id));
        it.ended = ended.map(at);
        it
    };
    let content = |id: i64| samples::declaration_content(A, ContentId(id));
    let mut list = samples::declaration_manifest(A, ManifestId(1));
    // A channel has it, with what nobody declares any more.
    list.items[0].content = ContentId(50);
    let mut told = samples::declared_channel(A, EnrollmentId(1));
    (told.manifest, told.earlier) = (Some(ManifestId(1)), None);
    let mut elsewhere = samples::declaration_content(B, ContentId(99));
    elsewhere.organisation = B;
    // What stays has kept the file of what goes; and another organisation has one of the same number.
    let mut keeps = content(20);
    keeps.file = content(10).file;
    let sealed = |of, id: i64| samples::secret(of, SecretId(id));
    put(
        store,
        [
            declaration(1, Some(100)).into(),
            declaration(2, Some(300)).into(),
            declaration(3, None).into(),
            set(1, Some(100)).into(),
            set(2, Some(300)).into(),
            set(3, None).into(),
            assignment(1, Some(100)).into(),
            assignment(2, Some(300)).into(),
            assignment(3, None).into(),
            content(10).into(),
            keeps.into(),
            content(30).into(),
            content(50).into(),
            content(60).into(),
            sealed(A, 710).into(),
            sealed(A, 730).into(),
            sealed(A, 760).into(),
            sealed(A, 799).into(),
            sealed(B, 760).into(),
            elsewhere.into(),
            list.into(),
            told.into(),
        ],
    )
    .await?;
    let prune = async |before| store.prune(A, at(before), 100).await.map_err(sentence);
    let first = prune(200).await?;
    ensure!(
        first == 5,
        "a declaration, a set, an assignment and two contents went: {first}"
    );
    let left = store.declarations(A, DeclarationId(0), ALL).await;
    same(left, |d| d.id.0, &[2, 3], "declarations that are kept")?;
    let left = store.declaration_sets(A).await;
    same(left, |s| s.id.0, &[2, 3], "sets that are kept")?;
    for (id, stays) in [(10, false), (20, true), (30, true), (50, true), (60, false)] {
        let found = store.declaration_content(A, ContentId(id)).await;
        let found = found.map_err(sentence)?.is_some();
        ensure!(found == stays, "content {id} stays: {stays}");
    }
    let theirs = store.declaration_content(B, ContentId(99)).await;
    ensure!(
        theirs.map_err(sentence)?.is_some(),
        "another organisation's content went"
    );
    // A file goes with the last content that has it, and is found by whichever has it.
    for (of, id, stays) in [
        (A, 710, true),
        (A, 730, true),
        (A, 760, false),
        (A, 799, true),
        (B, 760, true),
    ] {
        let found = store.secret(of, SecretId(id)).await.map_err(sentence)?;
        ensure!(found.is_some() == stays, "file {id} of {of} stays: {stays}");
    }
    for (name, has) in [("file10", Some(20)), ("file30", Some(30)), ("file60", None)] {
        let found = store.declaration_content_by_file(A, name).await;
        let found = found.map_err(sentence)?.map(|it| it.id.0);
        ensure!(found == has, "{name} is found with {found:?}");
    }
    for (id, stays) in [(1, false), (2, true), (3, true)] {
        let found = store.declaration_assignment(A, AssignmentId(id)).await;
        ensure!(
            found.map_err(sentence)?.is_some() == stays,
            "assignment {id} stays: {stays}"
        );
    }
    let again = prune(200).await?;
    ensure!(again == 0, "{again} more went");
    Ok(())
}
