//! Black-box tests: the real binaries, real processes, real disk and network. What can be simulated is tested in `sim`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod node;

mod boot;
mod cluster;
mod command_line;
mod data_directory;
mod http_cases;
mod kill;
mod load_text;
