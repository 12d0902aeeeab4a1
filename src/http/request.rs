//! POST /db/request: reads and writes in one request.

use axum_core::body::Body;
use axum_core::response::Response;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::memory::Held;
use super::params::Level;
use super::query::{LINEARIZABLE_TIMEOUT, is_stale, query};
use super::receive::Received;
use super::results::Source;
use super::routes::Call;
use super::{proxy, receive, results};
use crate::store::request::Requested;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    let received = match receive::json(&call, body).await {
        Ok(received) => received,
        Err(failure) => return call.fail(Endpoint::Request, &failure),
    };
    let (bytes, asked) = (received.bytes.clone(), read_locally(&call, received).await);
    let received = match asked {
        Ok((_, true)) if call.params.level == Level::None && is_stale(&call) => {
            return call.fail(Endpoint::Request, &Failure::StaleRead);
        }
        Ok((received, true)) => received,
        Ok((received, false)) => match proxy::whole(&call, Endpoint::Request, bytes).await {
            Some(response) => return response,
            None => received,
        },
        Err(failure) => return call.fail(Endpoint::Request, &failure),
    };
    match request(&call, received).await {
        Ok((Requested::Reads(reading, index), held)) => {
            results::answer(&call, Source::Reading(reading, held), began, index).await
        }
        Ok((Requested::Logged(executed, index), held)) => results::executed(&call, executed, index, held, began).await,
        Err(failure) => call.fail(Endpoint::Request, &failure),
    }
}

/// Whether any node may answer: it is reads alone, at a level that allows it.
async fn read_locally(call: &Call, received: Received) -> Result<(Received, bool), Failure> {
    if !matches!(call.params.level, Level::None | Level::Auto) {
        return Ok((received, false));
    }
    let Received { statements, bytes, held } = received;
    let (statements, reads_only) = call.store()?.reads_only(statements).await?;
    Ok((Received { statements, bytes, held }, reads_only))
}

async fn request(call: &Call, received: Received) -> Result<(Requested, Held), Failure> {
    call.api.metrics.http.request_stmts_rx.add(received.statements.len());
    let requested = call.store()?.request(query(call, received.statements, LINEARIZABLE_TIMEOUT)).await?;
    Ok((requested, received.held))
}
