//! What the clients asked, what they were told, and what the node applied.
//!
//! Every operation that changes the database appends its number to the table `ops`, so a state is known by the last
//! row of that table: its [`Mark`]. A client call that failed or timed out is *unknown*: it may have been applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::content::Content;
use crate::forms::Form;
use crate::invariants;
use crate::invariants::elections::Leaders;
use crate::invariants::logs::{Appended, Entries};
use crate::reached::Reached;

/// Number of an operation, unique in a run.
pub type OpId = u64;
/// Index in the Raft log.
pub type Index = u64;

/// What tells a state of the database from all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Rows of `ops`.
    pub count: i64,
    /// The last row of `ops`.
    pub last: Option<(i64, OpId)>,
}

/// One bound statement: text and parameters as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub sql: String,
    pub parameters: Vec<serde_json::Value>,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub enum Work {
    /// /db/execute.
    Execute { statements: Vec<Statement>, transaction: bool },
    /// /db/load of a good file, whose content has this hash.
    Load { file: Arc<Vec<u8>>, hash: u64, is_boot: bool },
    /// /db/load of something that must be refused, or of a part of something.
    BadLoad,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet, or nothing certain.
    Unknown,
    /// It is done, durable, and never undone.
    Acknowledged,
    /// It has not happened and never will.
    Refused,
}

/// One call that changes the database.
#[derive(Clone, Debug)]
pub struct Operation {
    pub work: Work,
    pub outcome: Outcome,
}

/// The state after the entry at an index was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub content: Content,
    pub mark: Mark,
}

/// Everything known of a run. The first violation of an invariant ends it.
#[derive(Default)]
pub struct History {
    operations: BTreeMap<OpId, Operation>,
    applied: BTreeMap<Index, State>,
    index_of: BTreeMap<OpId, Index>,
    op_at: BTreeMap<Index, OpId>,
    /// The highest index of an operation whose effect a client has seen: no later answer may be older.
    floor: Index,
    /// The same of each node's own state, as long as its process lives.
    local_floors: BTreeMap<String, Index>,
    leaders: Leaders,
    entries: Entries,
    violation: Option<String>,
    /// Who was alone when it was booted, by the index of that.
    pub booted: BTreeMap<Index, String>,
    pub reached: Reached,
}

impl History {
    /// A client is about to call.
    pub fn call(&mut self, work: Work) -> OpId {
        let id = self.next_id();
        self.operations.insert(id, Operation { work, outcome: Outcome::Unknown });
        id
    }

    /// The number that the next call gets.
    pub fn next_id(&self) -> OpId {
        self.operations.len() as OpId + 1
    }

    /// The answer said that the operation is done, at `index` if it told.
    pub fn acknowledge(&mut self, id: OpId, index: Option<Index>) {
        self.operations.get_mut(&id).expect("it was called").outcome = Outcome::Acknowledged;
        let result = invariants::acknowledged::check(id, index, self.index_of.get(&id).copied());
        if let Some(index) = self.judge(result) {
            self.floor = self.floor.max(index);
        }
    }

    /// The answer said that the operation did not and will not happen.
    pub fn refuse(&mut self, id: OpId) {
        self.operations.get_mut(&id).expect("it was called").outcome = Outcome::Refused;
        let result = invariants::refused::check(id, self.index_of.get(&id).copied());
        self.judge(result);
    }

    /// The node applied the entry at `index`.
    pub fn apply(&mut self, index: Index, state: State) {
        let result = invariants::replay::check(index, self.applied.get(&index).copied(), state);
        self.judge(result);
        if let Some((_, op)) = state.mark.last {
            let result = invariants::once::check_applied(op, index, state.mark, &self.applied, &self.index_of);
            self.judge(result);
            if !self.index_of.contains_key(&op) {
                let operation = self.operations.get(&op);
                let result = invariants::refused::check_applied(op, operation).and_then(|()| match operation {
                    Some(Operation { work: Work::Load { hash, .. }, .. }) => {
                        invariants::loads::check(op, index, *hash, state.content.hash)
                    }
                    _ => Ok(()),
                });
                let is_load = matches!(operation, Some(Operation { work: Work::Load { .. }, .. }));
                self.judge(result);
                if is_load && self.is_another_leaders(index) {
                    self.reached.note("loads: committed under a new leader");
                }
                self.index_of.insert(op, index);
                self.op_at.insert(index, op);
            }
        }
        self.applied.insert(index, state);
    }

    /// Whether the operation that shows up at `index` for the first time is a boot.
    pub fn is_boot(&self, index: Index) -> bool {
        let operation = self.op_at.get(&index).and_then(|op| self.operations.get(op));
        matches!(operation, Some(Operation { work: Work::Load { is_boot: true, .. }, .. }))
    }

    /// `node` leads in `term`.
    pub fn lead(&mut self, term: u64, node: &str) {
        let before = self.leader().map(str::to_string);
        let result = invariants::elections::check(term, node, &mut self.leaders);
        self.judge(result);
        self.reached.note("terms with a leader");
        if before.is_some_and(|before| before != node) {
            self.reached.note("terms: another node leads");
        }
    }

    /// Who leads in the newest term.
    pub fn leader(&self) -> Option<&str> {
        self.leaders.last_key_value().map(|(_, node)| node.as_str())
    }

    /// A client was sent to `location` for what only the leader does. Returns the node there.
    pub fn redirect(&mut self, location: &str) -> Option<String> {
        self.reached.note("writes: redirected");
        let result = invariants::elections::check_redirect(location, &self.leaders);
        self.judge(result)
    }

    /// The leader of the term in which the entry at `index` was proposed is not the one that leads now.
    fn is_another_leaders(&self, index: Index) -> bool {
        let entries = self.entries.range((index, 0)..=(index, u64::MAX));
        let proposer = entries.filter_map(|((_, term), _)| self.leaders.get(term)).next_back();
        proposer.is_some_and(|proposer| Some(proposer.as_str()) != self.leader())
    }

    /// A process of `node` begins: what the one before has shown, it may have lost.
    pub fn begin(&mut self, node: &str) {
        self.local_floors.remove(node);
    }

    /// The newest state that the process of `node` has shown of its own.
    pub fn local_floor(&self, node: &str) -> Index {
        self.local_floors.get(node).copied().unwrap_or_default()
    }

    /// A read of `node`'s own state, which began at its floor `floor`, saw `mark`.
    pub fn read_local(&mut self, node: &str, floor: Index, mark: Mark) {
        self.reached.note("reads");
        let result = invariants::reads::check("none", floor, mark, &self.index_of, &self.op_at, &self.applied);
        if let Some(index) = self.judge(result) {
            let floor = self.local_floors.entry(node.into()).or_default();
            *floor = index.max(*floor);
        }
    }

    /// `node` has appended an entry to its log.
    pub fn append(&mut self, node: &str, entry: Appended) {
        let result = invariants::logs::check(node, entry, &mut self.entries);
        self.judge(result);
    }

    /// A read that began when the floor was `floor` saw `mark`.
    pub fn read(&mut self, level: &str, floor: Index, mark: Mark) {
        self.reached.note("reads");
        let result = invariants::reads::check(level, floor, mark, &self.index_of, &self.op_at, &self.applied);
        if let Some(index) = self.judge(result) {
            self.floor = self.floor.max(index);
        }
    }

    /// A backup that was asked for when the floor was `floor` names `index` and has this content.
    pub fn backup(&mut self, floor: Index, index: Index, form: Form, content: Content) {
        self.reached.note("backups");
        form.names().into_iter().for_each(|name| self.reached.note(name));
        let result = invariants::backups::check(floor, index, form, content, self.state_at(index));
        self.judge(result);
        let last = self.op_at.range(..=index).next_back().map_or(0, |(index, _)| *index);
        self.floor = self.floor.max(last);
    }

    /// Keeps the first violation.
    pub fn judge<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|violation| self.violation.get_or_insert(violation)).ok()
    }

    /// The first violation, if there was one.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// See the field.
    pub fn floor(&self) -> Index {
        self.floor
    }

    /// The state after everything up to `index` was applied.
    pub fn state_at(&self, index: Index) -> Option<State> {
        self.applied.range(..=index).next_back().map(|(_, state)| *state)
    }

    /// All operations by number.
    pub fn operations(&self) -> &BTreeMap<OpId, Operation> {
        &self.operations
    }

    /// The operations that were applied, by index.
    pub fn in_order(&self) -> &BTreeMap<Index, OpId> {
        &self.op_at
    }
}
