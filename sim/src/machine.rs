//! One simulated machine and the node on it. The machine outlives the node's processes.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rqlite::config::{self, Config};
use rqlite::world::disk::replace_small;
use rqlite::world::host::{Facts, Host};
use rqlite::world::{Disk, Entropy, Open, World};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::content;
use crate::history::State;
use crate::invariants;
use crate::invariants::logs::Appended;
use crate::random::Random;
use crate::schema;
use crate::swarm::Options;
use crate::trace::{HASH_START, fold};
use crate::workload::Shared;
use crate::world::chaos::{Observer, SimChaos};
use crate::world::clock::SimClock;
use crate::world::disk::SimDisk;
use crate::world::entropy::{SimEntropy, Unseeded};
use crate::world::lanes::SimLanes;
use crate::world::net::SimNet;
use crate::world::vfs::{self, Registered};

/// Where the node keeps its data.
const DATA: &str = "/data";
/// Where clients find it.
pub const HTTP_PORT: u16 = 4001;
/// Where other nodes find it at first.
pub const RAFT_PORT: u16 = 4002;
/// All the places where it may be found later.
pub const RAFT_PORTS: std::ops::Range<u16> = RAFT_PORT..4100;

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Machine {
    pub clock: Arc<SimClock>,
    pub disk: SimDisk,
    name: String,
    options: Arc<Options>,
    shared: Shared,
    is_seeded: bool,
    life: Arc<Mutex<Life>>,
    _vfs: Arc<Registered>,
}

/// The node's process.
#[derive(Default)]
struct Life {
    /// Number of the process.
    process: u64,
    /// It has come to an end of its own.
    has_ended: bool,
    /// The disk has been made to fail since the process began, or still is.
    is_disturbed: bool,
    /// Asks it to end.
    stop: Option<watch::Sender<bool>>,
    /// Its disk is replaced by an empty one before the next process begins.
    is_to_be_wiped: bool,
    /// What came of snapshots for this node.
    snapshot: Snapshot,
    /// The furthest that it has ever applied.
    applied: u64,
    /// It has stopped because the disk was full, and is not further since.
    was_full: bool,
}

/// How far the last one came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Snapshot {
    #[default]
    None,
    Begun,
    /// Another one was begun before it was there.
    BegunAgain,
}

impl Machine {
    /// A machine with an empty disk. Its VFS becomes SQLite's default.
    pub fn new(name: &str, options: &Options, shared: &Shared, is_seeded: bool) -> Self {
        let clock = Arc::new(SimClock::new(options.clock_offset_ms, options.clock_drift_ms));
        let disk = SimDisk::for_node(name, options.seed, clock.clone(), shared.trace.clone());
        let entropy = entropy(Random::new(options.seed).fork(name).fork("sqlite"), is_seeded);
        // SQLite's generator asks the default VFS: ours from now on, not production's.
        let vfs = vfs::register(&disk, clock.clone(), entropy, &Path::new(DATA).join("tmp"));
        vfs.make_default();
        Self {
            clock,
            disk,
            name: name.into(),
            options: Arc::new(options.clone()),
            shared: shared.clone(),
            is_seeded,
            life: Arc::default(),
            _vfs: Arc::new(vfs),
        }
    }

    /// Its name, in the network too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A process of the node, until it ends; then nothing more happens on this machine until it is crashed.
    pub async fn run_node(self) {
        let process = {
            let mut life = self.life();
            life.process += 1;
            life.process
        };
        self.shared.history().begin(&self.name);

        let seed = Random::new(self.options.seed).fork(&self.name).fork(&format!("process {process}"));
        let trace = self.shared.trace.clone();
        trace.line(format_args!("{} start process {process}", self.name));
        if process == 1 {
            tokio::time::sleep(self.options.cluster.begins(&self.name)).await;
        }
        let (world, config) = (self.world(&seed), self.config());
        let (stop, stopped) = watch::channel(false);
        self.life().stop = Some(stop);
        let announced = trace.clone();
        let run = rqlite::node::run(world, config, stopped, move |address| {
            announced.line(format_args!("{address} ready"));
        });
        let result = rqlite::world::runtime::scope(seed.fork("tasks").next(), run).await;
        // A process that ends writes nothing more.
        self.disk.cut();
        self.end(match result {
            Err(rqlite::node::Error::Canceled(_)) => Ok(()),
            result => result.map_err(|error| error.to_string()),
        });
        std::future::pending().await
    }

    /// The process ends with `result`, as it would exit.
    fn end(&self, result: Result<(), String>) {
        let mut life = self.life();
        life.has_ended = true;
        let was_asked = life.stop.take().is_some_and(|stop| *stop.borrow());
        let reason = match result {
            Ok(()) if was_asked => {
                self.shared.trace.line(format_args!("{} stop as asked", self.name));
                return;
            }
            Ok(()) => String::new(),
            Err(reason) => reason,
        };
        life.was_full |= self.disk.was_full();
        self.shared.trace.line(format_args!("{} stop {reason}", self.name));
        let mut history = self.shared.history();
        history.reached.note("stops");
        history.judge(invariants::stops::check(&reason, life.is_disturbed));
    }

    /// What lies in the node's `tmp/`.
    pub fn temporary_files(&self) -> Vec<String> {
        self.disk.undisturbed(|| self.disk.list(&Path::new(DATA).join("tmp")).unwrap_or_default())
    }

    /// Whether a process of the node that has ended has left anything of the cluster that the next one finds.
    pub fn has_history(&self) -> bool {
        /// Bytes of a `db.state` to which nothing was applied, at most.
        const EMPTY: u64 = 64;
        if self.life().is_to_be_wiped {
            return false;
        }
        let data = Path::new(DATA);
        self.disk.undisturbed(|| {
            let segments = self.disk.list(&data.join("raft/log")).unwrap_or_default();
            let state = self.disk.open(&data.join("db.state"), Open::Read).and_then(|state| state.len()).unwrap_or(0);
            // A log that is applied and checkpointed may all be purged (seed 3007).
            state > EMPTY || segments.iter().any(|name| name.ends_with(".seg"))
        })
    }

    /// Leaves the file with which the next process recovers.
    pub fn give_peers(&self, peers: &str) {
        let file = Path::new(DATA).join("raft/peers.json");
        let given = self.disk.undisturbed(|| replace_small(&self.disk, &file, peers.as_bytes()));
        given.expect("the harness can write");
    }

    /// Whether a recovery was completed on this machine.
    pub fn was_recovered(&self) -> bool {
        let file = Path::new(DATA).join("raft/peers.info");
        self.disk.undisturbed(|| self.disk.exists(&file).unwrap_or(false))
    }

    /// Asks the process to end, as SIGTERM does.
    pub fn ask_to_stop(&self) {
        if let Some(stop) = &self.life().stop {
            stop.send_replace(true);
        }
    }

    /// Where other nodes find it now.
    pub fn raft_addr(&self) -> String {
        self.shared.raft_addr(&self.name)
    }

    /// The next process is found at another address.
    pub fn move_away(&self) {
        self.shared.move_away(&self.name);
    }

    /// The next process finds an empty data directory, if there has been one that could have left anything.
    pub fn wipe(&self) {
        {
            let mut life = self.life();
            if life.stop.is_none() && !life.has_ended {
                return;
            }
            life.is_to_be_wiped = true;
        }
        self.shared.trace.line(format_args!("{} is to lose its data", self.name));
        self.ask_to_stop();
    }

    /// The node's process has come to an end of its own.
    pub fn has_ended(&self) -> bool {
        self.life().has_ended
    }

    /// From now on the node may stop: its disk fails.
    pub fn disturb(&self) {
        self.life().is_disturbed = true;
    }

    /// A new process is about to start.
    pub fn begin(&self) {
        self.shared.history().reached.note("restarts");
        let mut life = self.life();
        if std::mem::take(&mut life.is_to_be_wiped) {
            self.disk.wipe();
            self.disk.undisturbed(|| prepare(self));
        }
        life.has_ended = false;
        life.is_disturbed = self.disk.is_armed() || self.disk.is_limited();
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("nothing panics while it holds the life")
    }

    /// The edges of a new process whose randomness comes from `seed`.
    fn world(&self, seed: &Random) -> World {
        let observer = Box::new(self.clone());
        let trace = self.shared.trace.clone();
        let alive = Random::new(self.options.seed).fork("chaos");
        World {
            clock: self.clock.clone(),
            net: Arc::new(SimNet::new(&self.name, &self.shared.cables, trace.clone())),
            disk: Arc::new(self.disk.clone()),
            entropy: entropy(seed.fork("entropy"), self.is_seeded),
            lanes: Arc::new(SimLanes::new(seed.fork("lanes"), self.disk.clone(), self.options.lane_longest_ms)),
            host: Arc::new(SimHost(self.options.cluster.hosts(|name| self.shared.raft_addr(name)))),
            chaos: Arc::new(SimChaos::new(&self.name, alive, seed.fork("chaos"), trace, observer)),
        }
    }

    fn config(&self) -> Config {
        let node = self.options.node;
        let raft_addr = self.raft_addr();
        let raft_port = raft_addr.rsplit_once(':').expect("it has a port").1;
        let mut arguments = vec![
            format!("-node-id={}", self.name),
            format!("-http-addr=0.0.0.0:{HTTP_PORT}"),
            format!("-http-adv-addr={}:{HTTP_PORT}", self.name),
            format!("-raft-addr=0.0.0.0:{raft_port}"),
            format!("-raft-adv-addr={raft_addr}"),
            format!("-raft-snap={}", node.snapshot_entries),
            format!("-raft-snap-wal-size={}", node.snapshot_wal_bytes),
            format!("-raft-snap-int={}ms", node.snapshot_interval_ms),
            // One entry an operation: the history knows an entry by the last operation that it shows.
            "-write-queue-batch-size=1".into(),
        ];
        arguments.extend(self.options.cluster.arguments(&self.name, |name| self.shared.raft_addr(name)));
        arguments.push(DATA.into());
        match config::parse(&arguments, Path::new("/")) {
            config::Outcome::Run(config) => *config,
            config::Outcome::Exit { stderr, .. } => panic!("the simulation's command line is wrong: {stderr}"),
        }
    }
}

impl Observer for Machine {
    fn applied(&self, index: u64, connection: &Connection) {
        // The look is not the node's: no fault fires at it, and it leaves no trace but its result.
        let looked = self.disk.undisturbed(|| Ok::<_, rusqlite::Error>((content::of(connection)?, mark(connection)?)));
        let (content, mark) =
            looked.unwrap_or_else(|error| panic!("the database can't be read after index {index}: {error}"));
        self.shared.trace.line(format_args!("{} applied {index} {:016x}", self.name, content.hash));
        let mut history = self.shared.history();
        history.apply(index, State { content, mark });
        if history.is_boot(index) {
            history.booted.entry(index).or_insert_with(|| self.name.clone());
        }
        let mut life = self.life();
        if index > life.applied {
            life.applied = index;
            if std::mem::take(&mut life.was_full) {
                history.reached.note("stops: disk full, and applied again");
            }
        }
    }

    fn reached(&self, what: &'static str) {
        self.shared.trace.line(format_args!("{} reached {what}", self.name));
        let mut history = self.shared.history();
        history.reached.note(what);
        let snapshot = &mut self.life().snapshot;
        *snapshot = match (what, *snapshot) {
            ("snapshots: begun", Snapshot::None) => Snapshot::Begun,
            ("snapshots: begun", _) => Snapshot::BegunAgain,
            ("snapshots: installed", Snapshot::BegunAgain) => {
                history.reached.note("snapshots: installed after an attempt that was interrupted");
                Snapshot::None
            }
            ("snapshots: installed", _) => Snapshot::None,
            (_, other) => other,
        };
    }

    fn appended(&self, index: u64, term: u64, previous_term: Option<u64>, payload: &[u8]) {
        let payload = fold(HASH_START, payload);
        self.shared.history().append(&self.name, Appended { index, term, previous_term, payload });
    }

    fn leads(&self, term: u64) {
        self.shared.trace.line(format_args!("{} leads in term {term}", self.name));
        self.shared.history().lead(term, &self.name);
    }
}

/// What /status tells of the machine: nothing that varies. Its only variable says where discovery finds others.
struct SimHost(String);

impl Host for SimHost {
    fn env(&self, name: &str) -> Option<String> {
        (name == "RQLITE_DISCO_DNS_HOSTS").then(|| self.0.clone())
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}

fn mark(connection: &Connection) -> rusqlite::Result<crate::history::Mark> {
    let mut statement = match connection.prepare(schema::MARK) {
        Ok(statement) => statement,
        // Before the schema is there.
        Err(error) if error.to_string().contains("no such table") => return Ok(Default::default()),
        Err(error) => return Err(error),
    };
    statement.query_row([], |row| {
        let last = match (row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?) {
            (Some(seq), Some(op)) => Some((seq, op as u64)),
            _ => None,
        };
        Ok(crate::history::Mark { count: row.get(0)?, last })
    })
}

fn entropy(random: Random, is_seeded: bool) -> Arc<dyn Entropy> {
    if is_seeded { Arc::new(SimEntropy::new(random)) } else { Arc::new(Unseeded) }
}

/// Makes the machine's data directory possible: its parent is the root, which is always durable.
pub fn prepare(machine: &Machine) {
    machine.disk.create_dir(Path::new(DATA)).expect("a new disk works");
    machine.disk.sync_dir(Path::new("/")).expect("a new disk works");
}
