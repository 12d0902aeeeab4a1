//! GET and POST /db/query. Rows go out as SQLite yields them.

use std::io;

use axum::body::Body;
use axum::response::Response;
use futures::stream;
use hyper::Method;
use tokio::time::Instant;

use super::error::{Endpoint, Failure};
use super::execute::{positive, served_by, statements};
use super::params;
use super::render::{Render, Trailer};
use super::response;
use super::routes::Call;
use crate::command::Statement;
use crate::db::query::Progress;
use crate::db::readers::Reading;
use crate::store::query::{Level, Query};

/// Bytes that a response holds in memory.
const CHUNK: usize = 64 << 10;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    let parsed = if call.method == Method::GET {
        // A missing `q` is an empty statement.
        let sql = call.params.q.clone().unwrap_or_default();
        Ok(vec![Statement { sql, parameters: Vec::new() }])
    } else {
        statements(&call, body).await
    };
    let opened = match parsed {
        Ok(statements) => open(&call, statements).await,
        Err(failure) => Err(failure),
    };
    let (reading, index) = match opened {
        Ok(opened) => opened,
        Err(failure) => return call.fail(Endpoint::Query, &failure),
    };
    let raft_index = index.filter(|_| call.params.raft_index).unwrap_or(0);

    let (render, progress) = reading.next(Render::new(call.options()), CHUNK).await;
    let trailer = move || Trailer { elapsed: began.elapsed(), raft_index, ..Trailer::default() };
    if progress == Progress::Finished || render.broken().is_some() {
        let mut response = response::finished(render.finish(trailer()));
        served_by(&call, &mut response);
        return response;
    }
    let mut response = response::ok(response::JSON, Body::from_stream(rest(reading, render, trailer)));
    served_by(&call, &mut response);
    response
}

async fn open(call: &Call, statements: Vec<Statement>) -> Result<(Reading, Option<u64>), Failure> {
    let query = Query {
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
        // Zero means a second, as in the reference.
        linearizable_timeout: positive(call.params.linearizable_timeout).unwrap_or(std::time::Duration::from_secs(1)),
    };
    Ok(call.store()?.query(query).await?)
}

/// What is behind the first chunk; an error breaks the connection.
fn rest(
    reading: Reading,
    render: Render,
    trailer: impl Fn() -> Trailer<'static> + Send + 'static,
) -> impl futures::Stream<Item = io::Result<bytes::Bytes>> {
    stream::unfold(Some((reading, render, Progress::Paused)), move |state| {
        let end = trailer();
        async move {
            let (reading, mut render, progress) = state?;
            if render.broken().is_some() || progress == Progress::Finished {
                let last = render.finish(end).map_err(|_| io::Error::other("the answer can't be completed"));
                return Some((last, None));
            }
            let chunk = render.take();
            let (render, progress) = reading.next(render, CHUNK).await;
            Some((Ok(chunk), Some((reading, render, progress))))
        }
    })
}
