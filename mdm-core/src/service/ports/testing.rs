//! For tests only: an assignment service that answers a part of what it is asked and refuses the rest, and one whose list is
//! empty; the same part of an organisation API. Behind the feature `testing`.

mod organisation;

use async_trait::async_trait;

pub use self::organisation::OrganisationApiPart;
use super::{Account, DeviceAssignment, DevicePage, LockOutcome, ServerCredential};
use crate::clock::Timestamp;
use crate::device::AssignmentOutcome;
use crate::error::PortError;
use crate::ids::Serial;

/// A part of [`DeviceAssignment`]: what is not written is refused. Whoever has a part is the whole port.
#[async_trait]
pub trait AssignmentPart: Send + Sync + 'static {
    /// With which words the rest is refused: those of a host that has no such port, where nothing else is said.
    fn refusal(&self) -> PortError {
        PortError::Absent("assignment")
    }
    /// [`DeviceAssignment::account`].
    async fn account(&self, _credential: &ServerCredential) -> Result<Account, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::fetch`].
    async fn fetch(
        &self,
        _credential: &ServerCredential,
        _cursor: Option<&str>,
        _now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::sync`].
    async fn sync(
        &self,
        _credential: &ServerCredential,
        _cursor: &str,
        _now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::define_profile`].
    async fn define_profile(
        &self,
        _credential: &ServerCredential,
        _profile: &serde_json::Value,
    ) -> Result<String, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::read_profile`].
    async fn read_profile(
        &self,
        _credential: &ServerCredential,
        _uuid: &str,
    ) -> Result<serde_json::Value, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::assign`].
    async fn assign(
        &self,
        _credential: &ServerCredential,
        _uuid: &str,
        _serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Err(self.refusal())
    }
    /// [`DeviceAssignment::lock`].
    async fn lock(
        &self,
        _credential: &ServerCredential,
        _serial: &Serial,
        _escrow_key: &str,
    ) -> Result<LockOutcome, PortError> {
        Err(self.refusal())
    }
}

#[async_trait]
impl<P: AssignmentPart> DeviceAssignment for P {
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        AssignmentPart::account(self, credential).await
    }
    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        AssignmentPart::fetch(self, credential, cursor, now).await
    }
    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        AssignmentPart::sync(self, credential, cursor, now).await
    }
    async fn define_profile(
        &self,
        credential: &ServerCredential,
        profile: &serde_json::Value,
    ) -> Result<String, PortError> {
        AssignmentPart::define_profile(self, credential, profile).await
    }
    async fn read_profile(
        &self,
        credential: &ServerCredential,
        uuid: &str,
    ) -> Result<serde_json::Value, PortError> {
        AssignmentPart::read_profile(self, credential, uuid).await
    }
    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        AssignmentPart::assign(self, credential, uuid, serials).await
    }
    async fn lock(
        &self,
        credential: &ServerCredential,
        serial: &Serial,
        escrow_key: &str,
    ) -> Result<LockOutcome, PortError> {
        AssignmentPart::lock(self, credential, serial, escrow_key).await
    }
}

/// The account behind a server entry, of which no more is known than its names.
#[must_use]
pub fn account_of(server_name: &str, server_uuid: &str) -> Account {
    Account {
        server_name: server_name.to_owned(),
        server_uuid: server_uuid.to_owned(),
        organisation: None,
        token_expires: None,
    }
}

/// An assignment service that has no devices and agrees to everything: for stories of what happens elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct EmptyList {
    server_name: &'static str,
    server_uuid: &'static str,
}

impl EmptyList {
    /// The one of this server entry.
    #[must_use]
    pub const fn of(server_name: &'static str, server_uuid: &'static str) -> Self {
        Self {
            server_name,
            server_uuid,
        }
    }

    fn page() -> DevicePage {
        DevicePage {
            devices: Vec::new(),
            cursor: "end".to_owned(),
            more: false,
        }
    }
}

#[async_trait]
impl AssignmentPart for EmptyList {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(account_of(self.server_name, self.server_uuid))
    }
    async fn fetch(
        &self,
        _: &ServerCredential,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Ok(Self::page())
    }
    async fn sync(
        &self,
        _: &ServerCredential,
        _: &str,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Ok(Self::page())
    }
    async fn define_profile(
        &self,
        _: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        Ok("PROFILE".to_owned())
    }
    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        Ok(serde_json::json!({ "await_device_configured": true }))
    }
    async fn assign(
        &self,
        _: &ServerCredential,
        _: &str,
        _: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Ok(Vec::new())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Ports;
    use super::*;
    use crate::ids::{OrganisationId, ServerId};
    use crate::secret::Secret;

    struct Named;

    #[async_trait]
    impl AssignmentPart for Named {
        async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
            Ok(account_of("Ours", "OURS"))
        }
    }

    #[tokio::test]
    async fn what_a_part_does_not_answer_is_refused_as_by_a_host_without_the_port() {
        let part: Arc<dyn DeviceAssignment> = Arc::new(Named);
        let none = Ports::refusing().assignment;
        let credential = ServerCredential {
            organisation: OrganisationId(1),
            server: ServerId(1),
            token: Secret::from_text("{}"),
        };
        let account = part.account(&credential).await.unwrap();
        assert_eq!(account, account_of("Ours", "OURS"));
        let now = Timestamp::from_millis(0);
        let words = async |port: &dyn DeviceAssignment| {
            let fetched = port.fetch(&credential, None, now).await.unwrap_err();
            let assigned = port.assign(&credential, "PROFILE", &[]).await.unwrap_err();
            [fetched, assigned].map(|error| error.to_string())
        };
        assert_eq!(words(&*part).await, words(&*none).await);
    }
}
