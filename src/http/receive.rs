//! Receives the body of a request, within bounds.

use std::time::Duration;

use axum_core::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::timeout;

use super::body;
use super::error::Failure;
use super::memory::Held;
use super::routes::Call;
use crate::command::Statement;

/// Bytes of a body that is parsed as a whole.
pub const BODY_MAX: usize = 256 << 20;

/// How long the next piece of a body may take: its bytes count against everybody.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a request asks for, and the memory that it takes.
pub struct Received {
    pub statements: Vec<Statement>,
    /// As they came.
    pub bytes: Bytes,
    pub held: Held,
}

/// The statements of a body: JSON, or SQL text if it says so.
pub async fn text_or_json(call: &Call, body: Body) -> Result<Received, Failure> {
    let content_type = call.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !body::is_text(content_type) {
        return json(call, body).await;
    }
    let (bytes, held) = collect(call, body).await?;
    Ok(Received { statements: body::parse_text(&bytes), bytes, held })
}

/// The statements of a body that is JSON whatever it says.
pub async fn json(call: &Call, body: Body) -> Result<Received, Failure> {
    let (bytes, held) = collect(call, body).await?;
    Ok(Received { statements: body::parse_json(&bytes)?, bytes, held })
}

/// A whole body.
pub async fn collect(call: &Call, mut body: Body) -> Result<(Bytes, Held), Failure> {
    // Told before it is sent, if it is.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(Failure::TooLarge);
    }
    let memory = &call.api.memory;
    let mut held = memory.enter();
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout(PIECE_TIMEOUT, body.frame()).await.map_err(|_| Failure::BodyTimeout)?;
        let Some(frame) = frame else {
            return Ok((bytes.freeze(), held));
        };
        let frame = frame.map_err(|error| Failure::Internal(error.to_string()))?;
        if let Ok(piece) = frame.into_data() {
            if bytes.len() + piece.len() > BODY_MAX {
                return Err(Failure::TooLarge);
            }
            memory.add(&mut held, piece.len())?;
            // Most bodies come in one piece.
            if bytes.is_empty() && body.is_end_stream() {
                return Ok((piece, held));
            }
            bytes.extend_from_slice(&piece);
        }
    }
}
