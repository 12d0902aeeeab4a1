//! H9: the step budget ends a statement at the same point, whatever the connection did before.

use rqlite::command::{Command, Limits};
use rqlite::db::budget::STEPS_PER_CALL;

use crate::node::{Node, from_statements, integer, limited, show, statement};

const COUNT: &str = "INSERT INTO t WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1) \
                     SELECT count(*) FROM n";

fn steps(calls: u64) -> Limits {
    Limits { request_steps: calls * STEPS_PER_CALL as u64, ..Limits::default() }
}

fn count(to: i64, limits: Limits) -> Command {
    let command = from_statements(vec![statement(COUNT, vec![integer(to)])], false);
    Command { limits: Some(limits), ..command }
}

/// The first count, from `from` on, that two calls' worth of steps don't reach.
fn bound(node: &mut Node, from: i64) -> i64 {
    let (mut low, mut high) = (from, 40_000);
    while low < high {
        let middle = (low + high) / 2;
        match show(&node.apply(count(middle, steps(2)))).as_str() {
            "execute timeout" => high = middle,
            _ => low = middle + 1,
        }
    }
    low
}

fn node() -> Node {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    node.run("CREATE VIRTUAL TABLE f USING fts5(x)");
    node
}

/// The exact count at which the budget ends the statement, cold and with every kind of past.
#[test]
fn a_budget_ends_a_statement_at_the_same_point() {
    let mut cold = node();
    cold.checkpoint();
    cold.restart();
    let want = bound(&mut cold, 1);

    let mut warm = node();
    for n in 0..50 {
        warm.apply(count(n, Limits::default()));
    }
    assert_eq!(bound(&mut warm, 1), want, "prepared and run before");
    for past in ["VACUUM", "PRAGMA foreign_keys=1", "PRAGMA foreign_keys=0", "CREATE TABLE u(v)", "ANALYZE"] {
        let mut low = want - 3;
        // The statement is cached before each trial, and stale in it.
        loop {
            warm.apply(count(1, Limits::default()));
            warm.run(past);
            if low == want {
                break;
            }
            assert_ne!(show(&warm.apply(count(low, steps(2)))), "execute timeout", "{past}: {low} of {want}");
            low += 1;
        }
        assert_eq!(show(&warm.apply(count(want, steps(2)))), "execute timeout", "{past}");
        warm.run("DROP TABLE IF EXISTS u");
    }
    warm.restart();
    assert_eq!(bound(&mut warm, 1), want, "after a restart");
}

/// FTS5's own statements stay prepared with the table.
#[test]
fn work_inside_a_virtual_table_is_not_charged() {
    let sql = "INSERT INTO f WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500) \
               SELECT 'word' || n FROM n";
    let answers = [false, true].map(|warm| {
        let mut node = node();
        for _ in 0..if warm { 20 } else { 0 } {
            node.run("INSERT INTO f SELECT 'a b c'");
        }
        (1..6)
            .map(|calls| show(&node.apply(limited(&[sql], steps(calls)))).replace(char::is_numeric, ""))
            .collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains(&"execute timeout".to_string()), "{answers:?}");
    assert!(answers[0].contains(&"/".to_string()), "{answers:?}");
}

#[test]
fn statements_of_a_request_share_its_budget() {
    let mut node = node();
    let to = bound(&mut node, 1) * 2 / 3;
    let statements = vec![statement(COUNT, vec![integer(to)]); 3];
    let command = Command { limits: Some(steps(2)), ..from_statements(statements, false) };
    let answer = show(&node.apply(command));
    assert!(answer.ends_with("execute timeout; execute timeout"), "{answer}");
    assert!(node.run("INSERT INTO t VALUES (1)").ends_with("/1"));
}
