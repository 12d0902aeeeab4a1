//! The state is what plain SQLite makes of the same operations in the order of the log.
//!
//! Time and randomness are the entry's, so columns that hold them are left out (the table `noise`); that they are the
//! same on every replay is [`super::replay`]'s.
//!
//! Source: faults.md I2, I6, I7, I14; hazard H4 (requests that share a transaction must not show it).

use std::ops::Bound::{Excluded, Included};

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::content;
use crate::history::{History, Index, Statement, Work};
use crate::scratch::{Database, Scratch};

/// Plain SQLite at some index of the log.
pub struct Model {
    database: Database,
    index: Index,
}

impl Model {
    /// Before the first entry.
    pub fn new(scratch: &mut Scratch) -> Self {
        Self { database: scratch.open(b"").expect("an empty file is a database"), index: 0 }
    }

    /// Brings the model to `index`; it can only go forward.
    fn advance(&mut self, history: &History, scratch: &mut Scratch, index: Index) -> rusqlite::Result<()> {
        if index < self.index {
            *self = Self::new(scratch);
        }
        for (_, op) in history.in_order().range((Excluded(self.index), Included(index))) {
            match &history.operations()[op].work {
                Work::Execute { statements, transaction } => {
                    execute(&self.database.connection, statements, *transaction)?;
                }
                Work::Load { file, .. } => self.database = scratch.open(file)?,
                Work::BadLoad => unreachable!("the invariant `refused` ends the run before"),
            }
        }
        self.index = index;
        Ok(())
    }
}

/// Runs a request as /db/execute does.
pub fn execute(connection: &Connection, statements: &[Statement], transaction: bool) -> rusqlite::Result<()> {
    if !transaction {
        for statement in statements {
            // The client was told; the others run.
            let _ = run(connection, statement);
        }
        return Ok(());
    }
    connection.execute_batch("BEGIN")?;
    let result = statements.iter().try_for_each(|statement| run(connection, statement));
    connection.execute_batch(if result.is_ok() { "COMMIT" } else { "ROLLBACK" })
}

fn run(connection: &Connection, statement: &Statement) -> rusqlite::Result<()> {
    let parameters = statement.parameters.iter().map(|parameter| match parameter {
        serde_json::Value::String(text) => Value::Text(text.clone()),
        number => number.as_i64().map_or(Value::Null, Value::Integer),
    });
    connection.prepare(&statement.sql)?.execute(rusqlite::params_from_iter(parameters)).map(|_| ())
}

/// The database `found`, which says that it is at `index`, has the model's content.
pub fn check(
    model: &mut Model,
    history: &History,
    scratch: &mut Scratch,
    index: Index,
    found: &Connection,
) -> Result<(), String> {
    let mut both = || {
        model.advance(history, scratch, index)?;
        Ok((content::deterministic_hash(&model.database.connection)?, content::deterministic_hash(found)?))
    };
    match both() {
        Ok((expected, found)) if expected == found => Ok(()),
        Ok((expected, found)) => Err(format!("model: at {index} the model is {expected:016x}, found {found:016x}")),
        Err::<_, rusqlite::Error>(error) => Err(format!("model: at {index}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::OpId;
    use crate::invariants::tests::applied;

    fn insert(history: &mut History, value: i64) -> OpId {
        let sql = "INSERT INTO t VALUES (?)".into();
        let statement = Statement { sql, parameters: vec![value.into()] };
        history.call(Work::Execute { statements: vec![statement], transaction: true })
    }

    #[test]
    fn a_state_that_plain_sqlite_would_not_make_is_found() {
        let mut scratch = Scratch::new();
        let mut history = History::default();
        let create = Statement { sql: "CREATE TABLE t(a)".into(), parameters: Vec::new() };
        let first = history.call(Work::Execute { statements: vec![create], transaction: true });
        let (second, third) = (insert(&mut history, 1), insert(&mut history, 2));
        applied(&mut history, 4, &[first]);
        applied(&mut history, 5, &[first, second]);
        applied(&mut history, 6, &[first, second, third]);

        let found = scratch.open(b"").unwrap();
        found.connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        let mut model = Model::new(&mut scratch);
        let mut check = |index| check(&mut model, &history, &mut scratch, index, &found.connection);
        assert_eq!(check(5), Ok(()));
        assert!(check(6).is_err());
        assert!(check(4).is_err());
        assert_eq!(check(5), Ok(()));
        found.connection.execute_batch("UPDATE t SET a = '1'").unwrap();
        assert!(check(5).is_err());
    }
}
