//! Accepts connections and serves HTTP/1.1 on them, until the node stops: then requests under way are answered.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::time::timeout;

use super::routes::{Api, answer};
use crate::world::{Listener, spawn};

/// Bytes that the headers of a request may have.
const HEADERS_MAX: usize = 1 << 20;

/// How long to wait when no connection can be accepted: the process may be out of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// How long the requests under way may take when the node stops: a client that doesn't read must not keep it.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves `api` on every connection of `listener`, until `stop` is ready.
pub async fn serve(mut listener: Box<dyn Listener>, api: Arc<Api>, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let api = api.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(answer(api, request.map(Body::new)).await) }
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        // Both as in the reference: title case, for clients that compare names so; and no timeout, since hyper's ends
        // connections that are idle as well.
        server.max_buf_size(HEADERS_MAX).title_case_headers(true).header_read_timeout(None);
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service));
        spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP connection ended");
            }
        });
    }
    drop(listener);
    if timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were broken off: their clients took too long");
    }
}

/// Errors of a connection that ended before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}
