//! SQL functions whose answer must be the same on every node.
//!
//! `random()` and `randomblob()` draw from the entry being applied; `total_changes()` and `last_insert_rowid()` count
//! from the request's start, whatever the connection did before (hazard H11). SQL text is never rewritten, so DEFAULTs,
//! triggers, views and nested expressions are covered too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result, ffi};

use super::entry;

/// As legal in DEFAULTs, views and triggers as SQLite's own (storage-findings §2.1): innocuous, but not
/// deterministic, or they would be legal in indexes.
const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_INNOCUOUS);

/// `SQLITE_LIMIT_LENGTH` of every connection, bytes.
pub(super) const LENGTH_MAX: i64 = 1_000_000_000;

/// What `sqlite3_last_insert_rowid` answers from a request's start to its first insert: then 0 for SQL, and for the
/// JSON the value of an earlier request. An insert of this very rowid looks like none.
pub(super) const NO_ROWID: i64 = i64::MIN + 0x7271_6c69_7465;

/// Installs the functions; `total_before` is `sqlite3_total_changes64` at the start of the request.
pub(super) fn install(connection: &Connection, total_before: &Arc<AtomicI64>) -> Result<()> {
    connection.create_scalar_function("random", 0, FLAGS, |_| {
        let mut bytes = [0; 8];
        fill(&mut bytes);
        let random = i64::from_le_bytes(bytes);
        // As SQLite's own: never the smallest integer, so that abs() can't overflow.
        Ok(if random < 0 { -(random & i64::MAX) } else { random })
    })?;
    connection.create_scalar_function("randomblob", 1, FLAGS, |context| {
        let length = integer(context.get_raw(0)).max(1);
        if length > LENGTH_MAX {
            return Err(Error::UserFunctionError("string or blob too big".into()));
        }
        let mut blob = vec![0; length as usize];
        fill(&mut blob);
        Ok(blob)
    })?;
    let before = total_before.clone();
    connection.create_scalar_function("total_changes", 0, FLAGS, move |context| {
        Ok(total_changes(context)? - before.load(Ordering::Relaxed))
    })?;
    connection.create_scalar_function("last_insert_rowid", 0, FLAGS, |context| {
        // SAFETY: the function runs on this open connection.
        let rowid = unsafe { ffi::sqlite3_last_insert_rowid(context.get_connection()?.handle()) };
        Ok(if rowid == NO_ROWID { 0 } else { rowid })
    })
}

fn total_changes(context: &Context<'_>) -> Result<i64> {
    // SAFETY: the function runs on this open connection.
    Ok(unsafe { ffi::sqlite3_total_changes64(context.get_connection()?.handle()) })
}

/// From the entry, or where none is applied (a reader) from SQLite's generator, which the VFS seeds.
fn fill(bytes: &mut [u8]) {
    if !entry::fill_sql(bytes) {
        for chunk in bytes.chunks_mut(1 << 20) {
            // SAFETY: the buffer has that many bytes.
            unsafe { ffi::sqlite3_randomness(chunk.len() as i32, chunk.as_mut_ptr().cast()) };
        }
    }
}

/// `sqlite3_value_int64`, for the types that an argument can have.
fn integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(integer) => integer,
        ValueRef::Real(real) => real as i64,
        ValueRef::Null => 0,
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            // The longest numeric prefix, as SQLite casts.
            let text = String::from_utf8_lossy(text);
            let text = text.trim_start();
            let end = text
                .char_indices()
                .find(|&(n, c)| !(c.is_ascii_digit() || (n == 0 && (c == '-' || c == '+'))))
                .map_or(text.len(), |(n, _)| n);
            text[..end].parse().unwrap_or(0)
        }
    }
}
