//! Who leads, as far as this node can honestly say.
//!
//! openraft never makes a leader step down, and a follower believes in its leader for ever. So a leader counts only
//! while a quorum has answered it within the lease, and a follower's leader only while it is heard (design §8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::{Instant, ServerState};

use super::Store;
use crate::raft::types::{NodeId, TypeConfig};

/// Of a node in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// With a quorum behind it.
    Leader,
    /// Also a node that may not vote.
    Follower,
    /// Also a leader that has lost its quorum.
    Candidate,
    Shutdown,
}

impl Role {
    /// As the reference's /status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "Leader",
            Self::Follower => "Follower",
            Self::Candidate => "Candidate",
            Self::Shutdown => "Shutdown",
        }
    }
}

/// What this node does in the term that it leads. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Office(Arc<State>);

#[derive(Default)]
struct State {
    /// The last term at whose beginning everything acknowledged before was applied here.
    taken: AtomicU64,
    /// It is being handed over: the lease proves nothing then.
    is_offered: AtomicBool,
}

impl Office {
    /// Everything acknowledged before `term` is applied here.
    pub fn take(&self, term: u64) {
        self.0.taken.store(term, Ordering::Release);
    }

    /// From now on others may be elected while this node's lease lasts, until the answer is dropped.
    pub fn offer(&self) -> Offered {
        self.0.is_offered.store(true, Ordering::Release);
        Offered(self.clone())
    }

    fn is_taken(&self, term: u64) -> bool {
        self.0.taken.load(Ordering::Acquire) == term
    }

    fn is_offered(&self) -> bool {
        self.0.is_offered.load(Ordering::Acquire)
    }
}

/// See [`Office::offer`].
pub struct Offered(Office);

impl Drop for Offered {
    fn drop(&mut self) {
        self.0.0.is_offered.store(false, Ordering::Release);
    }
}

impl Store {
    /// What this node is now.
    pub fn role(&self) -> Role {
        let metrics = self.raft_metrics.borrow_watched();
        match metrics.state {
            ServerState::Leader if self.has_quorum(&metrics) => Role::Leader,
            ServerState::Leader | ServerState::Candidate => Role::Candidate,
            ServerState::Follower | ServerState::Learner => Role::Follower,
            ServerState::Shutdown => Role::Shutdown,
        }
    }

    /// Whether this node leads, with a quorum behind it.
    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Whether this node's own state holds everything acknowledged before, as long as its lease lasts: it leads, and has
    /// applied what the leaders before it have acknowledged.
    pub fn is_in_office(&self) -> bool {
        let term = self.raft_metrics.borrow_watched().current_term;
        self.is_leader() && self.office.is_taken(term) && !self.office.is_offered()
    }

    /// See [`Store::leader`].
    pub(super) fn leader_id(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<NodeId> {
        let leader = metrics.current_leader.as_ref()?;
        let is_there = match leader.as_str() == self.options.node_id {
            true => metrics.state == ServerState::Leader && self.has_quorum(metrics),
            // As long as the leader's lease at most, and the time that a follower waits before it campaigns.
            false => self.contact.age().is_some_and(|age| age < self.options.leader_lease * 2),
        };
        is_there.then(|| leader.clone())
    }

    /// Where the node `id` serves its API, as it last said itself; else as it joined.
    pub fn api_url(&self, id: &str) -> Option<String> {
        if let Some(hello) = self.peers.get(id) {
            let scheme = if hello.https { "https" } else { "http" };
            return Some(format!("{scheme}://{}", hello.http_addr));
        }
        let member = self.members().into_iter().find(|member| member.id == id)?;
        Some(format!("http://{}", member.node.http_addr))
    }

    /// How long ago this node last heard of its leader; `None`: never.
    pub fn last_contact(&self) -> Option<Duration> {
        self.contact.age()
    }

    /// Whether this node is a voter of the cluster it is in.
    pub fn is_voter(&self) -> bool {
        let metrics = self.raft_metrics.borrow_watched();
        voters(&metrics).any(|voter| voter.as_str() == self.options.node_id)
    }

    fn has_quorum(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let is_alone = voters(metrics).all(|voter| voter.as_str() == self.options.node_id);
        let acked = metrics.last_quorum_acked.as_ref();
        is_alone || acked.is_some_and(|acked| acked.elapsed() < self.options.leader_lease)
    }
}

/// Not openraft's own, which copies them: each request asks.
fn voters(metrics: &RaftMetrics<TypeConfig>) -> impl Iterator<Item = &NodeId> {
    metrics.membership_config.membership().get_joint_config().iter().flatten()
}
