//! H5: a poison statement is a result, equal everywhere; only a failed call below SQLite stops the node.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Once;

use rqlite::command::Limits;
use rusqlite::ffi;

use crate::node::{Node, initialize, limited, request, show, transaction, with_reads};

/// Runs `poison` behind a write in one transaction, and shows that the node goes on, with the write undone.
#[track_caller]
fn is_a_result(before: &[&str], poison: &str, limits: Limits, want: &str) {
    let mut node = Node::new();
    node.apply(request(before));
    node.run("CREATE TABLE kept(v)");
    let mut command = transaction(&["INSERT INTO kept VALUES (1)", poison]);
    command.limits = Some(limits);
    let answer = show(&node.apply(command));
    assert!(answer.contains(want), "{poison}: {answer}");
    assert_eq!(node.value("SELECT count(*) FROM kept"), "0", "{poison}");
    assert!(node.run("INSERT INTO kept VALUES (2)").ends_with("/1"), "after {poison}");
}

#[test]
fn rows_of_a_request_are_bounded_by_a_result_and_its_writes_stay() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(a)");
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000000) SELECT n FROM n";
    let request =
        with_reads(request(&["INSERT INTO t VALUES (1)", "SELECT a FROM t", many, "INSERT INTO t VALUES (2)"]));
    let answer = show(&node.apply(request));
    assert_eq!(answer, "1/1; [1]; rows of the request are more than 67108864 bytes; 2/1");
    assert_eq!(node.value("SELECT group_concat(a) FROM t"), "1,2");
}

#[test]
fn poison_is_a_result() {
    let none = Limits::default();
    is_a_result(
        &["CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v)", "INSERT INTO a VALUES (9223372036854775807, 1)"],
        "INSERT INTO a(v) VALUES (2)",
        none,
        "database or disk is full",
    );
    is_a_result(
        &["CREATE VIRTUAL TABLE f USING fts5(x)", "INSERT INTO f VALUES ('one')", "DELETE FROM f_data"],
        "INSERT INTO f VALUES ('two')",
        none,
        "fts5: corruption found",
    );
    is_a_result(
        &["CREATE TABLE t(v)"],
        "INSERT INTO t WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n",
        Limits { statement_steps: 1_000_000, ..none },
        "execute timeout",
    );
    // SQLITE_LOCKED, from a module that gets in its own way.
    is_a_result(&[], "CREATE VIRTUAL TABLE t USING fts4(content=t)", none, "vtable constructor");
    is_a_result(
        &["CREATE TABLE t(v)"],
        "INSERT INTO t VALUES (zeroblob(1000000))",
        Limits { max_bytes: 50 * 4096, ..none },
        "database or disk is full",
    );
    is_a_result(&["CREATE TABLE t(v)"], "INSERT INTO t VALUES (zeroblob(1000000001))", none, "too big");
    is_a_result(&["CREATE TABLE t(v)"], "INSERT INTO t VALUES (randomblob(1000000001))", none, "too big");
    is_a_result(
        &["CREATE TABLE t(v)"],
        "INSERT INTO t VALUES (randomblob(40000000)), (1), (randomblob(40000000)), (2) RETURNING v",
        none,
        "rows of the request are more than 67108864 bytes",
    );
}

/// A loaded file may hold such a name; SQLite's own statements hand it to the authorizer too.
#[test]
fn a_name_that_is_not_utf_8_stops_nothing() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(xyz)");
    node.run("INSERT INTO t VALUES (1)");
    node.checkpoint();
    let path = node.main_path();
    node.stop();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|window| window == b"xyz").unwrap();
    bytes[at] = 0xff;
    let staged = node.paths().temporary().join("staged");
    std::fs::write(&staged, bytes).unwrap();
    node.start().unwrap();
    node.load(&staged);
    assert_eq!(node.run("INSERT INTO t VALUES (2)"), "2/1");
    assert_eq!(node.run("PRAGMA optimize"), "2/1");
    assert_eq!(node.run("VACUUM"), "2/1");
    assert_eq!(node.value("SELECT count(*) FROM t"), "2");
}

/// Whether or not it is the last row, and whoever waits for it.
#[test]
fn the_row_that_crosses_the_bound_fails_the_statement() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    let answer = node.run("INSERT INTO t VALUES (1), (zeroblob(70000000)) RETURNING v");
    assert_eq!(answer, "rows of the request are more than 67108864 bytes");
    assert_eq!(node.value("SELECT count(*) FROM t"), "0");
    assert!(node.run("INSERT INTO t VALUES (1)").ends_with("/1"));
}

/// A bound below the database's size is the size then, and must not stay so when the database shrinks.
#[test]
fn the_page_bound_is_the_same_after_a_restart() {
    let answers = [false, true].map(|restart| {
        let mut node = Node::new();
        let bound = |sql| limited(&[sql], Limits { max_bytes: 10 * 4096, ..Limits::default() });
        node.run("CREATE TABLE t(v)");
        node.run("INSERT INTO t VALUES (zeroblob(400000))");
        node.apply(bound("DELETE FROM t"));
        node.apply(bound("VACUUM"));
        if restart {
            node.checkpoint();
            node.restart();
        }
        show(&node.apply(bound("INSERT INTO t VALUES (zeroblob(100000))")))
    });
    assert_eq!(answers, ["database or disk is full", "database or disk is full"]);
}

/// What a failing request left behind counts as a change: a backup must not be skipped for it.
#[test]
fn a_failed_statement_that_changed_something_is_a_change() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v UNIQUE)");
    let before = node.machine().applied().last_change;
    assert!(node.run("INSERT OR FAIL INTO t VALUES (1), (1)").contains("UNIQUE"));
    assert_eq!(node.value("SELECT count(*) FROM t"), "1");
    assert!(node.machine().applied().last_change > before);
    let before = node.machine().applied().last_change;
    let answer = show(&node.apply(transaction(&["INSERT INTO t VALUES (2)", "COMMIT"])));
    assert_eq!(answer, "!cannot commit - no transaction is active");
    assert_eq!(node.value("SELECT count(*) FROM t"), "2");
    assert!(node.machine().applied().last_change > before);
}

thread_local! {
    static DISK_IS_FULL: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C" fn full_write(file: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize {
    if DISK_IS_FULL.get() {
        // SAFETY: errno is this thread's.
        unsafe { *libc::__errno_location() = libc::ENOSPC };
        return -1;
    }
    // SAFETY: SQLite's own arguments.
    unsafe { libc::pwrite(file, bytes, length, offset) }
}

/// SQLite's unix VFS lets its system calls be replaced.
fn hook_writes() {
    static ONCE: Once = Once::new();
    initialize();
    ONCE.call_once(|| {
        // SAFETY: the VFS is registered; the function has the type of pwrite(2).
        unsafe {
            let vfs = ffi::sqlite3_vfs_find(c"unix-excl".as_ptr());
            let write = std::mem::transmute::<*const (), unsafe extern "C" fn()>(full_write as *const ());
            let call = c"pwrite".as_ptr();
            assert!((*vfs).xGetSystemCall.unwrap()(vfs, call).is_some(), "SQLite writes by pwrite");
            assert_eq!((*vfs).xSetSystemCall.unwrap()(vfs, call, Some(write)), ffi::SQLITE_OK);
        }
    });
}

#[test]
fn a_failed_write_is_a_fault() {
    hook_writes();
    let mut node = Node::with_cache(5);
    node.run("CREATE TABLE t(v)");
    DISK_IS_FULL.set(true);
    let fault = node.try_apply(request(&["INSERT INTO t VALUES (zeroblob(100000))"]));
    DISK_IS_FULL.set(false);
    let fault = fault.unwrap_err().0;
    assert!(fault.starts_with("applying entry 2: write: "), "{fault}");
    assert_eq!(node.machine().applied().last_applied.as_ref().unwrap().index, 1);
    // What the operator frees lets the entry apply.
    node.restart();
    assert_eq!(node.value("SELECT count(*) FROM t"), "1");
}
