//! A connection to SQLite, configured the one way that the checkpoint protocol and determinism allow.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::ffi;
use rusqlite::limits::Limit;

use super::authorizer::{Authorizer, Role};
use super::budget::Budget;
use super::cache::StatementCache;
use super::statement::{Prepared, Statement};
use super::{SqlError, determinism, entry};

/// Part of the engine fingerprint: raised with every change of what applying an entry computes (functions,
/// authorizer, limits, pragmas below).
pub const RULES_VERSION: u32 = 2;

/// Bytes of page cache of a connection.
const CACHE_BYTES: i64 = 8 << 20;

/// Statements kept prepared on the writer, and on each of many readers.
const WRITER_STATEMENTS: usize = 256;
const READER_STATEMENTS: usize = 32;

/// All of SQLite's limits, so that no build's default decides what is a result. ATTACHED serves VACUUM.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, determinism::LENGTH_MAX as i32),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000_000),
    (Limit::SQLITE_LIMIT_COLUMN, 2_000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 500),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 1_000),
    (Limit::SQLITE_LIMIT_ATTACHED, 10),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50_000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1_000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// A connection and its prepared statements, which are dropped first.
pub struct Connection {
    pub(super) statements: StatementCache,
    /// Writers have it: sets `changes()` to 0.
    forget_changes: Option<Statement>,
    pub(super) raw: rusqlite::Connection,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) budget: Arc<Budget>,
    /// `sqlite3_total_changes64` at the start of the request.
    pub(super) total_before: Arc<AtomicI64>,
}

impl Connection {
    /// Opens the file at `path` through the VFS `vfs`. A writer creates what doesn't exist and sets WAL mode;
    /// a reader is read-only.
    pub fn open(path: &Path, vfs: &str, role: Role) -> Result<Self, SqlError> {
        let flags = match role {
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Role::Internal => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        // FTS5 draws a header for its locale blobs when a connection opens: the same one everywhere (hazard H8).
        let mut raw = entry::scope(0, b"connection", || {
            rusqlite::Connection::open_with_flags_and_vfs(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX, vfs)
        })?;
        // Only the protocol in `checkpoint` may write the main file (hazard H3).
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // The bundled build defaults to on; the record decides.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        // Ours never waits in SQLite: other processes are locked out, and the simulation must not block.
        raw.busy_timeout(std::time::Duration::ZERO)?;
        for &(limit, value) in LIMITS {
            raw.set_limit(limit, value)?;
        }
        // To the end, not to the first row: journal_mode answers before it commits, and that can fail.
        let set = |pragma: &str| -> Result<Option<String>, SqlError> {
            let mut statement = raw.prepare(&format!("PRAGMA {pragma}"))?;
            let mut rows = statement.raw_query();
            let mut answer = None;
            while let Some(row) = rows.next()? {
                answer = row.get_ref(0)?.as_str().ok().map(String::from);
            }
            Ok(answer)
        };
        set(&format!("cache_size={}", -CACHE_BYTES / 1024))?;
        set("wal_autocheckpoint=0")?;
        if role == Role::Writer {
            let mode = set("journal_mode=wal")?;
            if mode.as_deref() != Some("wal") {
                return Err(SqlError { code: ffi::SQLITE_ERROR, message: format!("journal mode is {mode:?}") });
            }
            set("synchronous=OFF")?;
            // Two nodes' files are then equal to the byte but for the change counters (storage-findings §8).
            set("secure_delete=ON")?;
        }
        let total_before = Arc::new(AtomicI64::new(0));
        if role == Role::Writer {
            determinism::install(&raw, &total_before)?;
        }
        let mut forget_changes = None;
        if role == Role::Writer {
            raw.execute_batch("CREATE TEMP TABLE rqlite_nothing(x)")?;
            let forget = "DELETE FROM temp.rqlite_nothing WHERE 0";
            // SAFETY: the connection is open, and closed after its statements are dropped (the fields' order).
            let prepared =
                unsafe { Statement::prepare(raw.handle(), forget.as_bytes(), ffi::SQLITE_PREPARE_PERSISTENT) };
            forget_changes = prepared?.statement;
        }
        let authorizer = Authorizer::install(&raw, role);
        let budget = Budget::install(&mut raw)?;
        let statements = StatementCache::new(if role == Role::Writer { WRITER_STATEMENTS } else { READER_STATEMENTS });
        Ok(Self { statements, forget_changes, raw, authorizer, budget, total_before })
    }

    /// The handle, for calls that rusqlite doesn't have.
    pub(super) fn handle(&self) -> *mut ffi::sqlite3 {
        // SAFETY: used only while `self` is borrowed, on the lane that owns it.
        unsafe { self.raw.handle() }
    }

    /// Runs our own statement, whatever the authorizer thinks, and returns its first row's columns as integers.
    pub(super) fn pragma(&self, pragma: &str) -> Result<Vec<i64>, SqlError> {
        self.authorizer.internally(|| {
            let mut statement = self.raw.prepare(&format!("PRAGMA {pragma}"))?;
            let columns = statement.column_count();
            let mut rows = statement.raw_query();
            let mut answer = Vec::new();
            if let Some(row) = rows.next()? {
                for n in 0..columns {
                    answer.push(row.get::<_, Option<i64>>(n).unwrap_or_default().unwrap_or_default());
                }
            }
            // What it changes is committed behind its last row.
            while rows.next()?.is_some() {}
            Ok(answer)
        })
    }

    /// Whether foreign keys are enforced.
    pub fn foreign_keys(&self) -> Result<bool, SqlError> {
        Ok(self.raw.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY)?)
    }

    /// Sets whether foreign keys are enforced.
    pub fn set_foreign_keys(&self, on: bool) -> Result<(), SqlError> {
        self.raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, on)?;
        Ok(())
    }

    /// Prepares the first statement of `sql`; what the authorizer saw comes with it.
    pub(super) fn prepare(&self, sql: &str, flags: u32) -> Result<(Prepared, u32), SqlError> {
        self.prepare_bytes(sql.as_bytes(), flags)
    }

    /// [`Connection::prepare`] of text that needn't be UTF-8: literals in a dump hold what the database held.
    pub(super) fn prepare_bytes(&self, sql: &[u8], flags: u32) -> Result<(Prepared, u32), SqlError> {
        self.authorizer.take_seen();
        // SAFETY: the connection is open. Statements are dropped before it: the cache by the order of the fields,
        // others by their owners (see `Cursor`).
        let prepared = unsafe { Statement::prepare(self.handle(), sql, flags) };
        Ok((prepared?, self.authorizer.take_seen()))
    }

    /// Marks the start of a request: `changes()` and the like count from here (hazard H11).
    ///
    /// SQLite has no way to set `changes()`. To answer 0 while no statement of the request has ended is not enough: a
    /// trigger's frame gives back the count from before its statement. So a DELETE of nothing sets it.
    pub(super) fn begin_request(&mut self) -> Result<(), SqlError> {
        self.authorizer.take_seen_in_request();
        // SAFETY: the connection is open.
        let (db, changes) = unsafe { (self.handle(), ffi::sqlite3_changes64(self.handle())) };
        if changes != 0 {
            let forget = self.forget_changes.as_mut().expect("requests run on writers");
            self.authorizer.internally(|| forget.step())?;
            forget.reset()?;
        }
        // SAFETY: the connection is open.
        unsafe {
            ffi::sqlite3_set_last_insert_rowid(db, determinism::NO_ROWID);
            self.total_before.store(ffi::sqlite3_total_changes64(db), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Ends what the connection runs, from another thread.
    pub fn interrupt_handle(&self) -> rusqlite::InterruptHandle {
        self.raw.get_interrupt_handle()
    }

    /// Whether no transaction is open.
    pub fn is_autocommit(&self) -> bool {
        self.raw.is_autocommit()
    }

    /// A look at the content from outside, with the authorizer out of the way; see [`crate::world::Chaos::applied`].
    pub fn look<R>(&self, look: impl FnOnce(&rusqlite::Connection) -> R) -> R {
        self.authorizer.internally(|| look(&self.raw))
    }

    /// Whether the open transaction could not be committed now, because of foreign keys.
    pub(super) fn has_deferred_violations(&self) -> bool {
        let (mut current, mut highest) = (0, 0);
        // SAFETY: the connection is open, and both numbers outlive the call.
        let code = unsafe {
            ffi::sqlite3_db_status(self.handle(), ffi::SQLITE_DBSTATUS_DEFERRED_FKS, &mut current, &mut highest, 0)
        };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite knows its own status");
        current != 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.statements.clear();
        Authorizer::remove(&self.raw);
    }
}
