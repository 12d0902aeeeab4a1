//! HTTP to one of several hosts.
//!
//! A host that can't be connected to is left for the next one, which then stays. An error after that is no reason to
//! ask elsewhere: whether a write has happened is unknown, so it is the user who decides. Bodies stream both ways.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use tokio::time::Sleep;

use super::args::Options;
use super::error::{Error, reason};
use crate::version::RQLITE_VERSION;

/// Bytes of a file that are read at once.
const CHUNK: usize = 64 << 10;

/// Between the first of a file and the rest.
const PAUSE: Duration = Duration::from_millis(100);

/// As many as the reference follows.
const REDIRECTS_MAX: usize = 21;

/// A connection that was idle for longer isn't used again: the server may just be closing it.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// Bytes of an error's text that are worth showing.
const ERROR_TEXT_MAX: usize = 64 << 10;

pub struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Content>,
    hosts: Vec<String>,
    current: usize,
    prefix: String,
    authorization: Option<HeaderValue>,
    timeout: Option<Duration>,
}

/// What to ask for. `path` comes behind the prefix, with its query.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub content_type: Option<&'static str>,
    pub content: Content,
    pub patience: Patience,
}

/// How long the head of the answer may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As `-t` says.
    Timeout,
    /// For ever: a load takes as long as it takes.
    Endless,
}

impl Request {
    pub fn new(method: Method, path: impl Into<String>) -> Request {
        let path = path.into();
        Request { method, path, content_type: None, content: Content::Bytes(Bytes::new()), patience: Patience::Timeout }
    }

    pub fn get(path: impl Into<String>) -> Request {
        Request::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>) -> Request {
        Request::new(Method::POST, path)
    }

    pub fn body(self, content: impl Into<Bytes>) -> Request {
        Request { content: Content::Bytes(content.into()), ..self }
    }
}

/// A request's body. A clone begins anew: for another host, or another place that an answer names.
#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    File {
        file: Arc<File>,
        length: u64,
        position: u64,
        /// Bytes that were handed to the connection.
        sent: Arc<AtomicU64>,
        pause: Pause,
    },
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    /// Reading a local file blocks for a moment; nothing else is going on in this process.
    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match self.get_mut() {
            Content::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Content::File { file, length, position, sent, pause } => {
                if *position > 0 && pause.poll(context).is_pending() {
                    return Poll::Pending;
                }
                let wanted = (*length - *position).min(CHUNK as u64) as usize;
                let mut chunk = vec![0; wanted];
                let read = file.read_exact_at(&mut chunk, *position);
                *position += wanted as u64;
                sent.store(*position, Ordering::Relaxed);
                read.map(|()| Bytes::from(chunk))
            }
        };
        Poll::Ready(match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

impl Content {
    fn left(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { length, position, .. } => length - position,
        }
    }
}

/// Lets the server refuse what begins wrong: it then closes the connection, and whoever is writing into that may never
/// see the answer.
#[derive(Default)]
pub struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE))).as_mut().poll(context)
    }
}

/// Begins anew.
impl Clone for Pause {
    fn clone(&self) -> Pause {
        Pause::default()
    }
}

/// The head of an answer, with its body still to come.
pub struct Answer {
    pub status: StatusCode,
    pub version: Option<String>,
    /// Of the body, if it was announced.
    pub length: Option<u64>,
    body: Incoming,
    timeout: Option<Duration>,
}

impl Client {
    pub fn new(options: &Options) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(options.timeout);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .build(connector);
        let authorization = options.credentials.as_ref().map(|credentials| {
            let encoded = BASE64_STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
            let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is printable");
            value.set_sensitive(true);
            value
        });
        Client {
            http,
            hosts: options.hosts.clone(),
            current: 0,
            prefix: options.prefix.clone(),
            authorization,
            timeout: options.timeout,
        }
    }

    /// `host:port` of the host in use.
    pub fn host(&self) -> &str {
        &self.hosts[self.current]
    }

    /// Asks the host in use, or the next that can be connected to.
    pub async fn send(&mut self, request: Request) -> Result<Answer, Error> {
        for _ in 0..self.hosts.len() {
            match self.ask(self.host(), &request).await {
                Err(Failed::Connect) if self.hosts.len() > 1 => {
                    let now = chrono::Local::now().format("%Y/%m/%d %H:%M:%S");
                    let host = self.host();
                    eprintln!("[client] {now} host '{host}' is unavailable, retrying with the next available host");
                    self.current = (self.current + 1) % self.hosts.len();
                }
                Err(Failed::Connect) => return Err(Error::Unreachable(format!("http://{}", self.host()))),
                Err(Failed::Other(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        Err(Error::NoHost)
    }

    /// Asks another node of the cluster.
    pub async fn send_to(&self, host: &str, request: Request) -> Result<Answer, Error> {
        self.ask(host, &request).await.map_err(|failed| match failed {
            Failed::Connect => Error::Unreachable(format!("http://{host}")),
            Failed::Other(error) => error,
        })
    }

    /// The body of an answer of 200, as a whole; `Ok(Err(status))` for another one.
    pub async fn fetch(&mut self, request: Request) -> Result<Result<Bytes, StatusCode>, Error> {
        let answer = self.send(request).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(Error::Unauthorized);
        }
        if answer.status != StatusCode::OK {
            return Ok(Err(answer.status));
        }
        Ok(Ok(answer.collect().await?))
    }

    async fn ask(&self, home: &str, request: &Request) -> Result<Answer, Failed> {
        let mut uri = self.uri(home, &request.path)?;
        let mut redirects = 0;
        loop {
            let response = self.ask_once(home, &uri, request).await?;
            let moved = matches!(response.status().as_u16(), 301 | 302 | 307 | 308);
            let location = response.headers().get(LOCATION).filter(|_| moved);
            match location.and_then(|location| located(&uri, location)) {
                Some(_) if redirects == REDIRECTS_MAX => {
                    return Err(Failed::Other(Error::Unexpected("too many redirects".into())));
                }
                Some(location) => uri = location,
                None => return Ok(self.answer(response)),
            }
            redirects += 1;
        }
    }

    async fn ask_once(&self, home: &str, uri: &Uri, request: &Request) -> Result<hyper::Response<Incoming>, Failed> {
        let mut message = hyper::Request::builder()
            .method(&request.method)
            .uri(uri)
            .header(USER_AGENT, format!("rqlite/{RQLITE_VERSION}"));
        if let Some(content_type) = request.content_type {
            message = message.header(CONTENT_TYPE, content_type);
        }
        // Another machine than the user named doesn't get the password.
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_same_machine(home, uri)) {
            message = message.header(AUTHORIZATION, authorization);
        }
        let message = message.body(request.content.clone()).map_err(|error| usage(&error))?;
        let limit = self.timeout.filter(|_| request.patience == Patience::Timeout);
        match within(limit, self.http.request(message)).await {
            Err(error) => Err(Failed::Other(error)),
            Ok(Err(error)) if error.is_connect() => Err(Failed::Connect),
            Ok(Err(error)) => Err(Failed::Other(Error::Transport(format!("connection lost: {}", innermost(&error))))),
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn uri(&self, host: &str, path: &str) -> Result<Uri, Failed> {
        let prefix = &self.prefix;
        Uri::builder()
            .scheme("http")
            .authority(host)
            .path_and_query(format!("{prefix}{path}"))
            .build()
            .map_err(|error| usage(&error))
    }

    fn answer(&self, response: hyper::Response<Incoming>) -> Answer {
        let version = response.headers().get("x-rqlite-version");
        Answer {
            status: response.status(),
            version: version.and_then(|version| Some(version.to_str().ok()?.to_string())),
            length: response.body().size_hint().exact(),
            body: response.into_body(),
            timeout: self.timeout,
        }
    }
}

impl Answer {
    /// The next bytes of the body, `None` at its end. The time limit is on silence.
    ///
    /// Errors: a body that was broken off, which is never taken for a whole one.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(frame) = within(self.timeout, self.body.frame()).await? else {
                return Ok(None);
            };
            let frame =
                frame.map_err(|error| Error::Transport(format!("transfer broken off: {}", innermost(&error))))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    pub async fn collect(mut self) -> Result<Bytes, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// The text of an answer that is an error.
    pub async fn error_text(mut self) -> String {
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > ERROR_TEXT_MAX {
                break;
            }
        }
        text.truncate(ERROR_TEXT_MAX);
        String::from_utf8_lossy(&text).trim().to_string()
    }
}

/// `404 Not Found`.
pub fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("")).trim_end().to_string()
}

enum Failed {
    /// Nothing was sent.
    Connect,
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Other(error)
    }
}

fn usage(error: &dyn std::fmt::Display) -> Failed {
    Failed::Other(Error::Usage(error.to_string()))
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Result<T, Error> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| Error::Timeout(limit)),
        None => Ok(future.await),
    }
}

/// Where a `Location` leads to from `uri`.
fn located(uri: &Uri, location: &HeaderValue) -> Option<Uri> {
    let target: Uri = location.to_str().ok()?.parse().ok()?;
    let mut parts = target.into_parts();
    parts.scheme = parts.scheme.or(uri.scheme().cloned());
    parts.authority = parts.authority.or(uri.authority().cloned());
    Uri::from_parts(parts).ok()
}

fn is_same_machine(home: &str, uri: &Uri) -> bool {
    let home: Option<Authority> = home.parse().ok();
    home.is_some_and(|home| Some(home.host()) == uri.host())
}

/// The cause behind the wrappings, in which the reason is.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), reason)
}
