//! A server that answers from a table, for what `rqlited` can't answer yet, and for answers that it never gives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

pub struct Stub {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

pub struct Request {
    pub target: String,
    pub body: Vec<u8>,
}

pub struct Reply {
    pub status: &'static str,
    pub body: Vec<u8>,
    /// Bytes that are announced and never sent.
    pub missing: usize,
    /// Waited for before the connection is closed.
    pub hold: Option<Receiver<()>>,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply { status: "200 OK", body: body.into(), missing: 0, hold: None }
    }

    pub fn status(status: &'static str, body: &str) -> Reply {
        Reply { status, ..Reply::ok(body) }
    }
}

impl Stub {
    pub fn start(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answer) = (requests.clone(), answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is what some tests are about.
                let _ = serve(&mut stream.unwrap(), &seen, &mut answer);
            }
        });
        Stub { address, requests }
    }

    /// What was asked, one line each.
    pub fn requests(&self) -> String {
        self.requests.lock().unwrap().concat()
    }
}

fn serve(
    stream: &mut TcpStream,
    seen: &Mutex<Vec<String>>,
    answer: &mut impl FnMut(&Request) -> Reply,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_string);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let (mut length, mut shown) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => shown.push_str(&format!(" CT={value}")),
            "authorization" => shown.push_str(&format!(" AUTH={value}")),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let text =
        if body.len() < 200 { format!("{:?}", String::from_utf8_lossy(&body)) } else { format!("{length} bytes") };
    seen.lock().unwrap().push(format!("{method} {target}{shown} body={text}\n"));

    let reply = answer(&Request { target, body });
    let announced = reply.body.len() + reply.missing;
    let head = format!(
        "HTTP/1.1 {}\r\nX-Rqlite-Version: 10\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n",
        reply.status
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&reply.body)?;
    if let Some(hold) = reply.hold {
        let _ = hold.recv();
    }
    Ok(())
}

/// A reply that stays open until the sender is dropped.
pub fn held(reply: Reply) -> (Reply, mpsc::Sender<()>) {
    let (sender, hold) = mpsc::channel();
    (Reply { hold: Some(hold), ..reply }, sender)
}
