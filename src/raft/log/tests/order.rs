//! H6 and group commit: what reaches the disk in which order, on lanes that run when they are told to.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;

use super::*;
use crate::raft::log::MUCH;
use crate::raft::types::{TypeConfig, Vote};
use crate::world::lanes::{Job, Jobs, Lanes};
use crate::world::{Disk, File, Open, Stat};

/// Writes down what is changed on a disk.
#[derive(Clone)]
struct Recorder {
    disk: Arc<dyn Disk>,
    seen: Arc<Mutex<Vec<String>>>,
}

struct Recorded {
    file: Box<dyn File>,
    name: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn note(&self, what: &str, path: &Path) {
        self.seen.lock().unwrap().push(format!("{what} {}", short(path)));
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.seen.lock().unwrap()).join(", ")
    }
}

/// A file's name, a segment's without its zeros.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    crate::raft::log::segment::parse_name(&name).map_or(name.to_string(), |first| format!("{first}.seg"))
}

impl Recorded {
    fn note(&self, what: &str) {
        self.seen.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Disk for Recorder {
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        let file = self.disk.open(path, mode)?;
        Ok(Box::new(Recorded { file, name: short(path), seen: self.seen.clone() }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.disk.stat(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", to);
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path);
        self.disk.remove(path)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.note("sync", directory);
        self.disk.sync_dir(directory)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_space(path)
    }
    fn sqlite_vfs(&self) -> &str {
        self.disk.sqlite_vfs()
    }
}

impl File for Recorded {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.note("write");
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.note("sync");
        self.file.sync()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.note("allocate");
        self.file.allocate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Lanes that wait for [`Hand::go`].
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<VecDeque<Job>>>);

impl Lanes for Hand {
    fn start(&self, _name: &str) -> Arc<dyn Jobs> {
        Arc::new(self.clone())
    }
}

impl Jobs for Hand {
    fn submit(&self, job: Job) {
        self.0.lock().unwrap().push_back(job);
    }
}

impl Hand {
    fn go(&self) {
        while let Some(job) = { self.0.lock().unwrap().pop_front() } {
            job();
        }
    }
}

struct Watched {
    home: Home,
    log: Log,
    hand: Hand,
    recorder: Recorder,
}

/// A log with entry 0 in its first segment.
fn watched() -> Watched {
    let mut home = Home::new();
    home.options.cache_bytes = 1 << 20;
    let recorder = Recorder { disk: home.world.disk.clone(), seen: Arc::default() };
    let hand = Hand::default();
    home.world = World { disk: Arc::new(recorder.clone()), lanes: Arc::new(hand.clone()), ..home.world.clone() };
    let mut log = home.opened();
    push(&mut log, entries(1, 0..=0));
    hand.go();
    recorder.take();
    Watched { home, log, hand, recorder }
}

/// Appends without waiting for the disk.
fn push(log: &mut Log, some: Vec<Entry>) {
    log.append(some, IOFlushed::noop()).now_or_never().expect("an append never waits").expect("appended");
}

#[test]
fn a_vote_is_written_after_everything_queued_before_it_is_synced() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    let (sender, receiver) = TypeConfig::oneshot();
    log.append(entries(1, 1..=2), IOFlushed::signal(sender)).now_or_never().unwrap().unwrap();
    let (vote, mut other) = (Vote::new(2, "b".into()), log.clone());
    let mut saved = Box::pin(other.save_vote(&vote));
    assert!(saved.as_mut().now_or_never().is_none());
    push(&mut log, entries(2, 3..=3));
    assert_eq!(recorder.take(), "", "the lane has not run");
    hand.go();
    assert_eq!(
        recorder.take(),
        "write 0.seg, sync 0.seg, write vote.tmp, sync vote.tmp, rename vote, sync raft, write 0.seg, sync 0.seg"
    );
    receiver.now_or_never().unwrap().unwrap().unwrap();
    saved.now_or_never().unwrap().unwrap();
}

#[test]
fn all_that_is_queued_shares_one_sync() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    push(&mut log, entries(1, 1..=1));
    push(&mut log, entries(1, 2..=3));
    log.save_committed(Some(log_id(1, 1))).now_or_never().unwrap().unwrap();
    push(&mut log, entries(1, 4..=4));
    hand.go();
    assert_eq!(recorder.take(), "write 0.seg, sync 0.seg");
}

#[test]
fn what_is_held_goes_together() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    log.hold(MUCH);
    push(&mut log, entries(1, 1..=1));
    log.save_committed(Some(log_id(1, 0))).now_or_never().unwrap().unwrap();
    push(&mut log, entries(1, 2..=2));
    hand.go();
    assert_eq!(recorder.take(), "");
    log.release();
    push(&mut log, entries(1, 3..=3));
    hand.go();
    assert_eq!(recorder.take(), "write 0.seg, sync 0.seg");
    push(&mut log, entries(1, 4..=4));
    hand.go();
    assert_eq!(recorder.take(), "write 0.seg, sync 0.seg", "it is released");
    log.release();
    assert!(hand.0.lock().unwrap().is_empty(), "nothing waits");
    log.hold(MUCH);
    push(&mut log, entries(1, 5..=5));
    log.hold(MUCH - 1);
    hand.go();
    assert!(recorder.take().ends_with("sync 5.seg"), "little is applied soon");
}

#[test]
fn votes_and_much_are_not_held() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    log.hold(MUCH);
    push(&mut log, entries(1, 1..=1));
    let (vote, mut other) = (Vote::new(2, "b".into()), log.clone());
    let mut saved = Box::pin(other.save_vote(&vote));
    assert!(saved.as_mut().now_or_never().is_none());
    hand.go();
    saved.now_or_never().unwrap().unwrap();
    let vote = "write vote.tmp, sync vote.tmp, rename vote, sync raft";
    assert_eq!(recorder.take(), format!("write 0.seg, sync 0.seg, {vote}"));

    let large = Entry { log_id: log_id(2, 3), payload: EntryPayload::Normal(Payload(Bytes::from(vec![7; 256 << 10]))) };
    push(&mut log, entries(2, 2..=2));
    hand.go();
    assert_eq!(recorder.take(), "");
    push(&mut log, vec![large]);
    hand.go();
    assert!(recorder.take().ends_with("sync 3.seg"));
}

#[test]
fn a_commit_index_alone_is_not_synced() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    log.save_committed(Some(log_id(1, 0))).now_or_never().unwrap().unwrap();
    hand.go();
    assert_eq!(recorder.take(), "write 0.seg");
    log.save_committed(Some(log_id(1, 0))).now_or_never().unwrap().unwrap();
    hand.go();
    assert_eq!(recorder.take(), "", "the same again");
}

#[test]
fn entries_are_readable_before_they_are_on_the_disk() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    push(&mut log, entries(1, 1..=9));
    assert_eq!(log.try_get_log_entries(1..=9).now_or_never().unwrap().unwrap(), entries(1, 1..=9));
    assert_eq!(recorder.take(), "");
    hand.go();
    assert_eq!(log.try_get_log_entries(1..=9).now_or_never().unwrap().unwrap(), entries(1, 1..=9));
}

/// A record in the new segment counts as durable by that segment's sync alone.
#[test]
fn a_segment_is_synced_before_the_next_is_begun() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    push(&mut log, entries(1, 1..=6));
    hand.go();
    assert_eq!(
        recorder.take(),
        "write 0.seg, sync 0.seg, allocate 6.seg, write 6.seg, sync 6.seg, sync log, write 6.seg, sync 6.seg"
    );
}

#[test]
fn a_truncation_goes_from_the_highest_segment_down() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    push(&mut log, entries(1, 1..=20));
    hand.go();
    recorder.take();
    let mut cut = Box::pin(log.truncate_after(Some(log_id(1, 3))));
    assert!(cut.as_mut().now_or_never().is_none(), "not durable yet");
    hand.go();
    cut.now_or_never().unwrap().unwrap();
    let vote = "write vote.tmp, sync vote.tmp, rename vote, sync raft";
    let gone = "remove 18.seg, remove 12.seg, remove 6.seg, sync log, write 0.seg, sync 0.seg";
    assert_eq!(recorder.take(), format!("{vote}, {gone}, {vote}"));
}

#[test]
fn a_purge_goes_from_the_lowest_segment_up() {
    let Watched { home: _home, mut log, hand, recorder } = watched();
    push(&mut log, entries(1, 1..=20));
    hand.go();
    recorder.take();
    let mut purge = Box::pin(log.purge(log_id(1, 12)));
    assert!(purge.as_mut().now_or_never().is_none(), "not durable yet");
    hand.go();
    purge.now_or_never().unwrap().unwrap();
    let vote = "write vote.tmp, sync vote.tmp, rename vote, sync raft";
    assert_eq!(recorder.take(), format!("{vote}, remove 0.seg, remove 6.seg, sync log"));
}
