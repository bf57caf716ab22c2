//! An Apple that knows one device and agrees to everything at once. Real ports speak to Apple's services, for instance
//! through `abm-client`.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mdm_core::clock::Timestamp;
use mdm_core::device::{AssignmentOutcome, DeviceRecord, MigrationStatus, OrgReading};
use mdm_core::error::PortError;
use mdm_core::ids::Serial;
use mdm_core::service::ports::{
    Account, ActivityReading, ActivityRequest, ApiKey, DeviceAssignment, DevicePage, LockOutcome,
    MemberPage, OrganisationApi, Ports, ReadingPage, ServerCredential,
};

use super::device::{PRODUCT, SERIAL};

/// Both services in one.
#[derive(Default)]
pub(crate) struct Apple {
    /// The deadline that was asked for, once it was.
    deadline: Mutex<Option<Timestamp>>,
    /// The profile in force.
    profile: Mutex<Option<String>>,
    /// The profile as it was defined.
    defined: Mutex<serde_json::Value>,
}

/// The ports that lead to Apple; the others refuse.
pub(crate) fn apple() -> Ports {
    let apple = Arc::new(Apple::default());
    Ports {
        assignment: apple.clone(),
        api: apple,
        ..Ports::refusing()
    }
}

fn of<T: Clone>(value: &Mutex<T>) -> Result<T, PortError> {
    value
        .lock()
        .map(|v| v.clone())
        .map_err(|_| PortError::retry("a task panicked"))
}

fn set<T>(value: &Mutex<T>, to: T) -> Result<(), PortError> {
    *value
        .lock()
        .map_err(|_| PortError::retry("a task panicked"))? = to;
    Ok(())
}

#[async_trait]
impl DeviceAssignment for Apple {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(Account {
            server_name: "Ours".to_owned(),
            server_uuid: "OURS".to_owned(),
            organisation: Some("Acme".to_owned()),
            token_expires: None,
        })
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let mut devices = Vec::new();
        if let Some(deadline) = of(&self.deadline)? {
            let mut record = DeviceRecord::new(credential.server, now);
            record.family = "iPhone".to_owned();
            record.deadline = Some(deadline);
            record.profile_uuid = of(&self.profile)?;
            record.profile_status = match record.profile_uuid {
                Some(_) => "assigned".to_owned(),
                None => "empty".to_owned(),
            };
            devices.push((
                Serial::parse(SERIAL).map_err(|e| PortError::Refused(e.to_string()))?,
                record,
            ));
        }
        Ok(DevicePage {
            devices,
            cursor: "end".to_owned(),
            more: false,
        })
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.fetch(credential, Some(cursor), now).await
    }

    async fn define_profile(
        &self,
        _: &ServerCredential,
        profile: &serde_json::Value,
    ) -> Result<String, PortError> {
        set(&self.defined, profile.clone())?;
        Ok("PROFILE".to_owned())
    }

    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        of(&self.defined)
    }

    async fn assign(
        &self,
        _: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        set(&self.profile, Some(uuid.to_owned()))?;
        Ok(serials
            .iter()
            .map(|serial| (serial.clone(), AssignmentOutcome::Success))
            .collect())
    }

    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        _: &str,
    ) -> Result<LockOutcome, PortError> {
        Ok(LockOutcome::Success)
    }
}

#[async_trait]
impl OrganisationApi for Apple {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        Ok(vec![("OURS".to_owned(), "Ours".to_owned())])
    }

    async fn members(&self, _: &ApiKey, _: &str, _: Option<&str>) -> Result<MemberPage, PortError> {
        Ok(MemberPage::default())
    }

    async fn devices(
        &self,
        _: &ApiKey,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        Ok(ReadingPage::default())
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let deadline = of(&self.deadline)?;
        let mut reading = OrgReading::default();
        reading.seen = now;
        reading.capable = Some(true);
        reading.product = Some(PRODUCT.to_owned());
        reading.assigned_server =
            Some(if deadline.is_some() { "OURS" } else { "OTHER" }.to_owned());
        reading.status = deadline.map(|_| MigrationStatus::Requested);
        reading.deadline = deadline;
        Ok(serials
            .iter()
            .map(|serial| (serial.clone(), reading.clone()))
            .collect())
    }

    async fn submit(
        &self,
        _: &ApiKey,
        request: &ActivityRequest,
        _: &[Serial],
        _: Timestamp,
    ) -> Result<String, PortError> {
        match request {
            ActivityRequest::AssignWithDeadline { deadline, .. }
            | ActivityRequest::UpdateDeadline { deadline, .. } => {
                set(&self.deadline, Some(*deadline))?;
            }
            _ => set(&self.deadline, None)?,
        }
        Ok("ACTIVITY".to_owned())
    }

    async fn activity(&self, _: &ApiKey, _: &str) -> Result<ActivityReading, PortError> {
        Ok(ActivityReading {
            finished: true,
            status: "COMPLETED".to_owned(),
            ..ActivityReading::default()
        })
    }
}
