//! One test binary. A simulation runs only in child processes: two of them never share a process.

mod determinism;
mod disk;
mod every_operation;
mod raft_log;
mod vfs;
