//! Flags, what is printed, exit codes, signals. The grammar has its tables in `src/config`.

use std::process::Command;

use crate::node::Node;

#[test]
fn what_is_printed_and_the_exit_code() {
    const RQLITED: &str = env!("CARGO_BIN_EXE_rqlited");
    const RQLITE: &str = env!("CARGO_BIN_EXE_rqlite");

    check(RQLITED, "-version", 0, "rqlited 10 ");
    check(RQLITED, "-help", 0, "rqlite is a lightweight");
    check(RQLITED, "", 1, "failed to parse command-line flags: missing required argument: DataPath\n");
    check(RQLITED, "-nosuch", 2, "flag provided but not defined: -nosuch\nrqlite is a lightweight");
    check(RQLITED, "-fk", 1, "fatal: data directory path is required\n");
    check(RQLITED, "a b", 1, "arguments after data directory (a) are not accepted ([b])\n");
    check(RQLITED, "-auth x d", 1, "fatal: not supported yet: -auth\n");

    let version = Command::new(RQLITE).arg("-v").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout), "Version 10, commit unknown, built on unknown\n");
    assert!(version.status.success());

    /// `want` is how standard error begins; standard output stays empty.
    #[track_caller]
    fn check(program: &str, line: &str, code: i32, want: &str) {
        let output = Command::new(program).args(line.split_whitespace()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with(want), "{line}: {stderr}");
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn the_line_that_tools_start_nodes_with_starts_one() {
    let directory = tempfile::tempdir().unwrap();
    let flags = [
        "-bootstrap-expect",
        "0",
        "-raft-snap",
        "100",
        "-raft-snap-int",
        "1s",
        "-raft-cluster-remove-shutdown=false",
        "-raft-non-voter=false",
        "-http-adv-addr",
        "localhost:4001",
        "-join-interval",
        "1s",
        "-raft-log-level",
        "INFO",
    ];
    let mut node = Node::new(directory.path(), &flags);
    node.start();
    node.execute("CREATE TABLE t(a)");
}

#[test]
fn sigterm_ends_a_node_that_keeps_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("CREATE TABLE t(a)");
    node.execute("INSERT INTO t VALUES(1)");

    node.signal(libc::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
    assert!(node.log().contains("received signal \"terminated\"\n"), "{}", node.log());
    assert!(node.log().ends_with("rqlite server stopped\n"), "{}", node.log());

    node.start();
    assert_eq!(node.query("SELECT a FROM t"), [serde_json::json!([1])]);
}
