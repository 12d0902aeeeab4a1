//! Accepts connections and serves HTTP/1.1 on them.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use crate::world::{Listener, spawn};

/// Bytes that the headers of a request may have.
const HEADERS_MAX: usize = 1 << 20;

/// How long to wait when no connection can be accepted: the process may be out of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// Serves `router` on every connection of `listener`, for ever.
pub async fn serve(mut listener: Box<dyn Listener>, router: Router) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        spawn(async move {
            let mut server = hyper::server::conn::http1::Builder::new();
            // Title case: as the reference writes names, for clients that compare them so.
            server.timer(TokioTimer::new()).max_buf_size(HEADERS_MAX).title_case_headers(true);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "HTTP connection ended");
            }
        });
    }
}

/// Errors of a connection that ended before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}
