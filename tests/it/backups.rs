//! Backups of a database that is larger than everything between disk and client: what they cost in memory, and what
//! clients that stop reading do to others (nothing).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::node::Node;

const MIB: u64 = 1 << 20;

/// A database file of about so many MiB, in `t`: a row a KiB.
fn large(directory: &Path, mib: u64) -> PathBuf {
    let path = directory.join("large.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, b);
             INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
               SELECT randomblob(1000) FROM n",
            mib * 1000
        ))
        .unwrap();
    path
}

fn load(node: &Node, path: &Path) {
    let answer = node.agent().post(node.url("/db/load")).send(File::open(path).unwrap()).unwrap();
    assert_eq!(answer.status(), 200);
}

/// The answer's body, taken as it is read.
fn get(node: &Node, path: &str) -> impl Read + use<> {
    // Its reader may take its time.
    let request = node.agent().get(node.url(path)).config().timeout_global(None).build();
    let answer = request.call().unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.into_body().into_with_config().limit(u64::MAX).reader()
}

/// faults.md S16: memory doesn't grow with the database.
#[cfg(target_os = "linux")]
#[test]
fn s16_memory_is_bounded_whatever_the_size() {
    const SIZE: u64 = 128;
    let directory = tempfile::tempdir().unwrap();
    let file = large(directory.path(), SIZE);
    let size = fs::metadata(&file).unwrap().len();
    assert!(size > SIZE * MIB * 9 / 10);
    let mut node = Node::new(directory.path(), &[]);
    node.start();

    node.forget_peak_memory();
    load(&node, &file);
    check(&node, "/db/load");
    for path in ["/db/backup", "/db/backup?fmt=delete", "/db/backup?vacuum&compress", "/db/backup?fmt=sql"] {
        node.forget_peak_memory();
        let bytes = io::copy(&mut get(&node, path), &mut io::sink()).unwrap();
        assert!(bytes > size * 9 / 10, "{path}: {bytes}");
        check(&node, path);
    }
    node.forget_peak_memory();
    let bytes = io::copy(&mut get(&node, "/db/query?q=SELECT%20*%20FROM%20t"), &mut io::sink()).unwrap();
    assert!(bytes > size, "{bytes}");
    check(&node, "/db/query");

    // Between 53 and 74 MiB, for a database of 320 MiB as well.
    #[track_caller]
    fn check(node: &Node, path: &str) {
        let peak = node.peak_memory();
        assert!(peak < 96 * MIB, "{path}: {} MiB for a database of {SIZE}", peak / MIB);
    }
}

/// faults.md S31, S7: with clients that have stopped reading, the node takes snapshots, and gives others theirs.
#[test]
fn s31_clients_that_stop_reading_stop_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let file = large(directory.path(), 12);
    let mut node = Node::new(directory.path(), &["-raft-snap", "4", "-raft-snap-int", "20ms"]);
    node.start();
    load(&node, &file);
    let query = "/db/query?q=SELECT%20*%20FROM%20t";
    let paths = ["/db/backup", "/db/backup?fmt=delete", "/db/backup?vacuum", "/db/backup?fmt=sql", query];
    let stalled: Vec<_> = paths
        .iter()
        .map(|path| {
            let mut body = get(&node, path);
            let mut start = vec![0; 100];
            body.read_exact(&mut start).unwrap();
            (*path, start, body)
        })
        .collect();

    for round in 1..=5 {
        let before = snapshot_index(&node);
        for _ in 0..8 {
            node.execute("INSERT INTO t(b) VALUES(randomblob(1000))");
        }
        wait_for("a snapshot", || snapshot_index(&node) > before);
        assert_eq!(node.query("SELECT count(*) FROM t"), [json!([12_000 + 8 * round])]);
    }
    let mut other = Vec::new();
    get(&node, "/db/backup").read_to_end(&mut other).unwrap();
    assert_eq!(rows(directory.path(), &other), 12_040);

    // They go on, and what they get is what they asked for.
    for (path, mut bytes, mut body) in stalled {
        body.read_to_end(&mut bytes).unwrap();
        if path == query {
            let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(answer["results"][0]["values"].as_array().unwrap().len(), 12_000);
        } else {
            assert_eq!(rows(directory.path(), &bytes), 12_000, "{path}");
        }
    }
    let temporary = node.data_dir.join("tmp");
    wait_for("tmp/ to be empty", || fs::read_dir(&temporary).unwrap().count() == 0);
}

fn snapshot_index(node: &Node) -> u64 {
    let status = node.request("GET", "/status", &[], Vec::new());
    let status: serde_json::Value = serde_json::from_slice(status.body()).unwrap();
    status["store"]["raft"]["last_snapshot_index"].as_u64().unwrap()
}

#[track_caller]
fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The rows in `t` of a backup.
fn rows(directory: &Path, backup: &[u8]) -> i64 {
    let path = directory.join("backup");
    let _ = fs::remove_file(&path);
    let connection = if backup.starts_with(b"SQLite format 3\0") {
        fs::write(&path, backup).unwrap();
        Connection::open(&path).unwrap()
    } else {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(std::str::from_utf8(backup).unwrap()).unwrap();
        connection
    };
    let check: String = connection.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}
