//! Answers, as the reference writes them.

use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};

use super::error::{Answer, Endpoint, Failure, answer};
use super::render::{Broken, Options, Render, Trailer};
use crate::store;

/// JSON of the data endpoints.
pub const JSON: &str = "application/json; charset=utf-8";
/// Errors, and /db/load.
pub const TEXT: &str = "text/plain; charset=utf-8";

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// 200 with a body.
pub fn ok(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A status without a body.
pub fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A status with a line of text.
pub fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = ok(TEXT, format!("{text}\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// What a failure of `endpoint` is answered with.
pub fn failed(endpoint: Endpoint, failure: &Failure, options: Options) -> Response {
    let status = |code: u16| StatusCode::from_u16(code).expect("the map holds valid statuses");
    match answer(endpoint, failure) {
        Answer::Bare { status: code } => bare(status(code)),
        Answer::Plain { status: code, text, retry_after_secs } => {
            let mut response = plain(status(code), &text);
            if let Some(seconds) = retry_after_secs {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Answer::Redirect { location } => {
            let mut response = bare(StatusCode::MOVED_PERMANENTLY);
            if let Ok(location) = HeaderValue::try_from(location) {
                response.headers_mut().insert(LOCATION, location);
            }
            // Quirk: of an answer that there isn't; kept from the reference.
            let content_type = match endpoint {
                Endpoint::Execute | Endpoint::Query | Endpoint::Request => Some(JSON),
                Endpoint::Backup => Some("application/octet-stream"),
                _ => None,
            };
            if let Some(content_type) = content_type {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            response
        }
        Answer::Envelope(text) => {
            let trailer = Trailer { error: Some(&text), ..Trailer::default() };
            finished(Render::new(options).finish(trailer))
        }
    }
}

/// A whole body, or why there is none. Nothing was sent yet.
pub fn finished(body: Result<Bytes, Broken>) -> Response {
    match body {
        Ok(body) => ok(JSON, body),
        Err(Broken::Unsent(text)) => plain(StatusCode::INTERNAL_SERVER_ERROR, &text),
        Err(Broken::Sent) => unreachable!("nothing was taken from this answer"),
    }
}

/// The store's errors, as this layer names them.
impl From<&store::Error> for Failure {
    fn from(error: &store::Error) -> Self {
        use store::Error as E;
        match error {
            E::NotReady => Failure::NotReady,
            E::LeaderNotFound | E::QuorumLost => Failure::LeaderNotFound,
            E::LeadershipLost => Failure::LeadershipLost,
            E::TooBusy => Failure::TooBusy,
            E::DisallowedPragma => Failure::DisallowedPragma,
            E::DiskLow => Failure::DiskLow,
            E::LoadInProgress => Failure::BackupBehindLoad,
            E::LoadAlreadyInProgress => Failure::LoadInProgress,
            E::InvalidData(why) => Failure::InvalidSqlite(why.clone()),
            E::DiskSpace { need, free } => Failure::DiskTooSmall { need: *need, free: *free },
            E::TooShort => Failure::BootTooShort,
            E::NotSqlite => Failure::BootNotSqlite,
            E::NotLeader => Failure::NotLeader,
            E::NotSingleNode => Failure::NotSingleNode,
            E::LoadUnknown(why) => Failure::LoadOutcomeUnknown(why.clone()),
            // Why is for the operator: it is in the log. What was under way may have happened.
            E::Stopped(_) => Failure::Internal("node is stopping".into()),
            E::Sql(error) => Failure::Sql(error.message.clone()),
            E::ClientGone
            | E::Changed
            | E::Backup(_)
            | E::Raft(_)
            | E::Log(_)
            | E::Start(_)
            | E::Recovery(_)
            | E::Incomplete { .. } => Failure::Internal(error.to_string()),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Failure::from(&error)
    }
}
