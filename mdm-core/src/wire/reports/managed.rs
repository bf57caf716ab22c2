//! The answers about managed applications: attributes, configurations, feedback, and those about
//! extensions and invitations.

use crate::wire::keys::{Free, Withheld, answer, words};
use crate::wire::requests::AppAttributes;

answer! {
    /// The answer to `ManagedApplicationAttributes`.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationattributesresponse>
    pub struct ManagedApplicationAttributesAnswer {
        /// One per application.
        attributes: Vec<AttributesOfApplication> = "ApplicationAttributes",
    }
}

answer! {
    /// The attributes of one application.
    pub struct AttributesOfApplication {
        /// The bundle identifier.
        identifier: String = "Identifier",
        /// As they were set.
        attributes: AppAttributes = "Attributes",
    }
}

answer! {
    /// The answer to `ManagedApplicationConfiguration`.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationconfigurationresponse>
    pub struct ManagedApplicationConfigurationAnswer {
        /// One per application.
        configurations: Vec<ConfigurationOfApplication> = "ApplicationConfigurations",
    }
}

answer! {
    /// The configuration of one application.
    pub struct ConfigurationOfApplication {
        /// The bundle identifier.
        identifier: String = "Identifier",
        /// It may hold passwords. What was lifted is the dictionary as an XML property list.
        configuration: Withheld = "Configuration",
    }
}

answer! {
    /// The answer to `ManagedApplicationFeedback`.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationfeedbackresponse>
    pub struct ManagedApplicationFeedbackAnswer {
        /// One per application.
        feedback: Vec<FeedbackOfApplication> = "ManagedApplicationFeedback",
    }
}

answer! {
    /// What one application left to read.
    pub struct FeedbackOfApplication {
        /// The bundle identifier.
        identifier: String = "Identifier",
        /// Free.
        feedback: Free = "Feedback",
    }
}

words! {
    /// What became of an invitation.
    pub enum InvitationResult {
        /// The user will be asked.
        Acknowledged = "Acknowledged",
        /// There is no such programme.
        InvalidProgramId = "InvalidProgramID",
        /// The address is none of Apple's.
        InvalidInvitationUrl = "InvalidInvitationURL",
    }
}

answer! {
    /// The answer to `InviteToProgram`.
    /// <https://developer.apple.com/documentation/devicemanagement/invitetoprogramresponse>
    pub struct InviteToProgramAnswer {
        /// What became of it.
        result: InvitationResult = "InvitationResult",
    }
}

words! {
    /// What the user chose for an extension.
    pub enum UserElection {
        /// Nothing.
        Default = "Default",
        /// To use it.
        Use = "Use",
        /// Not to use it.
        Ignore = "Ignore",
    }
}

answer! {
    /// The answer to `ActiveNSExtensions`.
    /// <https://developer.apple.com/documentation/devicemanagement/activensextensionsresponse>
    pub struct ActiveNSExtensionsAnswer {
        /// Those that run.
        extensions: Vec<Extension> = "Extensions",
    }
}

answer! {
    /// The answer to `NSExtensionMappings`.
    /// <https://developer.apple.com/documentation/devicemanagement/nsextensionmappingsresponse>
    pub struct NSExtensionMappingsAnswer {
        /// All, with fewer keys.
        extensions: Vec<Extension> = "Extensions",
    }
}

answer! {
    /// An extension.
    pub struct Extension {
        /// Its identifier.
        identifier: String = "Identifier",
        /// What it extends.
        extension_point: String = "ExtensionPoint",
        /// Its name.
        display_name: String = "DisplayName",
        /// The name of the application that brought it.
        container_display_name: String = "ContainerDisplayName",
        /// The identifier of that application.
        container_identifier: String = "ContainerIdentifier",
        /// Where it is.
        path: String = "Path",
        /// Its version.
        version: String = "Version",
        /// What the user chose.
        user_election: UserElection = "UserElection",
    }
}
