//! Directed runs: a known bug of the field, played out step by step instead of drawn from a seed (faults.md §4).
//!
//! The clients, the invariants and the checks at the end are those of every run; a scenario adds a script of faults, and
//! says what has to have happened in it. A new one is a row in [`ALL`], and its name in `sim/tests/it/scenarios.rs`.

use std::time::Duration;

use crate::fault::{End, Nemesis};
use crate::network::{apart, pairs};
use crate::operator::Order;
use crate::run::give_peers;
use crate::swarm::{Cluster, Node, Workload};
use crate::workload::Shared;
use crate::world::disk::{Counted, Error, Failure, PowerFailure};
use Step::*;
use Who::*;

/// One of the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    /// The first one that doesn't lead.
    Follower,
    /// Whoever the last step that named a leader or follower meant.
    Same,
    Named(&'static str),
    Everyone,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// For so many milliseconds nothing.
    Wait(u64),
    /// This has been reached once more (see [`crate::reached`]).
    Until(&'static str),
    /// They have no process any more: it has ended, or the power is off.
    Down(Who),
    /// They hear nobody, and nobody hears them.
    Isolate(Who),
    /// They are not heard, but hear.
    Mute(Who),
    /// What they and others send each other comes late, all at once.
    Hold(Who),
    /// So much of a thousand segments is lost.
    Loss(u64),
    /// Segments take so many milliseconds at most.
    Slow(u64),
    /// The network is as it was.
    Heal,
    /// They stay down until [`Step::Start`].
    Kill(Who),
    Power(Who),
    Start(Who),
    /// As SIGTERM does. They start again when they have ended.
    Stop(Who),
    /// The next change below this path fails.
    Arm(Who, &'static str, Error),
    /// So many bytes are left on the disk.
    Fill(Who, u64),
    /// There is plenty of space again.
    Empty(Who),
    /// Work on the disk takes so many milliseconds longer.
    SlowDisk(Who, u64),
    /// The disk as it is now is put aside, and comes back in the place of a later one. (F30)
    Keep(Who),
    Restore(Who),
    /// They start again with an empty disk.
    Wipe(Who),
    /// They start again at another address.
    Move(Who),
    /// Out of the cluster; whoever runs with `-join` comes back when it starts again.
    Remove(Who),
    /// The operator has those recover the cluster that have anything of it. They are down.
    GivePeers,
    /// Leadership goes to somebody else.
    StepDown,
    /// A node wants to join whose SQLite isn't the cluster's.
    Stranger,
}

/// See the module.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Voters, late ones, those without a vote.
    pub nodes: (u64, u64, u64),
    pub workload: Workload,
    pub node: Node,
    pub steps: &'static [Step],
    /// What has happened at the end.
    pub reaches: &'static [&'static str],
    /// What has happened so often at most.
    pub at_most: &'static [(&'static str, u64)],
}

const WRITES: Workload = Workload {
    writes: 60,
    reads: 20,
    backups: 2,
    loads: 0,
    bad_loads: 0,
    texts: 0,
    pause_ms: 60,
    value_bytes: 2_000,
    filler_bytes: 0,
};
/// Of writes there are always some under way.
const MANY: Workload = Workload { pause_ms: 5, reads: 5, backups: 0, ..WRITES };
const READS: Workload = Workload { reads: 60, backups: 0, pause_ms: 20, ..WRITES };
const BACKUPS: Workload = Workload { backups: 30, ..WRITES };
const LOADS: Workload = Workload { loads: 12, texts: 4, filler_bytes: 2 << 20, ..WRITES };
const NODE: Node = Node { snapshot_entries: 16, snapshot_wal_bytes: 0, snapshot_interval_ms: 200 };

const BASE: Scenario =
    Scenario { name: "", nodes: (3, 0, 0), workload: WRITES, node: NODE, steps: &[], reaches: &[], at_most: &[] };

/// A follower is away for so long that it gets a snapshot: `store/purge` keeps the log for 30 s.
const AWAY: Step = Wait(31_000);
const PURGED: Step = Until("log purged past a follower");
/// openraft purges nothing that it is sending: the follower's replication has to fail once more.
const CUT: Step = Wait(3_000);
const BEGUN: Step = Until("snapshots: begun");
const INSTALLED: Step = Until("snapshots: installed");
const LOADING: Step = Until("loads: begun");
const COMMITTING: Step = Until("loads: commit proposed");

/// All scenarios.
#[rustfmt::skip] // A line a story, not a line a step.
pub const ALL: &[Scenario] = &[
    // A snapshot is there, and the power goes before it counts, at each of the replacements that make it count.
    Scenario {
        name: "s01_a_snapshot_that_is_received_and_not_applied",
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Arm(Same, "/db/", Error::PowerCut), Heal, Down(Same),
            BEGUN, Arm(Same, "db.state", Error::PowerCut), Down(Same), INSTALLED,
        ],
        reaches: &["snapshots: installed after an attempt that was interrupted"],
        ..BASE
    },
    // The swap is done, and what comes behind it fails: the node stops, and never applies what the snapshot holds again.
    Scenario {
        name: "s02_what_follows_the_swap_of_a_snapshot_fails",
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Heal, BEGUN, Arm(Same, "/db/1.sqlite", Error::Io), Down(Same),
            Until("writes"), Wait(3_000),
        ],
        reaches: &["stops"],
        ..BASE
    },
    // A kill in the middle of a snapshot, at both ends: each starts again, whatever is left of log and snapshot.
    Scenario {
        name: "s04_kills_during_a_snapshot",
        workload: LOADS,
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Heal, Slow(50), BEGUN, Kill(Same), Wait(300), Start(Same),
            BEGUN, Kill(Leader), Wait(300), Start(Same), INSTALLED, Wait(2_000), Kill(Everyone), Start(Everyone),
            Wait(2_000),
        ],
        reaches: &["snapshots: installed after an attempt that was interrupted"],
        ..BASE
    },
    // Reads wait for a quorum that isn't there, while checkpoints are due, as they are after each write: nothing hangs, and
    // all goes on afterwards.
    Scenario {
        name: "s05_reads_that_wait_for_a_quorum_hold_up_nothing",
        workload: READS,
        node: Node { snapshot_entries: 1, ..NODE },
        steps: &[
            Isolate(Leader), Wait(4_000), Heal, Wait(3_000), Isolate(Everyone), Wait(5_000), Heal, Wait(3_000),
            Until("writes"), Until("reads"),
        ],
        reaches: &["writes: pending when the lease expired"],
        ..BASE
    },
    // The sender of a snapshot is gone, and the log behind it with it: the next leader sends its own.
    Scenario {
        name: "s08_another_leader_sends_another_snapshot",
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Heal, Slow(50), BEGUN, Kill(Leader), INSTALLED, Start(Same),
            Wait(2_000),
        ],
        reaches: &["snapshots: installed after an attempt that was interrupted", "terms: another node leads"],
        ..BASE
    },
    // Checkpoints and purges are due all the time while the chunks of loads are under way, and nodes are restarted.
    Scenario {
        name: "s10_restarts_in_the_middle_of_loads",
        workload: LOADS,
        steps: &[
            LOADING, Power(Follower), Wait(500), Start(Same), Until("loads"), LOADING, Kill(Follower), Wait(500),
            Start(Same), Until("loads"), LOADING, Power(Leader), Wait(500), Start(Same), Until("loads"), LOADING,
            Power(Everyone), Start(Everyone), Until("loads"),
        ],
        reaches: &["loads: aborted"],
        ..BASE
    },
    // Every form of backup, loads and texts, through all nodes: the same as through the leader.
    Scenario {
        name: "s15_backups_and_loads_through_followers",
        workload: Workload { backups: 30, loads: 8, bad_loads: 4, texts: 8, ..WRITES },
        steps: &[Wait(10_000), StepDown, Wait(10_000)],
        reaches: &[
            "backups: binary",
            "backups: delete",
            "backups: vacuum",
            "backups: sql",
            "backups: compressed",
            "loads",
        ],
        ..BASE
    },
    // Answers to forwarded writes are lost: nothing is done twice. (hazard H14)
    Scenario {
        name: "s20_lost_replies_of_forwarded_writes",
        workload: MANY,
        steps: &[
            Loss(20), Wait(5_000), Heal, Wait(1_000), Mute(Leader), Wait(3_000), Heal, Wait(2_000),
            Hold(Follower), Wait(4_000), Heal, Until("writes"), Slow(100), StepDown, Wait(2_000), Kill(Leader),
            Wait(2_000), Start(Same), Wait(1_000), Kill(Leader), Wait(2_000), Start(Same), Wait(1_000),
            Kill(Leader), Wait(2_000), Start(Same), Wait(1_000), Kill(Leader), Wait(2_000), Start(Same),
            Wait(1_000),
        ],
        reaches: &["writes: forwarded, then unknown"],
        ..BASE
    },
    // Followers, a node without a vote and a deposed leader know how old they are.
    Scenario {
        name: "s21_fresh_reads_of_nodes_that_hear_nobody",
        nodes: (3, 0, 1),
        workload: READS,
        steps: &[
            Isolate(Follower), Wait(6_000), Heal, Isolate(Leader), Wait(6_000), Heal, Isolate(Named("r1")),
            Wait(6_000),
        ],
        reaches: &["reads: fresh", "reads: stale"],
        ..BASE
    },
    // A node without a vote starts, again and again, with a log that is purged; whoever asks for /status gets it.
    Scenario {
        name: "s23_a_read_replica_starts_with_a_purged_log",
        nodes: (3, 0, 1),
        steps: &[
            Wait(3_000), Power(Named("r1")), Wait(500), Start(Same), Wait(3_000), Isolate(Named("r1")), AWAY,
            PURGED, CUT, Heal, INSTALLED, Kill(Named("r1")), Start(Same), Wait(3_000), Power(Everyone),
            Start(Everyone), Wait(3_000),
        ],
        reaches: &["snapshots: installed"],
        ..BASE
    },
    // Neither end of a snapshot that stands still keeps its node from stopping.
    Scenario {
        name: "s25_a_snapshot_that_stalls_holds_up_no_stop",
        workload: LOADS,
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Heal, Slow(50), BEGUN, Hold(Same), Stop(Same), Down(Same),
            Heal, BEGUN, Hold(Same), Stop(Leader), Down(Same), Heal, INSTALLED,
        ],
        reaches: &["snapshots: installed after an attempt that was interrupted"],
        ..BASE
    },
    // All nodes come back with other addresses.
    Scenario {
        name: "s28_all_addresses_change_at_once",
        steps: &[
            Wait(3_000), Move(Everyone), Down(Everyone), Until("writes"), Wait(3_000), Move(Leader), Wait(5_000),
        ],
        reaches: &["members: joined again with a new address"],
        ..BASE
    },
    // With two voters a new address can't be agreed on without the node that has it.
    Scenario {
        name: "s28_one_of_two_voters_moves",
        nodes: (2, 0, 0),
        steps: &[
            Wait(3_000), Move(Follower), Down(Same), Until("writes"), Move(Leader), Down(Same), Until("writes"),
        ],
        ..BASE
    },
    // The disk of a follower is full while a load is applied: it stops, and skips nothing.
    Scenario {
        name: "s30_a_follower_whose_disk_is_full_during_a_load",
        workload: LOADS,
        steps: &[
            Wait(2_000), Fill(Follower, 20_000), Down(Same), Wait(5_000), Empty(Same), Until("loads"), Wait(3_000),
        ],
        reaches: &["stops: disk full, and applied again"],
        ..BASE
    },
    // The same while a snapshot is installed: it is asked for again when there is space.
    Scenario {
        name: "s30_a_follower_whose_disk_is_full_during_an_installation",
        workload: LOADS,
        steps: &[
            Isolate(Follower), AWAY, PURGED, CUT, Fill(Same, 40_000), Heal, Wait(6_000), Empty(Same), INSTALLED,
            Wait(1_000),
        ],
        ..BASE
    },
    // A disk that fails while a follower installs or applies: it stops, and comes back by what it has or a snapshot.
    Scenario {
        name: "s30_a_follower_whose_disk_fails",
        steps: &[
            Wait(2_000), Arm(Follower, "/db/", Error::Io), Down(Same), Wait(2_000), Isolate(Follower), AWAY,
            PURGED, CUT, Arm(Same, "/tmp/", Error::Io), Heal, INSTALLED, Wait(1_000),
        ],
        reaches: &["stops"],
        ..BASE
    },
    // A leader that nobody follows any more is asked for backups: none misses what others have acknowledged.
    Scenario {
        name: "s36_a_deposed_leader_serves_no_backup",
        workload: BACKUPS,
        steps: &[
            Wait(2_000), Isolate(Leader), Wait(4_000), Heal, Wait(2_000), Mute(Leader), Wait(4_000), Heal,
            Wait(2_000), Isolate(Leader), Wait(4_000), Heal, Wait(1_000),
        ],
        reaches: &["backups", "terms: another node leads"],
        ..BASE
    },
    // A load whose leader is gone before it can answer: what the client was told holds, and all nodes agree.
    Scenario {
        name: "s40_loads_whose_leader_is_gone",
        workload: LOADS,
        steps: &[
            LOADING, Isolate(Leader), Wait(4_000), Heal, Until("loads"), LOADING, Mute(Leader), Wait(4_000),
            Heal, Until("loads"), LOADING, Slow(200), Wait(4_000), Heal, Until("loads"), LOADING, Kill(Leader),
            Wait(3_000), Start(Same), Until("loads"),
        ],
        reaches: &["loads: unknown"],
        ..BASE
    },
    // A load's commit is on its way when its leader is gone: whoever has it leads next, and commits it.
    Scenario {
        name: "s40_loads_that_the_next_leader_commits",
        workload: LOADS,
        steps: &[
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
            Slow(200), COMMITTING, Wait(50), Kill(Leader), Heal, Wait(3_000), Start(Same), Until("loads"),
        ],
        reaches: &["loads: committed under a new leader"],
        ..BASE
    },
    // Members change while a follower is away, and it learns of them by a snapshot: quorums stay the same for all.
    Scenario {
        name: "s53_members_that_changed_before_a_snapshot",
        nodes: (3, 1, 0),
        steps: &[
            Isolate(Named("n2")), Wait(20_000), Remove(Named("n4")), Wipe(Named("n4")), Wait(12_000), PURGED,
            CUT, Heal, INSTALLED, Isolate(Leader), Wait(3_000), Heal, Power(Everyone), Start(Everyone),
            Wait(3_000),
        ],
        reaches: &["operations: done"],
        ..BASE
    },
    // Checkpoints and purges come with nearly every entry, and applying is slow.
    Scenario {
        name: "s54_purges_race_with_applying",
        node: Node { snapshot_entries: 2, snapshot_wal_bytes: 0, snapshot_interval_ms: 20 },
        steps: &[
            SlowDisk(Everyone, 30), Wait(10_000), Kill(Follower), Wait(2_000), Start(Same), Wait(2_000),
            StepDown, Wait(5_000), SlowDisk(Follower, 300), Wait(10_000), SlowDisk(Everyone, 0), Until("writes"),
        ],
        ..BASE
    },
    // A leader comes back with entries that nobody else has, and gets a snapshot over them.
    Scenario {
        name: "s55_a_conflicting_tail_under_a_snapshot",
        workload: MANY,
        steps: &[
            Wait(2_000), Isolate(Leader), AWAY, PURGED, CUT, Heal, INSTALLED, Wait(1_000), Power(Named("n1")),
            Start(Same), Wait(2_000), StepDown, Wait(2_000), StepDown, Wait(2_000),
        ],
        reaches: &["writes: pending when the lease expired"],
        ..BASE
    },
    // A follower that was away long, on a slow way: one snapshot brings it back, however much is written meanwhile.
    Scenario {
        name: "s56_one_snapshot_is_enough",
        workload: Workload { filler_bytes: 2 << 20, ..WRITES },
        steps: &[Isolate(Follower), AWAY, PURGED, CUT, Heal, Slow(100), INSTALLED, Wait(10_000)],
        at_most: &[("snapshots: begun", 2)],
        ..BASE
    },
    // Leaders follow each other quickly, each with entries that its predecessors had not committed.
    Scenario {
        name: "s58_entries_of_earlier_terms",
        nodes: (5, 0, 0),
        workload: MANY,
        node: Node { snapshot_entries: 8192, ..NODE },
        steps: &[
            Isolate(Leader), Wait(2_500), Heal, Kill(Leader), Wait(2_500), Start(Same), Isolate(Leader),
            Wait(2_500), Power(Leader), Wait(2_500), Heal, Start(Same), Wait(1_000), Isolate(Leader),
            Wait(2_500), Heal, Wait(2_000),
        ],
        reaches: &["log suffix truncated", "terms: another node leads"],
        ..BASE
    },
    // A database that was booted is what joins later, never what was there before.
    Scenario {
        name: "h12_nodes_join_after_a_boot",
        nodes: (1, 1, 1),
        workload: Workload { loads: 20, ..WRITES },
        steps: &[Until("boots"), Until("boots"), Wait(25_000)],
        reaches: &["boots"],
        ..BASE
    },
    // A node that would compute other results from the same log is not let in.
    Scenario {
        name: "h16_another_engine_is_refused",
        steps: &[Wait(2_000), Stranger, Until("members: refused"), Wait(1_000)],
        ..BASE
    },
    // One of three is lost, and the others go on without it. It comes back empty, and a new one with it: both are sent the
    // log, which doesn't tell that there was a recovery, and stay nodes of the cluster although all connections end.
    Scenario {
        name: "h19_nodes_join_after_a_recovery",
        nodes: (3, 1, 0),
        node: Node { snapshot_entries: 8192, ..NODE },
        steps: &[
            Wait(2_000), Power(Everyone), Wipe(Named("n3")), GivePeers, Start(Named("n1")), Start(Named("n2")),
            Wait(3_000), Start(Named("n3")), Start(Named("n4")), Wait(500), StepDown, Wait(3_000),
            Kill(Everyone), Start(Everyone), Wait(2_000),
        ],
        reaches: &["members: incarnation adopted"],
        ..BASE
    },
    // A node that is restarted, or whose power goes, shows nothing older than others have seen.
    Scenario {
        name: "h22_reads_right_after_a_restart",
        workload: READS,
        steps: &[
            Wait(2_000), Power(Everyone), Start(Everyone), Wait(3_000), Kill(Everyone), Start(Everyone),
            Wait(3_000), Power(Leader), Start(Same), Wait(3_000), Power(Follower), Start(Same), Wait(3_000),
        ],
        ..BASE
    },
    // A node comes back with an older disk, and has lost what it had acknowledged: it is kept out until it is wiped.
    Scenario {
        name: "f30_an_older_disk_is_kept_out",
        steps: &[
            Wait(1_000), Keep(Follower), Wait(3_000), Power(Same), Restore(Same), Start(Same),
            Until("members: kept out"), Wipe(Same), Wait(5_000),
        ],
        reaches: &["members: kept out"],
        ..BASE
    },
];

/// The scenario `name`.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Its nodes.
    pub fn cluster(&self) -> Cluster {
        let (voters, late, non_voters) = self.nodes;
        Cluster { voters, late, non_voters, late_ms: 12_000, ..Cluster::default() }
    }

    /// What has not happened, or too often.
    pub fn verdict(&self, count: impl Fn(&'static str) -> u64) -> Option<String> {
        if let Some(what) = self.reaches.iter().find(|what| count(what) == 0) {
            return Some(format!("the scenario never reached: {what}"));
        }
        let (what, most) = self.at_most.iter().find(|(what, most)| count(what) > *most)?;
        Some(format!("the scenario reached {} times, {most} are allowed: {what}", count(what)))
    }
}

/// A step may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a scenario.
pub struct Director {
    steps: &'static [Step],
    /// When the present step began, and how often what it waits for was reached by then.
    began: Option<(Duration, u64)>,
    /// See [`Who::Same`].
    chosen: usize,
    /// Nodes that hold what they send and are sent.
    held: Vec<String>,
    latency_ms: (u64, u64),
}

impl Director {
    /// Plays `scenario`, on a network with that latency.
    pub fn new(scenario: &'static Scenario, latency_ms: (u64, u64)) -> Self {
        Self { steps: scenario.steps, began: None, chosen: 0, held: Vec::new(), latency_ms }
    }

    /// Whether all steps are done.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    /// Called after each step of the simulation, at `now`. Returns why the scenario can't go on.
    pub fn step(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        now: Duration,
        machines: &mut [Nemesis],
        shared: &Shared,
    ) -> Option<String> {
        while let Some((step, rest)) = self.steps.split_first() {
            let count = match step {
                Until(what) => shared.history().reached.count(what),
                _ => 0,
            };
            let (began, before) = *self.began.get_or_insert_with(|| {
                shared.trace.line(format_args!("step {step:?}"));
                (now, count)
            });
            let is_done = match step {
                Wait(ms) => now >= began + Duration::from_millis(*ms),
                Until(_) => count > before,
                Down(who) => {
                    let named = self.named(*who, machines, shared);
                    named.iter().all(|at| machines[*at].has_been_down_since(began))
                }
                act => {
                    self.act(*act, sim, now, machines, shared);
                    true
                }
            };
            if !is_done {
                let is_late = !matches!(step, Wait(_)) && now > began + PATIENCE;
                return is_late.then(|| format!("the scenario stands still at {step:?}"));
            }
            self.began = None;
            self.steps = rest;
        }
        None
    }

    /// Who is meant; the first that leads or follows is remembered.
    fn named(&mut self, who: Who, machines: &[Nemesis], shared: &Shared) -> Vec<usize> {
        let leader = shared.history().leader().map(str::to_string);
        let mut all = 0..machines.len();
        let leads = |at: &usize| Some(machines[*at].machine.name()) == leader.as_deref();
        let one = match who {
            Everyone => return all.collect(),
            Same => Some(self.chosen),
            Leader => all.find(leads),
            Follower => all.find(|at| !leads(at)),
            Named(name) => all.find(|at| machines[*at].machine.name() == name),
        };
        self.chosen = one.expect("a scenario names nodes that there are");
        vec![self.chosen]
    }

    fn act(
        &mut self,
        step: Step,
        sim: &mut turmoil::Sim<'_>,
        now: Duration,
        machines: &mut [Nemesis],
        shared: &Shared,
    ) {
        let names: Vec<String> = machines.iter().map(|nemesis| nemesis.machine.name().to_string()).collect();
        match step {
            Wait(_) | Until(_) | Down(_) => unreachable!("they wait"),
            Heal => self.heal(sim, machines),
            Loss(thousandths) => {
                for (a, b) in pairs(&names) {
                    sim.set_link_fail_rate(a.as_str(), b.as_str(), thousandths as f64 / 1000.0);
                }
            }
            Slow(ms) => {
                for (a, b) in pairs(&names) {
                    sim.set_link_max_message_latency(a.as_str(), b.as_str(), Duration::from_millis(ms));
                }
            }
            GivePeers => give_peers(machines),
            Stranger => shared.orders.lock().expect("no order panics").push_back(Order::Stranger),
            StepDown => shared.orders.lock().expect("no order panics").push_back(Order::StepDown(None)),
            Isolate(who) | Mute(who) | Hold(who) => {
                for at in self.named(who, machines, shared) {
                    let others: Vec<String> = names.iter().filter(|name| **name != names[at]).cloned().collect();
                    match step {
                        Isolate(_) => apart(sim, &names[at..=at], &others),
                        Mute(_) => {
                            others.iter().for_each(|other| sim.partition_oneway(names[at].as_str(), other.as_str()));
                        }
                        _ => {
                            others.iter().for_each(|other| sim.hold(names[at].as_str(), other.as_str()));
                            self.held.push(names[at].clone());
                        }
                    }
                }
            }
            Kill(who)
            | Power(who)
            | Start(who)
            | Stop(who)
            | Arm(who, ..)
            | Fill(who, _)
            | Empty(who)
            | SlowDisk(who, _)
            | Keep(who)
            | Restore(who)
            | Wipe(who)
            | Move(who)
            | Remove(who) => {
                for at in self.named(who, machines, shared) {
                    on_machine(step, sim, now, &mut machines[at], shared);
                }
            }
        }
    }

    /// The network is as it was.
    pub fn heal(&mut self, sim: &mut turmoil::Sim<'_>, machines: &[Nemesis]) {
        let names: Vec<String> = machines.iter().map(|nemesis| nemesis.machine.name().to_string()).collect();
        for held in self.held.drain(..) {
            let others = names.iter().filter(|name| **name != held);
            others.for_each(|other| sim.release(held.as_str(), other.as_str()));
        }
        for (a, b) in pairs(&names) {
            sim.repair(a.as_str(), b.as_str());
            sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.0);
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), Duration::from_millis(self.latency_ms.1));
        }
    }
}

fn on_machine(step: Step, sim: &mut turmoil::Sim<'_>, now: Duration, nemesis: &mut Nemesis, shared: &Shared) {
    nemesis.felt += 1;
    let machine = nemesis.machine.clone();
    match step {
        Kill(_) => nemesis.put_down(sim, now, End::Kill),
        Power(_) => nemesis.put_down(sim, now, End::Power(PowerFailure::Random)),
        Start(_) => nemesis.bring_up(now),
        Stop(_) => machine.ask_to_stop(),
        Arm(_, path, error) => {
            machine.disk.arm(Failure { counted: Counted::Changes, path: path.into(), after: 0, error });
            machine.disturb();
        }
        Fill(_, left) => {
            machine.disk.set_capacity(Some(machine.disk.used() + left));
            machine.disturb();
        }
        Empty(_) => machine.disk.set_capacity(None),
        SlowDisk(_, ms) => machine.disk.set_slowness(Duration::from_millis(ms)),
        Keep(_) => machine.disk.keep(),
        Restore(_) => machine.disk.restore(),
        Wipe(_) => machine.wipe(),
        Move(_) => {
            machine.move_away();
            machine.ask_to_stop();
        }
        Remove(_) => {
            let order = Order::Remove(machine.name().into());
            shared.orders.lock().expect("no order panics").push_back(order);
        }
        _ => unreachable!("it is no step of one machine"),
    }
}
