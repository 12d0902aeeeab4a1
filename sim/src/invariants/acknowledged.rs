//! Every acknowledged write is there.
//!
//! Source: faults.md I1, I6; rqlite's promise of a 200.

use std::collections::BTreeMap;

use crate::history::{History, Index, OpId, Outcome, Work};

/// At the acknowledgement: it was applied, and at the index that the answer names. Returns that index.
pub fn check(id: OpId, told: Option<Index>, applied: Option<Index>) -> Result<Index, String> {
    match (told, applied) {
        (_, None) => Err(format!("acknowledged: operation {id} was acknowledged but never applied")),
        (Some(told), Some(applied)) if told != applied => {
            Err(format!("acknowledged: operation {id} was applied at {applied}, the answer says {told}"))
        }
        (_, Some(applied)) => Ok(applied),
    }
}

/// At the end: `ops`, as read back, has every acknowledged operation that no later load replaced.
pub fn check_end(history: &History, ops: &[OpId]) -> Result<(), String> {
    let index_of: BTreeMap<OpId, Index> = history.in_order().iter().map(|(index, op)| (*op, *index)).collect();
    let is_load = |op: &OpId| matches!(history.operations()[op].work, Work::Load { .. });
    let last_load = history.in_order().iter().filter(|(_, op)| is_load(op)).map(|(index, _)| *index).max();
    for (id, operation) in history.operations() {
        let is_replaced = index_of.get(id).is_some_and(|index| Some(*index) < last_load);
        if operation.outcome == Outcome::Acknowledged && !is_replaced && !ops.contains(id) {
            return Err(format!("acknowledged: operation {id} was acknowledged and is gone"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::{applied, write};

    #[test]
    fn an_acknowledged_write_that_was_not_applied_is_found() {
        assert!(check(1, Some(5), None).is_err());
        assert!(check(1, Some(5), Some(6)).is_err());
        assert_eq!(check(1, None, Some(6)), Ok(6));
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_found() {
        let mut history = History::default();
        let first = write(&mut history);
        let second = write(&mut history);
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        history.acknowledge(first, Some(7));
        assert!(check_end(&history, &[first]).is_ok(), "the second is unknown");
        assert!(check_end(&history, &[second]).is_err());
    }
}
