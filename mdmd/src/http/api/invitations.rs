//! Enrolment by hand: invitations by serial number, what enrolments of an organisation demand, users who log in at Macs, and
//! passcodes that are taken away. A code is shown once, a password never.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::organisation::UserLogins;
use mdm_core::service::{EnrolmentChange, NetworkChange};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::asked::{Path, Query};
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{About, Answer, Asked, At, By, Hidden, either, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    serial: String,
    #[serde(default = "week")]
    days: u32,
    /// Also where nobody knows a device of this serial number yet.
    #[serde(default)]
    unknown: bool,
}

const fn week() -> u32 {
    7
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Demands {
    minimum_os: Option<BTreeMap<Platform, String>>,
    user_logins: Option<UserLogins>,
    facts_hours: Option<u32>,
    /// By platform, the kept runbook for devices that come by a migration which nobody planned here; null: the standard one.
    unplanned_runbooks: Option<BTreeMap<Platform, Option<String>>>,
    /// Empty: none.
    wifi: Option<String>,
    wifi_password: Option<Hidden>,
    wifi_password_base64: Option<Hidden>,
    #[serde(default)]
    wifi_hidden: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    name: String,
    password: Option<Hidden>,
    password_base64: Option<Hidden>,
}

pub(super) async fn invite(
    About { office, org, .. }: About,
    Sent(sent): Sent<Invite>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&sent.serial).map_err(refused)?;
    if !sent.unknown {
        // A device that is made by mistake is there for good.
        let known = office.mdm.store();
        let known = known.device_by_serial(org.organisation().id, &serial).await;
        if known.map_err(|error| refused(error.into()))?.is_none() {
            return Err(refused(Error::Precondition(format!(
                "nobody knows a device {serial} here: look at its serial number; `unknown` (`--unknown`) invites it all the same"
            ))));
        }
    }
    let valid = Duration::from_hours(24 * u64::from(sent.days));
    let made = org.invite(&serial, valid).await.map_err(refused)?;
    shown(told! {
        serial: serial, code: made.code.expose_text().map(str::to_owned), page: org.download_url(), expires: made.expires,
    })
}

pub(super) async fn demands(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let settings = &org.organisation().settings;
    let users = org.organisation().network_users.iter();
    let network = org.organisation().network.as_ref();
    let answer = told! {
        minimum_os: settings.minimum_os.clone(), user_logins: settings.user_logins, facts_hours: settings.facts_hours,
        unplanned_runbooks: settings.unplanned_runbooks.clone(),
        network_users: users.map(|u| u.name.clone()).collect::<Vec<_>>(),
        wifi: network.map(|network| network.ssid.clone()),
    };
    let version = Part::Enrolment.of(org.organisation());
    Ok(Versioned::of(version, answer))
}

pub(super) async fn demand(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    Sent(sent): Sent<Demands>,
) -> Answer<impl Shows> {
    let org = caller.organisation(&office.mdm, &which).await?;
    let password = either(
        "wifi_password",
        sent.wifi_password.as_ref(),
        sent.wifi_password_base64.as_ref(),
    )
    .map_err(refused)?;
    if sent.wifi.is_none() && (password.is_some() || sent.wifi_hidden) {
        return Err(refused(Error::bad_input("wifi", "is missing")));
    }
    let network = match sent.wifi.as_deref() {
        None => NetworkChange::Same,
        Some("") => NetworkChange::None,
        Some(ssid) => NetworkChange::This {
            ssid,
            password: password.as_ref(),
            hidden: sent.wifi_hidden,
        },
    };
    // All of it or nothing, under the condition of the request.
    let change = EnrolmentChange {
        minimum_os: sent.minimum_os,
        user_logins: sent.user_logins,
        facts_hours: sent.facts_hours,
        network,
        unplanned_runbooks: sent.unplanned_runbooks.unwrap_or_default(),
    };
    let settings = org.change_enrolment(&change).await.map_err(refused)?;
    let org = caller.organisation(&office.mdm, &which).await?;
    let network = org.organisation().network.as_ref();
    shown(told! {
        minimum_os: settings.minimum_os, user_logins: settings.user_logins, facts_hours: settings.facts_hours,
        unplanned_runbooks: settings.unplanned_runbooks,
        wifi: network.map(|network| network.ssid.clone()),
    })
}

pub(super) async fn user(About { org, .. }: About, Sent(sent): Sent<User>) -> Answer<impl Shows> {
    let password = either(
        "password",
        sent.password.as_ref(),
        sent.password_base64.as_ref(),
    )
    .map_err(refused)?;
    match &password {
        Some(password) => org.set_network_user(&sent.name, password).await,
        None => org.remove_network_user(&sent.name).await,
    }
    .map_err(refused)?;
    shown(told! { name: sent.name, kept: password.is_some() })
}

pub(super) async fn clear_passcode(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let uuid = org.clear_passcode(&serial).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { serial: serial, uuid: uuid })
}
