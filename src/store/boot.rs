//! Booting: the whole database of a single node replaced beside the log (design §7, hazard H12).
//!
//! No byte of the file goes through Raft. In return the log up to the swap is no history of the database any more: it
//! is void from the very replacement of `db.state` that is the swap, and purged before the boot is answered, so that
//! a node that joins later gets a snapshot and never the old entries.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::load::{HEADER, Kindred, kindred};
use super::{Error, Store};
use crate::command::{Barrier, Kind, Limits, LoadContent};
use crate::db::check;
use crate::db::temporary::TemporaryFile;
use crate::raft::machine::Refusal;
use crate::raft::types::LogId;
use crate::world::Lane;

/// How long openraft may take to note a checkpoint, and to purge.
const PURGE_TIMEOUT: Duration = Duration::from_secs(60);

impl Store {
    /// Replaces the database by the file in `body`; `announced` is its length, if known.
    ///
    /// Errors: [`Error::TooShort`], [`Error::NotSqlite`], [`Error::InvalidData`], [`Error::NotLeader`],
    ///         [`Error::NotSingleNode`], in this order, with nothing changed.
    pub async fn boot<S, E>(&self, mut body: S, announced: Option<u64>) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: Send,
    {
        let mut head = Vec::new();
        while head.len() < HEADER {
            match body.next().await {
                Some(bytes) => head.extend_from_slice(&bytes.map_err(|_| Error::ClientGone)?),
                None => return Err(Error::TooShort),
            }
        }
        if kindred(&head) == Kindred::Text {
            return Err(Error::NotSqlite);
        }
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        if self.raft.with_raft_state(|state| state.membership_state.effective().nodes().count()).await.ok() != Some(1) {
            return Err(Error::NotSingleNode);
        }
        let path = self.temporary("boot");
        let file = TemporaryFile::new(self.world.disk.clone(), path.clone());
        let body = stream::iter([Ok(Bytes::from(head))]).chain(body);
        let received = self.receive(body, announced, path.clone()).await?.expect("its header has come");
        assert_eq!(received.content, LoadContent::Database, "anything else was refused above");
        self.check(&path).await?;

        let store = self.clone();
        // From here the boot ends by itself, whether or not the client still waits.
        let task = crate::world::spawn(async move { store.swap(file).await });
        task.await.map_err(|_| Error::LoadUnknown("the node is stopping".into()))?
    }

    async fn swap(&self, file: TemporaryFile) -> Result<(), Error> {
        let lane = Lane::start(&*self.world.lanes, "boot", ());
        let (disk, path) = (self.world.disk.clone(), file.path().to_path_buf());
        let prepared = lane.call(move |_| check::prepare(&*disk, &path)).await;
        prepared.map_err(|error| Error::Raft(format!("staging the boot: {error}")))?;
        // An entry of its own: no index stands for two states of the database.
        self.propose(Kind::Barrier(Barrier {}), Limits::default()).await?;
        let (incarnation, path) = (self.draw_id(), file.path().to_path_buf());
        let booted = self.machine.call(move |machine| machine.boot(&path, incarnation)).await;
        let void = match booted.map_err(|fault| self.stop(fault))? {
            Ok(void) => void,
            Err(Refusal::LoadInProgress) => return Err(Error::LoadAlreadyInProgress),
            Err(refusal) => return Err(Error::Raft(refusal.to_string())),
        };
        tracing::info!(index = void.index, "database booted");
        self.readers.close_stale();
        self.purge_void(void).await.map_err(Error::LoadUnknown)
    }

    /// Purges all of the log up to `void`; a start would do it too.
    async fn purge_void(&self, void: LogId) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| format!("booted, but the old log isn't purged: {error}");
        let wait = || self.raft.wait(Some(PURGE_TIMEOUT));
        self.raft.trigger().snapshot().await.map_err(|error| text(&error))?;
        let noted = wait().metrics(|metrics| metrics.snapshot >= Some(void), "the boot is a snapshot").await;
        noted.map_err(|error| text(&error))?;
        self.raft.trigger().purge_log(void.index).await.map_err(|error| text(&error))?;
        let purged = wait().metrics(|metrics| metrics.purged >= Some(void), "the log before the boot is gone").await;
        purged.map(|_| ()).map_err(|error| text(&error))
    }
}
