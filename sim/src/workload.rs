//! What clients do: writes, reads at all levels, backups, loads good and bad; and the check of everything at the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Manner, Vanishes};
use crate::content;
use crate::forms::{Form, Format};
use crate::history::{History, Index, OpId, Statement, Work};
use crate::images::{self, Bad};
use crate::invariants::model::Model;
use crate::invariants::{self, integrity};
use crate::machine::{Machine, RAFT_PORT, RAFT_PORTS};
use crate::operator::Order;
use crate::random::Random;
use crate::schema;
use crate::scratch::Scratch;
use crate::swarm::Workload;
use crate::trace::Trace;
use crate::world::clock;
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
    /// The port of each machine that has moved.
    ports: Arc<Mutex<BTreeMap<String, u16>>>,
    /// What the operator is told to do.
    pub orders: Arc<Mutex<VecDeque<Order>>>,
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
            ports: Arc::default(),
            orders: Arc::default(),
            stage: Arc::new(Mutex::new(Stage { phase: Phase::Setup, busy_clients: clients })),
            tools: Arc::new(Mutex::new(Tools { scratch, model })),
        }
    }

    /// The history.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while it holds the history")
    }

    /// Where other nodes find the machine `name` now.
    pub fn raft_addr(&self, name: &str) -> String {
        let port = self.ports.lock().expect("no port panics").get(name).copied().unwrap_or(RAFT_PORT);
        format!("{name}:{port}")
    }

    /// The next process on the machine `name` is found elsewhere.
    pub fn move_away(&self, name: &str) {
        let mut ports = self.ports.lock().expect("no port panics");
        let port = ports.entry(name.into()).or_insert(RAFT_PORT);
        *port += 1;
        assert!(RAFT_PORTS.contains(port), "there are ports for all moves");
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
    fn check_backup(&self, floor: Index, form: Form, answer: &Answer) -> Option<Vec<OpId>> {
        let mut tools = self.tools();
        let Tools { scratch, model } = &mut *tools;
        let mut history = self.history();
        let Some(index) = answer.index else {
            history.judge::<()>(Err("backups: a backup without X-RQLITE-RAFT-INDEX".into()));
            return None;
        };
        let result = (|| {
            let unreadable = |error: rusqlite::Error| format!("integrity: a backup can't be read: {error}");
            let backup = form.restore(scratch, &answer.body)?;
            integrity::check(&backup.connection)?;
            let content = content::of(&backup.connection).map_err(unreadable)?;
            let ops = operations(&backup.connection).map_err(unreadable)?;
            if form.keeps_rowids() {
                invariants::model::check(model, &history, scratch, index, &backup.connection)?;
            }
            Ok((content, ops))
        })();
        let (content, ops) = history.judge(result)?;
        self.trace.line(format_args!("backup {form:?} at {index} is {:016x}", content.without_rowids));
        history.backup(floor, index, form, content);
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

/// One client, until the run drains. The first also creates the schema. It has two connections.
pub async fn client(number: u64, clients: [Client; 2], mut random: Random, options: Workload, shared: Shared) {
    let [mut client, mut second] = clients;
    if number == 0 {
        while !create_schema(&mut client, options.filler_bytes, &shared).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shared.enter(Phase::Chaos);
    }
    shared.wait_for(Phase::Chaos).await;
    while shared.phase() == Phase::Chaos {
        if client.servers() > 1 && random.chance(1, 8) {
            client.turn_to(random.below(client.servers() as u64) as usize);
        }
        shared.history().reached.note("calls");
        let Workload { writes, reads, backups, loads, bad_loads, texts, .. } = options;
        let mut drawn = random.below(writes + reads + backups + loads + bad_loads + texts);
        let mut is = |weight: u64| {
            let chosen = drawn < weight;
            drawn = if chosen { u64::MAX } else { drawn - weight };
            chosen
        };
        let answered = match () {
            () if is(writes) => write(&mut client, &mut random, &options, &shared).await,
            () if is(reads) => read(&mut client, &mut random, &shared).await,
            () if is(backups) => backup(&mut client, &mut random, &shared).await,
            () if is(loads) => match random.below(4) {
                0 => two_loads([&mut client, &mut second], &mut random, &options, &shared).await,
                _ => load(&mut client, &mut random, &options, &shared).await,
            },
            () if is(texts) => text(&mut client, &mut random, &options, &shared).await,
            () => bad_load(&mut client, &mut random, &shared).await,
        };
        // A node that is down is asked again a little later, as clients do.
        let pause_ms = if answered { random.below(options.pause_ms + 1) } else { 50 + random.below(200) };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    shared.stage().busy_clients -= 1;
}

/// Waits until all is healed and the nodes have started once more; then nothing may be missing.
pub async fn check_everything(mut client: Client, machines: Vec<Machine>, shared: Shared) {
    shared.wait_for(Phase::Checking).await;
    let names: Vec<String> = machines.iter().map(|machine| machine.name().to_string()).collect();
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
    let mut is_there = false;
    for _ in 0..TRIES {
        match client.call(Method::GET, "/db/backup", Bytes::new(), manner).await {
            Ok(answer) if answer.status == 200 => {
                if let Some(ops) = shared.check_backup(floor, Form::PLAIN, &answer) {
                    let mut history = shared.history();
                    let result = invariants::acknowledged::check_end(&history, &ops);
                    history.judge(result);
                    let result = invariants::once::check_end(&history, &ops);
                    history.judge(result);
                }
                is_there = true;
                break;
            }
            answer => last = Some(answer),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    if !is_there {
        shared.history().judge::<()>(Err(format!("stops: no backup of a healed node: {last:?}")));
    }
    check_temporary_files(&mut client, &machines, &shared).await;
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

/// Calls whose client vanishes, and then nothing may be left of anything.
async fn check_temporary_files(client: &mut Client, machines: &[Machine], shared: &Shared) {
    let temporary_files = || machines.iter().flat_map(Machine::temporary_files).collect::<Vec<_>>();
    let mut random = Random::new(shared.history().next_id());
    for format in [Format::Binary, Format::Delete, Format::Vacuum, Format::Sql] {
        let path = Form { format, ..Form::PLAIN }.path();
        let manner = Manner::quick(Duration::from_secs(20)).vanishing(Vanishes::Receiving(100));
        let result = client.call(Method::GET, &path, Bytes::new(), manner).await;
        if result.is_ok() {
            shared.history().judge::<()>(Err("the harness: a client that vanished got an answer".into()));
        }
    }
    vanish_during_load(client, &mut random, shared).await;
    let mut left = temporary_files();
    for _ in 0..600 {
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = temporary_files();
    }
    shared.history().judge(invariants::temporary::check(&left));
}

const LEVELS: [&str; 4] = ["none", "weak", "strong", "linearizable"];

async fn create_schema(client: &mut Client, filler_bytes: u64, shared: &Shared) -> bool {
    let statements = schema::create(shared.history().next_id(), filler_bytes);
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
    if is_written {
        history.reached.note("writes: queued");
        history.acknowledge(id, None);
    } else {
        history.reached.note("writes: unknown");
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
        history.reached.note("writes: with a read");
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
    let mut path = path("/db/execute", transaction);
    let wants_redirect = client.servers() > 1 && id.is_multiple_of(4);
    if wants_redirect {
        path += "&redirect";
    }
    let mut result = client.call(Method::POST, &path, body.clone(), Manner::quick(timeout)).await;
    if let Ok(Answer { status: 301, location, .. }) = &result {
        // Nothing was done there: it is asked of the leader.
        let Some(node) = shared.history().redirect(location.as_deref().unwrap_or_default()) else { return false };
        client.turn_to_machine(&node);
        result = client.call(Method::POST, &path, body, Manner::quick(timeout)).await;
    }
    told(id, transaction, result, shared).is_some()
}

/// Notes what an answer says of an operation; its results, if it was answered.
fn told(id: OpId, transaction: bool, result: Result<Answer, String>, shared: &Shared) -> Option<Vec<Value>> {
    let mut history = shared.history();
    let answer = result.ok().filter(|answer| answer.status == 200);
    let parsed: Option<Value> = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let results = parsed.as_ref().and_then(|parsed| parsed["results"].as_array()).filter(|results| !results.is_empty());
    let Some(results) = results else {
        history.reached.note("writes: unknown");
        return None;
    };
    // Without a transaction the operation is there if its first statement, or any but the schema's, went well.
    let failed = |result: &Value| result.get("error").is_some();
    let is_refused = if transaction { results.iter().any(failed) } else { failed(&results[0]) };
    match is_refused {
        true => {
            history.reached.note("writes: refused");
            history.refuse(id);
        }
        false => {
            history.reached.note("writes");
            history.acknowledge(id, parsed.as_ref().and_then(|parsed| parsed["raft_index"].as_u64()));
        }
    }
    Some(results.clone())
}

async fn read(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    if client.servers() > 1 && random.chance(1, 6) {
        return read_fresh(client, random, shared).await;
    }
    let level = LEVELS[random.below(4) as usize];
    let quick = Manner::quick(Duration::from_secs(5));
    match random.below(16) {
        0 => {
            let vanishes = Vanishes::Receiving(random.below(1_500_000) as usize);
            read_as(client, level, schema::MANY_MARKS, quick.vanishing(vanishes), shared).await;
            shared.history().reached.note("reads: client vanished");
            true
        }
        1..3 => {
            let longest = if random.chance(1, 4) { 150 } else { 30 };
            let slow = Manner::quick(Duration::from_secs(15)).slow(Duration::from_millis(random.below(longest)));
            let answered = read_as(client, level, schema::MANY_MARKS, slow, shared).await;
            if answered {
                shared.history().reached.note("reads: of a slow client");
            }
            answered
        }
        _ => read_as(client, level, schema::MARK, quick, shared).await,
    }
}

async fn read_at(client: &mut Client, level: &str, timeout: Duration, shared: &Shared) -> bool {
    read_as(client, level, schema::MARK, Manner::quick(timeout), shared).await
}

/// Reads a node's own state, if it is fresh.
async fn read_fresh(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let freshness = Duration::from_millis(random.between(100, 3_000));
    let strict = if random.chance(1, 2) { "&freshness_strict" } else { "" };
    let path = format!("/db/query?level=none&freshness={}ms{strict}", freshness.as_millis());
    let (node, began) = (client.server().to_string(), clock::elapsed());
    let floor = shared.history().local_floor(&node);
    let body = serde_json::to_vec(&json!([schema::MARK])).expect("JSON can be written");
    let result = client.call(Method::POST, &path, body.into(), Manner::quick(Duration::from_secs(5))).await;
    let Ok(answer) = result else { return false };
    let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let mark = parsed.as_ref().and_then(|parsed| schema::mark(&parsed["results"][0]["values"][0]));
    let mut history = shared.history();
    match mark {
        Some(mark) => {
            history.reached.note("reads: fresh");
            let heard = shared.cables.heard(&node);
            let result = invariants::reads::check_fresh(&node, history.leader(), freshness, began, heard);
            history.judge(result);
            history.read_local(&node, floor, mark);
            true
        }
        None => {
            if String::from_utf8_lossy(&answer.body).contains("stale read") {
                history.reached.note("reads: stale");
            }
            false
        }
    }
}

/// Reads by a query that answers with marks. All rows of an answer must show the same state.
async fn read_as(client: &mut Client, level: &str, query: &str, manner: Manner, shared: &Shared) -> bool {
    // Without a level a node answers with what it has, and others may be further on.
    let is_local = level == "none" && client.servers() > 1;
    let node = client.server().to_string();
    let floor = if is_local { shared.history().local_floor(&node) } else { shared.history().floor() };
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
            match is_local {
                true => history.read_local(&node, floor, mark),
                false => history.read(level, floor, mark),
            }
            true
        }
        None => {
            let is_before_schema = result["error"].as_str().is_some_and(|error| error.contains("no such table"));
            if is_before_schema && !is_local {
                shared.history().read(level, floor, crate::history::Mark::default());
            }
            is_before_schema
        }
    }
}

async fn backup(client: &mut Client, random: &mut Random, shared: &Shared) -> bool {
    let form = Form::draw(random);
    // A node's own state may be behind what others have answered.
    let is_local = form.is_noleader && client.servers() > 1;
    let floor = if is_local { 0 } else { shared.history().floor() };
    let mut manner = Manner::quick(Duration::from_secs(15));
    match random.below(8) {
        0 => manner = manner.vanishing(Vanishes::Receiving(random.below(60_000) as usize)),
        1 | 2 => manner = manner.slow(Duration::from_millis(random.below(60))),
        _ => {}
    }
    let result = client.call(Method::GET, &form.path(), Bytes::new(), manner).await;
    if manner.vanishes.is_some() {
        shared.history().reached.note("backups: client vanished");
    }
    match result {
        Ok(answer) if answer.status == 200 => {
            shared.check_backup(floor, form, &answer);
            if !manner.pause.is_zero() {
                shared.history().reached.note("backups: of a slow client");
            }
            true
        }
        _ => manner.vanishes.is_some(),
    }
}

async fn load(client: &mut Client, random: &mut Random, options: &Workload, shared: &Shared) -> bool {
    if random.chance(1, 8) {
        vanish_during_load(client, random, shared).await;
        return true;
    }
    let image = images::good(shared.history().next_id(), random, options.filler_bytes, &mut shared.tools().scratch);
    // Through the log, or beside it: both replace everything.
    let is_boot = random.chance(1, 4);
    let (path, done) = if is_boot { ("/boot", "") } else { ("/db/load", r#"{"results":[]}"#) };
    let id = shared.history().call(Work::Load { file: image.file.clone(), hash: image.hash, is_boot });
    let body = Bytes::from(Vec::clone(&image.file));
    let mut manner = Manner::quick(Duration::from_secs(15));
    if random.chance(1, 8) {
        manner = manner.slow(Duration::from_millis(random.below(50)));
    }
    let result = client.call(Method::POST, path, body, manner).await;
    let mut history = shared.history();
    match result {
        Ok(answer) if answer.status == 200 && answer.body == done => {
            history.reached.note(if done.is_empty() { "boots" } else { "loads" });
            history.acknowledge(id, None);
            true
        }
        Ok(answer) if is_certain_refusal(&answer) => {
            history.reached.note("loads: refused");
            if answer.body.starts_with(b"load already in progress") {
                history.reached.note("loads: another was in progress");
            }
            history.refuse(id);
            true
        }
        Ok(answer) if answer.status == 400 => {
            let text = String::from_utf8_lossy(&answer.body);
            history.judge::<()>(Err(format!("loads: the good file of operation {id} was refused: {text}")));
            false
        }
        _ => {
            history.reached.note("loads: unknown");
            false
        }
    }
}

/// At once: only one of them can be under way.
async fn two_loads(clients: [&mut Client; 2], random: &mut Random, options: &Workload, shared: &Shared) -> bool {
    let [first, second] = clients;
    let (mut of_first, mut of_second) = (random.fork("first"), random.fork("second"));
    let both = (load(first, &mut of_first, options, shared), load(second, &mut of_second, options, shared));
    let (first, second) = futures::join!(both.0, both.1);
    // The others of this client differ from these two.
    random.next();
    first && second
}

/// Answers that promise that nothing was loaded and nothing will be.
///
/// Source: backup-restore.md §3.3.
fn is_certain_refusal(answer: &Answer) -> bool {
    let refusals: [(u16, &[u8]); 4] = [
        (503, b"load already in progress"),
        (503, b"leader not found"),
        (503, b"not leader"),
        (500, b"insufficient disk space: need "),
    ];
    refusals.iter().any(|(status, text)| answer.status == *status && answer.body.starts_with(text))
}

/// A good file or text, of which not all is sent: it is never loaded, not even where the part is good as well.
async fn vanish_during_load(client: &mut Client, random: &mut Random, shared: &Shared) {
    let op = shared.history().next_id();
    let body = match random.chance(1, 2) {
        true => schema::text(op, random, 100).text.into_bytes(),
        false => Vec::clone(&images::good(op, random, 0, &mut shared.tools().scratch).file),
    };
    shared.history().call(Work::BadLoad);
    let (sent, length) = (random.below(body.len() as u64) as usize, body.len());
    let manner = Manner::quick(Duration::from_secs(15)).vanishing(Vanishes::Sending(sent));
    let result = client.call(Method::POST, "/db/load", body.into(), manner).await;
    let mut history = shared.history();
    history.reached.note("loads: client vanished");
    if let Ok(answer) = result
        && answer.status == 200
    {
        history.judge::<()>(Err(format!("loads: {sent} bytes of {length} were loaded")));
    }
}

/// SQL text: all of it or nothing.
async fn text(client: &mut Client, random: &mut Random, options: &Workload, shared: &Shared) -> bool {
    let schema::Text { text, statements } = schema::text(shared.history().next_id(), random, options.value_bytes);
    let is_good = statements.is_some();
    let work = statements.map_or(Work::BadLoad, |statements| Work::Execute { statements, transaction: true });
    let id = shared.history().call(work);
    let manner = Manner::quick(Duration::from_secs(15));
    let result = client.call(Method::POST, "/db/load", text.into(), manner).await;
    let mut history = shared.history();
    let Ok(answer) = result else {
        history.reached.note("loads: unknown");
        return false;
    };
    let parsed: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200);
    // Without a result the error is the node's: it isn't open.
    match parsed.as_ref().and_then(|parsed| parsed["results"].get(0)) {
        Some(result) if result["error"].is_null() => {
            if is_good {
                history.reached.note("texts");
                history.acknowledge(id, None);
            } else {
                history.judge::<()>(Err(format!("loads: the bad text of operation {id} was loaded")));
            }
        }
        Some(_) => {
            history.reached.note("texts: refused");
            history.refuse(id);
        }
        None if is_certain_refusal(&answer) => history.refuse(id),
        None => {
            history.reached.note("loads: unknown");
            return false;
        }
    }
    true
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
        // A node that isn't open doesn't look at what it is.
        200 if text.contains("\"error\"") => return false,
        status => {
            history.judge::<()>(Err(format!("loads: {bad:?} of operation {id} was answered {status} {text:?}")));
        }
    }
    history.reached.note("loads: garbage refused");
    true
}
