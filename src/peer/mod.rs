//! Node to node, below any meaning: connections, frames, who is at the other end. *Knows neither Raft nor SQLite.*
//!
//! ```text
//!  client ─ connect ─► [service: 1 byte][Hello] ──────────► server ─► Service::serve
//!         ◄──────────────────────────── [Hello] ◄
//!         ── call ───► [Frame][Frame]…          one request at a time on a connection
//! ```
//!
//! One port for all services. A connection is used by one request at a time and goes back to the pool after a complete
//! answer; one on which anything went wrong, a time-out above all, is closed: a late answer never meets another
//! request. A stream has its connection for itself, so TCP holds it up where its reader is slow, and it never delays a
//! heartbeat. Every wait has an end, every frame a bound.

pub mod client;
pub mod connection;
pub mod identity;
pub mod server;

mod error;

#[cfg(test)]
mod tests;

/// The generated messages.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/rqlite.peer.rs"));
}

pub use client::Client;
pub use connection::Connection;
pub use error::Error;
pub use identity::{Cluster, Identity, Peers};
pub use proto::Hello;

/// What a connection is for: its first byte.
///
/// Source: server.md §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Raft = 1,
    Cluster = 2,
}

impl Purpose {
    /// The purpose that `byte` names.
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Raft, Self::Cluster].into_iter().find(|purpose| *purpose as u8 == byte)
    }
}
