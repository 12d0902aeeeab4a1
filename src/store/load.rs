//! Loading a database file: spooled, checked, then through the log (design §7).
//!
//! Nothing is proposed before the file is known to be good, and nothing is committed before it is known that it can
//! be staged. What a refused load answers: `spec/backup-restore.md` §3.3.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::errors::{ClientWriteError, RaftError};

use super::execute::check_pragma;
use super::{Error, Proposed, Store, checkpoint, write_error};
use crate::command::{Command, Kind, Limits, LoadAbort, LoadBegin, LoadChunk, LoadCommit, LoadContent};
use crate::db::check::{self, Unfit};
use crate::db::execute::Executed;
use crate::db::load_text::{self, Context};
use crate::db::temporary::TemporaryFile;
use crate::db::value::StatementResult;
use crate::raft::load::Spool;
use crate::raft::machine::{Refusal, Response};
use crate::raft::types::{Payload, TypeConfig};
use crate::world::{Disk, File, Lane, Open};

/// Bytes of a chunk in the log.
const CHUNK: usize = 512 << 10;

/// SQL text that is shorter is applied by each node itself.
const BUILT_FROM: u64 = 16 << 20;

/// Bytes received between two looks at the free space.
const LOOK: u64 = 1 << 20;

/// Bytes of a body that tell what it is: SQLite's magic, or the pragma that a text begins with.
const HEAD: usize = 256;

/// Bytes without which nothing is told of a file that is booted; as the reference.
pub(super) const HEADER: usize = 32;

/// Chunks proposed at once.
const WINDOW: usize = 4;

/// What a body begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kindred {
    Database,
    Gzip,
    Text,
}

/// A body that lies in `tmp/`.
pub(super) struct Received {
    length: u64,
    crc32c: u32,
    pub(super) content: LoadContent,
}

/// A body on its way to `tmp/`.
struct Receiver {
    file: Box<dyn File>,
    length: u64,
    crc32c: u32,
}

impl Store {
    /// Replaces the database by the file in `body`, or applies the SQL text in it, whose answer is returned;
    /// `announced` is its length, if known. Returns when that is done on this node; an empty body changes nothing.
    pub async fn load<S, E>(&self, body: S, announced: Option<u64>) -> Result<Option<Executed>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    {
        if !self.is_leader() {
            return Err(Error::LeaderNotFound);
        }
        let path = self.temporary("upload");
        let file = TemporaryFile::new(self.world.disk.clone(), path.clone());
        let Some(received) = self.receive(body, announced, path.clone()).await? else {
            return Ok(None);
        };
        if received.content == LoadContent::Database {
            self.check(&path).await?;
        }

        let store = self.clone();
        // From here the load ends by itself, whether or not the client still waits.
        let task = crate::world::spawn(async move {
            match received.content {
                LoadContent::Database => store.replicate(file, received, None).await,
                LoadContent::Sql => store.replicate_text(file, received).await.map(Some),
            }
        });
        task.await.map_err(|_| Error::LoadUnknown("the node is stopping".into()))?
    }

    /// Whether the file at `path` can become the database.
    pub(super) async fn check(&self, path: &Path) -> Result<(), Error> {
        let (disk, path) = (self.world.disk.clone(), path.to_path_buf());
        let lane = Lane::start(&*self.world.lanes, "check", ());
        lane.call(move |_| check::check(&*disk, &path)).await.map_err(|unfit| match unfit {
            Unfit::Invalid(why) => Error::InvalidData(why),
            Unfit::Unreadable(why) => Error::Raft(format!("checking the load: {why}")),
        })
    }

    /// Writes the body to `path`. `None`: it is empty.
    pub(super) async fn receive<S, E>(
        &self,
        mut body: S,
        announced: Option<u64>,
        path: PathBuf,
    ) -> Result<Option<Received>, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    {
        // The file is written here and, in chunks, to the log.
        self.free_space.admit(announced.unwrap_or(0).saturating_mul(2))?;
        let mut looked_at = 0;
        let disk = self.world.disk.clone();
        let lane = Lane::start(&*self.world.lanes, "receive", None::<Receiver>);
        let opened = lane
            .call(move |receiver| {
                let file = disk.open(&path, Open::CreateNew)?;
                *receiver = Some(Receiver { file, length: 0, crc32c: 0 });
                Ok::<_, io::Error>(())
            })
            .await;
        opened.map_err(|error| self.spool_error(&error, 0, announced))?;

        // Held back until it can be told what they are.
        let mut head = Vec::new();
        let mut length = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|_| Error::ClientGone)?;
            length += bytes.len() as u64;
            if length - looked_at >= LOOK {
                self.free_space.admit(length)?;
                looked_at = length;
            }
            if head.len() < HEAD {
                head.extend_from_slice(&bytes[..bytes.len().min(HEAD)]);
            }
            if kindred(&head) == Kindred::Gzip {
                break;
            }
            let written = lane.call(move |receiver| receiver.as_mut().expect("opened above").write(&bytes)).await;
            written.map_err(|error| self.spool_error(&error, length, announced))?;
        }
        if head.is_empty() {
            return Ok(None);
        }
        let content = match kindred(&head) {
            Kindred::Database => LoadContent::Database,
            Kindred::Gzip => return Err(Error::InvalidData("gzip-compressed, decompress it first".into())),
            Kindred::Text => {
                check_pragma(&String::from_utf8_lossy(&head))?;
                LoadContent::Sql
            }
        };
        // Not synced: a crash ends the load, and what becomes the database is synced when it is staged.
        let Receiver { length, crc32c, .. } = lane.call(|receiver| receiver.take().expect("opened above")).await;
        Ok(Some(Received { length, crc32c, content }))
    }

    fn spool_error(&self, error: &io::Error, received: u64, announced: Option<u64>) -> Error {
        if error.kind() == io::ErrorKind::StorageFull {
            let free = self.free_space.bytes().unwrap_or(0);
            return Error::DiskSpace { need: announced.unwrap_or(received), free };
        }
        Error::Raft(format!("spooling the load: {error}"))
    }

    /// Applies SQL text: a long one that meets an empty database is made into a file here, so that the nodes only swap
    /// it in (hazard H24).
    async fn replicate_text(&self, text: TemporaryFile, received: Received) -> Result<Executed, Error> {
        let is_long = received.length >= BUILT_FROM || self.world.chaos.here("text load as a file");
        let since = match is_long {
            true => self.machine.call(|machine| machine.empty_since()).await.map_err(|fault| self.stop(fault))?,
            false => None,
        };
        if let Some(since) = since {
            let (file, built, executed) = self.build(text.path(), received.length).await?;
            if executed.results.iter().any(|result| matches!(result, StatementResult::Error(_))) {
                return Ok(executed);
            }
            match self.replicate(file, built, Some(since)).await {
                Ok(_) => return Ok(executed),
                Err(Error::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.replicate(text, received, None).await?.unwrap_or_default())
    }

    /// Makes a database file of the text at `path`.
    async fn build(&self, path: &Path, length: u64) -> Result<(TemporaryFile, Received, Executed), Error> {
        let target = self.temporary("build");
        let file = TemporaryFile::new(self.world.disk.clone(), target.clone());
        let mut seed = [0; 16];
        self.world.entropy.fill(&mut seed);
        let limits = Limits { max_bytes: self.free_space.max_bytes().unwrap_or(0), ..Limits::default() };
        let time_ms = self.world.clock.unix_now().as_millis() as u64;
        let foreign_keys = self.machine.call(|machine| machine.applied().foreign_keys).await;
        let context = Context { foreign_keys, time_ms, seed, limits };
        let (disk, path) = (self.world.disk.clone(), path.to_path_buf());
        let lane = Lane::start(&*self.world.lanes, "build", ());
        let built = lane.call(move |_| {
            let executed = load_text::build(&*disk, &path, length, &target, &context).map_err(|fault| fault.0)?;
            check::prepare(&*disk, &target).map_err(|error| error.message)?;
            let received = measure(&*disk, &target).map_err(|error| error.to_string())?;
            Ok::<_, String>((received, executed))
        });
        let (received, executed) = built.await.map_err(|why| Error::Raft(format!("building the database: {why}")))?;
        Ok((file, received, executed))
    }

    /// Sends a checked file through the log. `unchanged_since`: see [`LoadCommit`].
    async fn replicate(
        &self,
        file: TemporaryFile,
        received: Received,
        unchanged_since: Option<u64>,
    ) -> Result<Option<Executed>, Error> {
        let Received { length: size, crc32c, content } = received;
        let id = self.world.entropy.next_u64();
        let path = file.path().to_path_buf();
        self.machine.call(move |machine| machine.add_spool(Spool { id, file })).await;
        let begin = Kind::LoadBegin(LoadBegin { size, spool: id, content: content.into() });
        let begun = self.propose(begin, Limits::default()).await;
        let load_id = match begun {
            Ok(Proposed { index, response: Response::Done }) => index,
            Ok(_) => return Err(self.forget_spool(id, Error::LoadAlreadyInProgress).await),
            Err(error) => return Err(self.forget_spool(id, error).await),
        };
        if let Err(error) = self.send_chunks(load_id, path, size).await {
            return Err(self.abort(load_id, error).await);
        }
        // What can fail on this node fails before the commit.
        if let Err(why) = self.machine.call(move |machine| machine.stage(load_id)).await {
            // The file was found to be good: what stands in its way is this node's.
            return Err(self.abort(load_id, Error::Raft(why)).await);
        }
        let index = self.machine.call(|machine| machine.applied().last_applied.map_or(0, |id| id.index)).await;
        if let Err(error) = self.staged_elsewhere(load_id, index).await {
            return Err(self.abort(load_id, error).await);
        }
        let commit = Kind::LoadCommit(LoadCommit { load_id, size, crc32c, unchanged_since });
        let limits = Limits { max_bytes: self.free_space.max_bytes().unwrap_or(0), ..Limits::default() };
        self.world.chaos.reached("loads: commit proposed");
        let answer = match self.propose(commit, limits).await {
            Ok(Proposed { response: Response::Done, .. }) => None,
            Ok(Proposed { response: Response::Executed(executed), .. }) => Some(executed),
            Ok(Proposed { response: Response::Refused(Refusal::Changed), .. }) => return Err(Error::Changed),
            Ok(Proposed { response, .. }) => return Err(Error::LoadUnknown(refusal(&response))),
            Err(Error::LeaderNotFound) => return Err(Error::LeaderNotFound),
            Err(error) => return Err(Error::LoadUnknown(error.to_string())),
        };
        self.readers.close_stale();
        // So that the chunks can go.
        checkpoint::run(self, checkpoint::Purge::All).await;
        Ok(answer)
    }

    pub(super) async fn forget_spool(&self, id: u64, error: Error) -> Error {
        self.machine.call(move |machine| machine.forget_spool(id)).await;
        error
    }

    async fn send_chunks(&self, load_id: u64, path: PathBuf, size: u64) -> Result<(), Error> {
        let disk = self.world.disk.clone();
        let lane = Lane::start(&*self.world.lanes, "send", None::<Box<dyn File>>);
        let opened = lane.call(move |file| {
            *file = Some(disk.open(&path, Open::Read)?);
            Ok::<_, io::Error>(())
        });
        opened.await.map_err(|error| Error::Raft(error.to_string()))?;
        let mut offset = 0;
        while offset < size {
            let chunks = lane
                .call(move |file| read_chunks(&**file.as_ref().expect("opened above"), load_id, offset, size))
                .await
                .map_err(|error| Error::Raft(error.to_string()))?;
            offset = chunks.last().map_or(size, |chunk| chunk.offset + chunk.data.len() as u64);
            let payloads = chunks.into_iter().map(|chunk| {
                let kind = Some(Kind::LoadChunk(chunk));
                Payload::from(&Command { kind, ..Command::default() })
            });
            let sent = self.raft.client_write_many(payloads).await;
            let mut answers = sent.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
            while let Some(answer) = answers.next().await {
                let written = answer.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
                let written =
                    written.map_err(|error: ClientWriteError<TypeConfig>| write_error(RaftError::APIError(error)))?;
                if written.response != Response::Done {
                    return Err(Error::LoadUnknown(refusal(&written.response)));
                }
            }
        }
        Ok(())
    }

    /// Ends an open load. Whoever leads next does so too, if this node can't.
    async fn abort(&self, load_id: u64, error: Error) -> Error {
        let abort = Kind::LoadAbort(LoadAbort { load_id, reason: error.to_string() });
        match self.propose(abort, Limits::default()).await {
            Ok(_) => error,
            Err(Error::Stopped(why)) => Error::Stopped(why),
            Err(_) => Error::LeaderNotFound,
        }
    }
}

impl Receiver {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        Ok(())
    }
}

/// Length and checksum of a file.
fn measure(disk: &dyn Disk, path: &Path) -> io::Result<Received> {
    let file = disk.open(path, Open::Read)?;
    let (length, mut crc32c, mut offset) = (file.len()?, 0, 0);
    let mut piece = vec![0; CHUNK];
    while offset < length {
        let count = file.read_at(&mut piece, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc32c = crc32c::crc32c_append(crc32c, &piece[..count]);
        offset += count as u64;
    }
    Ok(Received { length, crc32c, content: LoadContent::Database })
}

fn read_chunks(file: &dyn File, load_id: u64, mut offset: u64, size: u64) -> io::Result<Vec<LoadChunk>> {
    let mut chunks = Vec::new();
    while offset < size && chunks.len() < WINDOW {
        let mut data = vec![0; CHUNK.min((size - offset) as usize)];
        if file.read_at(&mut data, offset)? < data.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = data.len() as u64;
        chunks.push(LoadChunk { load_id, offset, data: data.into() });
        offset += length;
    }
    Ok(chunks)
}

pub(super) fn kindred(head: &[u8]) -> Kindred {
    if head.starts_with(check::MAGIC) {
        Kindred::Database
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Kindred::Gzip
    } else {
        Kindred::Text
    }
}

pub(super) fn refusal(response: &Response) -> String {
    match response {
        Response::Refused(refusal) => refusal.to_string(),
        _ => Refusal::NoSuchLoad.to_string(),
    }
}
