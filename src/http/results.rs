//! Answers with results: rows go out as they are read.

use std::io;
use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::Response;
use futures::{Stream, stream};
use hyper::header::HeaderValue;
use tokio::time::Instant;

use super::memory::Held;
use super::render::{Render, Trailer};
use super::response;
use super::routes::{Call, SERVED_BY};
use crate::db::execute::Executed;
use crate::db::query::Progress;
use crate::db::readers::Reading;
use crate::db::value::{RowSink, StatementResult, Value};

/// Bytes that a response holds in memory.
const CHUNK: usize = 64 << 10;

/// Where results come from, and what they hold until they are sent.
pub enum Source {
    Reading(Reading, Held),
    Executed(Results, Held),
}

/// What an entry answered, row by row.
pub struct Results {
    results: std::vec::IntoIter<StatementResult>,
    /// Rows of the result in progress.
    rows: Option<(std::vec::IntoIter<Vec<Value>>, Duration)>,
}

/// The answer to a request that began so long ago; `raft_index` is shown if it was asked for.
pub async fn answer(call: &Call, source: Source, began: Instant, raft_index: Option<u64>) -> Response {
    let raft_index = raft_index.filter(|_| call.params.raft_index).unwrap_or(0);
    let trailer = move || Trailer { elapsed: began.elapsed(), raft_index, ..Trailer::default() };
    let (source, render, progress) = source.next(Render::new(call.options())).await;
    let mut response = if progress == Progress::Finished || render.broken().is_some() {
        response::finished(render.finish(trailer()))
    } else {
        response::ok(response::JSON, Body::from_stream(rest(source, render, trailer)))
    };
    served_by(call, &mut response);
    response
}

/// The answer of an entry.
pub async fn executed(call: &Call, executed: Executed, index: u64, held: Held, began: Instant) -> Response {
    // The statements are gone, rows have come.
    drop(held);
    if let Some(error) = executed.error {
        let raft_index = if call.params.raft_index { index } else { 0 };
        let trailer = Trailer { error: Some(&error), elapsed: began.elapsed(), raft_index, ..Trailer::default() };
        return response::finished(Render::new(call.options()).finish(trailer));
    }
    let owed = call.api.memory.owe(executed.rows_bytes);
    let results = Results { results: executed.results.into_iter(), rows: None };
    answer(call, Source::Executed(results, owed), began, Some(index)).await
}

/// Names the node that answered.
pub fn served_by(call: &Call, response: &mut Response) {
    if let Ok(address) = HeaderValue::try_from(call.api.config.http_adv.as_str()) {
        response.headers_mut().insert(SERVED_BY, address);
    }
}

/// What is behind the first chunk; an error breaks the connection.
fn rest(
    source: Source,
    render: Render,
    trailer: impl Fn() -> Trailer<'static> + Send + 'static,
) -> impl Stream<Item = io::Result<bytes::Bytes>> {
    stream::unfold(Some((source, render, Progress::Paused)), move |state| {
        let end = trailer();
        async move {
            let (source, mut render, progress) = state?;
            if render.broken().is_some() || progress == Progress::Finished {
                let last = render.finish(end).map_err(|_| io::Error::other("the answer can't be completed"));
                return Some((last, None));
            }
            let chunk = render.take();
            let next = source.next(render).await;
            Some((Ok(chunk), Some(next)))
        }
    })
}

impl Source {
    /// Writes on until there is a chunk or all is done.
    async fn next(self, mut render: Render) -> (Source, Render, Progress) {
        match self {
            Source::Reading(reading, held) => {
                let (render, progress) = reading.next(render, CHUNK).await;
                (Source::Reading(reading, held), render, progress)
            }
            Source::Executed(mut results, held) => {
                let progress = results.advance(&mut render);
                (Source::Executed(results, held), render, progress)
            }
        }
    }
}

impl Results {
    fn advance(&mut self, render: &mut Render) -> Progress {
        while render.buffered() < CHUNK {
            if let Some((rows, elapsed)) = &mut self.rows {
                let written = match rows.next() {
                    Some(row) => render.row(&row.iter().map(Value::borrow).collect::<Vec<_>>()),
                    None => {
                        render.end(*elapsed);
                        self.rows = None;
                        continue;
                    }
                };
                if let Err(text) = written {
                    render.error(&text);
                    self.rows = None;
                }
                continue;
            }
            match self.results.next() {
                None => return Progress::Finished,
                Some(StatementResult::Rows { columns, rows, elapsed, is_read }) => {
                    render.open(&columns, is_read);
                    self.rows = Some((rows.into_iter(), elapsed));
                }
                Some(other) => render.result(&other),
            }
        }
        Progress::Paused
    }
}
