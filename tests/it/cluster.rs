//! Clusters of real processes: formed, joined, asked through any node, and bereft of their leaders.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{Answer, Node, try_get};

/// How long a cluster may take to have what it should.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub directory: TempDir,
}

impl Cluster {
    /// Nodes that find each other.
    pub fn form(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = (1..=count).map(|number| node(directory.path(), number)).collect();
        let join = nodes.iter().map(Node::raft).collect::<Vec<_>>().join(",");
        for node in &mut nodes {
            node.add_flags(&["-bootstrap-expect", &count.to_string(), "-join", &join]);
            node.spawn();
        }
        let mut cluster = Self { nodes, directory };
        cluster.wait_until_ready();
        cluster
    }

    /// One more, which joins through the last of those that there are.
    pub fn join(&mut self, flags: &[&str]) -> &mut Node {
        let mut node = node(self.directory.path(), self.nodes.len() + 1);
        node.add_flags(&["-join", &self.nodes.last().expect("there is one").raft()]);
        node.add_flags(flags);
        node.spawn();
        wait_until_formed(&mut node);
        self.nodes.push(node);
        self.nodes.last_mut().expect("just pushed")
    }

    pub fn wait_until_ready(&mut self) {
        self.nodes.iter_mut().for_each(wait_until_formed);
    }

    /// The number of the node that leads, as node `at` sees it.
    pub fn leader(&self, at: usize) -> usize {
        let started = Instant::now();
        loop {
            let status = get(&self.nodes[at], "/status").json();
            let leader = status["store"]["leader"]["node_id"].as_str().unwrap_or_default().to_string();
            if let Ok(number) = leader.parse::<usize>() {
                return number - 1;
            }
            assert!(started.elapsed() < PATIENCE, "there is no leader");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A node that doesn't lead.
    pub fn follower(&self) -> &Node {
        &self.nodes[(self.leader(0) + 1) % self.nodes.len()]
    }
}

pub fn node(directory: &Path, number: usize) -> Node {
    let directory = directory.join(number.to_string());
    std::fs::create_dir(&directory).unwrap();
    Node::new(&directory, &["-node-id", &number.to_string()])
}

/// The node is ready, and done with joining.
pub fn wait_until_formed(node: &mut Node) {
    node.wait_until_ready();
    eventually("the node is part of its cluster", || {
        let log = node.log();
        let start = log.rfind("launch command").unwrap_or(0);
        log[start..].contains("node HTTP API available")
    });
}

/// `what` holds, sooner or later.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub fn get(node: &Node, path: &str) -> Answer {
    try_get(&node.agent(), &node.url(path)).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", node.log()))
}

pub fn write(node: &Node, value: u64) -> Value {
    let answer = node.post("/db/execute", format!(r#"[["INSERT INTO t(v) VALUES (?)", {value}]]"#));
    // Without a leader it is a line of text.
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

pub fn sum(node: &Node, level: &str) -> Value {
    get(node, &format!("/db/query?level={level}&q=SELECT%20sum(v)%20FROM%20t")).json()["results"][0]["values"][0][0]
        .clone()
}

pub const CREATE: &str = r#"["CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER)"]"#;

#[test]
fn any_node_can_be_asked() {
    let cluster = Cluster::form(3);
    let follower = cluster.follower();
    assert_eq!(follower.post("/db/execute", CREATE).json(), json!({"results": [{}]}));
    for (n, node) in cluster.nodes.iter().enumerate() {
        let id = n as u64 + 1;
        assert_eq!(write(node, 10), json!({"results": [{"last_insert_id": id, "rows_affected": 1}]}));
    }
    for node in &cluster.nodes {
        for level in ["weak", "linearizable", "strong", "auto"] {
            assert_eq!(sum(node, level), json!(30), "{level}");
        }
        eventually("every node has applied it", || sum(node, "none") == json!(30));
    }
    let both = follower.post("/db/request", r#"["INSERT INTO t(v) VALUES (1)", "SELECT sum(v) FROM t"]"#).json();
    assert_eq!(both["results"][1]["values"], json!([[31]]));

    // The leader's bytes, through a follower.
    let backup = get(follower, "/db/backup");
    assert_eq!(backup.status, 200);
    assert!(backup.body.starts_with(b"SQLite format 3\0"));
    assert_eq!(write(follower, 100)["results"][0]["rows_affected"], 1);
    let loaded = follower.post("/db/load", &backup.body);
    assert_eq!((loaded.status, String::from_utf8_lossy(&loaded.body).into_owned()), (200, r#"{"results":[]}"#.into()));
    for node in &cluster.nodes {
        eventually("every node has loaded it", || sum(node, "none") == json!(31));
    }
    let refused = follower.post("/db/load", vec![b'x'; 10]);
    assert_eq!(refused.status, 200, "text: {}", String::from_utf8_lossy(&refused.body));
}

#[test]
fn a_redirect_names_the_leaders_api() {
    let cluster = Cluster::form(3);
    let (leader, follower) = (&cluster.nodes[cluster.leader(0)], cluster.follower());
    let answer = follower.agent().post(follower.url("/db/execute?redirect&pretty")).send(CREATE.as_bytes()).unwrap();
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"].to_str().unwrap(), leader.url("/db/execute?redirect&pretty"));

    let answer = follower.agent().post(follower.url("/db/execute")).send(CREATE.as_bytes()).unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-rqlite-served-by"].to_str().unwrap(), leader.raft());
}

#[test]
fn the_others_go_on_without_their_leader() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    let leader = cluster.leader(0);
    cluster.nodes[leader].kill();
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    eventually("a write is taken again", || write(&cluster.nodes[others[0]], 1)["results"][0]["rows_affected"] == 1);
    assert_ne!(cluster.leader(others[1]), leader);

    // Alone a node leads nothing, and says so at once.
    cluster.nodes[others[1]].kill();
    let alone = &cluster.nodes[others[0]];
    eventually("nobody leads", || get(alone, "/status").json()["store"]["leader"]["node_id"] == "");
    for path in
        ["/db/query?level=strong&q=SELECT%201", "/db/query?level=linearizable&q=SELECT%201", "/db/query?q=SELECT%201"]
    {
        assert_eq!(get(alone, path).status, 503, "{path}");
    }
    assert_eq!(alone.post("/db/execute", "[\"INSERT INTO t(v) VALUES (1)\"]").status, 503);
    assert_eq!(get(alone, "/db/query?level=none&q=SELECT%201").status, 200);

    for number in [leader, others[1]] {
        cluster.nodes[number].spawn();
    }
    cluster.wait_until_ready();
    for node in &cluster.nodes {
        eventually("the write is everywhere", || sum(node, "none") == json!(1));
    }
}

#[test]
fn nodes_join_with_and_without_a_vote() {
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    cluster.join(&[]);
    // Through a node that doesn't lead.
    cluster.join(&[]);
    cluster.join(&["-raft-non-voter"]);
    for node in &cluster.nodes {
        eventually("it has what was there before", || sum(node, "none") == json!(7));
    }
    assert_eq!(write(&cluster.nodes[3], 1)["results"][0]["rows_affected"], 1);
    // Joining again, just so, changes nothing.
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    eventually("it has caught up", || sum(&cluster.nodes[2], "none") == json!(8));
}

#[test]
fn a_join_that_is_wrong_is_refused() {
    let mut cluster = Cluster::form(1);
    let other = Cluster::form(1);
    // A node with data of a cluster of its own.
    let mut stranger = node(cluster.directory.path(), 9);
    stranger.add_flags(&["-join-attempts", "1", "-join", &other.nodes[0].raft()]);
    stranger.start();
    stranger.kill();
    stranger.add_flags(&["-join", &cluster.nodes[0].raft()]);
    stranger.spawn();
    assert_eq!(stranger.wait().code(), Some(1));
    assert!(stranger.log().contains("belongs to another cluster"), "{}", stranger.log());
    assert!(stranger.log().contains("clustering failure: failed to join cluster: failed to join cluster"));

    let mut lost = node(cluster.directory.path(), 8);
    let http = cluster.nodes[0].url("");
    lost.add_flags(&["-join", http.trim_start_matches("http://")]);
    lost.spawn();
    assert_eq!(lost.wait().code(), Some(1));
    assert!(lost.log().contains("appears to be serving HTTP when it should be Raft"), "{}", lost.log());

    cluster.nodes[0].signal(libc::SIGTERM);
    assert!(cluster.nodes[0].wait().success());
    cluster.nodes[0].add_flags(&["-bootstrap-expect", "0", "-join", &other.nodes[0].raft()]);
    cluster.nodes[0].spawn();
    assert_eq!(cluster.nodes[0].wait().code(), Some(1));
    assert!(cluster.nodes[0].log().contains("joining other clusters not supported"));
}

#[test]
fn a_leader_that_is_stopped_hands_over() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    let leader = cluster.leader(0);
    cluster.nodes[leader].signal(libc::SIGTERM);
    assert!(cluster.nodes[leader].wait().success(), "{}", cluster.nodes[leader].log());
    assert!(cluster.nodes[leader].log().contains("stepping down as Leader before shutdown"));
    // Nobody had to wait for a lease to end.
    let other = &cluster.nodes[(leader + 1) % 3];
    eventually("it is written", || write(other, 1)["results"][0]["rows_affected"] == 1);
}

#[test]
fn a_node_removes_itself_when_it_is_stopped() {
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].post("/db/execute", CREATE);
    cluster.join(&["-raft-cluster-remove-shutdown=true"]);
    cluster.nodes[1].signal(libc::SIGTERM);
    assert!(cluster.nodes[1].wait().success(), "{}", cluster.nodes[1].log());
    // One of two: without the other it could not be written.
    assert_eq!(write(&cluster.nodes[0], 1)["results"][0]["rows_affected"], 1);
}

/// The log from before the boot would make the old database of it.
#[test]
fn a_booted_database_reaches_who_joins() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let connection = rusqlite::Connection::open(file.path()).unwrap();
    connection.execute_batch("CREATE TABLE booted(a); INSERT INTO booted VALUES(7)").unwrap();
    drop(connection);
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].execute("CREATE TABLE before(a)");
    let booted = cluster.nodes[0].request("POST", "/boot", &[], std::fs::read(file.path()).unwrap());
    assert_eq!(booted.status(), 200);
    cluster.nodes[0].execute("INSERT INTO booted VALUES(8)");
    cluster.join(&[]);
    let tables = "/db/query?level=none&q=SELECT%20group_concat(name),%20(SELECT%20sum(a)%20FROM%20booted)%20FROM%20sqlite_schema";
    eventually("the booted database is on both nodes", || {
        cluster.nodes.iter().all(|node| get(node, tables).json()["results"][0]["values"] == json!([["booted", 15]]))
    });
    let refused = cluster.nodes[0].request("POST", "/boot", &[], std::fs::read(file.path()).unwrap());
    let refused = (refused.status().as_u16(), String::from_utf8_lossy(refused.body()).into_owned());
    let leader = cluster.leader(0);
    let text = if leader == 0 { "not single-node\n" } else { "not leader\n" };
    assert_eq!(refused, (503, text.to_string()));
}
