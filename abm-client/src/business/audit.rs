//! Audit events of the organisation: who moved, added or removed a device behind our back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BusinessClient;
use super::json_api::{Page, PageCursor, Resource};
use crate::error::{Endpoint, Error, Service};
use crate::moment::{Moment, write_ms};
use crate::open_enum::open_enum;

const LIST: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/auditEvents");

open_enum! {
    /// What happened. The list grows; these concern devices.
    pub enum AuditEventType {
        /// A device was assigned to a server entry.
        DeviceAssignedToServer = "DEVICE_ASSIGNED_TO_SERVER",
        /// A device was taken away from a server entry.
        DeviceUnassignedFromServer = "DEVICE_UNASSIGNED_FROM_SERVER",
        /// A device came into the organisation.
        DeviceAddedToOrg = "DEVICE_ADDED_TO_ORG",
        /// A device left the organisation.
        DeviceRemovedFromOrg = "DEVICE_REMOVED_FROM_ORG",
    }
}

/// Which events to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditQuery {
    /// From when on (milliseconds since 1970).
    pub start_ms: i64,
    /// Until when.
    pub end_ms: i64,
    /// Of this type only.
    pub event_type: Option<AuditEventType>,
    /// By this actor only.
    pub actor_id: Option<String>,
    /// About this subject only.
    pub subject_id: Option<String>,
}

impl AuditQuery {
    /// Everything between two times (milliseconds since 1970).
    #[must_use]
    pub fn between(start_ms: i64, end_ms: i64) -> Self {
        Self {
            start_ms,
            end_ms,
            event_type: None,
            actor_id: None,
            subject_id: None,
        }
    }
}

/// An audit event.
///
/// Apple: <https://developer.apple.com/documentation/applebusinessapi/get-audit-events>
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct AuditEvent {
    /// When it happened.
    pub event_date_time: Option<Moment>,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: Option<AuditEventType>,
    /// The field in which it happened.
    pub category: Option<String>,
    /// What kind of actor did it.
    pub actor_type: Option<String>,
    /// Who did it.
    pub actor_id: Option<String>,
    /// Name of who did it.
    pub actor_name: Option<String>,
    /// What kind of thing it was done to.
    pub subject_type: Option<String>,
    /// What it was done to.
    pub subject_id: Option<String>,
    /// Name of what it was done to.
    pub subject_name: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Events of one act have one group.
    pub group_id: Option<String>,
    /// Under which key the details are.
    pub event_data_property_key: Option<String>,
    /// The details, and attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AuditEvent {
    /// The details: the object that the event itself names.
    #[must_use]
    pub fn data(&self) -> Option<&Value> {
        self.extra.get(self.event_data_property_key.as_deref()?)
    }

    /// The serial number in the details of an event about a device.
    #[must_use]
    pub fn serial_number(&self) -> Option<&str> {
        self.data()?.get("serialNumber")?.as_str()
    }
}

impl BusinessClient {
    /// One page of the audit events.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn audit_events(
        &self,
        query: &AuditQuery,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<AuditEvent>>, Error> {
        if query.end_ms < query.start_ms {
            return Err(Error::invalid(
                LIST,
                "filter[endTimestamp]",
                "before the start",
            ));
        }
        let mut filters = vec![
            ("filter[startTimestamp]", write_ms(query.start_ms)),
            ("filter[endTimestamp]", write_ms(query.end_ms)),
        ];
        if let Some(event_type) = &query.event_type {
            filters.push(("filter[type]", event_type.to_string()));
        }
        if let Some(actor) = &query.actor_id {
            filters.push(("filter[actorId]", actor.clone()));
        }
        if let Some(subject) = &query.subject_id {
            filters.push(("filter[subjectId]", subject.clone()));
        }
        self.list(LIST, "/v1/auditEvents", &filters, cursor).await
    }
}
