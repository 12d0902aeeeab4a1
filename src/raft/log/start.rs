//! What a crash left behind: read everything, decide, and only then change the disk.
//!
//! ```text
//!   vote ──► what is void (a purge or truncation that was begun)
//!   segments ──► records in a chain ──► the first bad one ──► a torn batch nobody was told of: zeroed
//!                                                        └──► proof that it was durable: refused, nothing touched
//! ```
//!
//! The proof that the entry at the bad place was durable is any of: a valid record behind it whose `floor` is beyond
//! it; a later segment (the one before is synced first); the vote file's own `durable_next`. The saved commit index
//! is no proof: an entry can be committed by others before it is on this disk. Segments are read one at a time.

use std::path::{Path, PathBuf};

use super::error::{Context, Error};
use super::record::{self, Kind};
use super::segment::{self, HEADER, Segment};
use super::terms::Terms;
use super::vote_file::VoteFile;
use crate::raft::convert::log_id;
use crate::raft::types::LogId;
use crate::world::{Disk, Open};

/// The log as it is after a start.
pub struct Started {
    pub file: VoteFile,
    pub segments: Vec<Segment>,
    pub terms: Terms,
    /// The newest commit index that was saved; it may lie beyond the log.
    pub committed: Option<LogId>,
    /// The index after the last entry.
    pub next: u64,
    /// CRC of the last record: where the chain goes on.
    pub chain: u32,
    /// The power went while the last record was written: what there was of it is gone.
    pub was_torn: bool,
}

/// The directories and files of one log.
pub struct Paths {
    pub root: PathBuf,
    pub log: PathBuf,
    pub vote: PathBuf,
}

impl Paths {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), log: root.join("log"), vote: root.join("vote") }
    }
}

/// What the scan found, and what it wants to be changed.
struct Scan {
    segments: Vec<Segment>,
    terms: Terms,
    committed: Option<LogId>,
    /// Index after the last entry; `None` before the first segment.
    next: Option<u64>,
    last: Option<LogId>,
    chain: u32,
    /// Segments to remove, with what is void from the lowest up, then the rest from the highest down.
    void: Vec<PathBuf>,
    zero: Option<Zero>,
    /// The index after the last entry that a record or the vote file proves to have been durable.
    proven_next: u64,
    /// Offset and bytes of the last segment that nothing proves to have been durable.
    unproven: Option<(u64, Vec<u8>)>,
}

/// Bytes of the last segment that are to be zeroed.
struct Zero {
    from: u64,
    to: u64,
    /// The bad record was not part of a truncation under way.
    torn: bool,
}

/// Reads the log and repairs what a crash may leave.
pub fn start(disk: &dyn Disk, paths: &Paths) -> Result<Started, Error> {
    disk.create_dir(&paths.log).context("create", &paths.log)?;
    let names = disk.list(&paths.log).context("list", &paths.log)?;
    let found: Vec<(u64, PathBuf)> =
        names.iter().filter_map(|name| Some((segment::parse_name(name)?, paths.log.join(name)))).collect();
    let file = match VoteFile::read(disk, &paths.vote)? {
        Some(file) => file,
        None => first_start(disk, paths, &found)?,
    };
    let scan = scan(disk, paths, &file, found)?;
    apply(disk, paths, file, scan)
}

/// The vote file is older than any segment, so a log without one has lost it.
fn first_start(disk: &dyn Disk, paths: &Paths, found: &[(u64, PathBuf)]) -> Result<VoteFile, Error> {
    if let Some((_, segment)) = found.first() {
        return Err(Error::VoteMissing { path: paths.vote.clone(), segment: segment.clone() });
    }
    if let Some(parent) = paths.root.parent() {
        disk.sync_dir(parent).context("sync directory", parent)?;
    }
    let file = VoteFile::default();
    file.write(disk, &paths.vote)?;
    Ok(file)
}

fn scan(disk: &dyn Disk, paths: &Paths, file: &VoteFile, mut found: Vec<(u64, PathBuf)>) -> Result<Scan, Error> {
    let after_purge = file.purged.map_or(0, |purged| purged.index + 1);
    let mut scan = Scan {
        segments: Vec::new(),
        terms: Terms::default(),
        committed: file.committed,
        next: None,
        last: None,
        chain: 0,
        void: Vec::new(),
        zero: None,
        proven_next: file.durable_next,
        unproven: None,
    };

    let kept = found.iter().skip(1).take_while(|(first, _)| *first <= after_purge).count();
    scan.void.extend(found.drain(..kept).map(|(_, path)| path));
    if let Some(cut) = file.cut {
        let kept = found.partition_point(|(first, _)| *first < cut);
        scan.void.extend(found.drain(kept..).rev().map(|(_, path)| path));
    }

    let count = found.len();
    for (at, (first, path)) in found.into_iter().enumerate() {
        scan.segment(disk, file, first, path, at + 1 == count)?;
    }

    let next = scan.next.unwrap_or(0);
    if next <= after_purge {
        // The log ended before what was purged: a snapshot took its place.
        scan.void.extend(scan.segments.drain(..).map(|segment| segment.path));
        (scan.zero, scan.unproven, scan.terms, scan.last, scan.chain) = (None, None, Terms::default(), file.purged, 0);
        scan.next = Some(after_purge);
    }
    let next = scan.next.unwrap_or(0);
    let durable = file.cut.map_or(file.durable_next, |cut| cut.min(file.durable_next));
    if next < durable {
        let (segment, offset) = match scan.segments.last() {
            Some(segment) => (segment.path.clone(), segment.end),
            None => (paths.log.join(segment::name(next)), 0),
        };
        let reason = format!("the log ends here, but entries up to {} were durable", durable - 1);
        return Err(Error::Damaged { segment, offset, reason });
    }
    Ok(scan)
}

impl Scan {
    fn segment(
        &mut self,
        disk: &dyn Disk,
        file: &VoteFile,
        first: u64,
        path: PathBuf,
        is_last: bool,
    ) -> Result<(), Error> {
        let handle = disk.open(&path, Open::Write).context("open", &path)?;
        let mut bytes = vec![0; handle.len().context("measure", &path)? as usize];
        let read = handle.read_at(&mut bytes, 0).context("read", &path)?;
        bytes.truncate(read);
        let damaged = |offset: usize, reason: String| {
            Err(Error::Damaged { segment: path.clone(), offset: offset as u64, reason })
        };

        let Some(sealed) = segment::decode(&bytes, &path)? else {
            let untouched = bytes.iter().skip(HEADER).all(|byte| *byte == 0);
            let expected = self.next.unwrap_or(first);
            if is_last && untouched && file.durable_next <= expected {
                // It was being created: nothing was ever written into it.
                tracing::warn!(segment = %path.display(), "torn segment header, removed");
                self.void.push(path);
                return Ok(());
            }
            return damaged(0, "the header is not valid".into());
        };
        let header = &sealed.header;
        if header.first != first {
            return damaged(0, format!("the header is that of segment {}", header.first));
        }
        match self.next {
            None => {
                let purged = file.purged.map_or(header.before.is_none(), |purged| first <= purged.index + 1);
                if !purged {
                    return damaged(0, "the entries before it are missing".into());
                }
                self.last = header.before;
            }
            Some(next) => {
                if next != first || header.before != self.last || header.chain != self.chain {
                    let end = self.segments.last().expect("one was read");
                    let reason =
                        format!("entry {next} is not valid, but segment {first}, which was begun after it, exists");
                    return Err(Error::Damaged { segment: end.path.clone(), offset: end.end, reason });
                }
            }
        }
        self.next = Some(first);
        self.chain = sealed.crc;

        let mut segment = Segment {
            file: handle.into(),
            first,
            seed: sealed.seed,
            head_crc: sealed.crc,
            chain: header.chain,
            offsets: Vec::new(),
            end: HEADER as u64,
            bytes: bytes.len() as u64,
            path: path.clone(),
        };
        self.records(&bytes, &mut segment, file.cut);

        let end = bytes.len().min(segment.end as usize);
        let next = segment.next();
        if let Some(used) = bytes[end..].iter().rposition(|byte| *byte != 0) {
            let torn = file.cut != Some(next);
            if torn {
                if !is_last {
                    return damaged(end, format!("entry {next} is not valid, but a later segment exists"));
                }
                if file.durable_next > next {
                    return damaged(end, format!("entry {next} is not valid, but it was durable"));
                }
                if let Some((offset, index)) = proof(&bytes, end, segment.seed, next) {
                    let reason =
                        format!("entry {next} is not valid, but was durable when {index} at byte {offset} was written");
                    return damaged(end, reason);
                }
            }
            self.zero = Some(Zero { from: end as u64, to: (end + used + 1) as u64, torn });
        }
        if is_last {
            if file.cut.is_some() {
                // What reads as zeros may be a failed sync's, and something else on the disk.
                self.zero = Some(Zero { from: end as u64, to: bytes.len() as u64, torn: false });
            }
            let from = self.unproven_from(&segment);
            self.unproven = Some((from as u64, bytes[from..end].to_vec()));
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Where the records start that nothing proves to have been durable: behind the last proven entry, for a commit
    /// index between it and the next is proven by nothing either. That entry itself is among them, since only entries
    /// have known offsets. The header too, if no entry is proven.
    fn unproven_from(&self, segment: &Segment) -> usize {
        if self.proven_next <= segment.first {
            return 0;
        }
        let proven = (self.proven_next - segment.first - 1) as usize;
        let last = segment.offsets.len().saturating_sub(1);
        segment.offsets.get(proven.min(last)).map_or(0, |offset| *offset as usize)
    }

    /// Reads records until one is not the next of the chain, or is void.
    fn records(&mut self, bytes: &[u8], segment: &mut Segment, cut: Option<u64>) {
        while let Some(found) =
            bytes.get(segment.end as usize..).and_then(|rest| record::decode(rest, segment.seed, segment.end))
        {
            let head = found.head;
            let next = segment.next();
            if head.prev != self.chain {
                return;
            }
            self.proven_next = self.proven_next.max(head.floor_next);
            if head.kind == Kind::Committed {
                self.committed = self.committed.max(Some(log_id(head.term, head.index)));
            } else {
                let falls = self.last.is_some_and(|last| head.term < last.leader_id.term);
                if head.index != next || falls || cut == Some(next) {
                    return;
                }
                segment.offsets.push(segment.end as u32);
                self.terms.push(next, head.term);
                self.last = Some(log_id(head.term, next));
                self.next = Some(next + 1);
            }
            self.chain = found.crc;
            segment.end += found.size() as u64;
        }
    }
}

/// A valid record at or behind `from` that was written when entry `bad` was durable: its offset and index. Records
/// are found by their own marks, since the bad one's length means nothing.
fn proof(bytes: &[u8], from: usize, seed: u32, bad: u64) -> Option<(usize, u64)> {
    (from..bytes.len()).step_by(record::ALIGN).find_map(|offset| {
        let found = record::decode(&bytes[offset..], seed, offset as u64)?;
        (found.head.floor_next > bad).then_some((offset, found.head.index))
    })
}

/// Ends what the crash interrupted, and makes everything that was read durable: a process that was killed may have left
/// it in the system's memory only. After a failed sync that memory may even hold it as written though it isn't, so
/// what nothing proves to have been durable is written again.
fn apply(disk: &dyn Disk, paths: &Paths, file: VoteFile, scan: Scan) -> Result<Started, Error> {
    for path in &scan.void {
        disk.remove(path).context("remove", path)?;
    }
    disk.sync_dir(&paths.log).context("sync directory", &paths.log)?;
    if let Some(segment) = scan.segments.last() {
        if let Some(Zero { from, to, torn }) = scan.zero {
            if torn {
                tracing::warn!(
                    segment = %segment.path.display(), offset = from, bytes = to - from, index = segment.next(),
                    "torn tail cut",
                );
            }
            zero(segment, from, to)?;
        }
        if let Some((offset, bytes)) = &scan.unproven {
            segment.file.write_at(bytes, *offset).context("write", &segment.path)?;
        }
        segment.file.sync().context("sync", &segment.path)?;
    }
    let next = scan.next.unwrap_or(0);
    let file = VoteFile { committed: scan.committed, durable_next: next, cut: None, ..file };
    file.write(disk, &paths.vote)?;
    let Scan { segments, terms, committed, chain, zero, .. } = scan;
    let was_torn = zero.is_some_and(|zero| zero.torn);
    Ok(Started { file, segments, terms, committed, next, chain, was_torn })
}

/// Writes zeros over part of a segment.
pub fn zero(segment: &Segment, from: u64, to: u64) -> Result<(), Error> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let length = ZEROS.len().min((to - at) as usize);
        segment.file.write_at(&ZEROS[..length], at).context("write", &segment.path)?;
        at += length as u64;
    }
    Ok(())
}
