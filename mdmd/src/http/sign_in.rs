//! Where people sign in with a browser: off to the organisation's provider, back to the one address that it knows, and the page
//! that says who is signed in. Sends nobody to an address that a request names, but to a program on their own machine.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use mdm_core::error::Error;
use mdm_core::person::{Purpose, SessionUse};
use mdm_core::secret::{Secret, same};
use mdm_core::service::sign_in::{Return, TurnedAway};
use mdm_core::service::{Holder, Mdm, Org};
use mdm_core::sign_in::{loopback, pkce};
use serde_json::{Value, json};

use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Failure, Refusal, html_page, json_answer, see_other, unkept_answer};
use super::query::parameter;
use super::{At, Front, body, cookie};

/// How long a browser keeps what it needs for the way back, in seconds.
const WAY: u64 = 900;

/// The service behind these pages.
pub(super) fn service(front: &Front) -> Result<&Mdm, Refusal> {
    front
        .desk
        .people()
        .ok_or_else(|| refuse(Error::Precondition("nobody signs in here".to_owned())))
}

pub(super) fn refuse(error: Error) -> Refusal {
    Refusal::new(Door::Page, error)
}

pub(super) async fn organisation_of(front: &Front, code: &str) -> Result<Org, Refusal> {
    let code = organisation(code, Door::Page)?;
    service(front)?.organisation(&code).await.map_err(refuse)
}

/// Text in a page.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page of ours with this inside.
pub(super) fn page(title: &str, inside: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}}dt{{color:#666}}dd{{margin:0 0 .6rem}}\
         button{{font:inherit;padding:.4rem 1rem}}</style></head><body><h1>{title}</h1>{inside}</body></html>"
    )
}

/// Sends a browser off to the provider.
pub(super) async fn depart(
    org: &Org,
    peer: &Peer,
    headers: &HeaderMap,
    purpose: Purpose,
    hint: Option<&str>,
) -> Result<Response, Refusal> {
    let browser = browser_of(headers)?;
    let departure = org
        .begin_sign_in(&peer.address, purpose, &browser, hint)
        .await
        .map_err(refuse)?;
    let kept = cookie::set(cookie::BROWSER, &browser, Some(WAY));
    Ok(see_other(&departure.to, kept))
}

/// What this browser holds, or is to hold. Two tabs of one browser are one browser.
fn browser_of(headers: &HeaderMap) -> Result<String, Refusal> {
    match cookie::read(headers, cookie::BROWSER) {
        Some(browser) => Ok(browser),
        None => random(),
    }
}

fn random() -> Result<String, Refusal> {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    openssl::rand::rand_bytes(&mut bytes).map_err(|_| refuse(Error::Crypto("no randomness")))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// Who is signed in; whoever is not is sent to the provider.
pub(super) async fn who(
    State(front): At,
    Path(code): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let org = organisation_of(&front, &code).await?;
    org.sign_in().map_err(refuse)?;
    if let Some(token) = cookie::read(&headers, cookie::SESSION) {
        match service(&front)?
            .session_holder(&token, SessionUse::Page)
            .await
        {
            Ok(holder) if holder.org.organisation().id == org.organisation().id => {
                return Ok(html_page(signed_in(&holder, &token), None));
            }
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error) => return Err(refuse(error)),
        }
    }
    if query.as_deref() == Some("out") {
        let inside = "<p>You are signed out here. <a href=\"?\">Sign in again</a></p>";
        return Ok(html_page(page("Signed out", inside), None));
    }
    depart(&org, &peer, &headers, Purpose::Page, None).await
}

fn signed_in(holder: &Holder, token: &str) -> String {
    let organisation = holder.org.organisation();
    let role = format!("{:?}", holder.role).to_lowercase();
    let person = &holder.session.person;
    let account = person.account.as_deref().unwrap_or("-");
    let inside = format!(
        "<dl><dt>Name</dt><dd id=\"name\">{}</dd><dt>Account</dt><dd id=\"account\">{}</dd><dt>Organization</dt><dd id=\"organisation\">{}</dd>\
         <dt>Role</dt><dd id=\"role\">{role}</dd><dt>Until</dt><dd id=\"until\">{}</dd></dl>\
         <form method=\"post\" action=\"/mdm/{}/sign-in/out\"><input type=\"hidden\" name=\"proof\" value=\"{}\"><button id=\"out\">Sign out</button></form>",
        safe(&person.name),
        safe(account),
        safe(&organisation.name),
        holder.session.expires,
        organisation.code,
        proof(token),
    );
    page("Signed in", &inside)
}

/// What a form of ours carries and no other site can know: made of the session, and of no use for it.
fn proof(token: &str) -> String {
    mdm_core::identity::sha256_hex(format!("sign-out {token}").as_bytes())
}

/// Ends the session of this browser's page.
pub(super) async fn sign_out(
    State(front): At,
    Path(code): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let door = organisation(&code, Door::Page)?;
    let sent = body::of_device(&front, Door::Page, &door, &peer, sent).await?;
    let forget = cookie::forget(cookie::SESSION);
    let to = format!("/mdm/{code}/sign-in?out");
    let Some(token) = cookie::read(&headers, cookie::SESSION) else {
        return Ok(see_other(&to, forget));
    };
    let form = std::str::from_utf8(&sent).ok();
    let shown = parameter(form, "proof").unwrap_or_default();
    let own = proof(&token);
    // Before anything else: a request that another site made changes nothing.
    if !same(shown, own) {
        return Err(refuse(Error::Refused(
            "the form is not of this session's page",
        )));
    }
    match service(&front)?
        .session_holder(&token, SessionUse::Page)
        .await
    {
        Ok(holder) => {
            let by = mdm_core::service::actor_of(&holder.session.person);
            let org = holder.org.acting_for(&by);
            org.revoke_session(holder.session.id)
                .await
                .map_err(refuse)?;
        }
        Err(Error::Refused(_)) => {}
        Err(error) => return Err(refuse(error)),
    }
    Ok(see_other(&to, forget))
}

/// A program on somebody's machine wants a session: their browser is sent to the provider first.
pub(super) async fn command_line(
    State(front): At,
    Path(code): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let org = organisation_of(&front, &code).await?;
    let named = |name: &str| parameter(query.as_deref(), name).unwrap_or_default();
    let (redirect, challenge, state) = (named("redirect"), named("challenge"), named("state"));
    let wrong = |field: &str, why: &str| Err(refuse(Error::bad_input(field, why)));
    if !loopback::is_allowed(&redirect) {
        return wrong("redirect", "must be an address of this very machine");
    }
    if !pkce::is_challenge(&challenge) {
        return wrong("challenge", "must be of S256");
    }
    if !(16..=128).contains(&state.len())
        || !state
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    {
        return wrong("state", "must be 16 to 128 letters and digits");
    }
    let purpose = Purpose::CommandLine {
        redirect,
        challenge,
        state,
    };
    depart(&org, &peer, &headers, purpose, None).await
}

/// The web view of a device in Setup Assistant, which says who it is in a header.
pub(super) async fn device(
    State(front): At,
    Path(code): Path<String>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let org = organisation_of(&front, &code).await?;
    let info = headers
        .get("x-apple-aspen-deviceinfo")
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| {
            refuse(Error::bad_input(
                "x-apple-aspen-deviceinfo",
                "must be there: this address is for devices in Setup Assistant",
            ))
        })?;
    let browser = browser_of(&headers)?;
    let departure = org
        .begin_web_view(&peer.address, info, &browser)
        .await
        .map_err(refuse)?;
    let kept = cookie::set(cookie::BROWSER, &browser, Some(WAY));
    Ok(see_other(&departure.to, kept))
}

/// Says why nobody is signed in: by the program that waits for it, or on a page.
fn turned_away(away: TurnedAway) -> Result<Response, Refusal> {
    match &away.to {
        Some(to) => Ok(see_other(to, None)),
        None => Err(refuse(away.error)),
    }
}

/// The way back from the provider.
pub(super) async fn back(
    State(front): At,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let named = |name: &str| parameter(query.as_deref(), name);
    let back = Return {
        state: named("state").unwrap_or_default(),
        code: named("code").map(Secret::from_text),
        error: named("error"),
        issuer: named("iss"),
        browser: cookie::read(&headers, cookie::BROWSER),
        address: peer.address.clone(),
    };
    let arrival = match service(&front)?.finish_sign_in(&back).await {
        Ok(arrival) => arrival,
        Err(away) => return turned_away(away),
    };
    match &arrival.attempt.purpose {
        Purpose::Page => {
            let made = arrival.open_page().await.map_err(refuse)?;
            let token = made.secret.expose_text().unwrap_or_default();
            let to = format!("/mdm/{}/sign-in", arrival.org.organisation().code);
            Ok(see_other(&to, cookie::set(cookie::SESSION, token, None)))
        }
        Purpose::CommandLine { .. } => match arrival.hand_over().await {
            Ok(to) => Ok(see_other(&to, None)),
            Err(error) => turned_away(arrival.attempt.turned_away(error)),
        },
        Purpose::WebView { .. } => {
            let profile = arrival.enrol_device(&peer.address).await.map_err(refuse)?;
            Ok(unkept_answer(profile))
        }
        Purpose::Account { .. } => {
            let to = arrival.open_device().await.map_err(refuse)?;
            Ok(see_other(&to, None))
        }
        _ => Err(refuse(Error::Refused("nobody waits for this sign-in"))),
    }
}

/// Where people of an organisation sign in, for programs: of the only one, or of the one that is named.
pub(super) async fn place(
    State(front): At,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let mdm = service(&front)?;
    let api = |error: Error| Refusal::new(Door::Api, error);
    let org = match parameter(query.as_deref(), "organisation") {
        Some(code) => {
            let code = organisation(&code, Door::Api)?;
            mdm.organisation(&code).await.map_err(api)?
        }
        None => {
            let all = mdm
                .organisations(mdm_core::ids::OrganisationId(0), 2)
                .await
                .map_err(api)?;
            let [only] = all.as_slice() else {
                return Err(api(Error::bad_input(
                    "organisation",
                    "must be named by its code",
                )));
            };
            mdm.organisation_by_id(only.id).await.map_err(api)?
        }
    };
    org.sign_in().map_err(api)?;
    let base = &front.public.enrol_url;
    Ok(json_answer(&json!({
        "address": format!("{base}/mdm/{}/sign-in/command-line", org.organisation().code),
    })))
}

/// A code that opens once, and the verifier of whoever began, for a session.
pub(super) async fn session(State(front): At, sent: Body) -> Result<Response, Refusal> {
    let api = |error: Error| Refusal::new(Door::Api, error);
    let sent = body::read_hidden(sent, 4_096, &front.limits)
        .await
        .map_err(|error| Refusal::new(Door::Api, error))?;
    let sent: Value = serde_json::from_slice(&sent)
        .map_err(|_| api(Error::bad_input("body", "must be a JSON object")))?;
    let text = |name: &str| sent[name].as_str().unwrap_or_default().to_owned();
    let made = service(&front)?
        .redeem_sign_in(&text("code"), &text("verifier"))
        .await
        .map_err(api)?;
    Ok(json_answer(&json!({
        "token": made.secret.expose_text(), "name": made.session.person.name, "account": made.session.person.account,
        "role": made.role, "expires": made.session.expires, "session": made.session.id,
    })))
}

/// Ends the session whose token is shown.
pub(super) async fn session_end(State(front): At, headers: HeaderMap) -> Result<Response, Refusal> {
    let Some(token) = bearer(&headers) else {
        return Err(Refusal::new(Door::Api, Failure::NoToken));
    };
    let ended = match service(&front)?
        .session_holder(&token, SessionUse::CommandLine)
        .await
    {
        Ok(holder) => {
            let by = mdm_core::service::actor_of(&holder.session.person);
            let org = holder.org.acting_for(&by);
            org.revoke_session(holder.session.id)
                .await
                .map_err(|error| Refusal::new(Door::Api, error))?;
            true
        }
        // Over already, which is what was wanted.
        Err(Error::Refused(_)) => false,
        Err(error) => return Err(Refusal::new(Door::Api, error)),
    };
    Ok(json_answer(&json!({ "ended": ended })))
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value: &HeaderValue = headers.get(AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_there_once_and_text_in_a_page_stays_text() {
        let check = |query: &str, want: Option<&str>| {
            assert_eq!(parameter(Some(query), "a").as_deref(), want, "{query}");
        };
        check("b=1&a=x%20y+z", Some("x y z"));
        check("a=1&a=1", None);
        check("a=%ff", None);
        check("", None);
        assert_eq!(
            safe("<a href='\"'>&"),
            "&lt;a href=&#39;&quot;&#39;&gt;&amp;"
        );
        assert_eq!(proof("t"), proof("t"));
        assert_ne!(proof("t"), proof("u"));
    }
}
