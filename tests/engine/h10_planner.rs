//! H10: what the planner knows is the same on a node that restarted.

use crate::node::{Node, assert_equal, request, with_reads};

/// 2,000 rows in `a` and 20 in `b`; a join without ORDER BY shows its plan in the order of the rows.
const TABLES: &[&str] = &[
    "CREATE TABLE a(x, y)",
    "CREATE TABLE b(x, y)",
    "CREATE TABLE got(x, y)",
    "CREATE INDEX ax ON a(x)",
    "CREATE INDEX bx ON b(x)",
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) INSERT INTO a SELECT n % 7, n FROM n",
    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20) INSERT INTO b SELECT n % 7, n FROM n",
];

const JOIN: &str = "INSERT INTO got SELECT a.y, b.y FROM a JOIN b ON a.x = b.x WHERE a.y < 100";

fn join(change: &str, restart: bool) -> Node {
    let mut node = Node::new();
    for sql in TABLES.iter().chain(&["ANALYZE", JOIN, "DELETE FROM got", change]) {
        node.run(sql);
    }
    if restart {
        node.checkpoint();
        node.restart();
    }
    node.run(JOIN);
    node
}

#[test]
fn statistics_that_a_client_changes_hold_at_once_and_after_a_restart() {
    let (mut plain, mut swapped) = (
        join("SELECT 1", false),
        join("UPDATE sqlite_stat1 SET stat = CASE idx WHEN 'ax' THEN '20 3' ELSE '2000000 300000' END", false),
    );
    assert_ne!(plain.value(ORDER), swapped.value(ORDER), "the change has an effect");
    for change in [
        "UPDATE sqlite_stat1 SET stat = CASE idx WHEN 'ax' THEN '20 3' ELSE '2000000 300000' END",
        "DELETE FROM sqlite_stat1",
        "DELETE FROM sqlite_stat1 WHERE tbl = 'a'",
        "DROP INDEX ax",
        "DROP INDEX bx",
        "REINDEX",
        "PRAGMA optimize",
    ] {
        let (mut warm, mut cold) = (join(change, false), join(change, true));
        assert_eq!(warm.value(ORDER), cold.value(ORDER), "{change}");
        assert_equal(&mut warm, &mut cold);
    }
}

const ORDER: &str = "SELECT group_concat(x || ':' || y) FROM (SELECT * FROM got ORDER BY rowid)";

/// SQLite's own optimize analyses what this connection happened to plan with.
#[test]
fn optimize_does_not_depend_on_what_was_planned_before() {
    let mut nodes = [false, true].map(|restart| {
        let mut node = Node::new();
        for sql in TABLES {
            node.run(sql);
        }
        node.run("SELECT count(*) FROM a JOIN b ON a.x = b.x WHERE a.y > 7");
        if restart {
            node.checkpoint();
            node.restart();
        }
        node.run("pragma main.Optimize(0xfffe)");
        node
    });
    let [warm, cold] = &mut nodes;
    assert_equal(warm, cold);
    assert_eq!(warm.value("SELECT count(*) FROM sqlite_stat1"), "2");
}

/// SQLite's own is a read or a write, by what this connection happened to plan with: so would be the answer.
#[test]
fn what_optimize_answers_does_not_depend_on_it_either() {
    let answers = [false, true].map(|restart| {
        let mut node = Node::new();
        for sql in TABLES.iter().chain(&["ANALYZE", "INSERT INTO b SELECT * FROM a", JOIN]) {
            node.run(sql);
        }
        if restart {
            node.checkpoint();
            node.restart();
        }
        // Its counters belong to the connection.
        std::mem::discriminant(&node.apply(with_reads(request(&["PRAGMA optimize"]))).results[0])
    });
    assert_eq!(answers[0], answers[1]);
}
