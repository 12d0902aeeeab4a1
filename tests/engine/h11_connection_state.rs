//! H11: what a connection remembers, and what belongs to one node, never reaches data.

use rqlite::db::execute::Executed;
use rqlite::db::value::StatementResult;

use crate::node::{Node, assert_equal, command, request, show, transaction};

/// Runs `history` and then `entry` on a warm node, and `entry` on a restarted one.
#[track_caller]
fn same_after_restart(history: &[&str], entry: &[&str], in_transaction: bool) -> String {
    let (mut warm, mut cold) = (Node::new(), Node::new());
    for sql in history {
        assert_eq!(warm.run(sql), cold.run(sql));
    }
    cold.checkpoint();
    cold.restart();
    let command = command(entry, in_transaction);
    let answer = warm.apply(command.clone());
    let again = cold.apply(command);
    // The write counters in the JSON may differ (http-data.md §6), so only errors are compared.
    let errors = |executed: &Executed| {
        let error = |result: &_| match result {
            StatementResult::Error(text) => Some(text.clone()),
            _ => None,
        };
        (executed.results.iter().map(error).collect::<Vec<_>>(), executed.error.clone())
    };
    assert_eq!(errors(&answer), errors(&again));
    assert_equal(&mut warm, &mut cold);
    show(&answer)
}

const TABLES: &[&str] =
    &["CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "CREATE TABLE seen(v)", "INSERT INTO t(v) VALUES (1), (2), (3)"];

#[test]
fn counters_start_at_zero_with_each_request() {
    for function in ["changes()", "total_changes()", "last_insert_rowid()"] {
        same_after_restart(TABLES, &[&format!("INSERT INTO seen VALUES ({function})")], false);
        same_after_restart(TABLES, &[&format!("INSERT INTO seen VALUES ({function}), ({function})")], true);
    }
}

/// A trigger's frame gives the count back that was there before the statement: that of an earlier request.
#[test]
fn counters_in_triggers_start_at_zero_too() {
    let mut history = TABLES.to_vec();
    let trigger = "CREATE TRIGGER tr AFTER INSERT ON t BEGIN
        INSERT INTO seen VALUES (changes() || '/' || total_changes() || '/' || last_insert_rowid()); END";
    history.push(trigger);
    history.push("UPDATE t SET v = 0");
    same_after_restart(&history, &["INSERT INTO t(v) VALUES (4), (5), (6)"], false);
    same_after_restart(&history, &["UPDATE t SET v = 1 WHERE 0", "INSERT INTO t(v) VALUES (4), (5), (6)"], true);
}

#[test]
fn flags_that_pragmas_set_end_with_their_request() {
    let history = |pragma| {
        vec![
            "PRAGMA foreign_keys=1",
            "CREATE TABLE p(id INTEGER PRIMARY KEY)",
            "CREATE TABLE c(p REFERENCES p(id))",
            "CREATE TABLE r(n)",
            "CREATE TRIGGER again AFTER INSERT ON r WHEN new.n < 5 BEGIN INSERT INTO r VALUES (new.n + 1); END",
            pragma,
        ]
    };
    for pragma in ["PRAGMA defer_foreign_keys=1", "PRAGMA defer_foreign_keys(1)", "EXPLAIN PRAGMA defer_foreign_keys=1"]
    {
        same_after_restart(&history(pragma), &["INSERT INTO c VALUES (1)", "INSERT INTO p VALUES (1)"], true);
    }
    for pragma in
        ["PRAGMA recursive_triggers=1", "EXPLAIN PRAGMA recursive_triggers=1", "PRAGMA recursive_triggers=1 x"]
    {
        same_after_restart(&history(pragma), &["INSERT INTO r VALUES (1)"], false);
    }
}

#[test]
fn localtime_is_utc_whatever_the_machine_thinks() {
    // SAFETY: SQLite reads no environment while tests run, and no other test sets it.
    unsafe { std::env::set_var("TZ", "Asia/Kathmandu") };
    let mut node = Node::new();
    node.run("CREATE TABLE t(a DEFAULT (datetime('now', 'localtime')), b)");
    node.run("INSERT INTO t(b) VALUES (datetime('2026-07-01 12:00:00', 'utc'))");
    assert_eq!(node.value("SELECT a || ' ' || b FROM t"), "2026-01-01 00:00:00 2026-07-01 12:00:00");
}

#[test]
fn foreign_keys_are_replicated_state() {
    let mut node = Node::new();
    node.apply(request(&["CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE c(p REFERENCES p(id))"]));
    assert_eq!(node.run("INSERT INTO c VALUES (1)"), "1/1");
    node.run("PRAGMA foreign_keys=1");
    let refused = "FOREIGN KEY constraint failed";
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), refused);
    node.restart();
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), refused);
    node.checkpoint();
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), refused);
    node.restart();
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), refused);
    // A no-op inside a transaction, as in SQLite.
    node.apply(transaction(&["PRAGMA foreign_keys=0"]));
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), refused);
    node.run("PRAGMA foreign_keys=0");
    node.checkpoint();
    node.restart();
    assert_eq!(node.run("INSERT INTO c VALUES (2)"), "2/1");
}

/// Pragmas that the writer runs, in whatever form; every other one of this SQLite is refused.
const WRITER_PRAGMAS: &[&str] = &[
    "application_id",
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "index_info",
    "index_list",
    "index_xinfo",
    "optimize",
    "page_size",
    "recursive_triggers",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

#[test]
fn pragmas_by_allow_list_on_the_writer() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    let pragmas = node.look(|connection| {
        let mut statement = connection.prepare("PRAGMA pragma_list").unwrap();
        statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    });
    for pragma in pragmas {
        let allowed = WRITER_PRAGMAS.contains(&pragma.as_str());
        for sql in [
            format!("PRAGMA {pragma}"),
            format!("PRAGMA main.{pragma}"),
            format!("PRAGMA {pragma}=1"),
            format!("PRAGMA {pragma}('t')"),
            format!("/**/ PRAGMA {}(1)", pragma.to_uppercase()),
            format!("EXPLAIN PRAGMA {pragma}=1"),
        ] {
            let answer = node.run(&sql);
            assert!(allowed || answer == "not authorized", "{sql}: {answer}");
        }
        let before = node.content();
        for sql in [
            format!("CREATE TABLE y AS SELECT * FROM pragma_{pragma}"),
            format!("CREATE TABLE y AS SELECT * FROM main.pragma_{pragma}"),
            format!("CREATE TABLE y AS SELECT * FROM pragma_{pragma}('t')"),
            format!("INSERT INTO t SELECT (SELECT 1 FROM pragma_{pragma})"),
        ] {
            let answer = node.run(&sql);
            let refused = ["not authorized", "no such table", "prohibited", "too many arguments", "'pragma_"];
            assert!(allowed || refused.iter().any(|text| answer.contains(text)), "{sql}: {answer}");
        }
        if !allowed {
            assert_eq!(node.content(), before, "{pragma}");
        }
        node.apply(request(&["DROP TABLE IF EXISTS y", "DELETE FROM t", "PRAGMA user_version=0"]));
        assert_eq!(node.run("INSERT INTO t VALUES (1)").split('/').next_back(), Some("1"), "after {pragma}");
    }
}

#[test]
fn what_belongs_to_one_node_is_refused() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    node.run("CREATE TRIGGER bad AFTER DELETE ON t BEGIN INSERT INTO t SELECT file FROM pragma_database_list; END");
    let outside = tempfile::tempdir().unwrap();
    let copy = outside.path().join("copy").display().to_string();
    for sql in [
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "CREATE TEMP TABLE x(v)",
        "CREATE TABLE temp.x(v)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE TEMP TABLE x AS SELECT 1",
        "SELECT load_extension('x')",
        "INSERT INTO t SELECT load_extension('x')",
        "INSERT INTO t SELECT path FROM dbstat",
        "INSERT INTO t SELECT pageno FROM main.dbstat('main')",
        "CREATE VIRTUAL TABLE s USING dbstat",
        "CREATE VIRTUAL TABLE s USING dbstat(main)",
        "INSERT INTO t SELECT file FROM pragma_database_list",
        "CREATE TABLE y AS SELECT * FROM pragma_optimize",
        "SELECT * FROM pragma_optimize(65538)",
        "SELECT * FROM pragma_data_version",
        "INSERT INTO t SELECT fts3_tokenizer('simple')",
        &format!("VACUUM INTO '{copy}'"),
        &format!("VACUUM main INTO '{copy}'"),
        "VACUUM INTO '/nowhere/at/all'",
        "VACUUM INTO ':memory:'",
    ] {
        let answer = node.run(sql);
        let refused = ["not authorized", "authorization denied", "prohibited"];
        assert!(refused.iter().any(|text| answer.contains(text)), "{sql}: {answer}");
        assert!(node.run("INSERT INTO t VALUES (1)").ends_with("/1"), "after {sql}");
    }
    assert!(node.run("DELETE FROM t").contains("prohibited"), "inside a trigger");
    assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
    // A look-alike is a table like any other.
    assert!(!node.run("CREATE TABLE pragma_mine(v)").contains("authorized"));
    assert!(!node.run("INSERT INTO pragma_mine SELECT 1").contains("authorized"));
    assert!(!node.run("INSERT INTO t SELECT v FROM pragma_mine").contains("authorized"));
}

/// FTS5 prepares statements of its own while one runs: what they read may be a client's choice.
#[test]
fn an_external_content_table_is_no_way_around() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    node.run("CREATE VIRTUAL TABLE f USING fts5(seq, name, file, content='pragma_database_list', content_rowid='seq')");
    let answer = node.run("INSERT INTO t SELECT file FROM f WHERE rowid = 0");
    assert!(answer.contains("prohibited"), "{answer}");
    node.run("CREATE VIRTUAL TABLE d USING fts5(path, content='dbstat', content_rowid='pageno')");
    let answer = node.run("INSERT INTO t SELECT path FROM d WHERE rowid = 1");
    assert!(answer.contains("not authorized") || answer.contains("prohibited"), "{answer}");
    assert_eq!(node.value("SELECT count(*) FROM t"), "0");
}

/// SQLite's own nested statements and functions get through.
#[test]
fn every_kind_of_ddl_works() {
    let mut node = Node::new();
    for sql in [
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b, c)",
        "INSERT INTO t(b, c) VALUES (1, 2), (3, 4)",
        "CREATE INDEX i ON t(b)",
        "CREATE UNIQUE INDEX e ON t(lower(b), c) WHERE c > 0",
        "CREATE VIEW v AS SELECT b, c FROM t",
        "CREATE TRIGGER tr AFTER UPDATE ON t BEGIN UPDATE t SET c = 0 WHERE 0; END",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u RENAME COLUMN b TO bb",
        "ALTER TABLE u ADD COLUMN d DEFAULT 7",
        "ALTER TABLE u ADD COLUMN e NOT NULL DEFAULT 7",
        "ALTER TABLE u ADD COLUMN f CHECK (f IS NULL)",
        "ALTER TABLE u ADD COLUMN g AS (a + 1)",
        "ALTER TABLE u DROP COLUMN d",
        "CREATE TABLE s(a INTEGER NOT NULL) STRICT",
        "INSERT INTO s VALUES (1)",
        "ALTER TABLE s ADD COLUMN b INTEGER NOT NULL DEFAULT 3",
        "REINDEX",
        "ANALYZE",
        "VACUUM",
        "CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "INSERT INTO f VALUES ('one two')",
        "INSERT INTO f(f) VALUES ('optimize')",
        "ALTER TABLE f RENAME TO ff",
        "CREATE VIRTUAL TABLE f4 USING fts4(x)",
        "INSERT INTO f4 VALUES ('one two')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES (1, 0, 1)",
        "CREATE VIRTUAL TABLE g USING geopoly()",
        "CREATE VIRTUAL TABLE fv USING fts5vocab('ff', 'row')",
        "DROP VIEW v",
        "DROP TRIGGER tr",
        "DROP INDEX e",
        "DROP TABLE u",
        "DROP TABLE ff",
        "CREATE TABLE c AS SELECT * FROM json_each('[1,2]')",
        "PRAGMA optimize",
        "PRAGMA user_version=3",
    ] {
        let answer = node.run(sql);
        assert!(answer.split('/').all(|part| part.parse::<i64>().is_ok()), "{sql}: {answer}");
    }
    let answer = node.run("ALTER TABLE s ADD COLUMN c INTEGER NOT NULL");
    assert!(answer.contains("Cannot add a NOT NULL column"), "{answer}");
    let answer = node.run("ALTER TABLE s ADD COLUMN c CHECK (c > 0) DEFAULT 0");
    assert!(answer.contains("constraint failed") || answer.contains("datatype"), "{answer}");
    assert!(node.run("CREATE TABLE q AS SELECT * FROM pragma_quick_check").contains("prohibited"));
    assert_eq!(node.value("PRAGMA user_version"), "3");
}
