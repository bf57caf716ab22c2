//! What owners of devices are told before their migration, and their deadlines as a calendar. Sends nothing.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, MoveId, WaveId};
use mdm_core::service::Org;
use mdm_core::texts::OwnerText;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::error::{Refusal, attachment};
use super::asked::Path;
use super::described::{Operation, Sent, Shows, Told, Versioned, told};
use super::edited::Part;
use super::tagged::Version;
use super::{About, Answer, Most, at_most, refused, shown, waves, whole};

/// Members that are read for one piece of a calendar.
const PIECE: u32 = 500;

/// In which language, and which page.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Which {
    /// In place of each owner's own, such as `de`.
    language: Option<String>,
    /// Behind this id: the `next` of the page before.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// They are taken along: what the record says until now is sealed, and `record` is its newest seal.
    #[serde(default)]
    export: bool,
}

/// In which language.
#[derive(Deserialize, JsonSchema)]
pub(super) struct In {
    /// In place of each owner's own, such as `de`.
    language: Option<String>,
}

/// Texts by language; nothing takes one back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Texts {
    texts: BTreeMap<String, Option<OwnerText>>,
}

/// Says in the document that a calendar is answered.
pub(super) struct Calendar(Response);

impl Told for Calendar {
    fn describe(operation: &mut Operation<'_>) {
        let content = json!({ "text/calendar": { "schema": { "type": "string" } } });
        let answer = json!({ "description": "The calendar (RFC 5545).", "content": content });
        operation.answers.insert("200".to_owned(), answer);
    }
}

impl IntoResponse for Calendar {
    fn into_response(self) -> Response {
        self.0
    }
}

pub(super) async fn texts(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let version = Part::OwnerTexts.of(org.organisation());
    let answer = told! { texts: org.owner_texts() };
    Ok(Versioned::of(version, answer))
}

pub(super) async fn set_texts(
    About { org, .. }: About,
    Sent(sent): Sent<Texts>,
) -> Answer<impl Shows> {
    let texts = org.set_owner_texts(&sent.texts).await.map_err(refused)?;
    shown(told! { texts: texts })
}

pub(super) async fn wave_texts(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let version = Version::of_row(waves::row(&office, &org, id).await?.version);
    let (texts, own) = org.wave_owner_texts(WaveId(id)).await.map_err(refused)?;
    Ok(Versioned::of(version, told! { texts: texts, own: own }))
}

pub(super) async fn set_wave_texts(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Texts>,
) -> Answer<impl Shows> {
    let told = org.set_wave_owner_texts(WaveId(id), &sent.texts).await;
    let (texts, own) = told.map_err(refused)?;
    shown(told! { texts: texts, own: own })
}

pub(super) async fn list(
    About {
        office, org, which, ..
    }: About<Which>,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let (language, after) = (which.language.as_deref(), MoveId(which.after.0));
    let page = org.owner_notices(WaveId(id), language, after, at_most(which.limit));
    let page = match which.export {
        true => whole(page).await,
        false => page.await,
    };
    let mut page = page.map_err(refused)?;
    if which.export {
        page.at = Some(office.mdm.now());
        page.record = org.leaves(Some("mail merge")).await.map_err(refused)?;
    }
    shown(page)
}

/// What is still to be sent of a calendar.
struct Rest {
    org: Org,
    wave: WaveId,
    language: Option<String>,
    next: Option<MoveId>,
}

impl Rest {
    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(after) = self.next else {
            return Ok(None);
        };
        let language = self.language.as_deref();
        let piece = self.org.wave_calendar(self.wave, language, after, PIECE);
        let piece = whole(piece).await?;
        self.next = piece.next;
        Ok(Some(Bytes::from(piece.text)))
    }
}

pub(super) async fn calendar(
    About { org, which, .. }: About<In>,
    Path(AnyId(id)): Path<AnyId>,
) -> Result<Calendar, Refusal> {
    let sealer = org.clone();
    let mut rest = Rest {
        org,
        wave: WaveId(id),
        language: which.language,
        next: Some(MoveId(0)),
    };
    // What is wrong with the question is known before the first piece.
    let first = rest.piece().await.map_err(refused)?.unwrap_or_default();
    // It leaves the building, and so the record is sealed.
    sealer.leaves(None).await.map_err(refused)?;
    let rest = stream::unfold(rest, |mut rest| async move {
        let piece = rest.piece().await.transpose()?;
        let piece = piece.map_err(|error| {
            tracing::warn!(%error, "a calendar broke off");
            rest.next = None;
            std::io::Error::other("the calendar could not be read to its end")
        });
        Some((piece, rest))
    });
    let first = stream::once(async move { Ok::<Bytes, std::io::Error>(first) });
    let body = Body::from_stream(StreamExt::chain(first, rest));
    Ok(Calendar(attachment("text/calendar; charset=utf-8", body)))
}
