//! What a seed decides before the run: sizes, speeds, the mix of calls, and which faults there are at all.
//!
//! Each seed leaves some kinds of calls and faults out, so that the others meet more often.

use std::time::Duration;

use crate::fault::{ALL, Fault};
use crate::network::{ALL as ALL_NETWORK, NetworkFault};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::world::disk::{Counted, Error, Failure};

/// Everything about a run that is decided before it. Printed in full.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// Simulated time of calls and faults, from when the schema is there; the checks come behind it.
    pub seconds: u64,
    /// Shortest and longest way of a segment through the network.
    pub latency_ms: (u64, u64),
    pub clock_offset_ms: i64,
    /// In a thousand seconds.
    pub clock_drift_ms: i64,
    /// The longest that a lane's job waits.
    pub lane_longest_ms: u64,
    pub clients: u64,
    pub workload: Workload,
    /// The faults of this run with their weights.
    pub faults: Vec<(Fault, u64)>,
    /// Shortest and longest time between two faults.
    pub fault_gap_ms: (u64, u64),
    pub node: Node,
    pub cluster: Cluster,
    /// One failure that is there from the start; then the run is short and there are no other faults.
    pub opening: Option<Failure>,
    /// What happens is played, not drawn.
    pub scenario: Option<&'static Scenario>,
}

/// What clients call, by weight.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub writes: u64,
    pub reads: u64,
    pub backups: u64,
    pub loads: u64,
    pub bad_loads: u64,
    /// SQL text, good and bad.
    pub texts: u64,
    /// Longest wait between two calls.
    pub pause_ms: u64,
    /// Longest value that a write writes.
    pub value_bytes: u64,
    /// Size of what is there and doesn't change. Beyond 1 MiB a backup doesn't fit into the buffers on its way.
    pub filler_bytes: u64,
}

/// The node's command line.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub snapshot_entries: u64,
    pub snapshot_wal_bytes: u64,
    pub snapshot_interval_ms: u64,
}

/// Which nodes there are.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Form the cluster together; 0 or 1: one node, alone.
    pub voters: u64,
    /// Join later, with a vote.
    pub late: u64,
    /// Join without a vote.
    pub non_voters: u64,
    /// When the late ones begin.
    pub late_ms: u64,
    /// What goes wrong between nodes, with weights.
    pub faults: Vec<(NetworkFault, u64)>,
    /// Shortest and longest time between two of these.
    pub fault_gap_ms: (u64, u64),
    /// Shortest and longest time between two calls of the operator.
    pub operator_gap_ms: (u64, u64),
    /// So long into the chaos the whole cluster goes down and is recovered.
    pub recovery: Option<Duration>,
    /// They find each other by DNS, not by a list.
    pub discovers: bool,
}

impl Cluster {
    fn draw(mut random: Random) -> Self {
        // One node alone is the case that ends soonest, and its runs find what needs no second one.
        let voters = [1, 1, 1, 2, 3, 3, 3, 3, 4, 5][random.below(10) as usize];
        if voters == 1 && random.chance(2, 3) {
            return Self { voters, ..Self::default() };
        }
        let gap = random.between(500, 4_000);
        let operator_gap = random.between(1_000, 8_000);
        Self {
            voters,
            late: random.below(2),
            non_voters: random.below(4) / 2,
            late_ms: random.between(1_000, 30_000),
            faults: ALL_NETWORK.iter().copied().filter(|_| random.chance(2, 3)).collect(),
            fault_gap_ms: (gap, gap + random.between(500, 4_000)),
            operator_gap_ms: (operator_gap, operator_gap + random.between(1_000, 8_000)),
            recovery: random.chance(1, 4).then(|| Duration::from_millis(random.between(2_000, 25_000))),
            discovers: random.chance(1, 4),
        }
    }

    /// The names of the nodes.
    pub fn names(&self) -> Vec<String> {
        let voters = (1..=self.voters.max(1) + self.late).map(|number| format!("n{number}"));
        voters.chain((1..=self.non_voters).map(|number| format!("r{number}"))).collect()
    }

    /// Whether there is more than one node.
    pub fn is_cluster(&self) -> bool {
        self.names().len() > 1
    }

    /// When the node `name` is started first.
    pub fn begins(&self, name: &str) -> Duration {
        if self.is_first(name) { Duration::ZERO } else { Duration::from_millis(self.late_ms) }
    }

    /// Where those are that form the cluster; each is at `address`.
    pub fn hosts(&self, address: impl Fn(&str) -> String) -> String {
        (1..=self.voters.max(1)).map(|number| address(&format!("n{number}"))).collect::<Vec<_>>().join(",")
    }

    /// What the node `name` is told about the others, which are at `address`.
    pub fn arguments(&self, name: &str, address: impl Fn(&str) -> String) -> Vec<String> {
        if !self.is_cluster() {
            return Vec::new();
        }
        let others = self.names().into_iter().filter(|other| other != name && self.is_first(other));
        let others: Vec<String> = others.map(|other| address(&other)).collect();
        let join = format!("-join={}", others.join(","));
        match () {
            () if self.is_first(name) && self.voters <= 1 => Vec::new(),
            () if self.is_first(name) => {
                let found = match self.discovers {
                    true => "-disco-mode=dns".into(),
                    false => format!("-join={}", self.hosts(address)),
                };
                vec![format!("-bootstrap-expect={}", self.voters), found]
            }
            () => {
                let is_voter = name.starts_with('n');
                let tries = ["-join-attempts=100000".into(), "-join-interval=1s".into()];
                [join, format!("-raft-non-voter={}", !is_voter)].into_iter().chain(tries).collect()
            }
        }
    }

    /// Whether the node `name` is one of those that form the cluster.
    fn is_first(&self, name: &str) -> bool {
        (1..=self.voters.max(1)).any(|number| name == format!("n{number}"))
    }
}

impl Options {
    /// What `seed` decides.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed).fork("swarm");
        // Power losses are never left out: they are what the log is for.
        let is_in = |fault: Fault, random: &mut Random| fault == Fault::PowerLossMidway || random.chance(2, 3);
        let faults = ALL.iter().copied().filter(|(fault, _)| is_in(*fault, &mut random)).collect();
        let gap = random.between(200, 2_000);
        let latency = random.between(1, 4);
        let mut rarely = |weight: u64| if random.chance(2, 3) { random.between(1, weight + 1) } else { 0 };
        let (reads, backups, loads, bad_loads, texts) = (rarely(60), rarely(8), rarely(4), rarely(4), rarely(4));
        Self {
            seed,
            seconds: random.between(40, 44),
            latency_ms: (latency, latency + random.below(12)),
            clock_offset_ms: random.below(4_000_000) as i64 - 2_000_000,
            clock_drift_ms: random.below(2_000) as i64 - 1_000,
            lane_longest_ms: [0, 2, 10, 40][random.below(4) as usize],
            clients: random.between(3, 7),
            workload: Workload {
                writes: 60,
                reads,
                backups,
                loads,
                bad_loads,
                texts,
                pause_ms: random.between(50, 200),
                value_bytes: [100, 2_000, 20_000][random.below(3) as usize],
                filler_bytes: [0, 0, 0, 2 << 20][random.below(4) as usize],
            },
            faults,
            fault_gap_ms: (gap, gap + random.between(500, 2_000)),
            node: Node {
                snapshot_entries: [16, 64, 256, 8192][random.below(4) as usize],
                snapshot_wal_bytes: [0, 64 << 10, 512 << 10, 4 << 20][random.below(4) as usize],
                snapshot_interval_ms: random.between(100, 5_000),
            },
            cluster: Cluster::draw(Random::new(seed).fork("cluster")),
            opening: None,
            scenario: None,
        }
    }

    /// `scenario`, with what it leaves open drawn from `seed`.
    pub fn directed(seed: u64, scenario: &'static Scenario) -> Self {
        Self {
            seconds: 120,
            clients: 8,
            workload: scenario.workload,
            faults: Vec::new(),
            node: scenario.node,
            cluster: scenario.cluster(),
            scenario: Some(scenario),
            ..Self::draw(seed)
        }
    }

    /// A short run in which the disk's `nth` change fails. Writes, loads, backups, checkpoints and purges follow each
    /// other closely, so that a few hundred operations hold every step of all of them.
    pub fn failing_at(seed: u64, nth: u64, error: Error) -> Self {
        let opening = Failure { counted: Counted::Changes, path: String::new(), after: nth, error };
        let (writes, reads, backups, loads, bad_loads, texts) = (16, 4, 2, 4, 1, 2);
        let (pause_ms, value_bytes, filler_bytes) = (60, 2_000, 0);
        let workload =
            Workload { writes, reads, backups, loads, bad_loads, texts, pause_ms, value_bytes, filler_bytes };
        Self {
            seconds: 1,
            clients: 3,
            workload,
            faults: Vec::new(),
            node: Node { snapshot_entries: 16, snapshot_wal_bytes: 64 << 10, snapshot_interval_ms: 200 },
            cluster: Cluster::default(),
            opening: Some(opening),
            ..Self::draw(seed)
        }
    }
}
