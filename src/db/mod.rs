//! SQLite on one node. Knows nothing of Raft or HTTP.

pub mod value;
