//! Checkpoints under power failures (hazards H1, H2): at every operation of the disk, with readers open or not.
//!
//! What a restart finds is exactly the model at its index, never below the last clean index, never beyond the last
//! applied one. The naive protocols that this fails are in storage-findings §3 and `sim/mutants/`.

pub mod workload;

use std::path::Path;

use rqlite::db::connection::Connection;
use rqlite::db::database::Fault;
use rqlite::raft::machine::Checkpoint;
use rqlite::world::{Disk, Open};
use sim::random::Random;
use sim::world::disk::{Counted, Error, Failure, PowerFailure};

use crate::node_state::{DATA, Fate, Host, Known, Model, Node, Script, at_every_operation, survives};
use workload::entries;

/// A form of the checkpoint, with or without readers beside it.
#[derive(Clone, Copy, Debug)]
struct Checkpoints {
    form: Form,
    readers: usize,
    every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Frames,
    /// With entries applied between its beginning and its end.
    Background,
}

impl Script for Checkpoints {
    fn play(
        &self,
        _: &Host,
        node: &mut Node,
        model: &Model,
        known: &mut Known,
        random: &mut Random,
    ) -> Result<(), Fault> {
        // With the index at which they are closed.
        let mut readers: Vec<(u64, Connection)> = Vec::new();
        while node.index() < model.last() {
            node.apply(model, known)?;
            let index = node.index();
            readers.retain(|(until, _)| *until > index);
            if readers.len() < self.readers && random.chance(1, 3) && node_is_up(node) {
                let reader = node.reader();
                // Where it fails, there is no reader.
                let _ = reader.look(|raw| raw.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema"));
                readers.push((index + 1 + random.below(2 * self.every), reader));
            }
            if index.is_multiple_of(self.every) {
                if self.form == Form::Background {
                    background(node, model, known, random)?;
                }
                if self.form == Form::Frames {
                    let outcome = node.machine.checkpoint()?;
                    note(outcome, node.index(), known);
                    assert!(outcome != Checkpoint::Busy || !readers.is_empty(), "nobody is in the way");
                }
            }
        }
        Ok(())
    }
}

/// Readers are opened without a look at failures.
fn node_is_up(node: &Node) -> bool {
    node.world.disk.free_space(Path::new("/")).is_ok()
}

fn background(node: &mut Node, model: &Model, known: &mut Known, random: &mut Random) -> Result<(), Fault> {
    let Some(background) = node.machine.begin_background()? else {
        return Ok(());
    };
    let mut some_entries = |node: &mut Node| {
        for _ in 0..random.below(4).min(model.last() - node.index()) {
            node.apply(model, known)?;
        }
        Ok(())
    };
    some_entries(node)?;
    background.copy()?;
    some_entries(node)?;
    let outcome = node.machine.end_background(background)?;
    note(outcome, node.index(), known);
    Ok(())
}

fn note(outcome: Checkpoint, index: u64, known: &mut Known) {
    match outcome {
        Checkpoint::Clean(clean) => {
            assert_eq!(clean, Some(index), "clean at another index");
            known.durable = index;
        }
        Checkpoint::Busy => {}
        other => panic!("{other:?}: there is no load and no lease"),
    }
}

fn every_power_failure(form: Form, readers: usize, seed: u64) {
    let model = Model::new(entries(seed, 20));
    let script = Checkpoints { form, readers, every: 5 };
    at_every_operation(&model, &script, seed, Fate::Power(PowerFailure::Random));
    at_every_operation(&model, &script, seed, Fate::Power(PowerFailure::DropAll));
}

#[test]
fn s03_a_power_failure_at_any_operation_leaves_the_state_at_one_index() {
    every_power_failure(Form::Frames, 0, 1);
}

#[test]
fn readers_of_older_states_dont_harm_a_checkpoint() {
    every_power_failure(Form::Frames, 3, 2);
}

#[test]
fn entries_beside_a_background_checkpoint_are_not_in_it() {
    every_power_failure(Form::Background, 2, 3);
}

#[test]
fn a_killed_process_that_comes_back_has_a_durable_state() {
    let model = Model::new(entries(4, 16));
    let script = Checkpoints { form: Form::Frames, readers: 2, every: 5 };
    at_every_operation(&model, &script, 4, Fate::Killed(PowerFailure::DropAll));
    at_every_operation(&model, &script, 4, Fate::Killed(PowerFailure::Random));
}

#[test]
fn a_failed_operation_stops_the_node_and_loses_nothing() {
    let model = Model::new(entries(5, 20));
    let script = Checkpoints { form: Form::Frames, readers: 2, every: 6 };
    at_every_operation(&model, &script, 5, Fate::Fails(Counted::Changes, Error::Io, PowerFailure::DropAll));
    at_every_operation(&model, &script, 5, Fate::Fails(Counted::Changes, Error::NoSpace, PowerFailure::Random));
}

/// A node that lost its power in `checkpointing`, with all of the WAL on the disk.
fn in_checkpointing(seed: u64) -> (Model, Host, u64) {
    let model = Model::new(entries(seed, 12));
    for nth in 0.. {
        let host = Host::new(seed);
        let mut node = host.start().expect("the disk doesn't fail");
        while node.index() < model.last() {
            node.apply(&model, &mut Known::default()).expect("the disk doesn't fail");
        }
        // The first write to the main file.
        let failure = Failure { counted: Counted::Changes, path: ".sqlite".into(), after: nth, error: Error::PowerCut };
        host.disk.arm(failure);
        node.machine.checkpoint().expect_err("the power goes");
        drop(node);
        host.disk.power_fail(PowerFailure::DropAll);
        let state = rqlite::db::state::read(&host.disk, &Path::new(DATA).join("db.state")).expect("it can be read");
        if let Some(checkpointing) = state.and_then(|state| state.checkpointing) {
            return (model, host, checkpointing.frames);
        }
    }
    unreachable!("a checkpoint writes the main file");
}

/// Hazard H2: SQLite itself stops silently at the first bad frame.
#[test]
fn a_damaged_wal_in_checkpointing_is_refused() {
    let wal = Path::new(DATA).join("db/1.sqlite-wal");
    for seed in 0..60 {
        let (model, host, frames) = in_checkpointing(seed);
        let length = host.disk.content(&wal).expect("the WAL is there").len() as u64;
        assert_eq!(length, 32 + frames * (24 + 4096), "nothing is behind the last frame");
        let mut random = Random::new(seed).fork("damage");
        if seed % 4 == 0 {
            let file = host.disk.open(&wal, Open::Write).expect("it is there");
            file.set_len(random.between(1, length)).expect("the disk doesn't fail");
        } else {
            // Byte 4 to 7 of a frame's header are its page count, and the rest is a checksum's, a salt's or a page's:
            // all of them count.
            assert!(host.disk.flip_bit(&wal, random.below(length * 8)));
        }
        let why = host.start().map(drop).expect_err("damage was accepted");
        assert!(why.contains("1.sqlite-wal: damaged: "), "{why}");
        drop(model);
    }
}

/// Without damage it is completed: the test above shows something.
#[test]
fn an_undamaged_wal_in_checkpointing_is_completed() {
    for seed in 0..20 {
        let (model, host, _) = in_checkpointing(seed);
        let node = host.start().expect("the WAL is complete");
        assert_eq!(node.index(), model.last());
        model.check(&host, &node);
    }
}

#[test]
fn a_wal_is_not_trusted_when_the_state_is_clean() {
    for seed in 0..20 {
        let model = Model::new(entries(seed, 12));
        let host = Host::new(seed);
        let mut node = host.start().expect("the disk doesn't fail");
        while node.index() < model.last() {
            node.apply(&model, &mut Known::default()).expect("the disk doesn't fail");
            if node.index() == 6 {
                assert_eq!(node.machine.checkpoint(), Ok(Checkpoint::Clean(Some(6))));
            }
        }
        drop(node);
        // All of the WAL is there and valid: SQLite would take it.
        host.disk.kill();
        let node = host.start().expect("the disk doesn't fail");
        assert_eq!(node.index(), 6);
        model.check(&host, &node);
    }
}

/// faults.md S57: a disk that is full ends the process, and nothing is missing when there is room again, also if the node
/// was started in between.
#[test]
fn s57_a_full_disk_leaves_a_node_that_starts_again() {
    let mut stopped = 0;
    for left in (0..300_000).step_by(7_001) {
        let model = Model::new(entries(left % 4, 30));
        let host = Host::new(left);
        let mut node = host.start().expect("the disk doesn't fail");
        host.disk.set_capacity(Some(host.disk.used() + left));
        let mut known = Known::default();
        while node.index() < model.last() && node.apply(&model, &mut known).is_ok() {
            if node.index().is_multiple_of(5) && node.machine.checkpoint().is_ok() {
                known.durable = node.index();
            }
        }
        stopped += u64::from(node.index() < model.last());
        drop(node);
        host.disk.kill();
        if let Err(why) = host.start().map(drop) {
            assert!(!why.contains("damaged") && !why.contains("another program"), "{why}");
        }
        host.disk.kill();

        host.disk.set_capacity(None);
        let mut node = host.start().expect("there is room again");
        assert!(node.index() >= known.durable && node.index() <= known.applied + 1, "{} {known:?}", node.index());
        model.check(&host, &node);
        while node.index() < model.last() {
            node.apply(&model, &mut known).expect("there is room again");
        }
        model.check(&host, &node);
    }
    assert!((10..40).contains(&stopped), "{stopped} nodes met the full disk");
}

/// `CRASH_SEEDS=100..200 cargo test -p sim --test it -- --ignored more_seeds --nocapture`
#[test]
#[ignore = "takes minutes: run it by hand after a change of the protocol"]
fn more_seeds() {
    let seeds = std::env::var("CRASH_SEEDS").unwrap_or_else(|_| "100..600".into());
    let (start, end) = seeds.split_once("..").expect("CRASH_SEEDS=A..B");
    for seed in start.parse().expect("a number")..end.parse::<u64>().expect("a number") {
        let mut random = Random::new(seed);
        let model = Model::new(entries(seed, 20 + random.below(60)));
        let form = if random.chance(1, 2) { Form::Frames } else { Form::Background };
        let script = Checkpoints { form, readers: random.below(4) as usize, every: 3 + random.below(12) };
        for _ in 0..8 {
            let mode = if random.chance(1, 2) { PowerFailure::DropAll } else { PowerFailure::Random };
            let fate = match random.below(4) {
                0 => Fate::Killed(mode),
                1 => Fate::Fails(Counted::Changes, Error::Io, mode),
                _ => Fate::Power(mode),
            };
            survives(&model, &script, seed, random.below(model.last() * 25), fate);
        }
    }
}
