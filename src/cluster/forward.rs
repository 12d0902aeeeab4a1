//! API requests on their way to the leader and back: as they came, in chunks, at the pace of the slowest of all three.
//!
//! ```text
//!  client ═► http (follower) ─► Client::forward ═► ClusterService ─► http (leader) ─► store
//!         ◄═ body, chunk by chunk ◄════════════════ body, chunk by chunk ◄
//! ```
//!
//! A body that is cut short is an error on both sides, never an end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt, stream};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::client::{Client, Error, unexpected};
use super::proto::answer::Kind as Answer;
use super::proto::request::Kind;
use super::proto::{self, Forward, Forwarded, Header};
use crate::command::Execute;
use crate::peer::client::SILENCE;
use crate::peer::connection::Received;
use crate::peer::{self, Connection};
use crate::store::{self, Store};
use crate::world::net::BoxFuture;

/// The longest that the next piece of a body may take.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes of a chunk at most.
const CHUNK: usize = 256 << 10;

/// Bytes of a batch of queued writes at most: the largest body, and what a batch holds before it.
const BATCH_MAX: usize = (256 << 20) + (64 << 20);

/// Headers that travel with a request and its answer.
const HEADERS: [&str; 6] =
    ["content-type", "content-length", "authorization", "retry-after", "x-rqlite-raft-index", "x-rqlite-served-by"];

/// The API of this node, as it answers what was forwarded to it.
pub type Api = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

impl Client {
    /// Has the node at `address` answer `request`. Its head comes within `limit` after the request was sent; its body is
    /// read as the caller takes it.
    pub async fn forward(
        &self,
        address: &str,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Response<Body>, Error> {
        let (head, body) = request.into_parts();
        let path_and_query = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let forward = Forward { method: head.method.to_string(), path_and_query, headers: pick(&head.headers) };
        let request = proto::Request { credentials: None, kind: Some(Kind::Forward(forward)) }.encode_to_vec();
        let mut connection = self.peer.acquire(address, limit).await?;
        connection.begin(request.into()).await?;
        send(&mut connection, body.into_data_stream()).await?;

        let deadline = Instant::now() + limit;
        let answer = async {
            match connection.answer(SILENCE).await? {
                Received::Message(bytes) => Ok(bytes),
                Received::Chunk(_) | Received::End(_) => Err(peer::Error::Protocol("a body before its head")),
            }
        };
        let answer = tokio::time::timeout_at(deadline, answer).await.map_err(|_| peer::Error::Timeout)??;
        let forwarded = match proto::Answer::decode(answer).ok().and_then(|answer| answer.kind) {
            Some(Answer::Forwarded(forwarded)) => forwarded,
            Some(Answer::NotLeader(leader)) => {
                self.peer.release(address, connection);
                return Err(Error::Moved(leader.raft_addr));
            }
            Some(Answer::Failed(failed)) => return Err(Error::Failed(failed.text)),
            _ => return Err(peer::Error::Protocol("the answer can't be decoded").into()),
        };
        let mut response = Response::new(self.body(address, connection));
        *response.status_mut() = StatusCode::from_u16(forwarded.status as u16)
            .map_err(|_| peer::Error::Protocol("the answer has no valid status"))?;
        *response.headers_mut() = headers(&forwarded.headers);
        Ok(response)
    }

    /// Has the node at `address` write `execute`, an encoded [`Execute`], if it leads.
    ///
    /// Errors: nothing was written after [`Error::NotSent`], [`Error::Moved`] and [`Error::Refused`]; nobody knows after
    ///         the others.
    pub async fn write(&self, address: &str, execute: Bytes, limit: Duration) -> Result<(), Error> {
        let request = proto::Request { credentials: None, kind: Some(Kind::Write(proto::Write {})) }.encode_to_vec();
        let mut connection = self.peer.acquire(address, limit).await.map_err(Error::NotSent)?;
        let exchange = async {
            connection.begin(request.into()).await?;
            send(&mut connection, Body::from(execute).into_data_stream()).await?;
            connection.answer(SILENCE).await
        };
        let answer = match timeout(limit, exchange).await.map_err(|_| peer::Error::Timeout)?? {
            Received::Message(bytes) => proto::Answer::decode(bytes).ok().and_then(|answer| answer.kind),
            Received::Chunk(_) | Received::End(_) => None,
        };
        self.peer.release(address, connection);
        match answer.ok_or(peer::Error::Protocol("the answer can't be decoded"))? {
            Answer::Done(_) => Ok(()),
            Answer::NotLeader(leader) => Err(Error::Moved(leader.raft_addr)),
            other => Err(unexpected(other)),
        }
    }

    /// The body that comes on `connection`, which goes back to the pool behind it.
    fn body(&self, address: &str, connection: Connection) -> Body {
        let (peer, address) = (self.peer.clone(), address.to_string());
        Body::from_stream(stream::unfold(Some((connection, 0)), move |state| {
            let (peer, address) = (peer.clone(), address.clone());
            async move {
                let (mut connection, crc32c) = state?;
                match connection.answer(SILENCE).await {
                    Ok(Received::Chunk(bytes)) => {
                        let crc32c = crc32c::crc32c_append(crc32c, &bytes);
                        Some((Ok(bytes), Some((connection, crc32c))))
                    }
                    Ok(Received::End(sum)) if sum == crc32c => {
                        peer.release(&address, connection);
                        None
                    }
                    Ok(_) => Some((Err(io::Error::other("the leader's answer is damaged")), None)),
                    Err(error) => Some((Err(io::Error::other(error)), None)),
                }
            }
        }))
    }
}

/// Answers what was forwarded over `connection`.
pub(super) async fn serve(connection: &mut Connection, forward: Forward, api: &Api) -> Result<(), peer::Error> {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, io::Error>(bytes), receiver))
    });
    let Some(request) = request(forward, Body::from_stream(pieces)) else {
        return Err(peer::Error::Protocol("what was forwarded is no request"));
    };
    let mut answering = pin!(api(request));
    let mut answered = None;
    // Whoever doesn't want the rest of the body doesn't get it; but the other side only listens when it has sent all.
    // An error here drops the request with its body unfinished.
    loop {
        let part = tokio::select! {
            biased;
            response = answering.as_mut(), if answered.is_none() => {
                answered = Some(response);
                continue;
            }
            part = timeout(IDLE, connection.next_part()) => part.map_err(|_| peer::Error::Timeout)??,
        };
        let bytes = match part {
            Received::Chunk(bytes) => bytes,
            Received::End(_) => break,
            Received::Message(_) => return Err(peer::Error::Protocol("a request inside a body")),
        };
        tokio::select! {
            biased;
            response = answering.as_mut(), if answered.is_none() => answered = Some(response),
            // An error: it isn't wanted.
            _ = sender.send(bytes) => {}
        }
    }
    drop(sender);
    let response = match answered {
        Some(response) => response,
        None => connection.while_working(answering).await?,
    };
    let (head, body) = response.into_parts();
    let answer = match head.extensions.get::<NotLeader>() {
        Some(NotLeader(raft_addr)) => Answer::NotLeader(proto::NotLeader { raft_addr: raft_addr.clone() }),
        None => Answer::Forwarded(Forwarded { status: head.status.as_u16().into(), headers: pick(&head.headers) }),
    };
    let is_forwarded = matches!(answer, Answer::Forwarded(_));
    let answer = Bytes::from(proto::Answer { kind: Some(answer) }.encode_to_vec());
    if !is_forwarded {
        return connection.reply(Ok(answer)).await;
    }
    connection.begin_reply(answer).await?;
    send(connection, body.into_data_stream()).await
}

/// Writes the batch that comes over `connection`. Its turn comes before it is taken in, so that few are in memory.
pub(super) async fn serve_write(
    connection: &mut Connection,
    store: &Store,
    turns: &Semaphore,
) -> Result<(), peer::Error> {
    let _turn = turns.acquire().await.expect("it is never closed");
    let (mut bytes, mut crc32c) = (BytesMut::new(), 0);
    let sum = loop {
        match timeout(IDLE, connection.next_part()).await.map_err(|_| peer::Error::Timeout)?? {
            Received::Chunk(chunk) if bytes.len() + chunk.len() <= BATCH_MAX => {
                crc32c = crc32c::crc32c_append(crc32c, &chunk);
                bytes.extend_from_slice(&chunk);
            }
            Received::Chunk(_) => return Err(peer::Error::Protocol("a batch is too large")),
            Received::End(sum) => break sum,
            Received::Message(_) => return Err(peer::Error::Protocol("a request inside a body")),
        }
    };
    let execute = Execute::decode(bytes.freeze()).ok().filter(|_| sum == crc32c);
    let execute = execute.ok_or(peer::Error::Protocol("the batch is damaged"))?;
    let written = connection.while_working(store.execute(execute, None)).await?;
    let answer = match written {
        Ok(_) => Answer::Done(proto::Done {}),
        Err(store::Error::LeaderNotFound) => {
            let raft_addr = store.leader().map_or_else(String::new, |leader| leader.node.raft_addr);
            Answer::NotLeader(proto::NotLeader { raft_addr })
        }
        Err(error) if error.is_refusal() => Answer::Refused(proto::Refused { text: error.to_string() }),
        Err(error) => Answer::Failed(proto::Failed { text: error.to_string() }),
    };
    connection.reply(Ok(proto::Answer { kind: Some(answer) }.encode_to_vec().into())).await
}

/// In the extensions of a response: nothing was done, since the node at this address leads, or nobody.
#[derive(Clone, Debug)]
pub struct NotLeader(pub String);

/// Sends a body in chunks. One that fails is not ended.
async fn send(connection: &mut Connection, body: BodyDataStream) -> Result<(), peer::Error> {
    let mut body = pin!(body);
    let mut crc32c = 0;
    while let Some(bytes) = next(connection, &mut body).await? {
        let mut bytes = bytes.map_err(|error| peer::Error::Broken(io::Error::other(error)))?;
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            crc32c = crc32c::crc32c_append(crc32c, &chunk);
            timeout(IDLE, connection.chunk(chunk)).await.map_err(|_| peer::Error::Timeout)??;
        }
    }
    connection.end(crc32c).await
}

/// The next piece; while it takes its time, the other side sees that this one is there.
async fn next<S: Stream + Unpin>(connection: &mut Connection, body: &mut S) -> Result<Option<S::Item>, peer::Error> {
    if let Some(next) = body.next().now_or_never() {
        return Ok(next);
    }
    // What was sent before must not wait for it.
    timeout(IDLE, connection.flush()).await.map_err(|_| peer::Error::Timeout)??;
    connection.while_working(body.next()).await
}

fn request(forward: Forward, body: Body) -> Option<Request<Body>> {
    let mut request = Request::builder().method(forward.method.as_str()).uri(forward.path_and_query).body(body).ok()?;
    *request.headers_mut() = headers(&forward.headers);
    Some(request)
}

fn pick(headers: &HeaderMap) -> Vec<Header> {
    let header = |name: &str| {
        let value = headers.get(name)?;
        Some(Header { name: name.into(), value: value.as_bytes().to_vec().into() })
    };
    HEADERS.iter().filter_map(|name| header(name)).collect()
}

fn headers(picked: &[Header]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for Header { name, value } in picked {
        // What a newer version sends and isn't one is ignored.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    }
    headers
}
