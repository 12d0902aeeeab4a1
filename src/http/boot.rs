//! POST /boot.

use axum_core::body::Body;
use axum_core::response::Response;
use hyper::StatusCode;
use hyper::header::CONTENT_LENGTH;

use super::error::{Endpoint, Failure};
use super::response;
use super::routes::Call;

pub async fn handle(call: Call, body: Body) -> Response {
    let length = call.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let booted = match call.store() {
        Ok(store) => store.boot(body.into_data_stream(), length).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match booted {
        Ok(()) => {
            call.api.metrics.store.num_boots.increment();
            response::bare(StatusCode::OK)
        }
        Err(failure) => call.fail(Endpoint::Boot, &failure),
    }
}
