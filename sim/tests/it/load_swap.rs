//! Loads, the swap of generations, leases and the first start, with every disk operation failing in turn: the power
//! goes, the process is killed, EIO, ENOSPC, a failed sync (hazards H13, H18).
//!
//! Afterwards it is the old database or the new one, at the model's index, never between; a failure is reported or did
//! no harm; what a lease reads is the state at its index or an error.

use std::path::Path;
use std::sync::Arc;

use rqlite::command::{Kind, LoadAbort, LoadBegin, LoadChunk, LoadCommit, LoadContent};
use rqlite::db::database::Fault;
use rqlite::db::lease::Lease;
use rqlite::db::temporary::TemporaryFile;
use rqlite::raft::load::Spool;
use rqlite::raft::machine::Checkpoint;
use rqlite::raft::types::Entry;
use rqlite::world::Open;
use sim::content;
use sim::random::Random;
use sim::scratch::Scratch;
use sim::world::disk::{Counted, Error, PowerFailure};

use crate::checkpoint::workload;
use crate::node_state::{DATA, Fate, Host, Known, Model, Node, Script, at_every_operation, entry};

const CHUNK: usize = 12 << 10;
const SPOOL: u64 = 77;

/// What the node does besides applying, at which index.
#[derive(Default)]
struct Story {
    entries: Vec<Entry>,
    checkpoints: Vec<u64>,
    /// A checkpoint that must be refused: a load is open.
    refused_checkpoints: Vec<u64>,
    leases: Vec<u64>,
    /// This node has received the file of the load that begins next.
    spools: Vec<(u64, Vec<u8>)>,
    /// The open load is made ready.
    stages: Vec<u64>,
    /// The indexes of commits.
    commits: Vec<u64>,
}

impl Story {
    /// Both ways a file comes, leases across checkpoints and swaps, and loads that are refused.
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed).fork("story");
        let (staged, received) = (file(&mut random), file(&mut random));
        let mut story = Self { entries: workload::entries(seed, 4), ..Self::default() };
        story.checkpoints.push(story.index());
        story.writes(seed, 2);
        story.leases.push(story.index());
        story.writes(seed, 2);
        // The lease is spooled for this one.
        story.checkpoints.push(story.index());

        // By chunks, with writes between; a second load and a checkpoint are refused meanwhile.
        let id = story.begin(&staged, 0);
        story.chunks(id, &staged[..CHUNK], 0);
        story.writes(seed, 1);
        story.refused_checkpoints.push(story.index());
        story.begin(&received, 0);
        story.chunks(id, &staged[CHUNK..], CHUNK as u64);
        story.stages.push(story.index());
        story.leases.push(story.checkpoints[1]);
        story.commit(id, &staged);
        story.writes_to_loaded(seed, 2);
        story.leases.push(story.index());
        story.checkpoints.push(story.index());

        // A chunk that isn't the next, an abort, and a commit of a damaged file.
        let id = story.begin(&received, 0);
        story.chunks(id, &received[..CHUNK], 0);
        story.chunks(id, &received[..CHUNK], 0);
        story.push(seed, Kind::LoadAbort(LoadAbort { load_id: id, reason: "test".into() }));
        let id = story.begin(&received, 0);
        story.chunks(id, &received[..CHUNK], 0);
        story.commit(id, &received);
        story.writes_to_loaded(seed, 1);

        // As this node received it.
        story.spools.push((story.index(), received.clone()));
        let id = story.begin(&received, SPOOL);
        story.chunks(id, &received, 0);
        story.stages.push(story.index());
        story.commit(id, &received);
        story.writes_to_loaded(seed, 2);
        story.checkpoints.push(story.index());
        story.writes_to_loaded(seed, 1);
        story
    }

    fn index(&self) -> u64 {
        self.entries.len() as u64
    }

    fn push(&mut self, seed: u64, kind: Kind) -> u64 {
        let index = self.index() + 1;
        self.entries.push(entry(index, Some(workload::of(seed, index, kind))));
        index
    }

    fn writes(&mut self, seed: u64, count: u64) {
        for _ in 0..count {
            let index = self.index() + 1;
            let insert = "INSERT INTO t0(a, b) VALUES(1, randomblob(3000))".to_string();
            let update = "UPDATE t0 SET b = randomblob(200) WHERE id = 1".to_string();
            self.entries.push(entry(index, Some(workload::execute(seed, index, vec![insert, update], false))));
        }
    }

    fn writes_to_loaded(&mut self, seed: u64, count: u64) {
        for _ in 0..count {
            let index = self.index() + 1;
            let insert = "INSERT INTO loaded(b) VALUES(randomblob(2000))".to_string();
            let update = "UPDATE loaded SET b = randomblob(100) WHERE id % 5 = 1".to_string();
            self.entries.push(entry(index, Some(workload::execute(seed, index, vec![insert, update], false))));
        }
    }

    fn begin(&mut self, file: &[u8], spool: u64) -> u64 {
        self.push(
            0,
            Kind::LoadBegin(LoadBegin { size: file.len() as u64, spool, content: LoadContent::Database.into() }),
        )
    }

    fn chunks(&mut self, load_id: u64, bytes: &[u8], from: u64) {
        for (n, data) in bytes.chunks(CHUNK).enumerate() {
            let offset = from + (n * CHUNK) as u64;
            self.push(0, Kind::LoadChunk(LoadChunk { load_id, offset, data: data.to_vec().into() }));
        }
    }

    fn commit(&mut self, load_id: u64, file: &[u8]) {
        let crc32c = crc32c::crc32c(file);
        let index = self
            .push(0, Kind::LoadCommit(LoadCommit { load_id, size: file.len() as u64, crc32c, unchanged_since: None }));
        self.commits.push(index);
    }
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
        while node.index() < model.last() {
            let index = node.index();
            if let Some((_, bytes)) = self.spools.iter().find(|(at, _)| *at == index) {
                receive(node, bytes);
            }
            if self.commits.contains(&(index + 1)) {
                // It may be done although the node couldn't say so.
                known.applied = known.applied.max(index + 1);
            }
            node.apply(model, known)?;
            let index = node.index();
            if self.stages.contains(&index) {
                let load = node.machine.open_load().expect("a load is open");
                // A node that can't is a node that faults with the commit.
                let _ = node.machine.stage(load);
            }
            if self.refused_checkpoints.contains(&index) {
                assert_eq!(node.machine.checkpoint(), Ok(Checkpoint::LoadOpen));
            }
            if self.leases.contains(&index) && node.machine.open_load().is_none() {
                let mut leased = node.machine.lease()?;
                if leased.as_ref().err() == Some(&Checkpoint::Leased) {
                    node.machine.leases().spool(&node.world.disk, &node.paths.temporary());
                    leased = node.machine.lease()?;
                }
                let leased = leased.map_err(|why| format!("{why:?}")).expect("nothing is in the way");
                assert_eq!(leased.index, Some(index));
                known.durable = index;
                let first = leased.lease.read(5000);
                leases.push((index, leased.lease, first));
            }
            if self.checkpoints.contains(&index) {
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
                assert_eq!(bytes.len() as u64, lease.size);
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

fn rest(lease: &Arc<Lease>, mut bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    loop {
        let more = lease.read(7000)?;
        if more.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(more);
    }
}

/// As `store` does it: what can't be written is not begun, and then the chunks are staged.
fn receive(node: &mut Node, bytes: &[u8]) {
    let path = node.paths.temporary().join("spool");
    let file = TemporaryFile::new(node.world.disk.clone(), path.clone());
    let written = node.world.disk.open(&path, Open::Create).and_then(|open| open.write_at(bytes, 0));
    if written.is_ok() {
        node.machine.add_spool(Spool { id: SPOOL, file });
    }
}

/// A file to load, of some pages.
fn file(random: &mut Random) -> Vec<u8> {
    let mut scratch = Scratch::new();
    let database = scratch.open(b"").expect("the scratch disk never fails");
    let mut build = || -> rusqlite::Result<()> {
        if random.chance(1, 2) {
            database.connection.execute_batch("PRAGMA journal_mode=WAL")?;
        }
        database.connection.execute_batch("CREATE TABLE loaded(id INTEGER PRIMARY KEY, b)")?;
        for _ in 0..random.between(20, 40) {
            let mut bytes = vec![0; random.between(500, 1500) as usize];
            random.fill(&mut bytes);
            database.connection.execute("INSERT INTO loaded(b) VALUES(?)", [bytes])?;
        }
        Ok(())
    };
    build().expect("the scratch disk never fails");
    database.into_bytes()
}

fn every_failure(seed: u64, fates: &[Fate]) {
    let mut story = Story::new(seed);
    let model = Model::new(std::mem::take(&mut story.entries));
    story.entries.clone_from(&model.entries);
    for fate in fates {
        at_every_operation(&model, &story, seed, *fate);
    }
}

#[test]
fn a_power_failure_leaves_the_old_database_or_the_new_one() {
    every_failure(1, &[Fate::Power(PowerFailure::DropAll), Fate::Power(PowerFailure::Random)]);
}

#[test]
fn a_killed_swap_is_durable_before_the_old_database_goes() {
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

/// Nothing is ever lost by a read, but nothing may be taken for something else.
#[test]
fn a_failed_read_is_a_fault_or_no_harm() {
    every_failure(5, &[Fate::Fails(Counted::Reads, Error::Io, PowerFailure::DropAll)]);
}

/// A data directory that a start left half made is made by the next one, whatever failed.
#[test]
fn a_first_start_can_fail_anywhere() {
    let model = Model::new(workload::entries(6, 3));
    let story = Story { checkpoints: vec![3], ..Story::default() };
    let story = Story { entries: model.entries.clone(), ..story };
    for seed in 0..4 {
        for mode in [PowerFailure::DropAll, PowerFailure::Random] {
            at_every_operation(&model, &story, seed, Fate::Power(mode));
            at_every_operation(&model, &story, seed, Fate::Killed(mode));
            at_every_operation(&model, &story, seed, Fate::Fails(Counted::Changes, Error::Io, mode));
        }
    }
    assert!(!Path::new(DATA).exists(), "the simulated disk isn't the machine's");
}
