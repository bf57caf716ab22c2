//! The declarative side of a device as the protocol describes it: it looks, takes a list, fetches what is new, drops what is
//! gone, and says what it has. Shares nothing with the code that it talks to but the door.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::collections::BTreeMap;

use mdm_core::error::Error;
use mdm_core::service::{Answer, NewDeclaration, Org};
use serde_json::{Map, Value, json};

use crate::service_house::{Gadget, House, command, data};

/// It has nothing to say.
pub(crate) const QUIET: &str = "<key>Status</key><string>Idle</string>";
const NOTICE: &str = "DeclarativeManagement";

/// Enrolled, and with nothing left in its queue.
pub(crate) async fn quiet(house: &House, serial: &str) -> Gadget {
    let gadget = house.device(serial).await;
    house.enrol(&gadget).await;
    house.settle().await;
    notices(house, &gadget).await;
    gadget
}

/// A declaration as a device has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) kind: String,
    pub(crate) token: String,
    pub(crate) payload: Value,
}

/// What a device has, and which list that was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gear {
    /// Keys of the user's channel that speaks; empty for the device's own.
    pub(crate) user: String,
    pub(crate) token: Option<String>,
    pub(crate) has: BTreeMap<String, Held>,
}

impl Gear {
    pub(crate) fn of(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.has.keys().map(String::as_str).collect()
    }

    pub(crate) async fn tokens(&self, house: &House, gadget: &Gadget) -> String {
        let answer = json_of(ask_as(house, gadget, &self.user, "tokens", None).await);
        answer["SyncTokens"]["DeclarationsToken"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Takes a list: kind, identifier, server token.
    pub(crate) async fn items(
        &mut self,
        house: &House,
        gadget: &Gadget,
    ) -> Vec<(String, String, String)> {
        let answer = json_of(ask_as(house, gadget, &self.user, "declaration-items", None).await);
        self.token = Some(answer["DeclarationsToken"].as_str().unwrap().to_owned());
        let mut all = Vec::new();
        for (list, kind) in [
            ("Activations", "activation"),
            ("Assets", "asset"),
            ("Configurations", "configuration"),
            ("Management", "management"),
        ] {
            for item in answer["Declarations"][list].as_array().unwrap() {
                let text = |key: &str| item[key].as_str().unwrap().to_owned();
                all.push((kind.to_owned(), text("Identifier"), text("ServerToken")));
            }
        }
        all
    }

    /// Fetches one of a list, if it is new. Panics when it cannot be had, or is another than the list says.
    pub(crate) async fn take(
        &mut self,
        house: &House,
        gadget: &Gadget,
        (kind, identifier, token): &(String, String, String),
    ) {
        if self.has.get(identifier).is_some_and(|h| &h.token == token) {
            return;
        }
        let got = fetch_as(house, gadget, &self.user, kind, identifier).await;
        let got = got.expect("an item of the list that was given");
        assert_eq!(
            &got.token, token,
            "{identifier} is another than the list says"
        );
        self.has.insert(identifier.clone(), got);
    }

    /// Drops what is not in the list, and says what is left.
    pub(crate) async fn settle(
        &mut self,
        house: &House,
        gadget: &Gadget,
        list: &[(String, String, String)],
    ) {
        self.has
            .retain(|identifier, _| list.iter().any(|(_, of_list, _)| of_list == identifier));
        let report = self.report();
        status_as(house, gadget, &self.user, &report).await.unwrap();
    }

    /// What it has, as a list would name it.
    pub(crate) fn list(&self) -> Vec<(String, String, String)> {
        let all = self.has.iter();
        all.map(|(name, held)| (held.kind.clone(), name.clone(), held.token.clone()))
            .collect()
    }

    fn report(&self) -> Value {
        let of = |kind: &str| -> Vec<Value> {
            let all = self.has.iter().filter(|(_, held)| held.kind == kind);
            all.map(|(identifier, held)| {
                json!({ "identifier": identifier, "server-token": held.token,
                    "active": kind != "management", "valid": "valid" })
            })
            .collect()
        };
        json!({ "StatusItems": { "management": { "declarations": {
            "activations": of("activation"), "assets": of("asset"),
            "configurations": of("configuration"), "management": of("management"),
        } } }, "Errors": [], "FullReport": true })
    }

    /// One whole synchronisation; nothing is fetched when there is no news.
    pub(crate) async fn sync(&mut self, house: &House, gadget: &Gadget) {
        let token = self.tokens(house, gadget).await;
        if self.token.as_ref() == Some(&token) {
            return;
        }
        let list = self.items(house, gadget).await;
        for item in &list {
            self.take(house, gadget, item).await;
        }
        self.settle(house, gadget, &list).await;
    }
}

pub(crate) fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

pub(crate) async fn put(org: &Org, identifier: &str, of: &str, payload: Value) {
    let new = NewDeclaration::new(identifier, of, map(&payload));
    Box::pin(org.put_declaration(&new)).await.unwrap();
}

pub(crate) async fn set(org: &Org, name: &str, members: &[&str]) {
    let members: Vec<String> = members.iter().map(|m| (*m).to_owned()).collect();
    Box::pin(org.put_declaration_set(name, &members))
        .await
        .unwrap();
}

pub(crate) async fn ask(
    house: &House,
    gadget: &Gadget,
    endpoint: &str,
    sent: Option<&Value>,
) -> Result<Answer, Error> {
    ask_as(house, gadget, "", endpoint, sent).await
}

pub(crate) async fn ask_as(
    house: &House,
    gadget: &Gadget,
    user: &str,
    endpoint: &str,
    sent: Option<&Value>,
) -> Result<Answer, Error> {
    let sent = sent.map(|sent| format!("<key>Data</key>{}", data(sent.to_string().as_bytes())));
    let body = format!(
        "<key>MessageType</key><string>{NOTICE}</string><key>Endpoint</key><string>{endpoint}</string>{user}{}",
        sent.unwrap_or_default()
    );
    house.check_in(gadget, &body).await
}

fn json_of(answer: Result<Answer, Error>) -> Value {
    match answer.unwrap() {
        Answer::Json(body) => serde_json::from_slice(&body).unwrap(),
        other => panic!("no JSON but {other:?}"),
    }
}

/// `None`: there is no such declaration.
pub(crate) async fn fetch(
    house: &House,
    gadget: &Gadget,
    kind: &str,
    identifier: &str,
) -> Option<Held> {
    fetch_as(house, gadget, "", kind, identifier).await
}

pub(crate) async fn fetch_as(
    house: &House,
    gadget: &Gadget,
    user: &str,
    kind: &str,
    identifier: &str,
) -> Option<Held> {
    let endpoint = format!("declaration/{kind}/{identifier}");
    let answer = ask_as(house, gadget, user, &endpoint, None).await;
    if matches!(answer, Ok(Answer::NoSuchDeclaration)) {
        return None;
    }
    let body = json_of(answer);
    assert_eq!(body["Identifier"], identifier);
    assert!(
        body["Type"]
            .as_str()
            .unwrap()
            .starts_with(&format!("com.apple.{kind}."))
    );
    Some(Held {
        kind: kind.to_owned(),
        token: body["ServerToken"].as_str().unwrap().to_owned(),
        payload: body["Payload"].clone(),
    })
}

pub(crate) async fn status(
    house: &House,
    gadget: &Gadget,
    report: &Value,
) -> Result<Answer, Error> {
    status_as(house, gadget, "", report).await
}

pub(crate) async fn status_as(
    house: &House,
    gadget: &Gadget,
    user: &str,
    report: &Value,
) -> Result<Answer, Error> {
    ask_as(house, gadget, user, "status", Some(report)).await
}

/// Answers whatever waits; how many notices were among it.
pub(crate) async fn notices(house: &House, gadget: &Gadget) -> usize {
    notices_as(house, gadget, "").await
}

pub(crate) async fn notices_as(house: &House, gadget: &Gadget, user: &str) -> usize {
    let mut seen = 0;
    let mut answer = house
        .report(gadget, &format!("{QUIET}{user}"))
        .await
        .unwrap();
    for _ in 0..50 {
        let Some((uuid, kind)) = command(&answer) else {
            return seen;
        };
        seen += usize::from(kind == NOTICE);
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{user}"
        );
        answer = house.report(gadget, &done).await.unwrap();
    }
    panic!("commands without an end");
}
