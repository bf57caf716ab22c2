//! Activation Lock: codes, settings and the numbers that a removal needs. Asking Apple is a port's
//! work, and when to lock is decided elsewhere.
//!
//! There are two codes, and nobody can know which one a locked device wants: ours, made before the
//! organisation's lock is asked for, and the device's, for the lock of its user. Both are kept.
//!
//! <https://developer.apple.com/documentation/devicemanagement/activation-lock-devices>

use std::time::Duration;

use abm_client::BypassCode;

use crate::clock::Timestamp;
use crate::device::RadioNumbers;
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::wire::command::CommandBody;
use crate::wire::report::CommandReport;
use crate::wire::reports::{DeviceInformation, ServiceSubscription};
use crate::wire::requests::{Setting, Settings};

/// How long after supervision began a device gives out its own code: about fifteen days.
const DEVICE_CODE_WINDOW: Duration = Duration::from_secs(15 * 86_400);

/// So many codes are tried on one lock: whoever tries more is guessing.
const MOST_CODES: usize = 8;

/// A code could not be made, or a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a bypass code")]
pub struct NotACode;

/// Makes a code for the organisation's lock, as the text that people type. It is sealed before
/// Apple is asked, and a repeated request uses the same one: a second code would be a second lock.
///
/// # Errors
/// [`NotACode`] if the operating system gives no randomness.
pub fn new_code() -> Result<Secret, NotACode> {
    let code = BypassCode::generate().map_err(|_| NotACode)?;
    Ok(Secret::from_text(code.code().expose()))
}

/// The hash of a code, by which Apple locks: upper-case hexadecimal.
///
/// # Errors
/// [`NotACode`] if the text is none of ours.
pub fn escrow_key(code: &Secret) -> Result<String, NotACode> {
    let text = code.expose_text().ok_or(NotACode)?;
    let code = BypassCode::parse(text).map_err(|_| NotACode)?;
    let key = code.escrow_key().map_err(|_| NotACode)?;
    Ok(key.expose().to_owned())
}

/// The device's own code in a report, if it gave one.
#[must_use]
pub fn device_code(report: &CommandReport) -> Option<Secret> {
    let code = report.activation_lock_bypass_code()?.expose_text()?.trim();
    (!code.is_empty()).then(|| Secret::from_text(code))
}

/// Until when asking the device for its own code makes sense; later it has none to give.
#[must_use]
pub fn device_gives_code_until(supervised_since: Timestamp) -> Timestamp {
    supervised_since + DEVICE_CODE_WINDOW
}

/// The codes to try on a locked device, the likeliest first: all are tried. By Apple's word a lock is the organisation's
/// (`MDM`), its user's (`USER`), or nobody knows; what something newer has replaced comes last.
#[must_use]
pub fn codes_to_try<'a>(held: &'a [SealedSecret], word: Option<&str>) -> Vec<&'a SealedSecret> {
    use SecretKind::{
        DeviceBypassCode, OriginalBypassCode, OriginalDeviceBypassCode, ServerBypassCode,
    };
    let order = match word {
        Some("USER") => [
            DeviceBypassCode,
            OriginalDeviceBypassCode,
            ServerBypassCode,
            OriginalBypassCode,
        ],
        _ => [
            ServerBypassCode,
            DeviceBypassCode,
            OriginalBypassCode,
            OriginalDeviceBypassCode,
        ],
    };
    let place = |row: &SealedSecret| order.iter().position(|kind| *kind == row.kind);
    let mut codes: Vec<&SealedSecret> = held
        .iter()
        .filter(|row| row.destroyed.is_none() && place(row).is_some())
        .collect();
    codes.sort_by_key(|row| (row.replaced.is_some(), place(row), -row.created.as_millis()));
    codes.truncate(MOST_CODES);
    codes
}

/// Allows or forbids the user's own lock on a supervised device. Forbidden is Apple's default.
#[must_use]
pub fn allow_user_lock(allowed: bool) -> CommandBody {
    CommandBody::Settings(Settings::new([Setting::activation_lock_allowed(allowed)]))
}

impl RadioNumbers {
    /// From the device's own answer.
    #[must_use]
    pub fn of(information: &DeviceInformation) -> Self {
        let slot = |name: &str| {
            information
                .subscriptions
                .iter()
                .flatten()
                .find(|s| s.slot.as_deref() == Some(name))
        };
        let (one, two) = (slot("CTSubscriptionSlotOne"), slot("CTSubscriptionSlotTwo"));
        Self {
            imei: one.and_then(ServiceSubscription::imei_digits),
            imei2: two.and_then(ServiceSubscription::imei_digits),
            meid: one.and_then(ServiceSubscription::meid_digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{OrganisationId, SecretId};

    #[test]
    fn the_published_code_has_the_published_hash() {
        let code = Secret::from_text("000H4-0R40M-30F2-0918-5HR3-8F17");
        assert_eq!(
            escrow_key(&code).as_deref(),
            Ok("C5CED1D0C51459C1A887866A5868DD3E9E6F4FC4A8C244F3F9EB9383C0F8AECB")
        );
        assert_eq!(escrow_key(&Secret::from_text("hello")), Err(NotACode));
        assert_eq!(escrow_key(&Secret::new([0xff])), Err(NotACode));
    }

    #[test]
    fn new_codes_differ_and_hash_alike_each_time() {
        let (one, two) = (new_code().unwrap(), new_code().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 31);
        assert_eq!(escrow_key(&one), escrow_key(&one));
        assert_ne!(escrow_key(&one), escrow_key(&two));
    }

    #[test]
    fn the_device_tells_its_code_and_its_numbers() {
        let report = |body: &str| {
            let text = format!(
                "<plist version=\"1.0\"><dict><key>UDID</key><string>A</string><key>CommandUUID\
                 </key><string>c</string><key>Status</key><string>Acknowledged</string>{body}\
                 </dict></plist>"
            );
            CommandReport::parse(text.as_bytes()).unwrap()
        };
        let told = |text: &str| {
            let body = format!("<key>ActivationLockBypassCode</key><string>{text}</string>");
            device_code(&report(&body))
        };
        assert_eq!(told(" ABC "), Some(Secret::from_text("ABC")));
        assert_eq!(told(""), None);
        assert_eq!(device_code(&report("")), None);
        let slots = report(
            "<key>QueryResponses</key><dict><key>ServiceSubscriptions</key><array><dict>\
             <key>Slot</key><string>CTSubscriptionSlotTwo</string><key>IMEI</key><string>2</string>\
             </dict><dict><key>Slot</key><string>CTSubscriptionSlotOne</string><key>IMEI</key>\
             <string>1</string><key>MEID</key><string>m</string></dict></array></dict>",
        );
        let numbers = RadioNumbers::of(&slots.device_information().unwrap());
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(
            (numbers.imei, numbers.imei2, numbers.meid),
            (of("1"), of("2"), of("m"))
        );
    }

    #[test]
    fn every_code_is_tried_and_the_likeliest_first() {
        use SecretKind::{
            BootstrapToken, DeviceBypassCode, OriginalBypassCode, OriginalDeviceBypassCode,
            ServerBypassCode,
        };
        let row = |n: i64, kind: SecretKind| {
            let (org, at) = (OrganisationId(1), Timestamp::from_millis(n));
            SealedSecret::new(org, SecretId(n), kind, None, Vec::new(), at)
        };
        let mut held = vec![
            row(1, ServerBypassCode),
            row(2, OriginalDeviceBypassCode),
            row(3, DeviceBypassCode),
            row(4, OriginalBypassCode),
            row(5, BootstrapToken),
            row(6, ServerBypassCode),
        ];
        held[0].replaced = Some(Timestamp::from_millis(6));
        let order = |held: &[SealedSecret], word| -> Vec<i64> {
            let codes = codes_to_try(held, word);
            codes.iter().map(|row| row.id.0).collect()
        };
        assert_eq!(order(&held, Some("MDM")), [6, 3, 4, 2, 1]);
        assert_eq!(order(&held, None), [6, 3, 4, 2, 1]);
        assert_eq!(order(&held, Some("USER")), [3, 2, 6, 4, 1]);
        held[5].destroyed = Some(Timestamp::from_millis(7));
        assert_eq!(order(&held, Some("USER")), [3, 2, 4, 1]);
        assert!(order(&[], None).is_empty());
    }

    #[test]
    fn a_device_gives_its_code_for_fifteen_days() {
        let day = |n: i64| Timestamp::from_millis(n * 86_400_000);
        assert_eq!(device_gives_code_until(day(1)), day(16));
    }
}
