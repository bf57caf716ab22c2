//! Automated Device Enrolment profiles: define, read back, assign, remove. A profile cannot be changed, listed or
//! deleted at Apple; who needs another one defines a new one and assigns it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ade_profile::{AdeProfile, DEFINE};
use super::{AssignmentClient, NO_BODY, distinct};
use crate::answer;
use crate::error::{Endpoint, Error, ErrorKind, Service};
use crate::oauth1::percent_encode;
use crate::transport::Method;

const FETCH: Endpoint = Endpoint::read(Service::DeviceAssignment, "GET /profile");
const ASSIGN: Endpoint = Endpoint::write(Service::DeviceAssignment, "POST /profile/devices");
const REMOVE: Endpoint = Endpoint::write(Service::DeviceAssignment, "DELETE /profile/devices");

/// What assigning or removing did to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AssignmentOutcome {
    /// Done; wait for the record to say so.
    Success,
    /// Not in our list: moved, released or mistyped.
    NotAccessible,
    /// Transient or unknown, or not in the answer: retry with growing delay.
    Failed,
    /// Too often for this device: wait.
    Throttled {
        /// At least so long, if the service said; wait long when it did not.
        retry_after: Option<Duration>,
    },
    /// A word that this version of the library does not know.
    Other(String),
}

impl AssignmentOutcome {
    fn read(text: &str, retry_after: Option<Duration>) -> Self {
        match text {
            "SUCCESS" => Self::Success,
            "NOT_ACCESSIBLE" => Self::NotAccessible,
            "FAILED" => Self::Failed,
            "THROTTLED" => Self::Throttled { retry_after },
            other => Self::Other(answer::shown(other)),
        }
    }
}

/// What the service did for each serial number asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AssignReport {
    /// One outcome for each serial number of the request.
    pub outcomes: BTreeMap<String, AssignmentOutcome>,
    /// How long to wait for the throttled ones, if the service said.
    pub retry_after: Option<Duration>,
    /// Keys that this version of the library does not know.
    pub extra: Map<String, Value>,
}

/// A profile that the service knows now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DefinedProfile {
    /// Its identifier.
    pub profile_uuid: String,
    /// What happened to the serial numbers in the request.
    pub outcomes: BTreeMap<String, AssignmentOutcome>,
}

#[derive(Deserialize)]
struct OutcomeAnswer {
    #[serde(default)]
    profile_uuid: Option<String>,
    #[serde(default, deserialize_with = "answer::null_is_default")]
    devices: BTreeMap<String, String>,
    #[serde(default)]
    retry_after_seconds: Option<u64>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl OutcomeAnswer {
    fn report(self, asked: &[&str]) -> AssignReport {
        let retry_after = self.retry_after_seconds.map(Duration::from_secs);
        let mut outcomes: BTreeMap<String, AssignmentOutcome> = self
            .devices
            .into_iter()
            .map(|(serial, text)| (serial, AssignmentOutcome::read(&text, retry_after)))
            .collect();
        for serial in asked {
            outcomes
                .entry((*serial).to_owned())
                .or_insert(AssignmentOutcome::Failed);
        }
        AssignReport {
            outcomes,
            retry_after,
            extra: self.extra,
        }
    }
}

impl AssignmentClient {
    /// Makes a profile known. Equal content gives a new identifier each time: remember the
    /// [`digest`](AdeProfile::digest).
    ///
    /// # Errors
    /// [`is_invalid_input`](Error::is_invalid_input) before anything is sent; else as every call.
    pub async fn define_profile(&self, profile: &AdeProfile) -> Result<DefinedProfile, Error> {
        profile.validate()?;
        let response = self
            .call(DEFINE, Method::Post, "/profile", Some(profile))
            .await?;
        let mut answer: OutcomeAnswer = answer::json(DEFINE, response.body.expose())?;
        let profile_uuid = answer
            .profile_uuid
            .take()
            .filter(|uuid| !uuid.is_empty())
            .ok_or_else(|| Error::malformed(DEFINE, "profile_uuid", "missing"))?;
        let asked: Vec<&str> = profile.devices.iter().map(String::as_str).collect();
        Ok(DefinedProfile {
            profile_uuid,
            outcomes: answer.report(&asked).outcomes,
        })
    }

    /// Reads a profile back. Compare with [`AdeProfile::differences`].
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the service does not know it (any more).
    pub async fn profile(&self, profile_uuid: &str) -> Result<AdeProfile, Error> {
        let path = format!("/profile?profile_uuid={}", percent_encode(profile_uuid));
        let response = self.call(FETCH, Method::Get, &path, NO_BODY).await?;
        answer::json(FETCH, response.body.expose())
    }

    /// Assigns a profile to at most 1000 devices. For a device with a migration deadline this is what offers the
    /// migration. Do not assign again what is assigned: the service throttles by device, for hours.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the profile is unknown; else as every call.
    pub async fn assign_profile(
        &self,
        profile_uuid: &str,
        serials: &[String],
    ) -> Result<AssignReport, Error> {
        if profile_uuid.trim().is_empty() {
            return Err(Error::invalid(ASSIGN, "profile_uuid", "empty"));
        }
        let devices = distinct(ASSIGN, serials, self.assign_chunk_size())?;
        let body = serde_json::json!({ "profile_uuid": profile_uuid, "devices": devices });
        let mut response = self
            .exchange(ASSIGN, Method::Post, "/profile/devices", Some(&body))
            .await?;
        if response.status == 405 {
            // The older form of the call: the same body with another method.
            response = self
                .exchange(ASSIGN, Method::Put, "/profile/devices", Some(&body))
                .await?;
        }
        if !response.is_success() {
            return Err(self.refused(ASSIGN, &response));
        }
        let answer: OutcomeAnswer = answer::json(ASSIGN, response.body.expose())?;
        if let Some(other) = answer
            .profile_uuid
            .as_ref()
            .filter(|uuid| !uuid.eq_ignore_ascii_case(profile_uuid))
        {
            return Err(Error::new(
                ASSIGN,
                ErrorKind::Malformed {
                    field: "profile_uuid".into(),
                    why: format!("another profile than asked for ({})", answer::shown(other)),
                },
            ));
        }
        Ok(answer.report(&devices))
    }

    /// Takes the profile away from at most 1000 devices. No substitute for cancelling a migration.
    ///
    /// # Errors
    /// As every call of the service.
    pub async fn remove_profile(&self, serials: &[String]) -> Result<AssignReport, Error> {
        let devices = distinct(REMOVE, serials, self.assign_chunk_size())?;
        let body = serde_json::json!({ "devices": devices });
        let response = self
            .call(REMOVE, Method::Delete, "/profile/devices", Some(&body))
            .await?;
        let answer: OutcomeAnswer = answer::json(REMOVE, response.body.expose())?;
        Ok(answer.report(&devices))
    }

    /// The largest number of devices to assign or remove at once: never more than 1000.
    #[must_use]
    pub fn assign_chunk_size(&self) -> usize {
        self.chunk_size("/profile/devices").min(1000)
    }
}
