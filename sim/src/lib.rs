//! The deterministic simulation: production nodes on a simulated network, clock, disk and entropy, all from one seed.
//!
//! ```text
//!  seed ─► swarm (options) ─► run ─┬─► machine: node (production) ─► world (simulated)
//!                                  ├─► workload: clients ──► history ─► invariants
//!                                  └─► fault: nemesis             trace (one line an event)
//! ```
//!
//! `cargo xtask sim --seed N` replays a seed, `--twice` shows that it replays. See [`world`] for what is simulated and
//! how it fails, [`fault`] and [`network`] for what the nemesis does, [`scenario`] for what is played instead of drawn,
//! [`invariants`] for what must hold. One seed a process.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable` (see .cargo/config.toml; a RUSTFLAGS variable replaces it): \
     without it tokio's own choices have no seed and nothing replays"
);

pub mod run;

pub mod swarm;

pub mod workload;

pub mod fault;
pub mod network;
pub mod operator;
pub mod scenario;

pub mod machine;

pub mod history;
pub mod invariants;

pub mod client;
pub mod content;
pub mod forms;
pub mod images;
pub mod schema;
pub mod scratch;

pub mod libc;
pub mod random;
pub mod reached;
pub mod trace;
pub mod world;
