//! `raft/peers.json` on real processes: a cluster that has moved, one that has lost too many, and files that are wrong.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{CREATE, Cluster, eventually, get, node, sum, wait_until_formed, write};
use crate::node::{Node, try_get};

/// Gives the file to each of the nodes `at`, which don't run.
fn give_peers(cluster: &Cluster, at: &[usize]) {
    let peers: Vec<Value> =
        at.iter().map(|at| json!({"id": (at + 1).to_string(), "address": cluster.nodes[*at].raft()})).collect();
    for at in at {
        fs::write(file(&cluster.nodes[*at], "peers.json"), json!(peers).to_string()).unwrap();
    }
}

fn file(node: &Node, name: &str) -> std::path::PathBuf {
    node.data_dir.join("raft").join(name)
}

/// Starts the nodes `at`, with nothing but their ids: what they are part of is on their disks.
fn start(cluster: &mut Cluster, at: &[usize]) {
    for at in at {
        cluster.nodes[*at].set_flags(&["-node-id", &(at + 1).to_string()]);
        cluster.nodes[*at].spawn();
    }
}

#[test]
fn s27_all_addresses_of_a_cluster_change_at_once_and_settings_stay() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    // Replicated state, which the flag of a start doesn't change. (S27)
    cluster.nodes[0].post("/db/execute", r#"["PRAGMA foreign_keys=ON"]"#);
    write(&cluster.nodes[1], 7);
    for node in &mut cluster.nodes {
        node.kill();
        node.relocate();
    }
    give_peers(&cluster, &[0, 1, 2]);
    start(&mut cluster, &[0, 1, 2]);
    cluster.wait_until_ready();
    assert_eq!(write(&cluster.nodes[2], 1)["results"][0]["rows_affected"], 1);
    for (number, node) in cluster.nodes.iter().enumerate() {
        eventually("everything is there", || sum(node, "none") == json!(8));
        assert!(!file(node, "peers.json").exists() && file(node, "peers.info").exists());
        assert_eq!(get(node, "/debug/vars?key=store").json()["store"]["num_recoveries"], 1);
        let foreign_keys = get(node, "/db/query?level=none&q=PRAGMA%20foreign_keys").text();
        assert!(foreign_keys.contains(r#""values":[[1]]"#), "{foreign_keys}");
        let nodes = get(node, "/status?key=store.nodes").json();
        assert_eq!(nodes[number], json!({"id": (number + 1).to_string(), "addr": node.raft(), "suffrage": "voter"}));
    }

    // It is a cluster like any other: it does without one, and takes one in, which stays one of it.
    let leader = cluster.leader(0);
    cluster.nodes[leader].kill();
    let other = &cluster.nodes[(leader + 1) % 3];
    eventually("it is written", || write(other, 1)["results"][0]["rows_affected"] == 1);
    cluster.nodes[leader].start();
    cluster.join(&[]);
    eventually("it has everything", || sum(&cluster.nodes[3], "none") == json!(9));
    cluster.nodes[3].kill();
    let leader = cluster.leader(0);
    eventually("it is written", || write(&cluster.nodes[leader], 1)["results"][0]["rows_affected"] == 1);
    cluster.nodes[3].start();
    eventually("it has everything again", || sum(&cluster.nodes[3], "none") == json!(10));
}

/// Two of three that are left are a majority, but the write is only on the third.
#[test]
fn survivors_wait_for_the_one_that_has_most() {
    let mut cluster = Cluster::form(5);
    cluster.nodes[0].post("/db/execute", CREATE);
    for at in 0..5 {
        eventually("the table is there", || sum(&cluster.nodes[at], "none") == Value::Null);
    }
    for at in [3, 4] {
        cluster.nodes[at].kill();
    }
    eventually("it is written", || write(&cluster.nodes[0], 7)["results"][0]["rows_affected"] == 1);
    eventually("it is on the one that stays", || sum(&cluster.nodes[2], "none") == json!(7));
    for at in [0, 1, 2] {
        cluster.nodes[at].kill();
    }
    give_peers(&cluster, &[2, 3, 4]);
    start(&mut cluster, &[3, 4]);
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        for node in &cluster.nodes[3..] {
            if let Ok(answer) = try_get(&node.agent(), &node.url("/readyz")) {
                assert_eq!(answer.status, 503, "it doesn't wait: {}", node.log());
            }
        }
        std::thread::yield_now();
    }
    start(&mut cluster, &[2]);
    for node in &mut cluster.nodes[2..] {
        wait_until_formed(node);
    }
    for node in &cluster.nodes[2..] {
        eventually("what was acknowledged is there", || sum(node, "none") == json!(7));
    }

    // Whoever hasn't got the file is of another history.
    start(&mut cluster, &[0]);
    eventually("it is refused", || cluster.nodes[0].log().contains("data from before and after a recovery or boot"));
    assert_eq!(write(&cluster.nodes[4], 1)["results"][0]["rows_affected"], 1);
    assert_eq!(sum(&cluster.nodes[0], "none"), json!(7));
}

#[test]
fn one_of_three_goes_on_alone() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    eventually("it is there", || sum(&cluster.nodes[2], "none") == json!(7));
    cluster.nodes.iter_mut().for_each(Node::kill);
    give_peers(&cluster, &[2]);
    start(&mut cluster, &[2]);
    wait_until_formed(&mut cluster.nodes[2]);
    assert_eq!(write(&cluster.nodes[2], 1)["results"][0]["rows_affected"], 1);
    assert_eq!(sum(&cluster.nodes[2], "strong"), json!(8));
    // The others come back with nothing, as new ones.
    fs::remove_dir_all(&cluster.nodes[0].data_dir).unwrap();
    let join = cluster.nodes[2].raft();
    cluster.nodes[0].set_flags(&["-node-id", "1", "-join", &join]);
    cluster.nodes[0].spawn();
    wait_until_formed(&mut cluster.nodes[0]);
    eventually("it has everything", || sum(&cluster.nodes[0], "none") == json!(8));
}

#[test]
fn a_file_that_is_wrong_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    node.start();
    node.execute("CREATE TABLE t(v)");
    node.kill();
    for (text, want) in [
        ("[", "failed to open store: failed to read peers file: EOF while parsing a list"),
        ("[]", "failed to open store: failed to read peers file: need at least one voter in configuration: {[]}"),
        (
            r#"[{"id":"1","address":"h:1"},{"id":"1","address":"h:2"}]"#,
            "failed to open store: failed to read peers file: found duplicate ID in configuration: 1",
        ),
        (
            r#"[{"id":"1","address":"127.0.0.1"}]"#,
            "failed to open store: failed to recover node: invalid address in configuration: 127.0.0.1",
        ),
        (
            r#"[{"id":"1","address":"http://h:1"}]"#,
            "failed to open store: failed to recover node: protocol specified in address: http://h:1",
        ),
        (r#"[{"id":"2","address":"h:1"}]"#, "failed to open store: failed to recover node: this node (1) is not in "),
    ] {
        fs::write(file(&node, "peers.json"), text).unwrap();
        node.spawn();
        assert_eq!(node.wait().code(), Some(1), "{text}");
        assert!(node.log().contains(want), "{text}: {}", node.log());
    }
    // Nothing was changed.
    fs::remove_file(file(&node, "peers.json")).unwrap();
    node.start();
    assert!(node.query("SELECT * FROM t").is_empty());
}
