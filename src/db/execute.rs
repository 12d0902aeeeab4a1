//! Applying a request of statements on the writer.
//!
//! Each request runs exactly as its client asked: one transaction, or statement by statement. Whether a statement
//! reads, writes or returns rows is asked of SQLite. A request leaves the connection as it found it.

use std::time::Duration;

use rusqlite::ffi;
use tokio::time::Instant;

use super::authorizer::seen;
use super::budget::STATEMENT_STEPS;
use super::cache::{Cached, TEXT_MAX};
use super::connection::Connection;
use super::determinism::NO_ROWID;
use super::statement::Statement;
use super::value::{Columns, StatementResult, Value, ValueRef};
use super::{SqlError, entry, fault};
use crate::command::{Execute, Limits, Parameter};

/// Bytes of rows that one request may answer with: beyond, its statement fails on every node.
const ROWS_BYTES_MAX: usize = 64 << 20;

/// Bytes that a value takes in memory, beside those of its text.
const VALUE_BYTES: usize = size_of::<Value>();

/// SQLite's largest database, in pages.
const PAGES_MAX: u32 = 4_294_967_294;

/// What a client's `PRAGMA optimize` becomes: the choice of tables must not depend on what this connection
/// happened to plan before (hazard H10).
const OPTIMIZE: &str = "PRAGMA optimize=0x10012";

/// What makes statements that were prepared before stale, and what a later run of the same text may see otherwise.
const STALING: u32 = seen::PRAGMA | seen::OPTIMIZE | seen::SCHEMA | seen::STATISTICS | seen::ALTER;

/// What a request answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    pub results: Vec<StatementResult>,
    /// An error of the request as a whole.
    pub error: Option<String>,
    /// Whether a statement ran that can change the database.
    pub changed: bool,
    /// Bytes of the rows, whether or not they were built.
    pub rows_bytes: usize,
}

/// What the reads of a request answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// As writes, after their first row: /db/execute.
    Counts,
    /// Their rows: /db/request.
    Rows,
}

/// This node can't go on applying: a call below SQLite failed, or another program holds the database.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// How one statement ended, if not well.
pub(super) enum Failure {
    /// Equal on every node.
    Result(String),
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

/// The writer: a connection, and what the reference's JSON shows of its past.
pub struct Writer {
    pub(super) connection: Connection,
    /// The reference reads `sqlite3_last_insert_rowid` and `sqlite3_changes` whether or not the statement wrote. Ours
    /// start anew with each request for SQL's sake, so the JSON's values are kept here.
    last_insert_id: i64,
    rows_affected: i64,
    /// Of the database; 0: not asked yet.
    page_size: u64,
    /// The bound in force; SQLite never sets it below the pages that there are.
    max_page_count: u32,
    /// A transaction of several requests is open: the counters as they were before it.
    shared_from: Option<(i64, i64)>,
    /// Whether requests may share a transaction in this database; `None`: not asked since its schema changed.
    is_shareable: Option<bool>,
}

impl Writer {
    /// Wraps a connection opened as a writer.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            last_insert_id: 0,
            rows_affected: 0,
            page_size: 0,
            max_page_count: 0,
            shared_from: None,
            is_shareable: None,
        }
    }

    /// The connection, to be read only.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sets whether foreign keys are enforced; no transaction is open.
    pub fn set_foreign_keys(&self, on: bool) -> Result<(), Fault> {
        self.connection.set_foreign_keys(on).map_err(|error| Fault(error.to_string()))
    }

    /// Whether the database is as a new one: no schema, and nothing that a file made anew would not have.
    pub fn is_empty(&self) -> Result<bool, Fault> {
        const SQL: &str = "SELECT NOT EXISTS(SELECT 1 FROM sqlite_schema) AND page_size = 4096 AND auto_vacuum = 0 \
             AND encoding = 'UTF-8' AND user_version = 0 AND application_id = 0 FROM pragma_page_size, \
             pragma_auto_vacuum, pragma_encoding, pragma_user_version, pragma_application_id";
        let connection = &self.connection;
        let answer = connection.authorizer.internally(|| connection.raw.query_row(SQL, [], |row| row.get(0)));
        answer.map_err(|error| node_fault(&SqlError::from(error)))
    }

    /// Runs a request within `limits`. `wants_rows`: somebody waits for its rows; without, they are counted but not
    /// built.
    pub fn execute(
        &mut self,
        request: &Execute,
        reads: Reads,
        limits: &Limits,
        wants_rows: bool,
    ) -> Result<Executed, Fault> {
        assert!(!self.is_sharing(), "what is shared is committed first");
        let counters = (self.last_insert_id, self.rows_affected);
        let group = if request.transaction || request.statements.len() < 2 { Group::Never } else { Group::Unopened };
        if let Some(executed) = self.attempt(request, reads, limits, wants_rows, group, false)? {
            return Ok(executed);
        }
        // Nothing of the first attempt is left; this one shows what each statement does by itself.
        (self.last_insert_id, self.rows_affected) = counters;
        entry::restart();
        let executed = self.attempt(request, reads, limits, wants_rows, Group::Never, false)?;
        Ok(executed.expect("statements by themselves spoil no group"))
    }

    /// Runs a request in one transaction with those before it, and leaves that open if it can: a commit costs more than
    /// a small write. It ends with [`Writer::commit_shared`]. `None`: all that it held was undone, and is to be run by
    /// [`Writer::execute`]; so nobody may have heard of it.
    pub fn execute_shared(
        &mut self,
        request: &Execute,
        reads: Reads,
        limits: &Limits,
        wants_rows: bool,
    ) -> Result<Option<Executed>, Fault> {
        if request.transaction || !self.is_limited_to(limits.max_bytes)? || !self.is_shareable()? {
            if !self.commit_shared()? {
                return Ok(None);
            }
            return self.execute(request, reads, limits, wants_rows).map(Some);
        }
        let before = self.shared_from;
        let counters = before.unwrap_or((self.last_insert_id, self.rows_affected));
        let group = if before.is_some() { Group::Open } else { Group::Unopened };
        let executed = self.attempt(request, reads, limits, wants_rows, group, true)?;
        if executed.is_none() {
            (self.last_insert_id, self.rows_affected) = counters;
        }
        self.shared_from = (!self.connection.is_autocommit()).then_some(counters);
        Ok(executed)
    }

    /// Whether a transaction of [`Writer::execute_shared`] is open.
    pub fn is_sharing(&self) -> bool {
        self.shared_from.is_some()
    }

    /// Commits what requests have shared, if they have. False: all of it was undone, as by [`Writer::execute_shared`].
    pub fn commit_shared(&mut self) -> Result<bool, Fault> {
        let Some(counters) = self.shared_from.take() else {
            return Ok(true);
        };
        match self.commit() {
            Ok(()) => Ok(true),
            Err(Failure::Fault(fault)) => Err(fault),
            Err(Failure::Result(_)) => {
                if !self.connection.is_autocommit() {
                    self.internal("ROLLBACK")?;
                }
                (self.last_insert_id, self.rows_affected) = counters;
                Ok(false)
            }
        }
    }

    /// Not where a commit does more than to commit, since each node has its own: a virtual table writes what it has
    /// gathered (FTS5), auto-vacuum moves pages.
    fn is_shareable(&mut self) -> Result<bool, Fault> {
        const SQL: &str = "SELECT auto_vacuum = 0 AND NOT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'table' AND \
             rootpage = 0) FROM pragma_auto_vacuum";
        if self.is_shareable.is_none() {
            let connection = &self.connection;
            let answer = connection.authorizer.internally(|| connection.raw.query_row(SQL, [], |row| row.get(0)));
            self.is_shareable = Some(answer.map_err(|error| node_fault(&SqlError::from(error)))?);
        }
        Ok(self.is_shareable == Some(true))
    }

    /// Runs a request; `None`: its group was spoilt, and all of it was undone. `stays_open`: the group, if it is well.
    fn attempt(
        &mut self,
        request: &Execute,
        reads: Reads,
        limits: &Limits,
        wants_rows: bool,
        group: Group,
        stays_open: bool,
    ) -> Result<Option<Executed>, Fault> {
        self.begin(limits, group)?;
        let executed = Executed::default();
        let began = Instant::now();
        let mut run = Run { writer: self, limits, reads, wants_rows, executed, is_read: false, group, began };
        if request.transaction { run.transaction(request) } else { run.statements(request, stays_open) }?;
        let (mut executed, group) = (run.executed, run.group);
        if group == Group::Spoilt && !self.connection.is_autocommit() {
            self.internal("ROLLBACK")?;
        }
        self.end(&mut executed, group)?;
        Ok((group != Group::Spoilt).then_some(executed))
    }

    /// What every request begins with.
    pub(super) fn begin(&mut self, limits: &Limits, group: Group) -> Result<(), Fault> {
        let is_open = !self.connection.is_autocommit();
        assert_eq!(is_open, group == Group::Open, "the request before left a transaction open");
        fault::clear();
        self.limit_size(limits.max_bytes)?;
        self.connection.begin_request().map_err(|error| node_fault(&error))?;
        self.connection.budget.begin_request(&self.connection.raw, limits.request_steps);
        Ok(())
    }

    /// Leaves the connection as the request found it, but for a group that stays open.
    pub(super) fn end(&mut self, executed: &mut Executed, group: Group) -> Result<(), Fault> {
        if !self.connection.is_autocommit() && group != Group::Open {
            self.internal("ROLLBACK")?;
            executed.error.get_or_insert("transaction still open at the end of the request: rolled back".into());
        }
        let seen = self.connection.authorizer.take_seen_in_request();
        if seen & seen::PRAGMA != 0 {
            // Both are set while the pragma is prepared, even if it then fails or is only explained.
            self.internal("PRAGMA recursive_triggers=0; PRAGMA defer_foreign_keys=0")?;
        }
        if seen & (seen::SCHEMA | seen::STATISTICS | seen::OPTIMIZE) != 0 {
            // The schema is loaded anew, and with it the planner's statistics: else a node that restarts here would
            // plan otherwise than one that doesn't (hazard H10). ANALYZE sqlite_schema isn't enough: a table keeps
            // its estimate when its rows in sqlite_stat1 are gone.
            self.internal("PRAGMA writable_schema=RESET")?;
        }
        if seen & STALING != 0 {
            self.connection.statements.clear();
            self.is_shareable = None;
        }
        Ok(())
    }

    /// What the reference's JSON shows of a statement that ran; `seen` by the authorizer as it was prepared.
    pub(super) fn counters(&mut self, seen: u32, is_explain: bool) -> StatementResult {
        // SAFETY: the connection is open.
        let (rowid, changes) = unsafe {
            let db = self.connection.handle();
            (ffi::sqlite3_last_insert_rowid(db), ffi::sqlite3_changes64(db))
        };
        if rowid != NO_ROWID {
            self.last_insert_id = rowid;
        }
        let is_dml = seen & seen::WRITE != 0 && seen & seen::SCHEMA == 0;
        if is_dml && !is_explain {
            self.rows_affected = changes;
        }
        let (last_insert_id, rows_affected) = (self.last_insert_id, self.rows_affected);
        StatementResult::Write { last_insert_id, rows_affected, elapsed: Duration::ZERO }
    }

    fn limit_size(&mut self, max_bytes: u64) -> Result<(), Fault> {
        if !self.is_limited_to(max_bytes)? {
            // More than wanted, if the database is larger: then it is set again with the next request, as on a node
            // that restarts in between.
            let wanted = pages(max_bytes, self.page_size);
            let in_force =
                self.connection.pragma(&format!("max_page_count={wanted}")).map_err(|error| node_fault(&error))?;
            self.max_page_count = in_force.first().map_or(0, |&pages| pages as u32);
        }
        Ok(())
    }

    /// Whether the bound on the size is in force already.
    fn is_limited_to(&mut self, max_bytes: u64) -> Result<bool, Fault> {
        if self.page_size == 0 {
            let answer = self.connection.pragma("page_size").map_err(|error| node_fault(&error))?;
            self.page_size = answer.first().map_or(4096, |&size| size as u64);
        }
        Ok(self.max_page_count == pages(max_bytes, self.page_size))
    }

    fn commit(&self) -> Result<(), Failure> {
        let connection = &self.connection;
        let committed = connection.authorizer.internally(|| connection.raw.execute_batch("COMMIT"));
        committed.map_err(|error| classify(&SqlError::from(error)))
    }

    /// Runs a statement of ours, which has no reason to fail but this node.
    pub(super) fn internal(&mut self, sql: &str) -> Result<(), Fault> {
        let connection = &self.connection;
        let done = connection.authorizer.internally(|| connection.raw.execute_batch(sql));
        done.map_err(|error| node_fault(&SqlError::from(error)))
    }

    /// Takes `sql` from the prepared ones; otherwise prepares its first statement. Returns the tail's offset too.
    fn take_prepared(&mut self, sql: &str) -> Result<(Option<Cached>, usize), Failure> {
        if let Some(cached) = self.connection.statements.take(sql) {
            return Ok((Some(cached), sql.len()));
        }
        let (prepared, seen) =
            self.connection.prepare(sql, ffi::SQLITE_PREPARE_PERSISTENT).map_err(|error| classify(&error))?;
        let statement = prepared.statement.map(|statement| Cached { statement, seen });
        Ok((statement, prepared.tail))
    }
}

/// The transaction that the first writes of a request share, or those of several requests, although each would have its
/// own: a commit costs more than a small write (hazard H4). Whatever could show it (an error, a deferred foreign key, a
/// statement that ends the transaction) undoes all of it, and what it held is run anew without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Nothing was written yet.
    Unopened,
    Open,
    /// From here on each statement is by itself.
    Never,
    Spoilt,
}

/// One request on its way.
struct Run<'a> {
    writer: &'a mut Writer,
    limits: &'a Limits,
    reads: Reads,
    wants_rows: bool,
    executed: Executed,
    /// The text that runs answers as a read: its first statement is one.
    is_read: bool,
    group: Group,
    /// When the one before ended, and so this one began: reading the clock takes as long as a small statement's step.
    began: Instant,
}

impl Run<'_> {
    fn statements(&mut self, request: &Execute, stays_open: bool) -> Result<(), Fault> {
        for statement in &request.statements {
            if statement.sql.is_empty() {
                continue;
            }
            let result = self.statement(&statement.sql, &statement.parameters)?;
            if result.is_err() && self.group == Group::Open {
                self.group = Group::Spoilt;
            }
            if self.group == Group::Spoilt {
                return Ok(());
            }
            let result = result.unwrap_or_else(|text| self.error(text));
            self.executed.results.push(result);
        }
        if stays_open && self.group == Group::Open {
            return Ok(());
        }
        match self.leave_group() {
            // As a result: the group is spoilt.
            Ok(()) | Err(Failure::Result(_)) => Ok(()),
            Err(Failure::Fault(fault)) => Err(fault),
        }
    }

    /// Before a statement in which the authorizer has seen `seen`: a plain write joins the group, anything else ends it.
    fn join_or_leave_group(&mut self, seen: u32) -> Result<(), Failure> {
        let is_plain_write = seen & seen::WRITE != 0 && seen & !(seen::WRITE | seen::INSERT) == 0;
        match self.group {
            Group::Unopened if is_plain_write => {
                self.writer.internal("BEGIN").map_err(Failure::Fault)?;
                self.group = Group::Open;
                Ok(())
            }
            Group::Unopened | Group::Open if !is_plain_write => self.leave_group(),
            _ => Ok(()),
        }
    }

    /// Commits what the group has written. What comes after can't be undone together with it: it is by itself.
    fn leave_group(&mut self) -> Result<(), Failure> {
        let was_open = self.group == Group::Open;
        self.group = Group::Never;
        if !was_open {
            return Ok(());
        }
        self.writer.commit().inspect_err(|_| self.group = Group::Spoilt)
    }

    /// After a write of the group: whether it has done all that it would have done by itself.
    fn check_group(&mut self) -> Result<(), Failure> {
        let connection = &self.writer.connection;
        if self.group == Group::Open && (connection.is_autocommit() || connection.has_deferred_violations()) {
            self.group = Group::Spoilt;
            return Err(Failure::Result("the group is spoilt".into()));
        }
        Ok(())
    }

    /// BEGIN, the statements until one fails, COMMIT.
    fn transaction(&mut self, request: &Execute) -> Result<(), Fault> {
        self.writer.internal("BEGIN")?;
        for statement in &request.statements {
            if statement.sql.is_empty() {
                continue;
            }
            match self.statement(&statement.sql, &statement.parameters)? {
                Ok(result) => self.executed.results.push(result),
                Err(text) => {
                    let error = self.error(text);
                    self.executed.results.push(error);
                    if !self.writer.connection.is_autocommit() {
                        self.writer.internal("ROLLBACK")?;
                    }
                    return Ok(());
                }
            }
        }
        match self.writer.commit() {
            Ok(()) => {}
            Err(Failure::Fault(fault)) => return Err(fault),
            Err(Failure::Result(text)) => {
                // What ran before a COMMIT of the client's own stays.
                self.executed.results.clear();
                self.executed.error = Some(text);
            }
        }
        Ok(())
    }

    /// Runs all statements of one text; the inner error is a text for the client.
    fn statement(&mut self, text: &str, parameters: &[Parameter]) -> Result<Result<StatementResult, String>, Fault> {
        let mut result = self.pieces(text, parameters);
        let began = std::mem::replace(&mut self.began, Instant::now());
        if let Ok(StatementResult::Write { elapsed, .. } | StatementResult::Rows { elapsed, .. }) = &mut result {
            *elapsed = self.began - began;
        }
        match result {
            Ok(result) => Ok(Ok(result)),
            Err(Failure::Result(text)) => Ok(Err(text)),
            Err(Failure::Fault(fault)) => Err(fault),
        }
    }

    fn pieces(&mut self, text: &str, parameters: &[Parameter]) -> Result<StatementResult, Failure> {
        self.is_read = false;
        let (mut rest, mut start) = (text, 0);
        loop {
            let piece = self.piece(rest, parameters, start, text)?;
            start += piece.parameters;
            rest = rest[piece.tail..].trim_start();
            if rest.is_empty() {
                return Ok(piece.result);
            }
        }
    }

    fn error(&self, text: String) -> StatementResult {
        if self.is_read { StatementResult::ReadError(text) } else { StatementResult::Error(text) }
    }

    /// Runs the first statement of `sql`, which is `text` or what is left of it.
    fn piece(&mut self, sql: &str, parameters: &[Parameter], start: usize, text: &str) -> Result<Piece, Failure> {
        if self.writer.connection.budget.is_expired() {
            return Err(self.timeout());
        }
        let (mut cached, mut tail) = self.writer.take_prepared(sql)?;
        if self.group == Group::Open && cached.as_ref().is_some_and(|cached| cached.seen & seen::PRAGMA != 0) {
            // It does its work while it is prepared, and some (foreign_keys) do nothing in a transaction.
            drop(cached);
            self.leave_group()?;
            (cached, tail) = self.writer.take_prepared(sql)?;
        }
        if let Some(cached) = cached.as_mut().filter(|cached| cached.seen & seen::OPTIMIZE != 0) {
            let (prepared, _) = self.writer.connection.prepare(OPTIMIZE, 0).map_err(|error| classify(&error))?;
            cached.statement = prepared.statement.expect("our own text is a statement");
        }
        let is_first = sql.len() == text.len();
        if is_first && self.reads == Reads::Rows {
            self.is_read = cached.as_ref().is_none_or(|cached| cached.statement.is_read());
        }
        let Some(mut cached) = cached else {
            return Ok(Piece { result: self.nothing(), parameters: 0, tail });
        };
        let wanted = cached.statement.parameter_count();
        let left = parameters.len().saturating_sub(start);
        // Quirk: without any argument the reference doesn't check a write, and binds NULLs, unless there is a
        // db_timeout; and it tells how many there were of a write, how many are left of a read.
        let is_unchecked = !self.is_read && parameters.is_empty() && self.limits.request_steps == 0;
        if left < wanted && !is_unchecked {
            let got = if self.is_read { left } else { parameters.len() };
            return Err(Failure::Result(format!("not enough args to execute query: want {wanted} got {got}")));
        }
        check_names(parameters).map_err(Failure::Result)?;
        cached.statement.bind(parameters, start).map_err(|error| classify(&error))?;

        self.join_or_leave_group(cached.seen)?;
        let is_last = sql[tail..].trim_start().is_empty();
        let run = self.run(&mut cached, is_last);
        let ended = cached.statement.reset();
        // With what showed only now: a VACUUM.
        let seen = cached.seen | self.writer.connection.authorizer.take_seen();
        if seen & STALING != 0 {
            // A stale statement pays for its preparation while it runs; one that isn't kept, before (hazard H9).
            self.writer.connection.statements.clear();
        }
        let result = match (run, ended) {
            (Ok(result), Ok(())) => result,
            (Ok(_), Err(error)) | (Err(error), _) => return Err(self.failure(&error)),
        };
        self.check_group()?;
        // Only what is one statement, and the same the next time, is worth keeping.
        if is_first && is_last && sql.len() <= TEXT_MAX && seen & STALING == 0 {
            self.writer.connection.statements.put(sql, cached);
        }
        Ok(Piece { result, parameters: wanted, tail })
    }

    fn run(&mut self, cached: &mut Cached, is_last: bool) -> Result<StatementResult, SqlError> {
        let connection = &self.writer.connection;
        let statement = &mut cached.statement;
        statement.restart_step_count();
        let steps = if self.limits.statement_steps == 0 { STATEMENT_STEPS } else { self.limits.statement_steps };
        let (wants_rows, bytes) = (self.wants_rows, &mut self.executed.rows_bytes);
        let is_returning = statement.column_count() > 0 && !statement.is_read() && cached.seen & seen::PRAGMA == 0;
        let returns_rows = is_returning || (self.is_read && is_last);
        // Before it runs: one that fails may leave changes behind (INSERT OR FAIL).
        self.executed.changed |= !statement.is_readonly();
        let rows = connection.authorizer.stepping(cached.seen, || {
            connection.budget.charge(steps, || {
                if returns_rows {
                    return collect(statement, wants_rows, bytes, connection.handle()).map(Some);
                }
                // As the reference: one step. A SELECT runs to its first row, which is dropped.
                statement.step().map(|_| None)
            })
        });
        let write = self.writer.counters(cached.seen, cached.statement.is_explain());
        Ok(match rows? {
            Some(rows) => {
                let columns = cached.statement.columns();
                StatementResult::Rows { columns, rows, elapsed: Duration::ZERO, is_read: self.is_read }
            }
            None => write,
        })
    }

    /// What a text without a statement answers.
    fn nothing(&self) -> StatementResult {
        let elapsed = Duration::ZERO;
        match self.is_read {
            true => StatementResult::Rows { columns: Columns::default(), rows: Vec::new(), elapsed, is_read: true },
            false => StatementResult::Write { last_insert_id: 0, rows_affected: 0, elapsed },
        }
    }

    fn timeout(&self) -> Failure {
        Failure::Result(if self.is_read { "query timeout" } else { "execute timeout" }.into())
    }

    fn failure(&self, error: &SqlError) -> Failure {
        if error.primary() == ffi::SQLITE_INTERRUPT {
            return match fault::take() {
                Some(recorded) => Failure::Fault(Fault(format!("{recorded} ({error})"))),
                None if self.writer.connection.budget.is_expired() => self.timeout(),
                None => Failure::Result(format!("rows of the request are more than {ROWS_BYTES_MAX} bytes")),
            };
        }
        classify(error)
    }
}

/// A bound of `max_bytes` (0: none) on a database with pages of `page_size` bytes.
fn pages(max_bytes: u64, page_size: u64) -> u32 {
    if max_bytes == 0 { PAGES_MAX } else { (max_bytes / page_size).clamp(1, PAGES_MAX as u64) as u32 }
}

struct Piece {
    result: StatementResult,
    /// Bound from the argument list.
    parameters: usize,
    tail: usize,
}

/// The rows of a statement. They count against the bound whether or not they are built: it is a result.
fn collect(
    statement: &mut Statement,
    build: bool,
    bytes: &mut usize,
    db: *mut ffi::sqlite3,
) -> Result<Vec<Vec<Value>>, SqlError> {
    let columns = statement.column_count();
    let mut rows = Vec::new();
    while statement.step()? {
        *bytes += size_of::<Vec<Value>>();
        for n in 0..columns {
            *bytes += match statement.value(n) {
                ValueRef::Text(text) | ValueRef::Blob(text) => text.len() + VALUE_BYTES,
                _ => VALUE_BYTES,
            };
        }
        if *bytes > ROWS_BYTES_MAX {
            // SAFETY: the connection is open. The next step fails and rolls the statement back.
            unsafe { ffi::sqlite3_interrupt(db) };
        } else if build {
            rows.push((0..columns).map(|n| statement.value(n).into()).collect());
        }
    }
    Ok(rows)
}

/// Names carry no prefix and begin with a letter.
///
/// Source: Go's `database/sql` `validateNamedValueName`; http-data.md §4.4.
pub(super) fn check_names(parameters: &[Parameter]) -> Result<(), String> {
    for parameter in parameters.iter().filter(|parameter| !parameter.name.is_empty()) {
        if !parameter.name.starts_with(char::is_alphabetic) {
            return Err(format!("name {:?} does not begin with a letter", parameter.name));
        }
    }
    Ok(())
}

/// Tells a result, equal on every node, from a fault of this one (hazard H5).
pub(super) fn classify(error: &SqlError) -> Failure {
    if let Some(recorded) = fault::take() {
        return Failure::Fault(Fault(format!("{recorded} ({error})")));
    }
    match error.primary() {
        // Not LOCKED: nobody shares the connection's cache, so it is a virtual table that gets in its own way, which
        // it does on every node.
        ffi::SQLITE_BUSY | ffi::SQLITE_READONLY | ffi::SQLITE_PROTOCOL => Failure::Fault(node_fault(error)),
        _ => Failure::Result(error.message.clone()),
    }
}

pub(super) fn node_fault(error: &SqlError) -> Fault {
    match fault::take() {
        Some(recorded) => Fault(format!("{recorded} ({error})")),
        None => Fault(error.to_string()),
    }
}
