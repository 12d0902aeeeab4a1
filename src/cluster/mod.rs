//! Node to node beside Raft: members come and go, and what only the leader can do is asked of it.
//!
//! ```text
//!  form ─► join, or bootstrap ─► client ═► service ─► store::members ─► Raft
//! ```

pub mod client;
pub mod discovery;
pub mod form;
pub mod forward;
pub mod leave;
pub mod service;

mod bootstrap;
mod join;

/// The generated messages.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/rqlite.cluster.rs"));
}

pub use bootstrap::Waiting;
pub use client::Client;
