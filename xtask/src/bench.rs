//! Speed as ratios: what the product does beside what the machine can do, measured in turn in the same run.
//!
//! `cargo xtask bench [--size 256m] [--rounds 5] [NAME...]`. Each line is the median over the rounds of our time divided by the
//! reference's of the same round, with the smallest and the largest ratio, and the bound. Machines are noisy, so the
//! bounds are printed and not enforced; times are there to see the order of things.

mod backup;
mod node;
mod table;

use std::path::Path;

use anyhow::{Context, ensure};

/// Name, what it measures, and the code.
type Bench = (&'static str, &'static str, fn(&Options) -> anyhow::Result<()>);

const BENCHES: &[Bench] =
    &[("backup", "backups, loads and dumps beside cp, sync and the sqlite3 shell; their memory", backup::run)];

/// What the command line asks for.
pub struct Options {
    /// Bytes of the database.
    pub size: u64,
    pub rounds: usize,
    /// Where files may lie; emptied before and after.
    pub directory: std::path::PathBuf,
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let mut options = Options { size: 256 << 20, rounds: 5, directory: root.join("target/bench") };
    let mut names = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--size" => options.size = size(rest.next().context("--size BYTES")?)?,
            "--rounds" => options.rounds = rest.next().context("--rounds N")?.parse()?,
            name => names.push(name),
        }
    }
    ensure!(options.rounds > 0, "--rounds 0 measures nothing");
    for name in &names {
        ensure!(BENCHES.iter().any(|(known, _, _)| known == name), "no such bench: {name}");
    }
    crate::step::cargo(&["build", "--release", "--bins", "--package", "rqlite"])?;
    for (name, what, bench) in BENCHES {
        if names.is_empty() || names.contains(name) {
            println!("{name}: {what}");
            bench(&options).with_context(|| format!("bench {name}"))?;
        }
    }
    Ok(())
}

/// `256m`, `1g`, or bytes.
fn size(text: &str) -> anyhow::Result<u64> {
    let (number, shift) = match text.to_ascii_lowercase() {
        text if text.ends_with('m') => (text[..text.len() - 1].to_owned(), 20),
        text if text.ends_with('g') => (text[..text.len() - 1].to_owned(), 30),
        text => (text, 0),
    };
    Ok(number.parse::<u64>().with_context(|| format!("--size {text}"))? << shift)
}
