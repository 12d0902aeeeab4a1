//! SQLite on one node. Knows nothing of Raft or HTTP.

pub mod authorizer;
pub mod backup;
pub mod budget;
mod cache;
pub mod check;
pub mod checkpoint;
pub mod connection;
pub mod database;
pub mod determinism;
pub mod dump;
pub mod engine;
pub mod entry;
pub mod execute;
pub mod fault;
pub mod lease;
pub mod load_text;
pub mod main_file;
pub mod query;
pub mod readers;
pub mod split;
pub mod spool;
pub mod state;
pub mod statement;
pub mod temporary;
pub mod value;
pub mod vfs;
pub mod wal;

pub use statement::SqlError;
