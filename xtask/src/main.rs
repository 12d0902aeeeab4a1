//! `cargo xtask VERB`: what developers and CI do with the workspace.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod bench;
mod check;
mod fix;
mod licenses;
mod mutants;
mod sim;
mod step;

use std::process::ExitCode;

/// Name, what it does, and the code, which gets the arguments behind the verb.
type Verb = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<()>);

/// THE table of verbs.
const VERBS: &[Verb] = &[
    ("check", "format, lints, tests, a short simulation sweep; writes nothing", check::run),
    ("licenses", "writes what /licenses shows; run it after a change of dependencies", licenses::run),
    ("fix", "writes formatting and what clippy can mend", fix::run),
    (
        "sim",
        "--seed N | --seeds A..B | --minutes M, [--twice]; --every-operation N: one seed a process, one process a core",
        |arguments| {
            anyhow::ensure!(sim::run(arguments)?, "a seed failed");
            Ok(())
        },
    ),
    ("bench", "[--size 256m|1g] [--rounds 5] [NAME...]: ratios to what the machine can do", bench::run),
    ("mutants", "[--no-seeds] [NAME...]: known bugs that the tests and the simulation must catch; slow", mutants::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, rest)) = arguments.split_first() else { return usage() };
    let Some((_, _, run)) = VERBS.iter().find(|(name, _, _)| name == verb) else { return usage() };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask VERB [ARGUMENTS]\n");
    for (name, what, _) in VERBS {
        eprintln!("  {name:<8} {what}");
    }
    ExitCode::from(2)
}
