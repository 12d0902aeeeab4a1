//! A distributed SQLite: rqlite's HTTP API on Raft, built to be simulated. See ARCHITECTURE.md.

pub mod config;

pub mod http;

pub mod raft;

pub mod db;

pub mod command;

pub mod world;

pub mod go;
pub mod version;
