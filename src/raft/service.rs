//! What this node does on Raft's behalf when others ask.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use prost::Message;
use tokio::time::{Instant, timeout};

use super::Raft;
use super::machine::Machine;
use super::rpc::{Answer, Request};
use super::snapshot::Receiver;
use super::stage;
use super::state_machine::OnFatal;
use super::types::proto;
use crate::peer::server::{IDLE, Service};
use crate::peer::{Connection, Error};
use crate::world::Lane;
use crate::world::net::BoxFuture;

/// How long the chunks of a load may take to come here.
const STAGING: Duration = Duration::from_secs(60);

/// Raft's side of the port.
pub struct RaftService {
    pub raft: Raft,
    pub receiver: Receiver,
    pub machine: Lane<Machine>,
    pub contact: Contact,
    /// Told why this node can't go on.
    pub on_fatal: OnFatal,
}

/// When a leader last said that it leads, and this node agreed; and what it had committed. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Contact(Arc<Mutex<Option<(Instant, u64)>>>);

impl Contact {
    /// How long ago; `None`: never in this process.
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().expect("no panic holds this lock").map(|(at, _)| at.elapsed())
    }

    /// The leader's commit index, as it said; 0: never.
    pub fn commit_index(&self) -> u64 {
        self.0.lock().expect("no panic holds this lock").map_or(0, |(_, index)| index)
    }

    fn now(&self, commit_index: u64) {
        *self.0.lock().expect("no panic holds this lock") = Some((Instant::now(), commit_index));
    }
}

impl Service for RaftService {
    fn serve(self: Arc<Self>, mut connection: Connection) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            // Asked for once: what this node is of changes no more after that.
            let mut adopted = connection.peer.incarnation.is_empty();
            loop {
                let next = timeout(IDLE, connection.next_request()).await.map_err(|_| Error::Timeout)?;
                let Some(message) = next? else { return Ok(()) };
                let reply = match decode(message) {
                    Ok(Request::Snapshot(request)) => self.receiver.receive(&mut connection, request).await?,
                    Ok(Request::Stage(request)) => self.stage(&mut connection, &request).await?,
                    Ok(request) => {
                        if matches!(request, Request::Append(_)) && !adopted {
                            self.adopt(&connection.peer.incarnation).await?;
                            adopted = true;
                        }
                        self.answer(request).await
                    }
                    Err(text) => Err(text),
                };
                connection.reply(reply).await?;
            }
        })
    }
}

impl RaftService {
    /// The log of a leader of `incarnation` is to be this node's: from now on it talks to no other.
    async fn adopt(&self, incarnation: &str) -> Result<(), Error> {
        let incarnation = incarnation.to_string();
        let adopted = self.machine.call(move |machine| machine.adopt_incarnation(&incarnation)).await;
        adopted
            .map_err(|fault| {
                (self.on_fatal)(fault.0);
                Error::Protocol("this node stops")
            })?
            .map_err(Error::Protocol)
    }

    async fn answer(&self, request: Request) -> Result<Bytes, String> {
        let answer = match request {
            Request::Append(request) => {
                let request = AppendEntriesRequest::try_from(request).map_err(text)?;
                let commit_index = request.leader_commit.map_or(0, |id| id.index);
                let answer = proto::AppendAnswer::from(self.raft.append_entries(request).await.map_err(text)?);
                if !matches!(answer.refusal, Some(proto::append_answer::Refusal::HigherVote(_))) {
                    self.contact.now(commit_index);
                }
                Answer::Append(answer)
            }
            Request::Vote(request) => {
                let request = VoteRequest::try_from(request).map_err(text)?;
                Answer::Vote((&self.raft.vote(request).await.map_err(text)?).into())
            }
            Request::PreVote(request) => {
                let request = VoteRequest::try_from(request).map_err(text)?;
                let answer = self.raft.pre_vote(request).await.map_err(text)?;
                if !answer.vote_granted {
                    self.receiver.world.chaos.reached("pre-vote refused");
                }
                Answer::Vote((&answer).into())
            }
            Request::Transfer(request) => {
                let request = TransferLeaderRequest::try_from(request).map_err(text)?;
                let accepted = self.raft.handle_transfer_leader(request).await.map_err(text)?;
                let refusal = accepted.err().map_or_else(String::new, text);
                Answer::Transfer(proto::TransferAnswer { refusal })
            }
            Request::Snapshot(_) | Request::Stage(_) => unreachable!("they have the connection for themselves"),
        };
        Ok(proto::Answer { kind: Some(answer) }.encode_to_vec().into())
    }
}

impl RaftService {
    /// Makes a load ready as far as it has come here, which may take its time.
    async fn stage(
        &self,
        connection: &mut Connection,
        request: &proto::StageLoad,
    ) -> Result<Result<Bytes, String>, Error> {
        let (load_id, index) = (request.load_id, Some(request.index));
        let staging = async {
            let applied = self.raft.wait(Some(STAGING)).applied_index_at_least(index, "the chunks of a load").await;
            applied.map_err(text)?;
            self.machine.call(move |machine| machine.stage(load_id)).await
        };
        let staged = connection.while_working(staging).await?;
        Ok(Ok(stage::message(staged.err().unwrap_or_default())))
    }
}

fn decode(message: Bytes) -> Result<Request, String> {
    proto::Request::decode(message).map_err(text)?.kind.ok_or_else(|| "this version doesn't know the request".into())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
