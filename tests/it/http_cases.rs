//! The recorded exchanges of the reference, replayed against one node or a cluster, which is emptied before each, and
//! against a node without a leader.
//!
//! Shape: `fixtures/http/http-cases.jsonl`; its format is told in http-data.md §18. Cases of authentication come with it.

use serde_json::{Value, json};
use ureq::http::Response;

use crate::cluster::Cluster;
use crate::node::{Node, try_get};

/// Where we answer otherwise on purpose, and how. All but one are marked `free` in the file: no client relies on them.
const DIFFERENT: &[(&str, &str)] = &[
    ("pragma-disallowed-hidden-by-comment-passes-check", "the authorizer refuses what the pattern misses"),
    ("returning-execute-newline-not-detected", "RETURNING is known from the prepared statement"),
    // Not `free` in the file; noparse switches off a rewriting that we don't have.
    ("returning-execute-noparse", "RETURNING is known from the prepared statement"),
    ("load-sql-error-no-transaction-keeps-earlier", "a load that fails keeps nothing"),
    ("exec-rewrite-multi-statement-drops-tail", "nothing is rewritten, so no tail is dropped"),
    ("query-strong-rewritten-text-changes-column-name", "nothing is rewritten, so names are the client's"),
    ("exec-rewrite-turns-current-timestamp-into-text", "CURRENT_TIMESTAMP is the entry's time"),
    ("exec-returning-in-multi-statement-forces-query-only-last-runs", "every statement of a string runs"),
    ("exec-returning-in-multi-statement-state", "every statement of a string runs"),
    ("exec-attach-and-detach", "ATTACH and DETACH are refused"),
    ("query-math-functions-build-option", "math functions are there"),
    ("quirk-create-table-default-now-is-frozen", "a DEFAULT keeps its text"),
    ("quirk-rewrite-drops-strict", "STRICT is kept"),
    ("quirk-trigger-random-frozen", "a trigger keeps its text"),
    ("quirk-update-returning-lost-when-rewritten", "RETURNING is kept"),
    ("quirk-rewrite-panic-on-like-escape", "ESCAPE works"),
    ("exec-explicit-begin-commit-two-requests", "a transaction ends with its request"),
    ("db-timeout-query-transaction-top-level-error", "the statement that ran out of time says so"),
    ("request-transaction-prepare-error-does-not-abort", "a transaction is all or nothing"),
    ("request-transaction-prepare-error-commits-state", "a transaction is all or nothing"),
    ("queue-invalid-json-accepted", "JSON that isn't valid is refused"),
    ("cluster-follower-invalid-utf8-text-forwarded", "a forwarded answer is the one that the leader gives"),
    ("sql-get", UNCHANGED),
    ("sql-post-plain", UNCHANGED),
    ("sql-post-parse-error", UNCHANGED),
    ("sql-order-by-random-untouched", UNCHANGED),
    ("sql-now-in-other-position-untouched", UNCHANGED),
    ("sql-current-timestamp-untouched", UNCHANGED),
    ("sql-randomblob-nonliteral-untouched", UNCHANGED),
    ("sql-quoting-normalised", UNCHANGED),
    ("sql-multi-statement-only-first", UNCHANGED),
    ("sql-bind-params-preserved", UNCHANGED),
    ("sql-random-in-order-by-and-select", UNCHANGED),
    ("quirk-sql-analyze-panic", UNCHANGED),
    ("sql-update-delete-returning-dropped-in-text", UNCHANGED),
    ("sql-various-canonical-forms", UNCHANGED),
];

const UNCHANGED: &str = "/db/sql: nothing is rewritten, so it shows the text as it came, or what SQLite has against it";

#[test]
fn answers_are_those_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let same = replay("single", Asked { leader: &node, follower: None });
    assert!(same >= 280, "only {same} exchanges were compared");
}

/// As Go's `net/http`: a Content-Length says how long the body would be, if there would be one.
#[test]
fn a_head_without_a_body_has_no_length() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let length = |method, path| {
        let answer = node.request(method, path, &[], Vec::new());
        answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned())
    };
    assert_eq!(length("HEAD", "/db/query"), None);
    assert_eq!(length("GET", "/db/execute").as_deref(), Some("0"));
}

#[test]
fn answers_through_a_follower_are_those_of_the_reference() {
    let cluster = Cluster::form(3);
    let leader = &cluster.nodes[cluster.leader(0)];
    let same = replay("cluster3", Asked { leader, follower: Some(cluster.follower()) });
    assert!(same >= 16, "only {same} exchanges were compared");
}

/// It waits for others that never come.
#[test]
fn answers_without_a_leader_are_those_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.add_flags(&["-bootstrap-expect", "3", "-join", &node.raft()]);
    node.spawn();
    node.wait_until(|node| {
        let status = try_get(&node.agent(), &node.url("/status?key=store.node_id"));
        status.is_ok_and(|status| status.body == br#""1""#)
    });
    let same = replay("noleader", Asked { leader: &node, follower: None });
    assert_eq!(same, 9);
}

/// Who gets the requests.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// Also the preparing ones.
    leader: &'a Node,
    follower: Option<&'a Node>,
}

/// Replays the cases of a topology; returns how many gave what the reference gave.
fn replay(topology: &str, asked: Asked<'_>) -> usize {
    let Asked { leader, follower } = asked;
    let empty = sqlite_file("CREATE TABLE x(a); DROP TABLE x;");
    let (mut same, mut problems) = (0, Vec::new());
    let mut listed: Vec<_> = DIFFERENT.iter().map(|(name, _)| *name).collect();
    for line in include_str!("../../fixtures/http/http-cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (name, setup) = (case["name"].as_str().unwrap(), case["setup"].as_array().unwrap());
        let (request, want) = (&case["request"], &case["response"]);
        if case["topology"] != topology {
            listed.retain(|listed| *listed != name);
            continue;
        }
        let node = if case["target"] == "follower" { follower.unwrap() } else { leader };

        if topology != "noleader" {
            assert!(leader.post("/db/load", &empty).is_success(), "the node can't be emptied before {name}");
        }
        for request in setup {
            send(leader, request);
        }
        let got = send(node, request);
        let is_queued = |request: &Value| request["path"].as_str().unwrap().contains("queue");
        if setup.iter().chain([request]).any(is_queued) && topology != "noleader" {
            // What is still queued would be written in the middle of the next case.
            assert_eq!(node.post("/db/execute?queue&wait", "[]").status, 200);
        }
        let difference = compare(asked, node, &got, want, case["ignore"].as_array().unwrap());
        match (difference, listed.iter().position(|listed| *listed == name)) {
            (None, None) => same += 1,
            (Some(difference), None) => problems.push(format!("{name}: {difference}")),
            (Some(_), Some(at)) => drop(listed.swap_remove(at)),
            (None, Some(_)) => {}
        }
    }
    problems.extend(listed.iter().map(|name| format!("{name}: listed as different, but it isn't, or isn't run")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    same
}

fn send(node: &Node, request: &Value) -> Response<Vec<u8>> {
    let body = match request["body_fixture"].as_str() {
        None => request["body"].as_str().unwrap_or("").as_bytes().to_vec(),
        Some(fixture) => match fixture.split_once(':').unwrap() {
            ("sqlite", sql) => sqlite_file(sql),
            ("bigparam", rest) => {
                let (length, sql) = rest.split_once(':').unwrap();
                json!([[sql, "k".repeat(length.parse().unwrap())]]).to_string().into_bytes()
            }
            (other, _) => panic!("no fixture is called {other}"),
        },
    };
    let headers = request["headers"].as_object().into_iter().flatten();
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    node.request(request["method"].as_str().unwrap(), request["path"].as_str().unwrap(), &headers, body)
}

/// What is wrong with an answer, if anything.
fn compare(asked: Asked<'_>, node: &Node, got: &Response<Vec<u8>>, want: &Value, ignored: &[Value]) -> Option<String> {
    let hide = |text: &str| {
        // Beside a follower the leader has names of its own.
        let text = match asked.follower {
            Some(_) => asked.leader.hide_addresses(text).replace("${", "${LEADER_"),
            None => text.to_string(),
        };
        node.hide_addresses(&text)
    };
    if got.status().as_u16() != want["status"] {
        return Some(format!("status {}: {}", got.status(), String::from_utf8_lossy(got.body())));
    }
    for (name, value) in want["headers"].as_object().into_iter().flatten() {
        let header = got.headers().get(name).map(|value| hide(value.to_str().unwrap()));
        if header.as_deref() != value.as_str() {
            return Some(format!("header {name}: {header:?}, not {value}"));
        }
    }

    if let Some(prefix) = want["body_prefix_hex"].as_str() {
        let start: String = got.body().iter().take(prefix.len() / 2).map(|byte| format!("{byte:02x}")).collect();
        return (start != prefix).then(|| format!("body begins with {start}, not {prefix}"));
    }
    let body = hide(&String::from_utf8_lossy(got.body()));
    let want = want.get("body")?;
    let (body, want) = match ignored {
        [] => (body, want.as_str().unwrap_or("").to_string()),
        _ => {
            (masked(serde_json::from_str(&body).unwrap_or(Value::String(body)), ignored), masked(want.clone(), ignored))
        }
    };
    (body != want).then(|| format!("{body}\n  not {want}"))
}

/// A document without what varies: `$.results[0].time`. As text, so that the order of keys counts.
fn masked(mut document: Value, paths: &[Value]) -> String {
    for path in paths {
        let pointer = path.as_str().unwrap().trim_start_matches('$').replace(['.', '['], "/").replace(']', "");
        match document.pointer_mut(&pointer) {
            Some(value) => *value = Value::String("<ignored>".to_string()),
            None => return format!("{path} is missing: {document}"),
        }
    }
    document.to_string()
}

/// The bytes of a database in which this was run.
fn sqlite_file(sql: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    std::fs::read(path).unwrap()
}
