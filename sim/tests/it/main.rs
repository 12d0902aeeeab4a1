//! One test binary. A simulation runs only in child processes: two of them never share a process.
// The tests themselves are outside the simulated world.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod behind_a_fault;
mod checkpoint;
mod determinism;
mod disk;
mod every_operation;
mod h15_gate;
mod install;
mod load_swap;
mod node_state;
mod raft_log;
mod served;
mod vfs;
