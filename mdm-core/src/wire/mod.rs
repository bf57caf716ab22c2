//! Apple's words: property lists, check-ins, commands, reports, payloads, signatures.
//!
//! Bytes in, values out, and the other way round. Nothing here decides anything, reads a clock or
//! does IO; this is the only place that knows the keys of Apple's property lists.

pub mod checkin;
pub(crate) mod cms;
pub mod command;
pub mod declarations;
pub mod declared;
mod field;
pub mod json;
pub mod keys;
pub mod payloads;
pub mod plist;
pub mod push_request;
mod redact;
pub mod report;
pub mod reports;
pub mod requests;
pub mod signature;

use self::plist::PlistError;

/// Why a message could not be read. It names message and field, never what was in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes are no property list that we read.
    #[error(transparent)]
    Plist(#[from] PlistError),
    /// A required field is absent.
    #[error("{message}: {field} is missing")]
    Missing {
        /// The message.
        message: &'static str,
        /// The absent key.
        field: &'static str,
    },
    /// A field that must have content is empty.
    #[error("{message}: {field} is empty")]
    Empty {
        /// The message.
        message: &'static str,
        /// The empty key.
        field: &'static str,
    },
    /// A field has another type than the protocol says.
    #[error("{message}: {field} is not of type {expected}")]
    WrongType {
        /// The message.
        message: &'static str,
        /// The key.
        field: &'static str,
        /// The property-list type that it should have.
        expected: &'static str,
    },
    /// A field is longer than anything that the protocol knows.
    #[error("{message}: {field} is longer than {limit} bytes")]
    TooLong {
        /// The message.
        message: &'static str,
        /// The key.
        field: &'static str,
        /// The longest value that is read, in bytes.
        limit: usize,
    },
    /// `MessageType` names no message of the check-in protocol.
    #[error("check-in: unknown MessageType")]
    UnknownMessage,
    /// `Status` is none of the five that the protocol knows.
    #[error("command report: unknown Status")]
    UnknownStatus,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::checkin::CheckIn;
    use super::report::CommandReport;
    use super::reports::Answer;

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9 -]{0,12}".prop_map(|t| format!("<string>{t}</string>")),
            any::<i64>().prop_map(|n| format!("<integer>{n}</integer>")),
            any::<bool>().prop_map(|b| format!("<{b}/>")),
            Just("<data>AAEC</data>".to_owned()),
            Just("<date>2026-11-20T08:00:00Z</date>".to_owned()),
            Just("<array><dict/><true/></array>".to_owned()),
            Just("<dict><key>UDID</key><data>AA==</data></dict>".to_owned()),
        ]
    }

    proptest! {
        /// Whatever stands under the keys that we read: an answer or a refusal, and every view of a
        /// report can be asked for.
        #[test]
        fn no_message_does_harm(
            values in prop::collection::vec(value(), 24),
            kind in prop::sample::select(vec!["Authenticate", "TokenUpdate", "SetBootstrapToken", "x"]),
        ) {
            let keys = [
                "UDID", "UserID", "EnrollmentID", "UserShortName", "Topic", "PushMagic", "Token",
                "UnlockToken", "BootstrapToken", "AwaitingConfiguration", "CommandUUID",
                "ErrorChain", "SecurityInfo", "QueryResponses", "InstalledApplicationList",
                "ManagedApplicationList", "ProfileList", "CertificateList", "Users", "Settings",
                "RotateResult", "ActivationLockBypassCode", "State", "AuthToken",
            ];
            let mut body = String::new();
            for (key, value) in keys.iter().zip(&values) {
                body.push_str(&format!("<key>{key}</key>{value}"));
            }
            let wrapped = |head: &str| format!("<plist><dict>{head}{body}</dict></plist>");
            let check_in = wrapped(&format!("<key>MessageType</key><string>{kind}</string>"));
            if let Err(error) = CheckIn::parse(check_in.as_bytes()) {
                prop_assert!(!error.to_string().is_empty());
            }
            let report = wrapped("<key>Status</key><string>Acknowledged</string>");
            if let Ok(report) = CommandReport::parse(report.as_bytes()) {
                let _ = (report.device_information(), report.security_info(), report.users());
                let _ = (report.installed_applications(), report.managed_applications());
                let _ = (report.profiles(), report.certificates(), report.settings_results());
                let _ = (report.install_answer(), report.recovery_lock_verified());
                for request_type in Answer::REQUEST_TYPES {
                    // Every key of an answer is in its view, whatever stands under it.
                    let answer = report.answer(request_type).map(|a| a.to_dictionary());
                    prop_assert_eq!(answer, Some(report.own_keys()));
                }
                // What was stored reads as what was received, but for the secrets.
                let again = CommandReport::parse(&report.redacted_xml());
                prop_assert_eq!(again.map(|r| r.channel.key()), Ok(report.channel.key()));
            }
        }

        /// Bytes that mean nothing.
        #[test]
        fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(CheckIn::parse(&bytes).is_err());
            prop_assert!(CommandReport::parse(&bytes).is_err());
            prop_assert!(super::signature::verify_detached(&bytes, b"").is_err());
        }
    }
}
