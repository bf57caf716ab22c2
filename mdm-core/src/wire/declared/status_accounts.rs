//! What devices report of their accounts. Lists are of things that have an `identifier`. Written from the table of Apple's keys; refuses nothing.

use crate::wire::keys::record;

record! {
    /// One thing of `account.list.caldav`.
    pub struct AccountCaldavItem {
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
            visible_name: String = "visible-name",
            /// Text.
            hostname: String = "hostname",
            /// A whole number.
            port: i64 = "port",
            /// Text.
            username: String = "username",
            /// Yes or no.
            are_calendars_enabled: bool = "are-calendars-enabled",
            /// Yes or no.
            are_reminders_enabled: bool = "are-reminders-enabled",
        }
    }
}

record! {
    /// One thing of `account.list.carddav`.
    pub struct AccountCarddavItem {
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
            visible_name: String = "visible-name",
            /// Text.
            hostname: String = "hostname",
            /// A whole number.
            port: i64 = "port",
            /// Text.
            username: String = "username",
        }
    }
}

record! {
    /// One thing of `account.list.exchange`.
    pub struct AccountExchangeItem {
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
            visible_name: String = "visible-name",
            /// Text.
            hostname: String = "hostname",
            /// A whole number.
            port: i64 = "port",
            /// Text.
            username: String = "username",
            /// Yes or no.
            is_mail_enabled: bool = "is-mail-enabled",
            /// Yes or no.
            are_calendars_enabled: bool = "are-calendars-enabled",
            /// Yes or no.
            are_contacts_enabled: bool = "are-contacts-enabled",
            /// Yes or no.
            are_notes_enabled: bool = "are-notes-enabled",
            /// Yes or no.
            are_reminders_enabled: bool = "are-reminders-enabled",
        }
    }
}

record! {
    /// One thing of `account.list.google`.
    pub struct AccountGoogleItem {
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
            visible_name: String = "visible-name",
            /// Text.
            username: String = "username",
            /// Yes or no.
            is_mail_enabled: bool = "is-mail-enabled",
            /// Yes or no.
            are_calendars_enabled: bool = "are-calendars-enabled",
            /// Yes or no.
            are_contacts_enabled: bool = "are-contacts-enabled",
            /// Yes or no.
            are_notes_enabled: bool = "are-notes-enabled",
        }
    }
}

record! {
    /// One thing of `account.list.ldap`.
    pub struct AccountLdapItem {
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
            visible_name: String = "visible-name",
            /// Text.
            hostname: String = "hostname",
            /// A whole number.
            port: i64 = "port",
            /// Text.
            username: String = "username",
            /// Yes or no.
            is_enabled: bool = "is-enabled",
        }
    }
}

record! {
    /// One thing of `account.list.mail.incoming`.
    pub struct AccountMailIncomingItem {
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
            visible_name: String = "visible-name",
            /// Text.
            hostname: String = "hostname",
            /// A whole number.
            port: i64 = "port",
            /// Text.
            username: String = "username",
            /// Yes or no.
            is_mail_enabled: bool = "is-mail-enabled",
            /// Yes or no.
            are_notes_enabled: bool = "are-notes-enabled",
        }
    }
}

record! {
    /// One thing of `account.list.subscribed-calendar`.
    pub struct AccountSubscribedCalendarItem {
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
            visible_name: String = "visible-name",
            /// Text.
            calendar_url: String = "calendar-url",
            /// Text.
            username: String = "username",
            /// Yes or no.
            is_enabled: bool = "is-enabled",
        }
    }
}
