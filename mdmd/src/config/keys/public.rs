//! `[public]`: what devices are told.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "public.device_url",
        Form::Origin,
        Some("\"https://localhost:8443\""),
        "\"https://mdm.example.com\"",
        "What enrolled devices are told to speak to. It cannot change for a device that is enrolled.",
    ),
    key(
        "public.enrol_url",
        Form::Origin,
        Some("\"https://localhost:8444\""),
        "\"https://enrol.example.com\"",
        "Where devices fetch their enrolment profile and certificate. A host that never asks for a client certificate.",
    ),
    key(
        "public.adde_url",
        Form::Url,
        None,
        "\"https://enrol.example.com/adde\"",
        "Where a device goes on that asked `/.well-known/com.apple.remotemanagement` for account-driven Device Enrollment. Without it none is offered.",
    ),
    key(
        "public.byod_url",
        Form::Url,
        None,
        "\"https://enrol.example.com/byod\"",
        "The same for account-driven User Enrollment.",
    ),
];
