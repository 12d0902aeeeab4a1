//! Requests that only the leader can answer, asked of another node: forwarded, or the client is sent there.
//!
//! A request is sent once. Only a node that says that it doesn't lead, and so has done nothing, lets it be sent again
//! (hazard H14); and who gets a forwarded request never forwards it.
//!
//! Source: http-data.md §12.

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use hyper::Request;
use hyper::header::{CONTENT_LENGTH, HeaderValue};

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::routes::{Call, SERVED_BY};
use crate::cluster;
use crate::cluster::client::Error;
use crate::cluster::forward::NotLeader;
use crate::metrics::{self, Counter};
use crate::store::members::Member;

/// Nodes that a request is sent to, one after the other.
const TRIES: usize = 3;

/// The body of a request.
pub enum Sent {
    Whole(Bytes),
    /// It can be sent only once.
    Stream(Body),
}

/// The answer to a request for the leader, if that is another node; its body, if it is this one.
pub async fn elsewhere(call: &Call, endpoint: Endpoint, body: Sent) -> Result<Sent, Response> {
    let leader = match place(call) {
        Ok(None) => return Ok(body),
        Ok(Some(leader)) => leader,
        Err(failure) => return Err(call.fail(endpoint, &failure)),
    };
    if call.is_forwarded {
        let mut response = call.fail(endpoint, &Failure::NotLeader);
        response.extensions_mut().insert(NotLeader(leader.node.raft_addr));
        return Err(response);
    }
    let forwarded = forward(call, endpoint, leader.node.raft_addr, body).await;
    Err(forwarded.unwrap_or_else(|failure| call.fail(endpoint, &failure)))
}

/// `None`: here.
fn place(call: &Call) -> Result<Option<Member>, Failure> {
    let store = call.store()?;
    if store.is_leader() {
        return Ok(None);
    }
    let wants_redirect = call.params.redirect && !call.is_forwarded;
    let leader = match store.leader() {
        Some(leader) if leader.id == call.api.config.node_id => return Ok(None),
        Some(leader) => leader,
        None if wants_redirect => return Err(Failure::NowhereToRedirect),
        None => return Err(Failure::LeaderNotFound),
    };
    if wants_redirect {
        let url = store.api_url(&leader.id).ok_or(Failure::NowhereToRedirect)?;
        return Err(Failure::Redirected { location: format!("{url}{}", call.uri) });
    }
    Ok(Some(leader))
}

async fn forward(call: &Call, endpoint: Endpoint, address: String, body: Sent) -> Result<Response, Failure> {
    let client = call.api.cluster.get().ok_or(Failure::NotOpen)?;
    let (sent, failed) = counters(&call.api.metrics.proxy, endpoint);
    sent.into_iter().for_each(Counter::increment);
    let forwarded = try_forward(call, endpoint, client, address, body).await;
    if forwarded.is_err() {
        failed.into_iter().for_each(Counter::increment);
    }
    forwarded
}

/// Where forwarded requests are counted, and those that failed on the way.
fn counters(counters: &metrics::Proxy, endpoint: Endpoint) -> (Option<&Counter>, Option<&Counter>) {
    match endpoint {
        Endpoint::Execute => (Some(&counters.remote_executions), Some(&counters.remote_executions_failed)),
        Endpoint::Query => (Some(&counters.remote_queries), Some(&counters.remote_queries_failed)),
        Endpoint::Request => (Some(&counters.remote_requests), Some(&counters.remote_requests_failed)),
        Endpoint::Backup => (Some(&counters.remote_backups), None),
        Endpoint::LoadFile | Endpoint::LoadText => (Some(&counters.remote_loads), None),
        Endpoint::Remove => (Some(&counters.remote_remove_node), None),
        Endpoint::Leader => (Some(&counters.remote_stepdowns), None),
        Endpoint::Queue | Endpoint::Sql | Endpoint::Boot | Endpoint::Snapshot => (None, None),
    }
}

async fn try_forward(
    call: &Call,
    endpoint: Endpoint,
    client: &cluster::Client,
    mut address: String,
    mut body: Sent,
) -> Result<Response, Failure> {
    let reached = |what| {
        if matches!(endpoint, Endpoint::Execute | Endpoint::Request | Endpoint::LoadFile) {
            call.api.world.chaos.reached(what);
        }
    };
    let limit = positive(call.params.timeout).unwrap_or_default();
    for _ in 0..TRIES {
        let (sent, again) = match body {
            Sent::Whole(bytes) => (Body::from(bytes.clone()), Some(bytes)),
            Sent::Stream(body) => (body, None),
        };
        let mut request = Request::new(sent);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        *request.headers_mut() = call.headers.clone();
        match (client.forward(&address, request, limit).await, again) {
            (Ok(response), _) => return Ok(answered(response, &address)),
            (Err(Error::Moved(to)), Some(bytes)) if !to.is_empty() => {
                reached("writes: forwarded again");
                (address, body) = (to, Sent::Whole(bytes));
            }
            (Err(Error::Moved(_)), _) => return Err(Failure::LeaderNotFound),
            (Err(error), _) => {
                if !matches!(&error, Error::Peer(error) if error.is_unsent()) {
                    reached("writes: forwarded, then unknown");
                }
                return Err(Failure::Transport(error.to_string()));
            }
        }
    }
    Err(Failure::LeaderNotFound)
}

/// Quirk: who answered is named by its Raft address then.
fn answered(mut response: Response, leader: &str) -> Response {
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    if let (Some(_), Ok(address)) = (headers.get(SERVED_BY), HeaderValue::try_from(leader)) {
        headers.insert(SERVED_BY, address);
    }
    response
}

/// The same as [`elsewhere`] where the body doesn't matter any more.
pub async fn whole(call: &Call, endpoint: Endpoint, bytes: Bytes) -> Option<Response> {
    elsewhere(call, endpoint, Sent::Whole(bytes)).await.err()
}

/// What is left of a request that is answered here.
pub fn stream(sent: Sent) -> Body {
    match sent {
        Sent::Whole(bytes) => Body::from(bytes),
        Sent::Stream(body) => body,
    }
}
