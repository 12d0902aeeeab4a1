//! The replicated state of one node: applies entries to the database, on the writer's lane.
//!
//! ```text
//! entry ─► Command ─┬─ execute ──► db::Writer            the entry's time and randomness around it
//!                   ├─ settings ─► Applied
//!                   └─ load ─────► staging file ─► db::Database::adopt
//! ```
//!
//! `last_applied` moves only after an entry's effect is complete; a fault leaves it and stops the node.

mod batch;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::applied::Applied;
use super::convert;
use super::load::{Load, Spool};
use super::observed::Observed;
use super::types::LogId;
use crate::command::{Boot, Command, Execute, Kind, Limits, LoadBegin, LoadChunk, LoadCommit, LoadContent, Settings};
use crate::db::checkpoint::{Background, Outcome};
use crate::db::database::{Database, Fault, OpenError, Paths};
use crate::db::engine;
use crate::db::entry;
use crate::db::execute::{Executed, Reads};
use crate::db::lease::{Lease, Leases};
use crate::db::readers::Current;
use crate::db::value::StatementResult;
use crate::metrics::Metrics;
use crate::peer::Cluster;
use crate::world::{File, Open, World};
use batch::Turn;

/// What applying an entry answers to the node that proposed it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Response {
    #[default]
    Done,
    Executed(Executed),
    /// A load's entry that doesn't fit the replicated state; nothing changed.
    Refused(Refusal),
}

/// Why a load's entry did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("load already in progress")]
    LoadInProgress,
    #[error("not single-node")]
    NotSingleNode,
    #[error("no such load in progress")]
    NoSuchLoad,
    #[error("load is incomplete or damaged")]
    LoadDamaged,
    /// A file made of SQL text, for a database that isn't empty any more.
    #[error("database was changed during the load")]
    Changed,
}

/// Why a checkpoint didn't happen, where that is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// The main file is the state at this index.
    Clean(Option<u64>),
    Busy,
    Leased,
    Running,
    /// A load is open: nothing passes its begin (hazard H13).
    LoadOpen,
}

/// The main file under a lease: the state at `index`.
pub struct Leased {
    pub lease: Arc<Lease>,
    /// `None`: nothing was applied.
    pub index: Option<u64>,
}

/// Why the machine can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("db.state: {0}")]
    Applied(#[from] convert::Error),
}

/// See the module.
pub struct Machine {
    world: World,
    paths: Paths,
    database: Database,
    applied: Applied,
    /// `applied` as of the last checkpoint.
    clean: Applied,
    load: Option<Load>,
    /// Files this node received, whose load hasn't begun.
    spools: Vec<Spool>,
    current: Arc<Current>,
    cluster: Arc<Cluster>,
    observed: Arc<Mutex<Observed>>,
    metrics: Arc<Metrics>,
    /// Of this process.
    engine: String,
    /// An entry that an operator passes (`-skip-entry`).
    skip_entry: u64,
    /// So many entries are applied each by itself: a shared transaction was undone a short while ago.
    alone: usize,
    /// Why this node stops. What the database holds is no state at any index then: nothing more may be applied, and
    /// above all nothing made durable, by whatever is queued on the lane.
    fault: Option<Fault>,
}

impl Machine {
    /// Opens the database at its last checkpoint.
    pub fn open(world: &World, paths: &Paths, skip_entry: u64, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let mut database = Database::open(world, paths)?;
        let applied = Applied::decode(database.applied())?;
        database
            .writer()
            .set_foreign_keys(applied.foreign_keys)
            .map_err(|fault| OpenError::Fault { path: paths.main(database.generation()), fault })?;
        if let Some(id) = &applied.last_applied {
            database.writer().connection().look(|connection| world.chaos.applied(id.index, connection));
        }
        let current = Arc::new(Current::new(database.generation()));
        current.set_foreign_keys(applied.foreign_keys);
        let cluster = Arc::new(Cluster::default());
        cluster.set(&applied.cluster_id, &applied.incarnation);
        if applied.last_applied.is_some() {
            // The main file is the checkpoint: nothing is copied.
            metrics.store.num_restores_start_skipped.increment();
        }
        let observed = Observed { last_command: applied.last_applied, ..Observed::default() };
        let machine = Self {
            world: world.clone(),
            paths: paths.clone(),
            database,
            clean: applied.clone(),
            applied,
            load: None,
            spools: Vec::new(),
            current,
            cluster,
            observed: Arc::new(Mutex::new(observed)),
            metrics,
            engine: engine::fingerprint(),
            skip_entry,
            alone: 0,
            fault: None,
        };
        machine.observe(None);
        Ok(machine)
    }

    /// The replicated state as of the last applied entry.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The replicated state as of the last checkpoint.
    pub fn clean(&self) -> &Applied {
        &self.clean
    }

    /// Replaces the replicated state beside the database, before anything was applied since the last checkpoint.
    pub fn restate(&mut self, applied: Applied) -> Result<(), Fault> {
        assert_eq!(self.applied, self.clean, "a recovery comes before the log is replayed");
        self.database.restate(&applied.encode())?;
        self.cluster.set(&applied.cluster_id, &applied.incarnation);
        (self.clean, self.applied) = (applied.clone(), applied);
        Ok(())
    }

    /// A node without data becomes one of `incarnation`, which the log doesn't tell if a recovery made it. One that has
    /// data already isn't of it.
    pub fn adopt_incarnation(&mut self, incarnation: &str) -> Result<Result<(), &'static str>, Fault> {
        if self.applied.incarnation == incarnation {
            return Ok(Ok(()));
        }
        if self.applied.last_applied.is_some() || !self.applied.incarnation.is_empty() {
            return Ok(Err("this node has data from before a recovery or boot"));
        }
        self.restate(Applied { incarnation: incarnation.into(), ..self.applied.clone() })?;
        self.world.chaos.reached("members: incarnation adopted");
        Ok(Ok(()))
    }

    /// What readers open.
    pub fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Which cluster the data is of.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// What /status tells.
    pub fn observed(&self) -> &Arc<Mutex<Observed>> {
        &self.observed
    }

    /// The leases on the main file.
    pub fn leases(&self) -> &Leases {
        self.database.leases()
    }

    /// The id of the open load.
    pub fn open_load(&self) -> Option<u64> {
        self.load.as_ref().map(|load| load.id)
    }

    /// The id of the open load, if it was begun by another node, or by this one before it was restarted.
    pub fn foreign_load(&self) -> Option<u64> {
        self.load.as_ref().filter(|load| !load.is_sent_here).map(|load| load.id)
    }

    /// Bytes of the WAL that the next checkpoint copies.
    pub fn wal_frames(&self) -> Result<u64, Fault> {
        let frames = self.database.frames()?;
        Ok(frames.log - frames.checkpointed)
    }

    /// Brings the main file to the applied state.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, Fault> {
        self.unless_faulty(|machine| {
            if machine.load.is_some() {
                return Ok(Checkpoint::LoadOpen);
            }
            let outcome = machine.database.checkpoint(&machine.applied.encode())?;
            Ok(machine.checkpointed(outcome))
        })
    }

    /// The WAL, which another lane syncs before a background checkpoint: then that has little to wait for.
    pub fn open_wal(&mut self) -> Result<Box<dyn File>, Fault> {
        self.unless_faulty(|machine| machine.database.open_wal())
    }

    /// The first pause of a background checkpoint; see [`Database::begin_background`].
    pub fn begin_background(&mut self) -> Result<Option<Background>, Fault> {
        self.unless_faulty(|machine| {
            if machine.load.is_some() {
                return Ok(None);
            }
            machine.database.begin_background(&machine.applied.encode())
        })
    }

    /// The second pause of a background checkpoint, which brings the main file to the state applied by now.
    pub fn end_background(&mut self, background: Background) -> Result<Checkpoint, Fault> {
        self.unless_faulty(|machine| {
            if machine.load.is_some() {
                machine.database.abandon_background(background);
                return Ok(Checkpoint::LoadOpen);
            }
            let outcome = machine.database.end_background(background, &machine.applied.encode())?;
            Ok(machine.checkpointed(outcome))
        })
    }

    /// Leases the state at the returned index. Its checkpoint and the lease are one job (hazard H21).
    pub fn lease(&mut self) -> Result<Result<Leased, Checkpoint>, Fault> {
        self.unless_faulty(|machine| match machine.checkpoint()? {
            Checkpoint::Clean(index) => Ok(Ok(Leased { lease: machine.database.lease()?, index })),
            // Another lease reads this very state, as long as nothing was written since.
            Checkpoint::Leased if machine.wal_frames()? == 0 => {
                Ok(Ok(Leased { lease: machine.database.lease()?, index: machine.last_index() }))
            }
            other => Ok(Err(other)),
        })
    }

    /// Leases the state of the last checkpoint, for another node; `None` while the next one is being made. No load is in
    /// the way: the state is the one before it.
    pub fn lease_clean(&mut self) -> Result<Option<(Arc<Lease>, Applied)>, Fault> {
        self.unless_faulty(|machine| {
            if !machine.database.is_clean() {
                return Ok(None);
            }
            Ok(Some((machine.database.lease()?, machine.clean.clone())))
        })
    }

    /// Makes the snapshot at `staged`, which was prepared, the database; `applied` is what it stands for. A load that
    /// was open has ended before it: no checkpoint lies within one.
    pub fn install(&mut self, staged: &Path, applied: Applied) -> Result<(), Fault> {
        self.unless_faulty(|machine| {
            assert!(applied.last_applied > machine.applied.last_applied, "a snapshot never leads back");
            let index = applied.last_applied.map_or(0, |id| id.index);
            machine.replace(staged, applied).map_err(|fault| Fault(format!("snapshot {index}: {}", fault.0)))?;
            machine.load = None;
            machine.metrics.store.num_restores.increment();
            let chaos = machine.world.chaos.clone();
            machine.database.writer().connection().look(|connection| chaos.applied(index, connection));
            chaos.reached("snapshots: installed");
            tracing::info!(index, "snapshot installed");
            Ok(())
        })
    }

    /// The index of the last change (0: none), if the database is as a new one.
    pub fn empty_since(&mut self) -> Result<Option<u64>, Fault> {
        self.unless_faulty(|machine| Ok(machine.database.writer().is_empty()?.then(|| machine.last_change())))
    }

    /// Takes note of a received file, whose load is about to begin.
    pub fn add_spool(&mut self, spool: Spool) {
        self.spools.push(spool);
    }

    /// Forgets a received file whose load did not begin; it is removed.
    pub fn forget_spool(&mut self, id: u64) {
        self.spools.retain(|spool| spool.id != id);
    }

    /// Makes the open load ready to be committed: whatever can fail fails here. The error is a text.
    pub fn stage(&mut self, load_id: u64) -> Result<(), String> {
        match self.load.as_mut().filter(|load| load.id == load_id) {
            Some(load) => load.prepare(&*self.world.disk),
            None => Err(Refusal::NoSuchLoad.to_string()),
        }
    }

    /// Shows what was applied; the entry and its time if it held a command.
    fn observe(&self, command: Option<(LogId, Duration)>) {
        let mut observed = self.observed.lock().expect("no panic holds this lock");
        if let Some((log_id, proposed_at)) = command {
            observed.last_command = Some(log_id);
            observed.applied_at = Some(self.world.clock.unix_now());
            observed.proposed_at = Some(proposed_at);
        }
        observed.last_change = self.applied.last_change;
        observed.foreign_keys = self.applied.foreign_keys;
        observed.cluster_id.clone_from(&self.applied.cluster_id);
        observed.engine.clone_from(&self.applied.engine);
    }

    fn last_change(&self) -> u64 {
        self.applied.last_change.as_ref().map_or(0, |id| id.index)
    }

    fn last_index(&self) -> Option<u64> {
        self.applied.last_applied.as_ref().map(|id| id.index)
    }

    /// Runs `work` unless a fault has come before; the first one is kept.
    fn unless_faulty<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let result = work(self);
        if let Err(fault) = &result {
            self.fault = Some(fault.clone());
            self.current.set_faulty();
        }
        result
    }

    fn checkpointed(&mut self, outcome: Outcome) -> Checkpoint {
        match outcome {
            Outcome::Clean => {
                self.clean = self.applied.clone();
                Checkpoint::Clean(self.last_index())
            }
            Outcome::Busy => Checkpoint::Busy,
            Outcome::Leased => Checkpoint::Leased,
            Outcome::Running => Checkpoint::Running,
        }
    }

    /// `None`: the transaction that it shared was undone.
    fn command(
        &mut self,
        log_id: LogId,
        command: Command,
        wants_rows: bool,
        turn: Turn,
    ) -> Result<Option<Response>, Fault> {
        let Command { time_ms, seed, limits, kind } = command;
        let limits = limits.unwrap_or_default();
        if let Some(Kind::Execute(_) | Kind::Request(_) | Kind::LoadCommit(_)) = kind {
            self.check_engine()?;
        }
        let is_request = matches!(kind, Some(Kind::Execute(_) | Kind::Request(_)));
        if !is_request && !self.database.writer().commit_shared()? {
            return Ok(None);
        }
        let mut execute = |request: &Execute, reads: Reads| {
            let run = || self.execute(log_id, request, reads, &limits, wants_rows, turn);
            Ok(entry::scope(time_ms, &seed, run)?.map(Response::Executed))
        };
        let response = match kind {
            Some(Kind::Execute(request)) => return execute(&request, Reads::Counts),
            Some(Kind::Request(request)) => return execute(&request, Reads::Rows),
            Some(Kind::Barrier(_)) => Ok(Response::Done),
            Some(Kind::Settings(settings)) => self.settings(settings),
            Some(Kind::LoadBegin(begin)) => Ok(self.load_begin(log_id, &begin)),
            Some(Kind::LoadChunk(chunk)) => Ok(self.load_chunk(&chunk)),
            Some(Kind::LoadCommit(commit)) => match self.take_complete(&commit) {
                Err(refusal) => Ok(Response::Refused(refusal)),
                Ok(load) if load.content == LoadContent::Sql => {
                    let executed = entry::scope(time_ms, &seed, || self.load_text(log_id, &load, &limits));
                    executed.map(Response::Executed)
                }
                Ok(_) if commit.unchanged_since.is_some_and(|index| index != self.last_change()) => {
                    Ok(Response::Refused(Refusal::Changed))
                }
                Ok(load) => self.adopt(log_id, load, commit.unchanged_since.is_some()),
            },
            Some(Kind::Boot(boot)) => self.boot(log_id, &boot),
            Some(Kind::LoadAbort(abort)) => {
                if self.open_load() != Some(abort.load_id) {
                    Ok(Response::Refused(Refusal::NoSuchLoad))
                } else {
                    tracing::info!(load = abort.load_id, reason = abort.reason, "load aborted");
                    self.world.chaos.reached("loads: aborted");
                    self.load = None;
                    Ok(Response::Done)
                }
            }
            None => Err(Fault("it holds a command that this version doesn't know".into())),
        };
        response.map(Some)
    }

    /// Another SQLite may compute something else of the same entry, and nobody would notice (hazard H16).
    fn check_engine(&self) -> Result<(), Fault> {
        let agreed = &self.applied.engine;
        if agreed.is_empty() || *agreed == self.engine {
            return Ok(());
        }
        Err(Fault(format!(
            "the cluster runs another SQLite, or other options ({agreed}; here: {}): start the rqlited that it runs. To \
             change it, stop all writes, then each node in order, and start it with the new one",
            self.engine
        )))
    }

    fn execute(
        &mut self,
        log_id: LogId,
        request: &Execute,
        reads: Reads,
        limits: &Limits,
        wants_rows: bool,
        turn: Turn,
    ) -> Result<Option<Executed>, Fault> {
        let writer = self.database.writer();
        let executed = match turn {
            Turn::Shared => writer.execute_shared(request, reads, limits, wants_rows)?,
            Turn::Alone | Turn::Again => Some(writer.execute(request, reads, limits, wants_rows)?),
        };
        let Some(executed) = executed else {
            return Ok(None);
        };
        // `PRAGMA foreign_keys` is replicated state.
        self.applied.foreign_keys = writer.connection().foreign_keys().map_err(|error| Fault(error.to_string()))?;
        self.current.set_foreign_keys(self.applied.foreign_keys);
        if executed.changed {
            self.applied.last_change = Some(log_id);
        }
        if turn != Turn::Again {
            self.count(request, reads, &executed);
        }
        Ok(Some(executed))
    }

    fn count(&self, request: &Execute, reads: Reads, executed: &Executed) {
        let db = &self.metrics.db;
        match reads {
            Reads::Rows => db.requests.add(request.statements.len()),
            Reads::Counts => db.executions.add(request.statements.len()),
        }
        if request.transaction {
            match reads {
                Reads::Rows => db.request_transactions.increment(),
                Reads::Counts => db.execute_transactions.increment(),
            }
        }
        for result in &executed.results {
            match result {
                StatementResult::Write { .. } => {}
                StatementResult::Rows { is_read: false, .. } => db.executions_force_queries.increment(),
                StatementResult::Rows { is_read: true, .. } => db.queries.increment(),
                StatementResult::ReadError(_) => db.query_errors.increment(),
                StatementResult::Error(_) if reads == Reads::Counts => db.execution_errors.increment(),
                // The reference doesn't count them.
                StatementResult::Error(_) => {}
            }
        }
    }

    fn settings(&mut self, settings: Settings) -> Result<Response, Fault> {
        if let Some(id) = settings.cluster_id {
            self.applied.cluster_id = id;
        }
        if let Some(engine) = settings.engine {
            self.applied.engine = engine;
        }
        if let Some(on) = settings.foreign_keys_default {
            self.applied.foreign_keys_default = on;
            self.set_foreign_keys(on)?;
        }
        self.cluster.set(&self.applied.cluster_id, &self.applied.incarnation);
        Ok(Response::Done)
    }

    fn set_foreign_keys(&mut self, on: bool) -> Result<(), Fault> {
        self.applied.foreign_keys = on;
        self.current.set_foreign_keys(on);
        self.database.writer().set_foreign_keys(on)
    }

    fn load_begin(&mut self, log_id: LogId, begin: &LoadBegin) -> Response {
        if self.load.is_some() {
            return Response::Refused(Refusal::LoadInProgress);
        }
        let received = self.take_spool(begin.spool);
        let path = self.paths.temporary().join(format!("load-{}", log_id.index));
        self.load = Some(Load::begin(&self.world.disk, log_id.index, begin, received, path));
        self.world.chaos.reached("loads: begun");
        Response::Done
    }

    fn load_chunk(&mut self, chunk: &LoadChunk) -> Response {
        let Some(load) = self.load.as_mut().filter(|load| load.id == chunk.load_id) else {
            return Response::Refused(Refusal::NoSuchLoad);
        };
        if load.append(chunk.offset, &chunk.data) { Response::Done } else { Response::Refused(Refusal::LoadDamaged) }
    }

    /// Ends the load that `commit` names; from here on it is this one's alone.
    fn take_complete(&mut self, commit: &LoadCommit) -> Result<Load, Refusal> {
        let load = self.load.take_if(|load| load.id == commit.load_id).ok_or(Refusal::NoSuchLoad)?;
        if load.is_complete(commit.size, commit.crc32c) { Ok(load) } else { Err(Refusal::LoadDamaged) }
    }

    /// Runs SQL text that was loaded.
    fn load_text(&mut self, log_id: LogId, load: &Load, limits: &Limits) -> Result<Executed, Fault> {
        let fault = |error| Fault(format!("reading the staged text: {error}"));
        load.check_staged().map_err(Fault)?;
        let text = self.world.disk.open(load.path(), Open::Read).map_err(fault)?;
        let executed = self.database.writer().load_text(&*text, load.size, limits)?;
        if executed.changed {
            self.applied.last_change = Some(log_id);
        }
        Ok(executed)
    }

    /// From here only the content could fail the load, and that is known; other trouble is a fault of this node,
    /// which keeps the old generation and tries again at the next start.
    fn adopt(&mut self, log_id: LogId, mut load: Load, keep_foreign_keys: bool) -> Result<Response, Fault> {
        load.prepare(&*self.world.disk).map_err(Fault)?;
        let mut applied = self.loaded(log_id);
        if keep_foreign_keys {
            applied.foreign_keys = self.applied.foreign_keys;
        }
        self.replace(load.path(), applied)?;
        Ok(Response::Done)
    }

    /// Swaps in the prepared file of a boot, which never went through the log: the log up to here is void. A start that
    /// meets the entry again has no such file, because the power went before the swap, and does nothing.
    fn boot(&mut self, log_id: LogId, boot: &Boot) -> Result<Response, Fault> {
        let spool = self.take_spool(boot.spool);
        if self.load.is_some() {
            return Ok(Response::Refused(Refusal::LoadInProgress));
        }
        if self.applied.membership.membership().nodes().count() != 1 {
            return Ok(Response::Refused(Refusal::NotSingleNode));
        }
        let Some(spool) = spool else {
            return Ok(Response::Refused(Refusal::NoSuchLoad));
        };
        let applied = Applied { incarnation: boot.incarnation.clone(), void: Some(log_id), ..self.loaded(log_id) };
        self.replace(spool.file.path(), applied)?;
        Ok(Response::Done)
    }

    fn take_spool(&mut self, id: u64) -> Option<Spool> {
        let at = self.spools.iter().position(|spool| spool.id == id)?;
        Some(self.spools.swap_remove(at))
    }

    /// The replicated state after a load at `log_id`.
    fn loaded(&self, log_id: LogId) -> Applied {
        let foreign_keys = self.applied.foreign_keys_default;
        Applied { last_applied: Some(log_id), last_change: Some(log_id), foreign_keys, ..self.applied.clone() }
    }

    /// Makes the prepared file at `staged` the database, and `applied` the state that it stands for.
    fn replace(&mut self, staged: &Path, applied: Applied) -> Result<(), Fault> {
        self.database.adopt(staged, &applied.encode())?;
        self.applied = applied;
        self.clean = self.applied.clone();
        self.cluster.set(&self.applied.cluster_id, &self.applied.incarnation);
        self.set_foreign_keys(self.applied.foreign_keys)?;
        self.current.set_generation(self.database.generation());
        self.observe(None);
        self.database.remove_replaced()
    }
}
