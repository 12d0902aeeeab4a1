//! openraft's types, filled in, and their protobuf forms. Nothing outside `raft` names an openraft type.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::type_config::alias;

use crate::command::Command as CommandMessage;
use crate::world::runtime::Runtime;

/// Raft's protobuf messages.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/rqlite.raft.rs"));
}

/// A node's permanent name: any string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// openraft's storage test suite numbers its nodes.
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

impl Default for NodeId {
    fn default() -> Self {
        Self::from("")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a member can be reached, as the membership records it (`host:port`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub raft_addr: String,
    pub http_addr: String,
    /// It is to have a vote, once it has caught up.
    pub wants_vote: bool,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raft_addr)
    }
}

/// An entry's payload: an encoded [`crate::command::Command`]. It is encoded once, by the proposer, and decoded
/// once, where it is applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl From<&CommandMessage> for Payload {
    fn from(command: &CommandMessage) -> Self {
        Self(command.to_bytes())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    /// The one instantiation of openraft, in production and in the simulation.
    pub TypeConfig:
        D = Payload,
        R = crate::raft::machine::Response,
        NodeId = NodeId,
        Node = Node,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
        AsyncRuntime = Runtime,
);

pub type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub type CommittedLeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub type Vote = alias::VoteOf<TypeConfig>;
pub type LogId = alias::LogIdOf<TypeConfig>;
pub type Entry = alias::EntryOf<TypeConfig>;
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
/// What Raft tells of itself, as of now.
pub type Watched = alias::WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>;
pub type Membership = openraft::Membership<NodeId, Node>;
