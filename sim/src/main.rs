//! Runs one seed: `sim --seed N [--trace FILE] [--no-entropy]`. `cargo xtask sim` runs many.
//!
//! `--scenario NAME` plays one of [`sim::scenario`]'s instead of what the seed would do.
//!
//! With `--fail-at K --error io|space|power` a short run in which the disk's K-th change fails, and nothing else.
//!
//! Exit code 1: the seed failed, and the last line says why. `--no-entropy` leaves randomness to the system: two runs
//! must then differ.

use std::path::PathBuf;
use std::process::ExitCode;

use sim::reached;
use sim::run::{self, Manner, Report};
use sim::scenario;
use sim::swarm::Options;
use sim::world::disk::Error;

fn main() -> ExitCode {
    let mut seed = None;
    let mut trace: Option<PathBuf> = None;
    let mut is_seeded = true;
    let mut fail_at = None;
    let mut error = Error::Io;
    let mut scenario = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = arguments.next().and_then(|seed| seed.parse().ok()),
            "--trace" => trace = arguments.next().map(PathBuf::from),
            "--no-entropy" => is_seeded = false,
            "--scenario" => scenario = arguments.next(),
            "--fail-at" => fail_at = arguments.next().and_then(|nth| nth.parse().ok()),
            "--error" => {
                error = match arguments.next().as_deref() {
                    Some("space") => Error::NoSpace,
                    Some("power") => Error::PowerCut,
                    _ => Error::Io,
                }
            }
            _ => seed = None,
        }
    }
    let Some(seed) = seed else {
        eprintln!(
            "usage: sim --seed N [--trace FILE] [--no-entropy] [--scenario NAME] [--fail-at K --error io|space|power]"
        );
        return ExitCode::from(2);
    };
    let options = match (fail_at, scenario) {
        (Some(nth), _) => Options::failing_at(seed, nth, error),
        (None, Some(name)) => match scenario::find(&name) {
            Some(scenario) => Options::directed(seed, scenario),
            None => {
                eprintln!("there is no scenario {name}");
                return ExitCode::from(2);
            }
        },
        (None, None) => Options::draw(seed),
    };
    println!("{options:#?}");
    match run::run(&options, &Manner { trace: trace.as_deref(), is_seeded }) {
        Ok(report) => print(seed, &report),
        Err(error) => {
            println!("seed {seed} FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The last two lines are for `xtask`: the digest, and the verdict.
fn print(seed: u64, report: &Report) -> ExitCode {
    let (digest, reached) = (report.digest, &report.reached);
    for what in reached::ALL {
        println!("reached {} {what}", reached.count(what));
    }
    println!("changes {}", report.changes);
    println!("trace {:016x} {} lines", digest.hash, digest.lines);
    let seconds = report.simulated.as_secs();
    let summary = format!(
        "{seconds} s, {} writes, {} reads, {} backups, {} loads, {} faults, {} stops",
        reached.count("writes"),
        reached.count("reads"),
        reached.count("backups"),
        reached.count("loads"),
        report.faults,
        reached.count("stops")
    );
    match &report.failure {
        None => {
            println!("seed {seed} ok: {summary}");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            // One line: SQLite's texts have several.
            let failure = failure.replace('\n', " ");
            println!("seed {seed} FAILED: {failure} ({summary})");
            ExitCode::FAILURE
        }
    }
}
