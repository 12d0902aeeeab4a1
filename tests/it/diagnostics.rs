//! /status, /nodes, /leader and /debug/vars have the keys and types that the reference's have.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::Node;

/// What the reference shows of features that aren't here, or that we have no use for.
const LACKING: &[(&str, &str)] =
    &[("store.request_marshaler", "commands aren't compressed"), ("memstats", "Go's memory manager")];

/// What only we show.
const OURS: &[&str] = &["store.checkpoints", "store.cluster_id", "store.sqlite3.engine", "store.sqlite3.generation"];

/// Objects whose keys vary: of a machine, of nodes, of a storage engine.
const FREE: &[&str] = &["http.cluster.conn_pool_stats", "network.interfaces", "store.raft.bolt"];

#[test]
fn trees_are_those_of_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("CREATE TABLE t(a)");
    assert_eq!(node.request("POST", "/snapshot", &[], Vec::new()).status(), 200);

    let mut found = Vec::new();
    // Of three nodes there, one here.
    for (path, example, ours) in [
        ("/nodes", include_str!("../../fixtures/diagnostics/nodes-v1-one-unreachable.json"), "/1"),
        ("/nodes?ver=2", include_str!("../../fixtures/diagnostics/nodes-v2-one-unreachable.json"), "/nodes/0"),
    ] {
        let example: Value = serde_json::from_str(example).unwrap();
        compare("", example.pointer(ours).unwrap(), get(&node, path).pointer(ours).unwrap(), &mut found);
    }
    for (path, example) in [
        ("/status", include_str!("../../fixtures/diagnostics/status-leader.json")),
        ("/leader", include_str!("../../fixtures/diagnostics/leader.json")),
        ("/debug/vars", include_str!("../../fixtures/diagnostics/debug-vars.json")),
    ] {
        let example: Value = serde_json::from_str(example).unwrap();
        compare("", &example, &get(&node, path), &mut found);
    }
    let want = known();
    let problems: Vec<_> = found.iter().filter(|found| !want.contains(found)).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(found.len(), want.len(), "listed, but not found: {found:#?}");
}

/// Differences that there are, and are to be.
fn known() -> Vec<String> {
    let lacking = LACKING.iter().map(|(path, _)| format!("{path} is missing"));
    lacking.chain(OURS.iter().map(|path| format!("{path} is ours"))).collect()
}

#[test]
fn trees_of_a_cluster_are_those_of_the_reference() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].execute("CREATE TABLE t(a)");
    cluster.join(&["-raft-non-voter"]);
    let leader = cluster.leader(0);
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // They have spoken with the leader.
    for number in [follower, 3] {
        cluster.nodes[number].execute("INSERT INTO t VALUES(1)");
    }
    cluster.nodes[other].kill();
    // v1 has an object, v2 an array: the same nodes in it, one of which is gone.
    let nodes = |document: Value| -> Vec<Value> {
        match document {
            Value::Object(nodes) => nodes.into_iter().map(|(_, node)| node).collect(),
            Value::Array(nodes) => nodes,
            other => panic!("{other}"),
        }
    };
    let mut found = Vec::new();
    for (path, example) in [
        ("/nodes", include_str!("../../fixtures/diagnostics/nodes-v1-one-unreachable.json")),
        ("/nodes?ver=2", include_str!("../../fixtures/diagnostics/nodes-v2-one-unreachable.json")),
    ] {
        let inner = |mut document: Value| match document.get_mut("nodes") {
            Some(array) => array.take(),
            None => document,
        };
        let example = nodes(inner(serde_json::from_str(example).unwrap()));
        let ours = nodes(inner(get(&cluster.nodes[leader], path)));
        assert_eq!((example.len(), ours.len()), (3, 3));
        for reachable in [true, false] {
            let one = |all: &[Value]| all.iter().find(|node| node["reachable"] == reachable).unwrap().clone();
            compare("", &one(&example), &one(&ours), &mut found);
        }
    }
    assert!(found.is_empty(), "{found:#?}");

    for (number, example) in [
        (leader, include_str!("../../fixtures/diagnostics/status-leader.json")),
        (follower, include_str!("../../fixtures/diagnostics/status-follower.json")),
        (3, include_str!("../../fixtures/diagnostics/status-nonvoter.json")),
    ] {
        let example: Value = serde_json::from_str(example).unwrap();
        compare("", &example, &get(&cluster.nodes[number], "/status"), &mut found);
    }
    let want = known();
    let problems: Vec<_> = found.iter().filter(|found| !want.contains(found)).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The order of keys counts too.
fn compare(path: &str, want: &Value, got: &Value, found: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            if FREE.contains(&path) {
                return;
            }
            let below = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            for (key, want) in want {
                match got.get(key) {
                    // Go's memory manager.
                    Some(got) if key == "memstats" && got.as_object().is_some_and(|got| got.is_empty()) => {
                        found.push("memstats is missing".into());
                    }
                    Some(got) => compare(&below(key), want, got, found),
                    None => found.push(format!("{} is missing", below(key))),
                }
            }
            let is_ours = |key: &&String| !want.contains_key(*key) && !FREE.contains(&below(key).as_str());
            found.extend(got.keys().filter(is_ours).map(|key| format!("{} is ours", below(key))));
            let common = |one: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
                one.keys().filter(|key| other.contains_key(*key)).cloned().collect::<Vec<_>>()
            };
            if common(want, got) != common(got, want) {
                found.push(format!("{path}: keys are in another order"));
            }
        }
        (Value::Array(want), Value::Array(got)) => {
            if let (Some(want), Some(got)) = (want.first(), got.first()) {
                compare(&format!("{path}[]"), want, got, found);
            }
        }
        _ if kind(want) == kind(got) => {}
        _ => found.push(format!("{path}: {got} instead of {want}")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "real",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[track_caller]
fn get(node: &Node, path: &str) -> Value {
    let answer = node.request("GET", path, &[], Vec::new());
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8", "{path}");
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths that tools read.
#[test]
fn values_are_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &["-fk"]);
    node.start();
    node.execute("CREATE TABLE t(a)");
    node.execute("INSERT INTO t VALUES(1)");

    let status = get(&node, "/status");
    let raft = &status["store"]["raft"];
    assert_eq!(raft["commit_index"], raft["applied_index"]);
    assert_eq!(raft["state"], "Leader");
    assert_eq!(raft["voter"], true);
    assert_eq!(status["store"]["open"], serde_json::json!({}));
    assert_eq!(status["store"]["fsm_index"], raft["applied_index"]);
    assert_eq!(status["store"]["db_applied_index"], raft["applied_index"]);
    assert_eq!(status["store"]["leader"]["node_id"], "1");
    assert_eq!(status["store"]["sqlite3"]["pragmas"]["rw"]["foreign_keys"], "1");
    assert_eq!(status["store"]["snapshot_store"]["snapshots"], serde_json::json!([]));
    assert_eq!(status.get("last_backup_time"), None);
    let path = status["store"]["sqlite3"]["path"].as_str().unwrap();
    assert!(std::path::Path::new(path).is_file() && path.starts_with(node.data_dir.to_str().unwrap()), "{path}");

    assert_eq!(node.request("POST", "/snapshot?trailing_logs=1", &[], Vec::new()).status(), 200);
    assert_eq!(node.request("POST", "/snapshot", &[], Vec::new()).status(), 204);
    assert_eq!(node.request("GET", "/db/backup", &[], Vec::new()).status(), 200);
    let status = get(&node, "/status");
    let raft = &status["store"]["raft"];
    assert_eq!(raft["last_snapshot_index"], raft["applied_index"]);
    assert_eq!(status["store"]["snapshot_store"]["snapshots"].as_array().unwrap().len(), 1);
    assert!(status["last_backup_time"].is_string());

    let text = |path: &str| String::from_utf8(node.request("GET", path, &[], Vec::new()).into_body()).unwrap();
    assert_eq!(text("/status?pretty&key=store.raft.state.x"), r#""Leader""#);
    assert_eq!(text("/status?key=nosuch.x"), "{}");
    assert_eq!(text("/status?key=store.leader"), node_of(&status["store"]["leader"]));
    assert_eq!(text("/debug/vars?key=nosuch"), "{\n\n}\n");
    assert_eq!(text("/debug/vars?key=sql.processor").lines().count(), 3);
    assert_eq!(text("/readyz?sync"), "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok");
    assert_eq!(text("/readyz?noleader"), "[+]node ok");
    let vars = get(&node, "/debug/vars");
    for (counter, want) in [
        ("/http/executions", 2),
        ("/http/execute_stmts_rx", 2),
        ("/http/user_snapshots", 2),
        ("/http/backups", 1),
        ("/db/executions", 2),
        ("/db/execution_errors", 0),
        ("/store/num_user_snapshots", 2),
        ("/store/num_backups", 1),
        ("/store/num_restores_start_skipped", 0),
    ] {
        assert_eq!(vars.pointer(counter).unwrap(), want, "{counter}");
    }
    assert!(text("/licenses").contains("\nopenraft v"));
}

/// Compact, in order.
fn node_of(leader: &Value) -> String {
    serde_json::to_string(&leader.as_object().unwrap().iter().collect::<BTreeMap<_, _>>()).unwrap()
}

#[test]
fn what_belongs_to_clusters_answers_truly_for_one_node() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &["-http-allow-origin", "https://example.com"]);
    node.start();
    let check = |method: &str, path: &str, body: &str, status: u16, want: &str| {
        let json = [("content-type", "application/json")];
        let got = node.request(method, path, &json, body.into());
        assert_eq!(
            (got.status().as_u16(), &*String::from_utf8_lossy(got.body())),
            (status, want),
            "{method} {path} {body}"
        );
        assert_eq!(got.headers()["access-control-allow-origin"], "https://example.com");
    };
    check("DELETE", "/remove", r#"{"id":"2"}"#, 200, "");
    check("DELETE", "/remove", r#"{"id":"1"}"#, 500, "need at least one voter in configuration: {[]}\n");
    check("DELETE", "/remove", r#"{"id":"1","x":"y"}"#, 400, "");
    check("DELETE", "/remove", "nope", 400, "");
    check("GET", "/remove", "", 405, "");
    check("POST", "/leader", "", 200, "");
    check("POST", "/leader?wait", "", 500, "stepdown: cannot find peer\n");
    check("POST", "/leader", r#"{"id":"1"}"#, 500, "stepdown: cannot step down to the current Leader\n");
    check("POST", "/leader", r#"{"id":"2"}"#, 500, "stepdown: node not found in cluster\n");
    check("POST", "/leader?wait", r#"{"id":null}"#, 500, "stepdown: cannot find peer\n");
    check("POST", "/reap", "", 200, "{\"snapshots_reaped\":0,\"wals_checkpointed\":0}\n");
    check("GET", "/reap", "", 405, "");
    check("POST", "/licenses", "", 405, "");
    check("GET", "/licenses/x", "", 404, "");
    check("GET", "/statusfoo?key=http.auth", "", 200, r#""disabled""#);
}
