//! A node without Raft: a log of commands, and the machine that applies it.

use std::path::PathBuf;
use std::sync::{Arc, Once};

use openraft::EntryPayload;
use rqlite::command::{
    self, Command, Execute, Kind, Limits, LoadBegin, LoadChunk, LoadCommit, LoadContent, Parameter, Statement,
};
use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;
use rqlite::db::database::{Fault, Paths};
use rqlite::db::engine;
use rqlite::db::execute::Executed;
use rqlite::db::value::{StatementResult, Value};
use rqlite::raft::convert::log_id;
use rqlite::raft::machine::{Checkpoint, Machine, Response, StartError};
use rqlite::raft::types::{Entry, Payload};
use rqlite::world::{Chaos, World, os};
use tempfile::TempDir;

/// 2026-01-01 00:00:00.123, which no wall clock says by accident.
pub const TIME_MS: u64 = 1_767_225_600_123;

/// A machine, its data directory and the log it applies: entry n+1 is `log[n]`.
pub struct Node {
    directory: TempDir,
    world: World,
    machine: Option<Machine>,
    log: Vec<Command>,
}

/// Sets the page cache of the writer: other cache sizes spill at other moments. Takes each rare path.
struct Cache(i32);

impl Chaos for Cache {
    fn here(&self, _: &'static str) -> bool {
        true
    }

    fn applied(&self, _: u64, connection: &rusqlite::Connection) {
        connection.query_row(&format!("PRAGMA cache_size={}", self.0), [], |_| Ok(())).unwrap_or_default();
    }
}

/// SQLite is set up once per process.
pub fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let temporary = std::env::temp_dir().join("rqlite-engine-tests");
        std::fs::create_dir_all(&temporary).unwrap();
        engine::initialize(&temporary);
    });
}

impl Node {
    pub fn new() -> Self {
        Self::in_world(os::world())
    }

    /// With a page cache of this many pages, from the second entry on.
    pub fn with_cache(pages: i32) -> Self {
        let mut world = os::world();
        world.chaos = Arc::new(Cache(pages));
        Self::in_world(world)
    }

    fn in_world(world: World) -> Self {
        initialize();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("db")).unwrap();
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        let mut node = Self { directory, world, machine: None, log: Vec::new() };
        node.start().unwrap();
        node
    }

    pub fn paths(&self) -> Paths {
        Paths::new(self.directory.path())
    }

    pub fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("the node runs")
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn stop(&mut self) {
        self.machine = None;
    }

    /// Opens the last checkpoint and replays what follows it; returns the answers.
    pub fn start(&mut self) -> Result<Vec<Executed>, StartError> {
        self.machine = None;
        let machine = Machine::open(&self.world, &self.paths(), 0, Default::default())?;
        let from = machine.applied().last_applied.as_ref().map_or(0, |id| id.index);
        self.machine = Some(machine);
        let rest = (from..self.log.len() as u64).map(|n| self.replay(n).expect("a replayed entry applies"));
        Ok(rest.collect())
    }

    /// As a crash that loses the WAL.
    pub fn restart(&mut self) {
        self.start().unwrap();
    }

    pub fn checkpoint(&mut self) {
        assert!(matches!(self.machine().checkpoint().unwrap(), Checkpoint::Clean(_)));
    }

    /// Appends to the log and applies.
    pub fn try_apply(&mut self, command: Command) -> Result<Executed, Fault> {
        self.log.push(command);
        self.replay(self.log.len() as u64 - 1)
    }

    pub fn apply(&mut self, command: Command) -> Executed {
        self.try_apply(command).unwrap()
    }

    /// Appends all to the log and applies them together, as openraft hands them over.
    pub fn apply_together(&mut self, commands: Vec<Command>) -> Vec<Executed> {
        let first = self.log.len() as u64;
        self.log.extend(commands);
        let entries: Vec<_> = (first..self.log.len() as u64).map(|n| (self.entry(n), true)).collect();
        let mut responses = Vec::new();
        while responses.len() < entries.len() {
            responses.extend(self.machine().apply_some(&entries[responses.len()..]).unwrap());
        }
        responses.into_iter().map(executed).collect()
    }

    /// One request with one statement.
    pub fn run(&mut self, sql: &str) -> String {
        show(&self.apply(request(&[sql])))
    }

    /// Replaces the database by the file at `staged`, as a load does.
    pub fn load(&mut self, staged: &std::path::Path) {
        assert_eq!(self.load_if(staged, None), Response::Done);
    }

    /// The same, if the database hasn't changed since; what the commit answers.
    pub fn load_if(&mut self, staged: &std::path::Path, unchanged_since: Option<u64>) -> Response {
        let bytes = std::fs::read(staged).unwrap();
        let (size, crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        let load_id = self.log.len() as u64 + 1;
        let data = bytes.into();
        let mut response = Response::Done;
        for kind in [
            Kind::LoadBegin(LoadBegin { size, spool: 0, content: LoadContent::Database.into() }),
            Kind::LoadChunk(LoadChunk { load_id, offset: 0, data }),
            Kind::LoadCommit(LoadCommit { load_id, size, crc32c, unchanged_since }),
        ] {
            self.log.push(Command { kind: Some(kind), ..Command::default() });
            let n = self.log.len() as u64 - 1;
            let entry = self.entry(n);
            assert_eq!(response, Response::Done);
            response = self.machine().apply(entry, true).unwrap();
        }
        response
    }

    fn entry(&self, n: u64) -> Entry {
        let payload = Payload::from(&self.log[n as usize]);
        Entry { log_id: log_id(1, n + 1), payload: EntryPayload::Normal(payload) }
    }

    fn replay(&mut self, n: u64) -> Result<Executed, Fault> {
        let entry = self.entry(n);
        self.machine().apply(entry, true).map(executed)
    }

    pub fn main_path(&mut self) -> PathBuf {
        let generation = self.machine().current().generation();
        self.paths().main(generation)
    }

    /// A connection of ours beside the writer, which may look at everything.
    pub fn look<R>(&mut self, look: impl FnOnce(&rusqlite::Connection) -> R) -> R {
        let path = self.main_path();
        let connection = Connection::open(&path, self.world.disk.sqlite_vfs(), Role::Internal).unwrap();
        connection.look(look)
    }

    /// The only value of a query.
    pub fn value(&mut self, sql: &str) -> String {
        self.look(|connection| {
            let value = connection.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
            match value {
                rusqlite::types::Value::Integer(integer) => integer.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            }
        })
    }

    /// Schema and all rows with their rowids, shadow tables too.
    pub fn content(&mut self) -> String {
        self.look(content)
    }

    /// The main file after a checkpoint, without its change counters.
    pub fn file(&mut self) -> Vec<u8> {
        self.checkpoint();
        let path = self.main_path();
        self.stop();
        let mut bytes = std::fs::read(path).unwrap();
        bytes[24..28].fill(0);
        bytes[92..96].fill(0);
        self.start().unwrap();
        bytes
    }
}

/// Two nodes with the same log are the same.
#[track_caller]
pub fn assert_equal(a: &mut Node, b: &mut Node) {
    assert_eq!(a.content(), b.content());
    assert_eq!(a.machine().applied(), b.machine().applied());
    assert!(a.file() == b.file(), "files differ");
}

fn content(connection: &rusqlite::Connection) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let rows = |sql: &str| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns).map(|n| row.get::<_, rusqlite::types::Value>(n).map(|value| format!("{value:?}|"))).collect()
        })?;
        rows.collect()
    };
    let schema = rows("SELECT rowid, type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid").unwrap();
    let names =
        rows("SELECT name FROM pragma_table_list WHERE type IN ('table', 'shadow') AND schema = 'main' ORDER BY name");
    writeln!(out, "{schema:#?} {:?}", rows("PRAGMA user_version")).unwrap();
    for name in names.unwrap() {
        let name = name.trim_start_matches("Text(\"").trim_end_matches("\")|").to_owned();
        let found = rows(&format!("SELECT rowid, * FROM \"{name}\" ORDER BY rowid"))
            .or_else(|_| rows(&format!("SELECT * FROM \"{name}\" ORDER BY 1, 2")))
            .or_else(|_| rows(&format!("SELECT * FROM \"{name}\"")));
        writeln!(out, "{name}: {found:#?}").unwrap();
    }
    out
}

/// Without its times.
fn executed(response: Response) -> Executed {
    match response {
        Response::Executed(mut executed) => {
            executed.results.iter_mut().for_each(forget_elapsed);
            executed
        }
        _ => Executed::default(),
    }
}

fn forget_elapsed(result: &mut StatementResult) {
    match result {
        StatementResult::Write { elapsed, .. } | StatementResult::Rows { elapsed, .. } => *elapsed = Default::default(),
        StatementResult::Error(_) | StatementResult::ReadError(_) => {}
    }
}

/// A command with the standard time, a seed that depends on its text, and no limits.
pub fn command(sqls: &[&str], transaction: bool) -> Command {
    let statements = sqls.iter().map(|sql| statement(sql, vec![])).collect();
    from_statements(statements, transaction)
}

pub fn from_statements(statements: Vec<Statement>, transaction: bool) -> Command {
    Command {
        time_ms: TIME_MS,
        seed: vec![7; 32].into(),
        limits: Some(Limits::default()),
        kind: Some(Kind::Execute(Execute { statements, transaction })),
    }
}

/// The same as /db/request makes it: reads answer with rows.
pub fn with_reads(command: Command) -> Command {
    let Some(Kind::Execute(request)) = command.kind else { panic!("{command:?} runs no statements") };
    Command { kind: Some(Kind::Request(request)), ..command }
}

pub fn request(sqls: &[&str]) -> Command {
    command(sqls, false)
}

pub fn transaction(sqls: &[&str]) -> Command {
    command(sqls, true)
}

pub fn limited(sqls: &[&str], limits: Limits) -> Command {
    Command { limits: Some(limits), ..request(sqls) }
}

pub fn statement(sql: &str, parameters: Vec<Parameter>) -> Statement {
    Statement { sql: sql.into(), parameters }
}

pub fn integer(value: i64) -> Parameter {
    Parameter { value: Some(command::Value::Integer(value)), name: String::new() }
}

pub fn named(name: &str, value: i64) -> Parameter {
    Parameter { name: name.into(), ..integer(value) }
}

/// `last_insert_id/rows_affected`, rows, or an error for each statement; the request's error behind `!`.
pub fn show(executed: &Executed) -> String {
    let result = |result: &StatementResult| match result {
        StatementResult::Write { last_insert_id, rows_affected, .. } => format!("{last_insert_id}/{rows_affected}"),
        StatementResult::Rows { rows, .. } => {
            let row = |row: &Vec<Value>| row.iter().map(show_value).collect::<Vec<_>>().join(",");
            format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(" "))
        }
        StatementResult::Error(text) | StatementResult::ReadError(text) => text.clone(),
    };
    let mut shown = executed.results.iter().map(result).collect::<Vec<_>>();
    shown.extend(executed.error.as_ref().map(|error| format!("!{error}")));
    shown.join("; ")
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Blob(blob) => format!("{} bytes", blob.len()),
    }
}
