//! What this node does when others ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::bootstrap::Waiting;
use super::forward::{self, Api};
use super::proto::answer::Kind as Answer;
use super::proto::request::Kind;
use super::proto::{self, Description, Done, Failed, NotLeader};
use crate::metrics::{self, Counter, Metrics};
use crate::peer::server::{IDLE, Service};
use crate::peer::{Connection, Error};
use crate::store::Store;
use crate::store::members::{self, Joined, Joiner};
use crate::world::net::BoxFuture;

/// How long a change of the members may take, while the other side sees that it is worked on.
const CHANGE: Duration = Duration::from_secs(600);

/// The cluster's side of the port.
pub struct ClusterService {
    pub store: Store,
    pub waiting: Arc<Waiting>,
    pub api: Api,
    pub metrics: Arc<Metrics>,
    /// Batches of queued writes that are in memory at once, from other nodes.
    pub turns: Semaphore,
}

/// See [`ClusterService::turns`].
pub const TURNS: usize = 2;

impl Service for ClusterService {
    fn serve(self: Arc<Self>, mut connection: Connection) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            loop {
                let next = timeout(IDLE, connection.next_request()).await.map_err(|_| Error::Timeout)?;
                let Some(message) = next? else { return Ok(()) };
                let request = proto::Request::decode(message);
                let request = request.map_err(|_| Error::Protocol("the request can't be decoded"))?;
                if let Some(counter) = request.kind.as_ref().and_then(|kind| counter(&self.metrics.cluster, kind)) {
                    counter.increment();
                }
                if let Some(Kind::Forward(forward)) = request.kind {
                    forward::serve(&mut connection, forward, &self.api).await?;
                    continue;
                }
                if let Some(Kind::Write(_)) = request.kind {
                    forward::serve_write(&mut connection, &self.store, &self.turns).await?;
                    continue;
                }
                let answer = connection.while_working(self.answer(request)).await?;
                connection.reply(answer).await?;
            }
        })
    }
}

impl ClusterService {
    async fn answer(&self, request: proto::Request) -> Result<Bytes, String> {
        let answer = match request.kind.ok_or("this version doesn't know the request")? {
            Kind::Describe(_) => {
                self.metrics.cluster.num_get_node_api_resp.increment();
                Answer::Description(Description {
                    commit_index: self.store.commit_index(),
                    leader_raft_addr: self.leader_address(),
                })
            }
            Kind::Join(join) => self.join(join).await,
            Kind::Notify(notify) => match self.waiting.notified(&self.store, notify).await {
                Ok(()) => Answer::Done(Done {}),
                Err(error) => failed(&error),
            },
            Kind::Remove(remove) => self.changed(self.store.remove(&remove.id, CHANGE).await),
            Kind::Forward(_) | Kind::Write(_) => unreachable!("their bodies come behind them"),
            Kind::StepDown(step_down) => {
                let to = Some(step_down.to.as_str()).filter(|to| !to.is_empty());
                self.changed(self.store.step_down(to, CHANGE).await)
            }
        };
        Ok(proto::Answer { kind: Some(answer) }.encode_to_vec().into())
    }

    async fn join(&self, join: proto::Join) -> Answer {
        if !self.store.is_leader() {
            return self.not_leader();
        }
        if let Err(error) = self.store.resolve(&join.raft_addr).await {
            return failed(&format!("failed to resolve {}: {error}", join.raft_addr));
        }
        let proto::Join { id, raft_addr, http_addr, voter, engine, is_empty } = join;
        let joiner = Joiner { id, raft_addr, http_addr, voter, engine, is_empty };
        let joined = self.store.join(&joiner, CHANGE).await;
        if joined == Ok(Joined::New) {
            tracing::info!("node {} joined the cluster at {}", joiner.id, joiner.raft_addr);
        }
        self.changed(joined.map(|_| ()))
    }

    fn changed(&self, result: Result<(), members::Error>) -> Answer {
        match result {
            Ok(()) => Answer::Done(Done {}),
            Err(members::Error::NotLeader) => self.not_leader(),
            Err(error) => failed(&error),
        }
    }

    fn not_leader(&self) -> Answer {
        Answer::NotLeader(NotLeader { raft_addr: self.leader_address() })
    }

    fn leader_address(&self) -> String {
        self.store.leader().map_or_else(String::new, |leader| leader.node.raft_addr)
    }
}

/// Where a request is counted.
fn counter<'a>(counters: &'a metrics::Cluster, kind: &Kind) -> Option<&'a Counter> {
    Some(match kind {
        Kind::Describe(_) => &counters.num_get_node_api_req,
        Kind::Join(_) => &counters.num_join_req,
        Kind::Notify(_) => &counters.num_notify_req,
        Kind::Remove(_) => &counters.num_remove_node_req,
        Kind::StepDown(_) => &counters.num_stepdown_req,
        Kind::Write(_) => &counters.num_execute_req,
        Kind::Forward(forward) => match forward.path_and_query.split('?').next().unwrap_or_default() {
            path if path.starts_with("/db/execute") => &counters.num_execute_req,
            path if path.starts_with("/db/query") => &counters.num_query_req,
            path if path.starts_with("/db/request") => &counters.num_request_req,
            path if path.starts_with("/db/backup") => &counters.num_backup_req,
            path if path.starts_with("/db/load") => &counters.num_load_req,
            path if path.starts_with("/remove") => &counters.num_remove_node_req,
            path if path.starts_with("/leader") => &counters.num_stepdown_req,
            _ => return None,
        },
    })
}

fn failed(error: &dyn std::fmt::Display) -> Answer {
    Answer::Failed(Failed { text: error.to_string() })
}
