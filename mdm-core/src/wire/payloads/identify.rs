//! Which profile a file is: its identifier, whether it is signed, what it brings. Judges no payload.

use std::collections::BTreeSet;

use plist::{Dictionary, Value};

use crate::wire::cms::verify;
use crate::wire::plist::{CHECK_IN_LIMIT, PlistError, read_dictionary};

/// Why a file is no configuration profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A signature that does not fit what it signs.
    #[error("has a signature that does not verify")]
    Signature,
    /// No property list.
    #[error("{0}")]
    Plist(#[from] PlistError),
    /// A property list that is none of a profile.
    #[error("is no configuration profile: PayloadType must be Configuration")]
    NotAProfile,
    /// Without `PayloadIdentifier`, which says what replaces what.
    #[error("has no PayloadIdentifier")]
    NoIdentifier,
    /// A profile that manages the device: there is one per device, and it comes by enrolment.
    #[error("holds a payload of com.apple.mdm, which comes by enrolment only")]
    Management,
}

/// What a profile brings to a device, as far as the what-if of a migration asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two sets")]
pub struct ProfileContents {
    /// The `PayloadType`s in it.
    pub payloads: BTreeSet<String>,
    /// The names of Wi-Fi networks in it.
    pub networks: BTreeSet<String>,
}

/// The `PayloadIdentifier` of a profile, and whether the file is signed. Who signed is not judged.
///
/// # Errors
/// [`ProfileError`].
pub fn profile_identifier(file: &[u8]) -> Result<(String, bool), ProfileError> {
    let read = read_profile(file)?;
    let manages = |payload: &Dictionary| text(payload, "PayloadType") == Some("com.apple.mdm");
    if payloads(&read).any(manages) {
        return Err(ProfileError::Management);
    }
    let identifier = text(&read, "PayloadIdentifier");
    let identifier = identifier.filter(|id| !id.is_empty() && id.len() <= 255);
    let identifier = identifier.ok_or(ProfileError::NoIdentifier)?;
    Ok((identifier.to_owned(), is_signed(file)))
}

/// What a profile brings, signed or not.
///
/// # Errors
/// [`ProfileError`].
pub fn profile_contents(file: &[u8]) -> Result<ProfileContents, ProfileError> {
    let read = read_profile(file)?;
    let mut contents = ProfileContents::default();
    for payload in payloads(&read) {
        let Some(kind) = text(payload, "PayloadType") else {
            continue;
        };
        contents.payloads.insert(kind.to_owned());
        if kind == "com.apple.wifi.managed" {
            contents
                .networks
                .extend(text(payload, "SSID_STR").map(str::to_owned));
        }
    }
    Ok(contents)
}

/// What stands within the signature of a profile. `None` when it has none, or one that does not fit.
pub(crate) fn signed_content(file: &[u8]) -> Option<Vec<u8>> {
    let verified = is_signed(file).then(|| verify(file, None, CHECK_IN_LIMIT))?;
    Some(verified.ok()?.content)
}

fn is_signed(file: &[u8]) -> bool {
    file.first() == Some(&0x30)
}

fn read_profile(file: &[u8]) -> Result<Dictionary, ProfileError> {
    let content;
    let xml = if is_signed(file) {
        let verified = verify(file, None, CHECK_IN_LIMIT).map_err(|_| ProfileError::Signature)?;
        content = verified.content;
        content.as_slice()
    } else {
        file
    };
    let read = read_dictionary(xml, CHECK_IN_LIMIT)?;
    if text(&read, "PayloadType") != Some("Configuration") {
        return Err(ProfileError::NotAProfile);
    }
    Ok(read)
}

fn text<'a>(of: &'a Dictionary, key: &str) -> Option<&'a str> {
    of.get(key).and_then(Value::as_string).map(str::trim)
}

fn payloads(profile: &Dictionary) -> impl Iterator<Item = &Dictionary> {
    let all = profile.get("PayloadContent").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_dictionary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Ca;
    use crate::clock::Timestamp;

    fn profile(kind: &str, inner: &str, more: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>PayloadType</key><string>{kind}</string>{more}\
             <key>PayloadContent</key><array><dict><key>PayloadType</key><string>{inner}</string></dict></array></dict></plist>"
        )
        .into_bytes()
    }

    const NAMED: &str = "<key>PayloadIdentifier</key><string>com.example.wifi</string>";

    #[test]
    fn a_profile_is_known_by_its_identifier_signed_or_not() {
        let plain = profile("Configuration", "com.apple.wifi.managed", NAMED);
        let name = "com.example.wifi".to_owned();
        assert_eq!(profile_identifier(&plain), Ok((name.clone(), false)));
        let by = Ca::create("signer", Timestamp::from_millis(1_796_000_000_000)).unwrap();
        let key = by.private_key().unwrap();
        let mut signed = crate::enrol::profile::sign(&plain, &key, by.certificate(), &[]).unwrap();
        assert_eq!(profile_identifier(&signed), Ok((name, true)));
        let at = signed.windows(7).position(|w| w == b"example").unwrap();
        signed[at] ^= 1;
        assert_eq!(profile_identifier(&signed), Err(ProfileError::Signature));
    }

    #[test]
    fn what_a_profile_brings_is_told() {
        let wifi = "<key>PayloadIdentifier</key><string>a</string><key>PayloadDisplayName</key><string>b</string>";
        let file = profile("Configuration", "com.apple.wifi.managed", wifi);
        let named = String::from_utf8(file).unwrap().replace(
            "<string>com.apple.wifi.managed</string>",
            "<string>com.apple.wifi.managed</string><key>SSID_STR</key><string>Office</string>",
        );
        let contents = profile_contents(named.as_bytes()).unwrap();
        assert_eq!(contents.networks, BTreeSet::from(["Office".to_owned()]));
        let kinds = BTreeSet::from(["com.apple.wifi.managed".to_owned()]);
        assert_eq!(contents.payloads, kinds);
        let other = profile("Configuration", "com.apple.vpn.managed", NAMED);
        assert!(profile_contents(&other).unwrap().networks.is_empty());
        assert!(profile_contents(b"0nonsense").is_err());
    }

    #[test]
    fn what_is_no_profile_for_a_library_is_refused() {
        let check = |kind: &str, inner: &str, more: &str, why: ProfileError| {
            assert_eq!(profile_identifier(&profile(kind, inner, more)), Err(why));
        };
        check(
            "com.apple.wifi.managed",
            "x",
            NAMED,
            ProfileError::NotAProfile,
        );
        check("Configuration", "x", "", ProfileError::NoIdentifier);
        check(
            "Configuration",
            "com.apple.mdm",
            NAMED,
            ProfileError::Management,
        );
        assert!(profile_identifier(b"").is_err());
        assert!(profile_identifier(b"0nonsense").is_err());
    }
}
