//! Queued writes: what is written when, and what is still written when a node stops.

use serde_json::json;

use crate::node::{Answer, Node};

const QUEUE: &str = "/db/execute?queue";

fn node(flags: &[&str]) -> (Node, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), flags);
    node.start();
    node.execute("CREATE TABLE t(a UNIQUE)");
    (node, directory)
}

#[track_caller]
fn accepted(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["sequence_number"].as_i64().unwrap()
}

fn insert(value: i64) -> String {
    json!([["INSERT INTO t VALUES(?)", value]]).to_string()
}

#[test]
fn a_batch_is_written_when_it_is_full_in_the_order_of_its_numbers() {
    let (node, _directory) = node(&["-write-queue-timeout", "1h", "-write-queue-batch-size", "3"]);
    let first = accepted(&node.post(QUEUE, insert(3)));
    assert_eq!(accepted(&node.post(QUEUE, insert(1))), first + 1);
    assert_eq!(node.query("SELECT a FROM t"), Vec::<serde_json::Value>::new());

    // It fails, and so nothing but itself.
    assert_eq!(accepted(&node.post("/db/execute?queue&wait", r#"["INSERT INTO nowhere VALUES(1)"]"#)), first + 2);
    assert_eq!(node.query("SELECT a FROM t ORDER BY rowid"), [json!([3]), json!([1])]);
    let status = node.request("GET", "/status?key=http.queue._default", &[], Vec::new());
    let last = first + 2;
    assert_eq!(
        String::from_utf8_lossy(status.body()),
        format!(r#"{{"batch_size":3,"max_size":1024,"sequence_number":{last},"timeout":"1h0m0s"}}"#)
    );
    let refused = node.post("/db/execute?queue&wait&timeout=1ms", insert(4));
    assert_eq!((refused.status, refused.text().as_str()), (408, "queue wait timeout\n"));
}

#[test]
fn a_batch_that_is_a_transaction_is_all_or_nothing() {
    let (node, _directory) = node(&["-write-queue-tx", "-write-queue-timeout=1h", "-write-queue-batch-size=2"]);
    accepted(&node.post(QUEUE, insert(1)));
    accepted(&node.post("/db/execute?queue&wait", insert(1)));
    assert_eq!(node.query("SELECT a FROM t"), Vec::<serde_json::Value>::new());
    accepted(&node.post(QUEUE, insert(1)));
    accepted(&node.post("/db/execute?queue&wait", insert(2)));
    assert_eq!(node.query("SELECT a FROM t"), [json!([1]), json!([2])]);
}

#[test]
fn what_is_queued_is_written_before_a_node_stops() {
    let (mut node, _directory) = node(&["-write-queue-timeout", "1h"]);
    accepted(&node.post(QUEUE, insert(1)));
    node.signal(libc::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
    node.start();
    assert_eq!(node.query("SELECT a FROM t"), [json!([1])]);
}

#[test]
fn a_full_queue_refuses_after_the_time_that_the_client_gives_it() {
    let (node, _directory) = node(&["-write-queue-capacity=1", "-write-queue-batch-size=1"]);
    let long = "INSERT INTO t WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000000)
        SELECT count(*) FROM n";
    // One is being written, one waits for it, and there is no room for more.
    accepted(&node.post(QUEUE, json!([long]).to_string()));
    accepted(&node.post(QUEUE, insert(1)));
    let refused = node.post("/db/execute?queue&timeout=1ms", insert(2));
    assert_eq!((refused.status, refused.text().as_str()), (503, "too busy\n"));
    accepted(&node.post("/db/execute?queue&wait", insert(3)));
    assert_eq!(node.query("SELECT a FROM t ORDER BY rowid"), [json!([20_000_000]), json!([1]), json!([3])]);
}

#[test]
fn what_could_never_be_written_is_refused() {
    let (node, _directory) = node(&[]);
    let refused = node.post(QUEUE, r#"["PRAGMA journal_mode=delete"]"#);
    assert_eq!(refused.text(), r#"{"results":[],"error":"disallowed pragma"}"#);
    let refused = node.post(QUEUE, "nope");
    assert_eq!((refused.status, refused.text().as_str()), (400, "invalid JSON body\n"));
    assert_eq!(node.post(QUEUE, "[]").text(), "no statements\n");
    accepted(&node.post("/db/execute?queue&wait", "[]"));
}
