//! What a database holds, as one number.
//!
//! The logical hash covers the schema and every row with its rowid, and none of the physical layout: equal entries
//! applied must give equal hashes, whatever the caches, checkpoints and restarts in between.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use crate::trace::{HASH_START, fold};

/// Of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Schema and all rows with their rowids.
    pub hash: u64,
    /// Schema and all rows in order: what a dump or a VACUUM keeps, where a rowid isn't a column.
    pub without_rowids: u64,
}

/// See [`Content`].
pub fn of(connection: &Connection) -> Result<Content> {
    let mut hash = HASH_START;
    let tables = tables(connection, &mut hash)?;
    let mut content = Content { hash, without_rowids: hash };
    for table in tables {
        content = table_content(connection, &table, content)?;
    }
    Ok(content)
}

/// [`Content::hash`].
pub fn hash(connection: &Connection) -> Result<u64> {
    of(connection).map(|content| content.hash)
}

fn table_content(connection: &Connection, table: &str, mut content: Content) -> Result<Content> {
    let table = quoted(table);
    let (mut statement, first) = match connection.prepare(&format!("SELECT rowid, * FROM {table}")) {
        Ok(statement) => (statement, 1),
        // A table without rowids.
        Err(_) => (connection.prepare(&format!("SELECT * FROM {table}"))?, 0),
    };
    let columns = statement.column_count();
    content.hash = fold(content.hash, table.as_bytes());
    content.without_rowids = fold(content.without_rowids, table.as_bytes());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut of_row = HASH_START;
        for column in first..columns {
            of_row = value(of_row, row.get_ref(column)?);
        }
        content.without_rowids = fold(content.without_rowids, &of_row.to_le_bytes());
        if first == 1 {
            of_row = value(of_row, row.get_ref(0)?);
        }
        content.hash = fold(content.hash, &of_row.to_le_bytes());
    }
    Ok(content)
}

/// What statements compute without time and randomness: all rows, but of the table `noise` only the operation.
pub fn deterministic_hash(connection: &Connection) -> Result<u64> {
    let mut hash = HASH_START;
    for table in tables(connection, &mut hash)? {
        let columns = if table == "noise" { "rowid, op" } else { "rowid, *" };
        hash = rows(connection, &format!("SELECT {columns} FROM {}", quoted(&table)), hash)?;
    }
    Ok(hash)
}

/// The names of the tables that hold rows; the whole schema goes into `hash`.
fn tables(connection: &Connection, hash: &mut u64) -> Result<Vec<String>> {
    let mut tables = Vec::new();
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name, tbl_name")?;
    let mut schema = statement.query([])?;
    while let Some(row) = schema.next()? {
        for column in 0..4 {
            *hash = value(*hash, row.get_ref(column)?);
        }
        let sql = row.get_ref(3)?.as_bytes().unwrap_or_default();
        if row.get_ref(0)?.as_bytes() == Ok(b"table") && !sql.starts_with(b"CREATE VIRTUAL") {
            tables.push(row.get(1)?);
        }
    }
    Ok(tables)
}

fn rows(connection: &Connection, query: &str, mut hash: u64) -> Result<u64> {
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    hash = fold(hash, query.as_bytes());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            hash = value(hash, row.get_ref(column)?);
        }
    }
    Ok(hash)
}

fn value(hash: u64, value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null => fold(hash ^ 1, b""),
        ValueRef::Integer(integer) => fold(hash ^ 2, &integer.to_le_bytes()),
        ValueRef::Real(real) => fold(hash ^ 3, &real.to_le_bytes()),
        ValueRef::Text(text) => fold(hash ^ 4, text),
        ValueRef::Blob(blob) => fold(hash ^ 5, blob),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
