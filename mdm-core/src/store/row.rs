//! Each noun as a row and back: table, key, version, the columns that are asked for, document. One place for all back
//! ends. Contains no SQL, only names.

mod met;
mod table;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::approval::{Alone, Approval};
use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::audit_seal::AuditSeal;
use crate::budget::Budget;
use crate::clock::Timestamp;
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::{Device, LastHeard};
use crate::enrollment::{
    ChannelKind, EnrolSession, Enrollment, EnrollmentState, IssuedCertificate,
};
use crate::errand::Errand;
use crate::hand_off::{HandOff, HandOffPart};
use crate::hook::{Hook, HookMessage};
use crate::inventory::Inventory;
use crate::job::Job;
use crate::library::LibraryItem;
use crate::licences::Location;
use crate::migration::{Move, MoveState, Pinned, SetUp};
use crate::organisation::Organisation;
use crate::original::OriginalFacts;
use crate::person::{PersonSession, SignInAttempt};
use crate::project::{AcceptedPart, Project, WhatIfRun};
use crate::queue::Command;
use crate::removal::Removal;
use crate::repeat::Repeat;
use crate::runbook::KeptRunbook;
use crate::sealed::SealedSecret;
use crate::server_certificate::ServerCertificate;
use crate::template::Template;
use crate::wave::{Server, Wave};

pub(crate) use met::{Met, Window};
pub(crate) use table::{ColumnKind, FORGOTTEN, OVER, Table};

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
}

/// Where a row lies. Sorted, keys are in the order in which they are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) table: Table,
    pub(crate) organisation: i64,
    pub(crate) id: i64,
}

/// A row as it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// The version that the row will have: one more than the one that was read.
    pub(crate) version: i64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) doc: String,
}

impl Row {
    /// The row of a noun.
    pub(crate) fn of<T: Stored>(noun: &T) -> Result<Self, StoreError> {
        let (organisation, id) = noun.address();
        let doc = serde_json::to_string(noun).map_err(|_| {
            StoreError::Database(format!("a row of {} cannot be written", T::TABLE.name()))
        })?;
        let cells = noun.cells();
        debug_assert_eq!(cells.len(), T::TABLE.columns().len());
        Ok(Self {
            key: Key {
                table: T::TABLE,
                organisation,
                id,
            },
            version: noun.read_version() + 1,
            cells,
            doc,
        })
    }
}

/// What a back end reads of any table: organisation, id, version, document.
pub(crate) type Raw = (i64, i64, i64, Vec<u8>);

/// The noun of a row that was read.
pub(crate) fn decode<T: Stored>(raw: Raw) -> Result<T, StoreError> {
    let (organisation, id, version, doc) = raw;
    let corrupt = |column| StoreError::Corrupt {
        table: T::TABLE.name(),
        column,
        key: format!("{organisation}/{id}"),
    };
    // The parser's own words could quote the document: they are left out.
    let mut noun: T = serde_json::from_slice(&doc).map_err(|_| corrupt("doc"))?;
    if noun.address() != (organisation, id) {
        return Err(corrupt("id"));
    }
    if version < 1 {
        return Err(corrupt("version"));
    }
    noun.set_version(version);
    Ok(noun)
}

/// The senders of these rows of refusals, each once, with their organisations.
pub(crate) fn senders(rows: &[&Row]) -> std::collections::BTreeSet<(i64, String)> {
    let sender = |row: &&Row| match row.cells.first() {
        Some(Cell::Text(Some(sender))) => Some((row.key.organisation, sender.clone())),
        _ => None,
    };
    rows.iter().filter_map(sender).collect()
}

/// Refusals that an organisation keeps apart, so that one kind pushes out none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pool {
    /// Of senders who showed nothing.
    Strangers,
    /// Of senders whom nobody could prove.
    Unproved,
    /// Of devices that were proved.
    Proved,
}

impl Pool {
    fn of(sender: &str) -> Self {
        match sender.split_once(' ') {
            Some(("nobody", _)) => Self::Strangers,
            Some(("serial", _)) => Self::Proved,
            _ => Self::Unproved,
        }
    }

    /// Its number in statements.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    /// How many of an organisation are kept.
    pub(crate) const fn most(self) -> i64 {
        match self {
            Self::Strangers => 300,
            Self::Unproved => 1_000,
            Self::Proved => 5_000,
        }
    }
}

/// The pools into which refusals go, each with its organisation.
pub(crate) fn pools(rows: &[&Row]) -> std::collections::BTreeSet<(i64, Pool)> {
    let of = |(organisation, sender): (i64, String)| (organisation, Pool::of(&sender));
    senders(rows).into_iter().map(of).collect()
}

/// A noun that has a table.
pub(crate) trait Stored: Serialize + DeserializeOwned + Send {
    /// Its table.
    const TABLE: Table;
    /// Organisation and id.
    fn address(&self) -> (i64, i64);
    /// The version that it was read with; 0 for a new one and for nouns without versions.
    fn read_version(&self) -> i64;
    /// Notes the version of the row that it was read from.
    fn set_version(&mut self, version: i64);
    /// Its columns, as [`Table::columns`] lists them.
    fn cells(&self) -> Vec<Cell>;
}

macro_rules! stored {
    (@version $noun:ident versioned) => {
        fn read_version(&self) -> i64 { self.version }
        fn set_version(&mut self, version: i64) { self.version = version; }
    };
    (@version $noun:ident unversioned) => {
        fn read_version(&self) -> i64 { 0 }
        fn set_version(&mut self, _: i64) {}
    };
    ($($noun:ident in $table:ident $versioned:ident: |$it:ident| $cells:expr;)*) => {$(
        impl Stored for $noun {
            const TABLE: Table = Table::$table;
            fn address(&self) -> (i64, i64) { (self.organisation.0, self.id.0) }
            stored!(@version $noun $versioned);
            fn cells(&self) -> Vec<Cell> {
                let $it = self;
                $cells
            }
        }
    )*

        /// The columns that a row's document makes.
        pub(crate) fn cells_of(table: Table, raw: Raw) -> Result<Vec<Cell>, StoreError> {
            match table {
                Table::Organisations => decode::<Organisation>(raw).map(|it| it.cells()),
                $(Table::$table => decode::<$noun>(raw).map(|it| it.cells()),)*
            }
        }
    };
}

stored! {
    Server in Servers versioned: |_it| vec![];
    Device in Devices versioned: |it| device_cells(it);
    LastHeard in LastHeard versioned: |it| vec![moment(Some(it.at))];
    OriginalFacts in Originals versioned: |_it| vec![];
    HandOff in HandOffs versioned: |it| vec![moment(it.over())];
    HandOffPart in HandOffParts versioned: |it| vec![Cell::Int(Some(it.job.0))];
    AuditSeal in AuditSeals versioned: |_it| vec![];
    Project in Projects versioned: |it| vec![text(&it.name)];
    Approval in Approvals versioned: |it| vec![moment(Some(it.over()))];
    Alone in DoneAlone versioned: |it| vec![text(&it.name), moment(Some(it.over()))];
    WhatIfRun in WhatIfRuns versioned: |_it| vec![];
    AcceptedPart in AcceptedParts versioned: |it| vec![Cell::Int(Some(it.wave.0)), Cell::Int(Some(i64::from(it.part)))];
    KeptRunbook in KeptRunbooks versioned: |_it| vec![];
    Template in Templates versioned: |_it| vec![];
    Enrollment in Enrollments versioned: |it| vec![
        Cell::Text((it.state != EnrollmentState::Superseded).then(|| it.key.clone())),
        Cell::Int(it.parent.map(|p| p.0)),
        Cell::Int(it.device.filter(|_| it.channel == ChannelKind::Device).map(|d| d.0)),
        moment(it.ended.filter(|_| it.state == EnrollmentState::Superseded)),
    ];
    EnrolSession in Sessions versioned: |it| vec![
        text(&it.code),
        text(&it.challenge_hash),
        moment(it.certificate.is_none().then_some(it.expires)),
        Cell::Int(it.device.filter(|_| it.is_open()).map(|d| d.0)),
        moment(it.certificate.is_some().then_some(it.expires)),
    ];
    IssuedCertificate in Certificates versioned: |it| vec![
        text(&it.sha256),
        moment(it.renew_at.filter(|_| it.revoked.is_none())),
        moment(it.revoked),
        Cell::Int(it.device.map(|d| d.0)),
        moment(it.over()),
        moment(it.speaks().then_some(it.not_after)),
        Cell::Int(Some(it.session.0)),
    ];
    Pinned in Runbooks unversioned: |_it| vec![];
    Wave in Waves versioned: |_it| vec![];
    Move in Moves versioned: |it| vec![
        Cell::Int(Some(it.wave.0)),
        Cell::Int((!matches!(it.state, MoveState::Ended(_))).then_some(it.device.0)),
        moment(it.wake_at),
        Cell::Int(it.in_gap().then_some(1)),
    ];
    SetUp in SetUps versioned: |it| vec![
        Cell::Int(Some(it.enrollment.0)),
        moment(it.wake_at),
        moment(it.ceiling_at),
        moment(it.held_since()),
    ];
    Command in Commands versioned: |it| vec![
        Cell::Int(Some(it.enrollment.0)),
        text(&it.uuid),
        Cell::Int((!it.state.is_final()).then_some(it.enrollment.0)),
        moment(it.settled.filter(|_| it.state.is_final())),
        Cell::Int((!it.state.is_final()).then(|| it.turn())),
    ];
    SealedSecret in Secrets versioned: |it| vec![Cell::Int(it.device.map(|d| d.0))];
    ApiToken in Tokens versioned: |it| vec![text(&it.hash)];
    Errand in Errands versioned: |it| vec![
        moment((!it.is_ended()).then_some(it.due)),
        Cell::Int(it.wave.map(|w| w.0)),
    ];
    Budget in Budgets versioned: |it| vec![text(&it.name)];
    Location in Locations versioned: |_it| vec![];
    LibraryItem in Library versioned: |it| vec![text(&it.name)];
    Declaration in Declarations versioned: |it| vec![
        text(&it.identifier),
        moment(it.removed),
        Cell::Int(Some(it.content.0)),
    ];
    DeclarationContent in DeclarationContents versioned: |it| vec![
        text(&it.server_token),
        Cell::Int(it.file.as_ref().map(|file| file.secret.0)),
        Cell::Text(it.file.as_ref().map(|file| file.name.clone())),
    ];
    DeclarationSet in DeclarationSets versioned: |it| vec![text(&it.name), moment(it.removed)];
    DeclarationAssignment in DeclarationAssignments versioned: |it| vec![
        Cell::Text(it.ended.is_none().then(|| it.scope())),
        Cell::Int(Some(it.set.0)),
        moment(it.ended),
    ];
    DeclarationManifest in DeclarationManifests versioned: |it| vec![text(&it.token), moment(Some(it.created))];
    DeclaredChannel in DeclaredChannels versioned: |it| vec![
        Cell::Int(it.manifest.map(|m| m.0)),
        Cell::Int(it.earlier.map(|m| m.0)),
        moment(it.ended),
    ];
    ChannelStatus in ChannelStatuses versioned: |it| vec![moment(it.ended)];
    ServerCertificate in ServerCertificates versioned: |it| vec![text(&it.name)];
    AcmeAccount in AcmeAccounts versioned: |it| vec![text(&it.thumbprint), moment(Some(it.expires))];
    AcmeOrder in AcmeOrders versioned: |it| vec![Cell::Text(it.certified.clone()), moment(Some(it.expires))];
    AcmeNonce in AcmeNonces versioned: |it| vec![moment(Some(it.expires))];
    SignInAttempt in SignIns versioned: |it| vec![
        text(&it.state_hash),
        Cell::Text(it.granted.as_ref().map(|g| g.code_hash.clone())),
        moment(Some(it.expires)),
    ];
    PersonSession in PersonSessions versioned: |it| vec![text(&it.token_hash), moment(Some(it.over()))];
    Repeat in Repeats versioned: |it| vec![text(&it.key), moment(Some(it.until))];
    Hook in Hooks versioned: |it| vec![Cell::Text(it.removed.is_none().then(|| it.name.clone()))];
    HookMessage in HookMessages versioned: |it| vec![
        Cell::Int(it.over.is_none().then_some(it.device.0)),
        Cell::Int(Some(it.hook.0)),
        moment(it.over),
    ];
    Removal in Removals versioned: |_it| vec![];
    Inventory in Inventories versioned: |_it| vec![];
    Job in Jobs unversioned: |it| vec![moment(Some(it.due)), Cell::Int(Some(0)), moment(Some(it.due))];
    AuditEntry in Audit unversioned: |it| vec![Cell::Int(it.device.map(|d| d.0))];
    Refusal in Refusals unversioned: |it| vec![text(&it.kept_as())];
}

impl Stored for Organisation {
    const TABLE: Table = Table::Organisations;
    fn address(&self) -> (i64, i64) {
        (self.id.0, self.id.0)
    }
    fn read_version(&self) -> i64 {
        self.version
    }
    fn set_version(&mut self, version: i64) {
        self.version = version;
    }
    fn cells(&self) -> Vec<Cell> {
        vec![text(self.code.as_str())]
    }
}

fn text(value: &str) -> Cell {
    Cell::Text(Some(value.to_owned()))
}

fn moment(value: Option<Timestamp>) -> Cell {
    Cell::Int(value.map(Timestamp::as_millis))
}

fn device_cells(device: &Device) -> Vec<Cell> {
    let record = device.record.as_ref().filter(|r| !r.gone);
    let wanted = device.assignment.wanted.as_deref();
    let assign_at = record
        .filter(|r| wanted.is_some() && r.profile_in_force() != wanted)
        .map(|_| {
            let (from, again) = (device.assignment.from, device.assignment.not_before);
            from.max(again).unwrap_or_default()
        });
    vec![
        text(device.serial.as_str()),
        Cell::Int(record.map(|r| r.server.0)),
        moment(record.map(|r| r.seen)),
        moment(assign_at),
    ]
}

/// How many rows are read with one statement by whoever goes through whole tables.
pub(crate) const PAGE: i64 = 500;

/// Reads the next rows of a table behind organisation and id (parameters 1 and 2), as many as parameter 3 says: organisation, id,
/// version, these columns, the document. `sign` stands before a parameter's number, `doc` reads the document as text.
pub(crate) fn page_of(table: Table, columns: &str, doc: &str, sign: &str) -> String {
    format!(
        "SELECT organisation, id, version{columns}, {doc} FROM {} WHERE (organisation, id) > ({sign}1, {sign}2) \
         ORDER BY organisation, id LIMIT {sign}3",
        table.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OrganisationId, RefusalId};

    #[test]
    fn an_unreadable_row_names_its_address_and_not_its_content() {
        let error = decode::<Refusal>((3, 7, 1, b"{\"private\": ".to_vec())).unwrap_err();
        assert_eq!(error.to_string(), "corrupt row in refusals.doc, key 3/7");
    }

    #[test]
    fn a_document_under_another_key_is_corrupt() {
        let refusal = Refusal::new(
            OrganisationId(3),
            RefusalId(7),
            Timestamp::from_millis(1),
            "127.0.0.1",
            "enrol",
            "signature: absent",
        );
        let doc = Row::of(&refusal).unwrap().doc.into_bytes();
        assert_eq!(decode::<Refusal>((3, 7, 1, doc.clone())).unwrap(), refusal);
        assert!(matches!(
            decode::<Refusal>((4, 7, 1, doc.clone())),
            Err(StoreError::Corrupt { column: "id", .. })
        ));
        assert!(matches!(
            decode::<Refusal>((3, 7, 0, doc)),
            Err(StoreError::Corrupt {
                column: "version",
                ..
            })
        ));
    }
}
