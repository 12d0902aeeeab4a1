//! GET /db/backup.

use std::io;

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use futures::stream;
use hyper::header::{HeaderName, HeaderValue};

use super::error::{Endpoint, Failure};
use super::execute::positive;
use super::params::{self, Params};
use super::proxy;
use super::response;
use super::routes::Call;
use crate::db::backup::Format;
use crate::store::backup::{Backup, Options};

/// The backup is exactly the state at this log index.
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-rqlite-raft-index");

pub async fn handle(call: Call) -> Response {
    if let Err(failure) = format(&call.params) {
        return call.fail(Endpoint::Backup, &failure);
    }
    if !call.params.noleader
        && let Some(response) = proxy::whole(&call, Endpoint::Backup, Bytes::new()).await
    {
        return response;
    }
    match open(&call).await {
        Ok(backup) => {
            call.api.metrics.store.num_backups.increment();
            *call.api.last_backup.lock().expect("no panic holds this lock") = Some(call.api.world.clock.unix_now());
            let index = HeaderValue::from(backup.index);
            let content_type = match call.params.fmt {
                params::Format::Sql => "application/sql",
                params::Format::Binary | params::Format::Delete => "application/octet-stream",
            };
            let mut response = response::ok(content_type, Body::from_stream(chunks(backup)));
            response.headers_mut().insert(RAFT_INDEX, index);
            response
        }
        Err(failure) => call.fail(Endpoint::Backup, &failure),
    }
}

async fn open(call: &Call) -> Result<Backup, Failure> {
    let params = &call.params;
    let options = Options {
        format: format(params)?,
        compress: params.compress,
        noleader: params.noleader,
        timeout: positive(params.timeout).unwrap_or_default(),
    };
    Ok(call.store()?.backup(options).await?)
}

/// Source: backup-restore.md §1.1.
fn format(params: &Params) -> Result<Format, Failure> {
    match params.fmt {
        params::Format::Binary if params.vacuum => Ok(Format::Vacuumed),
        _ if params.vacuum => Err(Failure::InvalidBackupFormat),
        params::Format::Binary => Ok(Format::Binary),
        params::Format::Delete => Ok(Format::Delete),
        params::Format::Sql => Ok(Format::Sql { tables: params.tables.clone() }),
    }
}

/// An error breaks the connection: never a 200 with a damaged file.
fn chunks(backup: Backup) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(backup), |backup| async move {
        let mut backup = backup?;
        match backup.next().await {
            Ok(None) => None,
            Ok(Some(bytes)) => Some((Ok(Bytes::from(bytes)), Some(backup))),
            Err(error) => {
                tracing::warn!(%error, "backup aborted");
                Some((Err(error), None))
            }
        }
    })
}
