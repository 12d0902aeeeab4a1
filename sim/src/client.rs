//! An HTTP client on a simulated machine.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rqlite::world::Net;

use crate::trace::{HASH_START, Trace, fold};
use crate::world::net::{Cables, SimNet};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// `X-RQLITE-RAFT-INDEX`.
    pub index: Option<u64>,
    /// `Location`.
    pub location: Option<String>,
    pub body: Bytes,
}

/// How a client calls.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub timeout: Duration,
    /// It waits so long between two parts of what it sends or is sent.
    pub pause: Duration,
    pub vanishes: Option<Vanishes>,
}

/// When a client's process ends, after so many bytes. (F7, F46)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vanishes {
    /// Of its body.
    Sending(usize),
    /// Of the answer's.
    Receiving(usize),
}

/// Bytes of a part that a slow client sends.
const PART: usize = 8 << 10;

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Manner {
    /// Reads as fast as it can.
    pub fn quick(timeout: Duration) -> Self {
        Self { timeout, pause: Duration::ZERO, vanishes: None }
    }

    /// Waits so long between two parts.
    pub fn slow(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Is gone after a while.
    pub fn vanishing(self, vanishes: Vanishes) -> Self {
        Self { vanishes: Some(vanishes), ..self }
    }
}

/// Calls one server over one connection at a time.
pub struct Client {
    name: String,
    servers: Vec<String>,
    /// Which of them is asked next.
    at: usize,
    net: SimNet,
    trace: Trace,
    connection: Option<SendRequest<Body>>,
    calls: u64,
}

impl Client {
    /// A client on the machine `name` that calls one of `servers` (`host:port`), and another when it fails.
    pub fn new(name: &str, servers: &[String], cables: &Cables, trace: Trace) -> Self {
        let net = SimNet::new(name, cables, trace.clone());
        Self { name: name.into(), servers: servers.to_vec(), at: 0, net, trace, connection: None, calls: 0 }
    }

    /// The servers that it knows.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The machine that is asked next.
    pub fn server(&self) -> &str {
        self.servers[self.at].split_once(':').map_or("", |(name, _)| name)
    }

    /// Asks the server on the machine `name` next.
    pub fn turn_to_machine(&mut self, name: &str) {
        let at = self.servers.iter().position(|server| server.split_once(':').is_some_and(|(host, _)| host == name));
        self.turn_to(at.expect("every node is known"));
    }

    /// Asks the server with that number next.
    pub fn turn_to(&mut self, at: usize) {
        if self.at != at {
            (self.at, self.connection) = (at, None);
        }
    }

    /// One request. An error says nothing about whether the server did what was asked.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes, manner: Manner) -> Result<Answer, String> {
        self.calls += 1;
        let (call, length, hash) = (self.calls, body.len(), fold(HASH_START, &body));
        self.trace.line(format_args!("{} call {call} {method} {path} {length} {hash:016x}", self.name));
        let exchange = self.exchange(method, path, body, manner);
        let result = match tokio::time::timeout(manner.timeout, exchange).await {
            Ok(result) => result.map_err(|error| format!("{error:#}")),
            Err(_) => Err("timeout".into()),
        };
        let mut told = String::new();
        match &result {
            Ok(answer) => {
                let (length, hash) = (answer.body.len(), fold(HASH_START, &answer.body));
                write!(told, "{} {length} {hash:016x}", answer.status).expect("a string takes everything");
                if answer.status == 503 {
                    self.turn_to((self.at + 1) % self.servers.len());
                }
                if answer.status != 200 {
                    told += &format!(" {:?}", String::from_utf8_lossy(&answer.body));
                }
            }
            Err(error) => {
                // A connection on which something went wrong may bring the answer to this call to the next.
                self.connection = None;
                self.turn_to((self.at + 1) % self.servers.len());
                told = format!("failed: {error}");
            }
        }
        self.trace.line(format_args!("{} answer {call} {told}", self.name));
        result
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes, manner: Manner) -> anyhow::Result<Answer> {
        let request = Request::builder().method(method).uri(path).header("host", &self.servers[self.at]);
        // Announced, whatever comes of it.
        let request = request.header("content-length", body.len()).body(outgoing(body, manner))?;
        let mut sender = match self.connection.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => {
                let stream = self.net.connect(&self.servers[self.at]).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                rqlite::world::spawn(async move {
                    // Who waits for an answer sees the error.
                    let _ = connection.await;
                });
                sender
            }
        };
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let index = header("x-rqlite-raft-index").and_then(|index| index.parse().ok());
        let location = header("location").map(str::to_string);
        let mut parts = response.into_body();
        let mut body = Vec::new();
        while let Some(part) = parts.frame().await {
            if let Ok(data) = part?.into_data() {
                body.extend_from_slice(&data);
            }
            if let Some(Vanishes::Receiving(most)) = manner.vanishes
                && body.len() >= most
            {
                anyhow::bail!("the client is gone");
            }
            if !manner.pause.is_zero() {
                tokio::time::sleep(manner.pause).await;
            }
        }
        self.connection = Some(sender);
        Ok(Answer { status, index, location, body: body.into() })
    }
}

/// A body as the client sends it.
fn outgoing(body: Bytes, manner: Manner) -> Body {
    let end = match manner.vanishes {
        Some(Vanishes::Sending(most)) => most.min(body.len()),
        _ => body.len(),
    };
    if end == body.len() && manner.pause.is_zero() {
        return Full::new(body).map_err(|never| match never {}).boxed_unsync();
    }
    let parts = stream::unfold(Some(0), move |at| {
        let body = body.clone();
        async move {
            let at: usize = at?;
            if at == end {
                // An error in the body breaks the connection.
                return (end < body.len()).then(|| (Err(io::ErrorKind::BrokenPipe.into()), None));
            }
            tokio::time::sleep(manner.pause).await;
            let next = end.min(at + PART);
            Some((Ok(Frame::data(body.slice(at..next))), Some(next)))
        }
    });
    StreamBody::new(parts).boxed_unsync()
}
