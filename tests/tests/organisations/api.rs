//! The routes of the API: a token of one organisation shows and changes nothing of the other.

use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{OrganisationId, Serial};
use mdm_core::original::Said;
use mdmd::config::Duty;
use serde_json::Value;
use tests::Request;

use super::bodies::body;
use super::house::NOW_MS;
use super::{
    THEIR_DECLARATION, THEIR_HOOK, THEIR_RUNBOOK, THEIR_WAVE, THEIRS, ask, command_of, marks,
    tells_nothing, two,
};

/// Whether a route may queue a job for the organisation of its own token.
fn queues(method: &str, path: &str) -> bool {
    let paths = [
        "/api/v1/inventory/pull",
        "/api/v1/migrations/plan",
        "/api/v1/migrations",
        "/api/v1/declarations",
    ];
    method == "post" && paths.contains(&path)
}

/// The contents without their second line, the number of jobs that wait.
fn but_jobs(contents: &str) -> Vec<&str> {
    let lines = contents.lines().enumerate();
    lines
        .filter(|(n, _)| *n != 1)
        .map(|(_, line)| line)
        .collect()
}

/// A path with ids that belong to the neighbour.
fn foreign(path: &str, code: &str, token: i64, command: &str) -> String {
    let id = match path {
        // They have no location: any number of theirs will do.
        "/api/v1/licences/{id}/refresh"
        | "/api/v1/licences/{id}/remove"
        | "/api/v1/sessions/{id}/revoke"
        | "/api/v1/approvals/{id}/confirm"
        | "/api/v1/approvals/{id}/decline"
        // Nor a partner, nor a token of Apple's.
        | "/api/v1/server-tokens/{id}/remove"
        | "/api/v1/partners/{id}/dismiss" => THEIR_WAVE,
        wave if wave.starts_with("/api/v1/waves/{id}") => THEIR_WAVE,
        // So has their job.
        job if job.starts_with("/api/v1/hand-off/jobs/{id}")
            || job.starts_with("/api/v1/hand-off/sources/{id}")
            || job.starts_with("/api/v1/hand-off/exports/{id}") =>
        {
            THEIR_WAVE
        }
        // The number of their project is that of their wave.
        project if project.starts_with("/api/v1/projects/{id}") => THEIR_WAVE,
        "/api/v1/api-tokens/{id}/revoke" => token,
        _ => 0,
    };
    let name = if path.starts_with("/api/v1/webhooks") {
        THEIR_HOOK
    } else {
        THEIR_RUNBOOK
    };
    let path = path
        .replace("{serial}", THEIRS[0])
        .replace("{uuid}", command)
        .replace("{identifier}", THEIR_DECLARATION)
        .replace("{name}", name)
        .replace("{code}", code)
        .replace("{id}", &id.to_string());
    assert!(
        !path.contains('{') && path.split('/').all(|part| part != "0"),
        "{path}: say here which id of a neighbour stands in it"
    );
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_organisation_shows_and_changes_nothing_of_the_other() {
    let (ours, theirs) = two().await;
    let _device = theirs.enrolled().await;
    let (id, code) = {
        let organisation = theirs.org.organisation();
        (organisation.id, organisation.code.to_string())
    };
    let their_command = command_of(&theirs).await;
    let mut told = Said::nothing(Serial::parse(THEIRS[0]).unwrap());
    told.system = Some("26.1".to_owned());
    let at = Timestamp::from_millis(NOW_MS);
    theirs
        .org
        .import_originals("Neighbours", at, vec![told])
        .await
        .unwrap();
    let seer = ours
        .org
        .new_api_token("seer", Role::Helpdesk, ["secrets".to_owned()].into(), None)
        .await
        .unwrap();
    let seer = seer.secret.expose_text().unwrap().to_owned();
    let their_token = theirs.app.mdm.store().tokens(id).await.unwrap()[0].id.0;
    let marks = marks(&theirs).await;
    let mut before = theirs.contents().await;
    let table = ask(&ours, "get", "/api/v1", &ours.token, "").await;
    let table: Vec<Value> = serde_json::from_slice(&table.body).unwrap();
    assert!(table.len() >= 15, "{table:#?}");
    let document = ask(&ours, "get", "/api/v1/openapi.json", &ours.token, "").await;
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    let pages = |method: &str, path: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array();
        let mut names = parameters.into_iter().flatten().map(|p| &p["name"]);
        let (after, limit) = (
            names.clone().any(|n| n == "after"),
            names.any(|n| n == "limit"),
        );
        after && limit
    };
    for route in &table {
        let (method, path) = (
            route["method"].as_str().unwrap(),
            route["path"].as_str().unwrap(),
        );
        // Has no end to wait for; the test of the stream looks at it from another organisation.
        if path == "/api/v1/events" {
            continue;
        }
        let body = body(method, path);
        let there = foreign(path, &code, their_token, &their_command);
        let names_theirs = there != path;
        for (case, asked) in [
            ("as it is", there.clone()),
            ("organisation named", format!("{there}?organisation={code}")),
            (
                "after their ids",
                format!("{there}?after={}&limit=1000", THEIR_WAVE - 1),
            ),
            ("from the first", format!("{there}?after=-1&limit=1000")),
        ] {
            let case = format!("{method} {path}, {case}");
            // Secrets take a token that names them.
            let token = match path.starts_with("/api/v1/secrets") {
                true => &seer,
                false => &ours.token,
            };
            let reply = ask(&ours, method, &asked, token, &body).await;
            let said = format!("{}\n{}", reply.head, reply.text());
            tells_nothing(&case, &said, &marks, &format!("{asked} {body}"));
            // The table of routes is everybody's; nobody makes organisations, or sees whose handshakes nobody knows and which
            // organisations were taken away, over the network.
            let own = [
                "/api/v1",
                "/api/v1/handshakes",
                "/api/v1/organisations/removed",
            ]
            .contains(&path)
                || (method, path) == ("post", "/api/v1/organisations");
            if asked.contains("after=") && !pages(method, path) {
                // There are no pages: nobody looks any further.
                assert_eq!(reply.status, 400, "{case}: {said}");
            } else if names_theirs
                || asked.contains("organisation=") && !own && path != "/api/v1/organisations"
            {
                assert_eq!(reply.status, 404, "{case}: {said}");
            } else {
                assert!(
                    reply.status < 500 || reply.status == 503 || reply.status == 502,
                    "{case}: {said}"
                );
            }
            let after = theirs.contents().await;
            if queues(method, path) {
                // How many jobs wait is counted over all organisations; one of our own may have come.
                assert_eq!(but_jobs(&after), but_jobs(&before), "{case} left something");
                before = after;
            } else {
                assert_eq!(after, before, "{case} left something");
            }
            // What is shown must be what the neighbour sees with the same question: the marks are there to be found.
            if method == "get" && names_theirs {
                let seen = ask(&theirs, method, &there, &theirs.token, "").await;
                // What leaves the building is in the record of whose it is.
                before = theirs.contents().await;
                // Their device is in no hold and has no attempt, and that is said by its name.
                let shown = match path {
                    "/api/v1/holds/{serial}" | "/api/v1/devices/{serial}/give-up" => 409,
                    _ => 200,
                };
                assert_eq!(seen.status, shown, "{case}: {}", seen.text());
                // What a wave without a runbook for apps needs names nothing, without members nobody is told anything, and its texts are ours.
                let named = marks.iter().any(|mark| seen.text().contains(mark));
                assert!(
                    named
                        || [
                            "/licences",
                            "/checks",
                            "/members",
                            "/notices",
                            "/owner-texts"
                        ]
                        .iter()
                        .any(|last| path.ends_with(last)),
                    "{case}"
                );
            }
        }
    }
    let all = theirs
        .app
        .mdm
        .organisations(OrganisationId(0), 10)
        .await
        .unwrap();
    assert_eq!(all.len(), 2, "a token made an organisation");
    let still = ask(&theirs, "get", "/api/v1/devices", &theirs.token, "").await;
    assert_eq!(still.status, 200);
    assert!(still.text().contains(THEIRS[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_by_its_name_is_ones_own_and_a_neighbours_tag_opens_nothing() {
    let (ours, theirs) = two().await;
    let before = theirs.contents().await;
    let named = |path: &str| format!("/api/v1/{path}");
    for (read, write, body) in [
        (
            named(&format!("webhooks?name={THEIR_HOOK}")),
            named(&format!("webhooks/{THEIR_HOOK}/remove")),
            "{}".to_owned(),
        ),
        (
            named("declaration-sets?name=neighbourly%20things"),
            named("declaration-sets/remove"),
            r#"{"name":"neighbourly things"}"#.to_owned(),
        ),
        (
            named(&format!("declarations/{THEIR_DECLARATION}")),
            named(&format!("declarations/{THEIR_DECLARATION}/remove")),
            "{}".to_owned(),
        ),
        (
            named(&format!("runbooks/{THEIR_RUNBOOK}")),
            named("runbooks"),
            body("post", "/api/v1/runbooks"),
        ),
    ] {
        let seen = ask(&theirs, "get", &read, &theirs.token, "").await;
        assert_eq!(seen.status, 200, "{read}: {}", seen.text());
        let mut lines = seen.head.lines().filter_map(|line| line.split_once(':'));
        let tag = lines.find(|(name, _)| name.eq_ignore_ascii_case("etag"));
        let tag = tag.unwrap().1.trim().to_owned();
        let reply = ask(&ours, "get", &read, &ours.token, "").await;
        assert_eq!(reply.status, 404, "{read}: {}", reply.text());
        let mut request = Request::new("POST", &write).by(&ours.token).with(body);
        request.headers.push(("If-Match", tag));
        let reply = request.send(ours.app.address(Duty::Admin).unwrap()).await;
        assert_eq!(reply.status, 412, "{write}: {}", reply.text());
        assert_eq!(theirs.contents().await, before, "{write} left something");
    }
}
