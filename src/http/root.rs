//! GET /: on to the console.

use axum_core::response::Response;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, StatusCode};

use super::response;
use super::routes::Call;

/// Source: Go `net/http` `Redirect`.
pub async fn handle(call: Call) -> Response {
    let mut response = match call.method {
        Method::GET => response::ok("text/html; charset=utf-8", "<a href=\"/console/\">Found</a>.\n\n"),
        Method::HEAD => response::ok("text/html; charset=utf-8", ""),
        _ => response::bare(StatusCode::FOUND),
    };
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console/"));
    response
}
