//! The engine (`Machine` over `db`) on the real file system: determinism, results against faults, the checkpoint's
//! rules. Each module is a hazard of the design and fails on the naive way.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod node;

mod execute;
mod h03_main_file;
mod h04_requests;
mod h05_results_and_faults;
mod h08_hidden_randomness;
mod h09_budget;
mod h10_planner;
mod h11_connection_state;
mod h15_long_reads;
mod h16_other_engine;
mod h24_text_loads;
mod same_log;
