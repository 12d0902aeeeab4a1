//! Backups of a cluster, through each way out, and back through each way in: into a new node, and into a cluster that has
//! other data, through a follower. Afterwards every node holds what the backup holds, and nothing else.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::chinook::shell;
use crate::cluster::{Cluster, eventually, get, node};
use crate::content::Content;
use crate::node::Node;

const SCHEMA: &str = "
    CREATE TABLE a(id INTEGER PRIMARY KEY, t TEXT NOT NULL, r REAL, b BLOB);
    CREATE INDEX a_t ON a(t);
    CREATE TABLE log(a_id INTEGER, at TEXT);
    CREATE TRIGGER a_added AFTER INSERT ON a BEGIN INSERT INTO log VALUES(new.id, 'x'); END;
    CREATE VIEW v AS SELECT t, count(*) AS n FROM a GROUP BY t;";

const ROWS: &str =
    "INSERT INTO a(t, r, b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    SELECT 'ä''' || i % 7, i / 3.0, zeroblob(i) FROM n";

/// How a follower is asked.
const MANNERS: [&str; 3] = ["", "noleader", "redirect"];

const FORMATS: [(&str, &str); 4] = [("binary", ""), ("delete", "fmt=delete"), ("vacuum", "vacuum"), ("sql", "fmt=sql")];

fn backup(node: &Node, parameters: &[&str]) -> Vec<u8> {
    let given: Vec<&str> = parameters.iter().copied().filter(|parameter| !parameter.is_empty()).collect();
    let mut answer = node.request("GET", &format!("/db/backup?{}", given.join("&")), &[], Vec::new());
    assert_eq!(answer.status() == 301, parameters.contains(&"redirect"), "{parameters:?}");
    if answer.status() == 301 {
        let location = answer.headers()["location"].to_str().unwrap().to_string();
        let mut followed = node.agent().get(&location).call().unwrap();
        assert_eq!(followed.status(), 200);
        return followed.body_mut().read_to_vec().unwrap();
    }
    assert_eq!(answer.status(), 200, "{parameters:?}");
    std::mem::take(answer.body_mut())
}

fn content(bytes: &[u8], scratch: &Path) -> Content {
    let _ = fs::remove_file(scratch);
    if bytes.starts_with(b"SQLite format 3\0") {
        fs::write(scratch, bytes).unwrap();
    } else {
        let sql = std::str::from_utf8(bytes).unwrap();
        rusqlite::Connection::open(scratch).unwrap().execute_batch(sql).unwrap();
    }
    Content::of(scratch)
}

/// Loads the file through the API, or by the shell.
fn restore(node: &Node, way: &str, file: &Path) {
    match way {
        "load" => {
            let answer = node.post("/db/load", fs::read(file).unwrap());
            assert!(answer.is_success(), "{}", answer.text());
        }
        _ => shell(node, &format!(".restore {}", file.display()), "Database restored successfully."),
    }
}

#[test]
fn every_backup_of_a_follower_restores_everywhere() {
    let cluster = Cluster::form(3);
    let scratch = cluster.directory.path().join("scratch");
    let original = {
        let connection = rusqlite::Connection::open(&scratch).unwrap();
        connection.execute_batch(&format!("{SCHEMA}{ROWS};")).unwrap();
        drop(connection);
        Content::of(&scratch)
    };
    cluster.nodes[0].execute(SCHEMA);
    cluster.nodes[0].execute(ROWS);
    let follower = cluster.follower();
    eventually("it follows", || {
        get(follower, "/db/query?level=none&q=SELECT%20count(*)%20FROM%20log").text().contains("300")
    });

    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for manner in MANNERS {
        for (format, parameter) in FORMATS {
            let what = format!("{format} {manner}");
            let bytes = backup(follower, &[parameter, manner]);
            assert_eq!(content(&bytes, &scratch), original, "{what}");
            let mut unzipped = Vec::new();
            let zipped = backup(follower, &[parameter, manner, "compress"]);
            flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut unzipped).unwrap();
            assert_eq!(content(&unzipped, &scratch), original, "{what} compressed");
            let path = cluster.directory.path().join(what.trim().replace(' ', "."));
            fs::write(&path, bytes).unwrap();
            files.push((what, path));
        }
    }

    let empty = cluster.directory.path().join("empty");
    rusqlite::Connection::open(&empty).unwrap().execute_batch("CREATE TABLE x(a); DROP TABLE x").unwrap();
    let mut number = 10;
    for (what, file) in &files {
        for way in ["load", "restore"] {
            number += 1;
            let mut fresh = node(cluster.directory.path(), number);
            fresh.start();
            restore(&fresh, way, file);
            assert_eq!(content(&backup(&fresh, &[]), &scratch), original, "{what} by {way} into a new node");
            drop(fresh);

            cluster.nodes[0].execute("CREATE TABLE stain(x); INSERT INTO stain VALUES('before')");
            cluster.nodes[1].execute("DELETE FROM a WHERE id > 10; INSERT INTO a(t) VALUES('before')");
            if what.starts_with("sql") {
                // Text is added to what is there.
                restore(follower, "load", &empty);
            }
            restore(follower, way, file);
            for node in &cluster.nodes {
                eventually("the backup is what every node holds", || {
                    content(&backup(node, &["noleader"]), &scratch) == original
                });
            }
        }
    }
}
