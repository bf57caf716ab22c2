//! Accounts that devices set up by declaration. Written from the table of Apple's keys; refuses nothing.

use crate::wire::keys::{record, words};

record! {
    /// `com.apple.configuration.account.caldav`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountCaldav {
        new {
            /// Text.
            host_name: String = "HostName",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// A whole number.
            port: i64 = "Port",
            /// Text.
            path: String = "Path",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
        }
    }
}

record! {
    /// `com.apple.configuration.account.carddav`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountCarddav {
        new {
            /// Text.
            host_name: String = "HostName",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// A whole number.
            port: i64 = "Port",
            /// Text.
            path: String = "Path",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
        }
    }
}

words! {
    /// What `EnabledProtocolTypes` may be.
    pub enum ExchangeProtocol {
        /// One of them.
        Eas = "EAS",
        /// One of them.
        Ews = "EWS",
    }
}

record! {
    /// `OAuth` of `com.apple.configuration.account.exchange`.
    pub struct ExchangeOauth {
        new {
            /// Yes or no.
            enabled: bool = "Enabled",
        }
        optional {
            /// An address.
            sign_in_url: String = "SignInURL",
            /// An address.
            token_request_url: String = "TokenRequestURL",
        }
    }
}

record! {
    /// `Signing` of `com.apple.configuration.account.exchange`.
    pub struct SmimeSigning {
        new {
            /// Yes or no.
            enabled: bool = "Enabled",
        }
        optional {
            /// Identifier of an asset.
            identity_asset_reference: String = "IdentityAssetReference",
            /// Yes or no.
            user_overrideable: bool = "UserOverrideable",
            /// Yes or no.
            identity_user_overrideable: bool = "IdentityUserOverrideable",
        }
    }
}

record! {
    /// `Encryption` of `com.apple.configuration.account.exchange`.
    pub struct SmimeEncryption {
        new {
            /// Yes or no.
            enabled: bool = "Enabled",
        }
        optional {
            /// Identifier of an asset.
            identity_asset_reference: String = "IdentityAssetReference",
            /// Yes or no.
            user_overrideable: bool = "UserOverrideable",
            /// Yes or no.
            identity_user_overrideable: bool = "IdentityUserOverrideable",
            /// Yes or no.
            per_message_switch_enabled: bool = "PerMessageSwitchEnabled",
        }
    }
}

record! {
    /// `SMIME` of `com.apple.configuration.account.exchange`.
    pub struct Smime {
        optional {
            /// A dictionary.
            signing: SmimeSigning = "Signing",
            /// A dictionary.
            encryption: SmimeEncryption = "Encryption",
        }
    }
}

record! {
    /// `com.apple.configuration.account.exchange`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountExchange {
        new {
            /// A list.
            enabled_protocol_types: Vec<ExchangeProtocol> = "EnabledProtocolTypes",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// Identifier of an asset.
            user_identity_asset_reference: String = "UserIdentityAssetReference",
            /// Text.
            host_name: String = "HostName",
            /// A whole number.
            port: i64 = "Port",
            /// Text.
            path: String = "Path",
            /// Text.
            external_host_name: String = "ExternalHostName",
            /// A whole number.
            external_port: i64 = "ExternalPort",
            /// Text.
            external_path: String = "External Path",
            /// A dictionary.
            oauth: ExchangeOauth = "OAuth",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
            /// Identifier of an asset.
            authentication_identity_asset_reference: String = "AuthenticationIdentityAssetReference",
            /// A dictionary. Since iOS 17.0.
            smime: Smime = "SMIME",
            /// Yes or no.
            mail_service_active: bool = "MailServiceActive",
            /// Yes or no.
            lock_mail_service: bool = "LockMailService",
            /// Yes or no.
            contacts_service_active: bool = "ContactsServiceActive",
            /// Yes or no.
            lock_contacts_service: bool = "LockContactsService",
            /// Yes or no.
            calendar_service_active: bool = "CalendarServiceActive",
            /// Yes or no.
            lock_calendar_service: bool = "LockCalendarService",
            /// Yes or no.
            reminders_service_active: bool = "RemindersServiceActive",
            /// Yes or no.
            lock_reminders_service: bool = "LockRemindersService",
            /// Yes or no.
            notes_service_active: bool = "NotesServiceActive",
            /// Yes or no.
            lock_notes_service: bool = "LockNotesService",
        }
    }
}

record! {
    /// `com.apple.configuration.account.google`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountGoogle {
        new {
            /// Identifier of an asset.
            user_identity_asset_reference: String = "UserIdentityAssetReference",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
        }
    }
}

words! {
    /// What `Scope` may be.
    pub enum LdapScope {
        /// One of them.
        Base = "Base",
        /// One of them.
        OneLevel = "OneLevel",
        /// One of them.
        Subtree = "Subtree",
    }
}

record! {
    /// `SearchSettings` of `com.apple.configuration.account.ldap`.
    pub struct LdapSearch {
        new {
            /// Text.
            search_base: String = "SearchBase",
        }
        optional {
            /// Text.
            visible_description: String = "VisibleDescription",
            /// One of a closed set.
            scope: LdapScope = "Scope",
        }
    }
}

record! {
    /// `com.apple.configuration.account.ldap`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountLdap {
        new {
            /// Text.
            host_name: String = "HostName",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// A whole number.
            port: i64 = "Port",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
            /// A list.
            search_settings: Vec<LdapSearch> = "SearchSettings",
        }
    }
}

words! {
    /// What `ServerType` may be.
    pub enum MailServerType {
        /// One of them.
        Imap = "IMAP",
        /// One of them.
        Pop = "POP",
    }
}

words! {
    /// What `AuthenticationMethod` may be.
    pub enum MailAuthentication {
        /// One of them.
        None = "None",
        /// One of them.
        Password = "Password",
        /// One of them.
        CramMd5 = "CRAMMD5",
        /// One of them.
        Ntlm = "NTLM",
        /// One of them.
        HttpMd5 = "HTTPMD5",
    }
}

record! {
    /// `IncomingServer` of `com.apple.configuration.account.mail`.
    pub struct IncomingMailServer {
        new {
            /// One of a closed set.
            server_type: MailServerType = "ServerType",
            /// Text.
            host_name: String = "HostName",
            /// One of a closed set.
            authentication_method: MailAuthentication = "AuthenticationMethod",
        }
        optional {
            /// A whole number.
            port: i64 = "Port",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
            /// Text.
            imap_path_prefix: String = "IMAPPathPrefix",
        }
    }
}

record! {
    /// `OutgoingServer` of `com.apple.configuration.account.mail`.
    pub struct OutgoingMailServer {
        new {
            /// Text.
            host_name: String = "HostName",
            /// One of a closed set.
            authentication_method: MailAuthentication = "AuthenticationMethod",
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
    /// `com.apple.configuration.account.mail`. Since iOS 15.0, macOS 13.0, visionOS 1.1.
    pub struct AccountMail {
        new {
            /// A dictionary.
            incoming_server: IncomingMailServer = "IncomingServer",
            /// A dictionary.
            outgoing_server: OutgoingMailServer = "OutgoingServer",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// Identifier of an asset.
            user_identity_asset_reference: String = "UserIdentityAssetReference",
            /// A dictionary. Since iOS 17.0.
            smime: Smime = "SMIME",
        }
    }
}

record! {
    /// `com.apple.configuration.account.subscribed-calendar`. Since iOS 15.0, macOS 14.0, visionOS 1.1.
    pub struct AccountSubscribedCalendar {
        new {
            /// An address.
            calendar_url: String = "CalendarURL",
        }
        optional {
            /// Text.
            visible_name: String = "VisibleName",
            /// Identifier of an asset.
            authentication_credentials_asset_reference: String = "AuthenticationCredentialsAssetReference",
        }
    }
}
