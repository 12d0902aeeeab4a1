//! openraft's types to and from their protobuf forms (`raft.proto`): for the log, the vote and db.state.
//!
//! A `LogId` is a term and an index: in Raft a term has one leader, and openraft's standard `LeaderId` keeps no more.
//! `LogId.leader` in the protobuf stays empty.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{CommittedLeaderId, LogId, Membership, Node, NodeId, StoredMembership, Vote, proto};

/// A stored message that parses but means nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("protobuf: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("membership: {0}")]
    Membership(String),
    #[error("it has no {0}")]
    Missing(&'static str),
}

/// The log id of `index`, proposed in `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}

impl From<&LogId> for proto::LogId {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, leader: String::new(), index: id.index }
    }
}

impl From<&proto::LogId> for LogId {
    fn from(id: &proto::LogId) -> Self {
        log_id(id.term, id.index)
    }
}

impl From<&Vote> for proto::Vote {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for.as_str().to_owned(),
            committed: vote.committed,
        }
    }
}

impl From<&proto::Vote> for Vote {
    fn from(vote: &proto::Vote) -> Self {
        let node = NodeId::from(vote.node.as_str());
        if vote.committed { Vote::new_committed(vote.term, node) } else { Vote::new(vote.term, node) }
    }
}

impl From<&Membership> for proto::Membership {
    fn from(membership: &Membership) -> Self {
        let set = |ids: &BTreeSet<NodeId>| proto::VoterSet { ids: ids.iter().map(NodeId::to_string).collect() };
        let node = |(id, node): (&NodeId, &Node)| proto::Node {
            id: id.to_string(),
            raft_addr: node.raft_addr.clone(),
            http_addr: node.http_addr.clone(),
            wants_vote: node.wants_vote,
        };
        Self {
            configs: membership.get_joint_config().iter().map(set).collect(),
            nodes: membership.nodes().map(node).collect(),
        }
    }
}

impl TryFrom<proto::Membership> for Membership {
    type Error = Error;

    fn try_from(membership: proto::Membership) -> Result<Self, Error> {
        let set = |set: proto::VoterSet| set.ids.iter().map(|id| NodeId::from(id.as_str())).collect();
        let configs: Vec<BTreeSet<NodeId>> = membership.configs.into_iter().map(set).collect();
        let node = |node: proto::Node| {
            let proto::Node { id, raft_addr, http_addr, wants_vote } = node;
            (NodeId::from(id.as_str()), Node { raft_addr, http_addr, wants_vote })
        };
        let nodes: BTreeMap<NodeId, Node> = membership.nodes.into_iter().map(node).collect();
        Membership::new(configs, nodes).map_err(|error| Error::Membership(error.to_string()))
    }
}

impl From<&StoredMembership> for proto::StoredMembership {
    fn from(stored: &StoredMembership) -> Self {
        Self { log_id: stored.log_id().as_ref().map(Into::into), membership: Some(stored.membership().into()) }
    }
}

impl TryFrom<proto::StoredMembership> for StoredMembership {
    type Error = Error;

    fn try_from(stored: proto::StoredMembership) -> Result<Self, Error> {
        let membership = stored.membership.unwrap_or_default().try_into()?;
        Ok(StoredMembership::new(stored.log_id.as_ref().map(Into::into), membership))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_membership_that_was_never_set_survives() {
        let stored = StoredMembership::default();
        assert_eq!(StoredMembership::try_from(proto::StoredMembership::from(&stored)).unwrap(), stored);
    }

    #[test]
    fn a_voter_without_an_address_is_refused() {
        let set = proto::VoterSet { ids: vec!["a".into()] };
        let membership = proto::Membership { configs: vec![set], nodes: Vec::new() };
        assert!(Membership::try_from(membership).is_err());
    }

    fn names() -> impl Strategy<Value = BTreeSet<NodeId>> {
        prop::collection::btree_set("[a-d]{0,2}".prop_map(|name| NodeId::from(name.as_str())), 1..4)
    }

    proptest! {
        #[test]
        fn memberships_survive(configs in prop::collection::vec(names(), 1..3), learners in names(), index in any::<u64>()) {
            let ids = configs.iter().chain([&learners]).flatten().cloned();
            let nodes: BTreeMap<_, _> =
                ids.map(|id| (id.clone(), Node { raft_addr: format!("{id}:1"), http_addr: format!("{id}:2"), wants_vote: index % 2 == 0 })).collect();
            let stored = StoredMembership::new(Some(log_id(3, index)), Membership::new(configs, nodes).unwrap());
            prop_assert_eq!(StoredMembership::try_from(proto::StoredMembership::from(&stored)).unwrap(), stored);
        }

        #[test]
        fn votes_survive(term in any::<u64>(), node in ".{0,9}", committed in any::<bool>()) {
            let mut vote = Vote::new(term, NodeId::from(node.as_str()));
            vote.committed = committed;
            prop_assert_eq!(Vote::from(&proto::Vote::from(&vote)), vote);
        }
    }
}
