//! What the runs of a sweep must have reached: a green run in which nothing happened shows nothing.
//!
//! A run counts, `xtask sim` adds the counts up, and a sweep of two hundred seeds or more in which one of [`ALL`] is zero
//! has failed. Source: faults.md "Assert that rare paths were reached".

use std::collections::BTreeMap;

/// Every kind of call and outcome that is counted.
pub const ALL: &[&str] = &[
    "clusters",
    "calls",
    "operations: done",
    "peers.json recovery",
    "terms with a leader",
    "terms: another node leads",
    "pre-vote refused",
    "members: leader removed",
    "members: joined again with a new address",
    "members: incarnation adopted",
    "log suffix truncated",
    "log purged past a follower",
    "torn tail cut",
    "checkpoint resumed",
    "snapshots: begun",
    "snapshots: installed",
    "snapshots: installed after an attempt that was interrupted",
    "writes",
    "writes: queued",
    "writes: with a read",
    "writes: refused",
    "writes: unknown",
    "writes: redirected",
    "writes: forwarded again",
    "writes: forwarded, then unknown",
    "writes: pending when the lease expired",
    "reads",
    "reads: of a slow client",
    "reads: client vanished",
    "reads: fresh",
    "reads: stale",
    "reads: kept for a slow client",
    "backups",
    "backups: binary",
    "backups: delete",
    "backups: vacuum",
    "backups: sql",
    "backups: compressed",
    "backups: noleader",
    "backups: of a slow client",
    "backups: client vanished",
    "backups: kept for a slow client",
    "loads",
    "boots",
    "loads: unknown",
    "loads: begun",
    "loads: commit proposed",
    "loads: refused",
    "loads: aborted",
    "loads: committed under a new leader",
    "loads: garbage refused",
    "loads: client vanished",
    "loads: another was in progress",
    "texts",
    "texts: refused",
    "restarts",
    "stops",
    "stops: disk full, and applied again",
];

/// What only a scenario reaches: it takes what no operator should do.
pub const SCENARIOS: &[&str] = &["members: kept out", "members: refused"];

/// The counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    /// It happened once more.
    pub fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// It happened so many times more.
    pub fn add(&mut self, what: &'static str, times: u64) {
        assert!(ALL.contains(&what) || SCENARIOS.contains(&what), "{what} is not in the list");
        *self.0.entry(what).or_default() += times;
    }

    /// How often it happened.
    pub fn count(&self, what: &'static str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}
