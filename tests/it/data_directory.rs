//! Directories that a node must not touch: one line that says why, exit 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::node::Node;

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("CREATE TABLE t(a)");

    let data_dir = node.data_dir.display();
    let other = Node::new(directory.path(), &[]);
    check_refused(&other, &format!("data directory {data_dir} is in use by another process"));
    node.execute("INSERT INTO t VALUES(1)");

    // The lock goes with its process, however that ends.
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT a FROM t"), [serde_json::json!([1])]);
}

#[test]
fn a_directory_of_the_reference_is_refused_and_untouched() {
    for theirs in ["raft.db", "wsnapshots/2-5-1795384222775/meta.json"] {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::new(directory.path(), &[]);
        let file = node.data_dir.join(theirs);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "theirs").unwrap();
        fs::write(node.data_dir.join("db.sqlite"), "theirs too").unwrap();

        let before = files(&node.data_dir);
        let data_dir = node.data_dir.display();
        let want = format!("data directory {data_dir} was made by rqlite; back it up there and load it here");
        check_refused(&node, &want);
        assert_eq!(files(&node.data_dir), before);
    }
}

#[test]
fn a_directory_of_another_node_or_of_a_newer_format_is_refused_and_untouched() {
    check(r#"{"format":1,"node_id":"7"}"#, r#"this directory belongs to node "7", not "1""#);
    check(r#"{"format":9,"node_id":"1"}"#, "format 9 is newer than this program's 1");
    check("{", "damaged: it isn't JSON");

    #[track_caller]
    fn check(node_json: &str, want: &str) {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::new(directory.path(), &[]);
        fs::create_dir_all(&node.data_dir).unwrap();
        let file = node.data_dir.join("node.json");
        fs::write(&file, node_json).unwrap();

        let before = files(&node.data_dir);
        check_refused(&node, &format!("{}: {want}", file.display()));
        assert_eq!(files(&node.data_dir), before);
    }
}

/// faults.md S22: a start that fails has not touched the database, and can be tried again. Of the log it may have written
/// again what it had found.
#[test]
fn s22_a_start_that_fails_leaves_the_database_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("CREATE TABLE t(a)");
    node.execute("INSERT INTO t VALUES(1)");
    node.signal(libc::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
    node.start();
    node.execute("INSERT INTO t VALUES(2)");
    node.kill();

    let whole = files(&node.data_dir);
    let segment = whole.keys().find(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let segment = segment.expect("there is a log").strip_prefix(&node.data_dir).unwrap().to_owned();
    for damaged in ["db.state", "db/1.sqlite", "raft/vote", segment.to_str().unwrap()] {
        let path = node.data_dir.join(damaged);
        let content = whole[&path].clone();
        let mut bytes = content.clone();
        bytes[20..30].fill(0x5a);
        fs::write(&path, bytes).unwrap();

        let before = files(&node.data_dir);
        let output = node.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{damaged}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(damaged), "{damaged} isn't named: {stderr}");
        for (path, bytes) in files(&node.data_dir.join("db")) {
            assert!(before.get(&path) == Some(&bytes), "{damaged}: a failed start changed {}", path.display());
        }
        fs::write(&path, content).unwrap();
    }
    node.start();
    assert_eq!(node.query("SELECT a FROM t"), [serde_json::json!([1]), serde_json::json!([2])]);
}

#[test]
fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    fs::create_dir_all(&node.data_dir).unwrap();
    for name in ["rqlited.log", "pid"] {
        fs::write(node.data_dir.join(name), "ours").unwrap();
    }

    node.start();
    node.signal(libc::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
    for name in ["rqlited.log", "pid"] {
        assert_eq!(fs::read_to_string(node.data_dir.join(name)).unwrap(), "ours");
    }
}

/// The process ends with 1, and the last thing it says ends with `want`.
#[track_caller]
fn check_refused(node: &Node, want: &str) {
    let output = node.command().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.trim_end().ends_with(want), "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
}

/// All that is in a directory.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let content = fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
    files
}
