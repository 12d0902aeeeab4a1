//! A prepared statement: the FFI that rusqlite can't give us.
//!
//! rusqlite's statements borrow their connection and don't show their tail. Ours are kept across jobs of a lane (a
//! streamed result is read piece by piece) and cut a text of several statements as the reference does.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use rusqlite::ffi;

use super::value::{Columns, ValueRef};
use crate::command::{self, Parameter};

/// An error of SQLite: its extended code and its own text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    pub code: i32,
    pub message: String,
}

impl SqlError {
    /// The code without its extension.
    pub fn primary(&self) -> i32 {
        self.code & 0xff
    }

    /// What `db` says of its last call, which returned `code`.
    ///
    /// # Safety
    /// `db` must be an open connection that no other thread uses.
    pub unsafe fn of(db: *mut ffi::sqlite3, code: c_int) -> Self {
        // SAFETY: by the caller; the text is valid until the next call on the connection and copied here.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(db)) };
        Self { code, message: message.to_string_lossy().into_owned() }
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
        let message = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            error => error.to_string(),
        };
        Self { code, message }
    }
}

/// One prepared statement. It must be dropped before its connection.
pub(super) struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: SQLite is built threadsafe; a statement and its connection are owned by one lane at a time.
unsafe impl Send for Statement {}

/// The first statement of a text.
pub(super) struct Prepared {
    /// `None`: only blanks and comments.
    pub statement: Option<Statement>,
    /// Where the rest of the text begins.
    pub tail: usize,
}

impl Statement {
    /// Prepares the first statement of `sql`.
    ///
    /// # Safety
    /// `db` must be an open connection, and the statement must be dropped before it is closed.
    pub unsafe fn prepare(db: *mut ffi::sqlite3, sql: &[u8], flags: u32) -> Result<Prepared, SqlError> {
        let mut raw = std::ptr::null_mut();
        let mut tail = std::ptr::null();
        let start = sql.as_ptr().cast();
        let Ok(length) = c_int::try_from(sql.len()) else {
            return Err(SqlError { code: ffi::SQLITE_TOOBIG, message: "string or blob too big".into() });
        };
        // SAFETY: `sql` has `length` bytes and outlives the call; the outputs are places of ours.
        let code = unsafe { ffi::sqlite3_prepare_v3(db, start, length, flags, &mut raw, &mut tail) };
        if code != ffi::SQLITE_OK {
            // SAFETY: by the caller.
            return Err(unsafe { SqlError::of(db, code) });
        }
        // SAFETY: SQLite points into `sql`, at most one past its end.
        let tail = if tail.is_null() { sql.len() } else { unsafe { tail.offset_from(start) as usize } };
        // A NUL ends the text, as in the reference.
        let tail = if sql.get(tail) == Some(&0) { sql.len() } else { tail };
        Ok(Prepared { statement: NonNull::new(raw).map(|raw| Self { raw }), tail })
    }

    fn raw(&self) -> *mut ffi::sqlite3_stmt {
        self.raw.as_ptr()
    }

    fn db(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the statement is live, as everywhere below: it is finalised only on drop.
        unsafe { ffi::sqlite3_db_handle(self.raw()) }
    }

    /// Whether it makes no direct change to the database.
    pub fn is_readonly(&self) -> bool {
        // SAFETY: live.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 }
    }

    /// Whether it is a read to /db/request: it changes nothing, or only explains what would.
    pub fn is_read(&self) -> bool {
        self.is_readonly() || self.is_explain()
    }

    /// Whether it is an EXPLAIN.
    pub fn is_explain(&self) -> bool {
        // SAFETY: live.
        unsafe { ffi::sqlite3_stmt_isexplain(self.raw()) != 0 }
    }

    /// Columns of its result; 0 if it returns no rows.
    pub fn column_count(&self) -> usize {
        // SAFETY: live.
        unsafe { ffi::sqlite3_column_count(self.raw()) as usize }
    }

    /// Names, declared types and tables of its columns.
    pub fn columns(&self) -> Columns {
        let text = |pointer: *const std::ffi::c_char| {
            // SAFETY: NULL or a string that is valid until the next call for this column; copied here.
            (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
        };
        let mut columns = Columns::default();
        for n in 0..self.column_count() as c_int {
            // SAFETY: live, and `n` is a column.
            unsafe {
                columns.names.push(text(ffi::sqlite3_column_name(self.raw(), n)).unwrap_or_default());
                columns.decltypes.push(text(ffi::sqlite3_column_decltype(self.raw(), n)).unwrap_or_default());
                columns.tables.push(text(ffi::sqlite3_column_table_name(self.raw(), n)));
            }
        }
        columns
    }

    /// Values it wants bound; a name that is repeated counts once.
    pub fn parameter_count(&self) -> usize {
        // SAFETY: live.
        unsafe { ffi::sqlite3_bind_parameter_count(self.raw()) as usize }
    }

    /// Binds `arguments[start..]` as the reference does: by position within its own slice, by name from everywhere.
    /// The caller has checked that there are enough. Errors are texts for the client.
    ///
    /// Source: go-sqlite3's `exec`/`query` loop and `bind`; http-data.md §4.4.
    pub fn bind(&mut self, arguments: &[Parameter], start: usize) -> Result<(), SqlError> {
        // SAFETY: live, and not running.
        unsafe { ffi::sqlite3_clear_bindings(self.raw()) };
        let end = (start + self.parameter_count()).min(arguments.len());
        for (n, argument) in arguments.iter().enumerate() {
            let own = (start..end).contains(&n);
            if argument.name.is_empty() {
                if own {
                    self.bind_value((n - start + 1) as c_int, argument)?;
                }
                continue;
            }
            for prefix in [":", "@", "$"] {
                let mut name = format!("{prefix}{}", argument.name).into_bytes();
                name.push(0);
                // SAFETY: live; the name ends in NUL (an earlier NUL only ends it sooner).
                let index = unsafe { ffi::sqlite3_bind_parameter_index(self.raw(), name.as_ptr().cast()) };
                if index > 0 {
                    self.bind_value(index, argument)?;
                }
            }
        }
        Ok(())
    }

    fn bind_value(&mut self, index: c_int, argument: &Parameter) -> Result<(), SqlError> {
        use command::Value;
        let copy = ffi::SQLITE_TRANSIENT();
        // SAFETY: live and not running; SQLite copies text and blobs before the call returns.
        let code = unsafe {
            match &argument.value {
                None => ffi::sqlite3_bind_null(self.raw(), index),
                Some(Value::Integer(integer)) => ffi::sqlite3_bind_int64(self.raw(), index, *integer),
                Some(Value::Real(real)) => ffi::sqlite3_bind_double(self.raw(), index, *real),
                Some(Value::Text(text)) => {
                    let (pointer, length) = (text.as_ptr().cast(), text.len() as u64);
                    ffi::sqlite3_bind_text64(self.raw(), index, pointer, length, copy, ffi::SQLITE_UTF8 as u8)
                }
                Some(Value::Blob(blob)) if blob.is_empty() => ffi::sqlite3_bind_zeroblob(self.raw(), index, 0),
                Some(Value::Blob(blob)) => {
                    ffi::sqlite3_bind_blob64(self.raw(), index, blob.as_ptr().cast(), blob.len() as u64, copy)
                }
            }
        };
        match code {
            ffi::SQLITE_OK => Ok(()),
            // SAFETY: the connection outlives the statement.
            code => Err(unsafe { SqlError::of(self.db(), code) }),
        }
    }

    /// Runs to the next row; false at the end.
    pub fn step(&mut self) -> Result<bool, SqlError> {
        // SAFETY: live.
        match unsafe { ffi::sqlite3_step(self.raw()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            // SAFETY: the connection outlives the statement.
            code => Err(unsafe { SqlError::of(self.db(), code) }),
        }
    }

    /// Ends the run. An error of the last step was reported there; one of the end itself (a deferred constraint
    /// that fails as the statement commits) is reported here.
    pub fn reset(&mut self) -> Result<(), SqlError> {
        // SAFETY: live.
        match unsafe { ffi::sqlite3_reset(self.raw()) } {
            ffi::SQLITE_OK => Ok(()),
            // SAFETY: the connection outlives the statement.
            code => Err(unsafe { SqlError::of(self.db(), code) }),
        }
    }

    /// Starts the count of VM steps again (hazard H9: it survives a reset, and the budget's callbacks depend on it).
    pub fn restart_step_count(&mut self) {
        // SAFETY: live.
        unsafe { ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_VM_STEP, 1) };
    }

    /// The current row's value in column `n`. Valid until the next step or reset.
    pub fn value(&self, n: usize) -> ValueRef<'_> {
        let n = n as c_int;
        let raw = self.raw();
        // SAFETY: live and on a row; type first, then the accessor of that type, so that nothing is converted; the
        // bytes stay valid while `self` is borrowed, since a step needs it mutably.
        unsafe {
            let bytes = |pointer: *const u8| {
                let length = ffi::sqlite3_column_bytes(raw, n) as usize;
                if length == 0 { &[] } else { std::slice::from_raw_parts(pointer, length) }
            };
            match ffi::sqlite3_column_type(raw, n) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(raw, n)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(raw, n)),
                ffi::SQLITE_TEXT => ValueRef::Text(bytes(ffi::sqlite3_column_text(raw, n))),
                ffi::SQLITE_BLOB => ValueRef::Blob(bytes(ffi::sqlite3_column_blob(raw, n).cast())),
                _ => ValueRef::Null,
            }
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: live, and gone after this. The code repeats the last step's error.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}
