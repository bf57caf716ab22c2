//! The list of devices: fetched as a whole, followed by changes, asked by serial number. Keeps no state: the cursor
//! and the records of a page belong into one transaction of the caller.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{DeviceRecord, ResponseStatus};
use super::{AssignmentClient, NO_BODY, distinct, refusal};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::oauth1::percent_encode;
use crate::transport::Method;

const FETCH: Endpoint = Endpoint::read(Service::DeviceAssignment, "POST /server/devices");
const SYNC: Endpoint = Endpoint::read(Service::DeviceAssignment, "POST /devices/sync");
const DETAILS: Endpoint = Endpoint::read(Service::DeviceAssignment, "POST /devices");
const REPLACEMENT: Endpoint =
    Endpoint::read(Service::DeviceAssignment, "GET /device/replacementDetails");
#[cfg(feature = "irreversible")]
const DISOWN: Endpoint = Endpoint::write(Service::DeviceAssignment, "POST /devices/disown");

/// Where we are in the list. Opaque: never parsed, never changed.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SyncCursor(String);

impl SyncCursor {
    /// A cursor that was stored before.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text, for storing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SyncCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncCursor({:?})", self.0)
    }
}

/// One answer of the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DevicePage {
    /// The records in the order of their operations; a serial number may occur several times.
    pub devices: Vec<DeviceRecord>,
    /// From where to go on: the next page, or the next sync. Absent only if the service gave none.
    pub cursor: Option<SyncCursor>,
    /// Whether to go on at once.
    pub more_to_follow: bool,
    /// How far the service got.
    pub fetched_until: Option<Moment>,
    /// Records without a serial number, which were left out.
    pub skipped: usize,
    /// Whether the service said that this cursor had given everything already. The cursor stays as it was.
    pub exhausted: bool,
    /// Keys that this version of the library does not know.
    pub extra: Map<String, Value>,
}

/// The newest record of each serial number: the latest `op_date`; on equal or absent dates the later position.
#[must_use]
pub fn latest_per_serial(records: Vec<DeviceRecord>) -> BTreeMap<String, DeviceRecord> {
    let mut latest: BTreeMap<String, DeviceRecord> = BTreeMap::new();
    let date = |record: &DeviceRecord| record.op_date.as_ref().and_then(Moment::unix_ms);
    for record in records {
        match latest.get(&record.serial_number) {
            Some(known) if date(known) > date(&record) => {}
            _ => {
                latest.insert(record.serial_number.clone(), record);
            }
        }
    }
    latest
}

/// How many devices to ask for on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PageSize {
    /// As many as the service allows.
    #[default]
    Largest,
    /// This many, at most as many as the service allows.
    Limit(u32),
}

#[derive(Serialize)]
struct PageRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a SyncCursor>,
    limit: usize,
}

#[derive(Deserialize)]
struct PageAnswer {
    #[serde(default, deserialize_with = "answer::null_is_default")]
    devices: Vec<DeviceRecord>,
    #[serde(default)]
    cursor: Option<SyncCursor>,
    #[serde(default)]
    more_to_follow: Option<bool>,
    #[serde(default)]
    fetched_until: Option<Moment>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// The day on which a device took the place of another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplacementDetails {
    /// The new device.
    pub serial_number: String,
    /// The old one.
    pub original_device_serial_number: String,
    /// The day, in UTC.
    #[serde(default)]
    pub replacement_date: Option<Moment>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AssignmentClient {
    /// One page of all devices that are assigned to us; the first page without a cursor. A device that is missing
    /// from a *complete* fetch is not ours any more; a short page tells nothing.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired): start over without a cursor.
    pub async fn fetch_devices(&self, cursor: Option<&SyncCursor>) -> Result<DevicePage, Error> {
        self.fetch_devices_with(cursor, PageSize::Largest).await
    }

    /// The same with a page size.
    ///
    /// # Errors
    /// As [`fetch_devices`](Self::fetch_devices).
    pub async fn fetch_devices_with(
        &self,
        cursor: Option<&SyncCursor>,
        size: PageSize,
    ) -> Result<DevicePage, Error> {
        self.page(FETCH, "/server/devices", cursor, size).await
    }

    /// One page of what changed since `cursor`. Store the returned cursor even if nothing changed: an unused one
    /// expires after seven days.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired): drop the cursor and fetch everything.
    pub async fn sync_devices(&self, cursor: &SyncCursor) -> Result<DevicePage, Error> {
        self.sync_devices_with(cursor, PageSize::Largest).await
    }

    /// The same with a page size.
    ///
    /// # Errors
    /// As [`sync_devices`](Self::sync_devices).
    pub async fn sync_devices_with(
        &self,
        cursor: &SyncCursor,
        size: PageSize,
    ) -> Result<DevicePage, Error> {
        self.page(SYNC, "/devices/sync", Some(cursor), size).await
    }

    async fn page(
        &self,
        endpoint: Endpoint,
        path: &str,
        cursor: Option<&SyncCursor>,
        size: PageSize,
    ) -> Result<DevicePage, Error> {
        let most = self.chunk_size(path);
        let limit = match size {
            PageSize::Largest => most,
            PageSize::Limit(limit) => usize::try_from(limit).unwrap_or(most).clamp(1, most),
        };
        let request = PageRequest { cursor, limit };
        let response = self
            .exchange(endpoint, Method::Post, path, Some(&request))
            .await?;
        if !response.is_success() {
            // "Everything was given" is an answer, not a failure.
            if refusal::code(&response).as_deref() == Some("EXHAUSTED_CURSOR") {
                return Ok(DevicePage {
                    devices: Vec::new(),
                    cursor: cursor.cloned(),
                    more_to_follow: false,
                    fetched_until: None,
                    skipped: 0,
                    exhausted: true,
                    extra: Map::new(),
                });
            }
            return Err(self.refused(endpoint, &response));
        }
        let mut answer: PageAnswer = answer::json(endpoint, response.body.expose())?;
        let received = answer.devices.len();
        answer
            .devices
            .retain(|record| !record.serial_number.is_empty());
        let next = answer.cursor.filter(|cursor| !cursor.0.is_empty());
        let more_to_follow = answer.more_to_follow.unwrap_or(false);
        if more_to_follow && next.is_none() {
            return Err(Error::malformed(
                endpoint,
                "cursor",
                "missing although more is to follow",
            ));
        }
        Ok(DevicePage {
            skipped: received - answer.devices.len(),
            devices: answer.devices,
            cursor: next,
            more_to_follow,
            fetched_until: answer.fetched_until,
            exhausted: false,
            extra: answer.extra,
        })
    }

    /// What the service says of these serial numbers, at most [`chunk_size`](Self::chunk_size)`("/devices")` at once.
    /// Every serial number asked for is in the answer; unknown ones with
    /// [`NotAccessible`](ResponseStatus::NotAccessible).
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn device_details(
        &self,
        serials: &[String],
    ) -> Result<BTreeMap<String, DeviceRecord>, Error> {
        #[derive(Serialize)]
        struct Ask<'a> {
            devices: &'a [&'a str],
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default, deserialize_with = "answer::null_is_default")]
            devices: BTreeMap<String, DeviceRecord>,
        }
        let devices = distinct(DETAILS, serials, self.chunk_size("/devices"))?;
        let response = self
            .call(
                DETAILS,
                Method::Post,
                "/devices",
                Some(&Ask { devices: &devices }),
            )
            .await?;
        let mut answer: Answer = answer::json(DETAILS, response.body.expose())?;
        for (serial, record) in &mut answer.devices {
            record.serial_number.clone_from(serial);
        }
        for serial in devices {
            answer
                .devices
                .entry(serial.to_owned())
                .or_insert_with(|| DeviceRecord {
                    serial_number: serial.to_owned(),
                    response_status: Some(ResponseStatus::Failed),
                    ..DeviceRecord::default()
                });
        }
        Ok(answer.devices)
    }

    /// Which device this one replaces; to be asked only for a device with `is_replacement_device`.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when it replaces none or is not ours.
    pub async fn replacement_details(&self, serial: &str) -> Result<ReplacementDetails, Error> {
        let path = format!(
            "/device/replacementDetails?device={}",
            percent_encode(serial)
        );
        let response = self.call(REPLACEMENT, Method::Get, &path, NO_BODY).await?;
        answer::json(REPLACEMENT, response.body.expose())
    }

    /// Releases devices from the organisation. **This cannot be undone**, and needs a permission of the server entry.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): re-read before anything else.
    #[cfg(feature = "irreversible")]
    pub async fn disown_devices(
        &self,
        serials: &[String],
    ) -> Result<BTreeMap<String, ResponseStatus>, Error> {
        let devices = distinct(DISOWN, serials, self.chunk_size("/devices/disown"))?;
        let body = serde_json::json!({ "devices": devices });
        let response = self
            .call(DISOWN, Method::Post, "/devices/disown", Some(&body))
            .await?;
        #[derive(Deserialize)]
        struct Answer {
            devices: BTreeMap<String, ResponseStatus>,
        }
        let mut answer: Answer = answer::json(DISOWN, response.body.expose())?;
        for serial in devices {
            answer
                .devices
                .entry(serial.to_owned())
                .or_insert(ResponseStatus::Failed);
        }
        Ok(answer.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: &str, op_date: Option<&str>, model: &str) -> DeviceRecord {
        DeviceRecord {
            serial_number: serial.into(),
            op_date: op_date.map(Moment::parse),
            model: Some(model.into()),
            ..DeviceRecord::default()
        }
    }

    #[test]
    fn the_latest_record_wins_and_on_equal_dates_the_later_one() {
        let kept = latest_per_serial(vec![
            record("A", Some("2026-11-20T10:00:00Z"), "new"),
            record("A", Some("2026-11-20T09:00:00Z"), "old"),
            record("B", Some("2026-11-20T09:00:00Z"), "first"),
            record("B", Some("2026-11-20T10:00:00+01:00"), "second"),
            record("C", None, "undated"),
        ]);
        let models: Vec<_> = kept.values().filter_map(|r| r.model.as_deref()).collect();
        assert_eq!(models, ["new", "second", "undated"]);
    }
}
