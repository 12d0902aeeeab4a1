//! POST /db/load.

use axum_core::body::Body;
use axum_core::response::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::proxy::{self, Sent};
use super::render::{Render, Trailer};
use super::response;
use super::results::served_by;
use super::routes::Call;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    let length = call.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = match proxy::elsewhere(&call, Endpoint::LoadFile, Sent::Stream(body)).await {
        Ok(body) => proxy::stream(body).into_data_stream(),
        Err(response) => return response,
    };
    let loaded = match call.store() {
        Ok(store) => store.load(body, length).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let executed = match loaded {
        Ok(executed) => {
            call.api.metrics.store.num_loads.increment();
            executed.unwrap_or_default()
        }
        // Only text can hold a pragma.
        Err(failure @ Failure::DisallowedPragma) => return as_text(call.fail(Endpoint::LoadText, &failure)),
        Err(failure) => return call.fail(Endpoint::LoadFile, &failure),
    };
    let mut render = Render::new(call.options());
    for result in &executed.results {
        render.result(result);
    }
    let trailer = Trailer { error: executed.error.as_deref(), elapsed: began.elapsed(), ..Trailer::default() };
    let mut response = as_text(response::finished(render.finish(trailer)));
    served_by(&call, &mut response);
    response
}

/// Quirk: the reference leaves the type of its JSON to be guessed from the body.
fn as_text(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response::TEXT));
    response
}
