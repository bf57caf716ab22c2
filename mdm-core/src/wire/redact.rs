//! Lifts secrets out of a received dictionary and leaves a mark in their place.
//!
//! What is left is safe to store and to print; what was lifted goes to the vault or nowhere.

use plist::{Dictionary, Value};

use super::plist::write_dictionary;
use super::reports::SECRET_ANSWER_KEYS;
use crate::secret::{Secret, SecretKind};

/// What stands where a secret was.
pub(super) const MARK: &str = "redacted";

/// A secret that stood in a received message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiftedSecret {
    /// What it is.
    pub kind: SecretKind,
    /// The key under which it stood.
    pub key: String,
    /// The content.
    pub secret: Secret,
}

/// The keys of check-in messages whose values are secrets, and keys that no answer is known to
/// have, but that would say nothing else if one came.
const OTHER_SECRET_KEYS: [(&str, SecretKind); 11] = [
    ("BootstrapToken", SecretKind::BootstrapToken),
    ("AuthToken", SecretKind::AuthToken),
    ("DigestResponse", SecretKind::DigestResponse),
    ("SecurityToken", SecretKind::AuthToken),
    (
        "FDE_PersonalRecoveryKeyCMS64",
        SecretKind::RecoveryKeyEnvelope,
    ),
    ("NewRecoveryKey", SecretKind::RecoveryKey),
    ("RecoveryKey", SecretKind::RecoveryKey),
    ("Password", SecretKind::ProfilePassword),
    ("NewPassword", SecretKind::RecoveryLockPassword),
    ("CurrentPassword", SecretKind::RecoveryLockPassword),
    ("Challenge", SecretKind::ScepChallenge),
];

/// What kind of secret stands under a key, wherever it stands: an unknown message that carries one
/// of these keys is redacted as well.
fn kind_of(key: &str) -> Option<SecretKind> {
    let of_answers = SECRET_ANSWER_KEYS.iter().map(|k| (k.key(), k.kind));
    of_answers
        .chain(OTHER_SECRET_KEYS)
        .find(|(name, _)| *name == key)
        .map(|(_, kind)| kind)
}

/// Replaces every secret in `dictionary` by [`MARK`] and returns them in the order of the keys.
pub(super) fn lift(dictionary: &mut Dictionary) -> Vec<LiftedSecret> {
    let mut lifted = Vec::new();
    lift_dictionary(dictionary, &mut lifted);
    lifted
}

// Recursion is bounded by the depth that the guard lets through.
fn lift_dictionary(dictionary: &mut Dictionary, lifted: &mut Vec<LiftedSecret>) {
    for (key, value) in dictionary.iter_mut() {
        match kind_of(key) {
            Some(kind) => {
                if let Some(secret) = content(kind, value) {
                    if !secret.is_empty() {
                        lifted.push(LiftedSecret {
                            kind,
                            key: key.clone(),
                            secret,
                        });
                    }
                    *value = Value::String(MARK.to_owned());
                } else {
                    lift_value(value, lifted);
                }
            }
            None => lift_value(value, lifted),
        }
    }
}

fn lift_value(value: &mut Value, lifted: &mut Vec<LiftedSecret>) {
    match value {
        Value::Dictionary(inner) => lift_dictionary(inner, lifted),
        Value::Array(items) => items.iter_mut().for_each(|v| lift_value(v, lifted)),
        // Scalars under keys that name no secret.
        _ => {}
    }
}

fn content(kind: SecretKind, value: &mut Value) -> Option<Secret> {
    match value {
        Value::Data(bytes) => Some(Secret::new(std::mem::take(bytes))),
        Value::String(text) => Some(Secret::from_text(std::mem::take(text))),
        // Which of its values are secret only the application knows.
        Value::Dictionary(inner) if kind == SecretKind::AppConfiguration => {
            Some(Secret::new(write_dictionary(&std::mem::take(inner))))
        }
        // A container under such a name is looked into; numbers and booleans hold no secret.
        _ => None,
    }
}
