//! Which term each entry belongs to, as runs: a cluster has few leaders and many entries.

use crate::raft::convert::log_id;
use crate::raft::types::LogId;

/// Runs of one term each, as (first index, term), in order. The last run ends where the log does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<(u64, u64)>);

impl Terms {
    /// Notes the entry behind the last.
    pub fn push(&mut self, index: u64, term: u64) {
        match self.0.last() {
            Some((_, last)) if *last == term => {}
            last => {
                let grows = last.is_none_or(|(first, last)| *first < index && *last < term);
                assert!(grows, "the log's terms never fall");
                self.0.push((index, term));
            }
        }
    }

    /// The log id of the entry at `index`, which must be there.
    pub fn log_id(&self, index: u64) -> LogId {
        let run = self.0.partition_point(|(first, _)| *first <= index);
        log_id(self.0[run - 1].1, index)
    }

    /// Forgets everything from `index` on.
    pub fn truncate(&mut self, index: u64) {
        self.0.truncate(self.0.partition_point(|(first, _)| *first < index));
    }

    /// Forgets everything before `index`, unless the run there goes on.
    pub fn purge(&mut self, index: u64) {
        let run = self.0.partition_point(|(first, _)| *first <= index);
        self.0.drain(..run.saturating_sub(1));
    }

    /// The last log id of each term in `first..=last`: what openraft keeps of a log in memory. `first` may be the
    /// entry before the log, which was purged.
    pub fn key_log_ids(&self, first: &LogId, last: &LogId) -> Vec<LogId> {
        let mut ids = vec![*first];
        for (run, (start, term)) in self.0.iter().enumerate() {
            let end = self.0.get(run + 1).map_or(u64::MAX, |(next, _)| next - 1).min(last.index);
            if end <= first.index || *start > last.index {
                continue;
            }
            if ids.last().is_some_and(|id| id.leader_id.term == *term) {
                ids.pop();
            }
            ids.push(log_id(*term, end));
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(runs: &[(u64, u64)]) -> Terms {
        let mut terms = Terms::default();
        for (index, term) in runs {
            terms.push(*index, *term);
        }
        terms
    }

    #[test]
    fn runs_grow_and_are_cut() {
        let mut some = terms(&[(5, 1), (6, 1), (7, 3), (8, 3), (9, 4)]);
        assert_eq!(some, Terms(vec![(5, 1), (7, 3), (9, 4)]));
        assert_eq!((some.log_id(6), some.log_id(8), some.log_id(12)), (log_id(1, 6), log_id(3, 8), log_id(4, 12)));
        some.truncate(8);
        assert_eq!(some, Terms(vec![(5, 1), (7, 3)]));
        some.purge(6);
        assert_eq!(some, Terms(vec![(5, 1), (7, 3)]));
        some.purge(8);
        assert_eq!(some, Terms(vec![(7, 3)]));
        some.truncate(7);
        assert_eq!(some, Terms::default());
    }

    #[test]
    fn key_log_ids_are_the_last_of_each_term() {
        let some = terms(&[(5, 1), (7, 3), (9, 4)]);
        let check = |first: (u64, u64), last: (u64, u64), want: &[(u64, u64)]| {
            let want: Vec<_> = want.iter().map(|(term, index)| log_id(*term, *index)).collect();
            assert_eq!(some.key_log_ids(&log_id(first.0, first.1), &log_id(last.0, last.1)), want);
        };
        check((1, 5), (4, 12), &[(1, 6), (3, 8), (4, 12)]);
        check((1, 4), (4, 12), &[(1, 6), (3, 8), (4, 12)]);
        check((0, 4), (3, 7), &[(0, 4), (1, 6), (3, 7)]);
        check((1, 6), (3, 7), &[(1, 6), (3, 7)]);
        check((3, 8), (3, 8), &[(3, 8)]);
        check((4, 9), (4, 10), &[(4, 10)]);
    }
}
