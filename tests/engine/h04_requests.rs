//! H4: a request never sees where another one began or ended, and leaves nothing open.

use rqlite::command::Command;

use crate::node::{Node, assert_equal, command, request, show, transaction};

fn log() -> Vec<Command> {
    let schema = [
        "PRAGMA foreign_keys=1",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)",
        "CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.v = 'bad' BEGIN SELECT raise(ROLLBACK, 'no bad ones'); END",
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    ];
    let mut log: Vec<_> = schema.iter().map(|sql| request(&[sql])).collect();
    for in_transaction in [false, true] {
        for sqls in [
            &["INSERT INTO t(v) VALUES (1)"][..],
            &["INSERT INTO t(v) VALUES (2)", "INSERT OR ROLLBACK INTO t(v) VALUES (2)", "INSERT INTO t(v) VALUES (3)"],
            &["INSERT INTO t(v) VALUES (4)", "INSERT INTO t(v) VALUES ('bad')", "INSERT INTO t(v) VALUES (5)"],
            &["INSERT INTO c VALUES (1)"],
            &["INSERT INTO p VALUES (1)"],
            &["INSERT INTO c VALUES (2)", "INSERT INTO p VALUES (2)"],
            &["PRAGMA defer_foreign_keys=1"],
            &["PRAGMA foreign_keys=0", "INSERT INTO c VALUES (9)"],
            &["PRAGMA foreign_keys=1"],
            &["BEGIN", "INSERT INTO t(v) VALUES (6)"],
            &["INSERT INTO t(v) VALUES (7)", "COMMIT"],
            &["SAVEPOINT s", "INSERT INTO t(v) VALUES (8)", "INSERT OR ROLLBACK INTO t(v) VALUES (8)", "RELEASE s"],
            &["DELETE FROM t"],
        ] {
            log.push(command(sqls, in_transaction));
        }
    }
    log
}

/// As different batches would: with everything else that may lie between two entries.
#[test]
fn boundaries_between_entries_do_not_show() {
    let run = |checkpoint_every: usize, restart_every: usize| {
        let mut node = Node::new();
        let answers: Vec<_> = log()
            .into_iter()
            .enumerate()
            .map(|(n, command)| {
                if n % checkpoint_every == checkpoint_every - 1 {
                    node.checkpoint();
                }
                if n % restart_every == restart_every - 1 {
                    node.restart();
                }
                // The counters in the JSON may differ.
                show(&node.apply(command))
                    .split("; ")
                    .map(|answer| match answer.split_once('/') {
                        Some(_) => "done".to_owned(),
                        None => answer.to_owned(),
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        (node, answers)
    };
    let (mut plain, want) = run(usize::MAX, usize::MAX);
    for (checkpoint_every, restart_every) in [(1, usize::MAX), (1, 1), (3, 2), (usize::MAX, 5)] {
        let (mut other, answers) = run(checkpoint_every, restart_every);
        assert_eq!(want, answers);
        assert_equal(&mut plain, &mut other);
    }
}

#[test]
fn a_transaction_left_open_is_rolled_back_and_reported() {
    let mut node = Node::new();
    node.run("CREATE TABLE t(v)");
    let open = "transaction still open at the end of the request: rolled back";
    for sqls in [&["BEGIN", "INSERT INTO t VALUES (1)"][..], &["SAVEPOINT s", "INSERT INTO t VALUES (1)"]] {
        let executed = node.apply(request(sqls));
        assert_eq!(executed.error.as_deref(), Some(open));
        assert_eq!(node.value("SELECT count(*) FROM t"), "0");
    }
    assert!(show(&node.apply(transaction(&["INSERT INTO t VALUES (1)"]))).ends_with("/1"));
    assert_eq!(node.value("SELECT count(*) FROM t"), "1");
}

/// What a request of several statements may hold: writes that go well and that fail, each in its own way, and what isn't
/// a plain write.
const STATEMENTS: &[&str] = &[
    "INSERT INTO t(v) VALUES (random())",
    "INSERT INTO t(v) VALUES (hex(randomblob(8))) RETURNING id, v",
    "INSERT INTO t(v) VALUES (1)",
    "INSERT OR IGNORE INTO t(v) VALUES (1)",
    "INSERT OR REPLACE INTO t(v) VALUES (1)",
    "INSERT OR FAIL INTO t(v) VALUES (2), (1), (3)",
    "INSERT OR ROLLBACK INTO t(v) VALUES (1)",
    "INSERT INTO t(v) VALUES ('bad')",
    "UPDATE t SET v = v || 'x' WHERE id % 3 = 0",
    "DELETE FROM t WHERE id % 7 = 0",
    "INSERT INTO c VALUES (abs(random() % 4))",
    "INSERT OR IGNORE INTO p VALUES (abs(random() % 4))",
    "DELETE FROM p WHERE id = 1",
    "INSERT INTO t(v) SELECT total_changes() || '/' || changes() || '/' || last_insert_rowid()",
    "INSERT INTO nosuch VALUES (1)",
    "INSERT INTO t(v) VALUES (40); INSERT INTO t(v) VALUES (41)",
    "SELECT count(*) FROM t",
    "CREATE TABLE IF NOT EXISTS made AS SELECT random() AS r",
    "PRAGMA foreign_keys=1",
    "PRAGMA foreign_keys=0",
    "BEGIN; INSERT INTO t(v) VALUES (50)",
    "COMMIT",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]
    /// The first writes of a request share a transaction, unless a read stands before them: nothing else tells.
    #[test]
    fn a_shared_transaction_does_not_show(
        requests in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(STATEMENTS), 2..8), 1..12),
    ) {
        let run = |by_themselves: bool| {
            let mut node = Node::new();
            let schema = log().into_iter().take(5);
            schema.for_each(|command| {
                node.apply(command);
            });
            let mut answers = Vec::new();
            for sqls in &requests {
                let first = if by_themselves { "SELECT 1" } else { "" };
                let sqls: Vec<_> = std::iter::once(first).chain(sqls.iter().copied()).collect();
                let mut executed = node.apply(request(&sqls));
                if by_themselves {
                    executed.results.remove(0);
                }
                answers.push(show(&executed));
            }
            (answers, node.content())
        };
        proptest::prop_assert_eq!(run(false), run(true));
    }
}
