//! Hazard H15: readers and checkpoints. Neither reads that overlap nor clients that take nothing starve a checkpoint;
//! a checkpoint stalls no write; what can't be kept for a slow client is lost to that client alone.
//!
//! Source: design §5 "Gate", "Lease"; faults.md S7, S31, I10, I23.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rqlite::db::backup::Format;
use rqlite::world::spawn;
use sim::scratch::Scratch;
use sim::world::disk::{Counted, Error, Failure};
use tokio::time::Instant;

use crate::served::{Rows, Served, all, rest, serve, take};

const PLENTY: u64 = 1 << 30;

/// More than a client takes at once.
const ROWS: &str = "SELECT id, b FROM t ORDER BY id";

/// Clients read small answers, in two steps, without a pause between; each answer is taken while the next reader has
/// begun.
async fn read_without_a_gap(served: Arc<Served>, is_over: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let mut last = None;
    while !is_over.load(Ordering::Relaxed) {
        let reading = served.query(&[ROWS]).await.expect("there are readers for all");
        let begun = take(&reading, 1).await;
        if let Some((reading, rows)) = last.replace((reading, begun)) {
            let rows: Rows = rest(reading, rows).await;
            assert!(rows.rows >= 20 && rows.ended == 1 && rows.errors.is_empty(), "{rows:?}");
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn s07_overlapping_short_reads_cannot_starve_a_checkpoint() {
    serve(PLENTY, |served| async move {
        served.insert(20).await;
        // Every step takes a while, so that there is always another reader with an older state.
        served.disk.set_slowness(Duration::from_millis(3));
        let is_over = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> =
            (0..8).map(|_| spawn(read_without_a_gap(served.clone(), is_over.clone(), reads.clone()))).collect();
        let writer = {
            let (served, is_over) = (served.clone(), is_over.clone());
            spawn(async move {
                let mut longest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    served.execute("INSERT INTO t(b) VALUES(1)").await;
                    longest = longest.max(began.elapsed());
                }
                longest
            })
        };
        for _ in 0..5 {
            let written = served.execute("INSERT INTO t(b) VALUES(2)").await;
            let before = reads.load(Ordering::Relaxed);
            let began = Instant::now();
            assert!(served.checkpoint().await >= written, "the checkpoint was starved");
            assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
            // The gate is open again.
            let more = || reads.load(Ordering::Relaxed) > before + 20;
            served.wait_for("reads to go on", more).await;
        }
        is_over.store(true, Ordering::Relaxed);
        let longest = writer.await.unwrap();
        assert!(longest < Duration::from_millis(60), "a write took {longest:?}");
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

#[test]
fn a_client_that_stops_reading_a_query_stops_nobody() {
    serve(PLENTY, |served| async move {
        served.insert(200).await;
        let stalled = served.query(&[ROWS, "SELECT count(*) FROM t", "nonsense"]).await.unwrap();
        let taken = take(&stalled, 5).await;
        let written = served.insert(50).await;
        assert!(served.checkpoint().await >= written, "the client held up the checkpoint");
        assert_eq!(served.temporary_files().len(), 1, "the rest of its rows is kept");

        assert_eq!(served.read("SELECT count(*) FROM t").await.first, Some(250));
        let written = served.insert(50).await;
        let backup = served.backup(Format::Binary).await;
        assert!(backup.index >= written, "a backup misses a write");
        assert_eq!(count(&all(backup).await.unwrap()), 300);

        // What it gets is the state that it began with, for the statement that had begun; the others ran when it was
        // told to go.
        let all = rest(stalled, taken).await;
        assert_eq!((all.rows, all.first, all.ended), (201, Some(1), 2));
        assert_eq!(all.errors, [r#"near "nonsense": syntax error"#]);
    });
}

#[test]
fn a_stalled_query_doesnt_stop_a_backup() {
    serve(PLENTY, |served| async move {
        served.insert(200).await;
        let stalled = served.query(&[ROWS]).await.unwrap();
        let taken = take(&stalled, 5).await;
        let written = served.insert(50).await;
        let began = Instant::now();
        let backup = served.backup(Format::Binary).await;
        assert!(backup.index >= written && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(count(&all(backup).await.unwrap()), 250);
        assert_eq!(rest(stalled, taken).await.rows, 200);
    });
}

#[test]
fn a_client_that_goes_leaves_nothing() {
    serve(PLENTY, |served| async move {
        served.insert(200).await;
        let stalled = served.query(&[ROWS]).await.unwrap();
        take(&stalled, 5).await;
        let written = served.insert(1).await;
        assert!(served.checkpoint().await >= written);
        assert_eq!(served.temporary_files().len(), 1);
        drop(stalled);
        // The fixture waits until nothing is left.
    });
}

#[test]
fn a_result_that_cant_be_kept_is_lost_alone() {
    for fails in [Error::NoSpace, Error::Io] {
        serve(PLENTY, move |served| async move {
            served.insert(200).await;
            let (unlucky, lucky) = (served.query(&[ROWS]).await.unwrap(), served.query(&[ROWS]).await.unwrap());
            let (of_unlucky, of_lucky) = (take(&unlucky, 5).await, take(&lucky, 5).await);
            let written = served.insert(50).await;
            // The first spool is the first reader's.
            let failure = Failure { counted: Counted::Writes, path: "tmp/result-0".into(), after: 0, error: fails };
            served.disk.arm(failure);
            assert!(served.checkpoint().await >= written, "a failed spool held up the checkpoint");
            assert!(!served.disk.is_armed(), "nothing failed");

            let all = rest(unlucky, of_unlucky).await;
            assert_eq!((all.rows, all.ended, all.errors.len()), (5, 0, 1), "{all:?}");
            let all = rest(lucky, of_lucky).await;
            assert_eq!((all.rows, all.ended), (200, 1), "{all:?}");
            assert_eq!(served.read("SELECT count(*) FROM t").await.first, Some(250));
        });
    }
}

#[test]
fn slow_clients_get_no_more_than_their_part_of_the_disk() {
    // Room for one of the two.
    serve(300 << 10, |served| async move {
        served.insert(200).await;
        let (first, second) = (served.query(&[ROWS]).await.unwrap(), served.query(&[ROWS]).await.unwrap());
        let (of_first, of_second) = (take(&first, 5).await, take(&second, 5).await);
        let written = served.insert(50).await;
        assert!(served.checkpoint().await >= written);
        // Whichever came first has it.
        let mut both = [rest(first, of_first).await, rest(second, of_second).await];
        both.sort_by_key(|rows| rows.rows);
        let [lost, kept] = both;
        assert_eq!((lost.rows, lost.ended, lost.errors.len()), (5, 0, 1), "{lost:?}");
        assert_eq!((kept.rows, kept.ended), (200, 1), "{kept:?}");

        // The room is free again.
        let third = served.query(&[ROWS]).await.unwrap();
        let of_third = take(&third, 5).await;
        served.insert(1).await;
        served.checkpoint().await;
        assert_eq!(rest(third, of_third).await.rows, 250);
    });
}

#[test]
fn a_disk_that_fills_up_ends_the_slow_first() {
    serve(PLENTY, |served| async move {
        served.insert(200).await;
        let stalled = served.query(&[ROWS]).await.unwrap();
        let taken = take(&stalled, 5).await;
        let written = served.insert(50).await;
        // Enough for a checkpoint, too little for anything else.
        served.disk.set_capacity(Some(served.disk.used() + (8 << 20)));
        assert!(served.checkpoint().await >= written, "a slow client held up the checkpoint");
        assert_eq!(rest(stalled, taken).await.errors.len(), 1);
        assert_eq!(served.read("SELECT count(*) FROM t").await.first, Some(250));
        served.disk.set_capacity(None);
    });
}

/// A client that takes one piece of a backup and then nothing.
async fn stalled_backup(served: &Served, format: Format) -> (rqlite::store::backup::Backup, Vec<u8>) {
    let mut backup = served.backup(format).await;
    let first = backup.next().await.unwrap().unwrap();
    (backup, first)
}

#[test]
fn a_client_that_stops_reading_a_backup_stops_nobody() {
    for format in [Format::Binary, Format::Delete, Format::Vacuumed, Format::Sql { tables: Vec::new() }] {
        let reads_a_copy = matches!(format, Format::Vacuumed | Format::Sql { .. });
        serve(PLENTY, move |served| async move {
            served.insert(1000).await;
            let (mut stalled, mut bytes) = stalled_backup(&served, format.clone()).await;
            let written = served.insert(50).await;
            let began = Instant::now();
            assert!(served.checkpoint().await >= written, "{format:?} held up the checkpoint");
            assert!(began.elapsed() < Duration::from_millis(100), "{format:?}: {:?}", began.elapsed());
            let is_spooled = served.temporary_files().iter().any(|name| name.starts_with("lease-"));
            assert_eq!(is_spooled, !reads_a_copy, "{format:?}: {:?}", served.temporary_files());
            let other = served.backup(format.clone()).await;
            assert!(other.index >= written);
            drop(other);

            while let Some(more) = stalled.next().await.unwrap() {
                bytes.extend(more);
            }
            assert_eq!(count(&bytes), 1000, "{format:?}");
        });
    }
}

#[test]
fn a_backup_that_cant_be_kept_is_lost_alone() {
    serve(PLENTY, |served| async move {
        served.insert(1000).await;
        let (unlucky, _) = stalled_backup(&served, Format::Binary).await;
        let (lucky, mut bytes) = stalled_backup(&served, Format::Binary).await;
        let written = served.insert(50).await;
        let (path, error) = ("tmp/lease-0".into(), Error::NoSpace);
        served.disk.arm(Failure { counted: Counted::Writes, path, after: 0, error });
        assert!(served.checkpoint().await >= written);
        assert!(all(unlucky).await.is_err(), "a backup that lost its file was complete");
        bytes.extend(all(lucky).await.unwrap());
        assert_eq!(count(&bytes), 1000);
        assert_eq!(count(&all(served.backup(Format::Binary).await).await.unwrap()), 1050);
    });
}

/// Seed 127: the copy stayed in WAL mode, and what VACUUM wrote was no part of the backup.
#[test]
fn a_copy_that_the_disk_fails_is_no_backup() {
    for format in [Format::Vacuumed, Format::Sql { tables: Vec::new() }] {
        serve(PLENTY, move |served| async move {
            served.insert(300).await;
            served.execute("DELETE FROM t WHERE id > 100").await;
            let mut all_broken = 0;
            // Changes of the journal: that it can't be removed, too.
            let counted = [Counted::Writes, Counted::Syncs, Counted::Reads].map(|counted| (counted, "tmp/"));
            for (counted, path) in counted.into_iter().chain([(Counted::Changes, "-journal")]) {
                let (mut broken, mut whole) = (0, 0);
                for after in 0.. {
                    served.disk.arm(Failure { counted, path: path.into(), after, error: Error::Io });
                    let bytes = match served.try_backup(format.clone()).await {
                        Ok(backup) => all(backup).await.ok(),
                        Err(_) => None,
                    };
                    let has_failed = served.disk.disarm() == 0;
                    match bytes {
                        None => broken += 1,
                        Some(bytes) => {
                            whole += 1;
                            assert_eq!(count(&bytes), 100, "{format:?}, {counted:?} {after}");
                            let is_vacuumed = bytes.get(18) == Some(&1) && bytes.len() < 200 << 10;
                            assert!(
                                is_vacuumed || format != Format::Vacuumed,
                                "{path} {counted:?} {after} did no VACUUM"
                            );
                        }
                    }
                    if !has_failed {
                        break;
                    }
                }
                assert!(whole > 0, "{counted:?}");
                all_broken += broken;
            }
            assert!(all_broken > 2, "{format:?}: {all_broken} broken");
        });
    }
}

/// The file of a lease on an old generation is nobody else's: no checkpoint writes to it.
#[test]
fn a_lease_on_a_replaced_database_is_not_spooled() {
    serve(PLENTY, |served| async move {
        served.insert(1000).await;
        let (stalled, mut bytes) = stalled_backup(&served, Format::Binary).await;
        served.load(file(3)).await;
        served.insert(4).await;
        served.checkpoint().await;
        assert_eq!(served.temporary_files(), [""; 0]);
        bytes.extend(all(stalled).await.unwrap());
        assert_eq!(count(&bytes), 1000);
        assert_eq!(served.read("SELECT count(*) FROM t").await.first, Some(7));
    });
}

/// A database with so many rows in `t`.
fn file(rows: u64) -> Vec<u8> {
    let mut scratch = Scratch::new();
    let database = scratch.open(b"").unwrap();
    database.connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, b)").unwrap();
    for _ in 0..rows {
        database.connection.execute_batch("INSERT INTO t(b) VALUES(1)").unwrap();
    }
    database.into_bytes()
}

/// The rows in `t` of a backup of any format.
fn count(bytes: &[u8]) -> i64 {
    let mut scratch = Scratch::new();
    let database = match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with("PRAGMA") => {
            let database = scratch.open(b"").unwrap();
            database.connection.execute_batch(text).unwrap();
            database
        }
        _ => scratch.open(bytes).unwrap(),
    };
    database.connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}
