//! A node's replicated state on a disk that fails: `Machine`, entry by entry, without network, tasks or time.
//!
//! ```text
//! entries ─► undisturbed machine ─► Model: content, replicated state and answer at each index
//! entries ─► machine on a disk that fails at the n-th operation ─► restart (hit again) ─► compared with the model
//! ```

use std::path::Path;
use std::sync::Arc;

use openraft::EntryPayload;
use rqlite::data_dir::DataDir;
use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;
use rqlite::db::database::{Fault, Paths};
use rqlite::db::value::StatementResult;
use rqlite::raft::applied::Applied;
use rqlite::raft::machine::{Checkpoint, Machine, Response};
use rqlite::raft::types::Entry;
use rqlite::world::{Disk, World, os};
use sim::content;
use sim::random::Random;
use sim::trace::Trace;
use sim::world::chaos::SimChaos;
use sim::world::clock::SimClock;
use sim::world::disk::{Counted, Error, Failure, PowerFailure, SimDisk};
use sim::world::entropy::SimEntropy;
use sim::world::vfs::{self, Registered};

/// Two levels that don't exist on a new disk.
pub const DATA: &str = "/srv/rqlite/node.1";

/// A computer; it outlives the node's processes.
pub struct Host {
    pub disk: SimDisk,
    _vfs: Registered,
}

/// One process of the node.
pub struct Node {
    pub machine: Machine,
    pub world: World,
    pub paths: Paths,
    _directory: DataDir,
}

/// What an undisturbed machine computes.
pub struct Model {
    pub entries: Vec<Entry>,
    states: Vec<State>,
}

struct State {
    content: u64,
    applied: Applied,
    answer: String,
}

/// What a client or the log knows of the node: a restart may not find less than `durable` nor more than `applied`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub durable: u64,
    pub applied: u64,
}

/// What happens at the armed operation.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// The power goes before it.
    Power(PowerFailure),
    /// The process is killed before it; the power goes some time later.
    Killed(PowerFailure),
    /// It fails, and the process ends for it; the power goes some time later.
    Fails(Counted, Error, PowerFailure),
}

/// What a node does with the model's entries until it is disturbed or done.
pub trait Script {
    fn play(
        &self,
        host: &Host,
        node: &mut Node,
        model: &Model,
        known: &mut Known,
        random: &mut Random,
    ) -> Result<(), Fault>;
}

impl Host {
    /// A computer with an empty disk.
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let entropy = Arc::new(SimEntropy::new(Random::new(seed)));
        let temporary = Path::new(DATA).join("tmp");
        let vfs = vfs::register(&disk, Arc::new(SimClock::new(0, 0)), entropy, &temporary);
        Self { disk, _vfs: vfs }
    }

    /// Starts the node; the error is what it would say.
    pub fn start(&self) -> Result<Node, String> {
        let seed = Random::new(self.disk.changes());
        // A cache of 12 pages spills within a transaction.
        let small_cache = Box::new(|_, connection: &rusqlite::Connection| {
            connection.execute_batch("PRAGMA cache_size=12").expect("it reads nothing");
        });
        let world = World {
            clock: Arc::new(SimClock::new(0, 0)),
            disk: Arc::new(self.disk.clone()),
            entropy: Arc::new(SimEntropy::new(seed.clone())),
            chaos: Arc::new(SimChaos::new("node", seed.clone(), seed, Trace::silent(), small_cache)),
            ..os::world()
        };
        let data = Path::new(DATA);
        let directory = DataDir::open(&world, data, "1").map_err(|error| error.to_string())?;
        let paths = Paths::new(data);
        let machine = Machine::open(&world, &paths, 0, Default::default()).map_err(|error| error.to_string())?;
        Ok(Node { machine, world, paths, _directory: directory })
    }
}

impl Node {
    /// The last applied index.
    pub fn index(&self) -> u64 {
        self.machine.applied().last_applied.as_ref().map_or(0, |id| id.index)
    }

    /// A reader of the current file, as the pool opens it.
    pub fn reader(&self) -> Connection {
        let path = self.paths.main(self.machine.current().generation());
        Connection::open(&path, self.world.disk.sqlite_vfs(), Role::Reader).expect("a reader can be opened")
    }

    /// Applies the next entry of the model and compares.
    pub fn apply(&mut self, model: &Model, known: &mut Known) -> Result<(), Fault> {
        let index = self.index() + 1;
        let entry = model.entries[index as usize - 1].clone();
        let response = self.machine.apply(entry, true)?;
        assert_eq!(self.index(), index, "an applied entry didn't move the index");
        assert_eq!(answer(&response), model.states[index as usize].answer, "another answer at {index}");
        known.applied = known.applied.max(index);
        Ok(())
    }
}

impl Model {
    /// Applies `entries`, which begin at index 1.
    pub fn new(entries: Vec<Entry>) -> Self {
        let host = Host::new(1);
        let mut node = host.start().expect("the disk doesn't fail");
        let mut states = vec![state(&node, String::new())];
        for entry in &entries {
            let response = node.machine.apply(entry.clone(), true).expect("the disk doesn't fail");
            states.push(state(&node, answer(&response)));
        }
        drop(node);
        Self { entries, states }
    }

    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn content(&self, index: u64) -> u64 {
        self.states[index as usize].content
    }

    /// The node's content and replicated state are the model's at its index.
    pub fn check(&self, host: &Host, node: &Node) {
        host.disk.undisturbed(|| {
            let index = node.index();
            let want = &self.states[index as usize];
            assert_eq!(node.machine.applied(), &want.applied, "the replicated state at {index}");
            let reader = node.reader();
            let check: String =
                reader.look(|raw| raw.query_row("PRAGMA integrity_check", [], |row| row.get(0))).expect("it runs");
            assert_eq!(check, "ok", "at {index}");
            assert_eq!(reader.look(content::hash).expect("it can be read"), want.content, "the content at {index}");
        });
    }
}

fn state(node: &Node, answer: String) -> State {
    let content = node.reader().look(content::hash).expect("it can be read");
    State { content, applied: node.machine.applied().clone(), answer }
}

/// Without what depends on the connection's past.
fn answer(response: &Response) -> String {
    let Response::Executed(executed) = response else {
        return format!("{response:?}");
    };
    let results = executed.results.iter().map(|result| match result {
        StatementResult::Write { .. } => "done".into(),
        StatementResult::Rows { rows, .. } => format!("{rows:?}"),
        StatementResult::Error(text) | StatementResult::ReadError(text) => text.clone(),
    });
    format!("{:?} {:?}", results.collect::<Vec<_>>(), executed.error)
}

/// Plays the script with `fate` at the `nth` operation, and checks each restart. False: there was no such operation.
pub fn survives(model: &Model, script: &impl Script, seed: u64, nth: u64, fate: Fate) -> bool {
    let _context = Context(format!("seed {seed}, operation {nth}, {fate:?}"));
    let host = Host::new(seed ^ nth << 20);
    let mut random = Random::new(seed ^ nth << 20).fork("fate");
    let mut known = Known::default();
    let (counted, error, mode) = match fate {
        Fate::Power(mode) | Fate::Killed(mode) => (Counted::Changes, Error::PowerCut, mode),
        Fate::Fails(counted, error, mode) => (counted, error, mode),
    };
    host.disk.arm(Failure { counted, path: String::new(), after: nth, error });
    let ended = live(&host, model, script, &mut known, &mut random);
    if host.disk.disarm() > 0 {
        assert_eq!(ended, Ok(()));
        return false;
    }
    if let (Ok(()), Fate::Power(_) | Fate::Killed(_)) = (&ended, fate) {
        // The last operations are those of destructors.
        assert_eq!(known.applied, model.last());
    }
    match fate {
        Fate::Power(mode) => host.disk.power_fail(mode),
        Fate::Killed(_) | Fate::Fails(..) => host.disk.kill(),
    }
    // Recovery is hit again, up to twice, or the power goes behind it.
    for _ in 0..2 {
        let is_hit = random.chance(1, 2);
        if is_hit {
            let after = random.below(60);
            host.disk.arm(Failure { counted: Counted::Changes, path: String::new(), after, error: Error::PowerCut });
        }
        let ended = match is_hit {
            true => live(&host, model, script, &mut known, &mut random),
            false => check_start(&host, model, &mut known).map(drop),
        };
        assert!(ended.is_ok() || is_hit, "{ended:?}");
        host.disk.power_fail(mode);
    }
    assert_eq!(live(&host, model, script, &mut known, &mut random), Ok(()));
    assert_eq!(known.applied, model.last(), "the script ends with the model");
    host.disk.power_fail(PowerFailure::DropAll);
    check_start(&host, model, &mut known).expect("the disk doesn't fail");
    true
}

/// Plays the script with `fate` at each operation in turn, from the `first` on, every `step`th.
pub fn at_every_operation(model: &Model, script: &impl Script, seed: u64, fate: Fate) -> u64 {
    let mut nth = 0;
    while survives(model, script, seed, nth, fate) {
        nth += 1;
    }
    assert!(nth > 0, "the script never came to an operation that failed");
    nth
}

/// One process of the node, from its start until it is disturbed or done with the script.
fn live(
    host: &Host,
    model: &Model,
    script: &impl Script,
    known: &mut Known,
    random: &mut Random,
) -> Result<(), String> {
    let mut node = check_start(host, model, known)?;
    let played = script.play(host, &mut node, model, known, random);
    match &played {
        Ok(()) => model.check(host, &node),
        Err(_) => {
            // What is queued on the lane behind the fault makes nothing durable.
            let outcome = node.machine.checkpoint();
            assert!(!matches!(outcome, Ok(Checkpoint::Clean(_))), "a checkpoint after a fault");
            // A process that ends writes nothing more.
            host.disk.cut();
        }
    }
    drop(node);
    played.map_err(|fault| fault.0)
}

/// Starts the node, and checks what it found.
fn check_start(host: &Host, model: &Model, known: &mut Known) -> Result<Node, String> {
    let node = host.start().inspect_err(|why| {
        for wrong in ["damaged", "another program"] {
            assert!(!why.contains(wrong), "what a failing disk leaves, or does, was taken for damage: {why}");
        }
    })?;
    let index = node.index();
    assert!(index >= known.durable, "recovered {index}, but {} was durable", known.durable);
    assert!(index <= known.applied, "recovered {index}, but only {} was applied", known.applied);
    known.durable = index;
    model.check(host, &node);
    host.disk.undisturbed(|| {
        let current = node.machine.current().generation();
        let left = host.disk.list(&node.paths.directory()).expect("it can be listed");
        let main = format!("{current}.sqlite");
        assert_eq!(left, [main.clone(), format!("{main}-wal")], "files of other generations stay");
        let left = host.disk.list(&node.paths.temporary()).expect("it can be listed");
        assert!(left.is_empty(), "temporary files stay: {left:?}");
    });
    Ok(node)
}

/// Tells where a test panicked.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("── {}", self.0);
        }
    }
}

/// An entry of term 1; no payload: blank.
pub fn entry(index: u64, payload: Option<rqlite::command::Command>) -> Entry {
    let payload = payload.map_or(EntryPayload::Blank, |command| EntryPayload::Normal((&command).into()));
    Entry { log_id: rqlite::raft::convert::log_id(1, index), payload }
}
