//! DELETE /remove: takes a node out of the cluster.

use std::collections::BTreeMap;

use axum_core::body::Body;
use axum_core::response::Response;
use hyper::StatusCode;

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::results::served_by;
use super::routes::Call;
use super::{proxy, receive, response};
use crate::store::members;

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
    let id = id.clone();
    if let Some(response) = proxy::whole(call, Endpoint::Remove, bytes).await {
        return Ok(response);
    }
    let timeout = positive(call.params.timeout).unwrap_or_default();
    call.store()?.remove(&id, timeout).await.map_err(|error| match error {
        members::Error::NotLeader => Failure::LeaderNotFound,
        error => Failure::Internal(error.to_string()),
    })?;
    let mut response = response::bare(StatusCode::OK);
    served_by(call, &mut response);
    Ok(response)
}
