//! Users of a location, for licences that are given to people instead of devices.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AppsClient;
use super::assets::{EventAnswer, Listing, page_filter, push};
use crate::error::{Endpoint, Error, Service};

const LIST: Endpoint = Endpoint::read(Service::Apps, "GET /users");
const CREATE: Endpoint = Endpoint::write(Service::Apps, "POST /users/create");
const UPDATE: Endpoint = Endpoint::write(Service::Apps, "POST /users/update");
const RETIRE: Endpoint = Endpoint::write(Service::Apps, "POST /users/retire");

/// A user of a location.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct VppUser {
    /// Our identifier.
    pub client_user_id: String,
    /// E-mail address.
    pub email: Option<String>,
    /// The Managed Apple Account.
    pub managed_apple_id: Option<String>,
    /// Hash of the account.
    pub id_hash: Option<String>,
    /// State of the user.
    pub status: Option<String>,
    /// Keys that this version of the library does not know, among them the code of an invitation.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A user to make or change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewUser {
    /// Our identifier.
    pub client_user_id: String,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The Managed Apple Account; the licence is then given without an invitation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_apple_id: Option<String>,
}

impl AppsClient {
    /// One page of the users; the first one without an index.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired) when the state to compare with is not known any more.
    pub async fn users(
        &self,
        since_version_id: Option<&str>,
        page: Option<u32>,
    ) -> Result<Listing<VppUser>, Error> {
        let mut filters = page_filter(page);
        push(&mut filters, "sinceVersionId", &since_version_id);
        let answer = self.get(LIST, "/users", &filters).await?;
        Listing::of(LIST, page, answer)
    }

    /// Makes users; follow the event.
    ///
    /// # Errors
    /// [`TakenOver`](crate::ErrorKind::TakenOver) when the location is not ours.
    pub async fn create_users(&self, users: &[NewUser]) -> Result<String, Error> {
        self.write_users(CREATE, "/users/create", users).await
    }

    /// Changes users; follow the event.
    ///
    /// # Errors
    /// As [`create_users`](Self::create_users).
    pub async fn update_users(&self, users: &[NewUser]) -> Result<String, Error> {
        self.write_users(UPDATE, "/users/update", users).await
    }

    /// Retires users; follow the event.
    ///
    /// # Errors
    /// As [`create_users`](Self::create_users).
    pub async fn retire_users(&self, client_user_ids: &[String]) -> Result<String, Error> {
        let users: Vec<NewUser> = client_user_ids
            .iter()
            .map(|id| NewUser {
                client_user_id: id.clone(),
                ..NewUser::default()
            })
            .collect();
        self.write_users(RETIRE, "/users/retire", &users).await
    }

    async fn write_users(
        &self,
        endpoint: Endpoint,
        path: &str,
        users: &[NewUser],
    ) -> Result<String, Error> {
        let most = self.limits().max_users;
        if users.is_empty() || users.len() > most {
            return Err(Error::invalid(
                endpoint,
                "users",
                format!("1 to {most} at once"),
            ));
        }
        let mut seen = HashSet::new();
        if users
            .iter()
            .any(|user| user.client_user_id.is_empty() || !seen.insert(&user.client_user_id))
        {
            return Err(Error::invalid(
                endpoint,
                "users.clientUserId",
                "empty, or there twice",
            ));
        }
        self.must_be_ours(endpoint).await?;
        let body = serde_json::json!({ "users": users });
        self.post::<EventAnswer>(endpoint, path, &body)
            .await
            .map(|event| event.event_id)
    }
}
