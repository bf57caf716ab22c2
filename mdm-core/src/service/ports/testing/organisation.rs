//! For tests only: an organisation API that answers a part of what it is asked and refuses the rest.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::device::OrgReading;
use crate::error::PortError;
use crate::ids::Serial;
use crate::service::ports::{
    ActivityReading, ActivityRequest, ApiKey, LockSaid, MemberPage, OrganisationApi, ReadingPage,
};

/// A part of [`OrganisationApi`]: what is not written is refused. Whoever has a part is the whole port.
#[async_trait]
pub trait OrganisationApiPart: Send + Sync + 'static {
    /// With which words the rest is refused: those of a host that has no such port, where nothing else is said.
    fn refusal(&self) -> PortError {
        PortError::Absent("organisation API")
    }
    /// [`OrganisationApi::servers`].
    async fn servers(&self, _key: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::members`].
    async fn members(
        &self,
        _key: &ApiKey,
        _server: &str,
        _cursor: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::devices`].
    async fn devices(
        &self,
        _key: &ApiKey,
        _cursor: Option<&str>,
        _now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::read`].
    async fn read(
        &self,
        _key: &ApiKey,
        _serials: &[Serial],
        _now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::submit`].
    async fn submit(
        &self,
        _key: &ApiKey,
        _request: &ActivityRequest,
        _serials: &[Serial],
        _now: Timestamp,
    ) -> Result<String, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::activity`].
    async fn activity(&self, _key: &ApiKey, _id: &str) -> Result<ActivityReading, PortError> {
        Err(self.refusal())
    }
    /// [`OrganisationApi::lock`].
    async fn lock(
        &self,
        _key: &ApiKey,
        _serial: &Serial,
        _behind: bool,
    ) -> Result<LockSaid, PortError> {
        Err(self.refusal())
    }
}

#[async_trait]
impl<P: OrganisationApiPart> OrganisationApi for P {
    async fn servers(&self, key: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        OrganisationApiPart::servers(self, key).await
    }
    async fn members(
        &self,
        key: &ApiKey,
        server: &str,
        cursor: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        OrganisationApiPart::members(self, key, server, cursor).await
    }
    async fn devices(
        &self,
        key: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        OrganisationApiPart::devices(self, key, cursor, now).await
    }
    async fn read(
        &self,
        key: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        OrganisationApiPart::read(self, key, serials, now).await
    }
    async fn submit(
        &self,
        key: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError> {
        OrganisationApiPart::submit(self, key, request, serials, now).await
    }
    async fn activity(&self, key: &ApiKey, id: &str) -> Result<ActivityReading, PortError> {
        OrganisationApiPart::activity(self, key, id).await
    }
    async fn lock(
        &self,
        key: &ApiKey,
        serial: &Serial,
        behind: bool,
    ) -> Result<LockSaid, PortError> {
        OrganisationApiPart::lock(self, key, serial, behind).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::budget::allowance;
    use crate::ids::OrganisationId;
    use crate::secret::Secret;
    use crate::service::ports::Ports;

    struct OneService;

    #[async_trait]
    impl OrganisationApiPart for OneService {
        async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
            Ok(vec![("OURS".to_owned(), "Ours".to_owned())])
        }
    }

    #[tokio::test]
    async fn what_a_part_does_not_answer_is_refused_as_by_a_host_without_the_port() {
        let part: Arc<dyn OrganisationApi> = Arc::new(OneService);
        let none = Ports::refusing().api;
        let key = ApiKey {
            organisation: OrganisationId(1),
            client_id: "BUSINESSAPI.1".to_owned(),
            key_id: "K".to_owned(),
            key: Secret::from_text("key"),
            allowance: allowance(20, 10),
        };
        let servers = part.servers(&key).await.unwrap();
        assert_eq!(servers, [("OURS".to_owned(), "Ours".to_owned())]);
        let now = Timestamp::from_millis(0);
        let words = async |port: &dyn OrganisationApi| {
            let listed = port.devices(&key, None, now).await.unwrap_err();
            let cancel = ActivityRequest::Cancel;
            let submitted = port.submit(&key, &cancel, &[], now).await.unwrap_err();
            [listed, submitted].map(|error| error.to_string())
        };
        assert_eq!(words(&*part).await, words(&*none).await);
    }
}
