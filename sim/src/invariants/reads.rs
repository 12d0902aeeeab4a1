//! A read shows a state that was, and none older than what a client has seen before.
//!
//! With one node this holds for every level, `none` included, and across restarts: a node is not ready before the
//! saved commit index is applied again. In a cluster what a node shows of its own state is never older than what the
//! same process has shown before; and it is no older than the client wants, as far as that node can know.
//!
//! Source: faults.md I4; hazard H22; http-data.md §11.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Index, Mark, OpId, State};

/// A read at `level`, begun when `floor` had been seen, saw `mark`. Returns the index that it shows.
pub fn check(
    level: &str,
    floor: Index,
    mark: Mark,
    index_of: &BTreeMap<OpId, Index>,
    op_at: &BTreeMap<Index, OpId>,
    applied: &BTreeMap<Index, State>,
) -> Result<Index, String> {
    let seen = match mark.last {
        None => 0,
        Some((_, op)) => *index_of.get(&op).ok_or_else(|| format!("reads: {level} shows {mark:?}, never applied"))?,
    };
    let state = applied.get(&seen).map_or(Mark::default(), |state| state.mark);
    if state != mark {
        return Err(format!("reads: {level} shows {mark:?}, but index {seen} is {state:?}"));
    }
    let needed = op_at.range(..=floor).next_back().map_or(0, |(index, _)| *index);
    if seen < needed {
        return Err(format!("reads: {level} shows index {seen}, after index {needed} was seen"));
    }
    Ok(seen)
}

/// A read of a node's own state, no older than `freshness`, that began at `began` was answered, and from others that
/// node had last heard anything at `heard`. Who leads is always fresh.
///
/// Source: faults.md S21; http-data.md §11.
pub fn check_fresh(
    node: &str,
    leader: Option<&str>,
    freshness: Duration,
    began: Duration,
    heard: Option<Duration>,
) -> Result<(), String> {
    if leader == Some(node) || heard.is_some_and(|heard| heard + freshness >= began) {
        return Ok(());
    }
    Err(format!(
        "reads: {node} answers what is {freshness:?} old at most at {began:?}, but heard others last at {heard:?}"
    ))
}

/// All rows of one answer show the state `first`, also when the database was replaced while they were read.
pub fn check_rows(rows: impl Iterator<Item = Option<Mark>>, first: Mark) -> Result<(), String> {
    match rows.enumerate().find(|(_, mark)| *mark != Some(first)) {
        None => Ok(()),
        Some((row, mark)) => Err(format!("reads: row {row} of an answer shows {mark:?}, the first {first:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::history::{History, Mark};
    use crate::invariants::tests::{applied, mark, write};

    #[test]
    fn a_read_of_an_older_state_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        history.read("weak", 0, mark(&[first]));
        history.acknowledge(second, Some(8));
        let floor = history.floor();
        assert_eq!((history.violation(), floor), (None, 8));
        history.read("strong", floor, mark(&[first]));
        assert!(history.violation().unwrap().contains("shows index 7, after index 8"));
    }

    #[test]
    fn a_node_that_goes_back_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        history.read_local("a", history.local_floor("a"), mark(&[first, second]));
        history.read_local("b", history.local_floor("b"), mark(&[first]));
        assert_eq!(history.violation(), None, "each node has its own");
        history.begin("a");
        history.read_local("a", history.local_floor("a"), mark(&[first]));
        assert_eq!(history.violation(), None, "it was restarted");
        history.read_local("a", history.local_floor("a"), mark(&[first, second]));
        history.read_local("a", history.local_floor("a"), mark(&[first]));
        assert!(history.violation().unwrap().contains("shows index 7, after index 8"));
    }

    #[test]
    fn an_answer_that_nobody_can_know_to_be_fresh_is_found() {
        let at = Duration::from_secs;
        let check = |leader, heard| super::check_fresh("a", leader, at(2), at(10), heard);
        assert!(check(Some("b"), Some(at(8))).is_ok());
        assert!(check(Some("b"), Some(at(7))).is_err());
        assert!(check(None, None).is_err());
        assert!(check(Some("a"), None).is_ok());
    }

    #[test]
    fn an_answer_of_two_states_is_found() {
        let (old, new) = (mark(&[1]), mark(&[1, 2]));
        assert!(super::check_rows([Some(old), Some(old)].into_iter(), old).is_ok());
        assert!(super::check_rows([Some(old), Some(new)].into_iter(), old).is_err());
        assert!(super::check_rows([Some(old), None].into_iter(), old).is_err());
    }

    #[test]
    fn a_read_of_a_state_that_never_was_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        history.read("none", 0, Mark { count: 1, ..mark(&[first, second]) });
        assert!(history.violation().unwrap().contains("but index 8 is"));

        let mut history = History::default();
        history.read("none", 0, mark(&[4]));
        assert!(history.violation().unwrap().contains("never applied"));
    }
}
