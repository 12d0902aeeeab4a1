//! Who is in the cluster, on real processes: coming, moving, leaving, being thrown out; found by name.

use serde_json::{Value, json};

use crate::cluster::{CREATE, Cluster, eventually, get, node, sum, wait_until_formed, write};
use crate::node::{Node, try_get};

fn counter(node: &Node, pointer: &str) -> Value {
    get(node, "/debug/vars").json().pointer(pointer).unwrap_or_else(|| panic!("no counter {pointer}")).clone()
}

/// The ids of the voters, as a node answers them.
fn voters(node: &Node) -> Vec<String> {
    get(node, "/nodes").json().as_object().unwrap().keys().cloned().collect()
}

#[test]
fn who_joins_again_is_ignored_or_moved() {
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    // It has tried to join itself before it formed a cluster.
    let asked = |cluster: &Cluster, leader: usize| {
        counter(&cluster.nodes[leader], "/cluster/num_join_req").as_i64().unwrap() - i64::from(leader == 0)
    };
    cluster.join(&[]);
    cluster.join(&[]);
    // Through a node that doesn't lead: who was asked sent it on.
    let leader = cluster.leader(0);
    assert_eq!(asked(&cluster, leader), 2);
    assert_eq!(counter(&cluster.nodes[leader], "/store/num_joins"), 2);

    cluster.nodes[2].kill();
    cluster.nodes[2].spawn();
    wait_until_formed(&mut cluster.nodes[2]);
    assert_eq!(counter(&cluster.nodes[leader], "/store/num_ignored_joins"), 1);
    assert_eq!(counter(&cluster.nodes[leader], "/store/num_removed_before_joins"), 0);

    cluster.nodes[2].kill();
    cluster.nodes[2].relocate();
    cluster.nodes[2].spawn();
    wait_until_formed(&mut cluster.nodes[2]);
    assert_eq!(counter(&cluster.nodes[leader], "/store/num_removed_before_joins"), 1);
    assert_eq!(asked(&cluster, leader), 4);
    let listed = get(&cluster.nodes[leader], "/status?key=store.nodes").json();
    assert_eq!(listed[2], json!({"id": "3", "addr": cluster.nodes[2].raft(), "suffrage": "voter"}));
    assert_eq!(write(&cluster.nodes[2], 1)["results"][0]["rows_affected"], 1);
    eventually("it follows", || sum(&cluster.nodes[2], "none") == json!(8));
}

#[test]
fn an_address_that_another_node_has_is_refused() {
    let mut cluster = Cluster::form(1);
    let taken = cluster.join(&[]).raft();
    let join = cluster.nodes[0].raft();
    let mut third = node(cluster.directory.path(), 3);
    third.add_flags(&["-join-attempts", "1", "-join", &join, "-raft-adv-addr", &taken]);
    third.spawn();
    assert_eq!(third.wait().code(), Some(1));
    let want = format!("found duplicate address in configuration: {taken}");
    assert!(third.log().contains(&want), "{}", third.log());
    assert!(third.log().contains("(did you forget to set -join-as?)"), "{}", third.log());
}

/// The address is valid for Go; that nobody is there shows when it is asked.
#[test]
fn a_node_that_tries_to_join_answers_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    node.add_flags(&["-join", "http://nonsense", "-join-attempts", "5", "-join-interval", "1s"]);
    node.spawn();
    let status = |node: &Node, path: &str| try_get(&node.agent(), &node.url(path)).map_or(0, |answer| answer.status);
    node.wait_until(|node| status(node, "/readyz?noleader") == 200);
    assert_eq!(status(&node, "/readyz"), 503);
    assert_eq!(status(&node, "/status"), 200);
    assert_eq!(node.wait().code(), Some(1));
    assert!(
        node.log().contains("clustering failure: failed to join cluster: failed to join cluster"),
        "{}",
        node.log()
    );
}

#[test]
fn a_node_that_is_stopped_while_it_joins_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    node.add_flags(&["-join", "localhost:9", "-join-attempts", "1000"]);
    node.spawn();
    node.wait_until(|node| node.log().contains("failed to join via node at localhost:9"));
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait().code(), Some(1));
    assert!(
        node.log().contains("clustering failure: failed to join cluster: join operation canceled"),
        "{}",
        node.log()
    );
}

#[test]
fn nobody_else_came_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    let own = node.raft();
    node.add_flags(&["-bootstrap-expect", "3", "-bootstrap-expect-timeout", "1500ms", "-join", &own]);
    node.spawn();
    assert_eq!(node.wait().code(), Some(1));
    assert!(node.log().contains("clustering failure: boot timeout"), "{}", node.log());
}

#[test]
fn a_new_node_without_a_vote_needs_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    node.add_flags(&["-raft-non-voter=true"]);
    node.spawn();
    assert_eq!(node.wait().code(), Some(1));
    let want = "clustering failure: cannot create a new non-voting node without joining it to an existing cluster";
    assert!(node.log().contains(want), "{}", node.log());
}

/// With the same flags, as an orchestrator starts its nodes.
#[test]
fn a_cluster_comes_back_and_takes_one_more() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    let join = cluster.nodes.iter().map(Node::raft).collect::<Vec<_>>().join(",");
    let mut fourth = node(cluster.directory.path(), 4);
    fourth.add_flags(&["-bootstrap-expect", "3", "-join", &join, "-raft-cluster-remove-shutdown=true"]);
    fourth.spawn();
    wait_until_formed(&mut fourth);
    eventually("it has everything", || sum(&fourth, "none") == json!(7));
    assert_eq!(voters(&cluster.nodes[0]).len(), 4);

    // Removed by itself, it comes back.
    fourth.signal(libc::SIGTERM);
    assert!(fourth.wait().success(), "{}", fourth.log());
    assert_eq!(voters(&cluster.nodes[0]), ["1", "2", "3"]);
    fourth.spawn();
    wait_until_formed(&mut fourth);
    eventually("it is in again", || voters(&cluster.nodes[0]).len() == 4);
    cluster.nodes.push(fourth);

    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_until_ready();
    assert_eq!(write(&cluster.nodes[3], 1)["results"][0]["rows_affected"], 1);
    for node in &cluster.nodes {
        eventually("everything is there", || sum(node, "none") == json!(8));
    }
}

/// Killed and started without a word about the others.
#[test]
fn a_cluster_knows_its_members() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    cluster.nodes.iter_mut().for_each(Node::kill);
    for (number, node) in cluster.nodes.iter_mut().enumerate() {
        node.set_flags(&["-node-id", &(number + 1).to_string()]);
        node.spawn();
    }
    cluster.wait_until_ready();
    let leader = cluster.leader(0);
    let want = json!({"node_id": (leader + 1).to_string(), "addr": cluster.nodes[leader].raft()});
    for node in &cluster.nodes {
        eventually("all name the same leader", || get(node, "/status?key=store.leader").json() == want);
        assert_eq!(get(node, "/readyz").status, 200);
        eventually("everything is there", || sum(node, "none") == json!(7));
    }
}

#[test]
fn dead_nodes_are_reaped() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = node(directory.path(), 1);
    let reap = ["-raft-reap-node-timeout", "2s", "-raft-reap-read-only-node-timeout", "1s"];
    first.add_flags(&reap);
    first.start();
    let mut cluster = Cluster { nodes: vec![first], directory };
    cluster.join(&reap);
    cluster.join(&reap);
    cluster.join(&["-raft-non-voter"]);
    let all = |node: &Node| get(node, "/nodes?nonvoters").json().as_object().unwrap().len();
    assert_eq!(all(&cluster.nodes[0]), 4);
    let leader = cluster.leader(0);
    cluster.nodes[3].kill();
    eventually("who only reads is out", || all(&cluster.nodes[leader]) == 3);
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].kill();
    eventually("a voter is out", || all(&cluster.nodes[leader]) == 2);
    // The members change before the reaper hears that they have.
    eventually("both are counted", || counter(&cluster.nodes[leader], "/store/nodes_reaped_ok") == 2);
    let log = cluster.nodes[leader].log();
    assert!(log.contains("successfully reaped voting node") && log.contains("successfully reaped non-voting node"));
}

#[test]
fn a_node_is_removed_through_any_other() {
    let mut cluster = Cluster::form(3);
    cluster.join(&[]);
    let leader = cluster.leader(0);
    let victims: Vec<usize> = (0..4).filter(|number| *number != leader).collect();
    for (asked, victim) in [(victims[0], victims[1]), (leader, victims[2])] {
        cluster.nodes[victim].kill();
        let nodes = get(&cluster.nodes[asked], "/nodes").json();
        let dead = &nodes[(victim + 1).to_string()];
        assert_eq!(dead["reachable"], false, "{dead}");
        assert!(dead["error"].is_string() && dead.get("api_addr").is_none() && dead.get("time").is_none(), "{dead}");
        let before = nodes.as_object().unwrap().len();
        let body = json!({"id": (victim + 1).to_string()}).to_string();
        let answer = cluster.nodes[asked].request("DELETE", "/remove", &[], body.into_bytes());
        assert_eq!(answer.status(), 200);
        assert_eq!(voters(&cluster.nodes[asked]).len(), before - 1);
    }
}

/// One of two that leaves takes its vote with it, be it the leader or not.
#[test]
fn who_leaves_leaves_the_other_writable() {
    for leaves in ["the leader", "the other"] {
        let directory = tempfile::tempdir().unwrap();
        let mut first = node(directory.path(), 1);
        first.add_flags(&["-raft-cluster-remove-shutdown=true"]);
        first.start();
        first.post("/db/execute", CREATE);
        let mut cluster = Cluster { nodes: vec![first], directory };
        cluster.join(&["-raft-cluster-remove-shutdown=true"]);
        let leader = cluster.leader(0);
        let goes = if leaves == "the leader" { leader } else { 1 - leader };
        cluster.nodes[goes].signal(libc::SIGTERM);
        assert!(cluster.nodes[goes].wait().success(), "{leaves}: {}", cluster.nodes[goes].log());
        let stays = &mut cluster.nodes[1 - goes];
        assert_eq!(voters(stays).len(), 1, "{leaves}");
        stays.wait_until_ready();
        assert_eq!(write(stays, 1)["results"][0]["rows_affected"], 1, "{leaves}");
    }
}

/// It can't take away the only vote.
#[test]
fn a_sole_node_can_t_leave() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    node.add_flags(&["-raft-cluster-remove-shutdown=true"]);
    node.start();
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait().code(), Some(1));
    let want =
        "failed to remove this node from cluster before shutdown: need at least one voter in configuration: {[]}";
    assert!(node.log().contains(want), "{}", node.log());
}

#[test]
fn a_late_node_gets_a_snapshot_once_the_log_is_gone() {
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].post("/db/execute", CREATE);
    for value in 0..20 {
        write(&cluster.nodes[0], value);
    }
    assert_eq!(cluster.nodes[0].request("POST", "/snapshot?trailing_logs=1", &[], Vec::new()).status(), 200);
    cluster.join(&[]);
    eventually("it has everything", || sum(&cluster.nodes[1], "none") == json!(190));
    assert_eq!(counter(&cluster.nodes[1], "/store/num_restores"), 1);
    assert_eq!(counter(&cluster.nodes[1], "/store/num_restores_start"), 0);
    // Its database is a checkpoint: a start copies nothing.
    cluster.nodes[1].kill();
    cluster.nodes[1].start();
    assert_eq!(counter(&cluster.nodes[1], "/store/num_restores_start_skipped"), 1);
    assert_eq!(counter(&cluster.nodes[1], "/store/num_restores"), 0);
}

#[test]
fn nodes_find_each_other_by_dns() {
    let directory = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (1..=4).map(|number| node(directory.path(), number)).collect();
    let mut hosts: Vec<String> = nodes[..3].iter().map(Node::raft).collect();
    let joined = hosts.join(",");
    hosts.sort();
    for (number, node) in nodes.iter_mut().enumerate() {
        node.add_flags(&["-disco-mode", "dns"]);
        node.add_flags(if number < 3 { &["-bootstrap-expect", "3"] } else { &["-raft-non-voter"] });
        node.set_env("RQLITE_DISCO_DNS_HOSTS", &joined);
        node.spawn();
    }
    nodes.iter_mut().for_each(wait_until_formed);
    nodes[0].post("/db/execute", CREATE);
    assert_eq!(write(&nodes[3], 7)["results"][0]["rows_affected"], 1);
    for node in &nodes {
        eventually("it is one cluster", || sum(node, "none") == json!(7));
        let disco = get(node, "/status?key=disco").json();
        assert_eq!((&disco["mode"], &disco["last_addresses"]), (&json!("dns"), &json!(hosts)));
        assert_eq!(disco["name"], "rqlite");
    }
    assert_eq!(voters(&nodes[0]).len(), 3);
}

/// The name is looked up by the system, and the port is one's own unless the file says otherwise.
#[test]
fn a_name_is_looked_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = node(directory.path(), 1);
    let raft = node.raft();
    let (host, port) = raft.rsplit_once(':').unwrap();
    let config = directory.path().join("disco.json");
    std::fs::write(&config, format!(r#"{{"name": "${{NAME}}", "port": {port}}}"#)).unwrap();
    node.add_flags(&["-disco-mode=dns", "-bootstrap-expect", "1", "-disco-config", config.to_str().unwrap()]);
    node.set_env("NAME", host);
    node.spawn();
    wait_until_formed(&mut node);
    let disco = get(&node, "/status?key=disco").json();
    assert_eq!(disco["last_addresses"], json!([raft]));
    assert!(disco["last_contact"].is_string(), "{disco}");

    let mut wrong = crate::cluster::node(directory.path(), 2);
    wrong.add_flags(&["-disco-mode=dns", "-bootstrap-expect", "1"]);
    wrong.set_env("RQLITE_DISCO_DNS_HOSTS", "nonsense");
    wrong.add_flags(&["-bootstrap-expect-timeout", "1500ms"]);
    wrong.spawn();
    assert_eq!(wrong.wait().code(), Some(1));
    assert!(wrong.log().contains("RQLITE_DISCO_DNS_HOSTS: invalid address nonsense"), "{}", wrong.log());
}
