//! What this node does when others ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::timeout;

use super::bootstrap::Waiting;
use super::forward::{self, Api};
use super::proto::answer::Kind as Answer;
use super::proto::request::Kind;
use super::proto::{self, Description, Done, Failed, NotLeader};
use crate::peer::server::{IDLE, Service};
use crate::peer::{Connection, Error};
use crate::store::Store;
use crate::store::members::{self, Joined, Joiner};
use crate::world::net::BoxFuture;

/// How long a change of the members may take, while the other side sees that it is worked on.
const CHANGE: Duration = Duration::from_secs(600);

/// How often it is shown that a request is worked on.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The cluster's side of the port.
pub struct ClusterService {
    pub store: Store,
    pub waiting: Arc<Waiting>,
    pub api: Api,
}

impl Service for ClusterService {
    fn serve(self: Arc<Self>, mut connection: Connection) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            loop {
                let next = timeout(IDLE, connection.next_request()).await.map_err(|_| Error::Timeout)?;
                let Some(message) = next? else { return Ok(()) };
                let request = proto::Request::decode(message);
                let request = request.map_err(|_| Error::Protocol("the request can't be decoded"))?;
                if let Some(Kind::Forward(forward)) = request.kind {
                    forward::serve(&mut connection, forward, &self.api).await?;
                    continue;
                }
                let mut answering = std::pin::pin!(self.answer(request));
                let answer = loop {
                    match timeout(SIGN_OF_LIFE, answering.as_mut()).await {
                        Ok(answer) => break answer,
                        // An error: nobody waits for the answer any more.
                        Err(_) => connection.working().await?,
                    }
                };
                connection.reply(answer).await?;
            }
        })
    }
}

impl ClusterService {
    async fn answer(&self, request: proto::Request) -> Result<Bytes, String> {
        let answer = match request.kind.ok_or("this version doesn't know the request")? {
            Kind::Describe(_) => Answer::Description(Description {
                commit_index: self.store.commit_index(),
                leader_raft_addr: self.leader_address(),
            }),
            Kind::Join(join) => self.join(join).await,
            Kind::Notify(notify) => match self.waiting.notified(&self.store, notify).await {
                Ok(()) => Answer::Done(Done {}),
                Err(error) => failed(&error),
            },
            Kind::Remove(remove) => self.changed(self.store.remove(&remove.id, CHANGE).await),
            Kind::Forward(_) => unreachable!("it has its connection for itself"),
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

fn failed(error: &dyn std::fmt::Display) -> Answer {
    Answer::Failed(Failed { text: error.to_string() })
}
