//! Reading on a reader connection, piece by piece.
//!
//! A [`Cursor`] runs a request's statements and writes their rows into a [`RowSink`]; it pauses when the sink has
//! enough, so that a slow client costs one chunk of memory. It owns its connection until it is finished: the pause
//! may be long, and the connection holds a read transaction.

use std::sync::Arc;

use rusqlite::ffi;
use tokio::time::Instant;

use super::SqlError;
use super::authorizer::seen;
use super::cache::{Cached, TEXT_MAX};
use super::connection::Connection;
use super::execute::check_names;
use super::statement::Statement;
use super::value::RowSink;
use crate::command::{self, Parameter};
use crate::metrics::Metrics;

/// What a read may do and how long it may take.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// All statements see one state.
    pub transaction: bool,
    /// `db_timeout`, as a moment.
    pub deadline: Option<Instant>,
    /// What `PRAGMA foreign_keys` answers: the replicated state.
    pub foreign_keys: bool,
    pub metrics: Arc<Metrics>,
}

/// Where a cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The sink has enough; call again.
    Paused,
    Finished,
}

/// A request's reads on their way.
pub struct Cursor {
    /// Dropped before the connection.
    current: Option<Running>,
    connection: Connection,
    statements: std::vec::IntoIter<command::Statement>,
    options: QueryOptions,
    began: bool,
}

struct Running {
    statement: Statement,
    began: Instant,
    /// The sink knows its columns.
    is_open: bool,
    /// To keep it under, prepared.
    text: Option<String>,
}

impl Cursor {
    /// Prepares to run `statements` on `connection`.
    pub fn new(connection: Connection, statements: Vec<command::Statement>, options: QueryOptions) -> Self {
        Self { current: None, connection, statements: statements.into_iter(), options, began: false }
    }

    /// Runs on until the sink holds `enough` bytes or all is done.
    pub fn advance(&mut self, sink: &mut dyn RowSink, enough: usize) -> Progress {
        if !self.began {
            self.begin();
        }
        while sink.buffered() < enough {
            if let Some(running) = &mut self.current {
                if !step(&self.connection, running, sink, &self.options.metrics) {
                    self.end();
                }
                continue;
            }
            let Some(statement) = self.statements.next() else {
                return Progress::Finished;
            };
            if !statement.sql.is_empty() {
                self.start(statement, sink);
            }
        }
        Progress::Paused
    }

    /// Gives the connection back, ready for the next request.
    pub fn into_connection(mut self) -> Result<Connection, SqlError> {
        self.current = None;
        self.connection.budget.set_deadline(None);
        if !self.connection.is_autocommit() {
            self.connection.authorizer.internally(|| self.connection.raw.execute_batch("ROLLBACK"))?;
        }
        Ok(self.connection)
    }

    fn begin(&mut self) {
        self.began = true;
        self.connection.budget.set_deadline(self.options.deadline);
        // A flag of the connection: it can't fail.
        let _ = self.connection.set_foreign_keys(self.options.foreign_keys);
        if self.options.transaction {
            self.options.metrics.db.query_transactions.increment();
            // Deferred: the state is taken with the first read. It can't fail in autocommit.
            let _ = self.connection.authorizer.internally(|| self.connection.raw.execute_batch("BEGIN"));
        }
    }

    fn start(&mut self, statement: command::Statement, sink: &mut dyn RowSink) {
        let began = Instant::now();
        let db = &self.options.metrics.db;
        db.queries.increment();
        if self.connection.budget.is_expired() {
            db.query_errors.increment();
            sink.error("query timeout");
            return;
        }
        match take_prepared(&mut self.connection, statement) {
            Ok(Some((statement, text))) => {
                self.current = Some(Running { statement, began, is_open: false, text });
            }
            Ok(None) => {
                sink.begin(&Default::default());
                sink.end(began.elapsed());
            }
            Err(text) => {
                db.query_errors.increment();
                sink.error(&text);
            }
        }
    }

    /// Ends the statement that runs; one that may come again is kept.
    fn end(&mut self) {
        if let Some(Running { mut statement, text: Some(text), .. }) = self.current.take()
            && statement.reset().is_ok()
        {
            self.connection.statements.put(&text, Cached { statement, seen: 0 });
        }
    }
}

/// Runs to the next row; false when the statement is done, well or not.
fn step(connection: &Connection, running: &mut Running, sink: &mut dyn RowSink, metrics: &Metrics) -> bool {
    let statement = &mut running.statement;
    let stepped = connection.authorizer.stepping(0, || connection.budget.charge(0, || statement.step()));
    // Only now: what was prepared for an older schema is prepared anew by its first step.
    if stepped.is_ok() && !std::mem::replace(&mut running.is_open, true) {
        sink.begin(&statement.columns());
    }
    match stepped {
        Ok(true) => {
            let row: Vec<_> = (0..statement.column_count()).map(|n| statement.value(n)).collect();
            if let Err(text) = sink.row(&row) {
                metrics.db.query_errors.increment();
                sink.error(&text);
                return false;
            }
            return true;
        }
        Ok(false) => sink.end(running.began.elapsed()),
        Err(error) => {
            metrics.db.query_errors.increment();
            sink.error(&text(connection, &error));
        }
    }
    false
}

/// The statement that `text` ends with, bound, and what to keep it under. `None`: there is none.
fn take_prepared(
    connection: &mut Connection,
    command::Statement { sql, parameters }: command::Statement,
) -> Result<Option<(Statement, Option<String>)>, String> {
    check_names(&parameters)?;
    if let Some(cached) = connection.statements.take(&sql) {
        let mut statement = cached.statement;
        bind(connection, &mut statement, &parameters, 0)?;
        return Ok(Some((statement, Some(sql))));
    }
    let (mut rest, mut start) = (sql.as_str(), 0);
    loop {
        let (prepared, seen) = connection.prepare(rest, 0).map_err(|error| text(connection, &error))?;
        let mut statement = prepared.statement;
        if let Some(statement) = &mut statement {
            start += bind(connection, statement, &parameters, start)?;
        }
        let is_whole = rest.len() == sql.len();
        rest = rest[prepared.tail..].trim_start();
        if rest.is_empty() {
            // What a pragma answers may be settled while it is prepared.
            let is_kept = is_whole && sql.len() <= TEXT_MAX && seen & seen::PRAGMA == 0;
            return Ok(statement.map(|statement| (statement, is_kept.then_some(sql))));
        }
    }
}

/// Binds what `statement` wants of `parameters[start..]`; so many.
fn bind(
    connection: &Connection,
    statement: &mut Statement,
    parameters: &[Parameter],
    start: usize,
) -> Result<usize, String> {
    let wanted = statement.parameter_count();
    let left = parameters.len().saturating_sub(start);
    if left < wanted {
        return Err(format!("not enough args to execute query: want {wanted} got {left}"));
    }
    statement.bind(parameters, start).map_err(|error| text(connection, &error))?;
    Ok(wanted)
}

/// What a text is to /db/request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All its statements are reads.
    Read,
    Write,
}

/// Asks SQLite what `sql` is. Quirk: the reference asks of its first statement only, and runs what it then takes for
/// reads as one, without those that write: none of them is passed over here.
pub fn classify(connection: &Connection, sql: &str) -> Result<Class, SqlError> {
    let mut rest = sql;
    while !rest.is_empty() {
        let (prepared, _) = connection.prepare(rest, 0)?;
        if prepared.statement.is_some_and(|statement| !statement.is_read()) {
            return Ok(Class::Write);
        }
        rest = rest[prepared.tail..].trim_start();
    }
    Ok(Class::Read)
}

/// The client's text for an error of a read.
fn text(connection: &Connection, error: &SqlError) -> String {
    match error.primary() {
        ffi::SQLITE_READONLY => "attempt to change database via query operation".into(),
        ffi::SQLITE_INTERRUPT if connection.budget.is_expired() => "query timeout".into(),
        _ => error.message.clone(),
    }
}
