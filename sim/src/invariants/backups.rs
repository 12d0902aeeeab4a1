//! A backup is the state at the index that its header names, and holds all that was acknowledged before it was asked.
//!
//! Source: faults.md I7, S36; design §6.

use crate::history::{Index, State};

/// A backup with content `hash` says that it is `state` at `index`; `floor` had been seen when it was asked for.
pub fn check(floor: Index, index: Index, hash: u64, state: Option<State>) -> Result<(), String> {
    if index < floor {
        return Err(format!("backups: a backup at {index}, after index {floor} was acknowledged"));
    }
    match state {
        Some(state) if state.hash == hash => Ok(()),
        state => Err(format!("backups: a backup at {index} has {hash:016x}, the state there is {state:x?}")),
    }
}

#[cfg(test)]
mod tests {
    use crate::history::History;
    use crate::invariants::tests::{applied, state, write};

    #[test]
    fn a_backup_of_another_index_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        history.backup(7, 8, state(&[first, second]).hash);
        assert_eq!(history.violation(), None);
        history.backup(7, 7, state(&[first, second]).hash);
        assert!(history.violation().unwrap().starts_with("backups: a backup at 7 has"));
    }

    #[test]
    fn a_backup_that_misses_an_acknowledged_write_is_found() {
        let mut history = History::default();
        let first = write(&mut history);
        applied(&mut history, 7, &[first]);
        history.acknowledge(first, Some(7));
        history.backup(history.floor(), 6, 0);
        assert!(history.violation().unwrap().contains("after index 7 was acknowledged"));
    }
}
