//! H16: what another SQLite has computed isn't computed again by this one. A node whose engine isn't the cluster's stops
//! at the first entry that runs SQL; what runs none goes on.

use rqlite::command::{Command, Kind, Settings};
use rqlite::db::engine;

use crate::node::{Node, request};

fn settings(engine: &str) -> Command {
    let settings = Settings { engine: Some(engine.into()), ..Settings::default() };
    Command { kind: Some(Kind::Settings(settings)), ..request(&[]) }
}

#[test]
fn a_node_with_another_engine_stops_before_it_differs() {
    let mut node = Node::new();
    node.apply(settings(&engine::fingerprint()));
    node.run("CREATE TABLE t(v)");
    node.apply(settings("another"));
    // Settings are none of SQLite's business.
    node.apply(settings("yet another"));
    let fault = node.try_apply(request(&["INSERT INTO t VALUES (1)"])).unwrap_err();
    assert!(fault.0.contains("the cluster runs another SQLite"), "{}", fault.0);
    assert!(fault.0.starts_with("applying entry 5: "), "{}", fault.0);
    assert_eq!(node.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_command_that_isn_t_known_stops_the_node() {
    let mut node = Node::new();
    let fault = node.try_apply(Command { kind: None, ..request(&[]) }).unwrap_err();
    assert!(fault.0.contains("it holds a command that this version doesn't know"), "{}", fault.0);
}
