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
        if client.servers() > 1 && random.chance(1, 8) {
            client.turn_to(random.below(client.servers() as u64) as usize);
        }
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

/// Waits until all is healed and the nodes have started once more; then nothing may be missing.
pub async fn check_everything(mut client: Client, names: Vec<String>, shared: Shared) {
    shared.wait_for(Phase::Checking).await;
    for at in 0..names.len() {
        let ready = within_a_minute(&mut client, at, "/readyz", |answer| (answer.status == 200).then_some(())).await;
        shared.history().judge(invariants::stops::check_ready(ready.is_ok(), ready.as_ref().err().map_or("", |e| e)));
        if ready.is_err() {
            return;
        }
    }
    for level in LEVELS {
        let mut answered = false;
        for _ in 0..TRIES {
            answered = read_at(&mut client, level, Duration::from_secs(10), &shared).await;
            if answered {
                break;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        if !answered {
            shared.history().judge::<()>(Err(format!("stops: no answer to a {level} read of a healed node")));
        }
    }
    check_convergence(&mut client, &names, &shared).await;
    let floor = shared.history().floor();
    let manner = Manner::quick(Duration::from_secs(20));
    let mut last = None;
    for _ in 0..TRIES {
        match client.call(Method::GET, "/db/backup", Bytes::new(), manner).await {
            Ok(answer) if answer.status == 200 => {
                if let Some(ops) = shared.check_backup(floor, &answer) {
                    let mut history = shared.history();
                    let result = invariants::acknowledged::check_end(&history, &ops);
                    history.judge(result);
                    let result = invariants::once::check_end(&history, &ops);
                    history.judge(result);
                }
                return;
            }
            answer => last = Some(answer),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    shared.history().judge::<()>(Err(format!("stops: no backup of a healed node: {last:?}")));
}

/// How often, and after what pause, a healed node is asked before it counts as one that doesn't answer.
const TRIES: usize = 60;
/// See [`TRIES`].
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Asks the node at `at` until its answer to `path` is what is wanted; else the last that was told.
async fn within_a_minute<T>(
    client: &mut Client,
    at: usize,
    path: &str,
    wanted: impl Fn(&Answer) -> Option<T>,
) -> Result<T, String> {
    let second = Manner::quick(Duration::from_secs(1));
    let mut last = String::new();
    for _ in 0..TRIES {
        client.turn_to(at);
        match client.call(Method::GET, path, Bytes::new(), second).await {
            Ok(answer) => match wanted(&answer) {
                Some(found) => return Ok(found),
                None => last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            },
            Err(error) => last = error,
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    Err(last)
}

/// Nobody writes any more: all nodes come to where the furthest is.
async fn check_convergence(client: &mut Client, names: &[String], shared: &Shared) {
    let mut applied = BTreeMap::new();
    for _ in 0..TRIES {
        for (at, name) in names.iter().enumerate() {
            let index = within_a_minute(client, at, "/status", |answer| {
                let status: Value = serde_json::from_slice(&answer.body).ok()?;
                status["store"]["raft"]["applied_index"].as_u64()
            });
            applied.insert(name.clone(), index.await.ok());
        }
        if invariants::convergence::check(&applied).is_ok() {
            return;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    shared.history().judge(invariants::convergence::check(&applied));
}

const LEVELS: [&str; 4] = ["none", "weak", "strong", "linearizable"];

async fn create_schema(client: &mut Client, shared: &Shared) -> bool {
    let statements = schema::create(shared.history().next_id());
    execute(client, statements, true, Duration::from_secs(2), shared).await
}

async fn write(client: &mut Client, random: &mut Random, options: &Workload, shared: &Shared) -> bool {
    let (statements, transaction) = schema::write(shared.history().next_id(), random, options.value_bytes);
    // Now and then a client gives up early.
    let timeout_ms = if random.chance(1, 20) { random.below(30) } else { 5_000 };
    execute(client, statements, transaction, Duration::from_millis(timeout_ms), shared).await
}

/// /db/execute of the operation that `statements` name. True if there was an answer.
async fn execute(
    client: &mut Client,
    statements: Vec<Statement>,
    transaction: bool,
    timeout: Duration,
    shared: &Shared,
) -> bool {
    let body: Vec<Value> = statements
        .iter()
        .map(|statement| {
            let mut parts = vec![json!(statement.sql)];
            parts.extend(statement.parameters.iter().cloned());
            json!(parts)
        })
        .collect();
    let body = serde_json::to_vec(&body).expect("JSON can be written");
    let path = if transaction { "/db/execute?raft_index&transaction" } else { "/db/execute?raft_index" };
    let id = shared.history().call(Work::Execute { statements, transaction });
    let result = client.call(Method::POST, path, body.into(), Manner::quick(timeout)).await;
    let mut history = shared.history();
    let Ok(answer) = result else {
        history.leave_unknown();
        return false;
    };
    let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200);
    let results = parsed.as_ref().and_then(|parsed| parsed["results"].as_array());
    match results {
        // Without a transaction the operation is there if its first statement, or any but the schema's, went well.
        Some(results) if !results.is_empty() => {
            let failed = |result: &Value| result.get("error").is_some();
            let is_refused = if transaction { results.iter().any(failed) } else { failed(&results[0]) };
            match is_refused {
                true => history.refuse(id),
                false => history.acknowledge(id, parsed.as_ref().and_then(|parsed| parsed["raft_index"].as_u64())),
            }
            true
        }
        _ => {
            history.leave_unknown();
            false
        }
    }
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
    // Without a level a node answers with what it has, and others may be further on.
    let is_local = level == "none" && client.servers() > 1;
    let floor = if is_local { 0 } else { shared.history().floor() };
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
