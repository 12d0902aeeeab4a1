//! Entries that move pages about: small and large rows, DDL, VACUUM, ANALYZE, and statements that fail.
//!
//! Source: the experiment of storage-findings §3.

use rqlite::command::{Command, Execute, Kind, Limits, Settings, Statement};
use rqlite::raft::types::Entry;
use sim::random::Random;

use crate::node_state::entry;

/// `count` entries from index 1.
pub fn entries(seed: u64, count: u64) -> Vec<Entry> {
    (1..=count).map(|index| entry(index, command(seed, index))).collect()
}

/// An entry that executes `statements`.
pub fn execute(seed: u64, index: u64, statements: Vec<String>, transaction: bool) -> Command {
    let statements = statements.into_iter().map(|sql| Statement { sql, ..Default::default() }).collect();
    of(seed, index, Kind::Execute(Execute { statements, transaction }))
}

/// An entry of that kind, with its own time and randomness.
pub fn of(seed: u64, index: u64, kind: Kind) -> Command {
    let mut bytes = vec![0; 32];
    Random::new(seed).fork(&format!("entry {index}")).fill(&mut bytes);
    Command {
        time_ms: 1_750_000_000_000 + index * 137,
        seed: bytes.into(),
        limits: Some(Limits::default()),
        kind: Some(kind),
    }
}

fn command(seed: u64, index: u64) -> Option<Command> {
    let mut random = Random::new(seed).fork(&format!("statements {index}"));
    let transaction = |statements| Some(execute(seed, index, statements, true));
    let alone = |sql: &str| Some(execute(seed, index, vec![sql.into()], false));
    match (index, random.below(100)) {
        (1, _) => transaction(schema()),
        (2, _) => {
            let settings = Settings { cluster_id: Some(format!("cluster {seed}")), ..Default::default() };
            Some(of(seed, index, Kind::Settings(settings)))
        }
        (_, 0..66) => {
            let statements = (0..random.between(1, 5)).map(|_| dml(&mut random)).collect();
            Some(execute(seed, index, statements, random.chance(3, 4)))
        }
        (_, 66..82) => transaction(ddl(&mut random, index)),
        (_, 82..88) => alone("VACUUM"),
        (_, 88..90) => alone("ANALYZE"),
        (_, 90..92) => alone("REINDEX"),
        (_, 92..94) => transaction(vec!["DELETE FROM t0".into(), "DELETE FROM t1 WHERE rowid % 2".into()]),
        (_, 94..96) => transaction(vec![
            dml(&mut random),
            "INSERT INTO t2(k, v) SELECT 'same', 1 UNION ALL SELECT 'same', 2".into(),
        ]),
        (_, 96..98) => alone(if random.chance(1, 2) { "PRAGMA foreign_keys=1" } else { "PRAGMA foreign_keys=0" }),
        _ => None,
    }
}

fn schema() -> Vec<String> {
    let statements = [
        "CREATE TABLE t0(id INTEGER PRIMARY KEY, a, b BLOB)",
        "CREATE TABLE t1(a, b)",
        "CREATE TABLE t2(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        "CREATE TABLE t3(id INTEGER PRIMARY KEY AUTOINCREMENT, x DEFAULT (random()))",
        "CREATE INDEX i0 ON t0(a)",
    ];
    statements.map(String::from).into()
}

fn dml(random: &mut Random) -> String {
    match random.below(10) {
        0..3 => format!("INSERT INTO t0(a, b) VALUES({}, randomblob({}))", random.below(1000), random.below(1500)),
        3 => format!(
            "INSERT INTO t1(a, b) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {})
             SELECT n, hex(randomblob(20)) FROM c",
            random.between(1, 25)
        ),
        4 => format!("INSERT OR REPLACE INTO t2 VALUES('k{}', randomblob({}))", random.below(40), random.below(900)),
        5 => "INSERT INTO t3(id) VALUES(NULL) RETURNING x".into(),
        6 => {
            format!("UPDATE t0 SET b = randomblob({}), a = a + 1 WHERE id % 5 = {}", random.below(900), random.below(5))
        }
        7 => format!("DELETE FROM t1 WHERE rowid % 7 = {}", random.below(7)),
        8 => format!("DELETE FROM t0 WHERE id % 6 = {}", random.below(6)),
        _ => {
            format!("INSERT INTO t0(a, b) VALUES({}, randomblob({}))", random.below(10), random.between(20_000, 50_000))
        }
    }
}

fn ddl(random: &mut Random, index: u64) -> Vec<String> {
    let table = 5 + random.below(4);
    let statement = match random.below(8) {
        0 | 1 => format!("CREATE TABLE IF NOT EXISTS t{table}(a, b, c DEFAULT CURRENT_TIMESTAMP)"),
        2 => format!("DROP TABLE IF EXISTS t{table}"),
        3 => format!("CREATE INDEX IF NOT EXISTS j{table} ON t0(b, a)"),
        4 => format!("DROP INDEX IF EXISTS j{table}"),
        5 => format!("ALTER TABLE t1 ADD COLUMN c{}", random.below(6)),
        6 => format!("INSERT INTO t{table} SELECT rowid, a, 1 FROM t1 LIMIT 5"),
        _ => format!(
            "CREATE TRIGGER IF NOT EXISTS g{table} AFTER INSERT ON t1 BEGIN
             INSERT OR REPLACE INTO t2 VALUES('g' || new.rowid, random()); END"
        ),
    };
    vec![statement, format!("INSERT INTO t1(a, b) VALUES({index}, 'ddl')")]
}
