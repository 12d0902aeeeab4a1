//! What must always hold. One file each, with its source and a test in which it fails.
//!
//! | file | says | checked |
//! |---|---|---|
//! | [`acknowledged`] | every acknowledged write is there | at each acknowledgement, at the end |
//! | [`once`] | nothing is applied twice, nothing comes from nowhere | at each applied entry, at the end |
//! | [`refused`] | what was refused never happens | at each refusal and applied entry |
//! | [`replay`] | the same index has the same state, before and after a restart | at each applied entry |
//! | [`reads`] | a read shows a state that was, and none older than what was seen before | at each read |
//! | [`backups`] | a backup is the state at its index, and holds all that was acknowledged | at each backup |
//! | [`integrity`] | SQLite finds no damage | at each backup, at the end |
//! | [`model`] | the state is what plain SQLite makes of the same operations | at each backup, at the end |
//! | [`loads`] | a load replaces everything by exactly the file | at each applied load |
//! | [`elections`] | a term has one leader | at each new leader |
//! | [`logs`] | equal entries have equal pasts | at each appended entry |
//! | [`convergence`] | every node comes to the same index | at the end |
//! | [`temporary`] | temporary files are gone after any outcome | at the end, and when all clients are done |
//! | [`stops`] | a node stops only for a reason, and starts when nothing is in its way | at each stop |

pub mod acknowledged;
pub mod backups;
pub mod convergence;
pub mod elections;
pub mod integrity;
pub mod loads;
pub mod logs;
pub mod model;
pub mod once;
pub mod reads;
pub mod refused;
pub mod replay;
pub mod stops;
pub mod temporary;

#[cfg(test)]
pub mod tests {
    //! Made-up histories.

    use crate::content::Content;
    use crate::history::{History, Index, Mark, OpId, State, Work};

    /// The state whose table `ops` has these rows.
    pub fn state(ops: &[OpId]) -> State {
        let bytes: Vec<u8> = ops.iter().flat_map(|op| op.to_le_bytes()).collect();
        let hash = crate::trace::fold(0, &bytes);
        State { content: Content { hash, without_rowids: !hash }, mark: mark(ops) }
    }

    /// The mark of a table `ops` with these rows.
    pub fn mark(ops: &[OpId]) -> Mark {
        Mark { count: ops.len() as i64, last: ops.last().map(|op| (ops.len() as i64, *op)) }
    }

    /// A client calls a write.
    pub fn write(history: &mut History) -> OpId {
        history.call(Work::Execute { statements: Vec::new(), transaction: true })
    }

    /// The node applies an entry, after which `ops` has these rows.
    pub fn applied(history: &mut History, index: Index, ops: &[OpId]) {
        history.apply(index, state(ops));
    }
}
