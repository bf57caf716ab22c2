//! What a channel asks of its declarations. It is served from the list that it was given last, whatever has changed since; only
//! asking for a list gives it another. *No such declaration* makes a device remove it, so that is said only when no list that
//! the device may have in mind has it: what is missing by a fault of ours is an error, and the device comes again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app_state::{AppState, is_same_app};
use crate::ddm::manifest::scopes;
use crate::ddm::own;
use crate::ddm::status::ChannelStatus;
use crate::ddm::{DeclarationContent, DeclarationKind, DeclarationManifest, DeclaredChannel};
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::{ContentId, DeviceId, EnrollmentId, ManifestId};
use crate::job::JobKind;
use crate::migration::{AppAction, AppReading, Event, StepId, StepStatus};
use crate::service::checkin::readable;
use crate::service::decision::{Decision, own_app};
use crate::service::login::check_login;
use crate::service::{Answer, Org, Speaker, TRIES};
use crate::store::{Batch, Noun, StoreError};
use crate::wire::checkin::DeclarativeManagement;
use crate::wire::declarations::{self as wire, Endpoint, StatusReport};

impl Org {
    pub(in crate::service) async fn declarative(
        &self,
        speaker: &Speaker,
        m: &DeclarativeManagement,
    ) -> Result<Answer, Error> {
        let asker = &m.envelope.channel;
        let device = self
            .enrolled_device(speaker, asker.device_key().as_str())
            .await?;
        check_login(self.organisation.settings.user_logins, &device, asker)?;
        let user = if asker.is_device() {
            None
        } else {
            let users = self.store().user_channels(self.id(), device.id).await?;
            let key = asker.key();
            let mut own = users.into_iter().filter(|u| u.key == key.as_str());
            let user = own.find(Enrollment::is_live);
            Some(user.ok_or(Error::Refused("this user's channel is not enrolled"))?)
        };
        match Endpoint::parse(&m.endpoint) {
            Some(Endpoint::Tokens) => {
                let channel = user.as_ref().unwrap_or(&device);
                let row = self.device_row(channel).await?;
                let wanted = self.wanted(channel, row.as_ref()).await?;
                self.keep_lacks(channel, &wanted.lacks).await?;
                let now = self.now().to_string();
                Ok(Answer::Json(wire::tokens(&wanted.token, &now)))
            }
            Some(Endpoint::Items) => self.items(user.as_ref().unwrap_or(&device)).await,
            Some(Endpoint::Declaration { kind, identifier }) => {
                let channel = user.as_ref().unwrap_or(&device);
                self.one_declaration(channel, kind, identifier).await
            }
            Some(Endpoint::Status) => {
                let report = StatusReport::parse(m.data.as_deref().unwrap_or_default())?;
                self.status(speaker, device, user, report).await
            }
            None => Err(Error::bad_input(
                "DeclarativeManagement: Endpoint",
                "is none that the protocol knows",
            )),
        }
    }

    async fn device_row(&self, channel: &Enrollment) -> Result<Option<Device>, Error> {
        match channel.device {
            // Without its row the device would seem to have no tags, and would lose what it has by them.
            Some(id) => {
                let row = self.store().device(self.id(), id).await?;
                row.map(Some).ok_or_else(|| missing("devices", id.0))
            }
            None => Ok(None),
        }
    }

    /// Keeps which types a channel does not know: whoever looks through the channels reads no report for that.
    async fn keep_lacks(
        &self,
        channel: &Enrollment,
        lacks: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let told = self.store().declared_channel(self.id(), channel.id).await?;
        let Some(mut row) = told.filter(|row| row.lacks != *lacks) else {
            return Ok(());
        };
        row.lacks.clone_from(lacks);
        let mut batch = Batch::new();
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// Gives a channel its list, and keeps which one that was.
    async fn items(&self, channel: &Enrollment) -> Result<Answer, Error> {
        let row = self.device_row(channel).await?;
        let mut wanted = self.wanted(channel, row.as_ref()).await?;
        for _ in 0..TRIES {
            let known = [wanted.token.clone()];
            let known = self
                .store()
                .declaration_manifests_of(self.id(), &known)
                .await?;
            let now = self.now();
            let mut batch = Batch::new();
            let list = match known.into_iter().next() {
                Some(list) => {
                    // One that nobody has may be on its way out.
                    batch.expect(
                        Noun::DeclarationManifest,
                        self.id(),
                        list.id.0,
                        list.version,
                    );
                    list
                }
                None => {
                    let id = ManifestId(self.ids().next(now));
                    let items = std::mem::take(&mut wanted.items);
                    let list = DeclarationManifest::new(self.id(), id, items, now);
                    batch.put(list.clone());
                    list
                }
            };
            let told = self.store().declared_channel(self.id(), channel.id).await?;
            let mut told = told.unwrap_or_else(|| DeclaredChannel::new(self.id(), channel.id, now));
            let is_as_told = told.lacks == wanted.lacks;
            if told.manifest == Some(list.id) && told.ended.is_none() && !told.doubted && is_as_told
            {
                return Ok(list_as_answer(&list));
            }
            told.tell(list.id, now);
            told.lacks.clone_from(&wanted.lacks);
            batch.expect(Noun::Enrollment, self.id(), channel.id.0, channel.version);
            batch.put(told);
            self.store().commit(batch).await?;
            // A change that was committed meanwhile may have found the channel with the list before this one, and told it
            // nothing: from here on it finds this one.
            let row = self.device_row(channel).await?;
            wanted = self.wanted(channel, row.as_ref()).await?;
            if wanted.token == list.token {
                return Ok(list_as_answer(&list));
            }
        }
        Err(Error::Busy("too many changes at once"))
    }

    async fn one_declaration(
        &self,
        channel: &Enrollment,
        kind: &str,
        identifier: &str,
    ) -> Result<Answer, Error> {
        let Some(kind) = DeclarationKind::of_word(kind) else {
            return Err(Error::bad_input(
                "DeclarativeManagement: Endpoint",
                "names a kind that the protocol does not know",
            ));
        };
        let told = self.store().declared_channel(self.id(), channel.id).await?;
        let lists = told.map_or([None, None], |t| [t.manifest, t.earlier]);
        for id in lists.into_iter().flatten() {
            let list = self.store().declaration_manifest(self.id(), id).await?;
            let list = list.ok_or_else(|| missing("declaration_manifests", id.0))?;
            if let Some(item) = list.item(kind, identifier) {
                return self.content_of(item.content).await;
            }
        }
        // It may know it from elsewhere: a list that it was given long ago. If it should have it, it gets it.
        let row = self.device_row(channel).await?;
        let wanted = self.wanted(channel, row.as_ref()).await?;
        let mut items = wanted.items.into_iter();
        let item = items.find(|item| item.kind == kind && item.identifier == identifier);
        match item.map(|item| item.content) {
            Some(content) => self.content_of(content).await,
            None => Ok(Answer::NoSuchDeclaration),
        }
    }

    async fn content_of(&self, id: ContentId) -> Result<Answer, Error> {
        let content = self.store().declaration_content(self.id(), id).await?;
        let DeclarationContent {
            identifier,
            declaration_type,
            payload,
            server_token,
            ..
        } = content.ok_or_else(|| missing("declaration_contents", id.0))?;
        let body = wire::declaration(&declaration_type, &identifier, &server_token, &payload);
        Ok(Answer::Json(body))
    }

    /// Keeps what a channel reports, and tells the set-up of its device.
    async fn status(
        &self,
        speaker: &Speaker,
        device: Enrollment,
        user: Option<Enrollment>,
        report: StatusReport,
    ) -> Result<Answer, Error> {
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
        d.seen.clone_from(&speaker.seen);
        let (id, is_user) = (user.as_ref().map_or(device.id, |u| u.id), user.is_some());
        // What was kept and cannot be read stays as it is for whoever mends it, and keeps no report away: this one is heard and
        // not kept.
        let known = self.store().channel_status(self.id(), id).await;
        let is_kept = !matches!(&known, Err(StoreError::Corrupt { .. }));
        let known = readable(known)?;
        let mut status = known.unwrap_or_else(|| ChannelStatus::new(self.id(), id, d.now));
        let awaiting = report.value("mdm.is-awaiting-configuration");
        let awaiting = awaiting.and_then(serde_json::Value::as_bool);
        let tells_all = report.full && report.value("management.declarations").is_some();
        let tells_types = report.value("management.client-capabilities").is_some();
        status.take(report, d.now);
        if let Some(of) = device.device {
            if tells_all {
                self.doubt(&mut d, id, of, &status).await?;
            }
            if tells_types {
                let channel = user.as_ref().unwrap_or(&device);
                self.note_lacks(&mut d, channel, of, &status).await?;
            }
        }
        if !is_user {
            self.load_device_side(&mut d, &device).await?;
        }
        d.track(device);
        if let Some(user) = user {
            d.track(user);
        }
        if !is_user {
            let plan = d.set_up_plan.as_ref();
            let unmet = plan.and_then(|plan| plan.status_unmet(|item| status.value(item)));
            let unmet = unmet.map(str::to_owned);
            d.tell_set_up(&Event::StatusReported { unmet });
            if let Some(readings) = declared_apps(&d, &status) {
                d.tell_set_up(&Event::AppsDeclared { readings });
            }
            if let Some(awaiting) = awaiting {
                if let Some(row) = d.enrollment_mut(id) {
                    row.awaiting = Some(awaiting);
                }
                let ended = d.set_up.as_ref().is_some_and(|s| s.row.is_ended());
                d.tell_set_up(&Event::AwaitingTold { awaiting });
                if awaiting && ended {
                    // As at a TokenUpdate: nobody else would ever end that hold.
                    d.release_without_set_up(id);
                }
            }
        }
        if is_kept {
            d.batch.put(status);
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
    }
}

impl Org {
    /// A channel that says that it does not know types which it was given, or knows them now, gets another list.
    async fn note_lacks(
        &self,
        d: &mut Decision<'_>,
        channel: &Enrollment,
        device: DeviceId,
        status: &ChannelStatus,
    ) -> Result<(), Error> {
        let Some((mut row, is_written)) = self.own_row(d, channel.id).await? else {
            return Ok(());
        };
        let of = self.device_row(channel).await?;
        let words = scopes(channel, of.as_ref());
        let own = row.own();
        let all = self
            .catalogue(&words.iter().cloned().collect(), &own)
            .await?;
        let known = status.supported();
        let lacks = known.map(|known| all.0.lacks(&all.0.sets(&words), &own, &known));
        let lacks = lacks.unwrap_or_default();
        // One that was told nothing has nothing to lose.
        let is_other = row.lacks != lacks && row.manifest.is_some();
        if is_other {
            row.lacks = lacks;
            d.job(d.now, JobKind::DeclareOf { device });
        }
        if is_other || is_written {
            d.batch.put(row);
        }
        Ok(())
    }
}

/// For how long a channel may be about to fetch what its list names.
const FETCHING: Duration = Duration::from_mins(10);

impl Org {
    /// A channel that tells in full what it has, and has something else than it was given: the answer that gave it the list was
    /// lost. It is told once more, once for each such report.
    async fn doubt(
        &self,
        d: &mut Decision<'_>,
        channel: EnrollmentId,
        device: DeviceId,
        status: &ChannelStatus,
    ) -> Result<(), Error> {
        let told = self.store().declared_channel(self.id(), channel).await;
        if matches!(&told, Err(StoreError::Corrupt { .. })) {
            return Ok(());
        }
        let told = told?.filter(|told| told.ended.is_none());
        let list = match told.as_ref().and_then(|told| told.manifest) {
            Some(list) => readable(self.store().declaration_manifest(self.id(), list).await)?,
            None => None,
        };
        let behind = match (&told, &list) {
            (Some(told), Some(list)) => {
                d.now.since(told.told) >= FETCHING && !status.agrees_with(list)
            }
            // The list is not to be had: that is no news of the device's.
            (Some(told), None) if told.manifest.is_some() => false,
            _ => !status.declarations().is_empty(),
        };
        if behind {
            let mut row = told.unwrap_or_else(|| DeclaredChannel::new(self.id(), channel, d.now));
            row.doubted = true;
            d.batch.put(row);
            d.job(d.now, JobKind::DeclareOf { device });
        }
        Ok(())
    }
}

/// What a report says of the apps that a step has declared; `None` when no step waits for that.
pub(in crate::service) fn declared_apps(
    d: &Decision<'_>,
    status: &ChannelStatus,
) -> Option<Vec<AppReading>> {
    let set_up = d.set_up.as_ref().map(|s| &s.row)?;
    let step = set_up.steps()?.get(&StepId::DeclareApps)?;
    if step.status != StepStatus::Running {
        return None;
    }
    let keep = set_up.steps()?.get(&StepId::AppsKeep).is_some();
    let told = own::app_states(status);
    let readings = d.set_up_plan.as_ref()?.apps.iter().filter_map(|app| {
        let standing = own::standing(status, &own_app(app));
        let mut said = told.iter();
        let said = said.find(|(id, _)| is_same_app(id, &app.bundle_id));
        let state = match (said.map(|(_, state)| state), standing) {
            // A declaration that the device cannot use says more than what is there.
            (_, Some(AppState::Failed(why))) => AppState::Failed(why),
            (Some(state), _) => state.clone(),
            // One that is to be kept must be seen to be managed; of one that is new it is enough that it will come.
            (None, Some(_)) if keep && app.action == AppAction::KeepIfPresent => return None,
            (None, standing) => standing?,
        };
        Some(AppReading {
            bundle_id: app.bundle_id.clone(),
            state,
        })
    });
    Some(readings.collect())
}

fn list_as_answer(list: &DeclarationManifest) -> Answer {
    let items = list.items.iter().map(|item| {
        let kind = item.kind.as_str();
        (kind, item.identifier.as_str(), item.server_token.as_str())
    });
    Answer::Json(wire::items(&list.token, items))
}

/// A row that another one names and that is not there: our fault, and never the device's loss.
fn missing(table: &'static str, id: i64) -> Error {
    StoreError::Corrupt {
        table,
        column: "id",
        key: id.to_string(),
    }
    .into()
}
