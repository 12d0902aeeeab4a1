//! One run of one seed, from the first line of the trace to the verdict.
// The runner is outside the simulated world.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::backtrace::Backtrace;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use crate::client::Client;
use crate::fault::Nemesis;
use crate::history::History;
use crate::machine::{self, HTTP_PORT, Machine};
use crate::network::NetworkNemesis;
use crate::operator;
use crate::random::Random;
use crate::reached::Reached;
use crate::scenario::Director;
use crate::swarm::Options;
use crate::trace::{Digest, Trace};
use crate::workload::{self, Phase, Shared};
use crate::world::clock;

/// How to run a seed.
#[derive(Clone, Debug)]
pub struct Manner<'a> {
    /// Where the trace is written; without, it is only counted and hashed.
    pub trace: Option<&'a Path>,
    /// False: randomness is the system's, and nothing replays.
    pub is_seeded: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub digest: Digest,
    pub simulated: Duration,
    pub faults: u64,
    /// Changes of the node's disk.
    pub changes: u64,
    pub reached: Reached,
    /// Why the seed failed.
    pub failure: Option<String>,
}

/// Runs the seed of `options`. Only once in a process: SQLite's VFS list and tokio's task numbers belong to it.
pub fn run(options: &Options, manner: &Manner<'_>) -> anyhow::Result<Report> {
    let trace = Trace::start(manner.trace)?;
    if manner.is_seeded {
        crate::libc::enter(options.seed);
    }
    align_task_ids();
    // Before anything else touches SQLite. The directory is for production's VFS, which nobody asks here.
    rqlite::db::engine::initialize(Path::new("/nowhere"));
    let shared = Shared::new(trace.clone(), options.clients);
    let names = options.cluster.names();
    let machines: Vec<Machine> =
        names.iter().map(|name| Machine::new(name, options, &shared, manner.is_seeded)).collect();
    let mut sim = network(options);
    for machine in &machines {
        machine::prepare(machine);
        let machine = machine.clone();
        sim.host(machine.name().to_string(), move || {
            let machine = machine.clone();
            async move {
                machine.run_node().await;
                Ok(())
            }
        });
    }
    let servers: Vec<String> = names.iter().map(|name| format!("{name}:{HTTP_PORT}")).collect();
    for number in 0..options.clients {
        let name = format!("c{number}");
        let random = Random::new(options.seed).fork(&name);
        let client = Client::new(&name, &servers, &shared.cables, trace.clone());
        let second = Client::new(&name, &servers, &shared.cables, trace.clone());
        let (seed, workload, shared) = (random.fork("tasks").next(), options.workload, shared.clone());
        sim.client(name, async move {
            let calls = workload::client(number, [client, second], random, workload, shared);
            rqlite::world::runtime::scope(seed, calls).await;
            Ok(())
        });
    }
    {
        let client = Client::new("check", &servers, &shared.cables, trace.clone());
        let (seed, machines, shared) = (options.seed, machines.clone(), shared.clone());
        sim.client("check", async move {
            rqlite::world::runtime::scope(seed, workload::check_everything(client, machines, shared)).await;
            Ok(())
        });
    }
    if options.cluster.is_cluster() {
        let random = Random::new(options.seed).fork("operator");
        let (seed, gap_ms) = (random.fork("tasks").next(), options.cluster.operator_gap_ms);
        let (machines, shared, is_directed) = (machines.clone(), shared.clone(), options.scenario.is_some());
        sim.client("operator", async move {
            let work = async move {
                match is_directed {
                    true => operator::obey(machines, shared).await,
                    false => operator::work(random, machines, gap_ms, shared).await,
                }
            };
            rqlite::world::runtime::scope(seed, work).await;
            Ok(())
        });
    }

    let mut nemesis = Nemeses::new(options, machines, &trace);
    let failure = caught(|| drive(&mut sim, &mut nemesis, options, &shared));
    let mut reached = shared.history().reached.clone();
    reached.add("clusters", u64::from(options.cluster.is_cluster()));
    for disk in nemesis.machines.iter().map(|nemesis| &nemesis.machine.disk) {
        reached.add("reads: kept for a slow client", disk.temporaries("result"));
        reached.add("backups: kept for a slow client", disk.temporaries("lease"));
    }
    let recovered = nemesis.machines.iter().filter(|nemesis| nemesis.machine.was_recovered());
    reached.add("peers.json recovery", recovered.count() as u64);
    let report = Report {
        digest: trace.digest(),
        simulated: sim.elapsed(),
        faults: nemesis.felt(),
        changes: nemesis.machines[0].machine.disk.changes(),
        reached,
        failure,
    };
    // Nothing is taken apart in order: the process ends here, and destructors would only disturb.
    std::mem::forget((sim, nemesis, shared));
    Ok(report)
}

/// Makes a panic, of a node's task or of the harness, the reason why the run failed.
fn caught(run: impl FnOnce() -> Option<String>) -> Option<String> {
    let first: Arc<OnceLock<String>> = Arc::default();
    let hook = first.clone();
    panic::set_hook(Box::new(move |panicked| {
        // The others follow from it: turmoil gives up when a task panics.
        if hook.set(panicked.to_string().replace('\n', " ")).is_ok() {
            eprintln!("{panicked}\n{}", Backtrace::capture());
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    drop(panic::take_hook());
    result.unwrap_or_else(|_| Some(first.get().cloned().unwrap_or_default()))
}

/// A run with less than this shows nothing.
const CALLS_MIN: u64 = 200;
/// See [`CALLS_MIN`].
const ACKNOWLEDGED_MIN: u64 = 100;
/// See [`CALLS_MIN`].
const FAULTS_MIN: u64 = 4;

/// How many times its length the chaos may take until there was enough of it.
const CHAOS_STRETCH: u32 = 3;

/// Everything that goes wrong: on each machine, and between them.
struct Nemeses {
    machines: Vec<Nemesis>,
    network: NetworkNemesis,
    /// So long after the start of the chaos all machines go down at once, and come back with a `peers.json`.
    recovery: Option<Duration>,
    trace: Trace,
    director: Option<Director>,
    /// Boots that the others know of.
    boots: usize,
    /// Loads that the network has heard of.
    loads: u64,
}

impl Nemeses {
    fn new(options: &Options, machines: Vec<Machine>, trace: &Trace) -> Self {
        let cluster = &options.cluster;
        let names = machines.iter().map(|machine| machine.name().to_string()).collect();
        let random = Random::new(options.seed).fork("network");
        let (faults, latency_ms) = (cluster.faults.clone(), options.latency_ms);
        let network = NetworkNemesis::new(random, names, faults, cluster.fault_gap_ms, latency_ms, trace.clone());
        let machines = machines.into_iter().map(|machine| Nemesis::new(options, machine, trace.clone()));
        let director = options.scenario.map(|scenario| Director::new(scenario, latency_ms));
        let (machines, trace) = (machines.collect(), trace.clone());
        Self { machines, network, recovery: cluster.recovery, trace, director, boots: 0, loads: 0 }
    }

    /// All machines go down, and come back as [`give_peers`] says.
    fn recover(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        self.recovery = None;
        self.trace.line(format_args!("fault peers.json for all"));
        for nemesis in &mut self.machines {
            nemesis.interrupt(sim, now);
        }
        give_peers(&self.machines);
    }

    fn felt(&self) -> u64 {
        self.machines.iter().map(|nemesis| nemesis.felt).sum::<u64>() + self.network.felt
    }

    /// Some things follow from what the nodes do.
    fn look(&mut self, history: &History, now: Duration) {
        // What others have from before a boot is no part of the cluster any more: they join anew, without it.
        for alone in history.booted.values().skip(self.boots) {
            let others = self.machines.iter().filter(|nemesis| nemesis.machine.name() != alone);
            others.for_each(|nemesis| nemesis.machine.wipe());
        }
        self.boots = history.booted.len();
        let loads = history.reached.count("loads: begun");
        if loads > self.loads {
            self.network.hasten(now);
        }
        self.loads = loads;
    }

    fn step(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, is_active: bool) {
        for nemesis in &mut self.machines {
            nemesis.step(sim, now, is_active);
        }
        self.network.step(sim, now, is_active);
    }

    fn finish(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        self.network.heal(sim);
        if let Some(director) = &mut self.director {
            director.heal(sim, &self.machines);
        }
        for nemesis in &mut self.machines {
            nemesis.finish(sim, now);
        }
    }
}

/// Who has anything of the cluster becomes part of the recovered one: also who was removed before. The others come to it
/// as new ones.
pub fn give_peers(machines: &[Nemesis]) {
    let machines = machines.iter().map(|nemesis| &nemesis.machine);
    let survivors: Vec<&Machine> = machines.filter(|machine| machine.has_history()).collect();
    let peer = |machine: &&Machine| {
        let (id, is_voter) = (machine.name(), machine.name().starts_with('n'));
        serde_json::json!({"id": id, "address": machine.raft_addr(), "non_voter": !is_voter})
    };
    let peers: Vec<_> = survivors.iter().map(peer).collect();
    for machine in &survivors {
        machine.give_peers(&serde_json::json!(peers).to_string());
    }
}

fn is_enough(nemesis: &Nemeses, shared: &Shared) -> bool {
    let history = shared.history();
    let (calls, acknowledged) = (history.reached.count("calls"), history.reached.count("writes"));
    nemesis.felt() >= FAULTS_MIN && calls >= CALLS_MIN && acknowledged >= ACKNOWLEDGED_MIN
}

/// Steps through the phases; returns why the run failed.
fn drive(sim: &mut turmoil::Sim<'_>, nemesis: &mut Nemeses, options: &Options, shared: &Shared) -> Option<String> {
    let chaos = Duration::from_secs(options.seconds);
    let longest = chaos * CHAOS_STRETCH + Duration::from_secs(120);
    let mut began = Duration::ZERO;
    loop {
        let stepped = sim.step();
        let now = sim.elapsed();
        clock::publish(now);
        if let Some(violation) = shared.history().violation() {
            return Some(violation.to_string());
        }
        match stepped {
            Ok(true) if options.opening.is_some() => return None,
            Ok(true) if options.scenario.is_some() => {
                return options.scenario?.verdict(|what| shared.history().reached.count(what));
            }
            Ok(true) => return too_little(nemesis, shared, now),
            Ok(false) => {}
            Err(error) => return Some(format!("the simulation broke: {error}")),
        }
        if now > longest {
            return Some("the run doesn't come to an end".into());
        }
        match shared.phase() {
            Phase::Setup if now > Duration::from_secs(40) => return Some("the schema could not be created".into()),
            Phase::Setup => began = now,
            Phase::Chaos if nemesis.director.is_some() => {
                let Nemeses { machines, director, .. } = &mut *nemesis;
                let director = director.as_mut().expect("there is one");
                if let Some(why) = director.step(sim, now, machines, shared) {
                    return Some(why);
                }
                if director.is_over() {
                    shared.enter(Phase::Draining);
                }
            }
            Phase::Chaos if now > began + chaos * CHAOS_STRETCH => shared.enter(Phase::Draining),
            // Where faults come seldom, it takes longer until there were enough of them.
            Phase::Chaos if now > began + chaos && (options.opening.is_some() || is_enough(nemesis, shared)) => {
                shared.enter(Phase::Draining);
            }
            Phase::Draining if shared.busy_clients() == 0 => {
                nemesis.finish(sim, now);
                shared.enter(Phase::Checking);
            }
            _ => {}
        }
        if shared.phase() == Phase::Chaos && nemesis.recovery.is_some_and(|after| now > began + after) {
            nemesis.recover(sim, now);
        }
        nemesis.look(&shared.history(), now);
        nemesis.step(sim, now, shared.phase() == Phase::Chaos);
    }
}

/// A run in which nothing happened proves nothing.
fn too_little(nemesis: &Nemeses, shared: &Shared, now: Duration) -> Option<String> {
    let (calls, acknowledged) = {
        let history = shared.history();
        (history.reached.count("calls"), history.reached.count("writes"))
    };
    match () {
        () if now < Duration::from_secs(40) => Some(format!("too little: {now:?} simulated, at least 40 s are needed")),
        () if calls < CALLS_MIN => Some(format!("too little: {calls} calls, {CALLS_MIN} are needed")),
        () if acknowledged < ACKNOWLEDGED_MIN => {
            Some(format!("too little: {acknowledged} writes acknowledged, {ACKNOWLEDGED_MIN} are needed"))
        }
        () if nemesis.felt() < FAULTS_MIN => {
            Some(format!("too little: {} faults, {FAULTS_MIN} are needed", nemesis.felt()))
        }
        () => None,
    }
}

fn network(options: &Options) -> turmoil::Sim<'static> {
    let mut builder = turmoil::Builder::new();
    builder
        .simulation_duration(Duration::from_secs(options.seconds + 300))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(options.latency_ms.0))
        .max_message_latency(Duration::from_millis(options.latency_ms.1))
        .tcp_capacity(65_536)
        // Of a link that has failed by `NetworkFault::Loss`, at each segment.
        .repair_rate(0.3)
        .epoch(UNIX_EPOCH + clock::EPOCH)
        .enable_random_order()
        .rng_seed(options.seed);
    builder.build()
}

/// tokio numbers tasks per process, and the number decides the order in which a crashed machine drops its tasks: each
/// run starts at an aligned one.
#[allow(clippy::disallowed_methods)] // No node runs yet, so there is no seed to carry.
fn align_task_ids() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        loop {
            let task = tokio::spawn(async {});
            let number: u64 = task.id().to_string().parse().expect("task ids are numbers");
            task.await.expect("an empty task doesn't panic");
            if number % 1024 == 1023 {
                break;
            }
        }
    });
}
