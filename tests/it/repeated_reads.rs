//! A read whose text came before is kept prepared; what it answers is of the schema as it is now.

use crate::node::Node;

#[test]
fn a_read_that_comes_again_sees_the_schema_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let steps = [
        ("CREATE TABLE t(a INTEGER)", r#"{"results":[{"columns":["a"],"types":["integer"]}]}"#),
        ("INSERT INTO t VALUES(1)", r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]}"#),
        (
            "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'x'",
            r#"{"results":[{"columns":["a","b"],"types":["integer","text"],"values":[[1,"x"]]}]}"#,
        ),
        (
            "ALTER TABLE t RENAME COLUMN a TO c",
            r#"{"results":[{"columns":["c","b"],"types":["integer","text"],"values":[[1,"x"]]}]}"#,
        ),
        ("DROP TABLE t", r#"{"results":[{"error":"no such table: t"}]}"#),
        ("CREATE VIEW t AS SELECT 7 AS n", r#"{"results":[{"columns":["n"],"types":["integer"],"values":[[7]]}]}"#),
    ];
    let read = "[\"SELECT * FROM t\"]";
    for (write, expected) in steps {
        let written = node.post("/db/execute", serde_json::json!([write]).to_string());
        assert!(!written.text().contains("error"), "{write}: {}", written.text());
        for level in ["none", "weak"] {
            assert_eq!(node.post(&format!("/db/query?level={level}"), read).text(), expected, "after {write}");
        }
    }
}

#[test]
fn a_read_that_comes_again_has_its_own_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    let cases = [
        (r#"[["SELECT ? AS a", 1]]"#, r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]}"#),
        (r#"[["SELECT ? AS a", "x"]]"#, r#"{"results":[{"columns":["a"],"types":["text"],"values":[["x"]]}]}"#),
        (r#"["SELECT ? AS a"]"#, r#"{"results":[{"error":"not enough args to execute query: want 1 got 0"}]}"#),
        (r#"[["SELECT ? AS a", null]]"#, r#"{"results":[{"columns":["a"],"types":[""],"values":[[null]]}]}"#),
    ];
    for (body, expected) in cases {
        assert_eq!(node.post("/db/query?level=none", body).text(), expected, "{body}");
    }
}
