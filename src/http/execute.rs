//! POST /db/execute.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::render::{Render, Trailer};
use super::routes::{Call, SERVED_BY};
use super::{body, response};
use crate::command::{Execute, Statement};
use crate::go;

/// Bytes of a body that is parsed as a whole.
pub const BODY_MAX: usize = 256 << 20;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    if call.params.queue {
        return call.fail(Endpoint::Queue, &Failure::Internal("queued writes are not supported yet".into()));
    }
    let statements = match statements(&call, body).await {
        Ok(statements) => statements,
        Err(failure) => return call.fail(Endpoint::Execute, &failure),
    };
    let request = Execute { statements, transaction: call.params.transaction };
    let db_timeout = positive(call.params.db_timeout);
    let executed = match call.store() {
        Ok(store) => store.execute(request, db_timeout).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let (executed, index) = match executed {
        Ok(executed) => executed,
        Err(failure) => return call.fail(Endpoint::Execute, &failure),
    };
    let mut render = Render::new(call.options());
    for result in &executed.results {
        render.result(result);
    }
    let trailer = Trailer {
        error: executed.error.as_deref(),
        elapsed: began.elapsed(),
        raft_index: if call.params.raft_index { index } else { 0 },
        ..Trailer::default()
    };
    let mut response = response::finished(render.finish(trailer));
    if executed.error.is_none() {
        served_by(&call, &mut response);
    }
    response
}

/// The statements of a request's body: JSON, or SQL text if it says so.
pub async fn statements(call: &Call, body: Body) -> Result<Vec<Statement>, Failure> {
    let bytes = collect(body).await?;
    let content_type = call.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let statements = if body::is_text(content_type) { body::parse_text(&bytes) } else { body::parse_json(&bytes)? };
    Ok(statements)
}

/// The bound of a duration parameter: zero or less is none.
pub fn positive(duration: go::Duration) -> Option<Duration> {
    Some(duration.to_std()).filter(|duration| !duration.is_zero())
}

/// Names the node that answered.
pub fn served_by(call: &Call, response: &mut Response) {
    if let Ok(address) = HeaderValue::try_from(call.api.config.http_adv.as_str()) {
        response.headers_mut().insert(SERVED_BY, address);
    }
}

async fn collect(body: Body) -> Result<Bytes, Failure> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}
