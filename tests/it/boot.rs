//! /boot: a database put under a single node beside the log.

use crate::node::Node;

/// A database of one table with this many rows.
fn database(rows: u32) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE booted(id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    for id in 0..rows {
        connection.execute("INSERT INTO booted VALUES(?, 'n' || ?)", [id, id]).unwrap();
    }
    drop(connection);
    std::fs::read(path).unwrap()
}

#[test]
fn a_booted_database_is_there_after_a_kill_and_nothing_of_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &["-fk"]);
    node.start();
    node.execute("CREATE TABLE before(id INTEGER PRIMARY KEY)");
    node.execute("INSERT INTO before VALUES(1)");

    let answer = node.request("POST", "/boot", &[], database(1000));
    assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (200, b"".as_slice()));
    assert_eq!(node.query("SELECT count(*), max(name) FROM booted")[0].to_string(), r#"[1000,"n999"]"#);
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT count(*) FROM booted")[0].to_string(), "[1000]");
    assert_eq!(node.query("SELECT name FROM sqlite_schema")[0].to_string(), r#"["booted"]"#);
    assert!(node.query("SELECT 1 FROM sqlite_schema WHERE name = 'before'").is_empty());
    assert_eq!(node.query("PRAGMA foreign_keys")[0].to_string(), "[1]", "the flag holds again");

    // The log goes on behind it, also over a second boot.
    node.execute("INSERT INTO booted(name) VALUES('later')");
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT count(*) FROM booted")[0].to_string(), "[1001]");
    assert_eq!(node.request("POST", "/boot", &[], database(3)).status(), 200);
    node.execute("INSERT INTO booted(name) VALUES('later')");
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT count(*) FROM booted")[0].to_string(), "[4]");
    assert!(std::fs::read_dir(node.data_dir.join("tmp")).unwrap().next().is_none(), "nothing is left behind");
}

/// Source: backup-restore.md §3.3, §4.
#[test]
fn what_is_no_database_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("CREATE TABLE before(id INTEGER PRIMARY KEY)");
    let good = database(1000);
    let mut overwritten = good.clone();
    overwritten[8192..12000].fill(0x5a);
    let mut lie = good.clone();
    lie[16..18].copy_from_slice(&[0x20, 0]);

    for (body, status, text) in [
        (b"".to_vec(), 503, "EOF\n"),
        (b"SQLite format 3\0".to_vec(), 503, "EOF\n"),
        (vec![b'x'; 5000], 400, "invalid SQLite data\n"),
        (
            [&[0x1f, 0x8b, 8], good.as_slice()].concat(),
            400,
            "invalid SQLite data: gzip-compressed, decompress it first\n",
        ),
        ([b"SQLite format 3\0".as_slice(), &[0xff; 5000]].concat(), 400, "invalid SQLite data: "),
        (good[..good.len() - 4096].to_vec(), 400, "invalid SQLite data: "),
        (lie, 400, "invalid SQLite data: "),
        (overwritten, 400, "invalid SQLite data: "),
    ] {
        let answer = node.request("POST", "/boot", &[], body);
        let got = String::from_utf8_lossy(answer.body());
        assert_eq!(answer.status().as_u16(), status, "{text}: {got}");
        assert!(got.starts_with(text) && got.ends_with('\n') && got.lines().count() == 1, "{text}: {got}");
        node.execute("INSERT INTO before(id) VALUES(NULL)");
    }
    assert_eq!(node.request("GET", "/boot", &[], vec![]).status(), 405);
    assert_eq!(node.request("POST", "/boot/x", &[], good).status(), 404);
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT count(*) FROM before")[0].to_string(), "[8]");
}
