//! Settings of parts of the system. Written from the table of Apple's keys; refuses nothing.

use std::collections::BTreeMap;

use crate::wire::keys::{record, words};

words! {
    /// What `ExternalStorage` may be.
    pub enum StorageAccess {
        /// One of them.
        Allowed = "Allowed",
        /// One of them.
        ReadOnly = "ReadOnly",
        /// One of them.
        Disallowed = "Disallowed",
    }
}

record! {
    /// `Restrictions` of `com.apple.configuration.diskmanagement.settings`.
    pub struct DiskRestrictions {
        optional {
            /// One of a closed set.
            external_storage: StorageAccess = "ExternalStorage",
            /// One of a closed set.
            network_storage: StorageAccess = "NetworkStorage",
        }
    }
}

record! {
    /// `com.apple.configuration.diskmanagement.settings`. Since macOS 15.0.
    pub struct DiskmanagementSettings {
        optional {
            /// A dictionary.
            restrictions: DiskRestrictions = "Restrictions",
        }
    }
}

record! {
    /// `BasicMode` of `com.apple.configuration.math.settings`.
    pub struct ComAppleConfigurationMathSettingsBasicMode {
        new {
            /// Yes or no.
            add_square_root: bool = "AddSquareRoot",
        }
    }
}

record! {
    /// `ScientificMode` of `com.apple.configuration.math.settings`.
    pub struct ComAppleConfigurationMathSettingsScientificMode {
        new {
            /// Yes or no.
            enabled: bool = "Enabled",
        }
    }
}

record! {
    /// `InputModes` of `com.apple.configuration.math.settings`.
    pub struct ComAppleConfigurationMathSettingsInputModes {
        new {
            /// Yes or no.
            unit_conversion: bool = "UnitConversion",
            /// Yes or no.
            rpn: bool = "RPN",
        }
    }
}

record! {
    /// `Calculator` of `com.apple.configuration.math.settings`.
    pub struct Calculator {
        optional {
            /// A dictionary.
            basic_mode: ComAppleConfigurationMathSettingsBasicMode = "BasicMode",
            /// A dictionary.
            scientific_mode: ComAppleConfigurationMathSettingsScientificMode = "ScientificMode",
            /// A dictionary.
            programmer_mode: ComAppleConfigurationMathSettingsScientificMode = "ProgrammerMode",
            /// A dictionary.
            math_notes_mode: ComAppleConfigurationMathSettingsScientificMode = "MathNotesMode",
            /// A dictionary.
            input_modes: ComAppleConfigurationMathSettingsInputModes = "InputModes",
        }
    }
}

record! {
    /// `SystemBehavior` of `com.apple.configuration.math.settings`.
    pub struct MathSystemBehavior {
        new {
            /// Yes or no.
            keyboard_suggestions: bool = "KeyboardSuggestions",
            /// Yes or no.
            math_notes: bool = "MathNotes",
        }
    }
}

record! {
    /// `com.apple.configuration.math.settings`. Since iOS 18.0, macOS 15.0.
    pub struct MathSettings {
        optional {
            /// A dictionary.
            calculator: Calculator = "Calculator",
            /// A dictionary.
            system_behavior: MathSystemBehavior = "SystemBehavior",
        }
    }
}

words! {
    /// What `State` may be.
    pub enum Permission {
        /// One of them.
        Allowed = "Allowed",
        /// One of them.
        AlwaysOn = "AlwaysOn",
        /// One of them.
        AlwaysOff = "AlwaysOff",
    }
}

record! {
    /// `ManagedExtensions` of `com.apple.configuration.safari.extensions.settings`.
    pub struct SafariExtension {
        optional {
            /// One of a closed set.
            state: Permission = "State",
            /// One of a closed set.
            private_browsing: Permission = "PrivateBrowsing",
            /// A list.
            allowed_domains: Vec<String> = "AllowedDomains",
            /// A list.
            denied_domains: Vec<String> = "DeniedDomains",
        }
    }
}

record! {
    /// `com.apple.configuration.safari.extensions.settings`. Since iOS 18.0, macOS 15.0.
    pub struct SafariExtensionsSettings {
        optional {
            /// A dictionary.
            managed_extensions: BTreeMap<String, SafariExtension> = "ManagedExtensions",
        }
    }
}

words! {
    /// What `DisplayType` may be.
    pub enum DisplayType {
        /// One of them.
        Virtual1 = "Virtual1",
        /// One of them.
        Virtual2 = "Virtual2",
    }
}

record! {
    /// `DisplayConfiguration` of `com.apple.configuration.screensharing.connection`.
    pub struct DisplayConfiguration {
        new {
            /// One of a closed set.
            display_type: DisplayType = "DisplayType",
        }
    }
}

record! {
    /// `com.apple.configuration.screensharing.connection`. Since macOS 14.0.
    pub struct ScreensharingConnection {
        new {
            /// Text.
            connection_uuid: String = "ConnectionUUID",
            /// Text.
            display_name: String = "DisplayName",
            /// Text.
            host_name: String = "HostName",
            /// A dictionary.
            display_configuration: DisplayConfiguration = "DisplayConfiguration",
        }
        optional {
            /// A whole number.
            port: i64 = "Port",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
        }
    }
}

record! {
    /// `com.apple.configuration.screensharing.connection.group`. Since macOS 14.0.
    pub struct ScreensharingConnectionGroup {
        new {
            /// Text.
            connection_group_uuid: String = "ConnectionGroupUUID",
            /// Text.
            group_name: String = "GroupName",
            /// A list.
            members: Vec<String> = "Members",
        }
    }
}

record! {
    /// `com.apple.configuration.screensharing.host.settings`. Since macOS 14.0.
    pub struct ScreensharingHostSettings {
        optional {
            /// A whole number, 0 to 2.
            maximum_virtual_displays: i64 = "MaximumVirtualDisplays",
            /// A whole number, 1024 to 65535.
            port_base: i64 = "PortBase",
            /// Yes or no.
            prevent_copy_files_from_host: bool = "PreventCopyFilesFromHost",
            /// Yes or no.
            prevent_copy_files_to_host: bool = "PreventCopyFilesToHost",
            /// Yes or no.
            prevent_high_performance_connections: bool = "PreventHighPerformanceConnections",
        }
    }
}

words! {
    /// What `Context` may be.
    pub enum LaunchdContext {
        /// One of them.
        Daemon = "daemon",
        /// One of them.
        Agent = "agent",
    }
}

record! {
    /// `LaunchdConfigurations` of `com.apple.configuration.services.background-tasks`.
    pub struct LaunchdConfiguration {
        new {
            /// Identifier of an asset.
            file_asset_reference: String = "FileAssetReference",
            /// One of a closed set.
            context: LaunchdContext = "Context",
        }
    }
}

record! {
    /// `com.apple.configuration.services.background-tasks`. Since macOS 15.0.
    pub struct ServicesBackgroundTasks {
        new {
            /// Text.
            task_type: String = "TaskType",
        }
        optional {
            /// Text.
            task_description: String = "TaskDescription",
            /// Identifier of an asset.
            executable_asset_reference: String = "ExecutableAssetReference",
            /// A list.
            launchd_configurations: Vec<LaunchdConfiguration> = "LaunchdConfigurations",
        }
    }
}

record! {
    /// `com.apple.configuration.services.configuration-files`. Since macOS 14.0.
    pub struct ServicesConfigurationFiles {
        new {
            /// Text.
            service_type: String = "ServiceType",
            /// Identifier of an asset.
            data_asset_reference: String = "DataAssetReference",
        }
    }
}

record! {
    /// `com.apple.configuration.migration-assistant.settings`. Since macOS 26.4.
    pub struct MigrationAssistantSettings {
        new {
            /// Yes or no.
            should_do_managed_migration: bool = "ShouldDoManagedMigration",
            /// Yes or no.
            should_migrate_security_privacy_settings: bool = "ShouldMigrateSecurityPrivacySettings",
        }
        optional {
            /// A list.
            excluded_accounts: Vec<String> = "ExcludedAccounts",
            /// A list.
            excluded_paths: Vec<String> = "ExcludedPaths",
            /// A list.
            required_paths: Vec<String> = "RequiredPaths",
        }
    }
}

record! {
    /// `com.apple.configuration.softwareupdate.enforcement.specific`. Since iOS 17.0, macOS 14.0.
    pub struct SoftwareupdateEnforcementSpecific {
        new {
            /// Text.
            target_os_version: String = "TargetOSVersion",
            /// Text.
            target_local_date_time: String = "TargetLocalDateTime",
        }
        optional {
            /// Text.
            target_build_version: String = "TargetBuildVersion",
            /// An address.
            details_url: String = "DetailsURL",
        }
    }
}

record! {
    /// `Deferrals` of `com.apple.configuration.softwareupdate.settings`.
    pub struct UpdateDeferrals {
        optional {
            /// A whole number, 1 to 90.
            combined_period_in_days: i64 = "CombinedPeriodInDays",
            /// A whole number, 1 to 90.
            major_period_in_days: i64 = "MajorPeriodInDays",
            /// A whole number, 1 to 90.
            minor_period_in_days: i64 = "MinorPeriodInDays",
            /// A whole number, 1 to 90.
            system_period_in_days: i64 = "SystemPeriodInDays",
        }
    }
}

words! {
    /// What `RecommendedCadence` may be.
    pub enum RecommendedCadence {
        /// One of them.
        All = "All",
        /// One of them.
        Oldest = "Oldest",
        /// One of them.
        Newest = "Newest",
    }
}

record! {
    /// `AutomaticActions` of `com.apple.configuration.softwareupdate.settings`.
    pub struct AutomaticActions {
        optional {
            /// One of a closed set.
            download: Permission = "Download",
            /// One of a closed set.
            install_os_updates: Permission = "InstallOSUpdates",
            /// One of a closed set.
            install_security_update: Permission = "InstallSecurityUpdate",
        }
    }
}

record! {
    /// `RapidSecurityResponse` of `com.apple.configuration.softwareupdate.settings`.
    pub struct RapidSecurityResponse {
        optional {
            /// Yes or no.
            enable: bool = "Enable",
            /// Yes or no.
            enable_rollback: bool = "EnableRollback",
        }
    }
}

record! {
    /// `OfferPrograms` of `com.apple.configuration.softwareupdate.settings`.
    pub struct BetaProgram {
        new {
            /// Text.
            description: String = "Description",
            /// Text.
            token: String = "Token",
        }
    }
}

record! {
    /// `Beta` of `com.apple.configuration.softwareupdate.settings`.
    pub struct BetaPrograms {
        optional {
            /// One of a closed set.
            program_enrollment: Permission = "ProgramEnrollment",
            /// A list.
            offer_programs: Vec<BetaProgram> = "OfferPrograms",
            /// A dictionary.
            require_program: BetaProgram = "RequireProgram",
        }
    }
}

record! {
    /// `com.apple.configuration.softwareupdate.settings`. Since iOS 18.0, macOS 15.0.
    pub struct SoftwareupdateSettings {
        optional {
            /// Yes or no.
            notifications: bool = "Notifications",
            /// A dictionary.
            deferrals: UpdateDeferrals = "Deferrals",
            /// One of a closed set.
            recommended_cadence: RecommendedCadence = "RecommendedCadence",
            /// A dictionary.
            automatic_actions: AutomaticActions = "AutomaticActions",
            /// A dictionary.
            rapid_security_response: RapidSecurityResponse = "RapidSecurityResponse",
            /// Yes or no.
            allow_standard_user_os_updates: bool = "AllowStandardUserOSUpdates",
            /// A dictionary.
            beta: BetaPrograms = "Beta",
        }
    }
}
