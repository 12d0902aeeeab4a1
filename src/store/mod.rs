//! The replicated database: one file per operation. Nothing here knows HTTP; nothing above knows Raft.
//!
//! ```text
//! execute ─► propose ─► raft log ─► machine (writer's lane) ─► answer
//! query ───► consistency ─► readers (a lane each) ─► rows into a sink
//! backup ──► read index ─► checkpoint + lease ─► chunks
//! boot ────► spool ─► check ─► swap beside the log, which is purged
//! load ────► spool ─► check ─► LoadBegin, chunks, LoadCommit through the log
//! ```

pub mod backup;
pub mod boot;
pub mod checkpoint;
pub mod execute;
pub mod leader;
pub mod load;
pub mod maintenance;
pub mod query;
pub mod request;
pub mod status;

mod error;
mod free_space;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::storage::RaftLogStorage;
use tokio::sync::watch;

pub use error::Error;

use crate::command::{Command, Kind, Limits};
use crate::db::database::Paths;
use crate::db::engine;
use crate::db::readers::{Bounds, Readers};
use crate::raft::log::Log;
use crate::raft::machine::{Machine, Response};
use crate::raft::network::NoPeers;
use crate::raft::state_machine::{OnFatal, StateMachine};
use crate::raft::types::{LogId, Node, NodeId, Payload, TypeConfig};
use crate::world::{Lane, World};
use free_space::FreeSpace;

type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub node_id: String,
    pub node: Node,
    pub foreign_keys: bool,
    pub readers: Bounds,
    pub checkpoint: checkpoint::Options,
    pub maintenance: maintenance::Options,
    /// Quorum not heard for this long: the lease is over.
    pub leader_lease: Duration,
    /// An entry that is passed without being applied; 0: none.
    pub skip_entry: u64,
}

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Store {
    world: World,
    paths: Paths,
    options: Arc<Options>,
    raft: Raft,
    log: Log,
    /// What was committed before this start: no read is answered before it is applied again (hazard H22).
    ready_at: Option<LogId>,
    machine: Lane<Machine>,
    readers: Readers,
    free_space: Arc<FreeSpace>,
    counters: Arc<checkpoint::Counters>,
    /// Why this node can't go on.
    fatal: watch::Sender<Option<String>>,
}

/// What was written to the log.
pub struct Proposed {
    pub index: u64,
    pub response: Response,
}

impl Store {
    /// Opens log and database in the data directory, which is locked and laid out, and starts Raft.
    pub async fn open(world: &World, options: Options) -> Result<Self, Error> {
        let paths = Paths::new(&options.data_dir);
        engine::initialize(&paths.temporary());
        let (fatal, _) = watch::channel(None::<String>);
        let report = fatal.clone();
        let on_fatal: OnFatal = Arc::new(move |why| {
            report.send_if_modified(|reason| reason.replace(why).is_none());
        });

        // Recovery reads the whole log and the database: on a lane, as all synchronous work.
        let opener = Lane::start(&*world.lanes, "open", ());
        let (world_, paths_, skip, report) = (world.clone(), paths.clone(), options.skip_entry, on_fatal.clone());
        let directory = options.data_dir.join("raft");
        let opened = opener
            .call(move |_| {
                let log = Log::open(&world_, &directory, Default::default(), move |why| report(why))?;
                // Without db.state the database would be taken for new, and whatever is there removed.
                let is_purged = log.stats().first.is_some_and(|first| first > 0);
                if is_purged && !world_.disk.exists(&paths_.state()).unwrap_or(true) {
                    return Err(Error::Incomplete { what: format!("{}: it is missing", paths_.state().display()) });
                }
                let machine = Machine::open(&world_, &paths_, skip)?;
                check_belong_together(&log, &machine, &directory)?;
                Ok::<_, Error>((log, machine))
            })
            .await;
        let (mut log, machine) = opened?;
        // What a boot left of the log may still lie on the disk.
        if let Some(void) = machine.applied().void {
            log.purge(void).await.map_err(|error| Error::Raft(error.to_string()))?;
        }
        let readers = Readers::new(world, &paths, machine.current().clone(), options.readers);
        let machine = Lane::start(&*world.lanes, "writer", machine);
        let state_machine = StateMachine { machine: machine.clone(), on_fatal };
        let config = raft_config(options.leader_lease)?;
        let id = NodeId::from(options.node_id.as_str());
        let last = log.last();
        let raft = Raft::new(id, config, NoPeers, log.clone(), state_machine)
            .await
            .map_err(|error| Error::Raft(error.to_string()))?;
        // Asked of Raft's core: the metrics are empty until it has begun to run.
        let voters = raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>());
        let voters = voters.await.map_err(|error| Error::Raft(error.to_string()))?;
        // A sole voter commits its whole log: more than it had noted as committed, perhaps, and clients have seen it.
        let is_alone = voters.len() == 1 && voters[0].as_str() == options.node_id;
        let ready_at = if is_alone { last } else { log.saved_committed() };
        let store = Self {
            world: world.clone(),
            free_space: Arc::new(FreeSpace::new(world, &paths)),
            paths,
            options: Arc::new(options),
            raft,
            ready_at,
            log,
            machine,
            readers,
            counters: Arc::default(),
            fatal,
        };
        Ok(store)
    }

    /// Waits until this node can't go on, and says why.
    pub async fn failed(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        let mut metrics = self.raft.server_metrics();
        let mut data = self.raft.metrics();
        loop {
            if let Some(why) = fatal.borrow_and_update().clone() {
                return why;
            }
            if let Err(stopped) = &data.borrow_watched().running_state {
                return format!("raft stopped: {stopped}");
            }
            tokio::select! {
                biased;
                // The sender is ours: it is never gone.
                _ = fatal.changed() => {}
                changed = data.changed() => if changed.is_err() {
                    return "raft stopped".into();
                },
                _ = metrics.changed() => {}
            }
        }
    }

    /// Ends Raft, after a last checkpoint, so that the next start replays nothing.
    pub async fn close(&self) {
        checkpoint::run(self, checkpoint::Purge::Window).await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
    }

    /// Whether reads may be answered: what was committed before a restart is applied again (hazard H22).
    pub fn is_ready(&self) -> bool {
        self.raft.metrics().borrow_watched().last_applied >= self.ready_at
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// Writes a command to the log and waits until it is applied here.
    async fn propose(&self, kind: Kind, limits: Limits) -> Result<Proposed, Error> {
        let mut seed = [0; 16];
        self.world.entropy.fill(&mut seed);
        let time_ms = self.world.clock.unix_now().as_millis() as u64;
        let seed = seed.to_vec().into();
        let command = Command { time_ms, seed, limits: Some(limits), kind: Some(kind) };
        match self.raft.client_write(Payload::from(&command)).await {
            Ok(written) => Ok(Proposed { index: written.log_id.index, response: written.data }),
            Err(error) => Err(write_error(error)),
        }
    }

    /// Confirms that this node leads, and waits until everything committed so far is applied.
    async fn read_index(&self, timeout: Duration) -> Result<(), Error> {
        let confirmed = tokio::time::timeout(timeout, self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        match confirmed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(Error::Stopped(fatal.to_string())),
            Ok(Err(RaftError::APIError(_))) => Err(Error::LeaderNotFound),
            Err(_) => Err(Error::LeaderNotFound),
        }
    }

    /// A name that no other cluster or incarnation has.
    fn draw_id(&self) -> String {
        format!("{:016x}{:016x}", self.world.entropy.next_u64(), self.world.entropy.next_u64())
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.paths.temporary().join(format!("{name}-{:016x}", self.world.entropy.next_u64()))
    }
}

fn write_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Error {
    match error {
        RaftError::Fatal(fatal) => Error::Stopped(fatal.to_string()),
        // Only this variant says that nothing was proposed (hazard H14).
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::LeaderNotFound,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Error::LeadershipLost,
        RaftError::APIError(error) => Error::Raft(error.to_string()),
    }
}

/// A log whose beginning is purged needs the database that the purged part became.
fn check_belong_together(log: &Log, machine: &Machine, directory: &Path) -> Result<(), Error> {
    let next = machine.applied().last_applied.map_or(0, |id| id.index + 1);
    match log.stats().first {
        Some(first) if first > next => Err(Error::Incomplete {
            what: format!("{}: the log begins at {first}, but the database ends before {next}", directory.display()),
        }),
        _ => Ok(()),
    }
}

/// openraft's leader lease is its largest election timeout, so that follows our flag (design §8).
fn raft_config(leader_lease: Duration) -> Result<Arc<openraft::Config>, Error> {
    let lease_ms = leader_lease.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: "rqlite".into(),
        heartbeat_interval: (lease_ms / 10).max(1),
        election_timeout_min: (lease_ms / 2).max(2),
        election_timeout_max: lease_ms.max(3),
        // Both are ours to trigger (hazard H18).
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        ..Default::default()
    };
    config.validate().map(Arc::new).map_err(|error| Error::Raft(error.to_string()))
}
