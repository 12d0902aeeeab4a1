//! GET /db/backup.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use hyper::header::{HeaderName, HeaderValue};

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::params::Format;
use super::response;
use super::routes::Call;
use crate::store::backup::Backup;

/// The backup is exactly the state at this log index.
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-rqlite-raft-index");

pub async fn handle(call: Call) -> Response {
    match open(&call).await {
        Ok(backup) => {
            let index = HeaderValue::from(backup.index);
            let mut response = response::ok("application/octet-stream", Body::from_stream(chunks(backup)));
            response.headers_mut().insert(RAFT_INDEX, index);
            response
        }
        Err(failure) => call.fail(Endpoint::Backup, &failure),
    }
}

async fn open(call: &Call) -> Result<Backup, Failure> {
    let params = &call.params;
    if params.vacuum && params.fmt != Format::Binary {
        return Err(Failure::InvalidBackupFormat);
    }
    if params.fmt != Format::Binary || params.vacuum || params.compress || params.noleader {
        return Err(Failure::Internal("not supported yet: only a plain binary backup of the leader".into()));
    }
    let timeout = positive(params.timeout).unwrap_or_default();
    Ok(call.store()?.backup(timeout).await?)
}

/// An error breaks the connection: never a 200 with a damaged file.
fn chunks(backup: Backup) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(backup), |backup| async move {
        let mut backup = backup?;
        match backup.next().await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some((Ok(Bytes::from(chunk)), Some(backup))),
            Err(error) => {
                tracing::warn!(%error, "backup aborted");
                Some((Err(error), None))
            }
        }
    })
}
