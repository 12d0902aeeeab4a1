//! The deterministic simulation: production nodes on a simulated network, clock, disk and entropy, all from one seed.
//!
//! `cargo xtask sim --seed N` runs one seed and `--seed N --twice` proves that it replays. See [`world`] for what is
//! simulated and how it fails.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable` (see .cargo/config.toml; a RUSTFLAGS variable replaces it): \
     without it tokio's own choices have no seed and nothing replays"
);

pub mod libc;
pub mod random;
pub mod trace;
pub mod world;
