//! POST /snapshot and /reap.

use axum_core::response::Response;
use hyper::StatusCode;

use super::error::{Endpoint, Failure};
use super::response;
use super::routes::Call;

pub async fn handle(call: Call) -> Response {
    let counters = &call.api.metrics.store;
    counters.num_user_snapshots.increment();
    match snapshot(&call).await {
        Ok(true) => response::bare(StatusCode::OK),
        Ok(false) => response::bare(StatusCode::NO_CONTENT),
        Err(failure) => {
            counters.num_user_snapshots_failed.increment();
            call.fail(Endpoint::Snapshot, &failure)
        }
    }
}

async fn snapshot(call: &Call) -> Result<bool, Failure> {
    let kept = call.params.trailing_logs.and_then(|kept| u64::try_from(kept).ok()).filter(|kept| *kept > 0);
    Ok(call.store()?.snapshot(kept).await?)
}

/// There is nothing to consolidate: the one snapshot is the main file.
pub async fn reap(call: Call) -> Response {
    match call.store() {
        Ok(_) => response::ok(response::JSON, "{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n"),
        Err(failure) => call.fail(Endpoint::Snapshot, &failure),
    }
}
