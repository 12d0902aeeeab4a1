//! The replicated database: one file per operation. Nothing here knows HTTP; nothing above knows Raft.
//!
//! ```text
//! execute ─► propose ─► raft log ─► machine (writer's lane) ─► answer
//! query ───► consistency ─► readers (a lane each) ─► rows into a sink
//! backup ──► read index ─► checkpoint + lease ─► chunks
//! boot ────► spool ─► check ─► swap beside the log, which is purged
//! load ────► spool ─► check ─► LoadBegin, chunks, LoadCommit through the log
//! recovery ► raft/peers.json ─► members beside the log, before Raft starts
//! ```

pub mod backup;
pub mod boot;
pub mod checkpoint;
pub mod execute;
pub mod freshness;
pub mod leader;
pub mod load;
pub mod maintenance;
pub mod members;
pub mod purge;
pub mod query;
pub mod reap;
pub mod recovery;
pub mod request;
pub mod role;
pub mod snapshot;
pub mod status;

mod error;
mod free_space;
mod joint;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::storage::RaftLogStorage;
use tokio::sync::watch;

pub use error::Error;

use crate::command::{Barrier, Command, Kind, Limits};
use crate::db::database::Paths;
use crate::db::engine;
use crate::db::readers::{Bounds, Current, Readers};
use crate::metrics::Metrics;
use crate::peer::{self, Hello, Identity, Peers};
use crate::raft::Raft;
use crate::raft::log::Log;
use crate::raft::machine::{Machine, Response};
use crate::raft::network::{Addresses, Network, Promises};
use crate::raft::observed::Observed;
use crate::raft::service::{Contact, RaftService};
use crate::raft::snapshot::{Outgoing, Receiver, Source};
use crate::raft::state_machine::{OnFatal, StateMachine};
use crate::raft::types::{LogId, Node, NodeId, Payload, TypeConfig, Watched};
use crate::version::RQLITE_VERSION;
use crate::world::{Lane, World};
use free_space::FreeSpace;
use joint::Joint;
use role::Office;

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
    /// The longest wait for a connection to another node.
    pub connect_timeout: Duration,
    pub reap: reap::Options,
    /// An entry that is passed without being applied; 0: none.
    pub skip_entry: u64,
    pub metrics: Arc<Metrics>,
}

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Store {
    world: World,
    paths: Paths,
    options: Arc<Options>,
    raft: Raft,
    /// Its metrics; asked by each request.
    raft_metrics: Watched,
    log: Log,
    /// What was committed before this start: no read is answered before it is applied again (hazard H22).
    ready_at: Option<LogId>,
    machine: Lane<Machine>,
    readers: Readers,
    current: Arc<Current>,
    observed: Arc<Mutex<Observed>>,
    /// The term of the last strong read; 0: none.
    strong_read_term: Arc<AtomicU64>,
    /// Of leadership, for reads.
    confirmation: Joint<Result<(), Unconfirmed>>,
    /// Entries that strong reads wait for.
    barrier: Joint<Result<u64, Unconfirmed>>,
    /// Held while a node joins, and by a boot until the log that it made void is purged (hazard H12).
    history: Arc<tokio::sync::Mutex<()>>,
    metrics: Arc<Metrics>,
    free_space: Arc<FreeSpace>,
    counters: Arc<checkpoint::Counters>,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    client: peer::Client,
    contact: Contact,
    promises: Promises,
    addresses: Addresses,
    outgoing: Outgoing,
    office: Office,
    /// Why this node can't go on.
    fatal: watch::Sender<Option<String>>,
}

/// Why leadership could not be confirmed.
#[derive(Clone)]
enum Unconfirmed {
    NotLeader,
    QuorumLost,
    Lost,
    Stopped(String),
}

impl From<Error> for Unconfirmed {
    fn from(error: Error) -> Self {
        match error {
            Error::LeaderNotFound => Self::NotLeader,
            Error::QuorumLost => Self::QuorumLost,
            Error::LeadershipLost => Self::Lost,
            other => Self::Stopped(other.to_string()),
        }
    }
}

impl From<Unconfirmed> for Error {
    fn from(why: Unconfirmed) -> Self {
        match why {
            Unconfirmed::NotLeader => Self::LeaderNotFound,
            Unconfirmed::QuorumLost => Self::QuorumLost,
            Unconfirmed::Lost => Self::LeadershipLost,
            Unconfirmed::Stopped(why) => Self::Stopped(why),
        }
    }
}

/// What was written to the log.
pub struct Proposed {
    pub index: u64,
    pub response: Response,
}

/// Notes in `fatal` the first reason that it is told.
fn on_fatal(fatal: &watch::Sender<Option<String>>) -> OnFatal {
    let fatal = fatal.clone();
    Arc::new(move |why| {
        fatal.send_if_modified(|reason| reason.replace(why).is_none());
    })
}

impl Store {
    /// Opens log and database in the data directory, which is locked and laid out, and starts Raft.
    pub async fn open(world: &World, options: Options) -> Result<Self, Error> {
        let paths = Paths::new(&options.data_dir);
        engine::initialize(&paths.temporary());
        let (fatal, _) = watch::channel(None::<String>);
        let on_fatal = on_fatal(&fatal);

        // Recovery reads the whole log and the database: on a lane, as all synchronous work.
        let opener = Lane::start(&*world.lanes, "open", ());
        let (world_, paths_, skip, report) = (world.clone(), paths.clone(), options.skip_entry, on_fatal.clone());
        let directory = options.data_dir.join("raft");
        let (metrics, node) = (options.metrics.clone(), (options.node_id.clone(), options.node.clone()));
        let opened = opener
            .call(move |_| {
                let log = Log::open(&world_, &directory, Default::default(), move |why| report(why))?;
                // Without db.state the database would be taken for new, and whatever is there removed.
                let is_purged = log.stats().first.is_some_and(|first| first > 0);
                if is_purged && !world_.disk.exists(&paths_.state()).unwrap_or(true) {
                    return Err(Error::Incomplete { what: format!("{}: it is missing", paths_.state().display()) });
                }
                let mut machine = Machine::open(&world_, &paths_, skip, metrics.clone())?;
                check_belong_together(&log, &machine, &directory)?;
                if recovery::run(&*world_.disk, &directory, &mut machine, log.last(), &node)? {
                    metrics.store.num_recoveries.increment();
                }
                log.void_members(machine.applied().recovered);
                Ok::<_, Error>((log, machine))
            })
            .await;
        let (mut log, machine) = opened?;
        // What a boot left of the log may still lie on the disk.
        if let Some(void) = machine.applied().void {
            log.purge(void).await.map_err(|error| Error::Raft(error.to_string()))?;
        }
        let readers = Readers::new(world, &paths, machine.current().clone(), options.readers);
        let identity = Arc::new(Identity::new(introduction(&options), machine.cluster().clone()));
        let peers = Arc::new(Peers::default());
        let connect = options.connect_timeout;
        let client = peer::Client::new(world.net.clone(), identity.clone(), peers.clone(), connect);
        let (current, observed) = (machine.current().clone(), machine.observed().clone());
        let machine = Lane::start(&*world.lanes, "writer", machine);
        let state_machine = StateMachine { machine: machine.clone(), log: log.clone(), on_fatal };
        let config = raft_config(options.leader_lease)?;
        let id = NodeId::from(options.node_id.as_str());
        let last = log.last();
        let (promises, outgoing) = (Promises::default(), Outgoing::default());
        let source = Source { world: world.clone(), machine: machine.clone(), outgoing: outgoing.clone() };
        let patience = options.leader_lease;
        let addresses = Addresses::default();
        let network = Network {
            client: client.clone(),
            source,
            patience,
            promises: promises.clone(),
            addresses: addresses.clone(),
        };
        let raft = Raft::new(id, config, network, log.clone(), state_machine)
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
            metrics: options.metrics.clone(),
            options: Arc::new(options),
            raft_metrics: raft.metrics(),
            raft,
            ready_at,
            log,
            machine,
            readers,
            current,
            observed,
            strong_read_term: Arc::default(),
            confirmation: Joint::default(),
            barrier: Joint::default(),
            history: Arc::default(),
            counters: Arc::default(),
            identity,
            peers,
            client,
            contact: Contact::default(),
            promises,
            addresses,
            outgoing,
            office: Office::default(),
            fatal,
        };
        Ok(store)
    }

    /// What this node does on Raft's behalf when others ask.
    pub fn raft_service(&self) -> RaftService {
        let receiver = Receiver {
            world: self.world.clone(),
            paths: self.paths.clone(),
            raft: self.raft.clone(),
            permit: tokio::sync::Semaphore::new(1),
        };
        let (raft, machine, contact) = (self.raft.clone(), self.machine.clone(), self.contact.clone());
        RaftService { raft, receiver, machine, contact, on_fatal: on_fatal(&self.fatal) }
    }

    /// Who this node is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Calls to other nodes, and what was heard of them.
    pub fn peers(&self) -> (&peer::Client, &Arc<Peers>) {
        (&self.client, &self.peers)
    }

    /// The addresses behind `address`.
    pub async fn resolve(&self, address: &str) -> std::io::Result<Vec<std::net::SocketAddr>> {
        self.world.net.resolve(address).await
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        self.world.entropy.next_u64()
    }

    /// Waits until everything up to `index` is applied here; false: not in time.
    pub async fn catch_up(&self, index: u64, timeout: Duration) -> bool {
        self.raft.wait(Some(timeout)).applied_index_at_least(Some(index), "in sync with the leader").await.is_ok()
    }

    /// The last entry that this node knows to be committed.
    pub fn commit_index(&self) -> u64 {
        self.raft_metrics.borrow_watched().local_committed.map_or(0, |id| id.index)
    }

    /// Waits until this node can't go on, and says why.
    pub async fn failed(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        // Not the other metrics, which change with each write: Raft's core drops both when it ends.
        let mut metrics = self.raft.server_metrics();
        loop {
            if let Some(why) = fatal.borrow_and_update().clone() {
                return why;
            }
            tokio::select! {
                biased;
                // The sender is ours: it is never gone.
                _ = fatal.changed() => {}
                changed = metrics.changed() => if changed.is_err() {
                    return match &self.raft_metrics.borrow_watched().running_state {
                        Err(stopped) => format!("raft stopped: {stopped}"),
                        Ok(()) => "raft stopped".into(),
                    };
                },
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
        self.raft_metrics.borrow_watched().last_applied >= self.ready_at
    }

    /// Writes a command to the log and waits until it is applied here.
    async fn propose(&self, kind: Kind, limits: Limits) -> Result<Proposed, Error> {
        // Until the cluster has moved to its engine, a leader only does what lets it move.
        let is_of_office = matches!(kind, Kind::Settings(_) | Kind::LoadAbort(_));
        if !is_of_office && !self.has_agreed_engine() {
            return Err(Error::LeaderNotFound);
        }
        let mut seed = [0; 16];
        self.world.entropy.fill(&mut seed);
        let time_ms = self.world.clock.unix_now().as_millis() as u64;
        let seed = seed.to_vec().into();
        let command = Command { time_ms, seed, limits: Some(limits), kind: Some(kind) };
        self.metrics.store.num_uncompressed_commands.increment();
        let payload = Payload::from(&command);
        let led = self.while_led(self.raft.client_write(payload)).await;
        if matches!(led, Err(Error::QuorumLost)) {
            self.world.chaos.reached("writes: pending when the lease expired");
        }
        match led? {
            Ok(written) => Ok(Proposed { index: written.log_id.index, response: written.data }),
            Err(error) => Err(write_error(error)),
        }
    }

    /// Does what only a leader can answer. openraft leaves what waits for a quorum pending for as long as there is
    /// none; here it ends with the leader's lease, and what becomes of it is unknown (design §8).
    ///
    /// Errors: [`Error::QuorumLost`].
    async fn while_led<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(self.options.leader_lease / 4, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) if self.leader().is_none() => return Err(Error::QuorumLost),
                Err(_) => {}
            }
        }
    }

    /// Whether the cluster has agreed on this node's engine.
    fn has_agreed_engine(&self) -> bool {
        let observed = self.observed.lock().expect("no panic holds this lock");
        observed.engine.is_empty() || observed.engine == self.identity.engine()
    }

    /// Confirms that this node leads, and waits until everything committed so far is applied.
    async fn read_index(&self, timeout: Duration) -> Result<(), Error> {
        let confirmed = tokio::time::timeout(timeout, self.confirmation.wait(|| self.clone().confirm())).await;
        self.metrics.store.num_verify_leader.increment();
        let confirmed = confirmed.unwrap_or(Err(Unconfirmed::NotLeader));
        confirmed.map_err(|why| {
            self.metrics.store.num_verify_leader_failed.increment();
            why.into()
        })
    }

    /// Writes an entry that does nothing, and waits until it is applied: everything acknowledged before is, then. Whoever
    /// asked before it was written shares it. Returns its index.
    async fn barrier(&self) -> Result<u64, Error> {
        let store = self.clone();
        let write = || async move {
            let proposed = store.propose(Kind::Barrier(Barrier {}), Limits::default()).await?;
            Ok(proposed.index)
        };
        Ok(self.barrier.wait(write).await?)
    }

    async fn confirm(self) -> Result<(), Unconfirmed> {
        match self.while_led(self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => Err(Unconfirmed::Stopped(fatal.to_string())),
            Ok(Err(RaftError::APIError(_))) => Err(Unconfirmed::NotLeader),
            Err(_) => Err(Unconfirmed::QuorumLost),
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

/// What this node says of itself to others.
fn introduction(options: &Options) -> Hello {
    Hello {
        node_id: options.node_id.clone(),
        raft_addr: options.node.raft_addr.clone(),
        http_addr: options.node.http_addr.clone(),
        version: RQLITE_VERSION.into(),
        sqlite_version: engine::sqlite_version().into(),
        engine: engine::fingerprint(),
        ..Hello::default()
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
        // Also the longest that openraft waits for the answer to one: a tenth would be less than the way there and back
        // between distant places.
        heartbeat_interval: (lease_ms / 4).max(1),
        election_timeout_min: (lease_ms / 2).max(2),
        election_timeout_max: lease_ms.max(3),
        // Both are ours to trigger (hazard H18).
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A leader sends entries before it has synced them: restarted in its old term, it would give their indexes to
        // others in that term, and followers that have the first ones would never know (simulation, seed 5).
        enable_leader_restore: Some(false),
        ..Default::default()
    };
    config.validate().map(Arc::new).map_err(|error| Error::Raft(error.to_string()))
}
