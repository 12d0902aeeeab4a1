//! What one client asks for must not be the end of the others: memory, readers, bodies.

use std::io::{self, Read, Write};

use crate::node::Node;

/// So many rows that they fit nowhere but through a stream.
const ROWS: u64 = 2_000_000;

fn many() -> String {
    let sql = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) SELECT n, 'row ' || n AS t FROM n"
    );
    serde_json::json!([sql]).to_string()
}

/// Asks for many rows and reads none of them but the first bytes.
fn stalled(node: &Node) -> std::net::TcpStream {
    let mut client = node.connect();
    let body = many();
    write!(client, "POST /db/query HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut start = [0; 15];
    client.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    client
}

#[test]
fn millions_of_rows_take_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let idle = node.peak_memory();
    let response = node.agent().post(node.url("/db/query")).content_type("application/json").send(many()).unwrap();
    let mut last = Tail::default();
    io::copy(&mut response.into_body().into_reader(), &mut last).unwrap();
    assert!(last.count > 40_000_000, "only {} bytes came", last.count);
    assert!(last.text().ends_with(&format!("[{ROWS},\"row {ROWS}\"]]}}]}}")), "{}", last.text());

    let more = (node.peak_memory() - idle) >> 20;
    assert!(more <= 64, "{more} MiB more than idle");
}

#[test]
fn a_client_that_stops_reading_hurts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &["-db-max-ro-conns", "2"]);
    node.start();
    node.execute("CREATE TABLE t(a)");
    let first = stalled(&node);
    node.execute("INSERT INTO t VALUES(1)");
    assert_eq!(node.query("SELECT a FROM t"), [serde_json::json!([1])]);

    let second = stalled(&node);
    let refused = node.post("/db/query", r#"["SELECT 1"]"#);
    assert_eq!((refused.status, refused.text().as_str()), (503, "too busy\n"));
    node.execute("INSERT INTO t VALUES(2)");
    assert_eq!(node.request("GET", "/status", &[], Vec::new()).status(), 200);

    drop((first, second));
    node.wait_until(|node| node.post("/db/query", r#"["SELECT 1"]"#).status == 200);
    assert_eq!(node.query("SELECT a FROM t"), [serde_json::json!([1]), serde_json::json!([2])]);
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_reads_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let _stalled = stalled(&node);
    node.signal(libc::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    for path in ["/db/execute", "/db/query", "/db/request", "/db/sql", "/db/execute?queue"] {
        let mut client = node.connect();
        let length = (256 << 20) + 1;
        write!(client, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").unwrap();
        let mut start = [0; 12];
        client.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 413", "{path}");
    }
    // Headers without end.
    let mut client = node.connect();
    let line = format!("X: {}\r\n", "x".repeat(8 << 10));
    let sent = write!(client, "GET / HTTP/1.1\r\n").and_then(|()| (0..1000).try_for_each(|_| write!(client, "{line}")));
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    assert!(sent.is_err() || read.is_err() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    node.execute("CREATE TABLE t(a)");
}

/// Keeps the end of what is written to it.
#[derive(Default)]
struct Tail {
    end: Vec<u8>,
    count: u64,
}

impl Tail {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.end).into_owned()
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count += bytes.len() as u64;
        self.end.extend_from_slice(bytes);
        let surplus = self.end.len().saturating_sub(100);
        self.end.drain(..surplus);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
