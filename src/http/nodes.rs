//! GET /nodes, and the form of a node that /leader shares.

use axum_core::response::Response;
use futures::future::join_all;
use hyper::StatusCode;
use tokio::time::Instant;

use super::execute::positive;
use super::json::Json;
use super::response;
use super::routes::Call;
use crate::cluster::client::Error;
use crate::store::members::Member;
use crate::version::RQLITE_VERSION;
use crate::{go, peer};

/// A member, and what asking it gave.
pub struct Node {
    member: Member,
    /// How long its answer took, or why there is none.
    asked: Result<std::time::Duration, String>,
    api_url: String,
    version: String,
}

impl Node {
    /// Asks a member what it is.
    pub async fn ask(call: &Call, member: Member) -> Self {
        let began = Instant::now();
        let is_self = member.id == call.api.config.node_id;
        let timeout = positive(call.params.timeout).unwrap_or_default();
        let asked = match (call.api.cluster.get(), call.api.store.get()) {
            _ if is_self => {
                call.api.metrics.cluster.num_get_node_api_req_local.increment();
                Ok(())
            }
            (Some(client), Some(_)) => match client.describe(&member.node.raft_addr, timeout).await {
                Ok(_) => Ok(()),
                Err(Error::Peer(peer::Error::Timeout)) => Err("timeout waiting for node to respond".to_string()),
                Err(error) => Err(error.to_string()),
            },
            _ => Err("store not open".to_string()),
        };
        let asked = asked.map(|()| began.elapsed().max(std::time::Duration::from_nanos(1)));
        // What it said when it was connected to.
        let hello = call.api.store.get().and_then(|store| store.peers().1.get(&member.id));
        let version = match (is_self, hello) {
            (true, _) => RQLITE_VERSION.to_string(),
            (false, Some(hello)) => hello.version,
            (false, None) => String::new(),
        };
        let url = call.api.store.get().filter(|_| !is_self).and_then(|store| store.api_url(&member.id));
        let api_url = url.unwrap_or_else(|| format!("http://{}", member.node.http_addr));
        Self { member, asked, api_url, version }
    }

    /// Source: server.md §3.2; rqlite `http/nodes.go` `Node`.
    pub fn write(&self, json: &mut Json) {
        let Node { member, asked, api_url, version } = self;
        json.open(b'{');
        let is_reachable = asked.is_ok();
        let version = if is_reachable { version.as_str() } else { "" };
        for (key, text, is_shown) in [
            ("id", member.id.as_str(), true),
            ("api_addr", api_url, is_reachable),
            ("addr", &member.node.raft_addr, true),
            ("version", version, true),
        ] {
            if is_shown {
                json.key(key);
                json.string(text.as_bytes());
            }
        }
        let is_leader = member.is_leader && is_reachable;
        for (key, is) in [("voter", member.is_voter), ("reachable", is_reachable), ("leader", is_leader)] {
            json.key(key);
            json.literal(if is { "true" } else { "false" });
        }
        match asked {
            Ok(elapsed) => {
                json.key("time");
                json.real(elapsed.as_secs_f64());
                json.key("time_s");
                json.string(go::Duration::from_std(*elapsed).to_string().as_bytes());
            }
            Err(why) => {
                json.key("error");
                json.string(why.as_bytes());
            }
        }
        json.close(b'}');
    }
}

pub async fn handle(call: Call) -> Response {
    let Ok(store) = call.store() else {
        return response::plain(StatusCode::SERVICE_UNAVAILABLE, "store nodes: store not open");
    };
    let members = store.members().into_iter().filter(|member| member.is_voter || call.params.nonvoters);
    let nodes = join_all(members.map(|member| Node::ask(&call, member))).await;
    let mut json = Json::new(call.params.pretty);
    json.open(b'{');
    if call.params.ver.as_deref() == Some("2") {
        json.key("nodes");
        json.open(b'[');
        for node in &nodes {
            json.item();
            node.write(&mut json);
        }
        json.close(b']');
    } else {
        for node in &nodes {
            json.key(&node.member.id);
            node.write(&mut json);
        }
    }
    json.close(b'}');
    response::ok(response::JSON, json.take())
}
