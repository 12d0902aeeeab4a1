//! What was refused never happens: a failed transaction or text leaves nothing, a refused load changes nothing, and nor
//! does one of which its client sent only a part.
//!
//! Source: faults.md I9, I12, I15; backup-restore.md §3.3.

use crate::history::{Index, OpId, Operation, Outcome, Work};

/// At the refusal: it hasn't been applied.
pub fn check(id: OpId, applied: Option<Index>) -> Result<(), String> {
    match applied {
        None => Ok(()),
        Some(index) => Err(format!("refused: operation {id} was refused but applied at {index}")),
    }
}

/// When an operation shows up as applied: somebody asked for it, and it wasn't refused.
pub fn check_applied(id: OpId, operation: Option<&Operation>) -> Result<(), String> {
    match operation {
        None => Err(format!("refused: operation {id} was applied and nobody asked for it")),
        Some(Operation { work: Work::BadLoad, .. }) => {
            Err(format!("refused: the load of operation {id} was applied, and is bad"))
        }
        Some(Operation { outcome: Outcome::Refused, .. }) => {
            Err(format!("refused: operation {id} was applied after it was refused"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{History, Work};
    use crate::invariants::tests::{applied, state, write};

    #[test]
    fn a_refused_operation_that_happens_is_found() {
        let mut history = History::default();
        let first = write(&mut history);
        applied(&mut history, 7, &[first]);
        history.refuse(first);
        assert!(history.violation().unwrap().starts_with("refused: operation 1 was refused but"));

        let mut history = History::default();
        let first = write(&mut history);
        history.refuse(first);
        history.apply(7, state(&[first]));
        assert!(history.violation().unwrap().starts_with("refused: operation 1 was applied after"));
    }

    #[test]
    fn a_bad_load_that_happens_and_a_row_from_nowhere_are_found() {
        let mut history = History::default();
        let load = history.call(Work::BadLoad);
        history.apply(7, state(&[load]));
        assert!(history.violation().unwrap().contains("is bad"));

        let mut history = History::default();
        history.apply(7, state(&[3]));
        assert!(history.violation().unwrap().contains("nobody asked"));
    }
}
