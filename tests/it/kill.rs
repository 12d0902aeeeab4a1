//! kill -9 under write load.
//!
//! Setup: three clients insert rows, each numbered and sent once; the log is snapshotted every few entries, so that
//! kills hit checkpoints as well. Fault: SIGKILL, fifty times. Expectation: after each restart every acknowledged row is
//! there, once, and rows of unknown outcome are there once or not at all.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::node::{Node, try_post};

const KILLS: u64 = 50;
const CLIENTS: u64 = 3;

#[derive(Default)]
struct Rows {
    sent: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
}

#[test]
fn fifty_kills_lose_no_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &["-raft-snap", "64", "-raft-snap-int", "20ms"]);
    node.start();
    node.execute("CREATE TABLE t(id INTEGER NOT NULL, filler BLOB)");

    let rows = Rows::default();
    for kill in 1..=KILLS {
        let target = rows.acknowledged.lock().unwrap().len() + 20;
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| write_until_killed(&node, &rows));
            }
            wait_for(&rows, target, kill);
            node.signal(libc::SIGKILL);
        });
        node.wait();

        node.start();
        check(&node, &rows, kill);
    }
    assert_eq!(node.query("PRAGMA integrity_check"), [serde_json::json!(["ok"])]);
}

/// Each row goes out once: what wasn't acknowledged may have happened.
fn write_until_killed(node: &Node, rows: &Rows) {
    let agent = node.agent();
    loop {
        let id = rows.sent.fetch_add(1, Ordering::Relaxed);
        let body = format!("[[\"INSERT INTO t VALUES(?, randomblob(500))\", {id}]]");
        match try_post(&agent, &node.url("/db/execute"), body.as_bytes()) {
            Ok(answer) => {
                assert!(answer.is_success(), "{}", answer.text());
                rows.acknowledged.lock().unwrap().insert(id);
            }
            Err(_) => return,
        }
    }
}

/// Waits until the clients have got so many answers, and some more, which differ from kill to kill.
fn wait_for(rows: &Rows, acknowledged: usize, kill: u64) {
    let started = Instant::now();
    let acknowledged = acknowledged + (kill * 7 % 50) as usize;
    while rows.acknowledged.lock().unwrap().len() < acknowledged {
        assert!(started.elapsed() < Duration::from_secs(60), "writes aren't acknowledged");
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn check(node: &Node, rows: &Rows, kill: u64) {
    let mut found = BTreeSet::new();
    for row in node.query("SELECT id FROM t") {
        let id = row[0].as_u64().unwrap();
        assert!(found.insert(id), "kill {kill}: row {id} is there twice");
    }

    let acknowledged = rows.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "kill {kill}: acknowledged rows are lost: {lost:?}\n{}", node.log());
    let sent = rows.sent.load(Ordering::Relaxed);
    assert!(found.iter().all(|id| *id < sent), "kill {kill}: rows that nobody sent");
}
