//! Reads what another management service knows of devices out of its exports: CSV as spreadsheets write it, with one row for each
//! device, or for each app of each device; or JSON in our own form. Wholly or not at all; what is wrong is named with its place.
//!
//! The form is in `docs/original.md`.

use std::collections::BTreeMap;

use mdm_core::calendar::Zone;
use mdm_core::clock::Timestamp;
use mdm_core::hand_off::bundle::BundleDevice;
use mdm_core::ids::Serial;
use mdm_core::original::{
    DeviceOwner, ManagedUser, OriginalApp, OriginalEnrolment, OriginalNetwork, OtherPath, Said,
};
use mdm_core::secret::Secret;

use crate::csv::{self, CsvError, Row};

/// What a column is for, and the headings under which it is found: small letters, without signs between them.
const COLUMNS: [(Column, &[&str]); 20] = [
    (
        Column::Serial,
        &["serial", "serialnumber", "serialno", "deviceserialnumber"],
    ),
    (
        Column::System,
        &["system", "osversion", "operatingsystemversion"],
    ),
    (
        Column::LastSeen,
        &["lastseen", "lastcheckin", "lastcontact", "lastinventory"],
    ),
    (
        Column::Enrolment,
        &[
            "enrolment",
            "enrollment",
            "enrollmentmethod",
            "enrolmenttype",
        ],
    ),
    (Column::Shared, &["shared", "sharedipad"]),
    (Column::ReturnToService, &["returntoservice"]),
    (
        Column::Owner,
        &["owner", "user", "fullname", "assigneduser"],
    ),
    (Column::Zone, &["timezone", "zone"]),
    (Column::Language, &["language", "preferredlanguage"]),
    (Column::Email, &["email", "emailaddress", "useremail"]),
    (Column::Groups, &["group", "groups", "department", "site"]),
    (
        Column::ManagedUser,
        &["manageduser", "mdmuser", "managedlocaluser"],
    ),
    (Column::LastSignIn, &["lastsignin", "lastlogin"]),
    (Column::Networks, &["ssid", "ssids", "wifi", "wifinetworks"]),
    (
        Column::OtherPaths,
        &["otherpath", "otherpaths", "othernetwork"],
    ),
    (Column::UserLock, &["userlock", "findmy", "activationlock"]),
    (
        Column::Bundle,
        &["bundleid", "bundleidentifier", "appbundleid", "identifier"],
    ),
    (Column::AppName, &["app", "appname", "title"]),
    (
        Column::StoreId,
        &["storeid", "adamid", "itunesstoreid", "appstoreid"],
    ),
    (Column::SignedUntil, &["signeduntil", "appexpires"]),
];

/// Headings of secrets, by the names that these have in a hand-off.
const SECRETS: [(&str, &[&str]); 5] = [
    (
        "recovery_key",
        &[
            "recoverykey",
            "filevaultkey",
            "filevaultrecoverykey",
            "personalrecoverykey",
        ],
    ),
    (
        "bypass_code",
        &["bypasscode", "activationlockbypasscode", "mdmbypasscode"],
    ),
    (
        "device_bypass_code",
        &["devicebypasscode", "userbypasscode"],
    ),
    (
        "recovery_lock_password",
        &["recoverylockpassword", "recoverylock"],
    ),
    ("firmware_password", &["firmwarepassword"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Serial,
    System,
    LastSeen,
    Enrolment,
    Shared,
    ReturnToService,
    Owner,
    Zone,
    Language,
    Email,
    Groups,
    ManagedUser,
    LastSignIn,
    Networks,
    OtherPaths,
    UserLock,
    Bundle,
    AppName,
    StoreId,
    SignedUntil,
}

fn wrong(line: usize, column: usize, problem: impl Into<String>) -> CsvError {
    CsvError {
        line,
        column,
        problem: problem.into(),
    }
}

/// What a CSV file says: devices in the order of their serial numbers, and the headings that nobody knows.
///
/// # Errors
/// [`CsvError`]: as [`csv::rows`]; for a file without serial numbers or without a column that says anything of them, a heading twice,
/// a cell that cannot be what its heading says, or two rows of one device that contradict each other.
pub fn read_csv(content: &[u8]) -> Result<(Vec<Said>, Vec<String>), CsvError> {
    read_rows(&csv::rows(content)?, false)
}

/// The same with the secrets of devices, for a hand-off that is sealed before it goes anywhere.
///
/// # Errors
/// [`CsvError`] as [`read_csv`], and for a secret that cannot be what its heading says, or two of one device.
pub fn read_csv_with_secrets(content: &[u8]) -> Result<(Vec<BundleDevice>, Vec<String>), CsvError> {
    let rows = csv::rows(content)?;
    let headings: Vec<String> = rows
        .first()
        .map(|first| first.cells.iter().map(|cell| plain(cell)).collect())
        .unwrap_or_default();
    let secrets: Vec<(usize, &str)> = headings
        .iter()
        .enumerate()
        .filter_map(|(index, heading)| {
            let named = |(_, names): &&(&str, &[&str])| names.contains(&heading.as_str());
            Some((index, SECRETS.iter().find(named)?.0))
        })
        .collect();
    let (said, mut unknown) = read_rows(&rows, !secrets.is_empty())?;
    unknown.retain(|heading| {
        let heading = plain(heading);
        !SECRETS
            .iter()
            .any(|(_, names)| names.contains(&heading.as_str()))
    });
    let serial_at = headings
        .iter()
        .position(|heading| COLUMNS[0].1.contains(&heading.as_str()));
    let mut all: BTreeMap<Serial, BundleDevice> = said
        .into_iter()
        .map(|said| (said.serial.clone(), BundleDevice::new(said)))
        .collect();
    for row in rows.iter().skip(1) {
        let serial = serial_at.and_then(|at| row.cells.get(at));
        let serial = serial.and_then(|text| Serial::parse(text).ok());
        let Some(device) = serial.and_then(|serial| all.get_mut(&serial)) else {
            continue;
        };
        for (index, name) in &secrets {
            let text = row.cells.get(*index).map_or("", |cell| cell.trim());
            if text.is_empty() {
                continue;
            }
            let before = device.secrets.clone();
            let taken = device.take(name, Secret::from_text(text));
            taken.map_err(|error| wrong(row.line, index + 1, error.to_string()))?;
            let contradicts = before
                .iter()
                .any(|(kind, secret)| device.secrets.get(kind) != Some(secret));
            if contradicts {
                let problem = "contradicts an earlier row of the same device";
                return Err(wrong(row.line, index + 1, problem));
            }
        }
    }
    Ok((all.into_values().collect(), unknown))
}

/// A heading without regard to case and signs.
fn plain(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn read_rows(rows: &[Row], alone: bool) -> Result<(Vec<Said>, Vec<String>), CsvError> {
    let Some(first) = rows.first() else {
        return Err(wrong(1, 1, "the file is empty"));
    };
    let (places, unknown) = headings(first)?;
    if !places.contains_key(&Column::Serial) {
        return Err(wrong(first.line, 1, "no column has the heading serial"));
    }
    if places.len() == 1 && !alone {
        return Err(wrong(
            first.line,
            1,
            "no column but the serial number has a heading that is known: see docs/original.md",
        ));
    }
    let mut all: BTreeMap<Serial, Said> = BTreeMap::new();
    for row in &rows[1..] {
        take(row, &places, &mut all)?;
    }
    if all.is_empty() {
        return Err(wrong(first.line + 1, 1, "no row follows the heading"));
    }
    Ok((all.into_values().collect(), unknown))
}

fn headings(first: &Row) -> Result<(BTreeMap<Column, usize>, Vec<String>), CsvError> {
    let mut places = BTreeMap::new();
    let mut unknown = Vec::new();
    for (index, cell) in first.cells.iter().enumerate() {
        let plain = plain(cell);
        let known = COLUMNS
            .iter()
            .find(|(_, names)| names.contains(&plain.as_str()));
        let Some((column, _)) = known else {
            unknown.push(cell.trim().to_owned());
            continue;
        };
        if let Some(before) = places.insert(*column, index) {
            let problem = format!(
                "columns {} and {} have headings of one meaning; leave one of them",
                before + 1,
                index + 1
            );
            return Err(wrong(first.line, index + 1, problem));
        }
    }
    Ok((places, unknown))
}

/// Adds a row to what is known of its device.
fn take(
    row: &Row,
    places: &BTreeMap<Column, usize>,
    all: &mut BTreeMap<Serial, Said>,
) -> Result<(), CsvError> {
    let cell = |column: Column| {
        let index = *places.get(&column)?;
        let text = row.cells.get(index)?.trim();
        (!text.is_empty()).then_some((text, index + 1))
    };
    let Some((text, at)) = cell(Column::Serial) else {
        let at = places.get(&Column::Serial).map_or(1, |index| index + 1);
        return Err(wrong(row.line, at, "the serial number is empty"));
    };
    let serial = Serial::parse(text).map_err(|error| wrong(row.line, at, error.to_string()))?;
    let said = all
        .entry(serial.clone())
        .or_insert_with(|| Said::nothing(serial));
    let moment = |column| match cell(column) {
        None => Ok(None),
        Some((text, at)) => moment(text).map(Some).ok_or_else(|| {
            wrong(
                row.line,
                at,
                "must be a moment like 2026-12-10T17:00:00Z, or a day like 2026-12-10",
            )
        }),
    };
    let truth = |column| match cell(column) {
        None => Ok(None),
        Some((text, at)) => truth(text)
            .map(Some)
            .ok_or_else(|| wrong(row.line, at, "must be yes or no")),
    };
    macro_rules! once {
        ($($part:ident: $column:ident = $value:expr;)*) => {$(
            if let Some(value) = $value {
                if said.$part.as_ref().is_some_and(|known| *known != value) {
                    let at = cell(Column::$column).map_or(1, |(_, at)| at);
                    return Err(wrong(row.line, at, "contradicts an earlier row of the same device"));
                }
                said.$part = Some(value);
            }
        )*};
    }
    let zone = match cell(Column::Zone) {
        None => None,
        Some((text, at)) => {
            let zone = Zone::parse(text);
            Some(zone.map_err(|error| wrong(row.line, at, error.to_string()))?)
        }
    };
    once! {
        time_zone: Zone = zone;
        language: Language = cell(Column::Language).map(|(text, _)| text.to_owned());
        system: System = cell(Column::System).map(|(text, _)| system(text));
        last_seen: LastSeen = moment(Column::LastSeen)?;
        enrolment: Enrolment = cell(Column::Enrolment).map(|(text, _)| enrolment(text));
        shared: Shared = truth(Column::Shared)?;
        return_to_service: ReturnToService = truth(Column::ReturnToService)?;
        user_lock: UserLock = truth(Column::UserLock)?;
    }
    let owned = [Column::Owner, Column::Email, Column::Groups];
    if owned.iter().any(|column| cell(*column).is_some()) {
        let owner = said.owner.get_or_insert_with(DeviceOwner::default);
        if let Some((name, _)) = cell(Column::Owner) {
            owner.name = Some(name.to_owned());
        }
        if let Some((email, _)) = cell(Column::Email) {
            owner.email = Some(email.to_owned());
        }
        if let Some((groups, _)) = cell(Column::Groups) {
            owner.groups.extend(several(groups));
        }
    }
    // A column that is there and empty says that there is no such user.
    if places.contains_key(&Column::ManagedUser) {
        let user = said.managed_user.get_or_insert_with(ManagedUser::default);
        if let Some((name, _)) = cell(Column::ManagedUser) {
            user.name = name.to_owned();
        }
        if let Some(last) = moment(Column::LastSignIn)? {
            user.last_sign_in = Some(last);
        }
    }
    if places.contains_key(&Column::Networks) {
        let networks = said.networks.get_or_insert_with(Vec::new);
        if let Some((names, _)) = cell(Column::Networks) {
            networks.extend(several(names).map(|name| OriginalNetwork::new(&name, true)));
        }
    }
    if let Some((names, at)) = cell(Column::OtherPaths) {
        let paths = said.other_paths.get_or_insert_with(Default::default);
        for name in several(names) {
            paths.insert(match name.to_lowercase().as_str() {
                "cellular" | "mobile" | "esim" => OtherPath::Cellular,
                "wired" | "ethernet" | "cable" => OtherPath::Wired,
                "unmanaged" | "own wifi" | "home" => OtherPath::Unmanaged,
                _ => return Err(wrong(row.line, at, "must be cellular, wired or unmanaged")),
            });
        }
    }
    // The same for apps: a row without one says that the device has none.
    if places.contains_key(&Column::Bundle) {
        let apps = said.apps.get_or_insert_with(Vec::new);
        if let Some((bundle, _)) = cell(Column::Bundle) {
            let mut app = OriginalApp::new(bundle);
            app.name = cell(Column::AppName).map(|(name, _)| name.to_owned());
            if let Some((text, at)) = cell(Column::StoreId) {
                let number = text.parse().map_err(|_| {
                    wrong(row.line, at, "must be the number of the app in the store")
                })?;
                app.store_id = Some(number);
            }
            app.signed_until = moment(Column::SignedUntil)?;
            apps.push(app);
        }
    }
    Ok(())
}

/// What other services put around a version: `iOS 18.5`, `26.1 (23B85)`.
fn system(text: &str) -> String {
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    text.split_whitespace()
        .find(number)
        .unwrap_or(text)
        .to_owned()
}

fn enrolment(text: &str) -> OriginalEnrolment {
    match text.to_ascii_lowercase().as_str() {
        "automated"
        | "ade"
        | "dep"
        | "automated device enrollment"
        | "device enrollment program" => OriginalEnrolment::Automated,
        "profile" | "manual" | "user-initiated" | "device" => OriginalEnrolment::Profile,
        "account" | "byod" | "user" => OriginalEnrolment::Account,
        _ => OriginalEnrolment::Other(text.to_owned()),
    }
}

fn several(text: &str) -> impl Iterator<Item = String> + '_ {
    let parts = text.split('|').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned)
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "y" => Some(true),
        "no" | "false" | "0" | "n" => Some(false),
        _ => None,
    }
}

/// A moment, or a day: its beginning in UTC.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_device_become_one() {
        let file = "Serial Number;OS Version;Bundle ID;App;Adam ID;Groups\n\
                    C02A;iOS 18.5;com.example.a;Notes;7;Sales | North\n\
                    C02A;;com.example.b;;;\n\
                    C02B;26.1 (23B85);;;;\n";
        let (rows, unknown) = read_csv(file.as_bytes()).unwrap();
        assert_eq!((rows.len(), unknown.len()), (2, 0));
        let apps = rows[0].apps.as_ref().unwrap();
        assert_eq!((apps.len(), apps[0].store_id), (2, Some(7)));
        assert_eq!(rows[0].system.as_deref(), Some("18.5"));
        assert_eq!(rows[0].owner.as_ref().unwrap().groups.len(), 2);
        // A device with a row and no app has none: that is a fact.
        assert_eq!(rows[1].apps.as_deref(), Some(&[][..]));
        assert_eq!(rows[1].system.as_deref(), Some("26.1"));
        assert_eq!(rows[1].networks, None);
    }

    #[test]
    fn what_a_heading_says_is_what_its_cells_must_be() {
        let check = |file: &str, line: usize, column: usize, problem: &str| {
            let error = read_csv(file.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{error}");
            assert!(error.problem.contains(problem), "{error}");
        };
        check("", 1, 1, "empty");
        check("name,os version\nx,18\n", 1, 1, "heading serial");
        check("serial,colour\nC02A,red\n", 1, 1, "heading that is known");
        check("serial,os version\n", 2, 1, "no row");
        check(
            "serial,os version,system\nC02A,18,18\n",
            1,
            3,
            "one meaning",
        );
        check("serial,shared\nC02A,perhaps\n", 2, 2, "yes or no");
        check("serial,last seen\nC02A,yesterday\n", 2, 2, "moment");
        check("serial,bundle id,store id\nC02A,a.b,x7\n", 2, 3, "number");
        check("serial,os version\n,18\n", 2, 1, "empty");
        check("serial,os version\nC0 2A,18\n", 2, 1, "1 to 64");
        check("serial,os version\nC02A,18\nC02A,19\n", 3, 2, "contradicts");
    }

    #[test]
    fn columns_that_nobody_knows_are_told_and_days_are_moments() {
        let file = "serial,asset tag,last check-in,managed user,last login\nC02A,17,2026-11-01,ada,2026-10-01T08:00:00Z\nC02B,18,,,\n";
        let (rows, unknown) = read_csv(file.as_bytes()).unwrap();
        assert_eq!(unknown, ["asset tag"]);
        assert_eq!(rows[0].last_seen, Timestamp::parse("2026-11-01T00:00:00Z"));
        assert_eq!(rows[0].managed_user.as_ref().unwrap().name, "ada");
        assert_eq!(rows[1].managed_user.as_ref().unwrap().name, "");
    }
}
