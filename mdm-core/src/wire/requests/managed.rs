//! Questions about managed applications, and what belongs to none of them:
//! `ManagedApplicationList`, `…Attributes`, `…Configuration`, `…Feedback`, `ValidateApplications`,
//! `InviteToProgram`, `ActiveNSExtensions`.

use crate::wire::keys::{record, words};

record! {
    /// What this service manages by command.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationlistcommand>
    pub struct ManagedApplicationList {
        optional {
            /// Only these; without it all.
            identifiers: Vec<String> = "Identifiers",
        }
    }
}

impl ManagedApplicationList {
    /// Only these; of none, all.
    #[must_use]
    pub fn of(identifiers: &[String]) -> Self {
        Self {
            identifiers: (!identifiers.is_empty()).then(|| identifiers.to_vec()),
        }
    }
}

record! {
    /// The attributes of managed applications. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationattributescommand>
    pub struct ManagedApplicationAttributes {
        new {
            /// Of which.
            identifiers: Vec<String> = "Identifiers",
        }
    }
}

record! {
    /// The configurations of managed applications. Not on a Mac. The answer may hold passwords.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationconfigurationcommand>
    pub struct ManagedApplicationConfiguration {
        new {
            /// Of which.
            identifiers: Vec<String> = "Identifiers",
        }
    }
}

record! {
    /// What managed applications left for the service to read. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationfeedbackcommand>
    pub struct ManagedApplicationFeedback {
        new {
            /// Of which.
            identifiers: Vec<String> = "Identifiers",
        }
        optional {
            /// Whether it is deleted once it was read.
            delete_feedback: bool = "DeleteFeedback",
        }
    }
}

record! {
    /// Renews the permission of applications of one's own to run. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/validateapplicationscommand>
    pub struct ValidateApplications {
        optional {
            /// Which; without it all.
            identifiers: Vec<String> = "Identifiers",
        }
    }
}

words! {
    /// The programme of an invitation.
    pub enum ProgramId {
        /// Licences for users.
        VolumePurchase = "com.apple.cloudvpp",
    }
}

record! {
    /// Invites the user to the programme for licences. Nothing to do with enrolment.
    /// <https://developer.apple.com/documentation/devicemanagement/invitetoprogramcommand>
    pub struct InviteToProgram {
        new {
            /// Which programme.
            program_id: ProgramId = "ProgramID",
            /// The address that Apple's licence service gave for this user.
            invitation_url: String = "InvitationURL",
        }
    }
}

record! {
    /// The extensions that run for the user, Mac only, on a user channel.
    /// <https://developer.apple.com/documentation/devicemanagement/activensextensionscommand>
    pub struct ActiveNSExtensions {
        optional {
            /// Only those of these extension points.
            filter_extension_points: Vec<String> = "FilterExtensionPoints",
        }
    }
}
