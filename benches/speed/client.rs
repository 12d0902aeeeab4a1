//! Many connections that ask the same thing again and again.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
}

impl Ask {
    pub fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    pub fn post(path: &str, body: String) -> Self {
        Self { method: Method::POST, path: path.into(), body: body.into() }
    }
}

/// Answers a second over so many connections.
pub async fn rate(address: &str, connections: usize, ask: &Ask, time: Duration) -> f64 {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (address, ask) = (address.to_owned(), ask.clone());
        tasks.spawn(async move { count(&address, &ask, started + time).await });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / started.elapsed().as_secs_f64()
}

/// Microseconds that an answer takes, over one connection. The client has a thread of its own: between several it would
/// be woken for longer than a node takes.
pub fn took_us(address: &str, ask: &Ask, time: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    1e6 / runtime.block_on(rate(address, 1, ask, time))
}

async fn count(address: &str, ask: &Ask, until: Instant) -> u64 {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut answers = 0;
    loop {
        answer(&mut sender, address, ask).await;
        answers += 1;
        if Instant::now() >= until {
            break;
        }
    }
    driver.abort();
    answers
}

/// One answer, which must be one without an error.
async fn answer(sender: &mut http1::SendRequest<Full<Bytes>>, address: &str, ask: &Ask) {
    let request = Request::builder().method(&ask.method).uri(&ask.path).header("host", address);
    let request = request.header("content-type", "application/json").body(Full::new(ask.body.clone())).unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(is_good(status, &body), "{}: {status} {}", ask.path, String::from_utf8_lossy(&body));
}

/// No answer of the bench's own requests holds the word.
fn is_good(status: StatusCode, body: &[u8]) -> bool {
    status == 200 && !body.windows(7).any(|window| window == b"\"error\"")
}

/// Asks once: the body of a good answer.
pub async fn try_once(address: &str, ask: &Ask) -> Option<Bytes> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(&ask.method).uri(&ask.path).header("host", address);
    let request = request.header("content-type", "application/json").body(Full::new(ask.body.clone())).unwrap();
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    driver.abort();
    is_good(status, &body).then_some(body)
}
