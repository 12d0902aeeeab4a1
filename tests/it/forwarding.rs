//! Asking a follower, on real processes: levels and freshness, redirects, queued writes, connections that have died.

use std::thread;

use serde_json::{Value, json};

use crate::cluster::{CREATE, Cluster, eventually, get, sum, write};
use crate::node::{Node, try_post};

fn error(node: &Node, path: &str) -> Value {
    get(node, path).json()["error"].clone()
}

/// What a follower has that has heard of its leader lately, and what it has when it hasn't.
#[test]
fn a_read_is_as_fresh_as_it_was_asked_to_be() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    write(&cluster.nodes[0], 7);
    let leader = cluster.leader(0);
    let follower = (leader + 1) % 3;
    eventually("it follows", || sum(&cluster.nodes[follower], "none") == json!(7));
    let path = |freshness: &str| format!("/db/query?level=none&freshness={freshness}&q=SELECT%20sum(v)%20FROM%20t");
    assert_eq!(error(&cluster.nodes[follower], &path("60s&freshness_strict")), Value::Null);
    assert_eq!(error(&cluster.nodes[follower], &path("1ns")), "stale read");
    // Who leads is as fresh as can be.
    assert_eq!(error(&cluster.nodes[leader], &path("1ns")), Value::Null);
    // Without others nobody hears of a leader.
    for number in (0..3).filter(|number| *number != follower) {
        cluster.nodes[number].kill();
    }
    eventually("it is stale", || error(&cluster.nodes[follower], &path("300ms")) == "stale read");
    assert_eq!(sum(&cluster.nodes[follower], "none"), json!(7));
}

#[test]
fn auto_is_none_on_a_node_without_a_vote() {
    let mut cluster = Cluster::form(1);
    cluster.nodes[0].post("/db/execute", CREATE);
    cluster.join(&["-raft-non-voter"]);
    let reader = &cluster.nodes[1];
    let by = |level: &str| {
        let answer = reader.request("GET", &format!("/db/query?level={level}&q=SELECT%201"), &[], Vec::new());
        answer.headers()["x-rqlite-served-by"].to_str().unwrap().to_string()
    };
    assert_eq!(by("auto"), reader.url("").trim_start_matches("http://"));
    assert_eq!(by("weak"), cluster.nodes[0].raft());
    let status = get(reader, "/status").json();
    assert_eq!(status["store"]["raft"]["state"], "Follower");
    assert_eq!(status["store"]["raft"]["voter"], false);
}

#[test]
fn a_redirect_follows_the_leader() {
    let cluster = Cluster::form(3);
    for _ in 0..2 {
        let leader = cluster.leader(0);
        let other = (leader + 1) % 3;
        let asked = &cluster.nodes[(leader + 2) % 3];
        eventually("it knows the leader", || cluster.leader((leader + 2) % 3) == leader);
        let answer = asked.request("POST", "/db/execute?redirect", &[], b"[\"nonsense\"]".to_vec());
        assert_eq!(answer.status(), 301);
        assert_eq!(answer.headers()["location"].to_str().unwrap(), cluster.nodes[leader].url("/db/execute?redirect"));
        assert!(answer.body().is_empty());
        let remove = asked.request("DELETE", "/remove?redirect", &[], br#"{"id":"9"}"#.to_vec());
        assert_eq!((remove.status().as_u16(), remove.headers().contains_key("location")), (301, true));
        let step_down = [("content-type", "application/json")];
        let body = json!({"id": (other + 1).to_string()}).to_string().into_bytes();
        assert_eq!(asked.request("POST", "/leader?wait", &step_down, body).status(), 200);
        eventually("another leads", || cluster.leader(0) == other);
    }
}

/// server.md §8.4: a follower whose connections died with the leader opens one, once, and nobody sees it.
#[test]
fn a_stale_connection_is_seen_by_nobody() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    let leader = cluster.leader(0);
    let follower = (leader + 1) % 3;
    assert_eq!(write(&cluster.nodes[follower], 1)["results"][0]["rows_affected"], 1);
    let forced = |cluster: &Cluster| {
        get(&cluster.nodes[follower], "/debug/vars").json()["cluster"]["num_client_force_new_conn"].clone()
    };
    assert_eq!(forced(&cluster), 0);
    cluster.nodes[leader].kill();
    let other = (leader + 2) % 3;
    eventually("somebody else leads", || [follower, other].contains(&cluster.leader(follower)));
    cluster.nodes[leader].spawn();
    eventually("the leader is back", || {
        // Not through the follower, whose connections are what this is about.
        let asked = cluster.leader(other);
        let body = json!({"id": (leader + 1).to_string()}).to_string().into_bytes();
        let json = [("content-type", "application/json")];
        cluster.nodes[asked].request("POST", "/leader?wait", &json, body);
        cluster.leader(follower) == leader
    });
    eventually("it leads", || get(&cluster.nodes[leader], "/status?key=store.raft.state").json() == "Leader");
    assert_eq!(write(&cluster.nodes[follower], 1)["results"][0]["rows_affected"], 1);
    assert_eq!(forced(&cluster), 1);
    assert_eq!(write(&cluster.nodes[follower], 1)["results"][0]["rows_affected"], 1);
    assert_eq!(forced(&cluster), 1);
}

#[test]
fn queued_writes_go_through_a_follower_in_order() {
    let cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    let follower = cluster.follower();
    for value in 1..=100 {
        let body = format!(r#"[["INSERT INTO t(v) VALUES(?)", {value}], ["INSERT INTO t(v) VALUES(?)", -{value}]]"#);
        let answer = follower.post("/db/execute?queue", body).json();
        assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["results", "sequence_number"]);
        assert!(answer["results"].as_array().unwrap().is_empty(), "{answer}");
    }
    let last = follower.post("/db/execute?queue&wait", r#"["INSERT INTO t(v) VALUES(1000)"]"#).json();
    assert!(last["sequence_number"].is_i64(), "{last}");
    let expected: Vec<Value> = (1..=100).flat_map(|value| [json!([value]), json!([-value])]).collect();
    let rows = cluster.nodes[cluster.leader(0)].query("SELECT v FROM t ORDER BY id");
    assert_eq!(rows[..200], expected[..]);
    assert_eq!(rows[200..], [json!([1000])]);
    let status = get(follower, "/status?key=http.queue._default.sequence_number").json();
    assert_eq!(status, last["sequence_number"]);
}

/// What is queued while nobody leads is written when somebody does: it certainly wasn't before.
#[test]
fn queued_writes_wait_for_a_leader() {
    let mut cluster = Cluster::form(3);
    cluster.nodes[0].post("/db/execute", CREATE);
    let leader = cluster.leader(0);
    let (stays, goes) = ((leader + 1) % 3, (leader + 2) % 3);
    for number in [leader, goes] {
        cluster.nodes[number].kill();
    }
    eventually("nobody leads", || get(&cluster.nodes[stays], "/status?key=store.leader.addr").json() == "");
    assert_eq!(cluster.nodes[stays].post("/db/execute?queue", r#"["INSERT INTO t(v) VALUES(1)"]"#).status, 503);
    let (agent, url) =
        (cluster.nodes[stays].agent(), cluster.nodes[stays].url("/db/execute?queue&noleader&wait&timeout=50s"));
    let waiting = thread::spawn(move || try_post(&agent, &url, br#"["INSERT INTO t(v) VALUES(7)"]"#).unwrap().status);
    eventually("it has been tried", || cluster.nodes[stays].log().contains("queued writes are tried again"));
    assert!(!waiting.is_finished());
    for number in [leader, goes] {
        cluster.nodes[number].spawn();
    }
    assert_eq!(waiting.join().unwrap(), 200);
    assert_eq!(cluster.nodes[stays].query("SELECT v FROM t"), [json!([7])]);
}
