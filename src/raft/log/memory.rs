//! The log as readers see it: where it begins and ends, the newest entries, and where on the disk the others are.
//!
//! ```text
//!   purged │ first ............................. next
//!          │  segments (offsets) ──────┤            what is on the disk
//!          │              cache ├───────────────────┤ everything that isn't synced yet, and a bounded rest before it
//! ```
//!
//! Appending and cutting change it at once; the lane follows with the disk. It holds an offset of four bytes for each
//! entry and the bounded cache, never the log.

use std::collections::VecDeque;
use std::io;

use openraft::EntryPayload;

use super::record;
use super::segment::Segment;
use super::terms::Terms;
use crate::raft::types::{Entry, LogId, Vote};

/// Everything that is shared between the node's tasks and the lanes.
pub struct Memory {
    /// The last vote that is durable.
    pub vote: Option<Vote>,
    /// The newest saved commit index.
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// What the log says up to here about members is void.
    pub members_void: Option<LogId>,
    /// Index of the first entry; `next` if there is none.
    pub first: u64,
    /// Index after the last entry.
    pub next: u64,
    pub terms: Terms,
    pub segments: Vec<Segment>,
    /// The index after the last entry that is durable.
    pub durable_next: u64,
    /// The newest entries, without a gap, up to the last.
    pub cache: VecDeque<Entry>,
    /// Bytes of `cache`.
    pub cache_bytes: usize,
    pub cache_bytes_max: usize,
    /// Truncations that the lane has yet to follow. Until then its offsets and `durable_next` may speak of entries
    /// that are gone, so nothing leaves the cache.
    pub cuts: usize,
    /// Counts truncations and purges: a reader that was overtaken by one starts again.
    pub changes: u64,
    /// Why the log has stopped, if it has.
    pub stopped: Option<(io::ErrorKind, String)>,
}

/// How a range of entries is to be read.
pub enum Plan {
    /// Nothing is there.
    Nothing,
    Entries(Vec<Entry>),
    Disk(Place),
}

/// Entries that lie behind each other in one segment.
pub struct Place {
    pub segment: Segment,
    pub first: u64,
    pub count: usize,
    /// Bytes to read, other records between the entries included.
    pub from: u64,
    pub to: u64,
    pub changes: u64,
}

impl Memory {
    /// The last entry's id, or that of the last purged one.
    pub fn last(&self) -> Option<LogId> {
        if self.first < self.next { Some(self.terms.log_id(self.next - 1)) } else { self.purged }
    }

    /// Adds an entry behind the last.
    pub fn push(&mut self, entry: Entry) {
        let index = entry.log_id.index;
        if self.first == self.next && self.purged.is_none() {
            // An empty log may begin anywhere; openraft's test suite begins at 1.
            (self.first, self.next) = (index, index);
        }
        assert_eq!(index, self.next, "an append would leave a hole in the log");
        self.terms.push(index, entry.log_id.leader_id.term);
        self.next = index + 1;
        self.cache_bytes += weight(&entry);
        self.cache.push_back(entry);
    }

    /// Forgets the entries from `cut` on.
    pub fn truncate(&mut self, cut: u64) {
        self.changes += 1;
        self.next = self.next.min(cut).max(self.first);
        self.terms.truncate(self.next);
        while self.cache.back().is_some_and(|entry| entry.log_id.index >= self.next) {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |entry| weight(&entry));
        }
    }

    /// Forgets the entries up to `purged`, which may lie beyond the last.
    pub fn purge(&mut self, purged: LogId) {
        self.changes += 1;
        self.first = purged.index + 1;
        self.purged = Some(purged);
        if self.next <= self.first {
            self.next = self.first;
            self.terms = Terms::default();
        } else {
            self.terms.purge(self.first);
        }
        while self.cache.front().is_some_and(|entry| entry.log_id.index < self.first) {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| weight(&entry));
        }
    }

    /// Lets durable entries go until the cache is within its bound.
    pub fn evict(&mut self) {
        while self.cuts == 0 && self.cache_bytes > self.cache_bytes_max {
            let Some(front) = self.cache.front() else { return };
            if front.log_id.index >= self.durable_next {
                return;
            }
            self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| weight(&entry));
        }
    }

    /// How to read the first entries of `from..to`: at least one if any is there, and about `bytes_max` bytes.
    pub fn plan(&self, from: u64, to: u64, bytes_max: usize) -> Plan {
        let (from, to) = (from.max(self.first), to.min(self.next));
        if from >= to {
            return Plan::Nothing;
        }
        let cached = self.next - self.cache.len() as u64;
        if from >= cached {
            let mut bytes = 0;
            let wanted = self.cache.range((from - cached) as usize..(to - cached) as usize);
            let fitting = wanted.take_while(|entry| {
                let first = bytes == 0;
                bytes += weight(entry);
                first || bytes <= bytes_max
            });
            return Plan::Entries(fitting.cloned().collect());
        }

        let at = self.segments.partition_point(|segment| segment.first <= from);
        let segment = &self.segments[at.checked_sub(1).expect("an entry is neither in memory nor on the disk")];
        let offsets = &segment.offsets[(from - segment.first) as usize..];
        let to = to.min(cached).min(segment.next());
        assert!(from < to, "an entry is neither in memory nor on the disk");
        let start = u64::from(offsets[0]);
        let end = |count: usize| offsets.get(count).map_or(segment.end, |offset| u64::from(*offset));
        let most = (to - from) as usize;
        let mut count = 1;
        while count < most && end(count + 1) - start <= bytes_max as u64 {
            count += 1;
        }
        // Only what the reader needs of the segment: not its offsets.
        let segment =
            Segment { offsets: Vec::new(), path: segment.path.clone(), file: segment.file.clone(), ..*segment };
        Plan::Disk(Place { segment, first: from, count, from: start, to: end(count), changes: self.changes })
    }
}

/// Bytes that an entry holds in memory, about.
pub fn weight(entry: &Entry) -> usize {
    record::HEAD
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Membership(membership) => 64 * membership.nodes().count(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::log_id;

    fn memory(count: u64) -> Memory {
        let mut memory = Memory {
            vote: None,
            committed: None,
            purged: None,
            members_void: None,
            first: 0,
            next: 0,
            terms: Terms::default(),
            segments: Vec::new(),
            durable_next: 0,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max: 0,
            cuts: 0,
            changes: 0,
            stopped: None,
        };
        for index in 0..count {
            memory.push(Entry { log_id: log_id(1, index), payload: EntryPayload::Blank });
        }
        memory
    }

    /// A reader would look for it on the disk, where it isn't.
    #[test]
    fn what_is_not_durable_stays() {
        let mut memory = memory(5);
        memory.evict();
        assert_eq!(memory.cache.len(), 5);
        memory.durable_next = 2;
        memory.cuts = 1;
        memory.evict();
        assert_eq!(memory.cache.len(), 5, "what the lane says is of before the cut");
        memory.cuts = 0;
        memory.evict();
        assert_eq!((memory.cache.len(), memory.cache_bytes), (3, 3 * record::HEAD));
        memory.cache_bytes_max = record::HEAD;
        memory.durable_next = 5;
        memory.evict();
        assert_eq!(memory.cache.len(), 1);
    }
}
