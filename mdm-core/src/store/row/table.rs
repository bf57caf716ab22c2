//! The tables and their columns, under their names in every database.

use crate::store::Noun;

/// The tables, in the order in which their rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Organisations,
    Servers,
    Devices,
    LastHeard,
    Originals,
    HandOffs,
    HandOffParts,
    Enrollments,
    Sessions,
    Certificates,
    Runbooks,
    Projects,
    Waves,
    WhatIfRuns,
    AcceptedParts,
    KeptRunbooks,
    Templates,
    Moves,
    SetUps,
    Commands,
    Secrets,
    Tokens,
    Inventories,
    Locations,
    Library,
    Declarations,
    DeclarationContents,
    DeclarationSets,
    DeclarationAssignments,
    DeclarationManifests,
    DeclaredChannels,
    ChannelStatuses,
    AcmeAccounts,
    AcmeOrders,
    AcmeNonces,
    SignIns,
    PersonSessions,
    Approvals,
    DoneAlone,
    Repeats,
    Hooks,
    HookMessages,
    Errands,
    Budgets,
    ServerCertificates,
    Jobs,
    Audit,
    AuditSeals,
    Refusals,
}

/// What a column holds. Either may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Int,
    Text,
}

impl Table {
    /// All of them.
    pub(crate) const ALL: [Self; 49] = [
        Self::Organisations,
        Self::Servers,
        Self::Devices,
        Self::LastHeard,
        Self::Originals,
        Self::HandOffs,
        Self::HandOffParts,
        Self::Enrollments,
        Self::Sessions,
        Self::Certificates,
        Self::Runbooks,
        Self::Projects,
        Self::Waves,
        Self::WhatIfRuns,
        Self::AcceptedParts,
        Self::KeptRunbooks,
        Self::Templates,
        Self::Moves,
        Self::SetUps,
        Self::Commands,
        Self::Secrets,
        Self::Tokens,
        Self::Inventories,
        Self::Locations,
        Self::Library,
        Self::Declarations,
        Self::DeclarationContents,
        Self::DeclarationSets,
        Self::DeclarationAssignments,
        Self::DeclarationManifests,
        Self::DeclaredChannels,
        Self::ChannelStatuses,
        Self::AcmeAccounts,
        Self::AcmeOrders,
        Self::AcmeNonces,
        Self::SignIns,
        Self::PersonSessions,
        Self::Approvals,
        Self::DoneAlone,
        Self::Repeats,
        Self::Hooks,
        Self::HookMessages,
        Self::Errands,
        Self::Budgets,
        Self::ServerCertificates,
        Self::Jobs,
        Self::Audit,
        Self::AuditSeals,
        Self::Refusals,
    ];

    /// Its name in every database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Organisations => "organisations",
            Self::Servers => "servers",
            Self::Devices => "devices",
            Self::LastHeard => "last_heard",
            Self::Originals => "originals",
            Self::HandOffs => "hand_offs",
            Self::HandOffParts => "hand_off_parts",
            Self::Enrollments => "enrollments",
            Self::Sessions => "sessions",
            Self::Certificates => "certificates",
            Self::Runbooks => "runbooks",
            Self::Projects => "projects",
            Self::Waves => "waves",
            Self::WhatIfRuns => "what_if_runs",
            Self::AcceptedParts => "accepted_parts",
            Self::KeptRunbooks => "kept_runbooks",
            Self::Templates => "templates",
            Self::Moves => "moves",
            Self::SetUps => "set_ups",
            Self::Commands => "commands",
            Self::Secrets => "secrets",
            Self::Tokens => "tokens",
            Self::Inventories => "inventories",
            Self::Locations => "locations",
            Self::Library => "library",
            Self::Declarations => "declarations",
            Self::DeclarationContents => "declaration_contents",
            Self::DeclarationSets => "declaration_sets",
            Self::DeclarationAssignments => "declaration_assignments",
            Self::DeclarationManifests => "declaration_manifests",
            Self::DeclaredChannels => "declared_channels",
            Self::ChannelStatuses => "channel_statuses",
            Self::AcmeAccounts => "acme_accounts",
            Self::AcmeOrders => "acme_orders",
            Self::AcmeNonces => "acme_nonces",
            Self::SignIns => "sign_ins",
            Self::PersonSessions => "person_sessions",
            Self::Approvals => "approvals",
            Self::DoneAlone => "done_alone",
            Self::Repeats => "repeats",
            Self::Hooks => "hooks",
            Self::HookMessages => "hook_messages",
            Self::Errands => "errands",
            Self::Budgets => "budgets",
            Self::ServerCertificates => "server_certificates",
            Self::Jobs => "jobs",
            Self::Audit => "audit",
            Self::AuditSeals => "audit_seals",
            Self::Refusals => "refusals",
        }
    }

    /// Its columns beside organisation, id, version and document, in the order of [`super::Row::cells`].
    pub(crate) const fn columns(self) -> &'static [(&'static str, ColumnKind)] {
        use ColumnKind::{Int, Text};
        match self {
            Self::Organisations => &[("code", Text)],
            Self::Devices => &[
                ("serial", Text),
                ("listed", Int),
                ("seen", Int),
                ("assign_at", Int),
            ],
            Self::LastHeard => &[("heard", Int)],
            Self::Enrollments => &[
                ("live_key", Text),
                ("parent", Int),
                ("device", Int),
                ("superseded", Int),
            ],
            Self::Sessions => &[
                ("code", Text),
                ("challenge_hash", Text),
                ("unused_until", Int),
                ("open_of", Int),
                ("used_until", Int),
            ],
            Self::Certificates => &[
                ("sha256", Text),
                ("renew_at", Int),
                ("revoked", Int),
                ("device", Int),
                ("over", Int),
                ("ends", Int),
                ("session", Int),
            ],
            Self::Moves => &[
                ("wave", Int),
                ("open_device", Int),
                ("wake_at", Int),
                ("gap", Int),
            ],
            Self::SetUps => &[
                ("enrollment", Int),
                ("wake_at", Int),
                ("ceiling_at", Int),
                ("hold_since", Int),
            ],
            Self::Commands => &[
                ("enrollment", Int),
                ("uuid", Text),
                ("open_of", Int),
                ("settled", Int),
                ("turn", Int),
            ],
            Self::Secrets | Self::Audit => &[("device", Int)],
            Self::HandOffParts => &[("job", Int)],
            Self::AcceptedParts => &[("wave", Int), ("part", Int)],
            Self::Tokens => &[("hash", Text)],
            Self::Refusals => &[("sender", Text)],
            Self::Errands => &[("open_due", Int), ("wave", Int)],
            Self::Budgets | Self::Library | Self::Projects | Self::ServerCertificates => {
                &[("name", Text)]
            }
            Self::Declarations => &[("identifier", Text), ("removed", Int), ("content", Int)],
            Self::DeclarationSets => &[("name", Text), ("removed", Int)],
            Self::DeclarationContents => &[("token", Text), ("file", Int), ("file_name", Text)],
            Self::DeclarationAssignments => &[("scope", Text), ("set_id", Int), ("ended", Int)],
            Self::DeclarationManifests => &[("token", Text), ("created", Int)],
            Self::DeclaredChannels => &[("manifest", Int), ("earlier", Int), ("ended", Int)],
            Self::ChannelStatuses => &[("ended", Int)],
            Self::AcmeAccounts => &[("thumbprint", Text), ("expires", Int)],
            Self::AcmeOrders => &[("certified", Text), ("expires", Int)],
            Self::AcmeNonces => &[("expires", Int)],
            Self::SignIns => &[("state", Text), ("code", Text), ("over", Int)],
            Self::PersonSessions => &[("token", Text), ("over", Int)],
            Self::Approvals => &[("over", Int)],
            Self::DoneAlone => &[("name", Text), ("over", Int)],
            Self::Repeats => &[("key", Text), ("over", Int)],
            Self::Hooks => &[("name", Text)],
            Self::HookMessages => &[("open_device", Int), ("hook", Int), ("over", Int)],
            Self::Jobs => &[("due", Int), ("leased_until", Int), ("ready_at", Int)],
            Self::Servers
            | Self::Originals
            | Self::HandOffs
            | Self::Runbooks
            | Self::Waves
            | Self::WhatIfRuns
            | Self::KeptRunbooks
            | Self::Templates
            | Self::AuditSeals
            | Self::Locations
            | Self::Inventories => &[],
        }
    }
}

impl From<Noun> for Table {
    fn from(noun: Noun) -> Self {
        match noun {
            Noun::Organisation => Self::Organisations,
            Noun::Device => Self::Devices,
            Noun::OriginalFacts => Self::Originals,
            Noun::HandOff => Self::HandOffs,
            Noun::HandOffPart => Self::HandOffParts,
            Noun::Enrollment => Self::Enrollments,
            Noun::Session => Self::Sessions,
            Noun::Certificate => Self::Certificates,
            Noun::Command => Self::Commands,
            Noun::SetUp => Self::SetUps,
            Noun::Move => Self::Moves,
            Noun::Project => Self::Projects,
            Noun::Wave => Self::Waves,
            Noun::WhatIfRun => Self::WhatIfRuns,
            Noun::AcceptedPart => Self::AcceptedParts,
            Noun::KeptRunbook => Self::KeptRunbooks,
            Noun::Template => Self::Templates,
            Noun::AuditSeal => Self::AuditSeals,
            Noun::Server => Self::Servers,
            Noun::Secret => Self::Secrets,
            Noun::Token => Self::Tokens,
            Noun::Errand => Self::Errands,
            Noun::Budget => Self::Budgets,
            Noun::Location => Self::Locations,
            Noun::LibraryItem => Self::Library,
            Noun::Declaration => Self::Declarations,
            Noun::DeclarationContent => Self::DeclarationContents,
            Noun::DeclarationSet => Self::DeclarationSets,
            Noun::DeclarationAssignment => Self::DeclarationAssignments,
            Noun::DeclarationManifest => Self::DeclarationManifests,
            Noun::DeclaredChannel => Self::DeclaredChannels,
            Noun::ChannelStatus => Self::ChannelStatuses,
            Noun::ServerCertificate => Self::ServerCertificates,
            Noun::AcmeAccount => Self::AcmeAccounts,
            Noun::AcmeOrder => Self::AcmeOrders,
            Noun::AcmeNonce => Self::AcmeNonces,
            Noun::SignInAttempt => Self::SignIns,
            Noun::PersonSession => Self::PersonSessions,
            Noun::Approval => Self::Approvals,
            Noun::Alone => Self::DoneAlone,
            Noun::Repeat => Self::Repeats,
            Noun::Hook => Self::Hooks,
            Noun::HookMessage => Self::HookMessages,
            Noun::Inventory => Self::Inventories,
        }
    }
}

/// What may be deleted once it is old: the table, and the column that says since when it is over.
pub(crate) const OVER: [(Table, &str); 10] = [
    (Table::Commands, "settled"),
    (Table::Enrollments, "superseded"),
    (Table::Sessions, "unused_until"),
    (Table::DeclaredChannels, "ended"),
    (Table::Declarations, "removed"),
    (Table::DeclarationSets, "removed"),
    (Table::DeclarationAssignments, "ended"),
    (Table::ChannelStatuses, "ended"),
    (Table::Certificates, "over"),
    (Table::HookMessages, "over"),
];

/// What our ACME server forgets once it has expired.
pub(crate) const FORGOTTEN: [Table; 3] =
    [Table::AcmeNonces, Table::AcmeOrders, Table::AcmeAccounts];
