//! What can keep the store from doing what it was asked.

use crate::raft::machine::StartError;

/// Texts that clients see are rqlite's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not applied what it had before it was restarted.
    #[error("store not ready")]
    NotReady,
    #[error("leader not found")]
    LeaderNotFound,
    /// Nobody leads any more, for all this node knows: the outcome is unknown.
    #[error("leader not found")]
    QuorumLost,
    /// The outcome is unknown.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// A queue or pool is full.
    #[error("too busy")]
    TooBusy,
    #[error("disallowed pragma")]
    DisallowedPragma,
    /// Refused before the disk is full, so that what must be written still can be.
    #[error("insufficient disk space")]
    DiskLow,
    #[error("load in progress")]
    LoadInProgress,
    #[error("load already in progress")]
    LoadAlreadyInProgress,
    #[error("invalid SQLite data: {0}")]
    InvalidData(String),
    #[error("insufficient disk space: need {need} bytes, {free} free")]
    DiskSpace { need: u64, free: u64 },
    /// A boot of too few bytes for a header.
    #[error("EOF")]
    TooShort,
    #[error("invalid SQLite data")]
    NotSqlite,
    #[error("not leader")]
    NotLeader,
    #[error("not single-node")]
    NotSingleNode,
    /// A load that was meant for an empty database.
    #[error("database was changed during the load")]
    Changed,
    #[error("load outcome unknown: {0}")]
    LoadUnknown(String),
    /// The client went away while its load was received.
    #[error("client gone")]
    ClientGone,
    #[error("backup: {0}")]
    Backup(String),
    /// Reading failed below SQLite's statements.
    #[error("{0}")]
    Sql(#[from] crate::db::SqlError),
    /// The node is stopping, and says why elsewhere.
    #[error("{0}")]
    Stopped(String),
    #[error("{0}")]
    Raft(String),
    #[error("raft log: {0}")]
    Log(#[from] crate::raft::log::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Recovery(#[from] super::recovery::Error),
    #[error("{what}")]
    Incomplete { what: String },
}

impl Error {
    /// A write that failed so certainly wasn't proposed, and may be tried again (hazard H14).
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::LeaderNotFound | Self::NotReady | Self::TooBusy | Self::DiskLow)
    }
}
