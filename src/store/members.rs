//! Who belongs to the cluster, as this node knows it.

use openraft::async_runtime::WatchReceiver;

use super::Store;
use crate::raft::types::{Node, NodeId};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub node: Node,
    pub is_voter: bool,
    /// This node believes so.
    pub is_leader: bool,
}

impl Store {
    /// All members, by id.
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let member = |(id, node): (&NodeId, &Node)| Member {
            id: id.as_str().into(),
            node: node.clone(),
            is_voter: voters.contains(id),
            is_leader: metrics.current_leader.as_ref() == Some(id),
        };
        membership.nodes().map(member).collect()
    }

    /// Who leads, if that is known.
    pub fn leader(&self) -> Option<Member> {
        self.members().into_iter().find(|member| member.is_leader)
    }

    /// Entries that go to a follower at once.
    pub fn append_entries_max(&self) -> u64 {
        self.raft.config().max_payload_entries
    }

    /// This node's name.
    pub fn id(&self) -> &str {
        &self.options.node_id
    }
}
