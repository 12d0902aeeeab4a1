//! GET /readyz.

use axum_core::response::Response;
use hyper::StatusCode;

use super::execute::positive;
use super::response;
use super::routes::Call;
use crate::store::Store;

/// Source: server.md §3.3, `examples/readyz.txt`.
pub async fn handle(call: Call) -> Response {
    let mut lines = vec!["[+]node ok"];
    if call.params.noleader {
        return text(StatusCode::OK, &lines);
    }
    let store = call.api.store.get().filter(|store| store.leader().is_some());
    let Some(store) = store else {
        lines.push("[+]leader does not exist");
        return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
    };
    let described = match describe(&call, store).await {
        Ok(described) => described,
        Err(why) => {
            let line = format!("[+]leader not contactable: {why}");
            lines.push(&line);
            return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
        }
    };
    lines.push("[+]leader ok");
    if !store.is_ready() || store.is_recovering() {
        lines.push("[+]store not ready");
        return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    lines.push("[+]store ok");
    if call.params.sync {
        let timeout = positive(call.params.timeout).unwrap_or_default();
        if !store.catch_up(described, timeout).await {
            lines.push("[+]sync timeout");
            return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
        }
        lines.push("[+]sync ok");
    }
    if !store.can_read().await {
        lines.push("[+]db not ok: (the database can't be opened, [])");
        return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    lines.push("[+]db ok");
    text(StatusCode::OK, &lines)
}

/// The leader's commit index, as it says itself.
async fn describe(call: &Call, store: &Store) -> Result<u64, String> {
    let leader = store.leader().filter(|leader| leader.id != call.api.config.node_id);
    let (Some(leader), Some(client)) = (leader, call.api.cluster.get()) else {
        return Ok(store.commit_index());
    };
    let timeout = positive(call.params.timeout).unwrap_or_default();
    let described = client.describe(&leader.node.raft_addr, timeout).await;
    described.map(|description| description.commit_index).map_err(|error| error.to_string())
}

fn text(status: StatusCode, lines: &[&str]) -> Response {
    let mut response = response::ok(response::TEXT, lines.join("\n"));
    *response.status_mut() = status;
    response
}
