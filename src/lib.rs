//! A distributed SQLite: rqlite's HTTP API on Raft, built to be simulated. See ARCHITECTURE.md.

pub mod node;

pub mod data_dir;

pub mod config;

pub mod http;

pub mod queue;

pub mod cluster;

pub mod store;

pub mod raft;

pub mod db;

pub mod peer;

pub mod command;

pub mod metrics;

pub mod world;

pub mod shell;

pub mod go;
pub mod version;
