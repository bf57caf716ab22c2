//! Notifications that the service sends to us. They are best effort: who relies on them alone waits for ever.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::assets::Assignment;
use super::events::EventType;
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::open_enum::open_enum;
use crate::secret::SecretText;

const READ: Endpoint = Endpoint::read(Service::Apps, "notification");

open_enum! {
    /// What a notification is about.
    pub enum NotificationType {
        /// A test, when the address is set.
        Test = "TEST_NOTIFICATION",
        /// Licences were given or taken.
        AssetManagement = "ASSET_MANAGEMENT",
        /// The number of licences changed.
        AssetCount = "ASSET_COUNT",
        /// Users were made, changed or retired.
        UserManagement = "USER_MANAGEMENT",
        /// A user has accepted.
        UserAssociated = "USER_ASSOCIATED",
        /// An app became free, or is not free any more.
        UnlimitedAsset = "UNLIMITED_ASSET",
    }
}

/// A notification. Take each [`id`](Self::id) once: it may be sent up to three times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Notification {
    /// Its identifier.
    #[serde(rename = "notificationId")]
    pub id: String,
    /// What it is about.
    pub notification_type: NotificationType,
    /// The library.
    #[serde(default)]
    pub u_id: Option<String>,
    /// Its content.
    #[serde(
        default,
        rename = "notification",
        deserialize_with = "answer::null_is_default"
    )]
    pub content: Map<String, Value>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The outcome of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AssetManagement {
    /// The event.
    pub event_id: String,
    /// What it did.
    #[serde(default, rename = "type")]
    pub event_type: Option<EventType>,
    /// `SUCCESS` or `FAILURE`.
    #[serde(default)]
    pub result: Option<String>,
    /// What it did it to.
    #[serde(default, deserialize_with = "answer::null_is_default")]
    pub assignments: Vec<Assignment>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Value>,
}

/// A change of the number of licences: bought, or moved between locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AssetCount {
    /// The product.
    pub adam_id: String,
    /// `STDQ` or `PLUS`.
    #[serde(default)]
    pub pricing_param: Option<String>,
    /// How many more, or fewer.
    #[serde(default)]
    pub count_delta: i64,
}

impl Notification {
    /// Reads a notification whose `Authorization` header is `Bearer` with the token that we have set.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when the token is another one: answer 401.
    /// [`Malformed`](crate::ErrorKind::Malformed) when the body cannot be read.
    pub fn read(
        authorization: Option<&str>,
        expected: &SecretText,
        body: &[u8],
    ) -> Result<Self, Error> {
        let given = authorization
            .and_then(|value| value.trim().strip_prefix("Bearer "))
            .unwrap_or_default();
        if expected.is_empty() || !expected.matches(given.trim()) {
            return Err(Error::invalid(
                READ,
                "Authorization",
                "not the token that was set",
            ));
        }
        answer::json(READ, body)
    }

    /// The content of an [`AssetManagement`](NotificationType::AssetManagement) notification.
    #[must_use]
    pub fn asset_management(&self) -> Option<AssetManagement> {
        self.content_of(&NotificationType::AssetManagement)
    }

    /// The content of an [`AssetCount`](NotificationType::AssetCount) notification.
    #[must_use]
    pub fn asset_count(&self) -> Option<AssetCount> {
        self.content_of(&NotificationType::AssetCount)
    }

    fn content_of<T: serde::de::DeserializeOwned>(&self, kind: &NotificationType) -> Option<T> {
        if self.notification_type != *kind {
            return None;
        }
        serde_json::from_value(Value::Object(self.content.clone())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_token_is_taken() {
        let (token, body) = (SecretText::new("t0ken"), br#"{"notificationId":"1","notificationType":"TEST_NOTIFICATION","notification":{},"uId":"7"}"#);
        let read = Notification::read(Some("Bearer t0ken"), &token, body).expect("ours");
        assert_eq!(read.notification_type, NotificationType::Test);
        for header in [
            None,
            Some(""),
            Some("t0ken"),
            Some("Bearer"),
            Some("Bearer other"),
            Some("Bearer "),
        ] {
            assert!(
                Notification::read(header, &token, body)
                    .expect_err("not ours")
                    .is_invalid_input()
            );
        }
        assert!(
            Notification::read(Some("Bearer "), &SecretText::default(), body).is_err(),
            "no token is no key"
        );
    }

    #[test]
    fn contents_are_read_by_their_kind() {
        let token = SecretText::new("t");
        let read = |body: &str| {
            Notification::read(Some("Bearer t"), &token, body.as_bytes()).expect("a notification")
        };
        let done = read(
            r#"{"notificationId":"1","notificationType":"ASSET_MANAGEMENT","notification":{"eventId":"e","type":"ASSOCIATE","result":"SUCCESS","assignments":[{"adamId":"1","serialNumber":"S1"}]}}"#,
        );
        assert_eq!(
            done.asset_management()
                .map(|done| (done.event_id, done.assignments.len())),
            Some(("e".into(), 1))
        );
        assert_eq!(done.asset_count(), None);
        let count = read(
            r#"{"notificationId":"2","notificationType":"ASSET_COUNT","notification":{"adamId":"1","countDelta":-5}}"#,
        );
        assert_eq!(count.asset_count().map(|count| count.count_delta), Some(-5));
        let new = read(
            r#"{"notificationId":"3","notificationType":"SUBSCRIPTION_NEWS","notification":{"a":1}}"#,
        );
        assert_eq!(
            new.notification_type,
            NotificationType::Other("SUBSCRIPTION_NEWS".into())
        );
    }
}
