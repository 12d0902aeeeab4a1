//! openraft's calls to other nodes.
//!
//! One [`Link`] for each kind of call to each node (replication, heartbeats, snapshots, a vote), with a connection of
//! its own: a large batch or a snapshot never delays a heartbeat. Every request may be sent twice, so one that failed on
//! a connection that was used before is sent again on a new one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use prost::Message;

use super::rpc::{Answer, Request};
use super::snapshot::{SnapshotData, Source};
use super::types::{LogId, Node, NodeId, TypeConfig, Vote, proto};
use crate::peer::{self, Connection, Purpose};

/// What a batch may take longer for each byte of it: it has to come through at 256 KiB/s.
const NANOS_A_BYTE: u64 = 4_000;

type RpcError = RPCError<TypeConfig>;

/// Makes openraft's [`Link`]s. Cloning is cheap.
#[derive(Clone)]
pub struct Network {
    pub client: peer::Client,
    pub source: Source,
    /// How long an answer without entries may take.
    pub patience: Duration,
    pub promises: Promises,
    pub addresses: Addresses,
}

/// Where nodes are now: openraft goes on with the links that it has when the membership gives a node another address.
#[derive(Clone, Default)]
pub struct Addresses(Arc<Mutex<BTreeMap<NodeId, String>>>);

impl Addresses {
    /// The node is here from now on.
    pub fn set(&self, node: &NodeId, address: &str) {
        self.0.lock().expect("no panic holds this lock").insert(node.clone(), address.into());
    }

    fn of(&self, node: &NodeId) -> String {
        self.0.lock().expect("no panic holds this lock").get(node).cloned().unwrap_or_default()
    }
}

/// The last entry that each node said it has, in this leader's term. A node that has lost it was given an older disk:
/// its acknowledgements were counted, so it is not let in again before an operator says so (faults.md F30).
#[derive(Clone, Default)]
pub struct Promises(Arc<Mutex<BTreeMap<NodeId, (Vote, LogId)>>>);

/// Calls of one kind to one node.
pub struct Link {
    network: Network,
    target: NodeId,
    connection: Option<Connection>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> Link {
        self.addresses.set(&target, &node.raft_addr);
        Link { network: self.clone(), target, connection: None }
    }
}

impl Promises {
    /// The node's log begins anew: it was removed, and may join without what it had.
    pub fn forget(&self, node: &NodeId) {
        self.0.lock().expect("no panic holds this lock").remove(node);
    }

    /// Whether the node has acknowledged anything.
    pub fn has(&self, node: &NodeId) -> bool {
        self.0.lock().expect("no panic holds this lock").contains_key(node)
    }

    fn kept(&self, node: &NodeId, vote: &Vote, last: Option<LogId>) {
        let Some(last) = last else { return };
        let mut promises = self.0.lock().expect("no panic holds this lock");
        match promises.get_mut(node) {
            Some((term, known)) if term == vote => *known = (*known).max(last),
            _ => drop(promises.insert(node.clone(), (vote.clone(), last))),
        }
    }

    fn is_broken(&self, node: &NodeId, vote: &Vote, missing: Option<LogId>) -> bool {
        let promises = self.0.lock().expect("no panic holds this lock");
        promises.get(node).is_some_and(|(term, known)| term == vote && missing <= Some(*known))
    }
}

impl Link {
    fn address(&self) -> String {
        self.network.addresses.of(&self.target)
    }

    /// Opens a connection to the target, and to nobody else who has its address.
    async fn open(&self, timeout: Duration) -> Result<Connection, peer::Error> {
        open(&self.network.client, &self.target, &self.address(), timeout).await
    }

    async fn call(&mut self, request: Request, timeout: Duration) -> Result<Answer, RpcError> {
        let message: Bytes = proto::Request { kind: Some(request) }.encode_to_vec().into();
        let attempts = async {
            if let Some(mut connection) = self.connection.take()
                && let Ok(answer) = connection.call(message.clone(), timeout, timeout).await
            {
                return Ok((connection, answer));
            }
            let mut connection = self.open(timeout).await?;
            let answer = connection.call(message, timeout, timeout).await?;
            Ok((connection, answer))
        };
        let answered = tokio::time::timeout(timeout, attempts).await.unwrap_or(Err(peer::Error::Timeout));
        let (connection, answer) = answered.map_err(|error| unreachable(&error))?;
        let answer = proto::Answer::decode(answer).map_err(|error| unreachable(&error))?;
        // Only now: nothing can come late any more.
        self.connection = Some(connection);
        answer.kind.ok_or_else(|| unreachable(&peer::Error::Protocol("an empty answer")))
    }
}

/// Opens a connection to `target`, at `address`, where the members have it, or where it last said that it is: a node
/// that has moved may be needed for the very quorum that notes its new address (faults.md S28).
pub(super) async fn open(
    client: &peer::Client,
    target: &NodeId,
    address: &str,
    timeout: Duration,
) -> Result<Connection, peer::Error> {
    let heard = client.peers().get(target.as_str()).map(|hello| hello.raft_addr);
    let heard = heard.filter(|heard| !heard.is_empty() && heard != address);
    let known = open_at(client, target, address, timeout);
    let Some(heard) = heard else { return known.await };
    let heard = open_at(client, target, &heard, timeout);
    let (connection, _) = futures::future::select_ok([known.boxed(), heard.boxed()]).await?;
    Ok(connection)
}

async fn open_at(
    client: &peer::Client,
    target: &NodeId,
    address: &str,
    timeout: Duration,
) -> Result<Connection, peer::Error> {
    let connection = client.open(Purpose::Raft, address, timeout).await?;
    if connection.peer.node_id == target.as_str() {
        return Ok(connection);
    }
    let reason = format!("it is node {}, not {target}", connection.peer.node_id);
    Err(peer::Error::Refused { address: address.into(), reason })
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let (vote, previous) = (request.vote.clone(), request.prev_log_id);
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let message = proto::AppendEntries::from(request);
        let bytes = message.entries.iter().map(Message::encoded_len).sum::<usize>() as u64;
        let timeout = self.network.patience + Duration::from_nanos(bytes * NANOS_A_BYTE);
        let answer = match self.call(Request::Append(message), timeout).await? {
            Answer::Append(answer) => AppendEntriesResponse::from(answer),
            _ => return Err(unexpected()),
        };
        let promises = &self.network.promises;
        match answer {
            AppendEntriesResponse::Success => promises.kept(&self.target, &vote, last),
            AppendEntriesResponse::Conflict if promises.is_broken(&self.target, &vote, previous) => {
                let text = format!(
                    "node {} has lost entries that it had acknowledged: remove it, and let it join with an empty data \
                     directory",
                    self.target
                );
                tracing::error!("{text}");
                self.network.source.world.chaos.reached("members: kept out");
                return Err(RPCError::Unreachable(Unreachable::from_string(text)));
            }
            _ => {}
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        match self.call(Request::Vote((&request).into()), option.soft_ttl()).await? {
            Answer::Vote(answer) => VoteResponse::try_from(answer).map_err(|error| unreachable(&error)),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        match self.call(Request::PreVote((&request).into()), option.soft_ttl()).await? {
            Answer::Vote(answer) => VoteResponse::try_from(answer).map_err(|error| unreachable(&error)),
            _ => Err(unexpected()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<Result<(), TransferLeaderError<TypeConfig>>, RpcError> {
        match self.call(Request::Transfer((&request).into()), option.soft_ttl()).await? {
            Answer::Transfer(answer) if answer.refusal.is_empty() => Ok(Ok(())),
            Answer::Transfer(answer) => Err(RPCError::Unreachable(Unreachable::from_string(answer.refusal))),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Network { client, source, .. } = &self.network;
        let address = self.address();
        let sending = source.send(client, &self.target, &address, vote, snapshot.meta.last_log_id);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent.map_err(|error| {
                tracing::warn!(target = %self.target, %error, "a snapshot was not sent");
                StreamingError::Unreachable(Unreachable::new(&error))
            }),
        }
    }
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn unexpected() -> RpcError {
    unreachable(&peer::Error::Protocol("an answer to something else"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::log_id;

    #[test]
    fn a_node_that_lost_what_it_acknowledged_is_found() {
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        let (term3, term4) = (Vote::new_committed(3, a.clone()), Vote::new_committed(4, a.clone()));
        let promises = Promises::default();
        assert!(!promises.is_broken(&b, &term3, None));
        promises.kept(&b, &term3, None);
        promises.kept(&b, &term3, Some(log_id(2, 7)));
        promises.kept(&b, &term3, Some(log_id(1, 5)));
        assert!(promises.is_broken(&b, &term3, Some(log_id(2, 7))));
        assert!(promises.is_broken(&b, &term3, Some(log_id(1, 5))));
        // Probing further on is no loss.
        assert!(!promises.is_broken(&b, &term3, Some(log_id(2, 8))));
        assert!(!promises.is_broken(&a, &term3, Some(log_id(2, 7))));
        // In another term it may have been told to cut its log.
        assert!(!promises.is_broken(&b, &term4, Some(log_id(2, 7))));
        promises.kept(&b, &term4, Some(log_id(2, 3)));
        assert!(!promises.is_broken(&b, &term4, Some(log_id(2, 7))));
        promises.forget(&b);
        assert!(!promises.is_broken(&b, &term4, Some(log_id(2, 3))));
    }
}
