//! GET /nodes, and the form of a node that /leader shares.

use axum::response::Response;
use hyper::StatusCode;
use tokio::time::Instant;

use super::json::Json;
use super::response;
use super::routes::Call;
use crate::go;
use crate::store::members::Member;
use crate::version::RQLITE_VERSION;

/// A member, and what asking it gave.
pub struct Node {
    member: Member,
    /// How long its answer took.
    elapsed: std::time::Duration,
}

impl Node {
    /// Asks a member what it is. The only one there is so far is this node, which answers at once.
    pub fn ask(member: Member) -> Self {
        let began = Instant::now();
        Self { member, elapsed: began.elapsed().max(std::time::Duration::from_nanos(1)) }
    }

    /// Source: server.md §3.2; rqlite `http/nodes.go` `Node`.
    pub fn write(&self, json: &mut Json) {
        let Node { member, elapsed } = self;
        json.open(b'{');
        for (key, text) in [
            ("id", member.id.as_str()),
            ("api_addr", &format!("http://{}", member.node.http_addr)),
            ("addr", &member.node.raft_addr),
            ("version", RQLITE_VERSION),
        ] {
            json.key(key);
            json.string(text.as_bytes());
        }
        for (key, is) in [("voter", member.is_voter), ("reachable", true), ("leader", member.is_leader)] {
            json.key(key);
            json.literal(if is { "true" } else { "false" });
        }
        json.key("time");
        json.real(elapsed.as_secs_f64());
        json.key("time_s");
        json.string(go::Duration::from_std(*elapsed).to_string().as_bytes());
        json.close(b'}');
    }
}

pub async fn handle(call: Call) -> Response {
    let Ok(store) = call.store() else {
        return response::plain(StatusCode::SERVICE_UNAVAILABLE, "store nodes: store not open");
    };
    let members = store.members().into_iter().filter(|member| member.is_voter || call.params.nonvoters);
    let nodes: Vec<Node> = members.map(Node::ask).collect();
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
