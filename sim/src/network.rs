//! What goes wrong between machines, one thing at a time, beside what goes wrong on each.
//!
//! A new fault is a variant, a row in [`ALL`], and an arm in [`NetworkNemesis::inject`].

use std::time::Duration;

use crate::random::Random;
use crate::trace::Trace;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// The nodes fall into two groups that don't hear each other. (F4)
    Partition,
    /// One node hears nobody, and nobody hears it. (F4)
    Isolate,
    /// One node is not heard, but hears. (F5)
    OneWay,
    /// Two groups that hear only one node in common. (F4)
    Bridge,
    /// What two nodes send each other comes late, all at once. (F2)
    Hold,
    /// Some of what nodes send each other is lost: there is no second try, so its connection falls silent. (F1, F7)
    Loss,
    /// The way between nodes takes much longer. (F2)
    Slow,
}

/// All faults with their weights.
pub const ALL: &[(NetworkFault, u64)] = &[
    (NetworkFault::Partition, 4),
    (NetworkFault::Isolate, 4),
    (NetworkFault::OneWay, 3),
    (NetworkFault::Bridge, 3),
    (NetworkFault::Hold, 3),
    (NetworkFault::Loss, 2),
    (NetworkFault::Slow, 2),
];

/// Disturbs the network between the nodes, by the seed.
pub struct NetworkNemesis {
    random: Random,
    nodes: Vec<String>,
    faults: Vec<(NetworkFault, u64)>,
    gap_ms: (u64, u64),
    latency_ms: (u64, u64),
    trace: Trace,
    /// The next fault is due then, or the one that is there ends then.
    next: Duration,
    present: Option<NetworkFault>,
    /// Pairs that hold what they send each other.
    held: Vec<(String, String)>,
    /// Faults so far.
    pub felt: u64,
}

impl NetworkNemesis {
    /// Disturbs the network between `nodes`.
    pub fn new(
        random: Random,
        nodes: Vec<String>,
        faults: Vec<(NetworkFault, u64)>,
        gap_ms: (u64, u64),
        latency_ms: (u64, u64),
        trace: Trace,
    ) -> Self {
        let held = Vec::new();
        let next = Duration::from_millis(gap_ms.1);
        Self { random, nodes, faults, gap_ms, latency_ms, trace, next, present: None, held, felt: 0 }
    }

    /// Called after each step of the simulation, at `now`. `is_active`: new faults may begin.
    pub fn step(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, is_active: bool) {
        if now < self.next {
            return;
        }
        if self.present.is_some() {
            self.heal(sim);
            self.next = now + Duration::from_millis(self.random.between(self.gap_ms.0, self.gap_ms.1));
        } else if is_active && self.nodes.len() > 1 && !self.faults.is_empty() {
            self.inject(sim);
            self.felt += 1;
            // From shorter than a lease to longer than several elections.
            self.next = now + Duration::from_millis(self.random.between(100, 6_000));
        }
    }

    /// A load has begun: what goes wrong between nodes in the next moments meets it on its way, sometimes at its commit.
    pub fn hasten(&mut self, now: Duration) {
        if self.present.is_none() && self.random.chance(1, 2) {
            self.next = now + Duration::from_millis(self.random.below(150));
        }
    }

    /// Ends what is there.
    pub fn heal(&mut self, sim: &mut turmoil::Sim<'_>) {
        let Some(fault) = self.present.take() else { return };
        self.trace.line(format_args!("fault over: {fault:?}"));
        for (a, b) in std::mem::take(&mut self.held) {
            sim.release(a, b);
        }
        for (a, b) in pairs(&self.nodes) {
            sim.repair(a.as_str(), b.as_str());
            sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.0);
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), Duration::from_millis(self.latency_ms.1));
        }
    }

    fn inject(&mut self, sim: &mut turmoil::Sim<'_>) {
        let total = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.below(total);
        let chosen = self.faults.iter().find(|(_, weight)| {
            let is_chosen = drawn < *weight;
            drawn = drawn.wrapping_sub(*weight);
            is_chosen
        });
        let fault = chosen.expect("the weights were summed").0;
        let mut nodes = self.nodes.clone();
        self.random.shuffle(&mut nodes);
        self.trace.line(format_args!("fault {fault:?} {nodes:?}"));
        let (one, others) = nodes.split_first().expect("there are two at least");
        match fault {
            NetworkFault::Partition => {
                let (left, right) = nodes.split_at(self.random.between(1, nodes.len() as u64) as usize);
                apart(sim, left, right);
            }
            NetworkFault::Isolate => apart(sim, std::slice::from_ref(one), others),
            NetworkFault::OneWay => {
                for other in others {
                    sim.partition_oneway(one.as_str(), other.as_str());
                }
            }
            NetworkFault::Bridge => {
                let (left, right) = others.split_at(others.len() / 2);
                apart(sim, left, right);
            }
            NetworkFault::Hold => {
                let other = &others[0];
                sim.hold(one.as_str(), other.as_str());
                self.held.push((one.clone(), other.clone()));
            }
            NetworkFault::Loss => {
                for (a, b) in pairs(&self.nodes) {
                    sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.02);
                }
            }
            NetworkFault::Slow => {
                let longest = Duration::from_millis(self.random.between(20, 300));
                for (a, b) in pairs(&self.nodes) {
                    sim.set_link_max_message_latency(a.as_str(), b.as_str(), longest);
                }
            }
        }
        self.present = Some(fault);
    }
}

/// Nobody in `left` hears anybody in `right`, and the other way round.
pub fn apart(sim: &turmoil::Sim<'_>, left: &[String], right: &[String]) {
    for a in left {
        for b in right {
            sim.partition(a.as_str(), b.as_str());
        }
    }
}

/// Each two of `nodes`.
pub fn pairs(nodes: &[String]) -> impl Iterator<Item = (&String, &String)> {
    nodes.iter().enumerate().flat_map(|(at, a)| nodes[at + 1..].iter().map(move |b| (a, b)))
}
