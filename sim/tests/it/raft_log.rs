//! The Raft log on a disk that fails: at every operation, in every way.
//!
//! A script of appends, votes, truncations, purges and saved commit indexes runs against the log and a plain model.
//! The log is a queue, so whatever happens, what is found afterwards must be the model as it was after some step that
//! is not older than the last acknowledged one.

mod model;
mod script;

use proptest::prelude::*;
use proptest::test_runner::Config;
use sim::world::disk::{Counted, Error, Failure, PowerFailure, SimDisk};

use model::Model;
use script::{Run, Step, steps};

/// What happens to the node at the armed operation.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The power goes before it.
    Power(PowerFailure),
    /// It fails; the process ends, the machine lives on, and loses its power later.
    Fails(Counted, Error, PowerFailure),
}

/// Runs the script with the `nth` operation failing, and checks what a restart finds. False if there was no such
/// operation.
fn survives(script: &[Step], seed: u64, nth: u64, fate: Fate) -> bool {
    let segment_bytes = segment_bytes(seed);
    let disk = SimDisk::new(seed);
    let (counted, error) = match fate {
        Fate::Power(_) => (Counted::Changes, Error::PowerCut),
        Fate::Fails(counted, error, _) => (counted, error),
    };
    disk.arm(Failure { counted, path: "/raft".into(), after: nth, error });
    let mut model = Model::default();
    let mut run = Run::new(&disk, segment_bytes);
    run.play(script, &mut model);
    run.drain(&mut model);
    if disk.disarm() > 0 {
        return false;
    }
    assert!(run.fatal().is_some(), "an operation failed and nobody was told");
    run.end();
    match fate {
        Fate::Power(mode) => disk.power_fail(mode),
        Fate::Fails(..) => disk.kill(),
    }

    let mut run = Run::new(&disk, segment_bytes);
    run.found_in(&mut model);
    if let Fate::Fails(.., mode) = fate {
        // What a restarted node found counts as acknowledged: it votes and answers by it.
        run.end();
        disk.power_fail(mode);
        run = Run::new(&disk, segment_bytes);
        run.found_in(&mut model);
    }
    // And life goes on.
    run.play(script, &mut model);
    assert_eq!(run.fatal(), None);
    run.settle(&mut model);
    run.end();
    disk.power_fail(PowerFailure::DropAll);
    Run::new(&disk, segment_bytes).found_in(&mut model);
    true
}

/// A few entries, or several pages: what is written back comes in pages.
fn segment_bytes(seed: u64) -> u64 {
    if seed >> 63 == 0 { 600 } else { 12_000 }
}

fn at_every_operation(script: &[Step], seed: u64, fate: Fate) {
    let mut nth = 0;
    while survives(script, seed ^ nth, nth, fate) {
        nth += 1;
    }
    assert!(nth > 0, "the script never came to an operation that failed");
}

fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// The sync after the zeroing fails: the system's memory then shows zeros, and the disk holds the old records.
#[test]
fn a_cut_whose_zeroing_failed_stays_one() {
    let batch = || [Step::Append { count: 5, bytes: 700, new_term: false }, Step::Lane];
    let script = [batch(), batch(), batch()].concat().into_iter().chain([Step::Truncate { count: 8 }]);
    let script: Vec<Step> = script.collect();
    for seed in 0..30 {
        at_every_operation(
            &script,
            1 << 63 | seed << 32,
            Fate::Fails(Counted::Syncs, Error::Io, PowerFailure::DropAll),
        );
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn s52_a_power_failure_at_any_operation_loses_nothing_acknowledged(script in steps(), seed: u64) {
        at_every_operation(&script, seed, Fate::Power(PowerFailure::DropAll));
        at_every_operation(&script, seed, Fate::Power(PowerFailure::Random));
        at_every_operation(&script, seed.wrapping_add(1 << 40), Fate::Power(PowerFailure::Random));
    }

    #[test]
    fn a_failed_operation_stops_the_log_and_loses_nothing_acknowledged(script in steps(), seed: u64) {
        at_every_operation(&script, seed, Fate::Fails(Counted::Changes, Error::Io, PowerFailure::Random));
        at_every_operation(&script, seed, Fate::Fails(Counted::Writes, Error::NoSpace, PowerFailure::DropAll));
        at_every_operation(&script, seed, Fate::Fails(Counted::Syncs, Error::Io, PowerFailure::DropAll));
    }

    #[test]
    fn a_log_without_failures_is_the_model(script in steps(), seed: u64) {
        let disk = SimDisk::new(seed);
        let segment_bytes = segment_bytes(seed);
        let mut model = Model::default();
        let mut run = Run::new(&disk, segment_bytes);
        for _ in 0..3 {
            run.play(&script, &mut model);
            run.settle(&mut model);
            run.end();
            disk.kill();
            run = Run::new(&disk, segment_bytes);
            run.found_in(&mut model);
        }
    }
}
