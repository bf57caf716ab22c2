//! The password before recoveryOS: made once for a set-up, sealed in the very commit that queues it, and used again by every try.

use std::collections::BTreeSet;

use super::Org;
use super::checkin::passes;
use super::decision::Decision;
use crate::error::Error;
use crate::migration::{GROUP, SetUp, StepPlan, known_by};
use crate::secret::{Secret, SecretKind};
use crate::wire::command::CommandBody;
use crate::wire::report::CommandReport;
use crate::wire::requests::{SetRecoveryLock, VerifyRecoveryLock};

/// Letters and digits that nobody takes for one another, where every keyboard has them.
const SYMBOLS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Groups of a password, and symbols of a group: a hundred bits.
const GROUPS: (usize, usize) = (5, 4);

impl Org {
    /// Puts the password into the commands that carry it.
    pub(super) async fn fill_passwords(&self, d: &mut Decision<'_>) -> Result<(), Error> {
        let wanted = std::mem::take(&mut d.passwords);
        let Some(set_up) = d.set_up.as_ref().map(|s| s.row.clone()) else {
            return Ok(());
        };
        let tries = wanted.iter().filter(|(_, sets, _)| *sets);
        let tries = tries.map(|(.., attempt)| usize::from(*attempt)).max();
        let (password, before) = self
            .password_of(d, &set_up, tries.unwrap_or_default())
            .await?;
        for (id, sets, attempt) in wanted {
            let Some(tracked) = d.commands.get_mut(&id) else {
                continue;
            };
            let uuid = tracked.row.uuid.clone();
            let body: CommandBody = match (sets, attempt) {
                (false, _) => VerifyRecoveryLock::new(password.clone()).into(),
                // The system has removed an earlier lock when the Mac left the service before.
                (true, 0 | 1) => SetRecoveryLock::first(password.clone()).into(),
                // One that enrolled anew without leaving first still has the one of its earlier enrolment. Else an earlier try
                // may have come through, and then it is the one in force.
                (true, _) => {
                    let in_force = before.clone().unwrap_or_else(|| password.clone());
                    SetRecoveryLock::replacing(in_force, password.clone()).into()
                }
            };
            tracked.row.body = crate::organisation::Der(body.encode(&uuid).to_vec());
        }
        Ok(())
    }

    /// The password that this set-up has made, or a new one, which goes into the vault with the decision; and for a second try of
    /// setting it, and those after it, one of those before it: of several nobody knows which came into force, so that each has
    /// its turn, the newest first.
    async fn password_of(
        &self,
        d: &mut Decision<'_>,
        set_up: &SetUp,
        tries: usize,
    ) -> Result<(Secret, Option<Secret>), Error> {
        let kind = SecretKind::RecoveryLockPassword;
        let device = set_up.device.ok_or(Error::NotFound("device"))?;
        let mut held = self.store().secrets(self.id(), device).await?;
        held.retain(|row| row.kind == kind && row.destroyed.is_none());
        // The newest first.
        let (own, earlier): (Vec<_>, Vec<_>) =
            held.iter().partition(|row| row.created >= set_up.began);
        let turn = tries.checked_sub(2);
        let turn = turn.and_then(|nth| earlier.get(nth % earlier.len().max(1)));
        let before = match turn {
            Some(row) => match self.open_row(row).await {
                Ok(password) => Some(password),
                Err(error) if passes(&error) => return Err(error),
                // One that does not open any more is no reason to make none.
                Err(_) => None,
            },
            None => None,
        };
        if let Some(row) = own.iter().find(|row| row.replaced.is_none()) {
            return Ok((self.open_row(row).await?, before));
        }
        let password = new_password()?;
        let newest = held.iter().find(|row| row.replaced.is_none());
        let newest = newest.map(|row| row.id);
        let id = self
            .keep_secret(d, newest, kind, Some(device), &password)
            .await?;
        let detail = serde_json::json!({ "secret": id, "replaces": newest });
        d.audit("recovery-lock.password-sealed", detail);
        Ok((password, before))
    }

    /// Learns what only the set-up wants to know of an answer: whether a Mac has Apple silicon.
    pub(super) fn learn_silicon(&self, d: &mut Decision<'_>, report: &CommandReport) {
        let told = report.device_information().and_then(|i| i.is_apple_silicon);
        if let (Some(told), Some(set_up)) = (told, &mut d.set_up) {
            set_up.row.apple_silicon = Some(told);
        }
    }

    /// The tags of a device, and the groups of its owner where a runbook asks for these, as steps know them.
    pub(super) fn tags_of(d: &Decision<'_>) -> BTreeSet<String> {
        let Some(device) = d.device.as_ref().map(|device| &device.row) else {
            return BTreeSet::new();
        };
        let plan = d.set_up_plan.as_ref();
        let asks = |step: &StepPlan| step.only.iter().any(|o| o.starts_with(GROUP));
        match plan.is_some_and(|plan| plan.steps.iter().any(asks)) {
            true => known_by(&device.tags, &device.groups),
            false => device.tags.clone(),
        }
    }
}

fn new_password() -> Result<Secret, Error> {
    let (groups, each) = GROUPS;
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(groups * (each + 1)));
    let mut symbols = 0;
    while symbols < groups * each {
        let mut byte = [0_u8; 1];
        openssl::rand::rand_bytes(&mut byte).map_err(|_| Error::Crypto("no randomness"))?;
        // Every symbol as often as every other.
        let Some(symbol) = SYMBOLS.get(usize::from(byte[0] & 31)) else {
            continue;
        };
        if symbols > 0 && symbols % each == 0 {
            text.push(b'-');
        }
        text.push(*symbol);
        symbols += 1;
    }
    Ok(Secret::new(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_can_be_typed_and_is_never_the_same() {
        let one = new_password().unwrap();
        let text = one.expose_text().unwrap().to_owned();
        assert_eq!(text.len(), 24);
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [4; 5]);
        let plain = |b: u8| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit();
        assert!(text.bytes().all(plain));
        assert!(!text.contains(['i', 'l', 'o', '0', '1']));
        assert_ne!(one, new_password().unwrap());
    }
}
