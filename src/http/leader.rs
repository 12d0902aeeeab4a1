//! GET /leader: who leads. POST /leader: the leader hands over its office.

use axum::body::Body;
use axum::response::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::error::{Endpoint, Failure};
use super::json::Json;
use super::nodes::Node;
use super::routes::Call;
use super::{receive, response};

#[derive(Default, Deserialize)]
struct Stepdown {
    #[serde(default)]
    id: Option<String>,
}

pub async fn handle(call: Call, body: Body) -> Response {
    let answered = match call.method {
        Method::POST => step_down(&call, body).await,
        _ => show(&call),
    };
    answered.unwrap_or_else(|failure| call.fail(Endpoint::Leader, &failure))
}

fn show(call: &Call) -> Result<Response, Failure> {
    let leader = call.api.store.get().and_then(|store| store.leader()).ok_or(Failure::LeaderNotFound)?;
    let mut json = Json::new(call.params.pretty);
    Node::ask(leader).write(&mut json);
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
    let Stepdown { id } = match is_json && !is_empty {
        true => {
            let (bytes, _held) = receive::collect(call, body).await?;
            serde_json::from_slice(&bytes).map_err(|error| Failure::InvalidJson(error.to_string()))?
        }
        false => Stepdown::default(),
    };
    let members = store.members();
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        let member = members.iter().find(|member| member.id == id);
        let member = member.ok_or_else(|| Failure::Internal("stepdown: node not found in cluster".into()))?;
        if member.is_leader {
            return Err(Failure::Internal("stepdown: cannot step down to the current Leader".into()));
        }
    }
    if !members.iter().any(|member| member.is_leader) {
        return Err(Failure::LeaderNotFound);
    }
    if call.params.wait {
        // So far no cluster has a second node.
        return Err(Failure::Internal("stepdown: cannot find peer".into()));
    }
    Ok(response::bare(StatusCode::OK))
}
