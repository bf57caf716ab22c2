//! What a device says back: the body of a request on the command endpoint.
//!
//! Secrets are lifted out at once; what remains can be stored. The typed views of the answers that
//! a migration needs are in [`crate::wire::reports`]. Nothing here knows which command was asked:
//! a view is found by the keys of the answer.
//!
//! <https://developer.apple.com/documentation/devicemanagement/sending-mdm-commands-to-a-device>

use plist::Dictionary;

use super::WireError;
use super::checkin::Channel;
use super::field::Fields;
use super::keys::Field;
use super::plist::{REPORT_LIMIT, read_dictionary, write_dictionary};
use super::redact;
pub use super::redact::LiftedSecret;
use super::reports::ErrorLink;
use crate::secret::{Secret, SecretKind};

const MESSAGE: &str = "command report";

/// `Status` of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol has five; a sixth is refused, and every match must say what it does"
)]
pub enum Status {
    /// Nothing to report: the device asks for work.
    Idle,
    /// Done, or accepted where the work goes on afterwards.
    Acknowledged,
    /// Failed for good, under this command's UUID.
    Error,
    /// The device could not parse the command. The same bytes are never sent again.
    CommandFormatError,
    /// Not now; the device has forgotten the command.
    NotNow,
}

impl Status {
    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Acknowledged => "Acknowledged",
            Self::Error => "Error",
            Self::CommandFormatError => "CommandFormatError",
            Self::NotNow => "NotNow",
        }
    }

    /// Whether a command with this status is settled.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Acknowledged | Self::Error | Self::CommandFormatError
        )
    }

    fn read(text: &str) -> Result<Self, WireError> {
        Ok(match text {
            "Idle" => Self::Idle,
            "Acknowledged" => Self::Acknowledged,
            "Error" => Self::Error,
            "CommandFormatError" => Self::CommandFormatError,
            "NotNow" => Self::NotNow,
            _ => return Err(WireError::UnknownStatus),
        })
    }
}

/// One link of an `ErrorChain`. Codes and domains are for people: they change between releases.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportedError {
    /// `ErrorCode`.
    pub code: i64,
    /// `ErrorDomain`.
    pub domain: String,
    /// `USEnglishDescription`, else `LocalizedDescription`.
    pub description: String,
}

/// A request on the command endpoint.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CommandReport {
    /// Who speaks.
    pub channel: Channel,
    /// What became of the command.
    pub status: Status,
    /// Which command; absent only with [`Status::Idle`].
    pub command_uuid: Option<String>,
    /// `RequestType`, which macOS often sends and nobody promises.
    pub request_type: Option<String>,
    /// The errors, the outermost first.
    pub error_chain: Vec<ReportedError>,
    secrets: Vec<LiftedSecret>,
    raw: Dictionary,
}

impl CommandReport {
    /// Reads the body of a request on the command endpoint.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut raw = read_dictionary(body, REPORT_LIMIT)?;
        let secrets = redact::lift(&mut raw);
        let fields = Fields::new(MESSAGE, &raw);
        let status = Status::read(&fields.required_text("Status")?)?;
        let channel = Channel::read(fields, &secrets)?;
        let command_uuid = fields.identifier("CommandUUID")?;
        if command_uuid.is_none() && status != Status::Idle {
            return Err(fields.missing("CommandUUID"));
        }
        let request_type = fields.identifier("RequestType")?;
        let error_chain = error_chain(&raw);
        Ok(Self {
            channel,
            status,
            command_uuid,
            request_type,
            error_chain,
            secrets,
            raw,
        })
    }

    /// The dictionary as received, with a mark in the place of each secret.
    #[must_use]
    pub fn redacted(&self) -> &Dictionary {
        &self.raw
    }

    /// The redacted dictionary as XML, for storage.
    #[must_use]
    pub fn redacted_xml(&self) -> Vec<u8> {
        write_dictionary(&self.raw)
    }

    /// What was lifted out.
    #[must_use]
    pub fn secrets(&self) -> &[LiftedSecret] {
        &self.secrets
    }

    /// The envelope with the recovery key, from `SecurityInfo` or from a rotation.
    #[must_use]
    pub fn recovery_key_envelope(&self) -> Option<&Secret> {
        self.first(SecretKind::RecoveryKeyEnvelope)
    }

    /// The device's own bypass code of its owner's Activation Lock.
    #[must_use]
    pub fn activation_lock_bypass_code(&self) -> Option<&Secret> {
        self.first(SecretKind::DeviceBypassCode)
    }

    /// The dictionary as received, without what every report may have.
    pub(super) fn own_keys(&self) -> Dictionary {
        let own = self
            .raw
            .iter()
            .filter(|(key, _)| !ENVELOPE.contains(&key.as_str()));
        own.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn first(&self, kind: SecretKind) -> Option<&Secret> {
        self.secrets
            .iter()
            .find(|s| s.kind == kind)
            .map(|s| &s.secret)
    }
}

/// The keys that every report may have; what is left belongs to the answer of its command.
const ENVELOPE: [&str; 14] = [
    "Status",
    "CommandUUID",
    "RequestType",
    "ErrorChain",
    "UDID",
    "EnrollmentID",
    "UserID",
    "EnrollmentUserID",
    "UserShortName",
    "UserLongName",
    "NotOnConsole",
    "AuthToken",
    "NeedSyncResponse",
    "UserConfiguration",
];

/// How many characters of an error's domain and description are kept.
const MAX_ERROR_TEXT: usize = 500;

/// How many links of an error chain are kept.
const MAX_ERRORS: usize = 16;

/// The links that have the shape of one. A report with a broken chain is still a report.
fn error_chain(of: &Dictionary) -> Vec<ReportedError> {
    let chain = of.get("ErrorChain").and_then(Vec::<ErrorLink>::of_value);
    errors_of(chain.iter().flat_map(|(links, _)| links))
}

/// As they end up in exceptions and in the record: a sentence of each is enough.
pub(super) fn errors_of<'a>(links: impl Iterator<Item = &'a ErrorLink>) -> Vec<ReportedError> {
    let cut = |text: Option<&String>| {
        let text = text.map(|text| text.chars().take(MAX_ERROR_TEXT).collect());
        text.unwrap_or_default()
    };
    links
        .take(MAX_ERRORS)
        .map(|link| ReportedError {
            code: link.code.unwrap_or(0),
            domain: cut(link.domain.as_ref()),
            description: cut(link
                .description
                .as_ref()
                .or(link.localized_description.as_ref())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<CommandReport, WireError> {
        let text = format!("<plist version=\"1.0\"><dict>{body}</dict></plist>");
        CommandReport::parse(text.as_bytes())
    }

    const KEYS: &str =
        "<key>UDID</key><string>A</string><key>CommandUUID</key><string>c-1</string>";

    #[test]
    fn each_status_is_read_and_no_other() {
        for status in [
            Status::Idle,
            Status::Acknowledged,
            Status::Error,
            Status::CommandFormatError,
            Status::NotNow,
        ] {
            let body = format!(
                "{KEYS}<key>Status</key><string>{}</string>",
                status.as_str()
            );
            assert_eq!(parse(&body).unwrap().status, status);
        }
        let check = |body: &str, expected: &str| {
            assert_eq!(parse(body).unwrap_err().to_string(), expected);
        };
        check(KEYS, "command report: Status is missing");
        check(
            &format!("{KEYS}<key>Status</key><string>Maybe</string>"),
            "command report: unknown Status",
        );
        check(
            "<key>UDID</key><string>A</string><key>Status</key><string>NotNow</string>",
            "command report: CommandUUID is missing",
        );
        check(
            "<key>Status</key><string>Idle</string>",
            "command report: UDID is missing",
        );
    }

    #[test]
    fn idle_needs_no_command() {
        let report =
            parse("<key>UDID</key><string>A</string><key>Status</key><string>Idle</string>");
        assert_eq!(report.unwrap().command_uuid, None);
    }

    #[test]
    fn an_error_chain_is_read_and_a_broken_one_tolerated() {
        let body = format!(
            "{KEYS}<key>Status</key><string>Error</string><key>ErrorChain</key><array><dict>\
             <key>ErrorCode</key><integer>12021</integer>\
             <key>ErrorDomain</key><string>MCMDMErrorDomain</string>\
             <key>LocalizedDescription</key><string>Nein</string>\
             <key>USEnglishDescription</key><string>No</string></dict><string>?</string></array>"
        );
        let report = parse(&body).unwrap();
        assert_eq!(
            report.error_chain,
            [ReportedError {
                code: 12021,
                domain: "MCMDMErrorDomain".into(),
                description: "No".into()
            }]
        );
        let broken =
            format!("{KEYS}<key>Status</key><string>Error</string><key>ErrorChain</key><true/>");
        assert!(parse(&broken).unwrap().error_chain.is_empty());
    }

    #[test]
    fn an_error_chain_is_kept_as_far_as_somebody_may_read_it() {
        let link = format!(
            "<dict><key>ErrorCode</key><integer>1</integer><key>ErrorDomain</key><string>{}</string></dict>",
            "é".repeat(MAX_ERROR_TEXT + 1)
        );
        let body = format!(
            "{KEYS}<key>Status</key><string>Error</string><key>ErrorChain</key><array>{}</array>",
            link.repeat(MAX_ERRORS + 1)
        );
        let chain = parse(&body).unwrap().error_chain;
        assert_eq!(chain.len(), MAX_ERRORS);
        assert_eq!(chain[0].domain.chars().count(), MAX_ERROR_TEXT);
    }

    #[test]
    fn secrets_are_lifted_wherever_they_stand() {
        let body = format!(
            "{KEYS}<key>Status</key><string>Acknowledged</string>\
             <key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/>\
             <key>FDE_PersonalRecoveryKeyCMS</key><data>ZW52ZWxvcGU=</data></dict>\
             <key>ActivationLockBypassCode</key><string>AAAA-BYPASS</string>\
             <key>List</key><array><dict><key>UnusedRedemptionCode</key><string>REDEEM</string></dict></array>"
        );
        let report = parse(&body).unwrap();
        assert!(report.recovery_key_envelope().unwrap().matches(b"envelope"));
        assert!(
            report
                .activation_lock_bypass_code()
                .unwrap()
                .matches(b"AAAA-BYPASS")
        );
        assert_eq!(report.secrets().len(), 3);
        let stored = String::from_utf8(report.redacted_xml()).unwrap();
        for shown in [stored, format!("{report:?}")] {
            for secret in ["ZW52ZWxvcGU", "envelope\"", "AAAA-BYPASS", "REDEEM"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
            assert!(shown.contains("FDE_Enabled"));
        }
    }
}
