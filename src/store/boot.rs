//! Booting: the whole database of a single node replaced beside the log (design §7, hazard H12).
//!
//! No byte of the file goes through Raft: an entry names it, and the node that received it swaps it in. In return the
//! log up to this entry is no history of the database any more: it is void from the very replacement of `db.state` that
//! is the swap, and purged before the boot is answered, so that a node that joins later gets a snapshot and never the
//! old entries.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::load::{HEADER, Kindred, kindred, refusal};
use super::{Error, Proposed, Store};
use crate::command::{Boot, Kind, Limits, LoadContent};
use crate::db::check;
use crate::db::temporary::TemporaryFile;
use crate::raft::load::Spool;
use crate::raft::machine::{Refusal, Response};
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
        // Known better when the entry is applied; this spares the upload.
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

        let spool = self.world.entropy.next_u64();
        self.machine.call(move |machine| machine.add_spool(Spool { id: spool, file })).await;
        let _history = self.history.lock().await;
        let boot = Kind::Boot(Boot { spool, incarnation: self.draw_id() });
        let index = match self.propose(boot, Limits::default()).await {
            Ok(Proposed { index, response: Response::Done }) => index,
            Ok(Proposed { response: Response::Refused(Refusal::LoadInProgress), .. }) => {
                return Err(Error::LoadAlreadyInProgress);
            }
            Ok(Proposed { response: Response::Refused(Refusal::NotSingleNode), .. }) => {
                return Err(Error::NotSingleNode);
            }
            Ok(Proposed { response, .. }) => return Err(Error::LoadUnknown(refusal(&response))),
            Err(error) => return Err(self.forget_spool(spool, error).await),
        };
        tracing::info!(index, "database booted");
        self.readers.close_stale();
        self.purge_void(index).await.map_err(Error::LoadUnknown)
    }

    /// Purges all of the log up to `void`; a start would do it too.
    async fn purge_void(&self, void: u64) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| format!("booted, but the old log isn't purged: {error}");
        let wait = || self.raft.wait(Some(PURGE_TIMEOUT));
        let reaches = move |id: &Option<LogId>| id.as_ref().is_some_and(|id| id.index >= void);
        self.raft.trigger().snapshot().await.map_err(|error| text(&error))?;
        let noted = wait().metrics(move |metrics| reaches(&metrics.snapshot), "the boot is a snapshot").await;
        noted.map_err(|error| text(&error))?;
        self.raft.trigger().purge_log(void).await.map_err(|error| text(&error))?;
        let purged = wait().metrics(move |metrics| reaches(&metrics.purged), "the log before the boot is gone").await;
        purged.map(|_| ()).map_err(|error| text(&error))
    }
}
