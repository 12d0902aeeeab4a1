//! Reading: from memory what is new, the rest through a lane of its own, so that reads never wait behind a sync and
//! never block a worker. Long ranges come in pieces of bounded size (H23).

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use bytes::Bytes;
use futures::{Stream, stream};
use openraft::errors::LeaderChanged;
use openraft::storage::{LeaderBoundedStreamError, RaftLogReader};
use openraft::{EntryPayload, OptionalSend};
use prost::Message;

use super::Log;
use super::error::{Context, Error};
use super::memory::{Place, Plan};
use super::record::{self, Kind};
use super::writer::check;
use crate::raft::convert::log_id;
use crate::raft::types::{Entry, LeaderId, LogId, Membership, Payload, TypeConfig, Vote, proto};

impl Log {
    /// The first entries of `from..to` that the log has: at least one if it has any, and about `chunk_bytes` bytes.
    async fn chunk(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self.stored_chunk(from, to).await?;
        let void = self.shared.memory().members_void;
        for entry in entries.iter_mut().filter(|entry| Some(entry.log_id) <= void) {
            if let EntryPayload::Membership(_) = entry.payload {
                entry.payload = EntryPayload::Blank;
            }
        }
        Ok(entries)
    }

    async fn stored_chunk(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        loop {
            let plan = {
                let memory = self.shared.memory();
                check(&memory)?;
                memory.plan(from, to, self.chunk_bytes)
            };
            let place = match plan {
                Plan::Nothing => return Ok(Vec::new()),
                Plan::Entries(entries) => return Ok(entries),
                Plan::Disk(place) => place,
            };
            let changes = place.changes;
            match self.reads.call(move |()| read(&place)).await {
                Ok(entries) => return Ok(entries),
                // What was to be read was cut or purged meanwhile.
                Err(_) if self.shared.memory().changes != changes => {}
                Err(error) => {
                    self.shared.stop(&error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Checks that a chunk of a range that was found whole at first goes on where the one before ended.
    async fn next_chunk(&self, at: u64, to: u64) -> io::Result<VecDeque<Entry>> {
        let entries = self.chunk(at, to).await?;
        if entries.first().is_none_or(|entry| entry.log_id.index != at) {
            let text = format!("raft log: entry {at} was removed while {at}..{to} was read");
            return Err(io::Error::other(text));
        }
        Ok(entries.into())
    }

    /// The part of a range that the log has now.
    fn clip(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let (from, to) = bounds(range);
        let memory = self.shared.memory();
        (from.max(memory.first), to.min(memory.next))
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        'again: loop {
            let changes = self.shared.memory().changes;
            let mut entries: Vec<Entry> = Vec::new();
            loop {
                let at = entries.last().map_or(from, |entry| entry.log_id.index + 1);
                let chunk = self.chunk(at, to).await?;
                if self.shared.memory().changes != changes {
                    continue 'again;
                }
                if chunk.is_empty() {
                    return Ok(entries);
                }
                entries.extend(chunk);
            }
        }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.chunk(start, end).await
    }

    /// For applying: what is missing at the ends when it starts is left out, as openraft allows; what goes missing on
    /// the way is an error.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.clip(&range);
        stream::unfold(Some((self.clone(), from, to, VecDeque::new())), |state| async move {
            let (log, at, to, mut entries) = state?;
            if at >= to {
                return None;
            }
            if entries.is_empty() {
                entries = match log.next_chunk(at, to).await {
                    Ok(entries) => entries,
                    Err(error) => return Some((Err(error), None)),
                };
            }
            let entry = entries.pop_front()?;
            Some((Ok(entry), Some((log, at + 1, to, entries))))
        })
    }

    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, LeaderBoundedStreamError<TypeConfig>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.clip(&range);
        let state = Some((self.clone(), leader, from, to, VecDeque::new()));
        stream::unfold(state, |state| async move {
            let (log, leader, at, to, mut entries) = state?;
            if at >= to {
                return None;
            }
            if entries.is_empty() {
                let chunk = log.next_chunk(at, to).await;
                // After reading: an entry that was read while this was the vote cannot have been cut before.
                let vote = log.shared.memory().vote.clone();
                if !vote.as_ref().is_some_and(|vote| vote.committed && vote.leader_id == leader) {
                    return Some((Err(LeaderChanged::new(leader, vote).into()), None));
                }
                entries = match chunk {
                    Ok(entries) => entries,
                    Err(error) => return Some((Err(error.into()), None)),
                };
            }
            let entry = entries.pop_front()?;
            Some((Ok(entry), Some((log, leader, at + 1, to, entries))))
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let memory = self.shared.memory();
        check(&memory)?;
        Ok(memory.vote.clone())
    }

    /// From memory, where openraft's default would search the disk.
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        Ok(self.shared.memory().terms.key_log_ids(range.start(), range.end()))
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// Reads entries with one call and checks each again: what was valid at start may have rotted since.
fn read(place: &Place) -> Result<Vec<Entry>, Error> {
    let segment = &place.segment;
    let mut bytes = vec![0; (place.to - place.from) as usize];
    segment.file.read_at(&mut bytes, place.from).context("read", &segment.path)?;
    let bytes = Bytes::from(bytes);
    let damaged = |at: usize, reason: String| Error::Damaged {
        segment: segment.path.clone(),
        offset: place.from + at as u64,
        reason,
    };

    let mut entries = Vec::with_capacity(place.count);
    let mut at = 0;
    while entries.len() < place.count {
        let index = place.first + entries.len() as u64;
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = record::decode(rest, segment.seed, place.from + at as u64) else {
            return Err(damaged(at, format!("entry {index} is not valid any more")));
        };
        let range = record::payload(&found);
        let payload = bytes.slice(at + range.start..at + range.end);
        let payload = match found.head.kind {
            Kind::Committed => {
                at += found.size();
                continue;
            }
            Kind::Blank => EntryPayload::Blank,
            Kind::Normal => EntryPayload::Normal(Payload(payload)),
            Kind::Membership => {
                let membership = proto::Membership::decode(payload).map_err(|error| error.to_string());
                let membership = membership.and_then(|m| Membership::try_from(m).map_err(|error| error.to_string()));
                EntryPayload::Membership(membership.map_err(|error| damaged(at, error))?)
            }
        };
        if found.head.index != index {
            return Err(damaged(at, format!("entry {} is where entry {index} should be", found.head.index)));
        }
        entries.push(Entry { log_id: log_id(found.head.term, index), payload });
        at += found.size();
    }
    Ok(entries)
}
