//! The secrets that a device gives in its answers, whoever asked for them: lifted out of the report, they go into the vault in
//! the commit that settles the command, for most of them come once. Answers say of them only what became of them.

use serde_json::json;

use super::Org;
use super::checkin::passes;
use super::decision::{Decision, Tracked};
use crate::activation_lock;
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::Error;
use crate::filevault::{self, EscrowKey, KeyVerdict};
use crate::migration::KeyReading;
use crate::organisation::Der;
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::store::StoreError;
use crate::wire::checkin::MAX_UNLOCK_TOKEN;
use crate::wire::report::CommandReport;

impl Org {
    /// Seals what an answer gives away; says what became of the recovery key where the answer is about one.
    ///
    /// Sessions of people, and settings of applications that come back as we sent them, are not kept.
    pub(super) async fn keep_lifted(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
    ) -> Result<Option<KeyReading>, Error> {
        let about_key = report.security_info().is_some() || report.is_rotation_answer();
        let gives = about_key || !report.secrets().is_empty();
        if enrollment.channel != ChannelKind::Device || !gives {
            return Ok(None);
        }
        // Whose it is stands in the record of it.
        self.load_device_of(d, enrollment).await?;
        if let Some(code) = activation_lock::device_code(report) {
            self.keep_newest(d, enrollment, SecretKind::DeviceBypassCode, &code)
                .await?;
        }
        let of = |kind: SecretKind| {
            let all = report.secrets().iter();
            all.filter(move |lifted| lifted.kind == kind)
                .map(|lifted| &lifted.secret)
        };
        if let Some(token) = of(SecretKind::UnlockToken).next()
            && token.len() <= MAX_UNLOCK_TOKEN
        {
            let (kind, held) = (SecretKind::UnlockToken, enrollment.unlock_token);
            let kept = self
                .keep_secret(d, held, kind, enrollment.device, token)
                .await?;
            if let Some(row) = d.enrollment_mut(enrollment.id) {
                row.unlock_token = Some(kept);
            }
        }
        // One row for all of an answer: whoever wants one of them wants to see them.
        let codes: Vec<&[u8]> = of(SecretKind::RedemptionCode).map(Secret::expose).collect();
        if !codes.is_empty() {
            let codes = Secret::new(codes.join(&b'\n'));
            self.keep_newest(d, enrollment, SecretKind::RedemptionCode, &codes)
                .await?;
        }
        if !about_key && report.recovery_key_envelope().is_none() {
            return Ok(None);
        }
        self.read_key(d, enrollment, report).await.map(Some)
    }

    /// Keeps a secret in the place of the newest of its kind that the device has.
    async fn keep_newest(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        kind: SecretKind,
        secret: &Secret,
    ) -> Result<(), Error> {
        let held = self.newest_secret(enrollment, kind).await?;
        self.keep_secret(d, held, kind, enrollment.device, secret)
            .await?;
        Ok(())
    }

    /// An envelope that nobody here can read is kept as it came: for whoever has the key to it, or finds out what is in it.
    async fn keep_envelope(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
    ) -> Result<(), Error> {
        match report.recovery_key_envelope() {
            Some(envelope) if envelope.len() <= filevault::ENVELOPE_LIMIT => {
                self.keep_newest(d, enrollment, SecretKind::RecoveryKeyEnvelope, envelope)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// The device has just given a key that we could open: what the service that it left had of its keys opens nothing any more.
    async fn destroy_old_keys(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Error> {
        let Some(device) = enrollment.device else {
            return Ok(());
        };
        let old = |row: &SealedSecret| {
            row.kind == SecretKind::OriginalRecoveryKey && row.destroyed.is_none()
        };
        let all = match self.store().secrets(self.id(), device).await {
            Ok(all) => all,
            Err(StoreError::Corrupt { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut destroyed = Vec::new();
        for row in all.into_iter().filter(old) {
            let id = row.id;
            let mut tracked = Tracked::read(row);
            tracked.row.sealed = Der(Vec::new());
            tracked.row.replaced = tracked.row.replaced.or(Some(d.now));
            tracked.row.destroyed = Some(d.now);
            d.secrets.insert(id, tracked);
            destroyed.push(id);
        }
        if !destroyed.is_empty() {
            d.audit(
                "old-recovery-key.destroyed",
                json!({ "secrets": destroyed }),
            );
        }
        Ok(())
    }

    /// Opens the envelope of the recovery key, seals the key, and says what became of it.
    async fn read_key(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
    ) -> Result<KeyReading, Error> {
        let keys = match (&self.organisation.escrow, report.recovery_key_envelope()) {
            (Some(escrow), Some(_)) => match self.open_secret_cached(escrow.key).await {
                Ok(key) => vec![EscrowKey::new(escrow.certificate.0.clone(), key)],
                Err(error) if passes(&error) => return Err(error),
                Err(error) => {
                    // Refusing the report would make the device repeat it for ever, and everything after it wait.
                    self.note_unreadable(d, escrow.key, SecretKind::EscrowPrivateKey, &error);
                    return Ok(KeyReading::NotTold);
                }
            },
            _ => Vec::new(),
        };
        let held = self
            .newest_secret(enrollment, SecretKind::RecoveryKey)
            .await?;
        let on_record = match held {
            Some(held) => match self.open_secret(held).await {
                Ok(key) => Some(key),
                Err(error) if passes(&error) => return Err(error),
                Err(error) => {
                    self.note_unreadable(d, held, SecretKind::RecoveryKey, &error);
                    None
                }
            },
            None => None,
        };
        Ok(
            match filevault::evaluate(report, &keys, on_record.as_ref()) {
                KeyVerdict::NotTold | KeyVerdict::Off => KeyReading::NotTold,
                KeyVerdict::NotEscrowed => KeyReading::NotEscrowed,
                KeyVerdict::ForeignCertificate => {
                    self.keep_envelope(d, enrollment, report).await?;
                    if let Some(held) = held.filter(|_| report.is_rotation_answer()) {
                        // It opens nothing any more; whoever asked has the key of the envelope.
                        self.replace_secret(d, held).await?;
                        d.audit("recovery-key.rotated", json!({ "replaces": held }));
                    }
                    KeyReading::ForeignCertificate
                }
                KeyVerdict::BadForm => {
                    self.keep_envelope(d, enrollment, report).await?;
                    KeyReading::BadForm
                }
                KeyVerdict::New { key, .. } => {
                    self.destroy_old_keys(d, enrollment).await?;
                    let kind = SecretKind::RecoveryKey;
                    let secret = self
                        .keep_secret(d, held, kind, enrollment.device, &key)
                        .await?;
                    d.audit(
                        "recovery-key.escrowed",
                        json!({ "secret": secret, "replaces": held }),
                    );
                    KeyReading::Escrowed {
                        secret,
                        changed: true,
                    }
                }
                KeyVerdict::Unchanged => match held {
                    Some(secret) => {
                        self.destroy_old_keys(d, enrollment).await?;
                        KeyReading::Escrowed {
                            secret,
                            changed: false,
                        }
                    }
                    None => KeyReading::NotTold,
                },
            },
        )
    }
}
