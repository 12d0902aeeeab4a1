//! Black-box tests: the real binaries, real processes, real disk and network. What can be simulated is tested in `sim`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod content;
mod node;

mod backups;
mod boot;
mod bounds;
mod chinook;
mod cluster;
mod cluster_backups;
mod command_line;
mod data_directory;
mod diagnostics;
mod dump_cases;
mod forwarding;
mod http_cases;
mod kill;
mod load_text;
mod loads;
mod membership;
mod queue;
mod recovery;
mod repeated_reads;
