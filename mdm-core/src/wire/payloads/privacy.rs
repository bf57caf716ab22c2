//! `com.apple.TCC.configuration-profile-policy`: what applications of a Mac may see and do without
//! asking the user.

use super::payload_type;
use crate::wire::keys::{record, words};

words! {
    /// How an application is named.
    pub enum CodeIdentityType {
        /// By its bundle identifier.
        BundleId = "bundleID",
        /// By its place.
        Path = "path",
    }
}

words! {
    /// What is decided. Since macOS 11; it goes before `Allowed`.
    pub enum Authorization {
        /// It may.
        Allow = "Allow",
        /// It may not.
        Deny = "Deny",
        /// A user who is no administrator may decide.
        AllowStandardUserToSetSystemService = "AllowStandardUserToSetSystemService",
    }
}

record! {
    /// One application and what is decided of it.
    pub struct CodeIdentity {
        new {
            /// Its bundle identifier or its place.
            identifier: String = "Identifier",
            /// Which of them.
            identifier_type: CodeIdentityType = "IdentifierType",
            /// As `codesign -dr -` prints it.
            code_requirement: String = "CodeRequirement",
            /// It may; since macOS 11 `Authorization` counts.
            allowed: bool = "Allowed",
        }
        optional {
            /// What is decided.
            authorization: Authorization = "Authorization",
            /// The file is checked and not the running program.
            static_code: bool = "StaticCode",
            /// For people.
            comment: String = "Comment",
            /// Who gets Apple events; with that service only.
            receiver_identifier: String = "AEReceiverIdentifier",
            /// How the receiver is named.
            receiver_identifier_type: CodeIdentityType = "AEReceiverIdentifierType",
            /// The code requirement of the receiver.
            receiver_code_requirement: String = "AEReceiverCodeRequirement",
        }
    }
}

record! {
    /// By service: the applications.
    pub struct PrivacyServices {
        optional {
            /// Contacts.
            address_book: Vec<CodeIdentity> = "AddressBook",
            /// Calendars.
            calendar: Vec<CodeIdentity> = "Calendar",
            /// Reminders.
            reminders: Vec<CodeIdentity> = "Reminders",
            /// Photos.
            photos: Vec<CodeIdentity> = "Photos",
            /// The camera; it can only be denied.
            camera: Vec<CodeIdentity> = "Camera",
            /// The microphone; it can only be denied.
            microphone: Vec<CodeIdentity> = "Microphone",
            /// Control of the Mac by the accessibility interface.
            accessibility: Vec<CodeIdentity> = "Accessibility",
            /// Sending of input events.
            post_event: Vec<CodeIdentity> = "PostEvent",
            /// Every file.
            system_policy_all_files: Vec<CodeIdentity> = "SystemPolicyAllFiles",
            /// Files of the administration.
            system_policy_sys_admin_files: Vec<CodeIdentity> = "SystemPolicySysAdminFiles",
            /// Sending Apple events to another application.
            apple_events: Vec<CodeIdentity> = "AppleEvents",
            /// Apple Music and the media library. Since macOS 10.15.
            media_library: Vec<CodeIdentity> = "MediaLibrary",
            /// Learning when the user uses its files. Since macOS 10.15.
            file_provider_presence: Vec<CodeIdentity> = "FileProviderPresence",
            /// Listening to input; it can only be denied. Since macOS 10.15.
            listen_event: Vec<CodeIdentity> = "ListenEvent",
            /// Seeing the screen; it can only be denied. Since macOS 10.15.
            screen_capture: Vec<CodeIdentity> = "ScreenCapture",
            /// Speech recognition. Since macOS 10.15.
            speech_recognition: Vec<CodeIdentity> = "SpeechRecognition",
            /// The desktop. Since macOS 10.15.
            system_policy_desktop_folder: Vec<CodeIdentity> = "SystemPolicyDesktopFolder",
            /// The documents. Since macOS 10.15.
            system_policy_documents_folder: Vec<CodeIdentity> = "SystemPolicyDocumentsFolder",
            /// The downloads. Since macOS 10.15.
            system_policy_downloads_folder: Vec<CodeIdentity> = "SystemPolicyDownloadsFolder",
            /// Network volumes. Since macOS 10.15.
            system_policy_network_volumes: Vec<CodeIdentity> = "SystemPolicyNetworkVolumes",
            /// Removable volumes. Since macOS 10.15.
            system_policy_removable_volumes: Vec<CodeIdentity> = "SystemPolicyRemovableVolumes",
            /// Changing other applications. Since macOS 13.
            system_policy_app_bundles: Vec<CodeIdentity> = "SystemPolicyAppBundles",
            /// Data of other applications. Since macOS 14.
            system_policy_app_data: Vec<CodeIdentity> = "SystemPolicyAppData",
            /// Bluetooth. Since macOS 11.
            bluetooth_always: Vec<CodeIdentity> = "BluetoothAlways",
        }
    }
}

record! {
    /// Decisions about privacy. It needs a management that the user approved.
    /// <https://developer.apple.com/documentation/devicemanagement/privacypreferencespolicycontrol>
    pub struct PrivacyPayload {
        new {
            /// By service.
            services: PrivacyServices = "Services",
        }
    }
}

payload_type!(PrivacyPayload = "com.apple.TCC.configuration-profile-policy");
