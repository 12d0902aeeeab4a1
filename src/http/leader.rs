//! GET /leader: who leads. POST /leader: the leader hands over its office.

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::json::Json;
use super::nodes::Node;
use super::routes::Call;
use super::{proxy, receive, response};
use crate::world::spawn;

#[derive(Default, Deserialize)]
struct Stepdown {
    #[serde(default)]
    id: Option<String>,
}

pub async fn handle(call: Call, body: Body) -> Response {
    let answered = match call.method {
        Method::POST => step_down(&call, body).await,
        _ => show(&call).await,
    };
    answered.unwrap_or_else(|failure| call.fail(Endpoint::Leader, &failure))
}

async fn show(call: &Call) -> Result<Response, Failure> {
    let leader = call.api.store.get().and_then(|store| store.leader()).ok_or(Failure::LeaderNotFound)?;
    let mut json = Json::new(call.params.pretty);
    Node::ask(call, leader).await.write(&mut json);
    Ok(response::ok(response::JSON, json.take()))
}

/// Source: server.md §2.6.
async fn step_down(call: &Call, body: Body) -> Result<Response, Failure> {
    let Ok(store) = call.store() else {
        return Ok(response::plain(StatusCode::SERVICE_UNAVAILABLE, "stepdown: store not open"));
    };
    // Quirk: any other body is passed over.
    let is_json = call.headers.get(CONTENT_TYPE).is_some_and(|content_type| content_type == "application/json");
    let is_empty = call.headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
    let mut bytes = Bytes::new();
    let Stepdown { id } = match is_json && !is_empty {
        true => {
            let (received, _held) = receive::collect(call, body).await?;
            bytes = received;
            serde_json::from_slice(&bytes).map_err(|error| Failure::InvalidJson(error.to_string()))?
        }
        false => Stepdown::default(),
    };
    let id = id.filter(|id| !id.is_empty());
    let members = store.members();
    if let Some(id) = &id {
        let member = members.iter().find(|member| member.id == *id);
        let member = member.ok_or_else(|| Failure::Internal("stepdown: node not found in cluster".into()))?;
        if member.is_leader {
            return Err(Failure::Internal("stepdown: cannot step down to the current Leader".into()));
        }
    }
    if !members.iter().any(|member| member.is_leader) {
        return Err(Failure::LeaderNotFound);
    }
    let timeout = positive(call.params.timeout).unwrap_or_default();
    if !call.params.wait {
        // Quirk: nobody waits for it, and a node that doesn't lead does nothing.
        let store = store.clone();
        spawn(async move {
            if let Err(error) = store.step_down(id.as_deref(), timeout).await {
                tracing::warn!("stepdown: {error}");
            }
        });
        return Ok(response::bare(StatusCode::OK));
    }
    if let Some(response) = proxy::whole(call, Endpoint::Leader, bytes).await {
        return Ok(response);
    }
    match store.step_down(id.as_deref(), timeout).await {
        Ok(()) => Ok(response::bare(StatusCode::OK)),
        Err(error) => Err(Failure::Internal(format!("stepdown: {error}"))),
    }
}
