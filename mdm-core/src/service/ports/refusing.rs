//! The ports of a host that has none: they refuse everything, and tell nobody.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{
    Account, ActivityReading, ActivityRequest, ApiKey, ContentCredential, DeviceAssignment,
    DevicePage, HandOver, HandOverTo, HolderList, HookCarrier, IdentityProvider, LicenceEvent,
    LicenceRequest, Licences, LocationReading, LockOutcome, LockRemoval, LockedDevice, MemberPage,
    Notifier, OrganisationApi, PushIdentity, PushOutcome, Pusher, ReadingPage, Redemption,
    ServerCredential, Unlocking,
};
use crate::clock::Timestamp;
use crate::device::{AssignmentOutcome, OrgReading};
use crate::enrollment::PushTarget;
use crate::error::PortError;
use crate::ids::{OrganisationId, Serial};
use crate::licences::Stock;
use crate::migration::Notice;
use crate::secret::Secret;

pub(super) struct Refusing;

#[async_trait]
impl Pusher for Refusing {
    async fn push(&self, _: &PushIdentity, _: &PushTarget) -> Result<PushOutcome, PortError> {
        Err(PortError::Absent("push"))
    }
}

#[async_trait]
impl DeviceAssignment for Refusing {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn fetch(
        &self,
        _: &ServerCredential,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn sync(
        &self,
        _: &ServerCredential,
        _: &str,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn define_profile(
        &self,
        _: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn assign(
        &self,
        _: &ServerCredential,
        _: &str,
        _: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Err(PortError::Absent("assignment"))
    }
    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        _: &str,
    ) -> Result<LockOutcome, PortError> {
        Err(PortError::Absent("assignment"))
    }
}

#[async_trait]
impl OrganisationApi for Refusing {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        Err(PortError::Absent("organisation API"))
    }
    async fn members(&self, _: &ApiKey, _: &str, _: Option<&str>) -> Result<MemberPage, PortError> {
        Err(PortError::Absent("organisation API"))
    }
    async fn devices(
        &self,
        _: &ApiKey,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        Err(PortError::Absent("organisation API"))
    }
    async fn read(
        &self,
        _: &ApiKey,
        _: &[Serial],
        _: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        Err(PortError::Absent("organisation API"))
    }
    async fn submit(
        &self,
        _: &ApiKey,
        _: &ActivityRequest,
        _: &[Serial],
        _: Timestamp,
    ) -> Result<String, PortError> {
        Err(PortError::Absent("organisation API"))
    }
    async fn activity(&self, _: &ApiKey, _: &str) -> Result<ActivityReading, PortError> {
        Err(PortError::Absent("organisation API"))
    }
}

#[async_trait]
impl LockRemoval for Refusing {
    async fn unlock(
        &self,
        _: &PushIdentity,
        _: &LockedDevice,
        _: &Secret,
    ) -> Result<Unlocking, PortError> {
        Err(PortError::Absent("lock removal"))
    }
}

#[async_trait]
impl Notifier for Refusing {
    async fn notify(&self, _: OrganisationId, _: &Serial, _: Notice) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl HookCarrier for Refusing {
    async fn post(
        &self,
        _: &str,
        _: &[(&'static str, String)],
        _: Vec<u8>,
    ) -> Result<u16, PortError> {
        Err(PortError::Absent("webhooks"))
    }
}

#[async_trait]
impl Licences for Refusing {
    async fn claim(
        &self,
        _: &ContentCredential,
        _: bool,
        _: Timestamp,
    ) -> Result<LocationReading, PortError> {
        Err(PortError::Absent("licences"))
    }
    async fn stock(&self, _: &ContentCredential) -> Result<BTreeMap<u64, Stock>, PortError> {
        Err(PortError::Absent("licences"))
    }
    async fn holders(
        &self,
        _: &ContentCredential,
        _: u64,
        _: Timestamp,
    ) -> Result<HolderList, PortError> {
        Err(PortError::Absent("licences"))
    }
    async fn submit(
        &self,
        _: &ContentCredential,
        _: &LicenceRequest,
        _: &[Serial],
    ) -> Result<String, PortError> {
        Err(PortError::Absent("licences"))
    }
    async fn event(&self, _: &ContentCredential, _: &str) -> Result<LicenceEvent, PortError> {
        Err(PortError::Absent("licences"))
    }
}

#[async_trait]
impl IdentityProvider for Refusing {
    async fn document(&self, _: &str, _: bool) -> Result<Vec<u8>, PortError> {
        Err(PortError::Absent("identity provider"))
    }
    async fn redeem(&self, _: &Redemption) -> Result<Secret, PortError> {
        Err(PortError::Absent("identity provider"))
    }
}

#[async_trait]
impl HandOver for Refusing {
    async fn post(&self, _: &HandOverTo, _: &str, _: Vec<u8>) -> Result<Vec<u8>, PortError> {
        Err(PortError::Absent("hand-over"))
    }
}
