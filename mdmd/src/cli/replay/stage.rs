//! The throw-away server on which recordings are played: real doors on loopback, an in-memory database, and for each device
//! that is recorded a real enrolment session, so that it has a certificate to show. Nothing of it outlives the command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fixtures::recorded::{Described, StandIn, StandIns};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::enrollment::Enrollment;
use mdm_core::ids::{CommandId, DeviceId, IdSource, Serial, ServerId};
use mdm_core::queue::{Command, CommandState};
use mdm_core::secret::Secret;
use mdm_core::service::{Mdm, Org, Ports};
use mdm_core::store::{Batch, SqliteStore};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::report::CommandReport;
use mdm_core::wire::requests::ProfileList;
use openssl::sha::sha256;
use tempfile::TempDir;

use super::Door;
use super::connection::{Answered, Connection};
use crate::app::{App, Drive, Overrides};
use crate::config::{Config, Duty, ListenerConfig, Network};
use crate::{install, pki};

/// Where devices would reach it. Nothing is sent there: the command speaks to the loopback port as a proxy does.
const DEVICE_URL: &str = "https://replay.invalid";

/// The entry in the assignment service's list that every recorded device gets: they are the organisation's own.
const LIST: ServerId = ServerId(1);

/// The server and the devices that it knows.
pub(super) struct Stage {
    app: App,
    pub(super) org: Org,
    stand_ins: StandIns,
    devices: BTreeMap<String, Known>,
    enrolled: u64,
    ids: IdSource,
    line: Connection,
    header: String,
    /// Removed with the value.
    _directory: TempDir,
}

/// A device that has had a session.
pub(super) struct Known {
    pub(super) id: DeviceId,
    pub(super) stand_in: StandIn,
}

impl Stage {
    /// Starts the server for an organisation with this push topic.
    ///
    /// # Errors
    /// Says which part could not be started.
    pub(super) async fn open(topic: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("a temporary directory")?;
        // `lay_out` makes it itself, with its modes.
        let data = directory.path().join("data");
        let root = install::lay_out(&data, "Replay", "localhost")?;
        let mut config = Config::for_directory(&data);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        config.listeners = vec![
            ListenerConfig::new(any, Duty::Plain),
            ListenerConfig::new(any, Duty::Enrol),
        ];
        config.proxy.trusted = Network::parse("127.0.0.1").into_iter().collect();
        config.public.device_url = DEVICE_URL.to_owned();
        config.public.enrol_url = "https://localhost:0".to_owned();
        let header = config.proxy.certificate_header.clone();
        let overrides = Overrides {
            store: Some(Arc::new(SqliteStore::in_memory().await?)),
            ports: Some(Ports::refusing()),
            drive: Drive::Manual,
            ..Overrides::default()
        };
        let app = App::start(config, overrides).await?;
        let plain = app.address(Duty::Plain).context("no plain listener")?;
        let made = app
            .mdm
            .create_organisation("Replay", vec![root.clone()])
            .await?;
        let now = app.mdm.now();
        let push = pki::authority("Replay push", 1, now)?;
        made.org
            .import_push(
                topic,
                push.certificate.to_der()?,
                now,
                &Secret::new(push.key.private_key_to_pkcs8()?),
            )
            .await?;
        let stand_ins = StandIns::new(vec![root.0], now.as_millis())?;
        let id = made.org.organisation().id;
        let org = app.mdm.organisation_by_id(id).await?;
        org.trust_device_ca(stand_ins.authority()?).await?;
        Ok(Self {
            org: app.mdm.organisation_by_id(id).await?,
            app,
            stand_ins,
            devices: BTreeMap::new(),
            enrolled: 0,
            ids: IdSource::new(u16::MAX),
            line: Connection::new(plain),
            header,
            _directory: directory,
        })
    }

    pub(super) fn mdm(&self) -> &Mdm {
        &self.app.mdm
    }

    /// The device of a channel, if it has had a session.
    pub(super) fn known(&self, key: &str) -> Option<&Known> {
        self.devices.get(key)
    }

    /// Whether the next Authenticate of a device begins another enrolment: the one before was completed or has ended.
    pub(super) async fn begins_again(&self, key: &str) -> anyhow::Result<bool> {
        let id = self.org.organisation().id;
        let known = self.mdm().store().enrollments_by_key(id, key).await?;
        Ok(known.last().is_some_and(|e| e.enrolled.is_some()))
    }

    /// Takes a device through an enrolment session: its record in the device list, machine information, profile, SCEP.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(super) async fn enrol(&mut self, who: &Described) -> anyhow::Result<()> {
        let serial = Serial::parse(&who.serial)?;
        let id = self.listed(&serial).await?;
        let port = self
            .app
            .address(Duty::Enrol)
            .context("no listener for enrolment")?
            .port();
        let code = &self.org.organisation().code;
        let url = format!("https://localhost:{port}/mdm/{code}/enrol");
        let stand_in = self.stand_ins.enrol(&url, who, self.enrolled).await?;
        self.enrolled += 1;
        self.devices
            .insert(who.udid.clone(), Known { id, stand_in });
        Ok(())
    }

    async fn listed(&self, serial: &Serial) -> anyhow::Result<DeviceId> {
        let (store, org) = (self.mdm().store(), self.org.organisation().id);
        if let Some(device) = store.device_by_serial(org, serial).await? {
            return Ok(device.id);
        }
        let now = self.mdm().now();
        let id = DeviceId(self.ids.next(now));
        let mut device = Device::new(org, id, serial.clone());
        device.record = Some(DeviceRecord::new(LIST, now));
        let mut batch = Batch::new();
        batch.put(device);
        store.commit(batch).await?;
        Ok(id)
    }

    /// Puts the command that a report is about into the queue, as sent: the server that was recorded had asked it.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn ask_before(&self, report: &CommandReport) -> anyhow::Result<()> {
        let Some(uuid) = &report.command_uuid else {
            return Ok(());
        };
        let Some(channel) = self.channel_of(report).await? else {
            return Ok(());
        };
        let (store, org) = (self.mdm().store(), self.org.organisation().id);
        if store.command(org, channel.id, uuid).await?.is_some() {
            return Ok(());
        }
        let now = self.mdm().now();
        // Devices need not say what they were asked. Should the device ask for it again, it gets a question that changes nothing.
        let request = report.request_type.as_deref().unwrap_or("of the recording");
        let body = CommandBody::ProfileList(ProfileList::default().managed_only(false));
        let id = CommandId(self.ids.next(now));
        let body = body.encode(uuid).to_vec();
        let mut command = Command::queued(org, id, channel.id, uuid.clone(), request, body, now);
        command.state = CommandState::Sent;
        command.sent = Some(now);
        let mut batch = Batch::new();
        batch.put(command);
        Ok(store.commit(batch).await?)
    }

    async fn channel_of(&self, report: &CommandReport) -> anyhow::Result<Option<Enrollment>> {
        let (store, org) = (self.mdm().store(), self.org.organisation().id);
        let key = report.channel.device_key();
        let known = store.enrollments_by_key(org, key.as_str()).await?;
        let Some(device) = known.into_iter().rev().find(Enrollment::is_live) else {
            return Ok(None);
        };
        if report.channel.is_device() {
            return Ok(Some(device));
        }
        let users = store.user_channels(org, device.id).await?;
        let key = report.channel.key();
        Ok(users.into_iter().find(|u| u.key == key.as_str()))
    }

    /// Sends a body to a door, with the proofs given, and reads the answer.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) async fn send(
        &mut self,
        door: Door,
        certificate: Option<&[u8]>,
        signature: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Answered> {
        let path = format!("/mdm/{}/{}", self.org.organisation().code, door.path());
        let mut request = Request::put(path)
            .header(HOST, "replay.invalid")
            .header(CONTENT_TYPE, door.content_type());
        if let Some(der) = certificate {
            // As RFC 9440 spells it.
            request = request.header(&self.header, format!(":{}:", STANDARD.encode(der)));
        }
        if let Some(signature) = signature {
            request = request.header("mdm-signature", signature);
        }
        let request = request.body(body).context("Mdm-Signature")?;
        self.line.send(request).await
    }

    /// Ends the server.
    ///
    /// # Errors
    /// When it could not be closed in order.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        drop(self.line);
        self.app.shutdown().await
    }
}

/// A serial number for a device whose own is not recorded: always the same for the same device.
pub(super) fn invented_serial(key: &str) -> String {
    let digest = sha256(key.as_bytes());
    let hex: String = digest[..5].iter().map(|b| format!("{b:02X}")).collect();
    format!("R0{hex}")
}
