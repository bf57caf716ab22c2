//! What programs may rely on: a request with a key is done once, whoever answers it and whatever breaks down meanwhile; what
//! has changed is not overwritten by whoever has not seen it; receivers of webhooks are told everything, in order, and signed.

mod allowed;
mod hooks;
#[path = "../doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;
mod requests;

use house::{House, NOW_MS};
use mdm_core::clock::Timestamp;
use mdm_core::ids::{ProjectId, ServerId};
use mdm_core::project::Project;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use serde_json::Value;
use tests::{Reply, Request};

/// Where [`project`] is.
const PROJECT: &str = "/api/v1/projects/77";

async fn ask(
    house: &House,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&'static str, &str)],
) -> Reply {
    let mut request = Request::new(method, path).by(&house.token);
    for (name, value) in headers {
        request.headers.push((*name, (*value).to_owned()));
    }
    if method == "POST" {
        request = request.with(body.to_string());
    }
    request.send(house.app.address(Duty::Admin).unwrap()).await
}

/// A project of which nothing is said.
async fn project(house: &House) {
    let at = Timestamp::from_millis(NOW_MS);
    let mut batch = Batch::new();
    let id = house.org.organisation().id;
    batch.put(Project::new(id, ProjectId(77), "A move", ServerId(1), at));
    house.app.mdm.store().commit(batch).await.unwrap();
}
