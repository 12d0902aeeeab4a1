//! The Raft log: the only durability there is. What is acknowledged is in the synced logs of a quorum.
//!
//! ```text
//!   openraft ── append, truncate, purge, vote, committed ──► Memory ──► one lane, one queue ──► segments, vote
//!            ◄── entries ──────────────────────── Memory, or a second lane ◄── segments
//! ```
//!
//! On disk: `log/N.seg` ([`segment`], [`record`]) and `vote` ([`vote_file`]). [`start`] reads them and tells a torn
//! tail from damage; [`writer`] is the lane. A failed write or sync is never tried again: it ends the log, and
//! `on_fatal` says why.

mod error;
mod memory;
mod reader;
mod record;
mod segment;
mod start;
mod terms;
mod vote_file;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, LogIdOptionExt, OptionalSend};
use tokio::sync::oneshot;

pub use error::Error;
pub use memory::weight;

use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::world::{Chaos, Lane, World};
use memory::Memory;
use start::{Paths, Started};
use writer::{Active, Job, Shared, Writer, check};

/// Bytes of entries that take about as long to apply as a sync does, or longer.
const MUCH: usize = 4 << 10;

/// Sizes of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment. A larger one costs disk on an idle node and in the reserve, and is purged later; a smaller
    /// one costs a file creation and a directory sync more often. An entry that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes of durable entries that stay in memory, for followers that are close behind and for applying.
    pub cache_bytes: usize,
    /// Bytes that one read takes from the disk, and one replication request holds, about.
    pub chunk_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, cache_bytes: 8 << 20, chunk_bytes: 1 << 20 }
    }
}

/// What /status tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Index of the first entry; `None` if there are none.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Bytes of the segment files.
    pub bytes: u64,
    pub segments: usize,
}

/// The log of one node. Clones are handles of the same log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    writer: Lane<Writer>,
    reads: Lane<()>,
    chunk_bytes: usize,
    chaos: Arc<dyn Chaos>,
}

impl Log {
    /// Opens the log in `directory` (`DATA/raft`), or starts an empty one. Reads all segments, and repairs what a crash
    /// leaves, in the calling thread: call it where that may take its time. `on_fatal` is called once, from a lane, if
    /// the log has to stop; every call fails from then on, and the node must end.
    ///
    /// Errors: [`Error::Damaged`], [`Error::VoteMissing`], [`Error::VoteDamaged`], [`Error::Newer`], with nothing
    ///         changed; [`Error::Io`].
    pub fn open(
        world: &World,
        directory: &Path,
        options: Options,
        on_fatal: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        // Else a simulated run would hardly fill a segment, and never read an entry back from the disk.
        let options = match world.chaos.here("small log segments and cache") {
            true => Options { segment_bytes: 16 << 10, cache_bytes: 4 << 10, chunk_bytes: 2 << 10 },
            false => options,
        };
        let paths = Paths::new(directory);
        let Started { file, segments, terms, committed, next, chain, was_torn } = start::start(&*world.disk, &paths)?;
        if was_torn {
            world.chaos.reached("torn tail cut");
        }
        let before = segments.first().map_or(next, |segment| segment.first);
        let first = file.purged.map_or(0, |purged| purged.index + 1).max(before);
        let memory = Memory {
            vote: file.vote.clone(),
            committed,
            purged: file.purged,
            members_void: None,
            first,
            next,
            terms,
            segments,
            durable_next: next,
            cache: Default::default(),
            cache_bytes: 0,
            cache_bytes_max: options.cache_bytes,
            cuts: 0,
            changes: 0,
            stopped: None,
        };
        let (last, active) = (memory.last(), memory.segments.last().map(Active::new));
        tracing::info!(first, next, segments = memory.segments.len(), "raft log opened");
        let shared = Arc::new(Shared::new(memory, Box::new(on_fatal)));
        let writer = Writer {
            world: world.clone(),
            paths,
            shared: shared.clone(),
            segment_bytes: options.segment_bytes,
            file,
            active,
            chain,
            next,
            last,
            durable_next: next,
            committed,
            committed_is_new: false,
            dirty: false,
            waiting: Vec::new(),
        };
        Ok(Self {
            shared,
            writer: Lane::start(&*world.lanes, "raft-log", writer),
            reads: Lane::start(&*world.lanes, "raft-log-read", ()),
            chunk_bytes: options.chunk_bytes,
            chaos: world.chaos.clone(),
        })
    }

    /// Where the log is now.
    pub fn stats(&self) -> Stats {
        let memory = self.shared.memory();
        let some = memory.first < memory.next;
        Stats {
            first: some.then_some(memory.first),
            last: some.then(|| memory.next - 1),
            bytes: memory.segments.iter().map(|segment| segment.bytes).sum(),
            segments: memory.segments.len(),
        }
    }

    /// The last entry.
    pub fn last(&self) -> Option<LogId> {
        self.shared.memory().last()
    }

    /// The newest commit index that was saved, even if the log ends before it: a node that was restarted answers no
    /// read until it is applied (H22).
    pub fn saved_committed(&self) -> Option<LogId> {
        let memory = self.shared.memory();
        memory.committed.max(memory.purged)
    }

    /// What the log says about members up to `upto` is read as nothing from now on, here and where it is sent: they were
    /// set beside the log.
    pub fn void_members(&self, upto: Option<LogId>) {
        self.shared.memory().members_void = upto;
    }

    /// Queues a job after `change` is made to the memory, so that both see the same order.
    fn submit(&self, change: impl FnOnce(&mut Memory) -> Job) -> io::Result<()> {
        let is_due = {
            let mut memory = self.shared.memory();
            check(&memory)?;
            let job = change(&mut memory);
            self.shared.push(&mut memory, job)
        };
        if is_due {
            self.writer.submit(Writer::drain);
        }
        Ok(())
    }

    /// While entries of so many `bytes` are applied, which is until [`Log::release`], appends wait for others to share
    /// their sync with, unless they are large, or the bytes are few: they could not be applied here earlier anyway.
    pub fn hold(&self, bytes: usize) {
        if bytes >= MUCH || self.chaos.here("log held while little is applied") {
            self.shared.hold();
        } else {
            self.release();
        }
    }

    /// Ends [`Log::hold`].
    pub fn release(&self) {
        if self.shared.release() {
            self.writer.submit(Writer::drain);
        }
    }

    /// Queues a job and waits until it is durable.
    async fn durable(
        &self,
        change: impl FnOnce(&mut Memory, oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.submit(|memory| change(memory, done))?;
        answer.await.unwrap_or_else(|_| Err(io::Error::other("the raft log's lane has ended")))
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let memory = self.shared.memory();
        check(&memory)?;
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = vote.clone();
        self.durable(|_, done| Job::Vote { vote, done }).await
    }

    /// Written with the next batch; never synced for its own sake.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.submit(|memory| {
            memory.committed = memory.committed.max(Some(committed));
            Job::Committed(committed)
        })
    }

    /// Never beyond the log: openraft reads the entries up to it at start.
    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let memory = self.shared.memory();
        check(&memory)?;
        Ok(memory.committed.min(memory.last()))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.submit(|memory| {
            for entry in &entries {
                let previous = memory.last().map(|id| id.leader_id.term);
                let payload: &[u8] = match &entry.payload {
                    EntryPayload::Normal(payload) => &payload.0,
                    EntryPayload::Blank | EntryPayload::Membership(_) => &[],
                };
                self.chaos.appended(entry.log_id.index, entry.log_id.leader_id.term, previous, payload);
                memory.push(entry.clone());
            }
            Job::Append { entries, flushed }
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.durable(|memory, done| {
            let cut = last.next_index().max(memory.first);
            if cut < memory.next {
                self.chaos.reached("log suffix truncated");
            }
            memory.truncate(cut);
            memory.cuts += 1;
            Job::Truncate { cut, last: memory.last(), done }
        })
        .await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.durable(|memory, done| {
            if memory.purged < Some(upto) {
                memory.purge(upto);
            }
            Job::Purge { upto, done }
        })
        .await
    }
}
