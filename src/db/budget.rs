//! How long a statement may run.
//!
//! On the writer the bound is a number of VM steps from the entry, so that every node ends a statement at the same
//! point; on a reader it is a deadline. SQLite calls back every [`STEPS_PER_CALL`] steps.
//!
//! Three things would make the count depend on a node's past (hazard H9): the step counter of a prepared statement
//! survives its reset, so the caller restarts it; preparing calls back too, so only a running statement is charged;
//! and statements that SQLite keeps for itself (FTS5's) have counters of their own, so what runs inside another
//! statement isn't charged.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
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
    /// Address of the statement that is charged; 0: none.
    charged: AtomicUsize,
    statement_left: AtomicI64,
    request_left: AtomicI64,
    expired: AtomicBool,
    deadline: Mutex<Option<Instant>>,
}

impl Budget {
    /// Installs the handler of a connection.
    pub fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let budget = Arc::new(Self {
            charged: AtomicUsize::new(0),
            statement_left: AtomicI64::new(i64::MAX),
            request_left: AtomicI64::new(i64::MAX),
            expired: AtomicBool::new(false),
            deadline: Mutex::new(None),
        });
        let handler = budget.clone();
        // SAFETY: the handle is only looked at by the handler, on this connection's thread, while it runs a statement.
        let db = unsafe { connection.handle() } as usize;
        connection.progress_handler(STEPS_PER_CALL, Some(move || handler.is_over(db as *mut ffi::sqlite3)))?;
        Ok(budget)
    }

    /// Sets the steps that all statements of a request share; 0: no bound.
    pub fn begin_request(&self, steps: u64) {
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

    /// Charges the statement at `address` while `work` runs it; `steps` of its own, 0: no bound.
    pub fn charge<R>(&self, address: usize, steps: u64, work: impl FnOnce() -> R) -> R {
        self.statement_left.store(calls(steps), Ordering::Relaxed);
        self.charged.store(address, Ordering::Relaxed);
        let result = work();
        self.charged.store(0, Ordering::Relaxed);
        result
    }

    fn is_over(&self, db: *mut ffi::sqlite3) -> bool {
        let charged = self.charged.load(Ordering::Relaxed);
        if charged == 0 || runs_another(db, charged) {
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

/// Whether a statement other than `charged` is running: then SQLite runs it inside that one.
fn runs_another(db: *mut ffi::sqlite3, charged: usize) -> bool {
    let mut statement = std::ptr::null_mut();
    loop {
        // SAFETY: the handler runs on the connection's own thread, so its list of statements doesn't change here.
        unsafe {
            statement = ffi::sqlite3_next_stmt(db, statement);
            if statement.is_null() {
                return false;
            }
            if statement as usize != charged && ffi::sqlite3_stmt_busy(statement) != 0 {
                return true;
            }
        }
    }
}
