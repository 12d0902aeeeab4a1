//! H3: between checkpoints the main file doesn't change, and nobody else changes it.

use std::os::unix::fs::FileExt;
use std::process::Command;

use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;
use rqlite::db::main_file::MainFile;

use crate::node::{Node, command, show};

/// Through SQLite's own descriptor: closing another would drop the process's locks.
fn main_file(node: &mut Node) -> Vec<u8> {
    let path = node.main_path();
    let connection = Connection::open(&path, node.world().disk.sqlite_vfs(), Role::Reader).unwrap();
    let file = MainFile::of(&connection);
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn node() -> Node {
    let mut node = Node::with_cache(5);
    node.run("CREATE TABLE t(v)");
    node.run("INSERT INTO t VALUES (1)");
    node.checkpoint();
    node
}

#[test]
fn the_main_file_is_immutable_between_checkpoints() {
    let mut node = node();
    let before = main_file(&mut node);
    let many = "INSERT INTO t WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000) \
                SELECT hex(randomblob(40)) FROM n";
    for sqls in [
        &[many][..],
        &["BEGIN", many, "ROLLBACK"],
        &["VACUUM"],
        &["CREATE INDEX i ON t(v)", "ANALYZE", "DROP INDEX i", "PRAGMA user_version=7"],
        &["DELETE FROM t"],
        &["VACUUM"],
    ] {
        node.apply(command(sqls, false));
        assert!(main_file(&mut node) == before, "{sqls:?}");
    }
    // The last close of the last connection is no checkpoint either.
    let path = node.main_path();
    node.stop();
    assert!(std::fs::read(&path).unwrap() == before, "closed");
    node.start().unwrap();
    assert!(main_file(&mut node) == before, "started");
    node.checkpoint();
    assert!(main_file(&mut node) != before, "checkpointed");
}

#[test]
fn no_client_can_checkpoint() {
    let mut node = node();
    let before = main_file(&mut node);
    node.run("INSERT INTO t VALUES (2)");
    for sql in [
        "PRAGMA wal_checkpoint",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_checkpoint=FULL",
        "PRAGMA main.wal_checkpoint(1)",
        "/* */ pragma WAL_checkpoint ( passive )",
        "PRAGMA \"wal_checkpoint\"('restart')",
        "EXPLAIN PRAGMA wal_checkpoint",
        "SELECT * FROM pragma_wal_checkpoint",
        "SELECT * FROM pragma_wal_checkpoint('truncate')",
        "PRAGMA journal_mode=delete",
        "PRAGMA journal_mode(memory)",
        "PRAGMA wal_autocheckpoint(1)",
        "PRAGMA locking_mode=normal",
    ] {
        let answer = show(&node.apply(command(&[sql], false)));
        assert!(
            ["not authorized", "no such table"].iter().any(|text| answer.contains(text)),
            "writer, {sql}: {answer}"
        );
        let path = node.main_path();
        let reader = Connection::open(&path, node.world().disk.sqlite_vfs(), Role::Reader).unwrap();
        let cursor = crate::execute::read(reader, &[sql]);
        assert!(
            ["not authorized", "no such table"].iter().any(|text| cursor.contains(text)),
            "reader, {sql}: {cursor}"
        );
        assert!(main_file(&mut node) == before, "{sql}");
    }
}

#[test]
fn a_write_by_another_program_is_noticed_and_nothing_is_touched() {
    // (what it does, the field that shows it)
    let grow = |path: &std::path::Path| {
        let sql = "CREATE TABLE other(v); INSERT INTO other VALUES (zeroblob(100000))";
        let done = Command::new("sqlite3").arg(path).arg(sql).status();
        assert!(done.unwrap().success());
    };
    let page1 = |path: &std::path::Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[9], 60).unwrap();
    };
    let writes: [(&dyn Fn(&std::path::Path), &str); 2] = [(&grow, "size"), (&page1, "first page")];
    for (write, field) in writes {
        let mut node = node();
        let path = node.main_path();
        node.run("INSERT INTO t VALUES (2)");
        node.stop();
        write(&path);
        let stray = path.with_file_name("stray");
        std::fs::write(&stray, "").unwrap();
        let before = (std::fs::read(&path).unwrap(), std::fs::read(node.paths().state()).unwrap());
        let error = node.start().unwrap_err().to_string();
        let want = format!("{}: another program wrote to it: its {field} isn't", path.display());
        assert!(error.starts_with(&want), "{error}");
        assert!(before == (std::fs::read(&path).unwrap(), std::fs::read(node.paths().state()).unwrap()));
        assert!(stray.exists());
    }

    for write_first in [false, true] {
        let mut node = node();
        if write_first {
            node.run("INSERT INTO t VALUES (2)");
        }
        page1(&node.main_path());
        let want = "another program wrote to it: its first page";
        assert!(node.machine().checkpoint().unwrap_err().0.contains(want), "checkpoint");
        assert!(node.machine().lease().is_err_and(|fault| fault.0.contains(want)), "lease");
    }
}

#[test]
fn another_process_is_locked_out() {
    let mut node = node();
    node.run("INSERT INTO t VALUES (2)");
    let path = node.main_path();
    for sql in ["SELECT count(*) FROM t", "INSERT INTO t VALUES (3)", "PRAGMA wal_checkpoint"] {
        let output = Command::new("sqlite3").arg(&path).arg(sql).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("database is locked"), "{sql}: {error}");
    }
}

#[test]
fn a_copied_directory_starts() {
    let mut node = node();
    let path = node.main_path();
    node.stop();
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    node.restart();
    assert_eq!(node.value("SELECT count(*) FROM t"), "1");
    node.run("INSERT INTO t VALUES (2)");
    node.checkpoint();
}
