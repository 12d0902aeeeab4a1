//! Nothing is applied twice, nothing comes from nowhere, and the order is the log's.
//!
//! Source: faults.md I5, I6, S2, S20; hazard H1 (rows doubled by a replay onto a newer file).

use std::collections::BTreeMap;

use crate::history::{History, Index, Mark, OpId, State, Work};

/// An applied entry shows operation `op` as its last: it is new, or nothing has changed since it was.
pub fn check_applied(
    op: OpId,
    index: Index,
    mark: Mark,
    applied: &BTreeMap<Index, State>,
    index_of: &BTreeMap<OpId, Index>,
) -> Result<(), String> {
    let Some(first) = index_of.get(&op) else { return Ok(()) };
    match applied.get(first) {
        _ if index < *first => Err(format!("once: operation {op}, applied at {first}, is there at {index} already")),
        Some(then) if then.mark != mark => {
            Err(format!("once: operation {op} was applied at {first} and again by {index}: {:?}, {mark:?}", then.mark))
        }
        _ => Ok(()),
    }
}

/// At the end: `ops`, as read back, is exactly what was applied since the last load, in the order of the log.
pub fn check_end(history: &History, ops: &[OpId]) -> Result<(), String> {
    let mut expected: Vec<OpId> = Vec::new();
    for op in history.in_order().values() {
        if matches!(history.operations()[op].work, Work::Load { .. }) {
            expected.clear();
        }
        expected.push(*op);
    }
    match (0..expected.len().max(ops.len())).find(|at| expected.get(*at) != ops.get(*at)) {
        None => Ok(()),
        Some(at) => Err(format!(
            "once: row {at} of ops is {:?}, the log has {:?} there ({} rows, {} expected)",
            ops.get(at),
            expected.get(at),
            ops.len(),
            expected.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::{applied, state, write};

    #[test]
    fn an_operation_that_is_applied_again_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        assert_eq!(history.violation(), None);
        history.apply(9, state(&[first, second, first]));
        assert!(history.violation().unwrap().starts_with("once: operation 1"));
    }

    #[test]
    fn rows_that_are_not_the_logs_are_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        assert!(check_end(&history, &[first, second]).is_ok());
        assert!(check_end(&history, &[first]).is_err());
        assert!(check_end(&history, &[first, second, second]).is_err());
        assert!(check_end(&history, &[second, first]).is_err());
        assert!(check_end(&history, &[first, second, 99]).is_err());
    }
}
