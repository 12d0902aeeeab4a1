//! What a log entry holds: the generated protobuf messages and their encoding. Knows neither Raft nor SQLite.

mod generated {
    include!(concat!(env!("OUT_DIR"), "/rqlite.command.rs"));
}

use bytes::Bytes;
use prost::Message;

pub use generated::{
    Barrier, Boot, Command, Execute, Limits, LoadAbort, LoadBegin, LoadChunk, LoadCommit, LoadContent, Parameter,
    Settings, Statement,
};
pub use generated::{command::Kind, parameter::Value};

impl Command {
    /// The bytes that the log stores and that travel between nodes.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}
