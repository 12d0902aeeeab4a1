//! The log as it should be: every state it went through, and which of them is acknowledged.

use rqlite::raft::convert::log_id;
use rqlite::raft::types::{Entry, LogId, Vote};

/// The log after one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// From index 0 on, purged ones included; `None` where a purge jumped past the end.
    pub entries: Vec<Option<Entry>>,
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    /// Every purge that was asked for: a log may keep more than the last one asked.
    pub purges: Vec<LogId>,
    pub committed: Option<LogId>,
}

impl State {
    pub fn next(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    pub fn last(&self) -> Option<LogId> {
        self.entries.last().and_then(|last| last.as_ref().map(|entry| entry.log_id)).or(self.purged)
    }

    pub fn term(&self) -> u64 {
        self.last().map_or(1, |last| last.leader_id.term)
    }

    pub fn log_id(&self, index: u64) -> LogId {
        self.entries[index as usize].as_ref().map_or(log_id(0, 0), |entry| entry.log_id)
    }
}

/// What a restart found.
#[derive(Debug)]
pub struct Found {
    pub entries: Vec<Entry>,
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub committed: Option<LogId>,
}

/// All states since the last acknowledged one, oldest first. Never empty.
pub struct Model(Vec<State>);

impl Default for Model {
    fn default() -> Self {
        Self(vec![State::default()])
    }
}

impl Model {
    pub fn now(&self) -> &State {
        self.0.last().expect("never empty")
    }

    /// A step was asked for; returns its number, for [`Model::acknowledge`] while no other is acknowledged before.
    pub fn step(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.now().clone();
        change(&mut state);
        self.0.push(state);
    }

    /// Everything asked for so far is durable.
    pub fn acknowledge(&mut self) {
        self.0.drain(..self.0.len() - 1);
    }

    /// How many states there are; [`Model::acknowledge_up_to`] takes it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything before the state that was the `len`-th is durable, and that state too.
    pub fn acknowledge_up_to(&mut self, len: usize) {
        self.0.drain(..len - 1);
    }

    /// Finds the state that the log was restarted in, which from then on is acknowledged.
    pub fn restart(&mut self, found: &Found) {
        let committed_min = self.0[0].committed;
        let committed_max = self.0.iter().map(|state| state.committed).max().flatten();
        assert!(found.committed >= committed_min.min(found.last), "the saved commit index went back");
        assert!(found.committed <= committed_max.max(found.purged), "a commit index that nobody saved");
        // Newest first: of equal states any will do, but none after it may be forgotten.
        let Some(at) = self.0.iter().rposition(|state| matches(state, found)) else {
            let tried: Vec<_> = self.0.iter().map(|state| (state.last(), state.purged, &state.vote)).collect();
            panic!("found {found:#?}\nwhich is none of {tried:#?}");
        };
        let mut state = self.0[at].clone();
        state.purged = found.purged;
        state.committed = found.committed;
        self.0 = vec![state];
    }
}

fn matches(state: &State, found: &Found) -> bool {
    let from = found.entries.first().map_or(state.next(), |entry| entry.log_id.index);
    let no_hole = from == found.purged.map_or(0, |purged| purged.index + 1);
    let same = state.entries.get(from as usize..).is_some_and(|want| {
        want.len() == found.entries.len()
            && want.iter().zip(&found.entries).all(|(want, got)| want.as_ref() == Some(got))
    });
    let purged = found.purged.is_none_or(|purged| state.purges.contains(&purged));
    no_hole && same && purged && found.purged <= state.purged && found.vote == state.vote && found.last == state.last()
}
