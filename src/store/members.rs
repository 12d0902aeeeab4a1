//! Who is in the cluster: joining, leaving, and handing over leadership.
//!
//! Every change is one entry that adds or removes at most one voter, so that no half-made change is ever left. Who joins
//! to vote is first a node without a vote, and gets it once it has caught up: a cluster is not held up by a node that
//! receives its snapshot. That it is to vote is in its membership, so a new leader goes on with it ([`promote`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::EntryPayload;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::raft::Precondition;
use tokio::time::{Instant, sleep, timeout_at};

use super::Store;
use crate::db::engine;
use crate::raft::types::{Membership, Node, NodeId, StoredMembership, TypeConfig};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A joining node that is so many entries behind gets its vote: the rest comes while it votes.
const LAG_MAX: u64 = 64;

/// How long one step of a promotion may take.
const PROMOTION: Duration = Duration::from_secs(10);

/// Why the cluster isn't changed. Texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not leader")]
    NotLeader,
    #[error("found duplicate address in configuration: {0}")]
    DuplicateAddress(String),
    #[error("need at least one voter in configuration: {{[]}}")]
    NoVoter,
    #[error("node not found in cluster")]
    NodeNotFound,
    /// Nobody else could lead.
    #[error("cannot find peer")]
    NoPeer,
    #[error("cannot step down to the current Leader")]
    AlreadyLeader,
    /// It would compute other results from the same log (hazard H16).
    #[error("its SQLite or its options are not the cluster's ({theirs}, not {ours}): use the same version of rqlited")]
    OtherEngine { ours: String, theirs: String },
    #[error("timeout")]
    Timeout,
    #[error("{0}")]
    Stopped(String),
    #[error("{0}")]
    Raft(String),
}

/// A node that wants to be a member.
#[derive(Clone, Debug)]
pub struct Joiner {
    pub id: String,
    pub raft_addr: String,
    pub http_addr: String,
    pub voter: bool,
    /// [`engine::fingerprint`]
    pub engine: String,
    /// It was never part of a cluster, or has lost what it had.
    pub is_empty: bool,
}

/// What became of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was a member, just so.
    Already,
    /// It was a member elsewhere, or with data that it has lost.
    Again,
    New,
}

/// A member, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub node: Node,
    pub is_voter: bool,
    /// As far as this node can honestly say.
    pub is_leader: bool,
}

/// How the members change, found out from those that there are.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    /// All at once: the voters differ by one at most.
    Append(Membership),
    /// Addresses only.
    Readdress(NodeId, Node),
}

impl Store {
    /// The members by their ids.
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.raft_metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let leader = self.leader_id(&metrics);
        let member = |(id, node): (&NodeId, &Node)| Member {
            id: id.to_string(),
            node: node.clone(),
            is_voter: voters.contains(id),
            is_leader: leader.as_ref() == Some(id),
        };
        membership.nodes().map(member).collect()
    }

    /// Who leads; nobody, if this node leads without a quorum, or hasn't heard of its leader for a while.
    pub fn leader(&self) -> Option<Member> {
        let mut leader = self.members().into_iter().find(|member| member.is_leader)?;
        if leader.id == self.options.node_id {
            // The address may have changed since it joined.
            leader.node.raft_addr.clone_from(&self.options.node.raft_addr);
        } else if let Some(hello) = self.peers.get(&leader.id)
            && !hello.raft_addr.is_empty()
        {
            leader.node.raft_addr = hello.raft_addr;
        }
        Some(leader)
    }

    /// Entries that go to a follower at once.
    pub fn append_entries_max(&self) -> u64 {
        self.raft.config().max_payload_entries
    }

    /// This node's name.
    pub fn id(&self) -> &str {
        &self.options.node_id
    }

    /// Waits until nothing is left of what a boot made void: nobody may be sent it (hazard H12).
    async fn wait_for_purge(&self, deadline: Instant) -> Result<(), Error> {
        let void = self.machine.call(|machine| machine.applied().void).await;
        while self.raft_metrics.borrow_watched().purged < void {
            if Instant::now() >= deadline {
                return Err(Error::Timeout);
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Makes `joiner` a member. Returns when it is one, and has its vote if it is to have one.
    ///
    /// Source: server.md §2.2, what the receiver does.
    pub async fn join(&self, joiner: &Joiner, timeout: Duration) -> Result<Joined, Error> {
        let deadline = Instant::now() + timeout;
        let ours = engine::fingerprint();
        if joiner.engine != ours {
            return Err(Error::OtherEngine { ours, theirs: joiner.engine.clone() });
        }
        let id = NodeId::from(joiner.id.as_str());
        let members = self.members();
        if members.iter().any(|member| member.id != joiner.id && member.node.raft_addr == joiner.raft_addr) {
            return Err(Error::DuplicateAddress(joiner.raft_addr.clone()));
        }
        let known = members.iter().find(|member| member.id == joiner.id);
        let joined = match known {
            // Its acknowledgements were counted: it may vote only with what it had, or as somebody new.
            Some(_) if joiner.is_empty && self.promises.has(&id) => {
                self.remove(&joiner.id, timeout).await?;
                Joined::Again
            }
            Some(known) if known.node.raft_addr != joiner.raft_addr => Joined::Again,
            Some(_) => Joined::Already,
            None => Joined::New,
        };
        if joined == Joined::Again {
            tracing::info!("removed node {id} prior to rejoin with changed ID or address");
        }
        let node =
            Node { raft_addr: joiner.raft_addr.clone(), http_addr: joiner.http_addr.clone(), wants_vote: joiner.voter };
        let history = timeout_at(deadline, self.history.lock()).await.map_err(|_| Error::Timeout)?;
        self.wait_for_purge(deadline).await?;
        self.change(deadline, |membership| Ok(add(membership, &id, &node))).await?;
        drop(history);
        if known.is_some_and(|known| known.node.raft_addr != joiner.raft_addr) {
            self.world.chaos.reached("members: joined again with a new address");
        }
        while joiner.voter && joined != Joined::Already && !self.has_vote(&id) {
            if Instant::now() >= deadline {
                return Err(Error::Timeout);
            }
            // Not by the lease: a leader alone that takes in another voter hasn't heard of it yet.
            if !self.raft.is_leader() {
                return Err(Error::NotLeader);
            }
            sleep(LOOK).await;
        }
        let counters = &self.metrics.store;
        match joined {
            Joined::Already => counters.num_ignored_joins.increment(),
            Joined::Again | Joined::New => counters.num_joins.increment(),
        }
        if joined == Joined::Again {
            counters.num_removed_before_joins.increment();
        }
        Ok(joined)
    }

    /// Removes the node `id` from the cluster, if it is in it.
    pub async fn remove(&self, id: &str, timeout: Duration) -> Result<(), Error> {
        let id = NodeId::from(id);
        let leads = id.as_str() == self.options.node_id && self.is_leader() && self.has_vote(&id);
        self.change(Instant::now() + timeout, |membership| remove(membership, &id)).await?;
        if leads && !self.has_vote(&id) {
            self.world.chaos.reached("members: leader removed");
        }
        self.promises.forget(&id);
        Ok(())
    }

    /// Hands leadership to the node `to`, or to the voter that is closest behind; returns when another node leads.
    pub async fn step_down(&self, to: Option<&str>, timeout: Duration) -> Result<(), Error> {
        let members = self.members();
        if let Some(to) = to
            && !members.iter().any(|member| member.id == to)
        {
            return Err(Error::NodeNotFound);
        }
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        let ours = &self.options.node_id;
        if to == Some(ours) {
            return Err(Error::AlreadyLeader);
        }
        let to = match to {
            Some(to) => NodeId::from(to),
            None => self.closest_voter(&members).ok_or(Error::NoPeer)?,
        };
        let deadline = Instant::now() + timeout;
        let _offered = self.office.offer();
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        // Neither it nor anybody else takes over within the lease and an election, if ever.
        let patience = Instant::now() + self.options.leader_lease * 4;
        while self.raft.is_leader() {
            if Instant::now() >= patience {
                // A leader that has offered its office takes no writes: it leads on in a new term.
                self.raft.trigger().elect(false).await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
                return Err(Error::Timeout);
            }
            sleep(LOOK).await;
        }
        while self.leader().is_none() {
            if Instant::now() >= deadline {
                return Err(Error::Timeout);
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Forms a cluster of `members`, all with a vote. Done by several of them at once with the same members, it is the
    /// same cluster. Nothing happens if this node has been part of one.
    pub async fn bootstrap(&self, members: BTreeMap<String, Node>) -> Result<(), Error> {
        let is_alone = members.len() == 1;
        let members = members.into_iter().map(|(id, node)| (NodeId::from(id.as_str()), node));
        match self.raft.initialize(members.collect::<BTreeMap<_, _>>()).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => return Ok(()),
            Err(error) => return Err(Error::Raft(error.to_string())),
        }
        match is_alone {
            // Nobody else could be elected.
            true => self.raft.trigger().elect(false).await.map_err(|fatal| Error::Stopped(fatal.to_string())),
            false => Ok(()),
        }
    }

    /// Whether a recovery is not over: until it is, the cluster can do without none of its members.
    pub fn is_recovering(&self) -> bool {
        self.raft_metrics.borrow_watched().membership_config.membership().get_joint_config().len() > 1
    }

    /// Whether this node is, or was, part of a cluster.
    pub async fn has_peers(&self) -> Result<bool, Error> {
        Ok(!self.configured().await?.is_empty())
    }

    /// Whether this node is the only one of its cluster.
    pub async fn is_alone(&self) -> Result<bool, Error> {
        let members = self.configured().await?;
        Ok(members.len() == 1 && members[0].as_str() == self.options.node_id)
    }

    /// A sole voter needn't wait for anybody.
    pub async fn campaign_if_alone(&self) -> Result<(), Error> {
        let voters =
            self.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>());
        let voters = voters.await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        if voters.len() == 1 && voters[0].as_str() == self.options.node_id {
            self.raft.trigger().elect(false).await.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
        }
        Ok(())
    }

    /// This node, as it would be a member.
    pub fn node(&self) -> (String, Node) {
        (self.options.node_id.clone(), self.options.node.clone())
    }

    /// The members' ids, asked of Raft's core: the metrics are empty until it has begun to run.
    async fn configured(&self) -> Result<Vec<NodeId>, Error> {
        let nodes = |state: &openraft::RaftState<TypeConfig>| {
            state.membership_state.effective().nodes().map(|(id, _)| id.clone()).collect()
        };
        self.raft.with_raft_state(nodes).await.map_err(|fatal| Error::Stopped(fatal.to_string()))
    }

    fn has_vote(&self, id: &NodeId) -> bool {
        self.members().iter().any(|member| member.is_voter && member.id == id.as_str())
    }

    /// The voter that has most of the log.
    fn closest_voter(&self, members: &[Member]) -> Option<NodeId> {
        let metrics = self.raft_metrics.borrow_watched();
        let matched = |id: &NodeId| metrics.replication.as_ref().and_then(|all| *all.get(id)?);
        let may_lead = |member: &&Member| member.is_voter && member.node.wants_vote;
        let others = members.iter().filter(may_lead).filter(|member| member.id != self.options.node_id);
        others.map(|member| NodeId::from(member.id.as_str())).max_by_key(matched)
    }

    /// Changes the members as `decide` says of those that there are, however often others change them meanwhile.
    async fn change(
        &self,
        deadline: Instant,
        decide: impl Fn(&Membership) -> Result<Change, Error>,
    ) -> Result<(), Error> {
        loop {
            let stored = self.raft.with_raft_state(|state| (**state.membership_state.effective()).clone()).await;
            let stored: StoredMembership = stored.map_err(|fatal| Error::Stopped(fatal.to_string()))?;
            // A leader that is on its way out changes nothing more (simulation, seed 129).
            if stored.membership().get_node(&NodeId::from(self.id())).is_none() {
                return Err(Error::NotLeader);
            }
            let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: *stored.log_id() };
            // Whatever is to be changed: first the members are those of one configuration.
            let settled = settled(stored.membership());
            let is_settled = settled == Change::Nothing;
            let changing = async {
                match if is_settled { decide(stored.membership())? } else { settled } {
                    Change::Nothing => Ok(Ok(())),
                    Change::Append(membership) => {
                        let appended = self.raft.append_membership(membership, EntryPayload::Blank, [unchanged]).await;
                        Ok(appended.map(|_| ()))
                    }
                    Change::Readdress(id, node) => {
                        // It has moved, whatever becomes of this.
                        self.addresses.set(&id, &node.raft_addr);
                        let nodes = openraft::ChangeMembers::SetNodes(BTreeMap::from([(id, node)]));
                        Ok(self.raft.change_membership_if(nodes, true, [unchanged]).await.map(|_| ()))
                    }
                }
            };
            let changed = timeout_at(deadline, changing).await.map_err(|_| Error::Timeout)??;
            match changed {
                Ok(()) if is_settled => return Ok(()),
                Ok(()) => {}
                Err(error) => retry(error)?,
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout);
            }
            sleep(LOOK).await;
        }
    }
}

/// Gives their votes to those who have joined for it and caught up, for ever. Whoever leads first after a recovery ends
/// it: from then on a majority is enough.
pub async fn promote(store: Store) {
    loop {
        sleep(LOOK).await;
        if let Some(result) = store.settle().await {
            match result {
                Ok(()) => tracing::info!("the recovered cluster has a leader"),
                Err(error) => tracing::debug!(%error, "the recovered cluster isn't settled yet"),
            }
        }
        let Some(id) = store.next_voter() else { continue };
        let promoted = store.change(Instant::now() + PROMOTION, |membership| Ok(promoted(membership, &id))).await;
        match promoted {
            Ok(()) => tracing::info!("node {id} has caught up and votes"),
            Err(error) => tracing::debug!(%id, %error, "a node that has joined doesn't vote yet"),
        }
    }
}

impl Store {
    /// Ends a recovery, if this node leads one: members that are to have no vote voted in it, since they may have had the
    /// longest log, but lead no further.
    async fn settle(&self) -> Option<Result<(), Error>> {
        if !self.is_leader() {
            return None;
        }
        let last = {
            let metrics = self.raft_metrics.borrow_watched();
            let configs = metrics.membership_config.membership().get_joint_config();
            (configs.len() > 1).then(|| configs.last().cloned())?
        };
        let is_to_vote = last.is_some_and(|voters| voters.contains(&NodeId::from(self.id())));
        Some(match is_to_vote {
            true => self.change(Instant::now() + PROMOTION, |_| Ok(Change::Nothing)).await,
            false => self.step_down(None, PROMOTION).await,
        })
    }

    /// Somebody who is to vote and has caught up.
    fn next_voter(&self) -> Option<NodeId> {
        if !self.is_leader() {
            return None;
        }
        let metrics = self.raft_metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let has_caught_up = |id: &NodeId| {
            let matched = metrics.replication.as_ref().and_then(|all| *all.get(id)?);
            matched.is_some_and(|matched| matched.index + LAG_MAX >= last)
        };
        let mut waiting = membership.nodes().filter(|(id, node)| node.wants_vote && !voters.contains(id));
        waiting.find(|(id, _)| has_caught_up(id)).map(|(id, _)| id.clone())
    }
}

/// Whether a change that failed so may be tried again: it can only be done once.
fn retry(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Result<(), Error> {
    match error {
        RaftError::Fatal(fatal) => Err(Error::Stopped(fatal.to_string())),
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Err(Error::NotLeader),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Err(Error::NotLeader),
        RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => Ok(()),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => Ok(()),
            ChangeMembershipError::EmptyMembership(_) => Err(Error::NoVoter),
            other => Err(Error::Raft(other.to_string())),
        },
    }
}

fn parts(membership: &Membership) -> (BTreeSet<NodeId>, BTreeMap<NodeId, Node>) {
    let nodes = membership.nodes().map(|(id, node)| (id.clone(), node.clone()));
    (membership.voter_ids().collect(), nodes.collect())
}

fn membership(voters: BTreeSet<NodeId>, nodes: BTreeMap<NodeId, Node>) -> Change {
    Change::Append(Membership::new(vec![voters], nodes).expect("every voter is a node, and there is one"))
}

/// A recovery has each of its nodes in a configuration of its own, and at last the one that is to be.
fn settled(current: &Membership) -> Change {
    let (_, nodes) = parts(current);
    match current.get_joint_config().as_slice() {
        [_, .., voters] => membership(voters.clone(), nodes),
        _ => Change::Nothing,
    }
}

fn add(current: &Membership, id: &NodeId, node: &Node) -> Change {
    match current.get_node(id) {
        // A role is changed by removing the node first, as in the reference.
        Some(known) if known.raft_addr == node.raft_addr && known.http_addr == node.http_addr => Change::Nothing,
        Some(known) => Change::Readdress(id.clone(), Node { wants_vote: known.wants_vote, ..node.clone() }),
        None => {
            let (voters, mut nodes) = parts(current);
            nodes.insert(id.clone(), node.clone());
            membership(voters, nodes)
        }
    }
}

fn promoted(current: &Membership, id: &NodeId) -> Change {
    let (mut voters, nodes) = parts(current);
    match nodes.contains_key(id) && voters.insert(id.clone()) {
        true => membership(voters, nodes),
        // Removed, or done.
        false => Change::Nothing,
    }
}

fn remove(current: &Membership, id: &NodeId) -> Result<Change, Error> {
    let (mut voters, mut nodes) = parts(current);
    if nodes.remove(id).is_none() {
        return Ok(Change::Nothing);
    }
    voters.remove(id);
    if voters.is_empty() { Err(Error::NoVoter) } else { Ok(membership(voters, nodes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::from(name)
    }

    fn node(address: &str) -> Node {
        Node { raft_addr: address.into(), http_addr: String::new(), wants_vote: true }
    }

    /// Voters, and the others.
    fn of(voters: &[&str], others: &[&str]) -> Membership {
        let nodes = voters.iter().chain(others).map(|name| (id(name), node(name)));
        Membership::new(vec![voters.iter().map(|name| id(name)).collect()], nodes.collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn members_change_one_at_a_time() {
        let current = of(&["a", "b"], &["c"]);
        assert_eq!(add(&current, &id("d"), &node("d")), Change::Append(of(&["a", "b"], &["c", "d"])));
        assert_eq!(add(&current, &id("b"), &node("b")), Change::Nothing);
        assert_eq!(add(&current, &id("c"), &node("c")), Change::Nothing);
        assert_eq!(add(&current, &id("b"), &node("x")), Change::Readdress(id("b"), node("x")));
        assert_eq!(promoted(&current, &id("c")), Change::Append(of(&["a", "b", "c"], &[])));
        assert_eq!(promoted(&current, &id("b")), Change::Nothing);
        assert_eq!(promoted(&current, &id("z")), Change::Nothing);
        assert_eq!(remove(&current, &id("a")), Ok(Change::Append(of(&["b"], &["c"]))));
        assert_eq!(remove(&current, &id("c")), Ok(Change::Append(of(&["a", "b"], &[]))));
        assert_eq!(remove(&current, &id("z")), Ok(Change::Nothing));
        assert_eq!(remove(&of(&["a"], &["c"]), &id("a")), Err(Error::NoVoter));
        let recovering = of(&["a", "b"], &["c"]);
        let nodes: BTreeMap<_, _> = recovering.nodes().map(|(id, node)| (id.clone(), node.clone())).collect();
        let configs = [&["a"][..], &["b"], &["c"], &["a", "b"]];
        let configs = configs.iter().map(|names| names.iter().map(|name| id(name)).collect()).collect();
        assert_eq!(settled(&Membership::new(configs, nodes).unwrap()), Change::Append(recovering.clone()));
        assert_eq!(settled(&recovering), Change::Nothing);
        assert_eq!(Error::NoVoter.to_string(), "need at least one voter in configuration: {[]}");
    }
}
