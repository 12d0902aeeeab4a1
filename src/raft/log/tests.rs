//! What needs the log as a whole. Power failures are in `sim/tests/it/raft_log.rs`, on the simulated disk.

mod edges;
mod order;
mod suite;
mod tails;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};

use super::{Error, Log, Options};
use crate::raft::convert::log_id;
use crate::raft::types::{Entry, Payload};
use crate::world::{World, os, runtime};

/// A node's directory on the real file system.
struct Home {
    world: World,
    directory: tempfile::TempDir,
    options: Options,
}

impl Home {
    fn new() -> Self {
        let options = Options { segment_bytes: 512, cache_bytes: 150, chunk_bytes: 200 };
        Self { world: os::world(), directory: tempfile::tempdir().expect("a directory"), options }
    }

    fn raft(&self) -> PathBuf {
        self.directory.path().join("raft")
    }

    fn open(&self) -> Result<Log, Error> {
        Log::open(&self.world, &self.raft(), self.options.clone(), |_| {})
    }

    fn opened(&self) -> Log {
        self.open().expect("the log opens")
    }

    /// The segment files.
    fn segments(&self) -> Vec<PathBuf> {
        let log = self.raft().join("log");
        self.world.disk.list(&log).expect("a directory").iter().map(|name| log.join(name)).collect()
    }

    /// Changes a file behind the log's back.
    fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = crate::world::disk::read_small(&*self.world.disk, path).expect("readable").expect("there");
        edit(&mut bytes);
        crate::world::disk::replace_small(&*self.world.disk, path, &bytes).expect("writable");
    }
}

/// A command of twenty bytes: its record takes 72.
fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload(Bytes::from(format!("{term:010}{index:010}")));
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(payload) }
}

fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

async fn append(log: &mut Log, some: Vec<Entry>) {
    log.blocking_append(some).await.expect("appended");
}

async fn all(log: &mut Log) -> Vec<Entry> {
    log.try_get_log_entries(..).await.expect("readable")
}

/// Runs a test as a node's root task.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runtime::scope(1, test));
}
