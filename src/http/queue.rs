//! POST /db/execute?queue.

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::error::{Endpoint, Failure};
use super::receive::Received;
use super::render::{Render, Trailer};
use super::routes::Call;
use super::{body, receive, response};
use crate::queue::Error;
use crate::store::execute::check_pragmas;

pub async fn handle(call: Call, body: Body) -> Response {
    let began = Instant::now();
    match push(&call, body).await {
        Ok(sequence_number) => {
            let trailer = Trailer { sequence_number, elapsed: began.elapsed(), ..Trailer::default() };
            response::finished(Render::new(call.options()).finish(trailer))
        }
        Err(failure) => call.fail(Endpoint::Queue, &failure),
    }
}

/// Source: http-data.md §13. Ours: JSON that isn't valid is refused, and so are pragmas that no batch could ever hold.
async fn push(call: &Call, body: Body) -> Result<i64, Failure> {
    let (params, counters) = (&call.params, &call.api.metrics.http);
    counters.queued_executions.increment();
    let store = call.store()?;
    if !params.noleader && !store.is_leader() && store.leader().is_none() {
        return Err(Failure::LeaderNotFound);
    }
    let Received { statements, held, .. } = match receive::json(call, body).await {
        // It waits for those before it.
        Err(Failure::Body(body::Error::NoStatements)) if params.wait => {
            Received { statements: Vec::new(), bytes: Bytes::new(), held: call.api.memory.enter() }
        }
        received => received?,
    };
    check_pragmas(&statements)?;
    counters.queued_executions_num_stmts_rx.add(statements.len());
    let patience = params.timeout.to_std();
    let queue = call.api.queue.get().ok_or(Failure::NotOpen)?;
    let (waiter, written) = params.wait.then(oneshot::channel).unzip();
    let sequence_number = queue.push(statements, held, waiter, patience).await.ok_or(Failure::TooBusy)?;
    if let Some(written) = written {
        counters.queued_executions_wait.increment();
        match timeout(patience, written).await {
            Err(_) => {
                counters.queued_executions_wait_timeout.increment();
                return Err(Failure::QueueWaitTimeout);
            }
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                return Err(match &*error {
                    Error::Store(error) => Failure::from(error),
                    Error::Remote(error) => Failure::Transport(error.to_string()),
                });
            }
            Ok(Err(_)) => return Err(Failure::Internal("node is stopping".into())),
        }
    }
    Ok(sequence_number)
}
