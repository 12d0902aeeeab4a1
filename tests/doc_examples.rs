//! What rqlite's documentation shows of backup and restore, with the real binaries, curl and the stock sqlite3.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, dead_code)]

#[path = "it/node.rs"]
mod node;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use node::Node;

/// Pipes lines into the shell, in `directory`; what it printed.
fn shell(node: &Node, directory: &Path, lines: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rqlite"))
        .args(["-p", node.port()])
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace(node.port(), "PORT")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A database that sqlite3 made, and its dump.
fn made_by_sqlite3(directory: &Path) {
    let sql = "CREATE TABLE foo (id integer not null primary key, name text); \
               INSERT INTO foo VALUES(1,'fiona'); INSERT INTO foo VALUES(2,'declan');";
    run(Command::new("sqlite3").current_dir(directory).args(["mydb.sqlite", sql]));
    let dump = File::create(directory.join("mydb.dump")).unwrap();
    run(Command::new("sqlite3").current_dir(directory).args(["mydb.sqlite", ".dump"]).stdout(dump));
}

fn curl_load(node: &Node, directory: &Path, content_type: &str, file: &str) -> String {
    let (header, body) = (format!("Content-type: {content_type}"), format!("@{file}"));
    let url = node.url("/db/load");
    run(Command::new("curl").current_dir(directory).args([
        "-sS",
        "-XPOST",
        &url,
        "-H",
        &header,
        "--data-binary",
        &body,
    ]))
}

fn started(directory: &Path) -> Node {
    let mut node = Node::new(directory, &[]);
    node.start();
    node
}

#[test]
fn backup_and_dump_in_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    let node = started(directory.path());
    let lines = "CREATE TABLE foo (id integer not null primary key, name text)\n\
                 INSERT INTO foo(name) VALUES('fiona')\n.backup bak.sqlite3\n.dump bak.sql\n";
    insta::assert_snapshot!(shell(&node, directory.path(), lines));
    let rows = Command::new("sqlite3").current_dir(&directory).args(["bak.sqlite3", "SELECT * FROM foo"]).output();
    assert_eq!(String::from_utf8_lossy(&rows.unwrap().stdout), "1|fiona\n");
    insta::assert_snapshot!(fs::read_to_string(directory.path().join("bak.sql")).unwrap());
}

#[test]
fn restoring_a_dump_and_a_file_by_curl() {
    for (content_type, file) in [("text/plain", "mydb.dump"), ("application/octet-stream", "mydb.sqlite")] {
        let directory = tempfile::tempdir().unwrap();
        made_by_sqlite3(directory.path());
        let node = started(directory.path());
        let answer = curl_load(&node, directory.path(), content_type, file);
        let table = shell(&node, directory.path(), "SELECT * FROM foo\n");
        insta::allow_duplicates! {
            insta::assert_snapshot!(table);
        }
        insta::assert_snapshot!(format!("answer to {file}"), answer);
    }
}

#[test]
fn restoring_a_file_in_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    made_by_sqlite3(directory.path());
    let node = started(directory.path());
    let lines = ".schema\n.restore mydb.sqlite\n.schema\nSELECT * FROM foo\n";
    insta::assert_snapshot!(shell(&node, directory.path(), lines));
}

/// A dump turns foreign keys off for itself; turning them on afterwards holds.
#[test]
fn foreign_keys_after_a_dump() {
    let directory = tempfile::tempdir().unwrap();
    let sql = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE parent(id INTEGER PRIMARY KEY);\n\
               CREATE TABLE child(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent(id));\n\
               INSERT INTO parent VALUES(1);\nINSERT INTO child VALUES(1,1);\nCOMMIT;\n";
    fs::write(directory.path().join("fk.sql"), sql).unwrap();
    let mut node = started(directory.path());
    let mut said = curl_load(&node, directory.path(), "text/plain", "fk.sql") + "\n";
    let execute = |node: &Node, sql: &str| {
        let (url, body) = (node.url("/db/execute?pretty"), format!("[\"{sql}\"]"));
        let header = "Content-Type: application/json";
        run(Command::new("curl").args(["-sS", "-XPOST", &url, "-H", header, "-d", &body])) + "\n"
    };
    said += &execute(&node, "PRAGMA foreign_keys = 1");
    said += &execute(&node, "INSERT INTO child VALUES(2,77)");
    node.kill();
    node.start();
    said += &execute(&node, "INSERT INTO child VALUES(2,77)");
    insta::assert_snapshot!(said);
}
