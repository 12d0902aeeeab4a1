//! The log's lane: everything that changes the disk, in the order in which it was asked for.
//!
//! ```text
//!   append, committed ─┐                        ┌─► write ... write ─► sync ─► report
//!   vote, cut, purge ──┴─► queue ─► one job ────┤
//!                  (held or  (drains it)          └─► a vote, cut or purge: first sync what is before it, then do it
//!                   at once)
//! ```
//!
//! Whatever is queued when the job runs shares one sync; while the log is held, small appends wait to be more. A vote that
//! overtook an append would let openraft take the append for durable, since it orders I/O by the vote (H6).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::IOFlushed;
use prost::Message;
use tokio::sync::oneshot;

use super::error::{Context, Error};
use super::memory::{Memory, weight};
use super::record::{self, Head, Kind};
use super::segment::{self, HEADER, Header, Segment};
use super::start::{self, Paths};
use super::vote_file::VoteFile;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote, proto};
use crate::world::World;

/// Bytes that are gathered before they are written; a payload of at least this size is written from where it is.
const GATHER: usize = 256 << 10;

/// Zeros that a small batch writes behind itself, for those that follow. A sync of blocks that were only allocated costs
/// half as much again: the file system has to note that they hold something now.
const ZEROS: usize = 256 << 10;

/// One thing to do.
pub enum Job {
    Append {
        entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
    },
    Committed(LogId),
    Vote {
        vote: Vote,
        done: Done,
    },
    /// Removes everything from `cut` on; `last` is then the last entry, or the last purged one.
    Truncate {
        cut: u64,
        last: Option<LogId>,
        done: Done,
    },
    Purge {
        upto: LogId,
        done: Done,
    },
}

type Done = oneshot::Sender<io::Result<()>>;

/// What is to be done, in order.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Bytes of the entries among them, about.
    bytes: usize,
    /// Appends wait for others, unless they are large.
    is_held: bool,
    /// The lane was asked to drain it, and hasn't begun.
    is_asked: bool,
}

impl Queue {
    /// Whether the lane must be asked.
    fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.is_asked, true)
    }

    fn take(&mut self) -> VecDeque<Job> {
        (self.bytes, self.is_asked) = (0, false);
        std::mem::take(&mut self.jobs)
    }
}

/// What the node's tasks and the lanes share.
pub struct Shared {
    memory: Mutex<Memory>,
    queue: Mutex<Queue>,
    on_fatal: Box<dyn Fn(String) + Send + Sync>,
}

impl Shared {
    pub fn new(memory: Memory, on_fatal: Box<dyn Fn(String) + Send + Sync>) -> Self {
        Self { memory: Mutex::new(memory), queue: Mutex::default(), on_fatal }
    }

    /// Held for moments only, and never across an await or a call to the disk.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("a log's task panicked")
    }

    /// Queues a job; whether the lane must now be asked to drain the queue. The memory is held, so that jobs come in the
    /// order in which they changed it.
    pub fn push(&self, _memory: &mut Memory, job: Job) -> bool {
        let mut queue = self.queue();
        let is_urgent = match &job {
            Job::Append { entries, .. } => {
                queue.bytes += entries.iter().map(weight).sum::<usize>();
                queue.bytes >= GATHER
            }
            Job::Committed(_) => false,
            Job::Vote { .. } | Job::Truncate { .. } | Job::Purge { .. } => true,
        };
        queue.jobs.push_back(job);
        (is_urgent || !queue.is_held) && queue.ask()
    }

    /// See [`super::Log::hold`].
    pub fn hold(&self) {
        self.queue().is_held = true;
    }

    /// Ends [`Shared::hold`]; whether the lane must now be asked to drain the queue.
    pub fn release(&self) -> bool {
        let mut queue = self.queue();
        queue.is_held = false;
        !queue.jobs.is_empty() && queue.ask()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("a log's task panicked")
    }

    /// Stops the log for good and says why, once.
    pub fn stop(&self, error: &Error) {
        let text = error.to_string();
        {
            let stopped = &mut self.memory().stopped;
            if stopped.is_some() {
                return;
            }
            *stopped = Some((error.kind(), text.clone()));
        }
        (self.on_fatal)(text);
    }

    /// The error of every call after the log has stopped.
    pub fn check(&self) -> io::Result<()> {
        check(&self.memory())
    }
}

/// The error of every call after the log has stopped.
pub fn check(memory: &Memory) -> io::Result<()> {
    match &memory.stopped {
        None => Ok(()),
        Some((kind, text)) => Err(io::Error::new(*kind, Error::Stopped(text.clone()))),
    }
}

/// What only the lane touches.
pub struct Writer {
    pub world: World,
    pub paths: Paths,
    pub shared: Arc<Shared>,
    pub segment_bytes: u64,
    /// What the vote file says, but for `durable_next` and `committed`, which are as of its last write.
    pub file: VoteFile,
    /// The segment that is written to.
    pub active: Option<Active>,
    /// CRC of the last record.
    pub chain: u32,
    /// Index after the last entry written.
    pub next: u64,
    /// Id of the last entry written, or of the last purged one.
    pub last: Option<LogId>,
    /// Index after the last entry that is durable.
    pub durable_next: u64,
    pub committed: Option<LogId>,
    /// `committed` isn't in the log yet.
    pub committed_is_new: bool,
    /// Something was written since the last sync.
    pub dirty: bool,
    /// To be told after the next sync.
    pub waiting: Vec<IOFlushed<TypeConfig>>,
}

/// The segment that is written to, and what of it isn't in the memory yet.
pub struct Active {
    /// As it is in the memory, but without offsets; `end` is where the next record goes.
    pub segment: Segment,
    /// Offsets that the memory doesn't have yet.
    pub offsets: Vec<u32>,
    /// Bytes before `segment.end` that aren't written yet.
    pub gathered: Vec<u8>,
    /// What is behind it may never have been written.
    pub zeroed: u64,
}

impl Active {
    /// Goes on with a segment of the memory.
    pub fn new(segment: &Segment) -> Self {
        let segment =
            Segment { offsets: Vec::new(), path: segment.path.clone(), file: segment.file.clone(), ..*segment };
        let zeroed = segment.end;
        Self { segment, offsets: Vec::new(), gathered: Vec::new(), zeroed }
    }

    fn write_gathered(&mut self) -> Result<(), Error> {
        if !self.gathered.is_empty() {
            let end = self.segment.end;
            let at = end - self.gathered.len() as u64;
            if end > self.zeroed && self.gathered.len() < ZEROS / 4 {
                self.zeroed = (end + ZEROS as u64).min(self.segment.bytes);
                self.gathered.resize((self.zeroed - at) as usize, 0);
            }
            self.segment.file.write_at(&self.gathered, at).context("write", &self.segment.path)?;
            self.gathered.clear();
        }
        Ok(())
    }
}

impl Writer {
    /// Does everything that is queued. After a failure everything fails.
    pub fn drain(&mut self) {
        let jobs = self.shared.queue().take();
        for job in jobs {
            self.run(job);
        }
        self.attempt(Self::finish);
    }

    fn run(&mut self, job: Job) {
        match job {
            Job::Append { entries, flushed } => {
                self.waiting.push(flushed);
                self.attempt(|writer| entries.iter().try_for_each(|entry| writer.entry(entry)));
            }
            Job::Committed(id) => {
                self.committed_is_new |= self.committed < Some(id);
                self.committed = self.committed.max(Some(id));
            }
            Job::Vote { vote, done } => self.answer(done, |writer| writer.vote(vote)),
            Job::Truncate { cut, last, done } => self.answer(done, |writer| writer.truncate(cut, last)),
            Job::Purge { upto, done } => self.answer(done, |writer| writer.purge(upto)),
        }
    }

    fn answer(&mut self, done: Done, work: impl FnOnce(&mut Self) -> Result<(), Error>) {
        self.attempt(|writer| {
            writer.sync()?;
            work(writer)
        });
        // A caller that has gone away doesn't want the answer.
        let _ = done.send(self.shared.check());
    }

    /// Does `work` unless the log has stopped. A failure stops it: after a failed write or sync nothing is known of
    /// what is on the disk, and a second try proves nothing.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) {
        if self.shared.check().is_ok()
            && let Err(error) = work(self)
        {
            self.shared.stop(&error);
        }
        if self.shared.check().is_err() {
            for flushed in self.waiting.drain(..) {
                flushed.io_completed(self.shared.check());
            }
        }
    }

    /// Ends a batch. A commit index alone is written but not synced: it is a hint, and the next batch's sync covers
    /// it. Its `floor` proves from then on that the entries before it were durable.
    fn finish(&mut self) -> Result<(), Error> {
        if !self.waiting.is_empty() {
            return self.sync();
        }
        self.commit_index()?;
        self.active.as_mut().map_or(Ok(()), Active::write_gathered)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let id = entry.log_id;
        assert!(self.next == id.index || self.active.is_none(), "an entry would be written behind a hole");
        let (kind, payload) = match &entry.payload {
            EntryPayload::Blank => (Kind::Blank, Bytes::new()),
            EntryPayload::Normal(payload) => (Kind::Normal, payload.0.clone()),
            EntryPayload::Membership(membership) => {
                (Kind::Membership, proto::Membership::from(membership).encode_to_vec().into())
            }
        };
        if payload.len() > record::PAYLOAD_MAX {
            return Err(Error::TooLarge { index: id.index, size: payload.len(), max: record::PAYLOAD_MAX });
        }
        let offset = self.record(kind, id, id.index, &payload)?;
        self.active.as_mut().expect("a record was written").offsets.push(offset as u32);
        self.next = id.index + 1;
        self.last = Some(id);
        Ok(())
    }

    fn commit_index(&mut self) -> Result<(), Error> {
        // Before the first entry there is no segment to write it into; it goes with that entry's batch.
        if let (true, Some(id), Some(_)) = (self.committed_is_new, self.committed, &self.active) {
            self.record(Kind::Committed, id, self.next, &Bytes::new())?;
            self.committed_is_new = false;
        }
        Ok(())
    }

    /// Adds a record, in a new segment (whose first entry is `first`) if it doesn't fit; returns its offset.
    fn record(&mut self, kind: Kind, id: LogId, first: u64, payload: &Bytes) -> Result<u64, Error> {
        let size = record::size(payload.len()) as u64;
        let fits = self.active.as_ref().is_some_and(|active| active.segment.end + size <= active.segment.bytes);
        if !fits {
            self.roll(first, size)?;
        }
        let active = self.active.as_mut().expect("there is one now");
        let offset = active.segment.end;
        let head = Head {
            kind,
            index: id.index,
            term: id.leader_id.term,
            floor_next: self.durable_next,
            prev: self.chain,
            length: payload.len() as u32,
        };
        let (head, crc) = record::encode(&head, payload, active.segment.seed, offset);
        active.gathered.extend_from_slice(&head);
        active.segment.end += head.len() as u64;
        if payload.len() < GATHER {
            active.gathered.extend_from_slice(payload);
            active.gathered.resize(active.gathered.len() + size as usize - head.len() - payload.len(), 0);
            active.segment.end = offset + size;
        } else {
            active.write_gathered()?;
            active.segment.file.write_at(payload, active.segment.end).context("write", &active.segment.path)?;
            // The bytes up to the next record are zeros already.
            active.segment.end = offset + size;
        }
        self.chain = crc;
        self.dirty = true;
        if active.gathered.len() >= GATHER {
            active.write_gathered()?;
        }
        Ok(offset)
    }

    /// Goes on in a new segment. The old one is synced first: a record in the new one counts as durable by the sync of
    /// the new one alone.
    fn roll(&mut self, first: u64, size: u64) -> Result<(), Error> {
        self.sync_active()?;
        self.replace_empty(first)?;
        let chain = if self.active.is_some() { self.chain } else { 0 };
        let header = Header { first, before: self.last, chain, salt: self.world.entropy.next_u64() };
        let bytes = self.segment_bytes.max(HEADER as u64 + size).next_multiple_of(record::ALIGN as u64);
        let segment = segment::create(&*self.world.disk, &self.paths.log, &header, bytes)?;
        self.chain = segment.head_crc;
        self.active = Some(Active::new(&segment));
        self.shared.memory().segments.push(segment);
        Ok(())
    }

    /// Removes the active segment if the new one takes its place and name: it holds no entry, and is too small for the
    /// first one.
    fn replace_empty(&mut self, first: u64) -> Result<(), Error> {
        let Some(active) = self.active.take_if(|active| active.segment.first == first) else { return Ok(()) };
        // It may hold the saved commit index.
        self.write_file()?;
        self.world.disk.remove(&active.segment.path).context("remove", &active.segment.path)?;
        self.world.disk.sync_dir(&self.paths.log).context("sync directory", &self.paths.log)?;
        self.chain = active.segment.chain;
        let mut memory = self.shared.memory();
        memory.segments.pop();
        self.active = memory.segments.last().map(Active::new);
        Ok(())
    }

    /// Makes everything written durable, and reports it.
    fn sync(&mut self) -> Result<(), Error> {
        self.commit_index()?;
        self.sync_active()?;
        let mut waiting = self.waiting.drain(..).peekable();
        while let Some(flushed) = waiting.next() {
            // openraft keeps the newest only. Each wakes it: told of the first of a batch, it would commit and apply that
            // one by itself.
            let is_covered =
                |next: &IOFlushed<_>| matches!((&flushed, next), (IOFlushed::Notify(_), IOFlushed::Notify(_)));
            if !waiting.peek().is_some_and(is_covered) {
                flushed.io_completed(Ok(()));
            }
        }
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), Error> {
        let Some(active) = self.active.as_mut().filter(|_| self.dirty) else { return Ok(()) };
        active.write_gathered()?;
        active.segment.file.sync().context("sync", &active.segment.path)?;
        self.dirty = false;
        self.durable_next = self.next;

        let mut memory = self.shared.memory();
        let known = memory.segments.last_mut().expect("the memory has the active segment");
        known.offsets.append(&mut active.offsets);
        known.end = active.segment.end;
        memory.durable_next = self.durable_next;
        memory.evict();
        Ok(())
    }

    fn vote(&mut self, vote: Vote) -> Result<(), Error> {
        self.file.vote = Some(vote.clone());
        self.write_file()?;
        self.shared.memory().vote = Some(vote);
        Ok(())
    }

    fn write_file(&mut self) -> Result<(), Error> {
        self.file.committed = self.committed;
        self.file.durable_next = self.file.cut.map_or(self.durable_next, |cut| cut.min(self.durable_next));
        self.file.write(&*self.world.disk, &self.paths.vote)
    }

    /// Removes everything from `cut` on: first the vote file says so, so that a crash on the way leaves neither a hole
    /// nor a reason to take what is left for damage; then segments go from the highest down, then the rest is zeroed,
    /// so that nothing of it is ever found behind newer records.
    fn truncate(&mut self, cut: u64, last: Option<LogId>) -> Result<(), Error> {
        let result = self.truncate_disk(cut, last);
        self.shared.memory().cuts -= 1;
        result
    }

    fn truncate_disk(&mut self, cut: u64, last: Option<LogId>) -> Result<(), Error> {
        if cut >= self.next {
            return Ok(());
        }
        let (mut removed, kept) = {
            let mut memory = self.shared.memory();
            let kept = memory.segments.partition_point(|segment| segment.first < cut);
            let removed = memory.segments.split_off(kept);
            (removed, memory.segments.last().cloned())
        };
        let after_purge = self.file.purged.map_or(0, |purged| purged.index + 1);
        let cut = if kept.is_some() { cut } else { after_purge };
        self.file.cut = Some(cut);
        self.write_file()?;

        removed.reverse();
        for segment in &removed {
            self.world.disk.remove(&segment.path).context("remove", &segment.path)?;
        }
        if !removed.is_empty() {
            self.world.disk.sync_dir(&self.paths.log).context("sync directory", &self.paths.log)?;
        }
        match kept {
            None => {
                (self.active, self.chain) = (None, 0);
                self.committed_is_new = self.committed.is_some();
            }
            Some(mut segment) => self.zero_from(cut, &mut segment)?,
        }
        (self.next, self.last) = (cut, last);
        self.durable_next = self.durable_next.min(cut);
        self.shared.memory().durable_next = self.durable_next;
        self.file.cut = None;
        self.write_file()
    }

    /// Cuts the records of the entries from `cut` on off `segment`, which becomes the active one.
    fn zero_from(&mut self, cut: u64, segment: &mut Segment) -> Result<(), Error> {
        let count = (cut - segment.first) as usize;
        let end = segment.end;
        if let Some(offset) = segment.offsets.get(count) {
            let from = u64::from(*offset);
            self.chain = chain_before(segment, from)?;
            start::zero(segment, from, end)?;
            segment.file.sync().context("sync", &segment.path)?;
            segment.offsets.truncate(count);
            segment.end = from;
        } else {
            self.chain = last_crc(segment)?;
        }
        self.active = Some(Active::new(segment));
        // A commit index behind the cut went with it; the vote file has it.
        *self.shared.memory().segments.last_mut().expect("it is there") = segment.clone();
        Ok(())
    }

    /// Removes the segments that hold nothing beyond `upto`, from the lowest up. The vote file says first that they
    /// are void, so any of them may be left after a crash.
    fn purge(&mut self, upto: LogId) -> Result<(), Error> {
        if self.file.purged >= Some(upto) {
            return Ok(());
        }
        let after = upto.index + 1;
        let jumps = self.next <= after;
        let removed: Vec<Segment> = {
            let mut memory = self.shared.memory();
            let count = memory.segments.iter().skip(1).take_while(|segment| segment.first <= after).count();
            let count = if jumps { memory.segments.len() } else { count };
            memory.segments.drain(..count).collect()
        };
        if removed.is_empty() && !jumps {
            // Nothing on the disk changes. After a restart these entries are there again, which does no harm.
            return Ok(());
        }
        self.file.purged = Some(upto);
        if jumps {
            (self.active, self.chain, self.last) = (None, 0, Some(upto));
            (self.next, self.durable_next) = (after, after);
            self.shared.memory().durable_next = after;
            self.committed_is_new = self.committed > Some(upto);
        }
        self.write_file()?;
        for segment in &removed {
            self.world.disk.remove(&segment.path).context("remove", &segment.path)?;
        }
        if !removed.is_empty() {
            self.world.disk.sync_dir(&self.paths.log).context("sync directory", &self.paths.log)?;
        }
        Ok(())
    }
}

/// CRC of the record before the one at `offset`, which holds it.
fn chain_before(segment: &Segment, offset: u64) -> Result<u32, Error> {
    let mut head = [0; record::HEAD];
    segment.file.read_at(&mut head, offset).context("read", &segment.path)?;
    Ok(record::u32_at(&head, 8))
}

/// CRC of the last record of `segment`: what the chain goes on with when later segments were cut off.
fn last_crc(segment: &Segment) -> Result<u32, Error> {
    let from = segment.offsets.last().map_or(HEADER as u64, |offset| u64::from(*offset));
    let mut bytes = vec![0; (segment.end - from) as usize];
    segment.file.read_at(&mut bytes, from).context("read", &segment.path)?;
    let (mut at, mut crc) = (0, segment.head_crc);
    while at < bytes.len() {
        let offset = from + at as u64;
        let Some(found) = record::decode(&bytes[at..], segment.seed, offset) else {
            let reason = "a record that was written is not valid any more".into();
            return Err(Error::Damaged { segment: segment.path.clone(), offset, reason });
        };
        (at, crc) = (at + found.size(), found.crc);
    }
    Ok(crc)
}
