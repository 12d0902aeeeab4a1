//! SQLite on the simulated disk: what it promises holds, what it doesn't promise is really lost.

use std::path::Path;
use std::sync::Arc;

use rqlite::world::disk::Disk;
use rusqlite::{Connection, OpenFlags};
use sim::random::Random;
use sim::world::clock::SimClock;
use sim::world::disk::{Counted, Error, Failure, PowerFailure, SimDisk};
use sim::world::entropy::SimEntropy;
use sim::world::vfs::{self, Registered};

const DATABASE: &str = "/d/db.sqlite";

fn machine(seed: u64) -> (SimDisk, Registered) {
    let disk = SimDisk::new(seed);
    disk.create_dir(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let entropy = Arc::new(SimEntropy::new(Random::new(seed)));
    let registered = vfs::register(&disk, Arc::new(SimClock::new(0, 0)), entropy, Path::new("/d"));
    (disk, registered)
}

fn connect(disk: &SimDisk, synchronous: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags_and_vfs(DATABASE, flags, disk.sqlite_vfs())?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=20"
    ))?;
    Ok(connection)
}

/// What was found after some power failures.
#[derive(Debug, Default)]
struct Found {
    committed: i64,
    lost: u32,
    broken: u32,
}

/// Transactions of three rows and a counter, a reader beside them, and power failures at random operations.
fn survive(seed: u64, synchronous: &str, mode: PowerFailure) -> rusqlite::Result<Found> {
    let (disk, _registered) = machine(seed);
    let mut random = Random::new(seed).fork("survive");
    let mut found = Found::default();
    let first = connect(&disk, synchronous)?;
    first.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB, b BLOB); CREATE INDEX ti ON t(a);
         CREATE TABLE m(k PRIMARY KEY, v); INSERT INTO m VALUES('n', 0); PRAGMA wal_checkpoint(FULL)",
    )?;
    drop(first);
    disk.sync_dir(Path::new("/d")).unwrap();
    for _ in 0..4 {
        let writer = connect(&disk, synchronous)?;
        let check: String = writer.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let counted: i64 = writer.query_row("SELECT v FROM m", [], |row| row.get(0))?;
        let rows: i64 = writer.query_row("SELECT count(*) FROM t WHERE a = b", [], |row| row.get(0))?;
        found.broken += u32::from(check != "ok" || rows != counted * 3);
        found.lost += u32::from(counted < found.committed);
        found.committed = counted;
        let reader = connect(&disk, synchronous)?;
        let after = 20 + random.below(400);
        disk.arm(Failure { counted: Counted::Changes, path: String::new(), after, error: Error::PowerCut });
        loop {
            let next = found.committed + 1;
            let transaction = || {
                writer.execute_batch("BEGIN IMMEDIATE")?;
                for row in 0..3 {
                    let size = 200 + (next * 131) % 3000;
                    writer.execute("INSERT INTO t VALUES(?1, randomblob(?2), NULL)", (next * 3 - row, size))?;
                }
                writer.execute("UPDATE t SET b = a WHERE id > ?1", [next * 3 - 3])?;
                writer.execute("UPDATE m SET v = ?1", [next])?;
                writer.execute_batch("COMMIT")
            };
            if transaction().is_err() {
                break;
            }
            found.committed = next;
            let seen = reader.query_row("SELECT v FROM m", [], |row| row.get::<_, i64>(0));
            match seen {
                Ok(seen) => assert_eq!(seen, next, "a reader sees the last commit"),
                Err(_) => break,
            }
        }
        drop((writer, reader));
        disk.power_fail(mode);
    }
    Ok(found)
}

#[test]
fn with_synchronous_full_a_power_failure_loses_nothing() {
    for mode in [PowerFailure::DropAll, PowerFailure::Random] {
        for seed in 0..100 {
            let found = survive(seed, "FULL", mode).unwrap();
            assert_eq!((found.lost, found.broken), (0, 0), "{mode:?} {seed}");
        }
    }
}

#[test]
fn with_synchronous_normal_commits_are_lost_but_none_is_broken() {
    let mut lost = 0;
    for seed in 0..40 {
        let found = survive(seed, "NORMAL", PowerFailure::Random).unwrap();
        assert_eq!(found.broken, 0, "{seed}");
        lost += found.lost;
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn with_synchronous_off_databases_break() {
    let broken = |seed: &u64| match survive(*seed, "OFF", PowerFailure::Random) {
        Ok(found) => found.broken > 0,
        Err(_) => true,
    };
    let count = (0..30).filter(broken).count();
    assert!(count > 20, "{count}");
}

#[test]
fn disk_errors_reach_sqlite_and_are_recorded() {
    let (disk, _registered) = machine(1);
    let connection = connect(&disk, "FULL").unwrap();
    connection.execute_batch("CREATE TABLE t(a)").unwrap();
    rqlite::db::fault::clear();

    disk.arm(Failure { counted: Counted::Syncs, path: "-wal".into(), after: 0, error: Error::Io });
    let error = connection.execute("INSERT INTO t VALUES(1)", []).unwrap_err();
    assert_eq!(error.to_string(), "disk I/O error");
    assert!(rqlite::db::fault::take().unwrap().starts_with("sync: "));

    disk.set_capacity(Some(disk.used()));
    let error = connection.execute("INSERT INTO t VALUES(zeroblob(100000))", []).unwrap_err();
    assert_eq!(error.to_string(), "database or disk is full");
    assert!(rqlite::db::fault::take().unwrap().starts_with("write: "));

    disk.set_capacity(None);
    connection.execute("INSERT INTO t VALUES(2)", []).unwrap();
    connection.execute("INSERT INTO u VALUES(2)", []).unwrap_err();
    assert_eq!(rqlite::db::fault::take(), None, "an error of the statement's own was taken for the node's");
}

#[test]
fn temporary_files_lie_on_the_disk_and_leave_no_name() {
    let (disk, _registered) = machine(1);
    let connection = connect(&disk, "FULL").unwrap();
    let query = "PRAGMA temp_store=FILE; CREATE TEMP TABLE first(a); PRAGMA temp.cache_size=5; CREATE TEMP TABLE big AS
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT randomblob(500) b FROM n";
    connection.execute_batch(query).unwrap();
    assert!(disk.used() > 500_000, "nothing was spilled");
    assert!(disk.list(Path::new("/d")).unwrap().iter().all(|name| !name.starts_with("sqlite-")));
    drop(connection);
    assert!(disk.used() < 100_000, "the space of a temporary file is not given back");
}
