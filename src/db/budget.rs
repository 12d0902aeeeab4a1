//! How long a statement may run.
//!
//! On the writer the bound is a number of VM steps from the entry, so that every node ends a statement at the same
//! point; on a reader it is a deadline. SQLite calls back every [`STEPS_PER_CALL`] steps.
//!
//! Two things would make the count depend on a node's past (hazard H9): preparing calls back too, so only a running
//! statement is charged; and the step counter of a prepared statement survives its reset. Statements of the client are
//! restarted before each run. SQLite also keeps statements of its own (FTS5's), which run inside a client's and are
//! charged to it, so that their loops have an end: they are restarted with each request, and so count from 0 on a node
//! that prepares them only now as on one that has had them for days.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, ffi};
use tokio::time::Instant;

/// VM steps between two calls: about a millisecond.
pub const STEPS_PER_CALL: i32 = 20_000;

/// VM steps that stand for one millisecond of `db_timeout`.
pub const STEPS_PER_MS: u64 = 20_000;

/// VM steps that a statement may take if the request has no `db_timeout`.
pub const STATEMENT_STEPS: u64 = 4_000_000_000;

/// Shared by a connection and its progress handler. Counts are in calls.
pub(super) struct Budget {
    /// A statement is running.
    is_charging: AtomicBool,
    statement_left: AtomicI64,
    request_left: AtomicI64,
    expired: AtomicBool,
    deadline: Mutex<Option<Instant>>,
}

impl Budget {
    /// Installs the handler of a connection.
    pub fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let budget = Arc::new(Self {
            is_charging: AtomicBool::new(false),
            statement_left: AtomicI64::new(i64::MAX),
            request_left: AtomicI64::new(i64::MAX),
            expired: AtomicBool::new(false),
            deadline: Mutex::new(None),
        });
        let handler = budget.clone();
        connection.progress_handler(STEPS_PER_CALL, Some(move || handler.is_over()))?;
        Ok(budget)
    }

    /// Sets the steps that all statements of a request on `connection` share; 0: no bound.
    pub fn begin_request(&self, connection: &Connection, steps: u64) {
        restart_step_counts(connection);
        self.request_left.store(calls(steps), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
    }

    /// Sets when a reader's statements end.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().expect("no panic holds this lock") = deadline;
        self.expired.store(false, Ordering::Relaxed);
    }

    /// Whether a bound was met since the request began.
    pub fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
            || self.request_left.load(Ordering::Relaxed) <= 0
            || self
                .deadline
                .lock()
                .expect("no panic holds this lock")
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Charges what `work` runs; `steps` for this statement, 0: no bound of its own.
    pub fn charge<R>(&self, steps: u64, work: impl FnOnce() -> R) -> R {
        self.statement_left.store(calls(steps), Ordering::Relaxed);
        self.is_charging.store(true, Ordering::Relaxed);
        let result = work();
        self.is_charging.store(false, Ordering::Relaxed);
        result
    }

    fn is_over(&self) -> bool {
        if !self.is_charging.load(Ordering::Relaxed) {
            return false;
        }
        let statement = self.statement_left.fetch_sub(1, Ordering::Relaxed) - 1;
        let request = self.request_left.fetch_sub(1, Ordering::Relaxed) - 1;
        let over = statement <= 0 || request <= 0 || self.is_expired();
        self.expired.fetch_or(over, Ordering::Relaxed);
        over
    }
}

fn calls(steps: u64) -> i64 {
    if steps == 0 { i64::MAX } else { (steps / STEPS_PER_CALL as u64).max(1) as i64 }
}

/// Starts the step counters of all of the connection's statements again, SQLite's own too.
fn restart_step_counts(connection: &Connection) {
    let mut statement = std::ptr::null_mut();
    loop {
        // SAFETY: the connection is open and on its own lane, so the list of its statements doesn't change here.
        unsafe {
            statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
            if statement.is_null() {
                return;
            }
            ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 1);
        }
    }
}
