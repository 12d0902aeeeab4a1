//! GET /licenses: what this program is made of, and under which terms.

use axum_core::response::Response;

use super::response;
use super::routes::Call;

pub async fn handle(_: Call) -> Response {
    response::ok(response::TEXT, include_str!("licenses.txt"))
}
