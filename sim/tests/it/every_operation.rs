//! The n-th change of the disk fails, for many n, over start, append, apply, checkpoint, purge, backup, load and swap:
//! nothing acknowledged is lost, and a load is there whole or not at all. `cargo xtask sim --every-operation SEED`
//! takes every n.

use std::process::Command;

/// Runs a short simulation whose disk fails at change `nth`; returns how many changes there were.
fn changes(nth: u64, error: &str) -> u64 {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["--seed", "1", "--fail-at", &nth.to_string(), "--error", error])
        .output()
        .expect("the binary is built with this test");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "at {nth}, {error}: {}", told.lines().last().unwrap_or_default());
    let changes = told.lines().find_map(|line| line.strip_prefix("changes ")).expect("it tells");
    changes.parse().expect("a number")
}

#[test]
fn whichever_operation_fails_nothing_is_lost() {
    let all = changes(u64::MAX, "io");
    assert!(all > 500, "{all} changes: the run is too short to hold every step");
    // A prime stride, so that the same step of a repeated sequence isn't met each time.
    for (number, nth) in (0..all).step_by(61).enumerate() {
        changes(nth, ["power", "io", "space"][number % 3]);
    }
}
