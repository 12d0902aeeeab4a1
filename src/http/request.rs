//! POST /db/request: reads and writes in one request.

use axum::body::Body;
use axum::response::Response;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::memory::Held;
use super::query::{LINEARIZABLE_TIMEOUT, query};
use super::results::Source;
use super::routes::Call;
use super::{receive, results};
use crate::store::request::Requested;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    match request(&call, body).await {
        Ok((Requested::Reads(reading, index), held)) => {
            results::answer(&call, Source::Reading(reading, held), began, index).await
        }
        Ok((Requested::Logged(executed, index), held)) => results::executed(&call, executed, index, held, began).await,
        Err(failure) => call.fail(Endpoint::Request, &failure),
    }
}

async fn request(call: &Call, body: Body) -> Result<(Requested, Held), Failure> {
    let received = receive::json(call, body).await?;
    let requested = call.store()?.request(query(call, received.statements, LINEARIZABLE_TIMEOUT)).await?;
    Ok((requested, received.held))
}
