//! A seed is a run: the same trace, byte for byte, in every process.

use std::path::Path;
use std::process::Command;

/// Runs a seed in a process of its own and returns its trace.
fn trace(seed: u64, directory: &Path, extra: &[&str]) -> Vec<u8> {
    let path = directory.join("trace");
    let seed = seed.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["--seed", &seed, "--trace"])
        .arg(&path)
        .args(extra)
        .output()
        .expect("the binary is built with this test");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", told.lines().last().unwrap_or_default());
    std::fs::read(path).expect("the run wrote its trace")
}

#[test]
fn a_seed_gives_the_same_trace_in_every_process() {
    let directory = tempfile::tempdir().unwrap();
    for seed in [4, 5] {
        let (first, second) = (trace(seed, directory.path(), &[]), trace(seed, directory.path(), &[]));
        let lines = first.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines >= 10_000, "{lines} lines compare little");
        let different = first.split(|byte| *byte == b'\n').zip(second.split(|byte| *byte == b'\n'));
        for (number, (first, second)) in different.enumerate() {
            assert_eq!(String::from_utf8_lossy(first), String::from_utf8_lossy(second), "line {}", number + 1);
        }
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn without_seeded_entropy_the_traces_differ() {
    let directory = tempfile::tempdir().unwrap();
    let unseeded = ["--no-entropy"];
    assert_ne!(trace(4, directory.path(), &unseeded), trace(4, directory.path(), &unseeded));
}

/// A leader that had been removed changed the members once more.
#[test]
fn seed_129_stays_fixed() {
    trace(129, tempfile::tempdir().unwrap().path(), &[]);
}

#[test]
fn seeds_differ() {
    let directory = tempfile::tempdir().unwrap();
    assert_ne!(trace(4, directory.path(), &[]), trace(5, directory.path(), &[]));
}
