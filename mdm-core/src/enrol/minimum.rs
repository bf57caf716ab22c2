//! The oldest system that may enrol: which devices are told to update first, and in which words. Knows no organisation.
//!
//! <https://developer.apple.com/documentation/devicemanagement/errorcodesoftwareupdaterequired>

use std::cmp::Ordering;

use serde_json::json;

use super::machine_info::MachineInfo;

/// A version such as `26.4.1`, as numbers. `None` when it is spelt otherwise.
#[must_use]
pub fn version(text: &str) -> Option<Vec<u32>> {
    let numbers: Option<Vec<u32>> = text.split('.').map(|n| n.parse().ok()).collect();
    numbers.filter(|n| (1..=4).contains(&n.len()))
}

/// Whether `has` is older than `least`. What cannot be read is not judged.
#[must_use]
pub fn is_older(has: &str, least: &str) -> bool {
    let (Some(mut has), Some(mut least)) = (version(has), version(least)) else {
        return false;
    };
    let length = has.len().max(least.len());
    has.resize(length, 0);
    least.resize(length, 0);
    has.cmp(&least) == Ordering::Less
}

/// What a device is told that must update first; `None` for one that may enrol as it is, or that cannot update on request:
/// to that a refusal would say nothing.
#[must_use]
pub fn answer(info: &MachineInfo, least: &str) -> Option<Vec<u8>> {
    let old = info.can_update_first
        && info
            .os_version
            .as_deref()
            .is_some_and(|has| is_older(has, least));
    old.then(|| {
        let answer = json!({
            "code": "com.apple.softwareupdate.required",
            "description": "the system is older than this organisation allows",
            "message": format!("Please update to {least} first."),
            "details": { "OSVersion": least },
        });
        answer.to_string().into_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number_and_not_by_text() {
        let check = |has: &str, least: &str, older: bool| {
            assert_eq!(is_older(has, least), older, "{has} {least}");
        };
        check("9.0", "26.0", true);
        check("26.9", "26.10", true);
        check("26.1", "26.1.0", false);
        check("26.1", "26.1.1", true);
        check("27", "26.4.1", false);
        check("26.1 beta", "27", false);
        check("", "27", false);
    }
}
