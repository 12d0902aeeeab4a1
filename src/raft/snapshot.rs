//! Snapshots between nodes: the main file of the last checkpoint, under a lease.
//!
//! ```text
//!  Source: lease ─► InstallSnapshot ──────────────────────────────► Receiver: wanted?
//!          read a chunk on a lane ─► chunk, chunk, … end(CRC32C) ─►   tmp/, verified, durable, in WAL mode
//!                                 ◄── working, working, … ◄            install_full_snapshot ⇒ machine: next generation
//! ```
//!
//! Memory: a few chunks on either side. A slow receiver holds up nobody: when the sender checkpoints, what is unread is
//! spooled (`db::lease`). Until the swap, which is one replacement of db.state, the receiver keeps what it has.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::join;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use prost::Message;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::Raft;
use super::applied::Applied;
use super::machine::Machine;
use super::network::open;
use super::rpc::{Answer, Request};
use super::types::{LogId, NodeId, TypeConfig, Vote, proto};
use crate::db::check;
use crate::db::database::Paths;
use crate::db::lease::Lease;
use crate::db::temporary::TemporaryFile;
use crate::peer::connection::Received as Part;
use crate::peer::{self, Connection};
use crate::world::disk::FREE_MIN;
use crate::world::{File, Lane, Open, World};

/// Bytes of a chunk.
const CHUNK: usize = 1 << 20;

/// Chunks that have come and are not written yet: the network and the disk take turns at being slower.
const AHEAD: usize = 4;

/// So many bytes are made durable while the next ones come: at the end the last of them are left to wait for.
const SYNC_EVERY: u64 = 32 << 20;

/// The longest that a transfer stands still before it is given up.
const IDLE: Duration = Duration::from_secs(10);

/// Between two looks whether a checkpoint has ended.
const RETRY: Duration = Duration::from_millis(20);

/// A snapshot as openraft hands it on.
pub enum SnapshotData {
    /// This node's last checkpoint: nothing is read before it is sent.
    Own,
    /// Received from the leader and verified.
    Received(Box<Staged>),
}

/// A verified file that is to become the database.
pub struct Staged {
    pub file: TemporaryFile,
    pub applied: Applied,
}

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Peer(#[from] peer::Error),
    #[error("reading the snapshot: {0}")]
    Read(#[from] io::Error),
    #[error("the database fails: {0}")]
    Fault(String),
    #[error("nothing was checkpointed yet")]
    Nothing,
}

/// Sends this node's snapshots. Cloning is cheap.
#[derive(Clone)]
pub struct Source {
    pub world: World,
    pub machine: Lane<Machine>,
    pub outgoing: Outgoing,
}

/// The snapshots under way: the log behind them is not purged, or the receiver would need the next one at once (S56).
#[derive(Clone, Default)]
pub struct Outgoing(Arc<Mutex<Vec<(u64, u64)>>>, Arc<AtomicU64>);

/// While it lives, the log behind the snapshot stays.
struct Hold {
    outgoing: Outgoing,
    number: u64,
}

impl Outgoing {
    /// The index of the oldest snapshot under way.
    pub fn oldest(&self) -> Option<u64> {
        self.0.lock().expect("no panic holds this lock").iter().map(|(_, index)| *index).min()
    }

    fn hold(&self, index: u64) -> Hold {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().expect("no panic holds this lock").push((number, index));
        Hold { outgoing: self.clone(), number }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.outgoing.0.lock().expect("no panic holds this lock").retain(|(number, _)| *number != self.number);
    }
}

impl Source {
    /// Sends the last checkpoint to `target`, where openraft believes it to be at `known`, and waits until it is
    /// installed there.
    pub async fn send(
        &self,
        client: &peer::Client,
        target: &NodeId,
        address: &str,
        vote: Vote,
        known: Option<LogId>,
    ) -> Result<SnapshotResponse<TypeConfig>, SendError> {
        let _hold = self.outgoing.hold(known.map_or(0, |id| id.index));
        let (lease, applied) = self.lease().await?;
        let index = applied.last_applied.ok_or(SendError::Nothing)?.index;
        let mut connection = open(client, target, address, IDLE).await?;
        let size = lease.size;
        let request =
            proto::InstallSnapshot { vote: Some((&vote).into()), applied: Some(Box::new((&applied).into())), size };
        let request = proto::Request { kind: Some(Request::Snapshot(request)) };
        connection.request(request.encode_to_vec().into()).await?;
        let answer = answer(&mut connection).await?;
        if !answer.wanted {
            return response(&answer);
        }
        tracing::info!(%target, index, size, "sending a snapshot");
        let lane = Lane::start(&*self.world.lanes, "snapshot-send", (lease, 0));
        let read = || {
            lane.call(|(lease, crc32c)| {
                let bytes = lease.read(CHUNK)?;
                *crc32c = crc32c::crc32c_append(*crc32c, &bytes);
                Ok::<_, io::Error>((bytes, *crc32c))
            })
        };
        let (mut bytes, mut crc32c) = read().await?;
        while !bytes.is_empty() {
            let sent = async {
                connection.chunk(bytes.into()).await?;
                connection.flush().await
            };
            // The next one is read meanwhile.
            let (next, sent) = join!(read(), timeout(IDLE, sent));
            sent.map_err(|_| peer::Error::Timeout)??;
            (bytes, crc32c) = next?;
        }
        timeout(IDLE, connection.end(crc32c)).await.map_err(|_| peer::Error::Timeout)??;
        let answer = self::answer(&mut connection).await?;
        tracing::info!(%target, index, size, "snapshot sent");
        response(&answer)
    }

    /// The last checkpoint; it isn't there only while the next one is made.
    async fn lease(&self) -> Result<(Arc<Lease>, Applied), SendError> {
        loop {
            let leased = self.machine.call(|machine| machine.lease_clean()).await;
            match leased.map_err(|fault| SendError::Fault(fault.0))? {
                Some(leased) => return Ok(leased),
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

async fn answer(connection: &mut Connection) -> Result<proto::SnapshotAnswer, SendError> {
    match connection.answer(IDLE).await? {
        Part::Message(bytes) => match proto::Answer::decode(bytes).ok().and_then(|answer| answer.kind) {
            Some(Answer::Snapshot(answer)) => Ok(answer),
            _ => Err(peer::Error::Protocol("an answer to something else").into()),
        },
        Part::Chunk(_) | Part::End(_) => Err(peer::Error::Protocol("a stream where an answer should be").into()),
    }
}

fn response(answer: &proto::SnapshotAnswer) -> Result<SnapshotResponse<TypeConfig>, SendError> {
    let vote = answer.vote.as_ref().ok_or(peer::Error::Protocol("an answer without a vote"))?;
    Ok(SnapshotResponse::new(vote.into()))
}

/// Takes snapshots from the leader.
pub struct Receiver {
    pub world: World,
    pub paths: Paths,
    pub raft: Raft,
    /// One at a time.
    pub permit: Semaphore,
}

/// The file on its way to `tmp/`.
struct Incoming {
    file: Arc<dyn File>,
    length: u64,
    crc32c: u32,
}

impl Receiver {
    /// Answers the request on `connection`: takes the file, and installs it. An error in the text is the sender's to
    /// see; nothing has changed then.
    pub async fn receive(
        &self,
        connection: &mut Connection,
        request: proto::InstallSnapshot,
    ) -> Result<Result<Bytes, String>, peer::Error> {
        let Some(vote) = request.vote.as_ref().map(Vote::from) else {
            return Err(peer::Error::Protocol("a snapshot without a vote"));
        };
        let applied = match (*request.applied.unwrap_or_default()).try_into() {
            Ok(Applied { last_applied: None, .. }) => return Ok(Err("the snapshot says of nothing what it is".into())),
            Ok(applied) => applied,
            Err(error) => return Ok(Err(format!("the snapshot's state: {error}"))),
        };
        let Applied { last_applied, membership, .. } = &applied;
        let meta = SnapshotMetaOf::<TypeConfig> { last_log_id: *last_applied, last_membership: membership.clone() };

        let (ours, committed) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.vote.clone(), metrics.local_committed)
        };
        if !is_news(&vote, &ours, meta.last_log_id, committed) {
            return Ok(Ok(message(if vote < ours { &ours } else { &vote }, false)));
        }
        let Ok(_permit) = self.permit.try_acquire() else {
            return Ok(Err("another snapshot is being received".into()));
        };
        let directory = self.paths.temporary();
        match self.world.disk.free_space(&directory) {
            Ok(free) if free < request.size.saturating_add(FREE_MIN) => {
                return Ok(Err(format!("insufficient disk space: need {} bytes, {free} free", request.size)));
            }
            _ => {}
        }
        connection.reply(Ok(message(&vote, true))).await?;
        self.world.chaos.reached("snapshots: begun");

        let path = directory.join(format!("snapshot-{:016x}", self.world.entropy.next_u64()));
        let file = TemporaryFile::new(self.world.disk.clone(), path.clone());
        if let Err(error) = self.take(connection, path, request.size).await? {
            return Ok(Err(format!("receiving the snapshot: {error}")));
        }
        let installing = async {
            self.verify(file.path().to_path_buf()).await?;
            let snapshot = SnapshotData::Received(Box::new(Staged { file, applied }));
            let snapshot = SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot };
            self.raft.install_full_snapshot(vote, snapshot).await.map_err(|error| error.to_string())
        };
        let installed = connection.while_working(installing).await?;
        Ok(installed.map(|response| message(&response.vote, false)))
    }

    /// Writes the file to `path`. The inner error is this node's.
    async fn take(
        &self,
        connection: &mut Connection,
        path: PathBuf,
        size: u64,
    ) -> Result<Result<(), io::Error>, peer::Error> {
        let disk = self.world.disk.clone();
        let lane = Lane::start(&*self.world.lanes, "snapshot-receive", None::<Incoming>);
        let opened = lane.call(move |incoming| {
            let file: Arc<dyn File> = disk.open(&path, Open::CreateNew)?.into();
            *incoming = Some(Incoming { file: file.clone(), length: 0, crc32c: 0 });
            Ok(file)
        });
        let file = match opened.await {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let syncs = Lane::start(&*self.world.lanes, "snapshot-sync", file);
        // Both lanes sync the same descriptor, and it tells an error once, to either: so both are heard.
        let (mut writing, mut syncing) = (VecDeque::new(), VecDeque::new());
        let mut unsynced = 0;
        loop {
            let part = timeout(IDLE, connection.next_part()).await.map_err(|_| peer::Error::Timeout)??;
            let done = match part {
                Part::Message(_) => return Err(peer::Error::Protocol("a request inside a snapshot")),
                Part::Chunk(bytes) => {
                    unsynced += bytes.len() as u64;
                    let write = move |incoming: &mut Option<Incoming>| {
                        incoming.as_mut().expect("opened above").write(&bytes, size)
                    };
                    writing.push_back(lane.begin(write));
                    at_most(AHEAD, &mut writing).await
                }
                Part::End(crc32c) => {
                    let end =
                        move |incoming: &mut Option<Incoming>| incoming.take().expect("opened above").end(size, crc32c);
                    writing.push_back(lane.begin(end));
                    let ended = async { at_most(0, &mut writing).await.and(at_most(0, &mut syncing).await) };
                    return connection.while_working(ended).await;
                }
            };
            if let Err(error) = done {
                return Ok(Err(error));
            }
            if unsynced >= SYNC_EVERY {
                // One at a time: a disk that is slower than the network holds it up.
                if let Err(error) = at_most(0, &mut syncing).await {
                    return Ok(Err(error));
                }
                syncing.push_back(syncs.begin(|file| file.sync()));
                unsynced = 0;
            }
        }
    }

    /// Makes the file one that can become the database, durably. It is the leader's to the byte by now.
    async fn verify(&self, path: PathBuf) -> Result<(), String> {
        let disk = self.world.disk.clone();
        let lane = Lane::start(&*self.world.lanes, "snapshot-verify", ());
        let prepared = lane.call(move |()| check::prepare(&*disk, &path));
        prepared.await.map_err(|error| format!("preparing the snapshot: {error}"))
    }
}

/// Waits until no more than `count` of the jobs of a lane are left; the first error of those that are done.
async fn at_most(count: usize, jobs: &mut VecDeque<oneshot::Receiver<io::Result<()>>>) -> io::Result<()> {
    while jobs.len() > count {
        let result = jobs.pop_front().expect("there are more");
        result.await.expect("a lane's job panicked")?;
    }
    Ok(())
}

impl Incoming {
    fn write(&mut self, bytes: &[u8], size: u64) -> io::Result<()> {
        if self.length + bytes.len() as u64 > size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than was said"));
        }
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        Ok(())
    }

    fn end(self, size: u64, crc32c: u32) -> io::Result<()> {
        if self.length != size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is shorter than was said"));
        }
        if self.crc32c != crc32c {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"));
        }
        self.file.sync()
    }
}

/// Whether a snapshot at `last` holds anything that a node with `committed` hasn't: an older one is never installed.
fn is_news(vote: &Vote, ours: &Vote, last: Option<LogId>, committed: Option<LogId>) -> bool {
    vote >= ours && last > committed
}

fn message(vote: &Vote, wanted: bool) -> Bytes {
    let answer = proto::SnapshotAnswer { vote: Some(vote.into()), wanted };
    proto::Answer { kind: Some(Answer::Snapshot(answer)) }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::log_id;
    use crate::world::os;

    #[test]
    fn a_snapshot_of_an_older_leader_or_an_older_state_is_refused() {
        let vote = |term| Vote::new_committed(term, NodeId::from("a"));
        let id = |index| Some(log_id(2, index));
        assert!(is_news(&vote(3), &vote(3), id(8), id(7)));
        assert!(is_news(&vote(3), &vote(2), id(8), None));
        assert!(!is_news(&vote(2), &vote(3), id(8), id(7)), "its leader was deposed");
        assert!(!is_news(&vote(3), &vote(3), id(7), id(7)));
        assert!(!is_news(&vote(3), &vote(3), id(6), id(7)), "it would lead back");
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn s51_only_the_whole_file_with_its_checksum_is_taken() {
        let bytes = b"SQLite format 3 and so on".repeat(100);
        let (size, crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        check(&bytes, size, crc32c, "");
        check(&bytes, size + 1, crc32c, "it is shorter than was said");
        check(&bytes, size - 1, crc32c, "it is longer than was said");
        check(&[], size, 0, "it is shorter than was said");
        check(&bytes, size, !crc32c, "its checksum is wrong");

        #[track_caller]
        fn check(bytes: &[u8], size: u64, crc32c: u32, want: &str) {
            let directory = tempfile::tempdir().unwrap();
            let file = os::world().disk.open(&directory.path().join("snapshot"), Open::CreateNew).unwrap();
            let mut incoming = Incoming { file: file.into(), length: 0, crc32c: 0 };
            let taken = bytes.chunks(1000).try_for_each(|chunk| incoming.write(chunk, size));
            let taken = taken.and_then(|()| incoming.end(size, crc32c));
            assert_eq!(taken.err().map_or(String::new(), |error| error.to_string()), want);
        }
    }

    #[test]
    fn the_oldest_snapshot_under_way_holds_the_log() {
        let outgoing = Outgoing::default();
        assert_eq!(outgoing.oldest(), None);
        let first = outgoing.hold(7);
        let second = outgoing.hold(5);
        let third = outgoing.hold(5);
        assert_eq!(outgoing.oldest(), Some(5));
        drop(second);
        assert_eq!(outgoing.oldest(), Some(5));
        drop(third);
        assert_eq!(outgoing.oldest(), Some(7));
        drop(first);
        assert_eq!(outgoing.oldest(), None);
    }
}
