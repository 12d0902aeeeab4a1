//! Reads, at the level that was asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use super::execute::check_pragmas;
use super::{Error, Store};
use crate::command::Statement;
use crate::db::query::QueryOptions;
use crate::db::readers::Reading;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// This node's state, whatever it is.
    None,
    /// The leader's, by its own belief.
    #[default]
    Weak,
    /// Everything acknowledged before the request, confirmed by a quorum.
    Linearizable,
    /// Like linearizable, by an entry in the log.
    Strong,
    /// Weak on voters, none on non-voters.
    Auto,
}

/// A read.
#[derive(Clone, Debug)]
pub struct Query {
    pub statements: Vec<Statement>,
    pub level: Level,
    /// All statements see one state.
    pub transaction: bool,
    pub db_timeout: Option<Duration>,
    pub linearizable_timeout: Duration,
}

impl Store {
    /// Starts a read; its rows are taken from the [`Reading`]. Also the index of its entry, if it has one.
    pub async fn query(&self, query: Query) -> Result<(Reading, Option<u64>), Error> {
        check_pragmas(&query.statements)?;
        let deadline = query.db_timeout.map(|timeout| Instant::now() + timeout);
        let index = self.reach(query.level, query.linearizable_timeout).await?;
        let metrics = self.metrics.clone();
        let options = QueryOptions { transaction: query.transaction, deadline, foreign_keys: false, metrics };
        let reading = self.readers.open(query.statements, options).await.ok_or(Error::TooBusy)?;
        Ok((reading, index))
    }

    /// Waits until this node may answer at `level`.
    async fn reach(&self, level: Level, timeout: Duration) -> Result<Option<u64>, Error> {
        if !self.is_ready() {
            return Err(Error::NotReady);
        }
        match level {
            Level::None => Ok(None),
            Level::Auto if !self.is_voter() => Ok(None),
            Level::Weak | Level::Auto if self.is_in_office() => Ok(None),
            // A leader that has just been elected, or hands over, asks the others.
            Level::Weak | Level::Auto => self.read_index(timeout).await.map(|()| None),
            Level::Linearizable => self.read_index(timeout).await.map(|()| None),
            Level::Strong => {
                let index = self.barrier().await?;
                let term = self.raft_metrics.borrow_watched().current_term;
                self.strong_read_term.store(term, Ordering::Relaxed);
                Ok(Some(index))
            }
        }
    }
}
