//! SQLite on one node. Knows nothing of Raft or HTTP.

pub mod authorizer;
pub mod budget;
pub mod connection;
pub mod determinism;
pub mod engine;
pub mod entry;
pub mod execute;
pub mod fault;
pub mod query;
pub mod statement;
pub mod value;
pub mod vfs;

pub use statement::SqlError;
