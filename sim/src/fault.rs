//! THE list of faults, and the nemesis that injects them one at a time.
//!
//! A new fault is a variant, a row in [`ALL`], and an arm in [`Nemesis::inject`].

use std::time::Duration;

use crate::machine::Machine;
use crate::random::Random;
use crate::swarm::Options;
use crate::trace::Trace;
use crate::world::disk::{Counted, Error, Failure, PowerFailure};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is asked to end, and ends in order. (F14)
    Stop,
    /// The process is killed between two operations; the machine runs on. Nothing that was written is lost, so
    /// nothing that was acknowledged may be. (F10)
    Kill,
    /// The machine loses its power between two operations: what no sync covered is lost, torn or reordered. (F23, F24)
    PowerLoss,
    /// The power goes right at an operation on the disk. Every order of writes and syncs has to be right. (F10, F23)
    PowerLossMidway,
    /// One changing operation fails with EIO. The node goes on only if nothing depends on it. (F21)
    ChangeError,
    /// One read fails with EIO: the request that needed it fails, or the node stops. (F21)
    ReadError,
    /// One changing operation fails with ENOSPC. (F20)
    ChangeNoSpace,
    /// One sync fails, and its data is marked clean: it can be read until the power goes, and is written by no later
    /// sync. The node must stop, and not acknowledge. (F22)
    FailedSync,
    /// The disk is nearly full for some seconds. Writes may be refused, none may be half done. (F20, S57)
    FullDisk,
    /// All work on the disk takes longer for some seconds. (F28)
    SlowDisk,
    /// The wall clock jumps, perhaps back by hours: entries carry their time, nothing else may depend on it. (F17)
    ClockJump,
}

/// All faults with their weights.
pub const ALL: &[(Fault, u64)] = &[
    (Fault::Stop, 2),
    (Fault::Kill, 4),
    (Fault::PowerLoss, 4),
    (Fault::PowerLossMidway, 8),
    (Fault::ChangeError, 4),
    (Fault::ReadError, 2),
    (Fault::ChangeNoSpace, 2),
    (Fault::FailedSync, 3),
    (Fault::FullDisk, 3),
    (Fault::SlowDisk, 2),
    (Fault::ClockJump, 2),
];

/// Disturbs one machine, by the seed.
pub struct Nemesis {
    random: Random,
    faults: Vec<(Fault, u64)>,
    gap_ms: (u64, u64),
    pub machine: Machine,
    trace: Trace,
    state: State,
    /// When the process last ended.
    went_down: Option<Duration>,
    /// What happens is a scenario's to say: nothing is healed, and no second fault comes by itself.
    is_scripted: bool,
    /// Faults so far that the node could feel.
    pub felt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next fault is due then.
    Calm(Duration),
    /// A fault is there until then.
    Disturbed(Fault, Duration),
    /// The machine is down until then.
    Down(Duration),
}

/// The first machine's is as old as the simulation.
fn nemesis_of(machine: &str) -> String {
    if machine == "n1" { "nemesis".into() } else { format!("nemesis {machine}") }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine runs on.
    Kill,
    Power(PowerFailure),
}

impl Nemesis {
    /// Disturbs `machine` as the seed's options say.
    pub fn new(options: &Options, machine: Machine, trace: Trace) -> Self {
        let nodes = options.cluster.names().len() as u64;
        let mut nemesis = Self {
            random: Random::new(options.seed).fork(&nemesis_of(machine.name())),
            faults: options.faults.clone(),
            // With more machines each is hit more rarely.
            gap_ms: (options.fault_gap_ms.0 * nodes, options.fault_gap_ms.1 * nodes),
            machine,
            trace,
            state: State::Calm(Duration::ZERO),
            went_down: None,
            is_scripted: options.scenario.is_some(),
            felt: 0,
        };
        nemesis.calm(Duration::ZERO);
        if let Some(failure) = &options.opening {
            nemesis.machine.disk.arm(failure.clone());
            nemesis.machine.disturb();
            // The run ends before this does.
            nemesis.state = State::Disturbed(Fault::ChangeError, Duration::MAX);
        }
        nemesis
    }

    /// Called after each step of the simulation, at `now`. `is_active`: new faults may begin.
    pub fn step(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, is_active: bool) {
        if let State::Down(until) = self.state {
            if now >= until {
                if !self.is_scripted && self.random.chance(3, 4) {
                    self.heal();
                }
                self.trace.line(format_args!("fault over: {} starts", self.machine.name()));
                self.machine.begin();
                self.calm(now);
                if !self.is_scripted && self.random.chance(1, 4) {
                    // The power goes again, soon: in the middle of the recovery, mostly.
                    self.arm_at("", Counted::Changes, 40, Error::PowerCut);
                    self.machine.disturb();
                    self.state = State::Disturbed(Fault::PowerLossMidway, now + Duration::from_secs(1));
                }
                sim.bounce(self.machine.name());
            }
            return;
        }
        if self.machine.has_ended() {
            // The process is gone; whether the machine stays is open.
            let end = if self.random.chance(1, 2) { End::Kill } else { self.power() };
            return self.take_down(sim, now, end);
        }
        if !self.machine.disk.is_powered() {
            self.felt += 1;
            let end = self.power();
            return self.take_down(sim, now, end);
        }
        match self.state {
            State::Calm(next) if now >= next && is_active && !self.faults.is_empty() => self.inject(sim, now),
            State::Disturbed(fault, until) if now >= until => {
                self.trace.line(format_args!("fault over: {fault:?}"));
                self.heal();
                self.calm(now);
            }
            _ => {}
        }
    }

    /// Takes the machine down, unless it is, for a while in which the operator recovers the cluster.
    pub fn interrupt(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        if !matches!(self.state, State::Down(_)) {
            let end = if self.random.chance(1, 2) { End::Kill } else { self.power() };
            self.take_down(sim, now, end);
        }
        self.heal();
    }

    /// Takes the machine down until it is brought up.
    pub fn put_down(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, end: End) {
        if !matches!(self.state, State::Down(_)) {
            self.take_down(sim, now, end);
        }
        self.state = State::Down(Duration::MAX);
    }

    /// Starts the machine if it is down.
    pub fn bring_up(&mut self, now: Duration) {
        if matches!(self.state, State::Down(_)) {
            self.state = State::Down(now);
        }
    }

    /// Whether there was no process then, or at some time since.
    pub fn has_been_down_since(&self, then: Duration) -> bool {
        matches!(self.state, State::Down(_)) || self.went_down.is_some_and(|down| down >= then)
    }

    /// Ends all faults, and ends the process once more: what it had in memory must not matter.
    pub fn finish(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        let end = if self.random.chance(1, 3) { End::Kill } else { self.power() };
        if !matches!(self.state, State::Down(_)) {
            self.take_down(sim, now, end);
        }
        self.heal();
        self.machine.begin();
        sim.bounce(self.machine.name());
        self.calm(now);
    }

    fn inject(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        let total = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.below(total);
        let chosen = self.faults.iter().find(|(_, weight)| {
            let is_chosen = drawn < *weight;
            drawn = drawn.wrapping_sub(*weight);
            is_chosen
        });
        let fault = chosen.expect("the weights were summed").0;
        self.trace.line(format_args!("fault {fault:?}"));
        let window = Duration::from_millis(self.random.between(500, 5_000));
        match fault {
            Fault::Stop => {
                self.felt += 1;
                self.machine.ask_to_stop();
            }
            Fault::Kill => {
                self.felt += 1;
                return self.take_down(sim, now, End::Kill);
            }
            Fault::PowerLoss => {
                self.felt += 1;
                let end = self.power();
                return self.take_down(sim, now, end);
            }
            Fault::PowerLossMidway => self.arm(Counted::Changes, 300, Error::PowerCut),
            Fault::ChangeError => self.arm(Counted::Changes, 100, Error::Io),
            Fault::ReadError => self.arm(Counted::Reads, 50, Error::Io),
            Fault::ChangeNoSpace => self.arm(Counted::Changes, 100, Error::NoSpace),
            Fault::FailedSync => self.arm(Counted::Syncs, 30, Error::Io),
            Fault::FullDisk => {
                self.felt += 1;
                let left = self.random.below(300_000);
                self.machine.disk.set_capacity(Some(self.machine.disk.used() + left));
                self.trace.line(format_args!("fault {left} bytes left"));
            }
            Fault::SlowDisk => {
                self.felt += 1;
                self.machine.disk.set_slowness(Duration::from_millis(self.random.between(5, 300)));
            }
            Fault::ClockJump => {
                self.felt += 1;
                let jump_ms = self.random.below(20_000_000) as i64 - 10_000_000;
                self.machine.clock.jump(jump_ms);
                self.trace.line(format_args!("fault clock {jump_ms} ms"));
                return self.calm(now);
            }
        }
        if !matches!(fault, Fault::SlowDisk | Fault::Stop) {
            self.machine.disturb();
        }
        self.state = State::Disturbed(fault, now + window);
    }

    fn arm(&mut self, counted: Counted, at_most: u64, error: Error) {
        match ["", "", "/raft/", "/db/", "/tmp/", "db.state"][self.random.below(6) as usize] {
            "db.state" => self.arm_at("db.state", counted, 4, error),
            path => self.arm_at(path, counted, at_most, error),
        }
    }

    fn arm_at(&mut self, path: &str, counted: Counted, at_most: u64, error: Error) {
        let after = self.random.below(at_most);
        let failure = Failure { counted, path: path.into(), after, error };
        self.trace.line(format_args!("fault {failure:?}"));
        self.machine.disk.arm(failure);
    }

    fn power(&mut self) -> End {
        End::Power(if self.random.chance(1, 2) { PowerFailure::DropAll } else { PowerFailure::Random })
    }

    fn take_down(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, end: End) {
        self.trace.line(format_args!("fault {} goes down: {end:?}", self.machine.name()));
        self.went_down = Some(now);
        // First, so that no destructor can write.
        self.machine.disk.cut();
        sim.crash(self.machine.name());
        self.count_fired();
        match end {
            End::Kill => self.machine.disk.kill(),
            End::Power(mode) => self.machine.disk.power_fail(mode),
        }
        self.state = State::Down(now + Duration::from_millis(self.random.between(20, 1_500)));
    }

    fn heal(&mut self) {
        self.count_fired();
        self.machine.disk.disarm();
        self.machine.disk.set_capacity(None);
        self.machine.disk.set_slowness(Duration::ZERO);
    }

    /// An armed failure that is not there any more was felt.
    fn count_fired(&mut self) {
        if let State::Disturbed(fault, _) = self.state
            && matches!(fault, Fault::ChangeError | Fault::ReadError | Fault::ChangeNoSpace | Fault::FailedSync)
            && !self.machine.disk.is_armed()
        {
            self.felt += 1;
        }
    }

    fn calm(&mut self, now: Duration) {
        self.state = State::Calm(now + Duration::from_millis(self.random.between(self.gap_ms.0, self.gap_ms.1)));
    }
}
