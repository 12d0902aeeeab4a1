//! Two nodes' worth of determinism: one log, two nodes that differ in everything else, one content and one file.

use proptest::prelude::*;
use proptest::test_runner::Config;
use rqlite::command::Command;
use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;
use rqlite::db::execute::Executed;
use rqlite::db::value::StatementResult;
use rqlite::raft::machine::Checkpoint;

use crate::node::{Node, TIME_MS, assert_equal, command, with_reads};

const SCHEMA: &[&str] = &[
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE, r DEFAULT (random()),
        at DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), day DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE b(x, y DEFAULT (hex(randomblob(8))))",
    "CREATE TABLE l(what, n)",
    "CREATE TABLE p(id INTEGER PRIMARY KEY)",
    "CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    "CREATE INDEX ib ON b(x)",
    "CREATE TRIGGER ta AFTER INSERT ON a BEGIN
        INSERT INTO l VALUES (changes() || random(), last_insert_rowid()); END",
    "CREATE TRIGGER tb AFTER DELETE ON b BEGIN INSERT INTO l VALUES (total_changes(), datetime('now', 'localtime')); END",
];

/// Where a commit does more than to commit.
const FULL_TEXT: &[&str] = &[
    "CREATE VIRTUAL TABLE f USING fts5(t)",
    "CREATE TRIGGER tf AFTER INSERT ON a BEGIN INSERT INTO f VALUES (new.v || ' ' || new.r); END",
];
const AUTO_VACUUM: &[&str] = &["PRAGMA auto_vacuum=1", "VACUUM"];

/// `#` is a small number.
const STATEMENTS: &[&str] = &[
    "INSERT INTO a(v) VALUES (#)",
    "INSERT INTO a(v) VALUES (#), (# + 100), (# + 200) RETURNING *",
    "INSERT INTO a(v) VALUES (#) ON CONFLICT(v) DO UPDATE SET r = random() RETURNING r",
    "INSERT OR REPLACE INTO a(v) VALUES (#)",
    "INSERT OR ROLLBACK INTO a(v) VALUES (#)",
    "INSERT INTO b(x) SELECT v FROM a ORDER BY random() LIMIT #",
    "INSERT INTO b(x, y) WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 40 * #)
        SELECT n, hex(randomblob(60)) FROM n ORDER BY random()",
    "INSERT INTO b(rowid, x) VALUES (9223372036854775807, #)",
    "INSERT INTO b(x) SELECT a.v FROM a JOIN b ON a.v = b.x LIMIT 50",
    "UPDATE b SET y = random() WHERE x % # = 0",
    "UPDATE a SET day = CURRENT_TIME, v = v + 1000 WHERE id = #",
    "DELETE FROM b WHERE rowid IN (SELECT rowid FROM b ORDER BY random() LIMIT 20 * #)",
    "DELETE FROM a WHERE v = # RETURNING id, v",
    "DELETE FROM b",
    "INSERT INTO f VALUES ('some words ' || # || ' ' || hex(randomblob(8)))",
    "DELETE FROM f WHERE rowid = #",
    "INSERT INTO f(f) VALUES ('optimize')",
    "INSERT INTO l VALUES (changes(), total_changes() + last_insert_rowid())",
    "INSERT INTO p VALUES (#)",
    "INSERT INTO c VALUES (#)",
    "DELETE FROM p WHERE id = #",
    "INSERT INTO nowhere VALUES (#)",
    "INSERT INTO l SELECT abs(-9223372036854775808), 1",
    "CREATE TABLE c# AS SELECT 1 z, 2 z, 3 z, 4 z, 5 z, 6 z, random() r",
    "DROP TABLE IF EXISTS c#",
    "ALTER TABLE b ADD COLUMN c#",
    "CREATE INDEX IF NOT EXISTS i# ON b(y, x)",
    "DROP INDEX IF EXISTS i#",
    "ANALYZE",
    "UPDATE sqlite_stat1 SET stat = '#000 #'",
    "PRAGMA optimize",
    "PRAGMA foreign_keys=1",
    "PRAGMA recursive_triggers=1",
    "PRAGMA user_version=#",
    "VACUUM",
    "BEGIN",
    "SAVEPOINT s",
    "COMMIT",
    "ROLLBACK",
    "SELECT *, random() FROM a ORDER BY id",
    "SELECT hex(randomblob(4)), y FROM b ORDER BY y, rowid LIMIT #",
    "SELECT abs(-9223372036854775808)",
    "SELECT #; INSERT INTO l VALUES ('behind a read', #)",
];

#[derive(Clone, Debug)]
enum Step {
    /// Requests that come together: whether all of one is one transaction, and whether its reads answer with rows.
    Apply(Vec<(Vec<String>, bool, bool)>),
    /// On the first node, on the second.
    Checkpoint(bool, bool),
    Restart(bool, bool),
    Reader(bool, bool),
}

fn statement() -> impl Strategy<Value = String> {
    (0..STATEMENTS.len(), 1..7).prop_map(|(n, number): (usize, i32)| STATEMENTS[n].replace('#', &number.to_string()))
}

fn request() -> impl Strategy<Value = (Vec<String>, bool, bool)> {
    let transaction = prop::bool::weighted(0.2);
    prop_oneof![
        (prop::collection::vec(statement(), 1..5), transaction, any::<bool>()),
        // What most are.
        (0..12usize, 1..7).prop_map(|(n, number): (usize, i32)| {
            (vec![STATEMENTS[n].replace('#', &number.to_string())], false, false)
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec(request(), 1..7).prop_map(Step::Apply),
        1 => any::<(bool, bool)>().prop_map(|(a, b)| Step::Checkpoint(a, b)),
        1 => any::<(bool, bool)>().prop_map(|(a, b)| Step::Restart(a, b)),
        1 => any::<(bool, bool)>().prop_map(|(a, b)| Step::Reader(a, b)),
    ]
}

/// A node and a reader that holds on to an old state.
struct Side {
    node: Node,
    reader: Option<Connection>,
}

impl Side {
    fn new(node: Node, more: &[&str]) -> Self {
        let mut side = Self { node, reader: None };
        for sql in SCHEMA.iter().chain(more) {
            side.node.run(sql);
        }
        side
    }

    fn disturb(&mut self, checkpoint: bool, restart: bool, reader: bool) {
        if checkpoint {
            // Busy under the reader: then it stays half done.
            assert!(matches!(self.node.machine().checkpoint().unwrap(), Checkpoint::Clean(_) | Checkpoint::Busy));
        }
        if restart {
            // As in a crash: nothing but the file system is left. (In one process the readers go as well.)
            self.reader = None;
            self.node.restart();
        }
        if reader && self.reader.take().is_none() {
            let path = self.node.main_path();
            let reader = Connection::open(&path, self.node.world().disk.sqlite_vfs(), Role::Reader).unwrap();
            reader.look(|reader| reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").unwrap());
            self.reader = Some(reader);
        }
    }
}

/// Without the counters, which belong to a connection (http-data.md §6).
fn without_counters(mut executed: Executed) -> Executed {
    for result in &mut executed.results {
        if let StatementResult::Write { last_insert_id, rows_affected, .. } = result {
            (*last_insert_id, *rows_affected) = (0, 0);
        }
    }
    executed
}

fn nth_command(n: usize, sqls: &[String], whole: bool, reads: bool) -> Command {
    let sqls: Vec<_> = sqls.iter().map(String::as_str).collect();
    let mut seed = vec![0; 32];
    seed[0] = n as u8;
    let command = Command { time_ms: TIME_MS + 1_001 * n as u64, seed: seed.into(), ..command(&sqls, whole) };
    if reads { with_reads(command) } else { command }
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })]

    #[test]
    fn one_log_makes_one_content_and_one_file(
        more in prop::sample::select(&[&[], &[], FULL_TEXT, AUTO_VACUUM][..]),
        steps in prop::collection::vec(step(), 5..30),
    ) {
        let (mut a, mut b) = (Side::new(Node::new(), more), Side::new(Node::with_cache(5), more));
        let mut n = 0;
        for step in &steps {
            match step {
                Step::Apply(requests) => {
                    let commands: Vec<_> = requests.iter().map(|(sqls, whole, reads)| {
                        n += 1;
                        nth_command(n, sqls, *whole, *reads)
                    }).collect();
                    let one_by_one: Vec<_> = commands.iter().map(|command| a.node.apply(command.clone())).collect();
                    let together = b.node.apply_together(commands);
                    for (alone, shared) in one_by_one.into_iter().zip(together) {
                        prop_assert_eq!(without_counters(alone), without_counters(shared));
                    }
                }
                &Step::Checkpoint(on_a, on_b) => {
                    a.disturb(on_a, false, false);
                    b.disturb(on_b, false, false);
                }
                &Step::Restart(on_a, on_b) => {
                    a.disturb(false, on_a, false);
                    b.disturb(false, on_b, false);
                }
                &Step::Reader(on_a, on_b) => {
                    a.disturb(false, false, on_a);
                    b.disturb(false, false, on_b);
                }
            }
        }
        (a.reader, b.reader) = (None, None);
        assert_equal(&mut a.node, &mut b.node);
    }
}
