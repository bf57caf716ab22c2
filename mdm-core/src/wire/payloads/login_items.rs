//! What starts with a Mac or with its user's session.

use super::payload_type;
use crate::wire::keys::{record, words};

words! {
    /// By what a rule knows what starts by itself.
    pub enum ServiceRuleType {
        /// The bundle identifier.
        BundleIdentifier = "BundleIdentifier",
        /// The beginning of the bundle identifier.
        BundleIdentifierPrefix = "BundleIdentifierPrefix",
        /// The label of a launchd job.
        Label = "Label",
        /// The beginning of the label.
        LabelPrefix = "LabelPrefix",
        /// The developer's team.
        TeamIdentifier = "TeamIdentifier",
    }
}

record! {
    /// One rule.
    pub struct ServiceRule {
        new {
            /// By what.
            rule_type: ServiceRuleType = "RuleType",
            /// What it must be.
            value: String = "RuleValue",
        }
        optional {
            /// For people.
            comment: String = "Comment",
            /// Only of this team. Since macOS 13.
            team_identifier: String = "TeamIdentifier",
        }
    }
}

record! {
    /// What may start by itself and cannot be turned off by the user. Since macOS 13.
    /// <https://developer.apple.com/documentation/devicemanagement/servicemanagementmanagedloginitems>
    pub struct ServiceManagementPayload {
        new {
            /// Any of them.
            rules: Vec<ServiceRule> = "Rules",
        }
    }
}

payload_type!(ServiceManagementPayload = "com.apple.servicemanagement");

record! {
    /// Something that opens at the login.
    pub struct LoginItem {
        new {
            /// Where it is.
            path: String = "Path",
        }
        optional {
            /// It opens out of sight.
            hide: bool = "Hide",
        }
    }
}

record! {
    /// What opens at the login.
    /// <https://developer.apple.com/documentation/devicemanagement/loginitemsmanageditems>
    pub struct LoginItemsPayload {
        new {
            /// All of them.
            items: Vec<LoginItem> = "AutoLaunchedApplicationDictionary-managed",
        }
    }
}

payload_type!(LoginItemsPayload = "com.apple.loginitems.managed");
