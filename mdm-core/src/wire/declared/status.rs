//! What devices report of themselves: the values of status items. Lists are of things that have an `identifier`. Written from the table of Apple's keys; refuses nothing.

use crate::wire::keys::{Free, record, words};

words! {
    /// What `state` may be.
    pub enum AppState {
        /// One of them.
        Optional = "optional",
        /// One of them.
        Queued = "queued",
        /// One of them.
        PromptingForConsent = "prompting-for-consent",
        /// One of them.
        PromptingForLogin = "prompting-for-login",
        /// One of them.
        PromptingForManagement = "prompting-for-management",
        /// One of them.
        Downloading = "downloading",
        /// One of them.
        Installing = "installing",
        /// One of them.
        Managed = "managed",
        /// One of them.
        ManagedButUninstalled = "managed-but-uninstalled",
        /// One of them.
        Failed = "failed",
    }
}

words! {
    /// What `update-state` may be.
    pub enum AppUpdateState {
        /// One of them.
        Available = "available",
        /// One of them.
        PromptingForUpdate = "prompting-for-update",
        /// One of them.
        PromptingForUpdateLogin = "prompting-for-update-login",
        /// One of them.
        Updating = "updating",
        /// One of them.
        Failed = "failed",
    }
}

record! {
    /// `reasons` of `app.managed.list`.
    pub struct Reason {
        new {
            /// Text.
            code: String = "code",
        }
        optional {
            /// Text.
            description: String = "description",
            /// A dictionary.
            details: Free = "details",
        }
    }
}

record! {
    /// One thing of `app.managed.list`.
    pub struct AppManagedItem {
        new {
            /// Text.
            identifier: String = "identifier",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// Text.
            declaration_identifier: String = "declaration-identifier",
            /// Text.
            name: String = "name",
            /// A whole number.
            external_version_id: i64 = "external-version-id",
            /// Text.
            version: String = "version",
            /// Text.
            short_version: String = "short-version",
            /// One of a closed set.
            state: AppState = "state",
            /// One of a closed set.
            update_state: AppUpdateState = "update-state",
            /// A list.
            reasons: Vec<Reason> = "reasons",
            /// Text.
            config_state: String = "config-state",
        }
    }
}

words! {
    /// What `state` of `package.list` may be.
    pub enum PackageState {
        /// One of them.
        Optional = "optional",
        /// One of them.
        Queued = "queued",
        /// One of them.
        PromptingForConsent = "prompting-for-consent",
        /// One of them.
        Downloading = "downloading",
        /// One of them.
        Installing = "installing",
        /// One of them.
        Installed = "installed",
        /// One of them.
        Failed = "failed",
    }
}

record! {
    /// One thing of `package.list`.
    pub struct PackageItem {
        new {
            /// Text.
            identifier: String = "identifier",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// Text.
            declaration_identifier: String = "declaration-identifier",
            /// Text.
            name: String = "name",
            /// Text.
            version: String = "version",
            /// One of a closed set.
            state: PackageState = "state",
            /// A list.
            reasons: Vec<Reason> = "reasons",
        }
    }
}

words! {
    /// What `migration-assistant.state` may be.
    pub enum MigrationAssistantState {
        /// One of them.
        None = "none",
        /// One of them.
        Waiting = "waiting",
        /// One of them.
        Migrating = "migrating",
        /// One of them.
        Completed = "completed",
        /// One of them.
        Failed = "failed",
        /// One of them.
        Cancelled = "cancelled",
        /// One of them.
        Unknown = "unknown",
    }
}

words! {
    /// What `device.power.battery-health` may be.
    pub enum BatteryHealth {
        /// One of them.
        NonGenuine = "non-genuine",
        /// One of them.
        Normal = "normal",
        /// One of them.
        ServiceRecommended = "service-recommended",
        /// One of them.
        Unknown = "unknown",
        /// One of them.
        Unsupported = "unsupported",
    }
}

record! {
    /// `declarations` of `management.client-capabilities`.
    pub struct SupportedDeclarations {
        optional {
            /// A list.
            activations: Vec<String> = "activations",
            /// A list.
            assets: Vec<String> = "assets",
            /// A list.
            configurations: Vec<String> = "configurations",
            /// A list.
            management: Vec<String> = "management",
        }
    }
}

record! {
    /// `supported-payloads` of `management.client-capabilities`.
    pub struct SupportedPayloads {
        new {
            /// A dictionary.
            declarations: SupportedDeclarations = "declarations",
            /// A list.
            status_items: Vec<String> = "status-items",
        }
    }
}

record! {
    /// `management.client-capabilities`.
    pub struct ManagementClientCapabilities {
        new {
            /// A list.
            supported_versions: Vec<String> = "supported-versions",
            /// A dictionary.
            supported_features: Free = "supported-features",
            /// A dictionary.
            supported_payloads: SupportedPayloads = "supported-payloads",
        }
    }
}

words! {
    /// What `valid` may be.
    pub enum DeclarationValidity {
        /// One of them.
        Unknown = "unknown",
        /// One of them.
        Invalid = "invalid",
        /// One of them.
        Valid = "valid",
    }
}

record! {
    /// `activations` of `management.declarations`.
    pub struct DeclarationStatus {
        new {
            /// Text.
            identifier: String = "identifier",
            /// Text.
            server_token: String = "server-token",
            /// Yes or no.
            active: bool = "active",
            /// One of a closed set.
            valid: DeclarationValidity = "valid",
        }
        optional {
            /// A list.
            reasons: Vec<Reason> = "reasons",
        }
    }
}

record! {
    /// `management.declarations`.
    pub struct ManagementDeclarations {
        new {
            /// A list.
            activations: Vec<DeclarationStatus> = "activations",
            /// A list.
            configurations: Vec<DeclarationStatus> = "configurations",
            /// A list.
            assets: Vec<DeclarationStatus> = "assets",
            /// A list.
            management: Vec<DeclarationStatus> = "management",
        }
    }
}

words! {
    /// What `state` may be.
    pub enum MdmAppState {
        /// One of them.
        Queued = "queued",
        /// One of them.
        NeedsRedemption = "needs-redemption",
        /// One of them.
        Redeeming = "redeeming",
        /// One of them.
        Prompting = "prompting",
        /// One of them.
        PromptingForLogin = "prompting-for-login",
        /// One of them.
        ValidatingPurchase = "validating-purchase",
        /// One of them.
        PromptingForUpdate = "prompting-for-update",
        /// One of them.
        PromptingForUpdateLogin = "prompting-for-update-login",
        /// One of them.
        PromptingForManagement = "prompting-for-management",
        /// One of them.
        ValidatingUpdate = "validating-update",
        /// One of them.
        Updating = "updating",
        /// One of them.
        Installing = "installing",
        /// One of them.
        Managed = "managed",
        /// One of them.
        ManagedButUninstalled = "managed-but-uninstalled",
        /// One of them.
        Unknown = "unknown",
        /// One of them.
        UserInstalledApp = "user-installed-app",
        /// One of them.
        UserRejected = "user-rejected",
        /// One of them.
        UpdateRejected = "update-rejected",
        /// One of them.
        ManagementRejected = "management-rejected",
        /// One of them.
        Failed = "failed",
    }
}

record! {
    /// One thing of `mdm.app`.
    pub struct MdmAppItem {
        new {
            /// Text.
            identifier: String = "identifier",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// Text.
            name: String = "name",
            /// Text.
            external_version_id: String = "external-version-id",
            /// Text.
            version: String = "version",
            /// Text.
            short_version: String = "short-version",
            /// One of a closed set.
            state: MdmAppState = "state",
        }
    }
}

record! {
    /// One thing of `screensharing.connection.group.unresolved-connection`.
    pub struct ScreensharingConnectionGroupUnresolvedConnectionItem {
        new {
            /// Text.
            identifier: String = "identifier",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// A list.
            unresolved_connections: Vec<String> = "unresolved_connections",
        }
    }
}

record! {
    /// One thing of `security.certificate.list`.
    pub struct SecurityCertificateItem {
        new {
            /// Text.
            identifier: String = "identifier",
            /// Text.
            subject_summary: String = "subject-summary",
            /// Yes or no.
            is_identity: bool = "is-identity",
            /// Bytes, as base64.
            data: String = "data",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// Text.
            declaration_identifier: String = "declaration-identifier",
        }
    }
}

words! {
    /// What `state` may be.
    pub enum BackgroundTaskState {
        /// One of them.
        NotRegistered = "not-registered",
        /// One of them.
        Enabled = "enabled",
        /// One of them.
        RequiresApproval = "requires-approval",
        /// One of them.
        NotFound = "not-found",
    }
}

words! {
    /// What `type` may be.
    pub enum BackgroundTaskType {
        /// One of them.
        Daemon = "daemon",
        /// One of them.
        Agent = "agent",
        /// One of them.
        LoginItem = "login-item",
        /// One of them.
        App = "app",
        /// One of them.
        UserItem = "user-item",
    }
}

record! {
    /// `device-management` of `services.background-task`.
    pub struct LaunchdManagement {
        new {
            /// Text.
            configuration_identifier: String = "configuration-identifier",
            /// Text.
            asset_identifier: String = "asset-identifier",
            /// Text.
            asset_server_token: String = "asset-server-token",
        }
    }
}

record! {
    /// `launchd` of `services.background-task`.
    pub struct LaunchdJob {
        new {
            /// Text.
            label: String = "label",
            /// Text.
            program: String = "program",
            /// Text.
            checksum: String = "checksum",
        }
        optional {
            /// A list.
            program_arguments: Vec<String> = "program-arguments",
            /// A dictionary. Since macOS 15.0.
            device_management: LaunchdManagement = "device-management",
        }
    }
}

record! {
    /// One thing of `services.background-task`.
    pub struct ServicesBackgroundTaskItem {
        new {
            /// Text.
            identifier: String = "identifier",
            /// A whole number.
            uid: i64 = "uid",
            /// Text.
            path: String = "path",
            /// One of a closed set.
            state: BackgroundTaskState = "state",
            /// One of a closed set.
            kind: BackgroundTaskType = "type",
        }
        optional {
            /// Yes or no.
            removed: bool = "_removed",
            /// Text.
            code_signature: String = "code-signature",
            /// A dictionary.
            launchd: LaunchdJob = "launchd",
        }
    }
}

record! {
    /// `softwareupdate.failure-reason`.
    pub struct SoftwareupdateFailureReason {
        new {
            /// A whole number.
            count: i64 = "count",
        }
        optional {
            /// Text.
            reason: String = "reason",
            /// Text.
            timestamp: String = "timestamp",
        }
    }
}

words! {
    /// What `reason` may be.
    pub enum UpdateInstallReason {
        /// One of them.
        SystemSettings = "system-settings",
        /// One of them.
        InstallTonight = "install-tonight",
        /// One of them.
        AutoUpdate = "auto-update",
        /// One of them.
        Notification = "notification",
        /// One of them.
        SetupAssistant = "setup-assistant",
        /// One of them.
        CommandLine = "command-line",
        /// One of them.
        Mdm = "mdm",
        /// One of them.
        Declaration = "declaration",
    }
}

record! {
    /// `softwareupdate.install-reason`.
    pub struct SoftwareupdateInstallReason {
        new {
            /// A list.
            reason: Vec<UpdateInstallReason> = "reason",
        }
        optional {
            /// Text.
            declaration_id: String = "declaration-id",
        }
    }
}

words! {
    /// What `softwareupdate.install-state` may be.
    pub enum UpdateInstallState {
        /// One of them.
        None = "none",
        /// One of them.
        Downloading = "downloading",
        /// One of them.
        Prepared = "prepared",
        /// One of them.
        Installing = "installing",
        /// One of them.
        Failed = "failed",
    }
}

record! {
    /// `softwareupdate.pending-version`.
    pub struct SoftwareupdatePendingVersion {
        new {
            /// Text.
            os_version: String = "os-version",
            /// Text.
            build_version: String = "build-version",
        }
    }
}

record! {
    /// One thing of `test.array-value`.
    pub struct TestArrayValueItem {
        new {
            /// Text.
            key1: String = "key1",
        }
        optional {
            /// Text.
            key2: String = "key2",
        }
    }
}

record! {
    /// `test.dictionary-value`.
    pub struct TestDictionaryValue {
        new {
            /// Text.
            key1: String = "key1",
        }
        optional {
            /// Text.
            key2: String = "key2",
        }
    }
}

words! {
    /// What `mdm.enrollment-type` may be.
    pub enum EnrollmentKind {
        /// One of them.
        None = "none",
        /// One of them.
        Supervised = "supervised",
        /// One of them.
        Device = "device",
        /// One of them.
        User = "user",
    }
}
