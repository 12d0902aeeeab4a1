//! H8: where SQLite draws from its own generator and writes the result into data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;

use crate::node::{Node, assert_equal, request};

const DRAWS: &[&str] = &[
    "INSERT INTO t VALUES ('after the last rowid')",
    "CREATE TABLE c AS SELECT 1 a, 1 a, 1 a, 1 a, 1 a, 1 a, 1 a",
    "INSERT INTO l SELECT fts5_locale('en_US', 'text')",
    "INSERT INTO t SELECT hex(randomblob(9)) || random()",
    "DROP TABLE c",
];

fn tables(mut node: Node) -> Node {
    node.run("CREATE TABLE t(v)");
    node.run("CREATE TABLE l(v)");
    node.run("INSERT INTO t(rowid, v) VALUES (9223372036854775807, 'last')");
    node
}

fn draw(node: &mut Node) {
    for sql in DRAWS {
        let answer = node.run(sql);
        assert!(answer.contains('/'), "{sql}: {answer}");
    }
    assert!(node.run("CREATE TABLE IF NOT EXISTS d AS SELECT 1 a, 1 a, 1 a, 1 a, 1 a, 1 a, 1 a").contains('/'));
}

/// The plain one, and one with every disturbance that a node can have.
#[test]
fn hidden_draws_are_the_entrys() {
    let mut plain = tables(Node::new());
    draw(&mut plain);
    draw(&mut plain);

    let mut restarted = tables(Node::with_cache(5));
    restarted.checkpoint();
    restarted.restart();
    draw(&mut restarted);
    restarted.checkpoint();
    restarted.restart();
    restarted.restart();
    draw(&mut restarted);
    assert_equal(&mut plain, &mut restarted);
}

/// The next WAL's salt comes from the same generator.
#[test]
fn a_checkpoint_does_not_shift_the_draws() {
    let mut plain = tables(Node::new());
    draw(&mut plain);

    let mut checkpointed = tables(Node::new());
    let path = checkpointed.main_path();
    let reader = Connection::open(&path, checkpointed.world().disk.sqlite_vfs(), Role::Internal).unwrap();
    // At the WAL's end: everything is copied, but the WAL can't be cut.
    reader.look(|reader| reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap());
    checkpointed.checkpoint();
    reader.look(|reader| reader.execute_batch("COMMIT").unwrap());
    drop(reader);
    draw(&mut checkpointed);
    assert_equal(&mut plain, &mut checkpointed);

    let mut background = tables(Node::new());
    let (copy, applied) = background.machine().begin_background().unwrap().unwrap();
    assert!(copy.copy().unwrap());
    background.machine().end_background(copy, applied, true).unwrap();
    draw(&mut background);
    assert_equal(&mut plain, &mut background);
}

/// The generator is the process's.
#[test]
fn readers_do_not_disturb_the_draws() {
    let mut plain = tables(Node::new());
    let mut disturbed = tables(Node::new());
    let stop = Arc::new(AtomicBool::new(false));
    let path = disturbed.main_path();
    let hammer = std::thread::spawn({
        let (stop, vfs) = (stop.clone(), disturbed.world().disk.sqlite_vfs().to_owned());
        move || {
            let reader = Connection::open(&path, &vfs, Role::Reader).unwrap();
            while !stop.load(Ordering::Relaxed) {
                reader.look(|reader| reader.query_row("SELECT hex(randomblob(99)), random()", [], |_| Ok(())).unwrap());
            }
        }
    });
    for n in 0..200 {
        let insert = format!("INSERT INTO t VALUES ({n})");
        for node in [&mut plain, &mut disturbed] {
            node.apply(request(&[
                &insert,
                "CREATE TABLE c AS SELECT 1 a, 1 a, 1 a, 1 a, 1 a, 1 a",
                "INSERT INTO l SELECT sql FROM sqlite_schema WHERE name = 'c'",
                "DROP TABLE c",
            ]));
        }
    }
    stop.store(true, Ordering::Relaxed);
    hammer.join().unwrap();
    assert_equal(&mut plain, &mut disturbed);
}
