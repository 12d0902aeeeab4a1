//! Backups: the main file at one index, under a lease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::{Error, Store, checkpoint};
use crate::db::lease::Lease;
use crate::raft::machine::{Checkpoint, Leased};
use crate::world::Lane;

/// Bytes of a chunk: what a backup holds in memory.
const CHUNK: usize = 256 << 10;

/// How long to wait before looking again whether a reader or a load has ended.
const RETRY: Duration = Duration::from_millis(10);

/// A backup under way. Dropping it ends the lease.
pub struct Backup {
    /// The state it holds: the log applied up to here.
    pub index: u64,
    /// Bytes in all.
    pub size: u64,
    lane: Lane<Arc<Lease>>,
    sent: u64,
    store: Store,
    /// The term in which this node confirmed that it leads.
    term: u64,
}

impl Store {
    /// A copy of the database that holds every write acknowledged before the call.
    ///
    /// Errors: [`Error::LeaderNotFound`]; [`Error::LoadInProgress`] after `timeout`.
    pub async fn backup(&self, timeout: Duration) -> Result<Backup, Error> {
        let deadline = Instant::now() + timeout;
        self.read_index(timeout).await?;
        let term = self.term();
        loop {
            let leased = self.machine.call(|machine| machine.lease()).await;
            let refused = match leased.map_err(|fault| self.stop(fault))? {
                Ok(Leased { lease, index }) => {
                    let (index, size) = (index.unwrap_or(0), lease.size);
                    let lane = Lane::start(&*self.world.lanes, "backup", lease);
                    return Ok(Backup { index, size, lane, sent: 0, store: self.clone(), term });
                }
                Err(refused) => refused,
            };
            if refused == Checkpoint::Leased {
                checkpoint::spool_leases(self).await;
                continue;
            }
            if Instant::now() >= deadline {
                return Err(match refused {
                    Checkpoint::LoadOpen => Error::LoadInProgress,
                    _ => Error::TooBusy,
                });
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }
}

impl Backup {
    /// The next bytes; empty at the end. An error means that what was sent is no backup.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        let chunk = self.lane.call(|lease| lease.read(CHUNK)).await?;
        self.sent += chunk.len() as u64;
        // Another leader may have acknowledged writes since: then this is not the backup that was asked for.
        let is_last = self.sent == self.size && !chunk.is_empty();
        if is_last && (!self.store.is_leader() || self.store.term() != self.term) {
            return Err(io::Error::other("leadership lost during the backup"));
        }
        Ok(chunk)
    }
}
