//! `mdmd sign-in show|set|remove`: at which provider an organisation's people sign in, and what their groups may do here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum as _;
use serde_json::{Map, Value, json};

use super::api_token::Role;
use super::client::{Client, Where, until};
use super::{Common, Done, Ended, Exit, Means as _, cell, many, secret_file};

/// Sign-in of people at the organisation's OpenID Connect provider.
#[derive(clap::Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "one exists in a process")]
pub(crate) enum SignIn {
    /// Show how people sign in, and what the provider must know.
    Show {
        #[command(flatten)]
        place: Where,
    },
    /// Set it; what is left out stays as it is.
    Set {
        /// The provider, exactly as it names itself: https://…
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// Who we are there.
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// The client secret, in this file or `-`. Kept sealed, shown to nobody.
        #[arg(long, value_name = "FILE")]
        client_secret: Option<PathBuf>,
        /// What is asked for beside `openid`; all that are named replace all that were.
        #[arg(long, value_name = "WORD")]
        scope: Vec<String>,
        /// The claim that names groups.
        #[arg(long, value_name = "CLAIM")]
        groups_claim: Option<String>,
        /// The claim that names the account.
        #[arg(long, value_name = "CLAIM")]
        account_claim: Option<String>,
        /// What a group may do: viewer, helpdesk, planner, approver or admin; all that are named replace all that were.
        #[arg(long = "group", value_name = "GROUP=ROLE")]
        groups: Vec<String>,
        /// How long an operator's session lasts, in hours.
        #[arg(long, value_name = "HOURS")]
        session_hours: Option<u32>,
        /// Whether somebody signs in at devices that enrol by assignment.
        #[arg(long)]
        web_view: Option<WebView>,
        /// How accounts may bring devices; all that are named replace all that were.
        #[arg(long, value_name = "MODE")]
        account: Vec<Account>,
        /// A domain of the accounts that bring devices, such as example.com; all that are named replace all that were.
        #[arg(long = "domain", value_name = "NAME")]
        domains: Vec<String>,
        /// After how many days somebody signs in again at the device that they brought.
        #[arg(long, value_name = "DAYS")]
        device_days: Option<u32>,
        /// A group whose people may look at secrets of devices, as far as their role lets them; several times.
        #[arg(long, value_name = "GROUP")]
        secrets_group: Vec<String>,
        /// Wait so many seconds for a provider that does not answer.
        #[arg(long, value_name = "SECONDS", default_value_t = 15)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// Nobody signs in any more; every session ends with it.
    Remove {
        #[command(flatten)]
        place: Where,
    },
}

/// Sign-in of devices that enrol by assignment.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum WebView {
    /// Nobody signs in.
    Off,
    /// Devices are sent to the sign-in; one without is let in all the same.
    Offered,
    /// A device without a sign-in gets no profile, unless it migrates.
    Required,
}

/// How an account brings a device.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Account {
    /// A device that its user owns.
    Byod,
    /// A device that the organisation owns.
    Adde,
    /// Accounts bring none.
    None,
}

fn word(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

fn role_of(pair: &str) -> Result<(String, String), Ended> {
    let (group, role) = pair
        .rsplit_once('=')
        .ok_or_else(|| anyhow!("--group: must be GROUP=ROLE"))
        .means(Exit::BadInput)?;
    let role = Role::from_str(role, false)
        .map_err(|_| {
            anyhow!("--group: the role must be viewer, helpdesk, planner, approver or admin")
        })
        .means(Exit::BadInput)?;
    Ok((group.to_owned(), word(&role)))
}

pub(crate) async fn run(common: &Common, command: &SignIn) -> Done {
    let (client, answer) = match command {
        SignIn::Show { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/sign-in").await?;
            (client, answer)
        }
        SignIn::Remove { place } => {
            let client = Client::acting(common, place).await?;
            let consequence = "nobody signs in any more, and every session of a person ends.";
            let answer = client
                .act("/api/v1/sign-in/remove", &json!({}), consequence)
                .await?;
            (client, answer)
        }
        SignIn::Set {
            issuer,
            client_id,
            client_secret,
            scope,
            groups_claim,
            account_claim,
            groups,
            session_hours,
            web_view,
            account,
            domains,
            device_days,
            secrets_group,
            wait,
            place,
        } => {
            let mut body = Map::new();
            let mut put = |name: &str, value: Value| {
                if !value.is_null() {
                    body.insert(name.to_owned(), value);
                }
            };
            put("issuer", json!(issuer));
            put("client_id", json!(client_id));
            put("groups_claim", json!(groups_claim));
            put("account_claim", json!(account_claim));
            put("session_hours", json!(session_hours));
            put("web_view", json!(web_view.as_ref().map(word)));
            put("device_days", json!(device_days));
            if !account.is_empty() {
                let modes = account.iter().filter(|a| !matches!(a, Account::None));
                put("account", json!(modes.map(word).collect::<Vec<_>>()));
            }
            if !secrets_group.is_empty() {
                put("secrets_groups", json!(secrets_group));
            }
            if !domains.is_empty() {
                put("domains", json!(domains));
            }
            if !scope.is_empty() {
                put("scopes", json!(scope));
            }
            if !groups.is_empty() {
                let roles: Result<BTreeMap<_, _>, _> = groups.iter().map(|g| role_of(g)).collect();
                put("roles", json!(roles?));
            }
            let secret = client_secret
                .as_ref()
                .map(|file| secret_file::read(file))
                .transpose()?;
            let client = Client::acting(common, place).await?;
            let consequence = "people sign in like this from now on.";
            let body = Value::Object(body);
            let secret = secret.as_ref().map(|secret| secret.trim_ascii_end());
            let hidden: Vec<(&str, &[u8])> = secret.map(|s| ("secret", s)).into_iter().collect();
            // Nothing is kept before the provider has answered; whoever mistyped it should not sit there.
            let answer = client
                .post_hidden_by("/api/v1/sign-in", &body, &hidden, consequence, until(*wait))
                .await?;
            (client, answer)
        }
    };
    drop(client);
    super::print(common, &answer, people);
    Ok(())
}

fn people(answer: &Value) {
    let set = &answer["sign_in"];
    println!("redirect address  {}", cell(&answer["redirect_uri"]));
    if set.is_null() {
        println!("nobody signs in; `mdmd sign-in set` sets a provider");
        return;
    }
    let list = |value: &Value| {
        let words: Vec<String> = value.as_array().into_iter().flatten().map(cell).collect();
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(" ")
        }
    };
    println!("provider          {}", cell(&set["issuer"]));
    println!("client            {}", cell(&set["client_id"]));
    println!("scopes            openid {}", list(&set["scopes"]));
    println!("groups            claim {}", cell(&set["groups_claim"]));
    for (group, role) in set["roles"].as_object().into_iter().flatten() {
        println!("                  {} = {}", cell(&json!(group)), cell(role));
    }
    println!("secrets           groups {}", list(&set["secrets_groups"]));
    println!("account           claim {}", cell(&set["account_claim"]));
    println!("sessions          {}", many(&set["session_hours"], "hour"));
    println!("assigned devices  {}", cell(&set["web_view"]));
    println!("accounts bring    {}", list(&set["account"]));
    println!("domains           {}", list(&set["domains"]));
    println!(
        "devices sign in   every {}",
        many(&set["device_days"], "day")
    );
    println!("discovery         {}", cell(&answer["service_discovery"]));
}
