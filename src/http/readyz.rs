//! GET /readyz.

use axum::response::Response;
use hyper::StatusCode;

use super::response;
use super::routes::Call;

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
    lines.push("[+]leader ok");
    if !store.is_ready() {
        lines.push("[+]store not ready");
        return text(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    lines.push("[+]store ok");
    if call.params.sync {
        // Every entry that was committed when this node became ready is applied: it is in sync.
        lines.push("[+]sync ok");
    }
    lines.push("[+]db ok");
    text(StatusCode::OK, &lines)
}

fn text(status: StatusCode, lines: &[&str]) -> Response {
    let mut response = response::ok(response::TEXT, lines.join("\n"));
    *response.status_mut() = status;
    response
}
