//! What the runs of a sweep must have reached: a green run in which nothing happened shows nothing.
//!
//! A run counts, `xtask sim` adds the counts up, and a sweep of a hundred seeds or more in which one of [`ALL`] is zero
//! has failed. Source: faults.md "Assert that rare paths were reached".

use std::collections::BTreeMap;

/// Every kind of call and outcome that is counted.
pub const ALL: &[&str] = &[
    "operations: done",
    "peers.json recovery",
    "terms with a leader",
    "writes",
    "writes: queued",
    "writes: with a read",
    "writes: refused",
    "writes: unknown",
    "reads",
    "reads: of a slow client",
    "reads: client vanished",
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
    "loads: refused",
    "loads: garbage refused",
    "loads: client vanished",
    "loads: another was in progress",
    "texts",
    "texts: refused",
    "restarts",
    "stops",
];

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
        assert!(ALL.contains(&what), "{what} is not in the list");
        *self.0.entry(what).or_default() += times;
    }

    /// How often it happened.
    pub fn count(&self, what: &'static str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}
