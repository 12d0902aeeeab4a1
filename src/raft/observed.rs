//! What /status tells of applying entries. It can be read while the writer's lane is busy.

use std::time::Duration;

use super::types::LogId;

/// As of the last applied entry. Not part of the replicated state: times are this node's.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The last entry that held a command; after a start, the checkpoint.
    pub last_command: Option<LogId>,
    /// When it was applied here, since 1970.
    pub applied_at: Option<Duration>,
    /// When it was proposed, since 1970.
    pub proposed_at: Option<Duration>,
    /// The last entry that changed the database.
    pub last_change: Option<LogId>,
    pub foreign_keys: bool,
    pub cluster_id: String,
    /// Of the engine that the cluster agreed on.
    pub engine: String,
}
