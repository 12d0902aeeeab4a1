//! GET and POST /db/query.

use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use hyper::Method;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::receive::Received;
use super::results::Source;
use super::routes::Call;
use super::{params, proxy, receive, results};
use crate::command::Statement;
use crate::store::freshness::Freshness;
use crate::store::query::{Level, Query};

/// How long a linearizable read waits if the client says zero, and always in /db/request.
pub const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(1);

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    let received = match call.method == Method::GET {
        true => Ok(of_url(&call)),
        false => receive::text_or_json(&call, body).await,
    };
    let received = match received {
        Ok(received) => received,
        Err(failure) => return call.fail(Endpoint::Query, &failure),
    };
    if is_local(&call) {
        if is_stale(&call) {
            return call.fail(Endpoint::Query, &Failure::StaleRead);
        }
    } else if let Some(response) = proxy::whole(&call, Endpoint::Query, received.bytes.clone()).await {
        return response;
    }
    match open(&call, received).await {
        Ok((source, index)) => results::answer(&call, source, began, index).await,
        Err(failure) => call.fail(Endpoint::Query, &failure),
    }
}

/// Whether any node may answer, with what it has.
fn is_local(call: &Call) -> bool {
    match call.params.level {
        params::Level::None => true,
        params::Level::Auto => call.store().is_ok_and(|store| !store.is_voter()),
        params::Level::Weak | params::Level::Linearizable | params::Level::Strong => false,
    }
}

/// Whether what this node has is older than the client wants.
pub fn is_stale(call: &Call) -> bool {
    let freshness = Freshness { most: call.params.freshness.to_std(), is_strict: call.params.freshness_strict };
    call.store().is_ok_and(|store| store.is_stale(freshness))
}

async fn open(call: &Call, received: Received) -> Result<(Source, Option<u64>), Failure> {
    call.api.metrics.http.query_stmts_rx.add(received.statements.len());
    let timeout = positive(call.params.linearizable_timeout).unwrap_or(LINEARIZABLE_TIMEOUT);
    let (reading, index) = call.store()?.query(query(call, received.statements, timeout)).await?;
    Ok((Source::Reading(reading, received.held), index))
}

/// A missing `q` is an empty statement.
pub fn of_url(call: &Call) -> Received {
    let sql = call.params.q.clone().unwrap_or_default();
    let statements = vec![Statement { sql, parameters: Vec::new() }];
    Received { statements, bytes: Bytes::new(), held: call.api.memory.enter() }
}

/// What the parameters ask for.
pub fn query(call: &Call, statements: Vec<Statement>, linearizable_timeout: Duration) -> Query {
    Query {
        statements,
        level: match call.params.level {
            params::Level::None => Level::None,
            params::Level::Weak => Level::Weak,
            params::Level::Linearizable => Level::Linearizable,
            params::Level::Strong => Level::Strong,
            params::Level::Auto => Level::Auto,
        },
        transaction: call.params.transaction,
        db_timeout: positive(call.params.db_timeout),
        linearizable_timeout,
    }
}
