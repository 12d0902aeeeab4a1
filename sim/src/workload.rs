//! What clients do: writes, reads at all levels, backups, loads good and bad; and the check of everything at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Manner};
use crate::content;
use crate::history::{History, Index, OpId, Statement, Work};
use crate::images::{self, Bad};
use crate::invariants::model::Model;
use crate::invariants::{self, integrity};
use crate::random::Random;
use crate::schema;
use crate::scratch::Scratch;
use crate::swarm::Workload;
use crate::trace::Trace;
use crate::world::net::Cables;

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The first client creates the schema.
    Setup,
    /// Clients call, the nemesis disturbs.
    Chaos,
    /// Clients finish what they began.
    Draining,
    /// All is healed, the node starts once more, and everything is checked.
    Checking,
}

/// What all parts of a run share. They run on one thread, one at a time.
#[derive(Clone)]
pub struct Shared {
    pub history: Arc<Mutex<History>>,
    pub trace: Trace,
    pub cables: Cables,
    stage: Arc<Mutex<Stage>>,
    tools: Arc<Mutex<Tools>>,
}

struct Stage {
    phase: Phase,
    busy_clients: u64,
}

struct Tools {
    scratch: Scratch,
    model: Model,
}

impl Shared {
    /// At the start of a run with so many clients.
    pub fn new(trace: Trace, clients: u64) -> Self {
        let mut scratch = Scratch::new();
        let model = Model::new(&mut scratch);
        Self {
            history: Arc::new(Mutex::new(History::default())),
            trace,
            cables: Cables::default(),
            stage: Arc::new(Mutex::new(Stage { phase: Phase::Setup, busy_clients: clients })),
            tools: Arc::new(Mutex::new(Tools { scratch, model })),
        }
    }

    /// The history.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while it holds the history")
    }

    /// See [`Phase`].
    pub fn phase(&self) -> Phase {
        self.stage().phase
    }

    /// Goes to the next phase.
    pub fn enter(&self, phase: Phase) {
        self.trace.line(format_args!("phase {phase:?}"));
        self.stage().phase = phase;
    }

    /// Clients that have not finished.
    pub fn busy_clients(&self) -> u64 {
        self.stage().busy_clients
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("nothing panics while it holds the stage")
    }

    fn tools(&self) -> MutexGuard<'_, Tools> {
        self.tools.lock().expect("nothing panics while it holds the tools")
    }

    async fn wait_for(&self, phase: Phase) {
        while self.phase() < phase {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Checks a backup that was asked for when the floor was `floor`; returns its rows of `ops`.
    fn check_backup(&self, floor: Index, answer: &Answer) -> Option<Vec<OpId>> {
        let mut tools = self.tools();
        let Tools { scratch, model } = &mut *tools;
        let mut history = self.history();
        let Some(index) = answer.index else {
            history.judge::<()>(Err("backups: a backup without X-RQLITE-RAFT-INDEX".into()));
            return None;
        };
        let result = (|| {
            let unreadable = |error: rusqlite::Error| format!("integrity: a backup can't be read: {error}");
            let backup = scratch.open(&answer.body).map_err(unreadable)?;
            integrity::check(&backup.connection)?;
            let hash = content::hash(&backup.connection).map_err(unreadable)?;
            let ops = operations(&backup.connection).map_err(unreadable)?;
            invariants::model::check(model, &history, scratch, index, &backup.connection)?;
            Ok((hash, ops))
        })();
        let (hash, ops) = history.judge(result)?;
        self.trace.line(format_args!("backup at {index} is {hash:016x}"));
        history.backup(floor, index, hash);
        Some(ops)
    }
}

/// The rows of `ops`; none before the schema is there.
fn operations(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<OpId>> {
    match connection.prepare("SELECT op FROM ops ORDER BY seq") {
        Ok(mut statement) => statement.query_map([], |row| Ok(row.get::<_, i64>(0)? as OpId))?.collect(),
        Err(error) if error.to_string().contains("no such table") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// One client, until the run drains. The first also creates the schema.
pub async fn client(number: u64, mut client: Client, mut random: Random, options: Workload, shared: Shared) {
    if number == 0 {
        while !create_schema(&mut client, &shared).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shared.enter(Phase::Chaos);
    }
    shared.wait_for(Phase::Chaos).await;
    while shared.phase() == Phase::Chaos {
        let total = options.writes + options.reads + options.backups + options.loads + options.bad_loads;
        let mut drawn = random.below(total);
        let mut is = |weight: u64| {
            let chosen = drawn < weight;
            drawn = if chosen { u64::MAX } else { drawn - weight };
            chosen
        };
        let answered = match () {
            () if is(options.writes) => write(&mut client, &mut random, &options, &shared).await,
            () if is(options.reads) => read(&mut client, &mut random, &shared).await,
            () if is(options.backups) => backup(&mut client, &mut random, &shared).await,
            () if is(options.loads) => load(&mut client, &mut random, &shared).await,
            () => bad_load(&mut client, &mut random, &shared).await,
        };
        // A node that is down is asked again a little later, as clients do.
        let pause_ms = if answered { random.below(options.pause_ms + 1) } else { 50 + random.below(200) };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    shared.stage().busy_clients -= 1;
}

/// Waits until all is healed and the node has started once more; then nothing may be missing.
pub async fn check_everything(mut client: Client, shared: Shared) {
    shared.wait_for(Phase::Checking).await;
    let second = Manner::quick(Duration::from_secs(1));
    let mut last = String::new();
    let mut is_ready = false;
    for _ in 0..60 {
        match client.call(Method::GET, "/readyz", Bytes::new(), second).await {
            Ok(answer) if answer.status == 200 => is_ready = true,
            Ok(answer) => last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => last = error,
        }
        if is_ready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    shared.history().judge(invariants::stops::check_ready(is_ready, &last));
    if !is_ready {
        return;
    }
    for level in LEVELS {
        if !read_at(&mut client, level, Duration::from_secs(10), &shared).await {
            shared.history().judge::<()>(Err(format!("stops: no answer to a {level} read of a healed node")));
        }
    }
    let floor = shared.history().floor();
    let manner = Manner::quick(Duration::from_secs(20));
    match client.call(Method::GET, "/db/backup", Bytes::new(), manner).await {
        Ok(answer) if answer.status == 200 => {
            if let Some(ops) = shared.check_backup(floor, &answer) {
                let mut history = shared.history();
                let result = invariants::acknowledged::check_end(&history, &ops);
                history.judge(result);
                let result = invariants::once::check_end(&history, &ops);
                history.judge(result);
            }
        }
        answer => {
            shared.history().judge::<()>(Err(format!("stops: no backup of a healed node: {answer:?}")));
        }
    }
}

const LEVELS: [&str; 4] = ["none", "weak", "strong", "linearizable"];

async fn create_schema(client: &mut Client, shared: &Shared) -> bool {
    let statements = schema::create(shared.history().next_id());
    execute(client, statements, true, Duration::from_secs(2), shared).await
}

async fn write(client: &mut Client, random: &mut Random, options: &Workload, shared: &Shared) -> bool {
    let (statements, transaction) = schema::write(shared.history().next_id(), random, options.value_bytes);
    // Now and then a client gives up early.
    let timeout = Duration::from_millis(if random.chance(1, 20) { random.below(30) } else { 5_000 });
    match random.below(8) {
        0 => queue(client, statements, timeout, shared).await,
        1 => request(client, statements, transaction, timeout, shared).await,
        _ => execute(client, statements, transaction, timeout, shared).await,
    }
}

/// A queued write that waits. True if it was written.
async fn queue(client: &mut Client, statements: Vec<Statement>, timeout: Duration, shared: &Shared) -> bool {
    let body = body(&statements);
    let path = format!("/db/execute?queue&wait&timeout={}ms", timeout.as_millis());
    let id = shared.history().call(Work::Execute { statements, transaction: false });
    let result = client.call(Method::POST, &path, body, Manner::quick(timeout)).await;
    let mut history = shared.history();
    // A node that isn't open says so with a 200.
    let is_queued = |answer: Answer| String::from_utf8_lossy(&answer.body).contains("sequence_number");
    let is_written = result.is_ok_and(|answer| answer.status == 200 && is_queued(answer));
    match is_written {
        true => history.acknowledge(id, None),
        false => history.leave_unknown(),
    }
    is_written
}

/// /db/request of the operation that `statements` name, and of a read of what it made.
async fn request(
    client: &mut Client,
    statements: Vec<Statement>,
    transaction: bool,
    timeout: Duration,
    shared: &Shared,
) -> bool {
    let mut with_read = statements.clone();
    with_read.push(Statement { sql: schema::MARK.into(), parameters: Vec::new() });
    let (body, count) = (body(&with_read), with_read.len());
    let id = shared.history().call(Work::Execute { statements, transaction });
    let floor = shared.history().floor();
    let result = client.call(Method::POST, &path("/db/request", transaction), body, Manner::quick(timeout)).await;
    let Some(results) = told(id, transaction, result, shared) else { return false };
    if let Some(read) = results.get(count - 1) {
        let mut history = shared.history();
        match schema::mark(&read["values"][0]) {
            Some(mark) => history.read("request", floor, mark),
            None => drop(history.judge::<()>(Err(format!("reads: a request answers {read} for its read")))),
        }
    }
    true
}

fn path(endpoint: &str, transaction: bool) -> String {
    format!("{endpoint}?raft_index{}", if transaction { "&transaction" } else { "" })
}

fn body(statements: &[Statement]) -> Bytes {
    let statement = |statement: &Statement| {
        let mut parts = vec![json!(statement.sql)];
        parts.extend(statement.parameters.iter().cloned());
        json!(parts)
    };
    let body: Vec<Value> = statements.iter().map(statement).collect();
    serde_json::to_vec(&body).expect("JSON can be written").into()
}

/// /db/execute of the operation that `statements` name. True if there was an answer.
async fn execute(
    client: &mut Client,
    statements: Vec<Statement>,
    transaction: bool,
    timeout: Duration,
    shared: &Shared,
) -> bool {
    let body = body(&statements);
    let id = shared.history().call(Work::Execute { statements, transaction });
    let result = client.call(Method::POST, &path("/db/execute", transaction), body, Manner::quick(timeout)).await;
    told(id, transaction, result, shared).is_some()
}

/// Notes what an answer says of an operation; its results, if it was answered.
fn told(id: OpId, transaction: bool, result: Result<Answer, String>, shared: &Shared) -> Option<Vec<Value>> {
    let mut history = shared.history();
    let answer = result.ok().filter(|answer| answer.status == 200);
    let parsed: Option<Value> = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let results = parsed.as_ref().and_then(|parsed| parsed["results"].as_array()).filter(|results| !results.is_empty());
    let Some(results) = results else {
        history.leave_unknown();
        return None;
    };
    // Without a transaction the operation is there if its first statement, or any but the schema's, went well.
    let failed = |result: &Value| result.get("error").is_some();
    let is_refused = if transaction { results.iter().any(failed) } else { failed(&results[0]) };
    match is_refused {
        true => history.refuse(id),
        false => history.acknowledge(id, parsed.as_ref().and_then(|parsed| parsed["raft_index"].as_u64())),
    }
    Some(results.clone())
}

async fn read(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let level = LEVELS[random.below(4) as usize];
    let timeout = Duration::from_secs(5);
    if random.chance(1, 8) {
        let pause = Duration::from_millis(random.below(60));
        return read_as(client, level, schema::MANY_MARKS, Manner { timeout, pause }, shared).await;
    }
    read_at(client, level, timeout, shared).await
}

async fn read_at(client: &mut Client, level: &str, timeout: Duration, shared: &Shared) -> bool {
    read_as(client, level, schema::MARK, Manner::quick(timeout), shared).await
}

/// Reads by a query that answers with marks. All rows of an answer must show the same state.
async fn read_as(client: &mut Client, level: &str, query: &str, manner: Manner, shared: &Shared) -> bool {
    let floor = shared.history().floor();
    let body = serde_json::to_vec(&json!([query])).expect("JSON can be written");
    let path = format!("/db/query?level={level}");
    let result = client.call(Method::POST, &path, body.into(), manner).await;
    let parsed: Option<Value> = result.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let Some(result) = parsed.as_ref().and_then(|parsed| parsed["results"].get(0)) else { return false };
    let rows = result["values"].as_array();
    match rows.and_then(|rows| schema::mark(rows.first()?)) {
        // An error in the middle says that the rest is missing: what has come is still of one state.
        Some(mark) => {
            let mut history = shared.history();
            history.judge(invariants::reads::check_rows(rows.into_iter().flatten().map(schema::mark), mark));
            history.read(level, floor, mark);
            true
        }
        None => {
            let is_before_schema = result["error"].as_str().is_some_and(|error| error.contains("no such table"));
            if is_before_schema {
                shared.history().read(level, floor, crate::history::Mark::default());
            }
            is_before_schema
        }
    }
}

async fn backup(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let floor = shared.history().floor();
    // Some clients are slow to take what they asked for.
    let pause = if random.chance(1, 4) { Duration::from_millis(random.below(100)) } else { Duration::ZERO };
    let manner = Manner { timeout: Duration::from_secs(15), pause };
    match client.call(Method::GET, "/db/backup", Bytes::new(), manner).await {
        Ok(answer) if answer.status == 200 => {
            shared.check_backup(floor, &answer);
            true
        }
        _ => false,
    }
}

async fn load(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let image = images::good(shared.history().next_id(), random, &mut shared.tools().scratch);
    let id = shared.history().call(Work::Load { file: image.file.clone(), hash: image.hash });
    let body = Bytes::from(Vec::clone(&image.file));
    let result = client.call(Method::POST, "/db/load", body, Manner::quick(Duration::from_secs(15))).await;
    let mut history = shared.history();
    match result {
        Ok(answer) if answer.status == 200 && answer.body == r#"{"results":[]}"# => {
            history.counts.loads += 1;
            history.acknowledge(id, None);
            true
        }
        Ok(answer) if answer.status == 400 => {
            let text = String::from_utf8_lossy(&answer.body);
            history.judge::<()>(Err(format!("loads: the good file of operation {id} was refused: {text}")));
            false
        }
        _ => {
            history.leave_unknown();
            false
        }
    }
}

async fn bad_load(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let (bad, bytes) = images::bad(shared.history().next_id(), random, &mut shared.tools().scratch);
    let id = shared.history().call(Work::BadLoad);
    let manner = Manner::quick(Duration::from_secs(15));
    let result = client.call(Method::POST, "/db/load", bytes.into(), manner).await;
    let mut history = shared.history();
    let Ok(answer) = result else { return false };
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let is_empty = bad == Bad::Empty;
    match answer.status {
        200 if is_empty && text == r#"{"results":[]}"# => history.refuse(id),
        400 if !is_empty && text.starts_with("invalid SQLite data") => history.refuse(id),
        500..600 => return false,
        200 if text.contains("\"error\"") => return false,
        // Gzip doesn't have SQLite's magic.
        status => {
            history.judge::<()>(Err(format!("loads: {bad:?} of operation {id} was answered {status} {text:?}")));
        }
    }
    history.counts.refused_loads += 1;
    true
}

/// For the report: how many operations of each kind were called.
pub fn called(history: &History) -> BTreeMap<&'static str, u64> {
    let mut called = BTreeMap::new();
    for operation in history.operations().values() {
        let kind = match operation.work {
            Work::Execute { .. } => "writes",
            Work::Load { .. } => "loads",
            Work::BadLoad => "bad loads",
        };
        *called.entry(kind).or_default() += 1;
    }
    called
}
