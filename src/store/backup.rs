//! Backups: the state at one index, under a lease.

use std::io;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::checkpoint::ReadersInTheWay;
use super::{Error, Store, checkpoint};
use crate::db::backup::{Format, Piece, Producer};
use crate::raft::machine::{Checkpoint, Leased};
use crate::world::Lane;

/// How long to wait before looking again whether a load or a long read has ended.
const RETRY: Duration = Duration::from_millis(10);

/// What a client wants.
#[derive(Clone, Debug)]
pub struct Options {
    pub format: Format,
    /// gzip, at its fastest.
    pub compress: bool,
    /// This node's own state, whatever its role.
    pub noleader: bool,
    /// How long a load that is open may take.
    pub timeout: Duration,
}

/// A backup under way. Dropping it ends the lease.
pub struct Backup {
    /// The state it holds: the log applied up to here.
    pub index: u64,
    lane: Lane<Producer>,
    store: Store,
    /// The term in which this node confirmed that it leads; `None`: it needn't.
    term: Option<u64>,
    is_done: bool,
}

impl Store {
    /// A copy of the database that holds every write acknowledged before the call, unless the client wants this
    /// node's own state.
    ///
    /// Errors: [`Error::LeaderNotFound`]; [`Error::LoadInProgress`] after the time-out.
    pub async fn backup(&self, options: Options) -> Result<Backup, Error> {
        let deadline = Instant::now() + options.timeout;
        let term = if options.noleader {
            if !self.is_ready() {
                return Err(Error::NotReady);
            }
            None
        } else {
            self.read_index(options.timeout).await?;
            Some(self.term())
        };
        let Leased { lease, index } = self.lease(deadline).await?;
        let (disk, copy) = (self.world.disk.clone(), self.temporary("backup"));
        let opener = Lane::start(&*self.world.lanes, "backup", ());
        let started =
            opener.call(move |_| Producer::start(lease, &options.format, options.compress, &disk, copy)).await;
        let producer = started.map_err(|error| Error::Backup(error.to_string()))?;
        let lane = Lane::start(&*self.world.lanes, "backup", producer);
        Ok(Backup { index: index.unwrap_or(0), lane, store: self.clone(), term, is_done: false })
    }

    async fn lease(&self, deadline: Instant) -> Result<Leased, Error> {
        let mut readers = ReadersInTheWay::default();
        loop {
            let leased = self.machine.call(|machine| machine.lease()).await;
            let refused = match leased.map_err(|fault| self.stop(fault))? {
                Ok(leased) => return Ok(leased),
                Err(refused) => refused,
            };
            if refused == Checkpoint::Leased {
                checkpoint::spool_leases(self).await;
                continue;
            }
            if refused == Checkpoint::Busy && readers.make_way(self).await {
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
        self.raft_metrics.borrow_watched().current_term
    }
}

impl Backup {
    /// The next bytes; `None` at the end. An error means that what was sent is no backup.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.is_done {
            return Ok(None);
        }
        let Piece { bytes, is_last } = self.lane.call(|producer| producer.next_piece()).await?;
        // Another leader may have acknowledged writes since: then this is not the backup that was asked for.
        let has_lost_office = self.term.is_some_and(|term| !self.store.is_leader() || self.store.term() != term);
        if is_last && has_lost_office {
            return Err(io::Error::other("leadership lost during the backup"));
        }
        self.is_done = is_last;
        Ok(Some(bytes))
    }
}
