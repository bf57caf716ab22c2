//! Every route of the API in one table: method, path, the role that it takes, its body and what it answers. The router, the
//! check of roles and the page of documentation are made from this table, so that none of them can forget a route.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get, post};
use mdm_core::audit::Role;
use mdm_core::error::Error;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::{Door, Refusal};
use super::described::{Described, Operation};
use super::{
    Caller, Office, apple, approvals, assignments, audit, checklist, commands, declarations,
    devices, events, give_up, hand_off, holds, identities, inventory, invitations, library,
    licences, locks, migrations, notices, openapi, organisations, packages, projects, reports,
    runbooks, sign_in, tags, templates, tokens, waves, webhooks, what_if,
};

/// One route, for people and for the tests that walk the table.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) role: Role,
    pub(crate) body: &'static str,
    pub(crate) about: &'static str,
}

macro_rules! table {
    ($($method:ident $path:literal $role:ident $handler:path, $body:literal, $about:literal;)*) => {
        /// The table.
        pub(crate) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            role: Role::$role,
            body: $body,
            about: $about,
        }),*];

        /// Its router. Whoever merges it has put a [`Caller`] before it.
        pub(super) fn router() -> Router<Office> {
            Router::new()$(.route($path, guarded($method($handler), Role::$role, (stringify!($method), $path))))*
        }

        /// Each route with the name of its handler and what describes it.
        pub(super) fn described() -> Vec<(&'static Route, &'static str, Describe)> {
            let describe: Vec<(&'static str, Describe)> = vec![
                $((stringify!($handler), |operation| describe($handler, operation))),*
            ];
            let both = ROUTES.iter().zip(describe);
            both.map(|(route, (handler, describe))| (route, handler, describe)).collect()
        }
    };
}

table! {
    get  "/api/v1" Viewer list, "", "This table.";
    get  "/api/v1/openapi.json" Viewer openapi::show, "", "The document of this API (OpenAPI 3.1), made of what is really read and answered.";
    get  "/api/v1/organisations" Viewer organisations::list, "", "Organisations: the token's own; on the local socket all, a page at a time (`after`, `limit`).";
    get  "/api/v1/handshakes" Viewer organisations::handshakes, "", "TLS handshakes that failed, newest first (`limit`), where several organisations are served and nobody can say whose they were (local socket only). With one organisation they are among its refusals.";
    post "/api/v1/organisations" Admin organisations::new, "name", "Makes an organisation (local socket only). Shows its first administrator token, once.";
    post "/api/v1/organisations/{code}/remove" Admin organisations::remove, "confirm (the code, typed), reason, leave_behind?, by?", "Takes an organisation away (local socket only): nobody finds it from then on, its data key goes two minutes later, and then every row of it, while the others are served. 409, with the way out, while a device of it is held, enrolled, in an open attempt or locked with a code that nobody else has, a request to Apple is open, a server entry, an account or a location is there, or it is the only one; `leave_behind` is how many enrolled devices that were not heard of for a day stay so, `by` is the name of whoever does it. Again it answers how far that is.";
    get  "/api/v1/organisations/removed" Viewer organisations::removed, "", "Organisations that were taken away: who did it, when and why, how many rows have gone, and when nothing was left (local socket only); a page at a time (`after`, `limit`).";
    get  "/api/v1/api-tokens" Admin tokens::list, "", "Tokens of this API: name, role, when they end or were revoked; a page at a time (`after`, `limit`).";
    post "/api/v1/api-tokens" Admin tokens::new, "name, role, scopes?, expires?", "Makes a token. Shows it, once. `scopes` names parts of the API by the first word of their paths: without them all but `secrets`.";
    post "/api/v1/api-tokens/{id}/revoke" Admin tokens::revoke, "", "Revokes a token.";
    get  "/api/v1/partners" Admin tokens::partners, "", "Partners that may act in this organisation, on the local socket all; a page at a time (`after`, `limit`).";
    post "/api/v1/partners" Admin tokens::new_partner, "name, organisations, expires?", "Makes a partner's token: a planner in these organisations and nowhere else, without acceptance and secrets (local socket only). Shows it, once.";
    post "/api/v1/partners/{id}/dismiss" Admin tokens::dismiss, "", "Sends a partner away from this organisation.";
    get  "/api/v1/session" Viewer sign_in::who, "", "Who asks: name, role, organisation, and when the session or token ends.";
    get  "/api/v1/sign-in" Viewer sign_in::show, "", "How people sign in, and the redirect address that the provider must know.";
    post "/api/v1/sign-in" Admin sign_in::set, "issuer, client_id, secret, scopes?, groups_claim?, account_claim?, roles? (group: role), secrets_groups?, session_hours?, web_view? (off, offered, required), account? (byod, adde), domains?, device_days?", "Sets that; what is left out stays. The provider is asked for its document and keys before it is kept.";
    post "/api/v1/sign-in/remove" Admin sign_in::remove, "", "Nobody signs in any more; every session ends with it.";
    get  "/api/v1/sessions" Admin sign_in::sessions, "", "People who are signed in, a page at a time (`after`, `limit`).";
    post "/api/v1/sessions/{id}/revoke" Admin sign_in::revoke, "", "Ends somebody's session.";
    get  "/api/v1/users" Admin sign_in::users, "", "Who may do what: people with roles of their own, and the roles of groups.";
    post "/api/v1/users" Admin sign_in::new_user, "account, role, secrets?", "Says what one person may do, whatever their groups say; by account, or by the provider's subject.";
    post "/api/v1/users/revoke" Admin sign_in::revoke_user, "account, forget?", "Keeps a person out and ends their sessions; with `forget` their groups count again instead.";
    get  "/api/v1/devices" Viewer devices::list, "", "Devices, a page at a time (`after`, `limit`).";
    get  "/api/v1/devices/{serial}" Viewer devices::show, "", "Everything about one device, with its timeline.";
    get  "/api/v1/devices/{serial}/timeline" Viewer devices::timeline, "", "What happened to it, oldest first, a page at a time (`after`, `limit`).";
    post "/api/v1/commands" Admin commands::send, "serials?, channels?, request_type and keys? or plist, uuid?, priority?, expires?, together?, push?", "Queues a command for devices. 207 with a result for each when some cannot have it.";
    post "/api/v1/commands/cancel" Admin commands::cancel, "serials?, channels?, and uuid, request_type or all", "Takes open commands out of queues. What a set-up asked for stays.";
    get  "/api/v1/devices/{serial}/commands" Viewer commands::list, "", "Commands of a device, newest first, a page at a time (`before`, `limit`); `open` for those that wait, `channel` for a user's.";
    get  "/api/v1/devices/{serial}/commands/{uuid}" Viewer commands::show, "", "One command with what was asked and answered, secrets lifted out.";
    post "/api/v1/devices/{serial}/retry-step" Helpdesk runbooks::retry, "step", "Has a step of its set-up done again that is stuck, was given up or was skipped.";
    get  "/api/v1/devices/{serial}/give-up" Viewer give_up::look, "", "What it means to give up its open attempt: as what it ends, and when the device spoke last. 409, with what ends it otherwise, where a person's word is not needed.";
    post "/api/v1/devices/{serial}/give-up" Approver give_up::give_up, "reason", "Gives up its open attempt, which nothing else ends: its wave and project can be closed then. Nothing is asked of Apple or of the device, and keys and codes stay. 409, with what ends it otherwise, or where the device was heard of within a day. Where two persons are demanded always, `approval` says what another must confirm.";
    post "/api/v1/devices/{serial}/clear-passcode" Helpdesk invitations::clear_passcode, "", "Takes the passcode of an iPhone or iPad away, with the unlock token that it gave.";
    post "/api/v1/devices/tags" Planner library::devices, "serials, add?, take?", "Tags devices: they get what the library has for their tags, and lose what it no longer has.";
    get  "/api/v1/tags" Viewer tags::list, "", "Tags of devices and groups of their owners, each with how many devices have it; a page at a time (`after`, `limit`); or the tag of a `name`.";
    post "/api/v1/tags" Planner tags::set, "tag, serials?, group?", "Gives a tag to exactly these devices, and those whose owners are in the group now, and takes it from all others. Answers `added`, `taken`, and `unknown` serial numbers.";
    get  "/api/v1/library" Viewer library::list, "", "Profiles and packages with their tags and revisions, a page at a time (`after`, `limit`); or the one of a `name`.";
    post "/api/v1/library/profiles" Admin library::profile, "name, profile (.mobileconfig, or base64 of it), tags?, groups? (of owners)", "Puts a configuration profile into the library, or a new revision of it; signed here unless it is signed.";
    post "/api/v1/library/packages" Admin library::package, "name, package (bundle_identifier, title, bundle_version?, url, size, part_size, sha256s, managed?), tags?, groups? (of owners)", "Puts a package for Macs into the library, or a new revision of it.";
    post "/api/v1/library/packages/upload" Admin packages::upload, "the bytes of the package; in the query `name`, `bundle_identifier`, `title?`, `bundle_version?`, `managed?`, `tags?` (with commas), `groups?` (a JSON list)", "The same with a file that is kept and served here, for the Macs that are told to fetch it.";
    post "/api/v1/library/tags" Admin library::tag, "name, tags, groups?", "Gives an item other tags and groups of owners.";
    post "/api/v1/library/remove" Admin library::remove, "name", "Takes an item out of use; devices that have it lose it.";
    get  "/api/v1/declarations" Viewer declarations::list, "", "Declarations in use, a page at a time.";
    post "/api/v1/declarations" Admin declarations::put, "identifier, type, payload?, file? (base64), content_type?, activate?, predicate?", "Puts a declaration, or another content of the one of this identifier. Of an asset or a legacy profile the file is kept here and served to devices that have it; `activate` puts an activation beside a configuration.";
    get  "/api/v1/declarations/{identifier}" Viewer declarations::show, "", "One declaration as a device gets it.";
    post "/api/v1/declarations/{identifier}/remove" Admin declarations::remove, "", "Takes a declaration out of use and out of every set.";
    get  "/api/v1/declaration-sets" Viewer declarations::sets, "", "Sets of declarations with their members, and for whom they are, a page at a time (`after`, `limit`); or the one of a `name`.";
    post "/api/v1/declaration-sets" Admin declarations::put_set, "name, members (identifiers)", "Puts a set, or gives it other members.";
    post "/api/v1/declaration-sets/remove" Admin declarations::remove_set, "name", "Takes a set out of use.";
    post "/api/v1/declaration-sets/assign" Admin declarations::assign, "name, everybody?, tags?, groups? (of owners), serials?, users?, on_users?", "Gives a set to devices, or with `users` or `on_users` to the channels of people.";
    post "/api/v1/declaration-sets/unassign" Admin declarations::unassign, "as assign", "Takes a set from them.";
    get  "/api/v1/devices/{serial}/declarations" Viewer declarations::of_device, "", "What each channel of a device should have, was given and says of it, with its status.";
    post "/api/v1/invitations" Admin invitations::invite, "serial, days?, unknown?", "Invites one device to enrol by download; one that nobody knows yet takes `unknown`. Shows the code, once.";
    get  "/api/v1/enrolment" Viewer invitations::demands, "", "The oldest systems that may enrol, what users meet who log in at Macs, how often devices are asked what they are, the network of enrolment profiles.";
    post "/api/v1/enrolment" Admin invitations::demand, "minimum_os?, user_logins? (unmanaged, open, digest), facts_hours?, unplanned_runbooks? (name or null, by platform), wifi? (empty: none), wifi_password? or wifi_password_base64?, wifi_hidden?", "Changes that. The network goes into every enrolment profile from then on.";
    post "/api/v1/network-users" Admin invitations::user, "name, password? or password_base64?", "A user who logs in at Macs; without a password it is removed.";
    get  "/api/v1/identities" Viewer identities::list, "", "The certificates that devices speak with, and what each is good for; a page at a time.";
    post "/api/v1/identities/{serial}/renew" Helpdesk identities::renew, "", "Has the identity of a device renewed: it gets a new enrolment profile, which voids nothing.";
    post "/api/v1/identities/{serial}/revoke" Approver identities::revoke, "reason", "Revokes the identity of a device: it is refused from its next message on.";
    get  "/api/v1/identities/issuer" Viewer identities::issuer, "", "Who issues, the authorities with their revocation lists, and what is set.";
    post "/api/v1/identities/issuer" Admin identities::set_issuer, "kind (built-in, scep, acme), url?, name?, challenge? or challenge_base64?, authority?, directory_url?, software_key?, attest?", "Says where devices get their identities from now on.";
    post "/api/v1/identities/settings" Admin identities::settings, "identity_days?, renew_before_days?, expired_identity_grace_days?, session_minutes?, identity_protocol? (by platform: scep, acme, acme-attested), retention_days?, owner_days?", "Changes what is set; a negative grace or retention is without end.";
    post "/api/v1/identities/authority" Admin identities::authority, "certificates?, key?", "Makes an authority, or brings one in: it issues from now on.";
    post "/api/v1/identities/authority/drop" Admin identities::drop_authority, "sha256", "Trusts an authority no longer.";
    post "/api/v1/identities/trusted" Admin identities::trust, "certificates", "Trusts authorities elsewhere.";
    post "/api/v1/identities/attestation" Admin identities::attestation, "certificates?, without_apple?", "Says whose attestations of devices are believed: Apple's, and these root certificates.";
    post "/api/v1/identities/registration" Admin identities::registration, "wanted", "Has a registration authority answer certificate requests, or the authority itself.";
    get  "/api/v1/refusals" Viewer identities::refusals, "", "What was refused at the devices' doors, newest first (`limit`), and whose certificate was shown.";
    get  "/api/v1/holds" Viewer holds::list, "", "Devices that wait for us in their set-up, oldest first, a page at a time (`since` and `after` as in `next`, `limit`).";
    get  "/api/v1/holds/{serial}" Viewer holds::look, "", "What it means to let one go now: steps that are open, and apps that go with their data, each with why (`not-asked-for`, `not-confirmed`, `given-up`, `dropped`, `undecided`). 409 for a device that is not held.";
    post "/api/v1/holds/{serial}/release" Helpdesk holds::release, "", "Lets one go now, whatever is missing: `asked`, `under_way`, or `late` without a set-up in a hold. `open` is what that means, as it was just before. 409 for a device that is not held.";
    get  "/api/v1/devices/{serial}/secrets" Viewer approvals::kept, "", "Which secrets of a device are kept, and since when; never what they are.";
    post "/api/v1/secrets/reveal" Helpdesk approvals::reveal, "serial, kind (recovery_key, device_bypass_code, server_bypass_code, recovery_lock_password, firmware_password; of the service that it left original_recovery_key, original_bypass_code, original_device_bypass_code, original_recovery_lock_password, original_firmware_password, original_other), reason, approval?", "Shows a secret of a device, once it is in the record that it was. A token must have the scope `secrets`. After ten a day `approval` says what another person must confirm first; it is then asked for again with that.";
    get  "/api/v1/devices/{serial}/lock" Viewer locks::show, "", "Its Activation Lock: as read at Apple, as the device says, and how far the proof of a clearing is (`asked`, `cleared-not-read`, `off`, `still-on`, `refused`).";
    post "/api/v1/secrets/clear-lock" Helpdesk locks::clear, "serial, reason", "Has the Activation Lock of a device lifted with the bypass codes that are kept, then read back. Counts as a look at a secret: more than ten a day, or the organisation's rule, take two persons.";
    post "/api/v1/devices/{serial}/rotate-filevault" Helpdesk locks::rotate, "reason", "Has a Mac make a new recovery key, with the one that is kept. A command for it that waits already is answered with `already`.";
    get  "/api/v1/filevault" Viewer locks::rules, "", "After how many minutes a recovery key that somebody has seen is changed.";
    post "/api/v1/filevault" Admin locks::rule, "rotate_revealed_minutes (or null)", "Changes that: at most a week; null leaves such a key as it is.";
    get  "/api/v1/templates" Admin templates::list, "", "Templates of the installation with where each is in force and what is otherwise there, a page at a time (`after`, `limit`); or the one of a `name` (local socket only).";
    post "/api/v1/templates" Admin templates::edit, "name, template (runbooks?, window?, calendar?, capacity?, gate?, stop?, prerequisites?, on?), revision?, reason?", "Makes a template, or the next edit of it (local socket only). Changes nothing where it is in force before it is pushed.";
    post "/api/v1/templates/push" Admin templates::push, "name, organisations", "Puts a template into organisations, pinned and locked; answers each with its `revision`, or `why` not (local socket only).";
    post "/api/v1/templates/remove" Admin templates::remove, "name, organisations?", "Takes a template from organisations, or where none is named out of use (local socket only).";
    get  "/api/v1/template" Viewer templates::own, "", "The template that is in force in this organisation, and what of its projects is otherwise.";
    get  "/api/v1/approvals" Viewer approvals::list, "", "What waits for a second person, or was confirmed and is not used yet; a page at a time.";
    post "/api/v1/approvals/{id}/confirm" Approver approvals::confirm, "", "Confirms what somebody else has asked for. An act is done now, as it was planned then; if anything of it has changed, nothing is done. Migrations are called back as far as they still can be, and no others: `left_out` names those that go no more, and why.";
    post "/api/v1/approvals/{id}/decline" Helpdesk approvals::decline, "", "Takes back what the caller has asked for. What somebody else has asked for is refused by approvers: 403 for others.";
    get  "/api/v1/two-persons" Viewer approvals::demanded, "", "Whether every reveal, every cancellation and every attempt that is given up takes two persons.";
    post "/api/v1/two-persons" Admin approvals::demand, "always", "Changes that. That it is no longer so takes two persons itself.";
    get  "/api/v1/audit" Viewer audit::list, "", "The record, oldest first, a page at a time (`after`, `limit`); with `newest=true` its end.";
    get  "/api/v1/events" Viewer events::follow, "", "The record as it grows, as a stream of events (`text/event-stream`). A `Last-Event-ID` goes on behind that entry; one that was committed late may come a second time.";
    post "/api/v1/audit/verification" Viewer audit::verify, "checkpoint?", "Looks through the chain over the record: what was changed, removed or reordered, and what is not sealed yet; with an earlier checkpoint also whether its end was cut off.";
    post "/api/v1/audit/checkpoints" Helpdesk audit::checkpoint, "", "Seals what has come, and answers the newest seal as it may leave the building.";
    get  "/api/v1/checklist" Viewer checklist::show, "", "What a migration needs, in order: done, missing, fix; everything that ends against the latest deadline; the doors looked at by their public names.";
    get  "/api/v1/projects" Viewer projects::list, "", "Whole moves, in the order in which they were made, a page at a time (`after`, `limit`).";
    post "/api/v1/projects" Planner projects::new, "name, destination?, originals?, window? (not_before, not_after), calendar? (zone, from, until, days, blackouts (first, last, why?)), capacity?, gap? (each_group, groups, tags), gate?, stop?, prerequisites?, runbooks?", "Makes one, switched off. The only server entry is its destination when none is named. What is kept free (`blackouts`) begins and ends with days (`2026-12-24`) or times (`2026-12-24T18:00`) where owners live.";
    get  "/api/v1/projects/{id}" Viewer projects::show, "", "One with how its waves stand.";
    post "/api/v1/projects/{id}" Planner projects::alter, "as above, without the name", "Changes it: the next revision. What was submitted keeps its own, and shows its drift. Gate and stop rule take an approver.";
    post "/api/v1/projects/{id}/switch" Approver projects::switch, "on", "Turns it on or off: off, nothing of it is submitted.";
    get  "/api/v1/projects/{id}/plan" Viewer projects::plan, "", "The whole plan as one document: project, waves, members, dates, what was done for them. Profiles of runbooks are named and left out.";
    post "/api/v1/plans" Planner projects::take_plan, "as `GET …/plan` answers", "Brings such a document in: makes the project, switched off, its waves and members; what is there already stays. Answers who was taken and who was not, and why.";
    post "/api/v1/projects/{id}/close" Approver projects::close, "", "Closes it, and its waves, once every device has come to an end.";
    post "/api/v1/projects/{id}/purge/plan" Admin projects::purge_plan, "other?", "What would be destroyed of the keys, codes and passwords that were imported for a closed project, and what stays because it is the only key of its device, with the digest. `other`: also what nobody can prove to be replaced, of what the original service called a secret without saying which.";
    post "/api/v1/projects/{id}/purge" Admin projects::purge, "reason, digest, other?", "Destroys exactly that. The record has who, why, and which.";
    get  "/api/v1/waves" Viewer waves::list, "", "Waves, a page at a time.";
    get  "/api/v1/waves/{id}" Viewer waves::show, "", "One wave with all its members, and its ETag.";
    get  "/api/v1/waves/{id}/members" Viewer waves::members, "", "Its members, a page at a time (`after`, `limit`).";
    post "/api/v1/waves" Planner waves::new, "project, name, preset? (pilot, early, main, rest), ade? (as `POST /api/v1/ade-profiles`), owner_texts? (language: subject, body)", "Makes a wave of a project, without members; with an ADE profile and texts for owners of its own, if it has any.";
    post "/api/v1/waves/{id}/ade-profile" Approver waves::set_ade, "options (as `POST /api/v1/ade-profiles`; null for the organisation's)", "Gives a wave an ADE profile of its own: defined at Apple and read back at once. What was accepted of the wave is void.";
    get  "/api/v1/waves/{id}/owner-texts" Viewer notices::wave_texts, "", "The texts for owners of a wave's devices by language; `own` says which are the wave's, the others are the organisation's and ours.";
    post "/api/v1/waves/{id}/owner-texts" Planner notices::set_wave_texts, "texts (language: subject, body; or null for the organisation's)", "Changes those of the wave.";
    get  "/api/v1/waves/{id}/later" Viewer waves::later, "", "Deadlines that should lie later, with the reason; null where nothing later is left. Taken with `act: extend` for a list.";
    get  "/api/v1/waves/{id}/standing" Viewer waves::standing, "", "How a wave stands: where its members are, how many had ended when and will have, its gate, its drift.";
    get  "/api/v1/waves/{id}/failures" Viewer waves::failures, "", "What goes wrong with a wave: banners about all of its members, counts by way, and devices with owner, evidence and next action; a page at a time.";
    post "/api/v1/waves/{id}/members" Planner waves::add, "serials? or candidates? (platform, tag, service, group, product, most), deadline?, available_from?, dry?", "Puts devices into a wave: all of them, or nobody. Who comes late is submitted the next time.";
    post "/api/v1/waves/{id}/members/remove" Planner waves::remove, "serials? or all?, reason?", "Takes devices out before anything of them is at Apple; with `all` a draft is closed.";
    post "/api/v1/waves/{id}/members/move" Planner waves::relocate, "to, serials", "Moves members that are not submitted to another wave.";
    post "/api/v1/waves/{id}/dates" Planner waves::dates, "serials? or all?, deadline, available_from?", "Gives members that are not submitted these dates.";
    post "/api/v1/waves/{id}/plan" Planner waves::plan, "first?, last?, buckets?, lead_hours?, dry?", "Spreads members that are not submitted over deadlines: in the office hours of their owners, never more at once than may be in a hold. `budget` says whether Apple lets the requests leave in time.";
    post "/api/v1/waves/{id}/prerequisites" Planner waves::meet, "name, evidence or not (why the word is taken back), serials? or all?", "Says that something was done for members at the original service, with what shows it; or takes that word back, with why. Answers of how many.";
    post "/api/v1/waves/{id}/clean-up" Planner waves::clean_up, "evidence or not (why the word is taken back), serials? or all?", "Says that the service that members left does not list them any more, with what shows it; or takes that word back, with why. Answers of how many.";
    post "/api/v1/waves/{id}/what-if" Planner waves::what_if, "", "Has the what-if run: everything that it finds, what has come and gone since the last one, the requests as they would be sent, the digest.";
    post "/api/v1/waves/{id}/acceptance" Approver waves::accept, "digest, waivers? (check, serials?, reason), reason?", "Accepts what a what-if found, by name; void when anything of it changes.";
    post "/api/v1/waves/{id}/submission" Approver waves::submit, "name (of the wave, typed), digest?, accepted_at?", "Submits what was accepted. With `digest` (of the what-if that was shown) and `accepted_at` (its `accepted.at`) only where nothing else was accepted since. Answers the numbers of the requests.";
    post "/api/v1/waves/{id}/gate" Approver waves::sign, "reason, despite?", "Signs that the waves after this one may go; how it stands is kept as evidence. With `despite` also where it does not stand as was wanted.";
    post "/api/v1/waves/{id}/pause" Planner waves::pause, "paused, reason", "Offers no more of its devices their migration, or goes on; where the stop rule has paused it an approver has it go on. Those that were offered it go on either way.";
    get  "/api/v1/waves/{id}/report" Viewer reports::wave, "", "The report of a wave: funnel, days, states, deadlines, marks, every member. As all reports: `format` (json, csv, html, text), of a CSV `table` for a small one; sent as it is read.";
    get  "/api/v1/waves/{id}/report/what-if" Viewer reports::what_if, "", "The what-if of a wave as a report: what holds for all, reasons, every finding that is no pass.";
    post "/api/v1/waves/{id}/evidence" Approver reports::evidence, "redact? (actors, owners, serials)", "The evidence pack of a wave: one signed archive that `mdmd audit verify` checks without the server.";
    get  "/api/v1/devices/{serial}/report" Viewer reports::device, "", "The single-object report of a device: facts with their ages, marks, steps, every transition with cause and evidence.";
    get  "/api/v1/reports/exceptions" Viewer reports::exceptions, "", "What did not come true, whose it is, what to do next; of one `wave` or of all.";
    get  "/api/v1/reports/holds" Viewer reports::holds, "", "How long holds took, step by step, and what ended them; of one `wave` or of all.";
    get  "/api/v1/reports/at-risk" Viewer reports::at_risk, "", "Members whose deadline is at most `days` (3) away and that have not begun: why, whose that is, and whom to reach; of one `wave` or of all.";
    get  "/api/v1/reports/unheard" Viewer reports::unheard, "", "Senders that were refused, members that should have come, devices without a word for `days` (7).";
    get  "/api/v1/reports/clean-up" Viewer reports::clean_up, "", "The clean-up list: devices that the services that they left may still list, who removes them, and which are removed; of one `wave` or of all.";
    get  "/api/v1/reports/requests" Viewer reports::requests, "", "The ledger of requests to Apple that change something; of one `wave` or of all.";
    get  "/api/v1/waves/{id}/notices" Viewer notices::list, "", "What owners are told before the migration of their devices, for a mail merge; a page at a time (`after`, `limit`), in each owner's language or in `language`.";
    get  "/api/v1/waves/{id}/calendar" Viewer notices::calendar, "", "The deadlines of a wave as a calendar (`text/calendar`, RFC 5545).";
    get  "/api/v1/owner-texts" Viewer notices::texts, "", "The texts for owners by language: the organisation's own, and ours for other languages.";
    post "/api/v1/owner-texts" Planner notices::set_texts, "texts (language: subject, body; or null for ours)", "Changes them.";
    get  "/api/v1/webhooks" Viewer webhooks::list, "", "Receivers of webhooks, or the one of a `name`: what they are told, since when they have taken nothing.";
    post "/api/v1/webhooks" Admin webhooks::new, "name, url, notices? (offered, overdue, started, holding, released, migrated, exception, called_off)", "Makes a receiver. Shows its secret, once.";
    post "/api/v1/webhooks/{name}" Admin webhooks::alter, "url?, notices?, on?", "Changes it, switches it off, or on again: then it is told what is still open.";
    post "/api/v1/webhooks/{name}/secret" Admin webhooks::rotate, "", "Gives it a new secret, shown once. The one before signs beside it for a day.";
    post "/api/v1/webhooks/{name}/test" Admin webhooks::test, "", "Sends it a message now, and says what came of it.";
    post "/api/v1/webhooks/{name}/remove" Admin webhooks::remove, "", "Removes it; what is open goes to nobody.";
    get  "/api/v1/webhooks/{name}/messages" Viewer webhooks::messages, "", "What it was told and is to be told, newest first, a page at a time (`before`, `limit`).";
    get  "/api/v1/server-tokens" Viewer apple::server_tokens, "", "Server entries of the assignment service: when their tokens end, how far their lists are read.";
    post "/api/v1/server-tokens" Admin apple::import_server_token, "file (base64 of the .p7m) or token, renews?, take_over?", "Brings in a server token. Apple is asked whose it is before it is kept, and of a new entry for the beginning of its list: where its devices look like those of another service it takes `take_over`.";
    post "/api/v1/server-tokens/{id}/remove" Admin apple::remove_server_token, "name (of the entry, typed)", "Gives up a server entry: its token is destroyed and its list read no more. 409 while an open project, wave or request needs it, or devices of its list are enrolled here. Nothing changes at Apple: a device that is erased is not let in here, and waits at its set-up until another service assigns its own profile.";
    get  "/api/v1/token-keys" Viewer apple::token_keys, "", "Key pairs for which Apple's portal encrypts server tokens: certificates only.";
    post "/api/v1/token-keys" Admin apple::new_token_key, "", "Makes a key pair; earlier ones stay, but for the oldest of more than twenty that no token was made for, or may have been, which is destroyed; 409 where there is none. Answers the certificate for the portal.";
    post "/api/v1/token-keys/remove" Admin apple::remove_token_key, "serial (of its certificate, as in the list)", "Destroys a key pair that no token was made for: one that comes in for its certificate opens here no more. 409 names the entry whose token was made for it, or, of the newest pair, may have been: of older ones a person decides.";
    get  "/api/v1/push-certificate" Viewer apple::push_certificate, "", "Topic and end of the push certificate, a warning before it ends, requests without an answer.";
    post "/api/v1/push-certificate/request" Admin apple::request_push_certificate, "name?, email?", "Makes a key, which stays sealed, and a certificate request for it.";
    post "/api/v1/push-certificate" Admin apple::import_push_certificate, "certificate, key?", "Brings in the push certificate; without a key one that was made for a request of ours. One for another topic is refused.";
    get  "/api/v1/business" Viewer apple::api_account, "", "The account of the organisation API.";
    post "/api/v1/business" Admin apple::import_api_account, "client_id, key_id, key", "Brings in an account of the organisation API. Apple is asked for a list before it is kept.";
    post "/api/v1/business/remove" Admin apple::remove_api_account, "client_id (of the account, typed)", "Takes the account away: its key is destroyed here; at Apple it stays until somebody revokes it there. 409 while a wave is submitted or a request to Apple is open. Another is put in its place by `POST /api/v1/business`.";
    get  "/api/v1/business/services" Viewer apple::services, "", "The organisation's services as Apple names them now, and which are ours.";
    get  "/api/v1/business/budget" Viewer apple::budget, "", "Apple's budget: used, left, when the next request may leave and when all that wait will have left; until when Apple wants silence (`paused_until`), and until when the reading of long lists lets acts go first (`lists_step_aside_until`).";
    post "/api/v1/business/budget/lift" Admin apple::lift_pauses, "", "Ends every pause that Apple has asked for. What is used of the budget stays used.";
    post "/api/v1/server-tokens/sync" Planner apple::sync, "", "Has the lists of our server entries read now.";
    get  "/api/v1/inventory" Viewer inventory::show, "", "How far the organisation's device list is read.";
    post "/api/v1/inventory/pull" Planner inventory::pull, "", "Begins a reading of every device of the organisation; it is done once `complete` is not before the `wanted` of this answer.";
    get  "/api/v1/inventory/views" Viewer inventory::views, "", "The three views of devices with their times, what contradicts, why there is no profile; a page at a time.";
    get  "/api/v1/inventory/views/{serial}" Viewer inventory::one, "", "The three views of one device.";
    get  "/api/v1/ade-profiles" Viewer assignments::profiles, "", "What ADE profiles say, and those that are defined at Apple and proved.";
    post "/api/v1/ade-profiles" Admin assignments::set, "profile_name?, department?, skip_setup_items?, …", "Changes what ADE profiles say. They always await configuration.";
    post "/api/v1/assignments" Planner assignments::assign, "serials", "Has the wanted profiles of devices assigned now.";
    post "/api/v1/originals" Planner what_if::import, "from, taken?, devices (serial, system?, last_seen?, enrolment?, shared?, return_to_service?, owner?, managed_user?, apps?, networks?, profiles?, user_lock?)", "Takes what the original service knew of devices, as of `taken`. Newer facts stay. Answers what changed, and each row that was not taken with its reason.";
    get  "/api/v1/originals/{serial}" Viewer what_if::original, "", "What the original service knew of one device: each fact with its moment and who told it.";
    get  "/api/v1/hand-off/jobs" Viewer hand_off::list, "", "Jobs for sealed hand-offs: until when, whose signature is believed, how far; a page at a time.";
    post "/api/v1/hand-off/jobs" Admin hand_off::new, "from, days? (7) or expires?, signer?", "Makes a job for one bundle: answers the certificate to seal it to. `signer` is the SHA-256 of the exporter's certificate, compared by whoever asks.";
    get  "/api/v1/hand-off/jobs/{id}" Viewer hand_off::show, "", "One job.";
    get  "/api/v1/hand-off/jobs/{id}/results" Viewer hand_off::results, "", "What became of each device of its bundle; a page at a time.";
    post "/api/v1/hand-off/jobs/{id}/signer" Admin hand_off::confirm, "sha256", "Says whose signature is believed: by a person who has compared it.";
    post "/api/v1/hand-off/jobs/{id}/bundle" Admin hand_off::import, "the bytes of the bundle", "Takes the bundle, once: facts for the what-if, secrets into the vault. Answers what became of each device. The same bundle sent again after a crash goes on. 409, and nothing is used up, where none of its devices is known here or the lists were never read; `despite_unknown=true` takes it without them.";
    post "/api/v1/hand-off/jobs/{id}/close" Admin hand_off::close, "", "Takes no bundle any more; its key is destroyed.";
    post "/api/v1/hand-off/signer" Admin hand_off::signer, "", "The certificate with which we sign what we hand over ourselves; made when it is first asked for.";
    get  "/api/v1/hand-off/agreements" Viewer hand_off::agreements, "", "What was agreed on with other installations.";
    post "/api/v1/hand-off/sources" Admin hand_off::agree, "name, signer, days? (30)", "At the destination: takes hand-offs that this signer has signed without a person each time; whoever asks has compared its SHA-256.";
    post "/api/v1/hand-off/sources/{id}/end" Admin hand_off::end_source, "", "Makes no job for that agreement any more.";
    post "/api/v1/hand-off/sources/{id}/jobs" Helpdesk hand_off::agreed_job, "", "A job of that agreement, for the other installation itself: its token needs the scope `hand-off` and is a helpdesk token.";
    post "/api/v1/hand-off/sources/{id}/bundles" Helpdesk hand_off::agreed_bundle, "job, bundle (base64)", "Takes the bundle of such a job.";
    post "/api/v1/hand-off/destination" Admin hand_off::destination, "url, source, token or token_base64, ca?", "At the original: asks that devices which move away are handed over to another installation. Another person confirms it (`/api/v1/approvals`).";
    post "/api/v1/hand-off/destination/end" Admin hand_off::end_destination, "", "Hands nothing over any more; the token is destroyed.";
    post "/api/v1/hand-off/exports" Admin hand_off::ask, "certificate, sha256, reason, job?, serials?", "Asks for an export of devices with their keys and codes, sealed to the certificate of a job. Another person confirms it (`/api/v1/approvals`).";
    post "/api/v1/hand-off/exports/{id}/bundle" Admin hand_off::export, "", "Makes an export that was confirmed, by the number of its approval, once.";
    get  "/api/v1/hand-off/schema" Viewer hand_off::schema, "", "The JSON schema of what is sealed into a bundle.";
    get  "/api/v1/apps" Viewer what_if::apps, "", "The apps that devices have from the original service, by their identifiers, a page at a time (`after`, `limit`).";
    get  "/api/v1/runbooks/standard" Viewer what_if::runbook, "", "The standard runbook of a `platform` (ios, ipados, macos) for a migration; with `apps` (keep-if-present, install, drop) each app that its devices have from the original service is in the table.";
    get  "/api/v1/runbooks" Viewer runbooks::list, "", "Runbooks that are kept under a name, with their edits and where each is in use (`drift`: another edit is in force since); a page at a time (`after`, `limit`).";
    get  "/api/v1/runbooks/{name}" Viewer runbooks::show, "", "One, and what an edit of it says: the one in force, or `?revision=2`. Contents of profiles are sealed.";
    post "/api/v1/runbooks/{name}/remove" Planner runbooks::remove, "", "Takes one out of use that no open project or wave, no enrolment that nobody planned and no template goes by (409 names which): its name is free. Attempts keep what was pinned for them.";
    post "/api/v1/runbooks" Planner runbooks::edit, "name, platform, runbook, revision? (the edit that it was made from), reason?, dry?", "Keeps a runbook under a name, or the next edit of it. What is wrong is named by step and field. A profile without content is taken from the library.";
    post "/api/v1/checks" Helpdesk what_if::check, "serials, deadline?, available_from?, destination?, runbooks?, detail? (counts, problems, everything), keep?, list?", "The what-if of a plan: every check with its fact, source and age; reasons by devices; apps that would be lost; what has come and gone since the last look at these devices, or at this list, that was kept. Nothing is sent.";
    get  "/api/v1/checks/rules" Viewer what_if::rules, "", "What an unknown counts as, check by check, and how many hours people have until a deadline.";
    post "/api/v1/checks/rules" Admin what_if::set_rules, "unknown? (check: warn, block, or null for the default), notice_hours?", "Changes that.";
    get  "/api/v1/waves/{id}/checks" Viewer what_if::wave, "", "The what-if of a wave; `detail` as above.";
    post "/api/v1/migrations/plan" Planner migrations::plan, "act (assign, extend, force, cancel, return), serials or wave (extend, cancel), deadline?, available_from?, destination?, runbooks?, to? (return), reason?", "The exact requests, one sentence of consequence, findings, what of them has come and gone since the last look at these devices (assign), and the digest. Nothing is sent.";
    post "/api/v1/migrations" Approver migrations::act, "as the plan, and its digest", "Does what was planned. Answers the numbers of the requests.";
    get  "/api/v1/migrations/proof" Viewer migrations::proof, "", "How far the proof of requests (`?errands=1,2`) is, by re-reading.";
    post "/api/v1/migrations/status" Viewer migrations::status, "serials?", "Where migrations stand: of these devices, or all open ones; and of which there is none (`without`).";
    get  "/api/v1/requests" Viewer migrations::requests, "", "Requests that change something at Apple: state, devices, sendings, results; a page at a time.";
    get  "/api/v1/licences" Viewer licences::list, "", "Locations of Apps and Books with their stock.";
    post "/api/v1/licences/tokens" Admin licences::import, "token, take_over?", "Brings in a content token and claims its location.";
    post "/api/v1/licences/{id}/refresh" Planner licences::refresh, "", "Reads the stock of a location at Apple now.";
    post "/api/v1/licences/{id}/remove" Admin licences::remove, "name (of the location, typed)", "Gives up a location: its token is destroyed here, and nothing is read, given or taken back there. Licences stay at Apple with their devices, and the location stays claimed for this server until another service takes it over. 409 while an open request, project or wave needs it; its token brings it back.";
    post "/api/v1/licences/plan" Planner licences::plan, "location, apps, serials, take_back?", "What giving or taking back licences would send. Nothing is sent.";
    post "/api/v1/licences" Approver licences::act, "as the plan, and its digest", "Gives or takes back licences as planned.";
    get  "/api/v1/waves/{id}/licences" Viewer licences::need, "", "What the devices of a wave need, have and lack, by app.";
}

type Describe = fn(&mut Operation<'_>);

fn describe<A>(handler: impl Described<A>, operation: &mut Operation<'_>) {
    handler.describe(operation);
}

async fn list() -> openapi::Table {
    super::Shown(ROUTES)
}

/// The part of the API in which there are secrets of devices: a token must name it.
pub(super) const SECRETS: &str = "secrets";

/// The first word of a path: what scopes of tokens name.
fn part(path: &'static str) -> &'static str {
    let rest = path.strip_prefix("/api/v1").unwrap_or(path);
    rest.trim_start_matches('/').split('/').next().unwrap_or("")
}

/// Every part that a scope may name.
pub(super) fn parts() -> std::collections::BTreeSet<&'static str> {
    let all = ROUTES.iter().map(|route| part(route.path));
    all.filter(|part| !part.is_empty()).collect()
}

/// Refuses whoever has a smaller role, before anything of the request is read, and then keys of the query that the route does not
/// know.
fn guarded(
    route: MethodRouter<Office>,
    role: Role,
    (method, path): (&'static str, &'static str),
) -> MethodRouter<Office> {
    let part = part(path);
    route.route_layer(from_fn(move |request: Request, next: Next| async move {
        let why = match request.extensions().get::<Caller>() {
            Some(caller) if caller.role >= role && caller.scope.lets(part) => {
                // Which organisation may be said everywhere.
                let known = |key: &str| key == "organisation" || openapi::reads(method, path, key);
                return match super::asked::only(request.uri(), known) {
                    Ok(()) => next.run(request).await,
                    Err(refusal) => refusal.into_response(),
                };
            }
            Some(caller) if caller.role >= role => {
                "this takes a scope that the token does not have"
            }
            // No caller at all cannot happen: both doors put one there.
            _ => match role {
                Role::Viewer => "this takes the role of a viewer, which the token has not",
                Role::Helpdesk => {
                    "this takes the role of a helpdesk or a greater one, which the token has not"
                }
                Role::Planner => {
                    "this takes the role of a planner or a greater one, which the token has not"
                }
                Role::Approver => {
                    "this takes the role of an approver or a greater one, which the token has not"
                }
                Role::Admin => "this takes the role of an admin, which the token has not",
            },
        };
        Refusal::new(Door::Api, Error::Refused(why)).into_response()
    }))
}

/// The page of documentation, as `docs/api.md` has it.
#[cfg(test)]
pub(crate) fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(include_str!("routes.md"));
    page.push_str("\n| method | path | role | body | what it does |\n|---|---|---|---|---|\n");
    for route in ROUTES {
        let role = format!("{:?}", route.role).to_lowercase();
        let _ = writeln!(
            page,
            "| {} | `{}` | {role} | {} | {} |",
            route.method.to_uppercase(),
            route.path,
            route.body,
            route.about
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `WRITE_DOCS=1 cargo test -p mdmd routes` writes the page anew.
    #[test]
    fn the_page_of_documentation_has_every_route() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(file, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), page());
    }

    #[test]
    fn what_changes_something_takes_more_than_looking() {
        for route in ROUTES {
            assert!(
                route.method == "get"
                    || ["/status", "/verification"]
                        .iter()
                        .any(|end| route.path.ends_with(end))
                    || route.role > Role::Viewer,
                "{} {}",
                route.method,
                route.path
            );
        }
    }
}
