//! What is sent to each route of the API by somebody who means the neighbour's things.

use mdm_core::device::Platform;
use mdm_core::migration::{PinnedRunbook, Variant};

use super::{THEIR_DECLARATION, THEIR_RUNBOOK, THEIR_WAVE, THEIRS};

/// The body of a route that takes one; the walk stops at a route that is not listed.
pub(super) fn body(method: &str, path: &str) -> String {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let body = match (method, path) {
        ("get", _) => return String::new(),
        ("post", "/api/v1/organisations") => serde_json::json!({ "name": "A third one" }),
        ("post", "/api/v1/organisations/{code}/remove") => {
            serde_json::json!({ "confirm": "theirs", "reason": "curious" })
        }
        ("post", "/api/v1/api-tokens") => serde_json::json!({ "name": "walker", "role": "viewer" }),
        ("post", "/api/v1/api-tokens/{id}/revoke" | "/api/v1/holds/{serial}/release") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/server-tokens") => serde_json::json!({ "token": "{}", "renews": 1 }),
        ("post", "/api/v1/server-tokens/{id}/remove" | "/api/v1/licences/{id}/remove") => {
            serde_json::json!({ "name": "theirs" })
        }
        ("post", "/api/v1/token-keys/remove") => serde_json::json!({ "serial": "theirs" }),
        ("post", "/api/v1/business/remove") => serde_json::json!({ "client_id": "BUSINESSAPI.x" }),
        ("post", "/api/v1/token-keys" | "/api/v1/push-certificate/request") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/push-certificate") => {
            serde_json::json!({ "certificate": "none", "key": key })
        }
        ("post", "/api/v1/business") => {
            serde_json::json!({ "client_id": "BUSINESSAPI.x", "key_id": "y", "key": key })
        }
        (
            "post",
            "/api/v1/server-tokens/sync"
            | "/api/v1/business/budget/lift"
            | "/api/v1/inventory/pull"
            | "/api/v1/licences/{id}/refresh",
        ) => serde_json::json!({}),
        ("post", "/api/v1/commands") => {
            serde_json::json!({ "serials": THEIRS, "request_type": "UserList" })
        }
        (
            "post",
            "/api/v1/devices/{serial}/clear-passcode"
            | "/api/v1/approvals/{id}/confirm"
            | "/api/v1/approvals/{id}/decline",
        ) => serde_json::json!({}),
        ("post", "/api/v1/plans") => serde_json::json!({
            "form": 1, "project": { "name": "their wave" },
            "waves": [{ "name": "their wave", "members": [{ "serial": THEIRS[0] }] }],
        }),
        ("post", "/api/v1/secrets/reveal") => {
            serde_json::json!({ "serial": THEIRS[0], "kind": "recovery_key", "reason": "curious" })
        }
        ("post", "/api/v1/secrets/clear-lock") => {
            serde_json::json!({ "serial": THEIRS[0], "reason": "curious" })
        }
        ("post", "/api/v1/devices/{serial}/rotate-filevault") => {
            serde_json::json!({ "reason": "curious" })
        }
        ("post", "/api/v1/filevault") => serde_json::json!({ "rotate_revealed_minutes": 5 }),
        ("post", "/api/v1/tags") => serde_json::json!({ "tag": "lab", "serials": THEIRS }),
        ("post", "/api/v1/templates") => {
            serde_json::json!({ "name": "walker", "template": { "capacity": 7 } })
        }
        ("post", "/api/v1/templates/push" | "/api/v1/templates/remove") => {
            serde_json::json!({ "name": "walker", "organisations": [] })
        }
        ("post", "/api/v1/partners") => {
            serde_json::json!({ "name": "walker", "organisations": [] })
        }
        ("post", "/api/v1/partners/{id}/dismiss") => serde_json::json!({}),
        ("post", "/api/v1/two-persons") => serde_json::json!({ "always": false }),
        ("post", "/api/v1/devices/{serial}/retry-step") => serde_json::json!({ "step": "trust" }),
        ("post", "/api/v1/devices/{serial}/give-up") => serde_json::json!({ "reason": "walk" }),
        ("post", "/api/v1/runbooks/{name}/remove") => serde_json::json!({}),
        ("post", "/api/v1/runbooks") => serde_json::json!({
            "name": THEIR_RUNBOOK, "platform": "ios", "reason": "walk",
            "runbook": PinnedRunbook::standard(Platform::Ios, Variant::Migration),
        }),
        ("post", "/api/v1/devices/tags") => {
            serde_json::json!({ "serials": THEIRS, "add": ["lab"] })
        }
        ("post", "/api/v1/library/profiles") => {
            serde_json::json!({ "name": "their item", "profile": "<plist/>" })
        }
        ("post", "/api/v1/library/packages") => {
            serde_json::json!({ "name": "their item", "package": {} })
        }
        ("post", "/api/v1/hand-off/jobs") => serde_json::json!({ "from": "Walker", "days": 1 }),
        ("post", "/api/v1/hand-off/jobs/{id}/signer") => {
            serde_json::json!({ "sha256": "0f".repeat(32) })
        }
        ("post", "/api/v1/hand-off/jobs/{id}/bundle" | "/api/v1/hand-off/jobs/{id}/close") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/hand-off/signer") => serde_json::json!({}),
        ("post", "/api/v1/hand-off/sources") => {
            serde_json::json!({ "name": "Walker", "signer": "0f".repeat(32) })
        }
        (
            "post",
            "/api/v1/hand-off/sources/{id}/end"
            | "/api/v1/hand-off/sources/{id}/jobs"
            | "/api/v1/hand-off/destination/end"
            | "/api/v1/hand-off/exports/{id}/bundle",
        ) => serde_json::json!({}),
        ("post", "/api/v1/hand-off/sources/{id}/bundles") => {
            serde_json::json!({ "job": THEIR_WAVE, "bundle": "AAAA" })
        }
        ("post", "/api/v1/hand-off/destination") => {
            serde_json::json!({ "url": "https://walker.invalid", "source": 7, "token": "x" })
        }
        ("post", "/api/v1/hand-off/exports") => serde_json::json!({
            "certificate": "none", "sha256": "0f".repeat(32), "reason": "walk", "serials": THEIRS,
        }),
        // Its fields are in the query; without them nothing is read.
        ("post", "/api/v1/library/packages/upload") => serde_json::json!({}),
        ("post", "/api/v1/library/tags") => serde_json::json!({ "name": "their item", "tags": [] }),
        ("post", "/api/v1/library/remove") => serde_json::json!({ "name": "their item" }),
        ("post", "/api/v1/declarations") => serde_json::json!({
            "identifier": "walker", "type": "com.apple.configuration.management.test", "payload": { "Echo": "x" },
        }),
        ("post", "/api/v1/declarations/{identifier}/remove") => serde_json::json!({}),
        ("post", "/api/v1/declaration-sets") => {
            serde_json::json!({ "name": "neighbourly things", "members": [THEIR_DECLARATION] })
        }
        ("post", "/api/v1/declaration-sets/remove") => {
            serde_json::json!({ "name": "neighbourly things" })
        }
        ("post", "/api/v1/declaration-sets/assign" | "/api/v1/declaration-sets/unassign") => {
            serde_json::json!({ "name": "neighbourly things", "everybody": true, "serials": THEIRS })
        }
        ("post", "/api/v1/invitations") => {
            serde_json::json!({ "serial": "NEITHERS", "unknown": true })
        }
        ("post", "/api/v1/enrolment") => serde_json::json!({ "facts_hours": 25 }),
        ("post", "/api/v1/network-users") => serde_json::json!({ "name": "nobody" }),
        ("post", "/api/v1/commands/cancel") => {
            serde_json::json!({ "serials": THEIRS, "channels": [format!("UDID-{}", THEIRS[0])], "all": true })
        }
        ("post", "/api/v1/identities/{serial}/renew") => serde_json::json!({}),
        ("post", "/api/v1/identities/{serial}/revoke") => serde_json::json!({ "reason": "walk" }),
        ("post", "/api/v1/identities/issuer") => serde_json::json!({ "kind": "built-in" }),
        ("post", "/api/v1/identities/settings") => serde_json::json!({ "identity_days": 700 }),
        ("post", "/api/v1/identities/attestation") => {
            serde_json::json!({ "without_apple": false })
        }
        ("post", "/api/v1/identities/authority" | "/api/v1/identities/trusted") => {
            serde_json::json!({ "certificates": "none" })
        }
        ("post", "/api/v1/identities/authority/drop") => serde_json::json!({ "sha256": "00" }),
        ("post", "/api/v1/identities/registration") => serde_json::json!({ "wanted": false }),
        ("post", "/api/v1/ade-profiles") => serde_json::json!({ "department": "a room" }),
        ("post", "/api/v1/assignments" | "/api/v1/migrations/status") => {
            serde_json::json!({ "serials": THEIRS })
        }
        ("post", "/api/v1/sign-in") => serde_json::json!({ "session_hours": 9 }),
        ("post", "/api/v1/users") => {
            serde_json::json!({ "account": "eve@example.com", "role": "admin" })
        }
        ("post", "/api/v1/users/revoke") => serde_json::json!({ "account": "eve@example.com" }),
        ("post", "/api/v1/sign-in/remove" | "/api/v1/sessions/{id}/revoke") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/migrations/plan") => {
            serde_json::json!({ "act": "cancel", "serials": THEIRS })
        }
        ("post", "/api/v1/migrations") => {
            serde_json::json!({ "act": "cancel", "serials": THEIRS, "digest": "0".repeat(64) })
        }
        ("post", "/api/v1/originals") => serde_json::json!({
            "from": "walk", "devices": [{ "serial": THEIRS[0], "system": "18.5" }],
        }),
        ("post", "/api/v1/checks") => serde_json::json!({ "serials": THEIRS }),
        ("post", "/api/v1/checks/rules") => {
            serde_json::json!({ "unknown": { "capable": "block" } })
        }
        ("post", "/api/v1/audit/verification" | "/api/v1/audit/checkpoints") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/projects") => serde_json::json!({ "name": "walk" }),
        (
            "post",
            "/api/v1/projects/{id}"
            | "/api/v1/projects/{id}/close"
            | "/api/v1/projects/{id}/purge/plan",
        ) => serde_json::json!({}),
        ("post", "/api/v1/projects/{id}/purge") => {
            serde_json::json!({ "reason": "walk", "digest": "0".repeat(64) })
        }
        ("post", "/api/v1/projects/{id}/switch") => serde_json::json!({ "on": true }),
        ("post", "/api/v1/waves") => {
            serde_json::json!({ "project": THEIR_WAVE, "name": "walk" })
        }
        ("post", "/api/v1/waves/{id}/members" | "/api/v1/waves/{id}/members/remove") => {
            serde_json::json!({ "serials": THEIRS })
        }
        ("post", "/api/v1/waves/{id}/members/move") => {
            serde_json::json!({ "to": THEIR_WAVE, "serials": THEIRS })
        }
        ("post", "/api/v1/waves/{id}/dates") => serde_json::json!({
            "all": true, "deadline": "2026-12-20T10:00:00Z", "available_from": "2026-12-12T10:00:00Z",
        }),
        ("post", "/api/v1/waves/{id}/plan" | "/api/v1/waves/{id}/what-if") => {
            serde_json::json!({})
        }
        ("post", "/api/v1/waves/{id}/prerequisites") => {
            serde_json::json!({ "name": "wifi-placed", "evidence": "walk", "all": true })
        }
        ("post", "/api/v1/waves/{id}/clean-up") => {
            serde_json::json!({ "evidence": "walk", "all": true })
        }
        ("post", "/api/v1/waves/{id}/acceptance") => {
            serde_json::json!({ "digest": "0".repeat(64) })
        }
        ("post", "/api/v1/waves/{id}/submission") => serde_json::json!({ "name": "their wave" }),
        ("post", "/api/v1/waves/{id}/evidence") => serde_json::json!({ "redact": ["owners"] }),
        ("post", "/api/v1/waves/{id}/gate") => serde_json::json!({ "reason": "walk" }),
        ("post", "/api/v1/waves/{id}/pause") => {
            serde_json::json!({ "paused": true, "reason": "walk" })
        }
        ("post", "/api/v1/waves/{id}/ade-profile") => {
            serde_json::json!({ "options": { "department": "walk" } })
        }
        ("post", "/api/v1/waves/{id}/owner-texts") => serde_json::json!({ "texts": {} }),
        ("post", "/api/v1/owner-texts") => serde_json::json!({ "texts": {} }),
        ("post", "/api/v1/webhooks") => {
            serde_json::json!({ "name": "walk", "url": "https://hooks.invalid/" })
        }
        ("post", "/api/v1/webhooks/{name}") => serde_json::json!({ "on": false }),
        (
            "post",
            "/api/v1/webhooks/{name}/secret"
            | "/api/v1/webhooks/{name}/test"
            | "/api/v1/webhooks/{name}/remove",
        ) => serde_json::json!({}),
        ("post", "/api/v1/licences/tokens") => serde_json::json!({ "token": "bm9uZQ==" }),
        ("post", "/api/v1/licences/plan") => {
            serde_json::json!({ "location": THEIR_WAVE, "apps": [1], "serials": THEIRS })
        }
        ("post", "/api/v1/licences") => serde_json::json!({
            "location": THEIR_WAVE, "apps": [1], "serials": THEIRS, "digest": "0".repeat(64),
        }),
        (method, path) => panic!(
            "{method} {path} is new: say here what it takes, and give its parameters ids of a neighbour below"
        ),
    };
    body.to_string()
}
