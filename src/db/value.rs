//! Values and results as they leave SQLite.

use std::time::Duration;

pub use rusqlite::types::ValueRef;

/// A value that outlives its row. Text is bytes: SQLite doesn't check that it is UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    /// The same value, borrowed.
    pub fn borrow(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(blob) => ValueRef::Blob(blob),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(integer) => Value::Integer(integer),
            ValueRef::Real(real) => Value::Real(real),
            ValueRef::Text(text) => Value::Text(text.to_vec()),
            ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
        }
    }
}

/// What is known of a result's columns before its first row; all vectors have one item per column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub names: Vec<String>,
    /// `sqlite3_column_decltype`, verbatim; empty where there is none.
    pub decltypes: Vec<String>,
    /// `sqlite3_column_table_name`: the real name of the table that the column comes from, if it does.
    pub tables: Vec<Option<String>>,
}

/// What one statement of a request gave.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementResult {
    /// A write, or anything else on the execute path.
    Write { last_insert_id: i64, rows_affected: i64, elapsed: Duration },
    /// The rows of a RETURNING clause, or of a read in a request that also writes.
    Rows { columns: Columns, rows: Vec<Vec<Value>>, elapsed: Duration, is_read: bool },
    /// SQLite's text, or rqlite's.
    Error(String),
    /// The same, of a read.
    ReadError(String),
}

/// Takes the results of reads, row by row, as SQLite yields them.
pub trait RowSink: Send {
    /// A result begins.
    fn begin(&mut self, columns: &Columns);
    /// The next row of it. An error, a text for the client, ends the statement.
    fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String>;
    /// The result is complete.
    fn end(&mut self, elapsed: Duration);
    /// The statement failed, before its first row or after.
    fn error(&mut self, text: &str);
    /// Bytes waiting to be taken: a reader pauses when it has enough.
    fn buffered(&self) -> usize;
}
