//! People of the organisation: users, their groups and units. Only read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json_api::{Linkage, Page, PageCursor, Resource};
use super::{BusinessClient, segment};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;

const USERS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/users");
const USER: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/users/{id}");
const GROUPS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/userGroups");
const GROUP: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/userGroups/{id}");
const MEMBERS: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/userGroups/{id}/relationships/users",
);
const UNITS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/organizationalUnits");

/// A person's role in a unit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct RoleInUnit {
    /// The role.
    pub role_name: Option<String>,
    /// The unit.
    pub ou_id: Option<String>,
    /// What this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A telephone number.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct PhoneNumber {
    /// The number.
    pub phone_number: Option<String>,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct User {
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Middle name.
    pub middle_name: Option<String>,
    /// State of the account.
    pub status: Option<String>,
    /// The Managed Apple Account.
    pub managed_apple_account: Option<String>,
    /// Whether the person belongs to another organisation.
    pub is_external_user: Option<bool>,
    /// Roles, each in a unit.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub role_ou_list: Vec<RoleInUnit>,
    /// E-mail address.
    pub email: Option<String>,
    /// Number in the organisation.
    pub employee_number: Option<String>,
    /// Cost centre.
    pub cost_center: Option<String>,
    /// Division.
    pub division: Option<String>,
    /// Department.
    pub department: Option<String>,
    /// Title of the job.
    pub job_title: Option<String>,
    /// First day.
    pub start_date_time: Option<Moment>,
    /// Telephone numbers.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub phone_numbers: Vec<PhoneNumber>,
    /// When the account was made.
    pub created_date_time: Option<Moment>,
    /// The last change.
    pub updated_date_time: Option<Moment>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A group of people.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserGroup {
    /// The unit.
    pub ou_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How many people are in it.
    pub total_member_count: Option<u64>,
    /// Its state.
    pub status: Option<String>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A unit of the organisation, in a tree of locations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrganizationalUnit {
    /// Its name.
    pub name: Option<String>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl BusinessClient {
    /// One page of the users.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn users(&self, cursor: Option<&PageCursor>) -> Result<Page<Resource<User>>, Error> {
        self.list(USERS, "/v1/users", &[], cursor).await
    }

    /// One user.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn user(&self, id: &str) -> Result<Resource<User>, Error> {
        self.one(USER, &format!("/v1/users/{}", segment(USER, id)?))
            .await
    }

    /// One page of the groups.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn user_groups(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<UserGroup>>, Error> {
        self.list(GROUPS, "/v1/userGroups", &[], cursor).await
    }

    /// One group.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn user_group(&self, id: &str) -> Result<Resource<UserGroup>, Error> {
        self.one(GROUP, &format!("/v1/userGroups/{}", segment(GROUP, id)?))
            .await
    }

    /// One page of the identifiers of a group's users.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is no such group.
    pub async fn user_group_members(
        &self,
        id: &str,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<String>, Error> {
        let path = format!(
            "/v1/userGroups/{}/relationships/users",
            segment(MEMBERS, id)?
        );
        let page: Page<Linkage> = self.list(MEMBERS, &path, &[], cursor).await?;
        let items = page.items.into_iter().map(|user| user.id).collect();
        Ok(Page {
            items,
            next: page.next,
            total: page.total,
        })
    }

    /// One page of the units.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn organizational_units(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<OrganizationalUnit>>, Error> {
        self.list(UNITS, "/v1/organizationalUnits", &[], cursor)
            .await
    }
}
