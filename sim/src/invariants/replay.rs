//! The same index has the same state, however often it is applied: before and after a restart.
//!
//! Source: faults.md I2, I5; design §1 "determinism by construction"; hazards H1, H3, H8, H11.

use crate::history::{Index, State};

/// The entry at `index` was applied, now and perhaps before.
pub fn check(index: Index, before: Option<State>, now: State) -> Result<(), String> {
    match before {
        Some(before) if before != now => Err(format!(
            "replay: index {index} gave {:016x} {:?}, and now {:016x} {:?}",
            before.content.hash, before.mark, now.content.hash, now.mark
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::history::History;
    use crate::invariants::tests::{applied, state, write};

    #[test]
    fn a_replay_that_differs_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        applied(&mut history, 7, &[first]);
        assert_eq!(history.violation(), None);
        let mut different = state(&[first, second]);
        different.content.hash += 1;
        history.apply(8, different);
        assert!(history.violation().unwrap().starts_with("replay: index 8"));
    }
}
