//! How much of the log stays behind a checkpoint.
//!
//! A window of entries always does. The leader also keeps what followers that answer have not got yet, and what comes
//! behind a snapshot that is under way: otherwise it would be followed by another, and another (faults.md S56). What is
//! kept for them is bounded in bytes; a follower that was away long gets one snapshot.

use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::WatchReceiver;

use super::Store;

/// More log than this is kept for nobody, unless the database itself is larger: then a snapshot takes as long.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// A follower that has not answered for so long is away.
const AWAY: Duration = Duration::from_secs(30);

/// What the log looks like, and who needs it.
#[derive(Clone, Debug, Default)]
pub struct Need {
    /// The state at this index is checkpointed.
    pub checkpoint: u64,
    /// Entries that always stay, unless the log is too long for it.
    pub window: u64,
    pub log_bytes: u64,
    pub database_bytes: u64,
    /// The last entry of each follower that answers.
    pub followers: Vec<u64>,
    /// The same of those that are away: they get a snapshot.
    pub away: Vec<u64>,
    /// The oldest snapshot under way.
    pub outgoing: Option<u64>,
}

impl Need {
    /// The log is purged up to here; 0: not at all.
    pub fn purge(&self) -> u64 {
        let is_long = self.log_bytes > KEPT_BYTES_MAX;
        let upto = if is_long { self.checkpoint } else { self.checkpoint.saturating_sub(self.window) };
        if self.log_bytes > KEPT_BYTES_MAX.max(self.database_bytes) {
            return upto;
        }
        self.followers.iter().copied().chain(self.outgoing).fold(upto, u64::min)
    }
}

impl Need {
    /// Whether somebody has not got yet what is purged up to `index`.
    pub fn is_past_a_follower(&self, index: u64) -> bool {
        self.followers.iter().chain(&self.away).any(|matched| *matched < index)
    }
}

impl Store {
    /// Who needs the log behind the checkpoint at `checkpoint`, of which `window` entries stay.
    pub(super) fn need(&self, checkpoint: u64, window: u64) -> Need {
        let metrics = self.raft_metrics.borrow_watched();
        let (mut followers, mut away) = (Vec::new(), Vec::new());
        for (node, heard) in metrics.heartbeat.iter().flatten() {
            let is_away = heard.is_none_or(|heard| heard.elapsed() > AWAY);
            if node.as_str() != self.options.node_id {
                let matched = metrics.replication.as_ref().and_then(|replication| *replication.get(node)?);
                let nodes = if is_away { &mut away } else { &mut followers };
                nodes.push(matched.map_or(0, |id| id.index));
            }
        }
        Need {
            checkpoint,
            window,
            log_bytes: self.log.stats().bytes,
            // A disk that can't tell: as little as possible is kept.
            database_bytes: self.free_space.used().unwrap_or(0),
            followers,
            away,
            outgoing: self.outgoing.oldest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_log_is_kept_for_those_who_need_it() {
        let need = Need { checkpoint: 100, window: 20, ..Need::default() };
        check(need.clone(), 80);
        check(Need { window: 200, ..need.clone() }, 0);
        check(Need { window: 0, ..need.clone() }, 100);
        // Too long for the window.
        check(Need { log_bytes: 65 * MIB, ..need.clone() }, 100);
        check(Need { followers: vec![95, 60], ..need.clone() }, 60);
        check(Need { followers: vec![95, 85], ..need.clone() }, 80);
        check(Need { outgoing: Some(50), ..need.clone() }, 50);
        check(Need { outgoing: Some(50), followers: vec![0], ..need.clone() }, 0);
        // Too long for anybody.
        check(Need { outgoing: Some(50), log_bytes: 65 * MIB, ..need.clone() }, 100);
        // But a large database takes long to send.
        check(Need { outgoing: Some(50), log_bytes: 65 * MIB, database_bytes: 70 * MIB, ..need }, 50);

        #[track_caller]
        fn check(need: Need, want: u64) {
            assert_eq!(need.purge(), want, "{need:?}");
        }
    }
}
