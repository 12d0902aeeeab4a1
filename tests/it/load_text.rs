//! SQL text by /db/load: short and long, onto nothing and onto something.

use std::fmt::Write;

use crate::node::Node;

/// More than what each node applies by itself.
fn long_text(last: &str) -> String {
    let mut text =
        String::from("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a INTEGER PRIMARY KEY, b);\n");
    for n in 1..=180 {
        writeln!(text, "INSERT INTO t VALUES({n},'{}');", "x".repeat(100_000)).unwrap();
    }
    text.push_str(last);
    text.push_str("COMMIT;\n");
    assert!(text.len() > 16 << 20);
    text
}

#[test]
fn a_long_text_is_loaded_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    node.execute("PRAGMA foreign_keys=ON");

    let answer = node.post("/db/load", long_text("INSERT INTO t VALUES(7,'again');\n")).text();
    assert_eq!(answer, r#"{"results":[{"error":"UNIQUE constraint failed: t.a"}]}"#);
    assert!(node.query("SELECT name FROM sqlite_schema").is_empty());

    let text = long_text("INSERT INTO t(b) VALUES(datetime('now'));\n");
    assert_eq!(node.post("/db/load", &text).text(), r#"{"results":[{"last_insert_id":181,"rows_affected":1}]}"#);
    let check = "SELECT count(*), sum(length(b)), max(b) LIKE 'xxx%' FROM t";
    assert_eq!(node.query(check)[0].to_string(), "[181,18000019,1]");
    assert_eq!(node.query("PRAGMA foreign_keys")[0].to_string(), "[1]");
    let tables = |node: &Node| node.query("SELECT group_concat(name) FROM sqlite_schema")[0].to_string();

    // Onto something it is one command of the log, and still all or nothing.
    let other = text.replace(" t(", " u(").replace(" t ", " u ");
    let failing = other.replace("COMMIT;\n", "INSERT INTO nosuch VALUES(1);\nCOMMIT;\n");
    assert_eq!(node.post("/db/load", failing).text(), r#"{"results":[{"error":"no such table: nosuch"}]}"#);
    assert_eq!(tables(&node), r#"["t"]"#);
    assert_eq!(node.post("/db/load", other).text(), r#"{"results":[{"last_insert_id":181,"rows_affected":1}]}"#);
    node.kill();
    node.start();
    assert_eq!(tables(&node), r#"["t,u"]"#);
    assert_eq!(node.query(check)[0].to_string(), "[181,18000019,1]");
    assert_eq!(node.query("PRAGMA foreign_keys")[0].to_string(), "[1]");
    node.execute("INSERT INTO t(b) VALUES('later')");
}
