//! A backup is the state at the index that its header names, and holds all that was acknowledged before it was asked;
//! what came whole with a 200 is a backup.
//!
//! Source: faults.md I7, I9, S36, S37; design §6; backup-restore.md §1.2.

use crate::content::Content;
use crate::forms::{Form, Format};
use crate::history::{Index, State};

/// A backup with content `found` says that it is `state` at `index`; `floor` had been seen when it was asked for.
pub fn check(floor: Index, index: Index, form: Form, found: Content, state: Option<State>) -> Result<(), String> {
    if index < floor {
        return Err(format!("backups: a backup at {index}, after index {floor} was acknowledged"));
    }
    let state = state.map(|state| state.content);
    let (found, wanted) = match form.keeps_rowids() {
        true => (found.hash, state.map(|state| state.hash)),
        false => (found.without_rowids, state.map(|state| state.without_rowids)),
    };
    match wanted {
        Some(wanted) if wanted == found => Ok(()),
        wanted => Err(format!("backups: a {form:?} at {index} has {found:016x}, the state there is {wanted:x?}")),
    }
}

/// It begins as what it should be: SQL, or a database in the journal mode of its format.
pub fn check_start(format: Format, bytes: &[u8]) -> Result<(), String> {
    let is_right = match format {
        Format::Sql => bytes.starts_with(b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"),
        _ => {
            let version = if format == Format::Binary { 2 } else { 1 };
            bytes.starts_with(b"SQLite format 3\0") && bytes.get(18..20) == Some(&[version, version])
        }
    };
    if is_right { Ok(()) } else { Err(format!("backups: {format:?} begins with {:x?}", &bytes[..bytes.len().min(20)])) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::invariants::tests::{applied, state, write};
    use crate::scratch::Scratch;

    const DUMP: Form = Form { format: Format::Sql, ..Form::PLAIN };

    #[test]
    fn a_backup_of_another_index_is_found() {
        let mut history = History::default();
        let (first, second) = (write(&mut history), write(&mut history));
        applied(&mut history, 7, &[first]);
        applied(&mut history, 8, &[first, second]);
        let content = state(&[first, second]).content;
        history.backup(7, 8, Form::PLAIN, content);
        history.backup(7, 8, DUMP, Content { hash: 0, ..content });
        assert_eq!(history.violation(), None);
        history.backup(7, 7, Form::PLAIN, content);
        assert!(history.violation().unwrap().contains("at 7 has"));

        for (form, found) in
            [(Form::PLAIN, Content { hash: 0, ..content }), (DUMP, Content { without_rowids: 0, ..content })]
        {
            assert!(check(7, 8, form, found, history.state_at(8)).is_err(), "{form:?}");
        }
    }

    #[test]
    fn a_backup_that_misses_an_acknowledged_write_is_found() {
        let mut history = History::default();
        let first = write(&mut history);
        applied(&mut history, 7, &[first]);
        history.acknowledge(first, Some(7));
        history.backup(history.floor(), 6, Form::PLAIN, state(&[]).content);
        assert!(history.violation().unwrap().contains("after index 7 was acknowledged"));
    }

    #[test]
    fn what_is_no_backup_is_found() {
        rqlite::db::engine::initialize(std::path::Path::new("/nowhere"));
        let mut scratch = Scratch::new();
        let database = scratch.open(b"").unwrap();
        database.connection.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a)").unwrap();
        let file = database.into_bytes();
        let dump = b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nCOMMIT;\n";
        let mut check = |form: Form, bytes: &[u8]| form.restore(&mut scratch, bytes).map(drop);

        assert_eq!(check(Form::PLAIN, &file), Ok(()));
        assert_eq!(check(DUMP, dump), Ok(()));
        // As if the error of the last row had been dropped, or stood in the answer.
        assert!(check(DUMP, &dump[..dump.len() - 8]).is_err());
        assert!(check(DUMP, &[dump.as_slice(), b"disk I/O error"].concat()).is_err());
        assert!(check(Form { format: Format::Delete, ..Form::PLAIN }, &file).is_err());
        assert!(check(Form { is_compressed: true, ..Form::PLAIN }, &file).is_err());
    }
}
