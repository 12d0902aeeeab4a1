//! Applying SQL text that was loaded: all of it or nothing.
//!
//! The text runs in one transaction of ours. Its own outermost BEGIN and COMMIT are passed over, an outermost ROLLBACK
//! fails the load, savepoints work. `PRAGMA foreign_keys` holds for the load only. `writable_schema` is allowed here
//! alone, because dumps of virtual tables need it; the database is then checked before the commit.
//!
//! Source: design §7; backup-restore.md §3.2, whose reference keeps what ran before an error.

use std::io;
use std::path::Path;

use tokio::time::Instant;

use super::authorizer::{Role, seen};
use super::connection::Connection;
use super::database::Fault;
use super::entry;
use super::execute::{Executed, Failure, Group, Writer, classify, node_fault};
use super::split::Splitter;
use super::value::StatementResult;
use super::{SqlError, database, fault};
use crate::command::Limits;
use crate::world::{Disk, File, Open};

/// Bytes that are read at once; a statement that is longer is read in pieces of its own length.
const PIECE: usize = 256 << 10;

/// SQLite's bound on a statement.
const STATEMENT_MAX: usize = 1_000_000_000;

/// A text on its way.
struct Script<'a> {
    writer: &'a mut Writer,
    /// Our transaction.
    is_open: bool,
    /// The text's own.
    has_begun: bool,
    last: Option<StatementResult>,
}

impl Writer {
    /// Applies the first `size` bytes of `text`. Its answer is the last statement's, or the error that undid all.
    pub fn load_text(&mut self, text: &dyn File, size: u64, limits: &Limits) -> Result<Executed, Fault> {
        let began = Instant::now();
        self.begin(limits, Group::Never)?;
        let foreign_keys = self.connection.foreign_keys().map_err(|error| node_fault(&error))?;
        self.connection.authorizer.set_loading(true);
        let mut script = Script { writer: self, is_open: false, has_begun: false, last: None };
        let ran = script.run(text, size);
        let last = script.last.take();

        let mut executed = Executed::default();
        match ran {
            Ok(()) => {
                executed.results.extend(last.map(|mut last| {
                    if let StatementResult::Write { elapsed, .. } = &mut last {
                        *elapsed = began.elapsed();
                    }
                    last
                }));
                executed.changed = true;
            }
            Err(Failure::Fault(fault)) => return Err(fault),
            Err(Failure::Result(text)) => {
                if !self.connection.is_autocommit() {
                    self.internal("ROLLBACK")?;
                }
                executed.results.push(StatementResult::Error(text));
            }
        }
        self.connection.authorizer.set_loading(false);
        self.set_foreign_keys(foreign_keys)?;
        self.end(&mut executed, Group::Never)?;
        Ok(executed)
    }
}

/// Makes a database of its own at `target` from the first `size` bytes of the text at `path`, with the time and the seed
/// that an entry would have. After an error of the text, or a fault, the file is to be thrown away.
pub fn build(disk: &dyn Disk, path: &Path, size: u64, target: &Path, context: &Context) -> Result<Executed, Fault> {
    let text = disk.open(path, Open::Read).map_err(|error| database::io_fault("reading the text", &error))?;
    let connection = Connection::open(target, disk.sqlite_vfs(), Role::Writer).map_err(|error| node_fault(&error))?;
    // Nobody else sees the file, and a crash throws it away: a WAL would only write everything twice. The journal of a
    // new file stays empty; savepoints need it all the same.
    connection.pragma("journal_mode=memory").map_err(|error| node_fault(&error))?;
    let mut writer = Writer::new(connection);
    writer.set_foreign_keys(context.foreign_keys)?;
    entry::scope(context.time_ms, &context.seed, || writer.load_text(&*text, size, &context.limits))
}

/// What a text meets where it is built into a file.
pub struct Context {
    pub foreign_keys: bool,
    pub time_ms: u64,
    pub seed: [u8; 16],
    pub limits: Limits,
}

impl Script<'_> {
    fn run(&mut self, text: &dyn File, size: u64) -> Result<(), Failure> {
        let mut splitter = Splitter::default();
        let mut offset = 0;
        while offset < size {
            // As much again as waits for its end: a long statement is looked at a few times, not thousands.
            let length = PIECE.max(splitter.pending()).min((size - offset) as usize);
            let mut piece = vec![0; length];
            read(text, &mut piece, offset)?;
            offset += length as u64;
            splitter.push(&piece);
            while let Some(statement) = splitter.next_statement() {
                self.statement(statement)?;
            }
            if splitter.pending() > STATEMENT_MAX {
                return Err(Failure::Result("string or blob too big".into()));
            }
        }
        if let Some(statement) = splitter.finish() {
            self.statement(statement)?;
        }
        if self.has_begun {
            return Err(Failure::Result("transaction still open at the end of the text: nothing was loaded".into()));
        }
        if self.is_open { self.commit() } else { Ok(()) }
    }

    /// Runs one statement of the text.
    fn statement(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let (prepared, seen) = self.writer.connection.prepare_bytes(sql, 0).map_err(|error| classify(&error))?;
        let Some(mut statement) = prepared.statement else {
            return Ok(());
        };
        let refuse = |text: &str| Err(Failure::Result(text.into()));
        match seen & (seen::BEGIN | seen::COMMIT | seen::ROLLBACK) {
            seen::BEGIN if self.has_begun => return refuse("cannot start a transaction within a transaction"),
            seen::COMMIT if !self.has_begun => return refuse("cannot commit - no transaction is active"),
            seen::ROLLBACK => return refuse("the text rolls its transaction back: nothing was loaded"),
            0 => {}
            own => {
                self.has_begun = own == seen::BEGIN;
                self.last = Some(self.writer.counters(seen, false));
                return Ok(());
            }
        }
        // A pragma of the connection has no effect inside a transaction.
        if !self.is_open && seen & seen::PRAGMA == 0 {
            self.writer.internal("BEGIN")?;
            self.is_open = true;
        }
        let authorizer = self.writer.connection.authorizer.clone();
        // As the reference: one step.
        let stepped = authorizer.stepping(seen, || statement.step());
        stepped.and_then(|_| statement.reset()).map_err(|error| classify(&error))?;
        self.last = Some(self.writer.counters(seen, statement.is_explain()));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let connection = &self.writer.connection;
        if connection.authorizer.seen_in_request() & seen::WRITABLE_SCHEMA != 0 {
            // The schema is read anew, by other connections too, and must be sound.
            let version = connection.pragma("schema_version").map_err(|error| classify(&error))?;
            let version = version.first().copied().unwrap_or_default().wrapping_add(1);
            self.writer.internal(&format!("PRAGMA writable_schema=RESET; PRAGMA schema_version={version}"))?;
            check(self.writer)?;
        }
        let connection = &self.writer.connection;
        let committed = connection.authorizer.internally(|| connection.raw.execute_batch("COMMIT"));
        committed.map_err(|error| classify(&SqlError::from(error)))
    }
}

/// Fails with what a check of the database finds.
fn check(writer: &Writer) -> Result<(), Failure> {
    let connection = &writer.connection;
    let answer = connection
        .authorizer
        .internally(|| connection.raw.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)));
    match answer {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(Failure::Result(answer)),
        Err(error) => Err(classify(&SqlError::from(error))),
    }
}

/// The staged text was checked against its checksum: what can't be read now is this node's fault.
fn read(text: &dyn File, buffer: &mut [u8], offset: u64) -> Result<(), Failure> {
    let fault = |error: io::Error| Failure::Fault(database::io_fault("reading the staged text", &error));
    if text.read_at(buffer, offset).map_err(fault)? < buffer.len() {
        return Err(fault(io::ErrorKind::UnexpectedEof.into()));
    }
    fault::clear();
    Ok(())
}
