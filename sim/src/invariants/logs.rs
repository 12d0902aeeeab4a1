//! Entries with the same index and term are the same, and so is everything before them.
//!
//! The second follows if each of them names the same term of the entry before it.
//!
//! Source: Ongaro, "Consensus: bridging theory and practice", figure 3.2, Log Matching; faults.md S55.

use std::collections::BTreeMap;

use crate::history::Index;

/// One entry of a log, and what comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub index: Index,
    pub term: u64,
    /// Of the entry before; `None`: it is the first.
    pub previous_term: Option<u64>,
    /// Hash of the payload.
    pub payload: u64,
}

/// All entries so far.
pub type Entries = BTreeMap<(Index, u64), Appended>;

/// `node` has appended `entry` to its log.
pub fn check(node: &str, entry: Appended, entries: &mut Entries) -> Result<(), String> {
    match entries.insert((entry.index, entry.term), entry) {
        Some(known) if known != entry => Err(format!("logs: {node} has {entry:x?}, elsewhere it is {known:x?}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_do_not_match_are_found() {
        let entry = Appended { index: 5, term: 2, previous_term: Some(1), payload: 7 };
        let mut entries = Entries::new();
        assert!(check("a", entry, &mut entries).is_ok());
        assert!(check("b", entry, &mut entries).is_ok());
        assert!(check("b", Appended { term: 3, payload: 8, ..entry }, &mut entries).is_ok());
        assert!(check("b", Appended { payload: 8, ..entry }, &mut entries.clone()).is_err());
        assert!(check("b", Appended { previous_term: Some(2), ..entry }, &mut entries).is_err());
    }
}
