//! Reads of a node's own state that may be only so old.
//!
//! Source: http-data.md §11; rqlite `store/store.go` `isStaleRead`.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::Store;

/// What a client wants: `freshness`, and `freshness_strict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub most: Duration,
    pub is_strict: bool,
}

/// What a node that doesn't lead knows of its own age.
#[derive(Clone, Copy, Debug, Default)]
pub struct Age {
    /// Since it heard of its leader; `None`: never.
    pub silent: Option<Duration>,
    /// More is committed than it has applied, as far as it knows.
    pub is_behind: bool,
    /// When the last entry was proposed, by the leader's clock, and applied, by this node's; since 1970.
    pub proposed_at: Option<Duration>,
    pub applied_at: Option<Duration>,
}

impl Age {
    /// Whether a read would be older than the client wants.
    pub fn is_stale(&self, freshness: Freshness) -> bool {
        if self.silent.is_none_or(|silent| silent > freshness.most) {
            return true;
        }
        match (freshness.is_strict && self.is_behind, self.proposed_at, self.applied_at) {
            (true, Some(proposed), Some(applied)) => applied.saturating_sub(proposed) > freshness.most,
            _ => false,
        }
    }
}

impl Store {
    /// Whether this node's own state is older than the client wants. The leader's never is.
    pub fn is_stale(&self, freshness: Freshness) -> bool {
        if freshness.most.is_zero() || self.is_leader() {
            return false;
        }
        let is_behind = {
            let metrics = self.raft_metrics.borrow_watched();
            metrics.last_applied < metrics.cluster_committed
        };
        let observed = self.observed.lock().expect("no panic holds this lock").clone();
        let (proposed_at, applied_at) = (observed.proposed_at, observed.applied_at);
        Age { silent: self.contact.age(), is_behind, proposed_at, applied_at }.is_stale(freshness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_as_fresh_as_was_asked_for() {
        let ms = Duration::from_millis;
        let near = Age { silent: Some(ms(50)), ..Age::default() };
        let behind = Age { is_behind: true, proposed_at: Some(ms(1_000)), applied_at: Some(ms(1_300)), ..near };
        check(Age::default(), 1_000_000, false, true);
        check(near, 100, false, false);
        check(near, 50, false, false);
        check(near, 49, false, true);
        check(near, 100, true, false);
        check(behind, 100, false, false);
        check(behind, 100, true, true);
        check(behind, 300, true, false);
        check(Age { is_behind: false, ..behind }, 100, true, false);
        // A clock that is behind the leader's.
        check(Age { applied_at: Some(ms(900)), ..behind }, 100, true, false);

        #[track_caller]
        fn check(age: Age, most_ms: u64, is_strict: bool, want: bool) {
            let freshness = Freshness { most: Duration::from_millis(most_ms), is_strict };
            assert_eq!(age.is_stale(freshness), want, "{age:?} {freshness:?}");
        }
    }
}
