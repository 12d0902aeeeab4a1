//! Hazard H24: a long text is made into a file first, for a database that must still be empty when it is swapped in.

use rqlite::raft::machine::{Refusal, Response};

use crate::node::Node;

/// A file with one table.
fn file(directory: &std::path::Path) -> std::path::PathBuf {
    let path = directory.join("built.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE built(a); INSERT INTO built VALUES(1)").unwrap();
    path
}

#[test]
fn a_database_that_was_written_to_meanwhile_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let built = file(directory.path());
    let mut node = Node::new();
    let since = node.machine().empty_since().unwrap().expect("a new database is empty");
    node.run("CREATE TABLE written(a)");
    assert_eq!(node.machine().empty_since().unwrap(), None);
    assert_eq!(node.load_if(&built, Some(since)), Response::Refused(Refusal::Changed));
    assert_eq!(node.value("SELECT group_concat(name) FROM sqlite_schema"), "written");

    // Empty again, but later.
    node.run("DROP TABLE written");
    let later = node.machine().empty_since().unwrap().expect("nothing is left");
    assert!(later > since);
    assert_eq!(node.load_if(&built, Some(since)), Response::Refused(Refusal::Changed));
    assert_eq!(node.load_if(&built, Some(later)), Response::Done);
    assert_eq!(node.value("SELECT group_concat(name) FROM sqlite_schema"), "built");
    node.restart();
    assert_eq!(node.value("SELECT group_concat(name) FROM sqlite_schema"), "built");
}

/// It is still a load of text: unlike a loaded file, it leaves the replicated setting alone.
#[test]
fn foreign_keys_stay_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let built = file(directory.path());
    let mut node = Node::new();
    node.run("PRAGMA foreign_keys=ON");
    assert_eq!(node.machine().empty_since().unwrap(), Some(0), "a setting is no content");
    assert_eq!(node.load_if(&built, Some(0)), Response::Done);
    assert!(node.machine().applied().foreign_keys);
    node.load(&built);
    assert!(!node.machine().applied().foreign_keys);
}

#[test]
fn what_a_new_file_would_not_have_is_not_empty() {
    let mut node = Node::new();
    node.run("PRAGMA user_version=7");
    assert_eq!(node.machine().empty_since().unwrap(), None);
    node.run("PRAGMA user_version=0");
    assert!(node.machine().empty_since().unwrap().is_some());
    node.run("PRAGMA application_id=7");
    assert_eq!(node.machine().empty_since().unwrap(), None);
}
