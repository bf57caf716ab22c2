//! What is sealed into a hand-off: JSON, in the form of `hand-off.schema.json`. Each device is read by itself, so that a wrong one
//! costs nobody else; what is wrong is named by its field and never repeated. Unknown keys are kept: those of a device beside its
//! facts, those among its secrets as secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::HandedOver;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::filevault;
use crate::ids::{HandOffId, Serial};
use crate::original::Said;
use crate::secret::{Secret, SecretKind};

/// The word by which a bundle says what it is.
pub const FORMAT: &str = "mdm-hand-off";
/// The form that is written and read.
pub const VERSION: u64 = 1;
/// The most devices of a bundle.
pub const MOST_DEVICES: usize = 20_000;
/// The most bytes of one secret.
const LONGEST: usize = 4096;
/// The most bytes of the secrets of one device that we do not know.
const MOST_OTHERS: usize = 64 * 1024;

/// The secrets of a device, by their names in a bundle.
const SECRETS: [(&str, SecretKind); 5] = [
    ("recovery_key", SecretKind::OriginalRecoveryKey),
    ("bypass_code", SecretKind::OriginalBypassCode),
    ("device_bypass_code", SecretKind::OriginalDeviceBypassCode),
    (
        "recovery_lock_password",
        SecretKind::OriginalRecoveryLockPassword,
    ),
    ("firmware_password", SecretKind::OriginalFirmwarePassword),
];

/// The name in a bundle of a kind of secret.
#[must_use]
pub fn secret_name(kind: SecretKind) -> Option<&'static str> {
    SECRETS
        .iter()
        .find(|(_, k)| *k == kind)
        .map(|(name, _)| *name)
}

/// What the service that devices leave hands over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bundle {
    /// The number of the job that it was made for, where it says so.
    pub job: Option<i64>,
    /// What that service calls itself.
    pub from: Option<String>,
    /// When it was true.
    pub taken: Timestamp,
    /// Its devices in their order; of those that cannot be read, why.
    pub devices: Vec<Result<BundleDevice, HandedOver>>,
}

/// One device of a bundle.
#[derive(Debug)]
#[non_exhaustive]
pub struct BundleDevice {
    /// What is known of it; or which device it is, and why nothing else of it can be taken.
    pub said: Result<Said, (Serial, String)>,
    /// Its secrets.
    pub secrets: BTreeMap<SecretKind, Secret>,
    /// What is wrong with secrets that are not among them.
    pub notes: Vec<String>,
}

impl BundleDevice {
    /// A device with what is known of it.
    #[must_use]
    pub const fn new(said: Said) -> Self {
        Self {
            said: Ok(said),
            secrets: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Which device.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        match &self.said {
            Ok(said) => &said.serial,
            Err((serial, _)) => serial,
        }
    }

    /// Takes a secret by its name in a bundle; one that cannot be right is refused.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the secret, never what it is.
    pub fn take(&mut self, name: &str, secret: Secret) -> Result<(), Error> {
        let known = SECRETS.iter().find(|(known, _)| *known == name);
        let Some((_, kind)) = known else {
            return Err(Error::bad_input(
                format!("secrets.{name}"),
                "is not known here",
            ));
        };
        let wrong = |problem: &str| Err(Error::bad_input(format!("secrets.{name}"), problem));
        if secret.is_empty() || secret.len() > LONGEST {
            return wrong("must have 1 to 4096 bytes");
        }
        let secret = match kind {
            SecretKind::OriginalRecoveryKey => match filevault::recovery_key(secret.expose()) {
                Some(key) => key,
                None => {
                    return wrong(
                        "is no recovery key: six groups of four capital letters or digits",
                    );
                }
            },
            _ => secret,
        };
        self.secrets.insert(*kind, secret);
        Ok(())
    }

    /// Reads one device of a list: an object of our own form.
    ///
    /// # Errors
    /// What became of it, where not even its serial number can be read. `at` is its place in the list.
    pub fn read(value: Value, at: usize) -> Result<Self, HandedOver> {
        let place = || format!("devices[{at}]");
        let Value::Object(mut map) = value else {
            return Err(HandedOver::rejected(
                place(),
                format!("{}: must be an object", place()),
            ));
        };
        let secrets = map.remove("secrets");
        let serial = match map.get("serial") {
            None => Err("is missing"),
            Some(Value::String(text)) => Serial::parse(text).map_err(|_| "is no serial number"),
            Some(_) => Err("must be a string"),
        };
        let serial = match serial {
            Ok(serial) => serial,
            Err(why) => {
                forget(secrets);
                return Err(HandedOver::rejected(
                    place(),
                    format!("{}.serial: {why}", place()),
                ));
            }
        };
        let said = serde_path_to_error::deserialize::<_, Said>(Value::Object(map));
        let said = said.map_err(|error| {
            // The reader's own words may repeat what was sent.
            let field: String = error.path().to_string().chars().take(64).collect();
            (serial, format!("{field}: cannot be what stands there"))
        });
        let mut device = Self {
            said,
            secrets: BTreeMap::new(),
            notes: Vec::new(),
        };
        match secrets {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => device.read_secrets(map),
            other => {
                forget(other);
                device.notes.push("secrets: must be an object".to_owned());
            }
        }
        Ok(device)
    }

    fn read_secrets(&mut self, map: Map<String, Value>) {
        let mut others = Map::new();
        for (name, value) in map {
            let is_known = SECRETS.iter().any(|(known, _)| *known == name);
            match value {
                Value::Null => {}
                Value::String(text) if is_known => {
                    if let Err(error) = self.take(&name, Secret::from_text(text)) {
                        self.notes.push(error.to_string());
                    }
                }
                other if is_known => {
                    forget(Some(other));
                    self.notes.push(format!("secrets.{name}: must be a string"));
                }
                other => {
                    others.insert(name, other);
                }
            }
        }
        if others.is_empty() {
            return;
        }
        let all = Value::Object(others);
        let bytes = Secret::new(serde_json::to_vec(&all).unwrap_or_default());
        forget(Some(all));
        if bytes.len() > MOST_OTHERS {
            let note = "secrets: those that are not known here take more than 64 KiB";
            self.notes.push(note.to_owned());
        } else {
            self.secrets.insert(SecretKind::OriginalOther, bytes);
        }
    }

    /// Itself as JSON; what it holds of secrets is in the answer alone.
    fn written(&self) -> Result<Value, serde_json::Error> {
        let mut value = match &self.said {
            Ok(said) => serde_json::to_value(said)?,
            Err((serial, _)) => json!({ "serial": serial }),
        };
        if let Value::Object(map) = &mut value {
            map.retain(|_, part| !part.is_null());
            let mut secrets = Map::new();
            for (kind, secret) in &self.secrets {
                if *kind == SecretKind::OriginalOther {
                    let others = serde_json::from_slice(secret.expose());
                    if let Ok(Value::Object(others)) = others {
                        for (name, other) in others {
                            // One that is known by now is told by its own.
                            secrets.entry(name).or_insert(other);
                        }
                    }
                    continue;
                }
                let text = secret.expose_text();
                if let (Some(name), Some(text)) = (secret_name(*kind), text) {
                    secrets.insert(name.to_owned(), text.into());
                }
            }
            if !secrets.is_empty() {
                map.insert("secrets".to_owned(), Value::Object(secrets));
            }
        }
        Ok(value)
    }
}

/// Overwrites every text of a value with zeros.
fn forget(value: Option<Value>) {
    match value {
        Some(Value::String(mut text)) => text.zeroize(),
        Some(Value::Array(list)) => list.into_iter().for_each(|value| forget(Some(value))),
        Some(Value::Object(map)) => map.into_iter().for_each(|(_, value)| forget(Some(value))),
        _ => {}
    }
}

/// Writes a bundle.
///
/// # Errors
/// [`Error::BadInput`] for no devices, too many, or one that occurs twice.
pub fn write(
    from: &str,
    taken: Timestamp,
    job: Option<HandOffId>,
    devices: &[BundleDevice],
) -> Result<Secret, Error> {
    if devices.is_empty() || devices.len() > MOST_DEVICES {
        let problem = format!("must be 1 to {MOST_DEVICES}");
        return Err(Error::bad_input("devices", problem));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = devices.iter().find(|d| !seen.insert(d.serial())) {
        let problem = format!("{} occurs twice", twice.serial());
        return Err(Error::bad_input("devices", problem));
    }
    let unwritable = |_| Error::Crypto("a device cannot be written as JSON");
    // Room for most of it at once: growing leaves copies behind.
    let mut all = Zeroizing::new(Vec::with_capacity(4096 + devices.len() * 4096));
    let mut head = json!({ "format": FORMAT, "version": VERSION, "from": from, "taken": taken });
    if let Some(job) = job {
        head["job"] = job.to_string().into();
    }
    let head = head.to_string();
    all.extend_from_slice(head.trim_end_matches('}').as_bytes());
    all.extend_from_slice(b",\"devices\":[");
    for (at, device) in devices.iter().enumerate() {
        if at > 0 {
            all.push(b',');
        }
        let value = device.written().map_err(unwritable)?;
        serde_json::to_writer(&mut *all, &value).map_err(unwritable)?;
        forget(Some(value));
    }
    all.extend_from_slice(b"]}");
    Ok(Secret::new(std::mem::take(&mut *all)))
}

/// Reads a bundle. Devices of one serial number are all refused: which of them is right cannot be known.
///
/// # Errors
/// [`Error::BadInput`] names the field of what is wrong with the whole.
pub fn read(plain: &[u8]) -> Result<Bundle, Error> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(plain);
    let read = (&mut reading)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    if let Some(wrong) = reading.wrong {
        return Err(wrong);
    }
    if let Err(error) = read {
        let place = format!("line {}, column {}", error.line(), error.column());
        let problem = match error.is_data() {
            true => format!("cannot be what stands there ({place})"),
            false => format!("is no JSON from there on ({place})"),
        };
        return Err(Error::bad_input(reading.field, problem));
    }
    if !reading.seen.contains("format") {
        return Err(Error::bad_input(
            "format",
            format!("is missing: must be {FORMAT}"),
        ));
    }
    if !reading.seen.contains("version") {
        return Err(Error::bad_input(
            "version",
            format!("is missing: must be {VERSION}"),
        ));
    }
    let Some(taken) = reading.taken else {
        return Err(Error::bad_input(
            "taken",
            "is missing: must say when this was true",
        ));
    };
    if reading.devices.is_empty() {
        let problem = format!("must be 1 to {MOST_DEVICES}");
        return Err(Error::bad_input("devices", problem));
    }
    let mut times: BTreeMap<Serial, usize> = BTreeMap::new();
    for device in reading.devices.iter().flatten() {
        *times.entry(device.serial().clone()).or_default() += 1;
    }
    let devices = reading.devices.into_iter().map(|device| match device {
        Ok(device) if times.get(device.serial()).is_some_and(|n| *n > 1) => {
            Err(HandedOver::rejected(
                device.serial().as_str(),
                "serial: occurs more than once, and none of them is taken",
            ))
        }
        other => other,
    });
    Ok(Bundle {
        job: reading.job,
        from: reading.from,
        taken,
        devices: devices.collect(),
    })
}

/// The top level, as far as it is read.
struct Reading {
    /// What is being read, for a reader that stops.
    field: &'static str,
    wrong: Option<Error>,
    seen: BTreeSet<&'static str>,
    job: Option<i64>,
    from: Option<String>,
    taken: Option<Timestamp>,
    devices: Vec<Result<BundleDevice, HandedOver>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            field: "bundle",
            wrong: None,
            seen: BTreeSet::new(),
            job: None,
            from: None,
            taken: None,
            devices: Vec::new(),
        }
    }
}

const FIELDS: [&str; 6] = ["format", "version", "job", "from", "taken", "devices"];

impl Reading {
    /// Takes a field that is not the devices; notes what is wrong.
    fn take(&mut self, field: &'static str, value: &Value) {
        let problem = match (field, value) {
            ("format", Value::String(text)) if text == FORMAT => None,
            ("format", _) => Some(format!("must be {FORMAT}")),
            ("version", value) if value.as_u64() == Some(VERSION) => None,
            ("version", _) => Some(format!("must be {VERSION}")),
            ("job", Value::Null) | ("from", Value::Null) => None,
            ("job", value) => {
                // Numbers of jobs are larger than what some programs keep exactly: text will do as well.
                self.job = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                self.job
                    .is_none()
                    .then(|| "must be the number of a job".to_owned())
            }
            ("from", Value::String(text)) => {
                self.from = Some(text.clone());
                None
            }
            ("taken", value) => {
                self.taken = value.as_str().and_then(Timestamp::parse);
                let problem = "must be a moment like 2026-12-10T17:00:00Z";
                self.taken.is_none().then(|| problem.to_owned())
            }
            _ => Some("must be a string".to_owned()),
        };
        if let Some(problem) = problem {
            self.wrong.get_or_insert(Error::bad_input(field, problem));
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let Some(field) = FIELDS.into_iter().find(|field| **field == key) else {
                // A later version may say more; nothing here needs it.
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !self.seen.insert(field) {
                let twice = Error::bad_input(field, "stands there twice");
                self.wrong.get_or_insert(twice);
            }
            self.field = field;
            if field == "devices" {
                map.next_value_seed(Devices(&mut *self))?;
            } else {
                let value = map.next_value::<Value>()?;
                self.take(field, &value);
            }
            self.field = "bundle";
        }
        Ok(())
    }
}

/// Its list of devices, one after the other.
struct Devices<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Devices<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Devices<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of devices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        while let Some(value) = list.next_element::<Value>()? {
            let at = reading.devices.len();
            if at >= MOST_DEVICES {
                let problem = format!("must be 1 to {MOST_DEVICES}");
                let wrong = Error::bad_input("devices", problem);
                reading.wrong.get_or_insert(wrong);
                // Nothing of the rest is read.
                return Err(serde::de::Error::custom("too many devices"));
            }
            reading.devices.push(BundleDevice::read(value, at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::original::OriginalApp;

    const KEY: &str = "ABCD-EFGH-2345-WXYZ-0000-1111";

    fn whole(devices: &str) -> String {
        format!(
            r#"{{"format":"mdm-hand-off","version":1,"job":"7","from":"Old","taken":"2026-11-20T08:00:00Z","later":[1],"devices":{devices}}}"#
        )
    }

    fn why(plain: &str) -> String {
        read(plain.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut said = Said::nothing(Serial::parse("SERIAL1").unwrap());
        said.apps = Some(vec![OriginalApp::new("com.example.app")]);
        said.more.insert("asset_tag".to_owned(), "A-17".into());
        let mut device = BundleDevice::new(said.clone());
        device.take("recovery_key", Secret::from_text(KEY)).unwrap();
        device
            .take("bypass_code", Secret::from_text("X\"Y"))
            .unwrap();
        let taken = Timestamp::parse("2026-11-20T08:00:00Z").unwrap();
        let plain = write(
            "Old \u{201c}MDM\u{201d}",
            taken,
            Some(HandOffId(i64::MAX)),
            &[device],
        )
        .unwrap();
        let bundle = read(plain.expose()).unwrap();
        assert_eq!((bundle.taken, bundle.job), (taken, Some(i64::MAX)));
        let device = bundle.devices.into_iter().next().unwrap().unwrap();
        assert_eq!(device.said.unwrap(), said);
        let secret = &device.secrets[&SecretKind::OriginalRecoveryKey];
        assert_eq!(secret.expose_text(), Some(KEY));
        let secret = &device.secrets[&SecretKind::OriginalBypassCode];
        assert_eq!(secret.expose_text(), Some("X\"Y"));
    }

    #[test]
    fn what_is_wrong_with_the_whole_is_named_by_its_field_and_never_repeated() {
        for (plain, told) in [
            ("", "bundle: is no JSON from there on (line 1, column 0)"),
            (
                "[]",
                "bundle: cannot be what stands there (line 1, column 0)",
            ),
            ("{}", "format: is missing: must be mdm-hand-off"),
            (r#"{"format":"hunter2"}"#, "format: must be mdm-hand-off"),
            (
                r#"{"format":"mdm-hand-off"}"#,
                "version: is missing: must be 1",
            ),
            (
                r#"{"format":"mdm-hand-off","version":2}"#,
                "version: must be 1",
            ),
            (
                r#"{"format":"mdm-hand-off","version":1}"#,
                "taken: is missing: must say when this was true",
            ),
            (
                r#"{"taken":"hunter2"}"#,
                "taken: must be a moment like 2026-12-10T17:00:00Z",
            ),
            (
                r#"{"taken":1,"taken":2}"#,
                "taken: must be a moment like 2026-12-10T17:00:00Z",
            ),
            (r#"{"from":"a","from":"b"}"#, "from: stands there twice"),
            (r#"{"job":"hunter2"}"#, "job: must be the number of a job"),
            (
                r#"{"devices":{"hunter2":1}}"#,
                "devices: cannot be what stands there (line 1, column 11)",
            ),
            (
                r#"{"devices":[{"serial":"A""#,
                "devices: is no JSON from there on (line 1, column 25)",
            ),
        ] {
            assert_eq!(why(plain), told, "{plain}");
        }
        assert_eq!(why(&whole("[]")), "devices: must be 1 to 20000");
        let deep = whole(&"[".repeat(5000));
        assert!(why(&deep).starts_with("devices: "), "{}", why(&deep));
        let many = format!("[{}{{}}]", "{},".repeat(MOST_DEVICES));
        assert_eq!(why(&whole(&many)), "devices: must be 1 to 20000");
    }

    #[test]
    fn a_wrong_device_costs_nobody_else_and_a_wrong_fact_no_key() {
        let devices = format!(
            r#"[7, {{}}, {{"serial":"no serial"}}, {{"serial":"GOOD","secrets":{{"recovery_key":" {KEY}\n"}}}},
               {{"serial":"FACT","apps":[{{"bundle_id":7}}],"secrets":{{"recovery_key":"{KEY}"}}}},
               {{"serial":"BADKEY","secrets":{{"recovery_key":"hunter2","bypass_code":7,"unlock_token":"x","pin":{{"a":[1]}}}}}},
               {{"serial":"LIST","secrets":["hunter2"]}},
               {{"serial":"TWICE"}}, {{"serial":"twice"}}]"#
        );
        let bundle = read(whole(&devices).as_bytes()).unwrap();
        assert_eq!(bundle.job, Some(7));
        let said: Vec<String> = bundle
            .devices
            .iter()
            .map(|device| match device {
                Err(refused) => format!("{}: {}", refused.serial, refused.notes.join("; ")),
                Ok(device) => {
                    let kinds: Vec<&str> = device.secrets.keys().map(|k| k.as_str()).collect();
                    let fact = device.said.as_ref().err().map(|(_, why)| why.clone());
                    format!("{} {kinds:?} {fact:?} {:?}", device.serial(), device.notes)
                }
            })
            .collect();
        assert_eq!(
            said,
            [
                "devices[0]: devices[0]: must be an object",
                "devices[1]: devices[1].serial: is missing",
                "devices[2]: devices[2].serial: is no serial number",
                r#"GOOD ["original_recovery_key"] None []"#,
                r#"FACT ["original_recovery_key"] Some("apps[0].bundle_id: cannot be what stands there") []"#,
                r#"BADKEY ["original_other"] None ["secrets.bypass_code: must be a string", "secrets.recovery_key: is no recovery key: six groups of four capital letters or digits"]"#,
                r#"LIST [] None ["secrets: must be an object"]"#,
                "TWICE: serial: occurs more than once, and none of them is taken",
                "TWICE: serial: occurs more than once, and none of them is taken",
            ]
        );
    }

    #[test]
    fn nothing_shows_a_secret() {
        let bundle = read(
            whole(&format!(
                r#"[{{"serial":"A","secrets":{{"recovery_key":"{KEY}"}}}}]"#
            ))
            .as_bytes(),
        );
        assert!(!format!("{bundle:?}").contains(KEY));
    }
}
