//! DELETE /remove: takes a node out of the cluster.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;

use super::error::{Endpoint, Failure};
use super::results::served_by;
use super::routes::Call;
use super::{receive, response};

pub async fn handle(call: Call, body: Body) -> Response {
    match remove(&call, body).await {
        Ok(response) => response,
        Err(failure) => call.fail(Endpoint::Remove, &failure),
    }
}

/// Source: server.md §2.6.
async fn remove(call: &Call, body: Body) -> Result<Response, Failure> {
    let (bytes, _held) = receive::collect(call, body).await?;
    let fields: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
    let (Some(id), 1) = (fields.get("id"), fields.len()) else {
        return Ok(response::bare(StatusCode::BAD_REQUEST));
    };
    let store = call.store()?;
    if !store.is_leader() {
        return Err(Failure::LeaderNotFound);
    }
    // A node that isn't there is removed already; so far that is any but this one, and a cluster needs a voter.
    if id == store.id() {
        return Err(Failure::Internal("need at least one voter in configuration: {[]}".into()));
    }
    let mut response = response::bare(StatusCode::OK);
    served_by(call, &mut response);
    Ok(response)
}
