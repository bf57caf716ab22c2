//! Activities: assigning, unassigning, and starting, moving or cancelling migrations, for many devices at once. What
//! an activity says of itself is no proof; re-read the devices. A `POST` is never repeated here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::deadline::Deadline;
use super::json_api::{One, Resource};
use super::report::ActivityReport;
use super::{BusinessClient, Call, segment};
use crate::answer;
use crate::error::{Endpoint, Error, ErrorKind, Refusal, Service};
use crate::moment::Moment;
use crate::open_enum::open_enum;
use crate::transport::{Method, Request};

const CREATE: Endpoint = Endpoint::write(Service::Organisation, "POST /v1/orgDeviceActivities");
const READ: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/orgDeviceActivities/{id}");
const REPORT: Endpoint = Endpoint::read(Service::Organisation, "GET result file of an activity");

/// A line of a result file has some 100 bytes.
const REPORT_LIMIT: usize = 64 * 1024 * 1024;

open_enum! {
    /// What an activity does.
    pub enum ActivityType {
        /// Assigns, without a migration.
        AssignDevices = "ASSIGN_DEVICES",
        /// Takes away from a server entry.
        UnassignDevices = "UNASSIGN_DEVICES",
        /// Assigns and starts a migration.
        AssignWithDeadline = "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE",
        /// Moves the deadline of a migration.
        UpdateDeadline = "UPDATE_MDM_MIGRATION_DEADLINE",
        /// Cancels a migration that has not begun.
        CancelMigration = "CANCEL_MDM_MIGRATION",
        /// Releases from the organisation; cannot be undone.
        ReleaseDevices = "RELEASE_DEVICES",
    }
}

open_enum! {
    /// How far an activity is. `Completed` alone is no success.
    pub enum ActivityStatus {
        /// Under way.
        InProgress = "IN_PROGRESS",
        /// At its end; see the sub-status.
        Completed = "COMPLETED",
        /// Stopped.
        Stopped = "STOPPED",
        /// Failed.
        Failed = "FAILED",
    }
}

open_enum! {
    /// The finer state of an activity.
    pub enum ActivitySubStatus {
        /// Taken.
        Submitted = "SUBMITTED",
        /// Being prepared.
        PreProcessing = "PRE_PROCESSING",
        /// Waiting.
        Pending = "PENDING",
        /// Being done.
        Processing = "PROCESSING",
        /// The result file is being made.
        PostProcessing = "POST_PROCESSING",
        /// Being stopped.
        Stopping = "STOPPING",
        /// Every device succeeded.
        CompletedWithSuccess = "COMPLETED_WITH_SUCCESS",
        /// There was an error.
        CompletedWithError = "COMPLETED_WITH_ERROR",
        /// Some devices failed: see the result file.
        CompletedWithFailure = "COMPLETED_WITH_FAILURE",
        /// There is no result file.
        CompletedPostProcessingFailed = "COMPLETED_POST_PROCESSING_FAILED",
    }
}

/// An activity to be submitted. Devices are serial numbers, servers identifiers of server entries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Assigns devices, without a migration.
    Assign {
        /// To which server entry.
        server: String,
        /// Which devices.
        devices: Vec<String>,
    },
    /// Takes devices away.
    Unassign {
        /// From which server entry, if it is known.
        server: Option<String>,
        /// Which devices.
        devices: Vec<String>,
    },
    /// Assigns devices and starts their migration. One deadline, many devices: writes are scarce.
    AssignWithDeadline {
        /// To which server entry.
        server: String,
        /// Until when they must begin.
        deadline: Deadline,
        /// Which devices.
        devices: Vec<String>,
    },
    /// Moves the deadline of migrations that have not begun.
    UpdateDeadline {
        /// Until when they must begin now.
        deadline: Deadline,
        /// Which devices.
        devices: Vec<String>,
    },
    /// Cancels migrations that have not begun. Whether the devices return to where they came from is not certain: read
    /// their server afterwards.
    CancelMigration {
        /// Which devices.
        devices: Vec<String>,
    },
    /// Releases devices from the organisation. **This cannot be undone.**
    #[cfg(feature = "irreversible")]
    Release {
        /// Which devices.
        devices: Vec<String>,
    },
}

impl Activity {
    /// Its type on the wire.
    #[must_use]
    pub fn activity_type(&self) -> ActivityType {
        match self {
            Self::Assign { .. } => ActivityType::AssignDevices,
            Self::Unassign { .. } => ActivityType::UnassignDevices,
            Self::AssignWithDeadline { .. } => ActivityType::AssignWithDeadline,
            Self::UpdateDeadline { .. } => ActivityType::UpdateDeadline,
            Self::CancelMigration { .. } => ActivityType::CancelMigration,
            #[cfg(feature = "irreversible")]
            Self::Release { .. } => ActivityType::ReleaseDevices,
        }
    }

    /// Which devices it is about.
    #[must_use]
    pub fn devices(&self) -> &[String] {
        match self {
            Self::Assign { devices, .. }
            | Self::Unassign { devices, .. }
            | Self::AssignWithDeadline { devices, .. }
            | Self::UpdateDeadline { devices, .. }
            | Self::CancelMigration { devices } => devices,
            #[cfg(feature = "irreversible")]
            Self::Release { devices } => devices,
        }
    }

    fn server(&self) -> Option<&str> {
        match self {
            Self::Assign { server, .. } | Self::AssignWithDeadline { server, .. } => Some(server),
            Self::Unassign { server, .. } => server.as_deref(),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<&Deadline> {
        match self {
            Self::AssignWithDeadline { deadline, .. } | Self::UpdateDeadline { deadline, .. } => {
                Some(deadline)
            }
            _ => None,
        }
    }

    fn is_migration(&self) -> bool {
        matches!(
            self,
            Self::AssignWithDeadline { .. }
                | Self::UpdateDeadline { .. }
                | Self::CancelMigration { .. }
        )
    }

    /// The exact body that is sent: show it before, and keep its digest. Serial numbers occur once, in the order given.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when there are no devices, more than `most`, or no server.
    pub fn body(&self, most: usize) -> Result<Value, Error> {
        let devices = crate::assignment::distinct(CREATE, self.devices(), most)?;
        if self.server().is_some_and(|server| server.trim().is_empty()) {
            return Err(Error::invalid(CREATE, "mdmServer", "empty"));
        }
        // Parts that are not needed are left out: empty ones may be refused.
        let mut attributes = json!({ "activityType": self.activity_type() });
        if let Some(deadline) = self.deadline() {
            attributes["activityTypeMetadata"] =
                json!({ "mdmMigrationDeadlineDateTime": deadline.text() });
        }
        let devices: Vec<Value> = devices
            .iter()
            .map(|serial| json!({ "type": "orgDevices", "id": serial }))
            .collect();
        let mut relationships = json!({ "devices": { "data": devices } });
        if let Some(server) = self.server() {
            relationships["mdmServer"] =
                json!({ "data": { "type": "mdmServers", "id": server.trim() } });
        }
        Ok(json!({ "data": {
            "type": "orgDeviceActivities", "attributes": attributes, "relationships": relationships,
        } }))
    }
}

/// What the service says of an activity.
///
/// Apple: <https://developer.apple.com/documentation/applebusinessapi/orgdeviceactivity>
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ActivityAttributes {
    /// How far it is.
    pub status: Option<ActivityStatus>,
    /// The finer state.
    pub sub_status: Option<ActivitySubStatus>,
    /// What it does.
    pub activity_type: Option<ActivityType>,
    /// When it was taken.
    pub created_date_time: Option<Moment>,
    /// When it ended.
    pub completed_date_time: Option<Moment>,
    /// Where its result file is, for some hours. The address opens the file: treat it as secret.
    pub download_url: Option<crate::SecretText>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ActivityAttributes {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self.status,
            Some(ActivityStatus::Completed | ActivityStatus::Stopped | ActivityStatus::Failed)
        )
    }

    /// Whether the activity says that every device succeeded. Re-read the devices all the same.
    #[must_use]
    pub fn claims_success(&self) -> bool {
        self.status == Some(ActivityStatus::Completed)
            && self.sub_status == Some(ActivitySubStatus::CompletedWithSuccess)
    }
}

impl BusinessClient {
    /// Submits an activity. Store its identifier at once: there is no list of activities.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): re-read the devices before anything else.
    /// [`feature_missing`](Error::feature_missing) when this organisation does not know the type.
    /// [`Refused`](ErrorKind::Refused) with the service's words, for example for a wrong server or serial number.
    pub async fn submit_activity(
        &self,
        activity: &Activity,
    ) -> Result<Resource<ActivityAttributes>, Error> {
        let body = activity.body(self.activity_limit())?;
        if let Some(deadline) = activity.deadline() {
            deadline.check(self.now_ms())?;
        }
        let call = Call {
            endpoint: CREATE,
            method: Method::Post,
            path: "/v1/orgDeviceActivities",
            collection: true,
        };
        let response = self
            .call(call, Some(&body))
            .await
            .map_err(|error| unknown_type(activity, error))?;
        let made: Resource<ActivityAttributes> =
            answer::json::<One<_>>(CREATE, response.body.expose()).map(|one| one.data)?;
        if made.id.is_empty() {
            return Err(Error::malformed(CREATE, "data.id", "empty"));
        }
        Ok(made)
    }

    /// Reads an activity; the service keeps it for 30 days.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when it does not know it (any more).
    pub async fn activity(&self, id: &str) -> Result<Resource<ActivityAttributes>, Error> {
        self.one(
            READ,
            &format!("/v1/orgDeviceActivities/{}", segment(READ, id)?),
        )
        .await
    }

    /// Downloads the result file of an activity that was read just now, or `None` when it has none. Goes without the
    /// bearer token, which is not meant for that host.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the address has expired: read the activity again.
    pub async fn activity_report(
        &self,
        activity: &ActivityAttributes,
    ) -> Result<Option<ActivityReport>, Error> {
        let Some(url) = activity.download_url.as_ref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let request = Request {
            method: Method::Get,
            url: url.expose().to_owned(),
            headers: vec![("user-agent", self.inner.user_agent.as_str().into())],
            body: None,
            answer_limit: REPORT_LIMIT,
        };
        let response = self.inner.line.send_past(REPORT, request).await?;
        let kind = match response.status {
            200..300 => return Ok(Some(ActivityReport::parse(response.body.expose()))),
            403 | 404 | 410 => ErrorKind::NotFound {
                refusals: Vec::new(),
            },
            429 => ErrorKind::Throttled,
            status @ 500.. => ErrorKind::Unavailable { status },
            status if answer::says_nothing(status) => ErrorKind::Unavailable { status },
            status => ErrorKind::Refused {
                status,
                refusals: Vec::new(),
            },
        };
        Err(Error::new(REPORT, kind).waiting(answer::retry_after(&response, self.now_ms())))
    }
}

/// A refusal of the type itself means that the function is missing here. Decided by what the refusal points at, never
/// by its words.
fn unknown_type(activity: &Activity, error: Error) -> Error {
    let points_at = |refusal: &Refusal, part: &str| {
        refusal
            .about
            .as_deref()
            .is_some_and(|about| about.contains(part))
    };
    let missing = match error.kind() {
        ErrorKind::FeatureMissing { .. } => true,
        ErrorKind::Refused {
            status: 400 | 409 | 422,
            refusals,
        } if refusals
            .iter()
            .any(|refusal| points_at(refusal, "activityType")) =>
        {
            // A pointer to the metadata of a known type is about the deadline.
            !refusals
                .iter()
                .any(|refusal| points_at(refusal, "DeadlineDateTime"))
        }
        ErrorKind::Refused {
            status: 400,
            refusals,
        } => {
            // An answer that names nothing may be anybody's.
            activity.is_migration()
                && !refusals.is_empty()
                && refusals.iter().all(|refusal| refusal.about.is_none())
        }
        _ => false,
    };
    if missing {
        return Error::new(
            CREATE,
            ErrorKind::FeatureMissing {
                what: activity.activity_type().to_string(),
            },
        );
    }
    error
}
