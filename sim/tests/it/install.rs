//! Snapshots from the leader become the next generation, with every disk operation failing in turn: the power goes, the
//! process is killed, EIO, ENOSPC, a failed sync (faults.md S1, S2, S51; hazard H18).
//!
//! Afterwards it is the state before or the snapshot, each with its own index, never one with the other's; what failed
//! before the swap changes nothing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rqlite::command::{Kind, LoadBegin, LoadChunk, LoadCommit, LoadContent};
use rqlite::db::check;
use rqlite::db::database::Fault;
use rqlite::db::lease::Lease;
use rqlite::db::temporary::TemporaryFile;
use rqlite::raft::applied::Applied;
use rqlite::raft::machine::Checkpoint;
use rqlite::raft::types::Entry;
use rqlite::world::Open;
use sim::content;
use sim::random::Random;
use sim::scratch::Scratch;
use sim::world::disk::{Counted, Error, PowerFailure};

use crate::checkpoint::workload;
use crate::node_state::{Fate, Host, Known, Model, Node, Script, at_every_operation, entry};

/// What the leader sends.
struct Snapshot {
    applied: Applied,
    bytes: Vec<u8>,
}

struct Story {
    /// The node is at this index when it gets that snapshot.
    installs: Vec<(u64, Snapshot)>,
    checkpoints: Vec<u64>,
    /// A lease that reads on through what comes.
    leases: Vec<u64>,
    /// A checkpoint beside the writer begins; it ends after the next snapshot.
    backgrounds: Vec<u64>,
}

impl Story {
    /// The first snapshot comes to an empty node, the second in the middle of a load and under a lease, the third while
    /// a checkpoint runs.
    fn new(seed: u64) -> (Self, Model) {
        let mut entries = workload::entries(seed, 9);
        let file = file(seed);
        let begin = push(
            &mut entries,
            Kind::LoadBegin(LoadBegin { size: file.len() as u64, spool: 0, content: LoadContent::Database.into() }),
        );
        let half = file.len() / 2;
        let chunk = |offset: usize, data: &[u8]| {
            Kind::LoadChunk(LoadChunk { load_id: begin, offset: offset as u64, data: data.to_vec().into() })
        };
        push(&mut entries, chunk(0, &file[..half]));
        writes(&mut entries, seed, "t0(b)", 1);
        push(&mut entries, chunk(half, &file[half..]));
        let crc32c = crc32c::crc32c(&file);
        push(
            &mut entries,
            Kind::LoadCommit(LoadCommit { load_id: begin, size: file.len() as u64, crc32c, unchanged_since: None }),
        );
        writes(&mut entries, seed, "loaded(b)", 8);

        let model = Model::new(entries);
        let snapshot = |index| snapshot(&model, index);
        let story = Self {
            installs: vec![(0, snapshot(4)), (11, snapshot(15)), (18, snapshot(20))],
            checkpoints: vec![6, 16, 21],
            leases: vec![8, 21],
            backgrounds: vec![18],
        };
        (story, model)
    }
}

fn push(entries: &mut Vec<Entry>, kind: Kind) -> u64 {
    let index = entries.len() as u64 + 1;
    entries.push(entry(index, Some(workload::of(0, index, kind))));
    index
}

fn writes(entries: &mut Vec<Entry>, seed: u64, table: &str, count: u64) {
    for _ in 0..count {
        let index = entries.len() as u64 + 1;
        let insert = format!("INSERT INTO {table} VALUES(randomblob(3000))");
        entries.push(entry(index, Some(workload::execute(seed, index, vec![insert], false))));
    }
}

/// A file to load.
fn file(seed: u64) -> Vec<u8> {
    let mut scratch = Scratch::new();
    let database = scratch.open(b"").expect("the scratch disk never fails");
    let rows = Random::new(seed).between(10, 20);
    let sql = format!(
        "CREATE TABLE loaded(id INTEGER PRIMARY KEY, b);
         INSERT INTO loaded(b) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows})
         SELECT zeroblob(900) FROM c"
    );
    database.connection.execute_batch(&sql).expect("the scratch disk never fails");
    database.into_bytes()
}

/// The checkpoint of an undisturbed node at `index`, as it is leased.
fn snapshot(model: &Model, index: u64) -> Snapshot {
    let host = Host::new(7);
    let mut node = host.start().expect("the disk doesn't fail");
    let mut known = Known::default();
    while node.index() < index {
        node.apply(model, &mut known).expect("the disk doesn't fail");
    }
    assert_eq!(node.machine.checkpoint(), Ok(Checkpoint::Clean(Some(index))));
    let (lease, applied) = node.machine.lease_clean().expect("the disk doesn't fail").expect("it is clean");
    assert_eq!(applied.last_applied.map(|id| id.index), Some(index));
    Snapshot { applied, bytes: rest(&lease, Vec::new()).expect("the disk doesn't fail") }
}

fn rest(lease: &Arc<Lease>, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        let more = lease.read(7000)?;
        if more.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(more);
    }
}

/// As `raft::snapshot` receives it.
fn receive(node: &Node, bytes: &[u8]) -> Result<TemporaryFile, String> {
    let path: PathBuf = node.paths.temporary().join("snapshot");
    let file = TemporaryFile::new(node.world.disk.clone(), path.clone());
    let open = node.world.disk.open(&path, Open::CreateNew).map_err(|error| error.to_string())?;
    open.write_at(bytes, 0).and_then(|()| open.sync()).map_err(|error| error.to_string())?;
    drop(open);
    check::prepare(&*node.world.disk, &path).map_err(|error| error.to_string())?;
    Ok(file)
}

impl Script for Story {
    fn play(
        &self,
        host: &Host,
        node: &mut Node,
        model: &Model,
        known: &mut Known,
        _: &mut Random,
    ) -> Result<(), Fault> {
        let mut leases = Vec::new();
        let mut background = None;
        while node.index() < model.last() {
            let index = node.index();
            if self.backgrounds.contains(&index) {
                background = node.machine.begin_background()?;
                if let Some(background) = &background {
                    background.copy()?;
                }
            }
            if let Some((_, snapshot)) = self.installs.iter().find(|(at, _)| *at == index) {
                // The leader tries again.
                let received = receive(node, &snapshot.bytes).or_else(|_| receive(node, &snapshot.bytes));
                let file = received.map_err(Fault)?;
                let new = snapshot.applied.last_applied.expect("it is of an index").index;
                // It may be done although the node couldn't say so.
                known.applied = known.applied.max(new);
                node.machine.install(file.path(), snapshot.applied.clone())?;
                known.durable = new;
                assert_eq!((node.index(), node.machine.open_load()), (new, None));
                model.check(host, node);
                if let Some(background) = background.take() {
                    let outcome = node.machine.end_background(background)?;
                    assert!(matches!(outcome, Checkpoint::Clean(_) | Checkpoint::Leased), "{outcome:?}");
                }
                continue;
            }
            node.apply(model, known)?;
            let index = node.index();
            if self.leases.contains(&index)
                && let Ok(leased) = node.machine.lease()?
            {
                assert_eq!(leased.index, Some(index));
                known.durable = index;
                let first = leased.lease.read(5000);
                leases.push((index, leased.lease, first));
            }
            if self.checkpoints.contains(&index) && node.machine.open_load().is_none() {
                let mut outcome = node.machine.checkpoint()?;
                if outcome == Checkpoint::Leased {
                    node.machine.leases().spool(&node.world.disk, &node.paths.temporary());
                    outcome = node.machine.checkpoint()?;
                }
                assert_eq!(outcome, Checkpoint::Clean(Some(index)));
                known.durable = index;
            }
        }
        for (index, lease, first) in leases {
            // A transfer that breaks is the reader's to see.
            if let Ok(bytes) = first.and_then(|first| rest(&lease, first)) {
                host.disk.undisturbed(|| {
                    let mut scratch = Scratch::new();
                    let database = scratch.open(&bytes).expect("it is a database");
                    let hash = content::hash(&database.connection).expect("it can be read");
                    assert_eq!(hash, model.content(index), "a lease gave another state than that at {index}");
                });
            }
        }
        Ok(())
    }
}

fn every_failure(seed: u64, fates: &[Fate]) {
    let (story, model) = Story::new(seed);
    for fate in fates {
        let operations = at_every_operation(&model, &story, seed, *fate);
        assert!(operations > 50, "{operations} operations hold no installation");
    }
}

#[test]
fn a_power_failure_leaves_the_state_before_or_the_snapshot() {
    every_failure(1, &[Fate::Power(PowerFailure::DropAll), Fate::Power(PowerFailure::Random)]);
}

#[test]
fn a_killed_installation_is_durable_before_the_old_database_goes() {
    every_failure(2, &[Fate::Killed(PowerFailure::DropAll), Fate::Killed(PowerFailure::Random)]);
}

#[test]
fn a_failed_operation_is_a_fault_or_no_harm() {
    every_failure(3, &[Fate::Fails(Counted::Changes, Error::Io, PowerFailure::DropAll)]);
}

#[test]
fn a_full_disk_or_a_failed_sync_is_a_fault_or_no_harm() {
    let full = Fate::Fails(Counted::Changes, Error::NoSpace, PowerFailure::Random);
    let failed_sync = Fate::Fails(Counted::Syncs, Error::Io, PowerFailure::Random);
    every_failure(4, &[full, failed_sync]);
}

#[test]
fn a_failed_read_is_a_fault_or_no_harm() {
    let (story, model) = Story::new(5);
    at_every_operation(&model, &story, 5, Fate::Fails(Counted::Reads, Error::Io, PowerFailure::DropAll));
}
