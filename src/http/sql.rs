//! GET and POST /db/sql: what becomes of SQL before it is logged.
//!
//! Nothing is rewritten here, so `rewritten` is the text as it came, and an error is what SQLite says of it now.

use axum_core::body::Body;
use axum_core::response::Response;
use hyper::Method;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::json::Json;
use super::query::of_url;
use super::routes::Call;
use super::{receive, response};
use crate::command::Statement;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    match analyze(&call, body).await {
        Ok((statements, errors)) => response::ok(response::JSON, print(&call, &statements, &errors, began)),
        Err(failure) => call.fail(Endpoint::Sql, &failure),
    }
}

async fn analyze(call: &Call, body: Body) -> Result<(Vec<Statement>, Vec<Option<String>>), Failure> {
    let received = match (&call.method, &call.params.q) {
        (&Method::GET, None) => return Err(Failure::QueryNotSpecified),
        (&Method::GET, Some(_)) => of_url(call),
        _ => receive::json(call, body).await?,
    };
    Ok(call.store()?.analyze(received.statements).await?)
}

/// Source: http-data.md §10.4.
fn print(call: &Call, statements: &[Statement], errors: &[Option<String>], began: Instant) -> bytes::Bytes {
    let mut json = Json::new(call.params.pretty);
    json.open(b'{');
    json.key("results");
    json.open(b'[');
    for (statement, error) in statements.iter().zip(errors) {
        json.item();
        json.open(b'{');
        json.key("original");
        json.string(statement.sql.as_bytes());
        let (key, text) = match error {
            _ if statement.sql.is_empty() => ("error", "EOF"),
            Some(error) => ("error", error.as_str()),
            None => ("rewritten", statement.sql.as_str()),
        };
        json.key(key);
        json.string(text.as_bytes());
        json.close(b'}');
    }
    json.close(b']');
    if call.params.timings {
        json.key("time");
        json.real(began.elapsed().as_secs_f64());
    }
    json.close(b'}');
    json.take()
}
