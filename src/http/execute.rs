//! POST /db/execute.

use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::Response;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::memory::Held;
use super::receive::Received;
use super::routes::Call;
use super::{proxy, receive, results};
use crate::command::Execute;
use crate::db::execute::Executed;
use crate::go;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    call.api.metrics.http.executions.increment();
    let received = match receive::text_or_json(&call, body).await {
        Ok(received) => received,
        Err(failure) => return call.fail(Endpoint::Execute, &failure),
    };
    if let Some(response) = proxy::whole(&call, Endpoint::Execute, received.bytes.clone()).await {
        return response;
    }
    match execute(&call, received).await {
        Ok((executed, index, held)) => results::executed(&call, executed, index, held, began).await,
        Err(failure) => call.fail(Endpoint::Execute, &failure),
    }
}

async fn execute(call: &Call, received: Received) -> Result<(Executed, u64, Held), Failure> {
    call.api.metrics.http.execute_stmts_rx.add(received.statements.len());
    let request = Execute { statements: received.statements, transaction: call.params.transaction };
    let (executed, index) = call.store()?.execute(request, positive(call.params.db_timeout)).await?;
    Ok((executed, index, received.held))
}

/// The bound of a duration parameter: zero or less is none.
pub fn positive(duration: go::Duration) -> Option<Duration> {
    Some(duration.to_std()).filter(|duration| !duration.is_zero())
}
