//! Asking other nodes, by their Raft addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;

use super::proto::answer::Kind as Answer;
use super::proto::request::Kind;
use super::proto::{self, Credentials, Describe, Description, Join, Notify, Remove, StepDown};
use crate::peer;

/// How often a request follows the leader.
///
/// Source: server.md §2.2.
const REDIRECTS: usize = 10;

/// What came of asking. Texts are the reference's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Peer(#[from] peer::Error),
    /// The node that was asked doesn't lead, and knows nobody who does.
    #[error("no leader")]
    NoLeader,
    #[error("too many redirects")]
    Redirects,
    /// Nothing was done: the node at this address leads; empty: nobody.
    #[error("not leader")]
    Moved(String),
    /// Nothing was done: the node can't be reached.
    #[error(transparent)]
    NotSent(peer::Error),
    /// Nothing was done.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Client {
    pub(super) peer: peer::Client,
}

impl Client {
    /// Asks through `peer`.
    pub fn new(peer: peer::Client) -> Self {
        Self { peer }
    }

    /// Idle connections by address.
    pub fn idle(&self) -> BTreeMap<String, usize> {
        self.peer.idle()
    }

    /// Connections opened because a reused one did not work any more.
    pub fn forced(&self) -> u64 {
        self.peer.forced()
    }

    /// What the node at `address` says of itself.
    pub async fn describe(&self, address: &str, timeout: Duration) -> Result<Description, Error> {
        match self.ask(address, None, Kind::Describe(Describe {}), timeout).await? {
            Answer::Description(description) => Ok(description),
            other => Err(unexpected(other)),
        }
    }

    /// Joins through the node at `address`, following it to its leader. Returns the leader's address.
    pub async fn join(
        &self,
        address: &str,
        credentials: Option<Credentials>,
        join: Join,
        timeout: Duration,
    ) -> Result<String, Error> {
        let mut address = address.to_string();
        for _ in 0..REDIRECTS {
            match self.ask(&address, credentials.clone(), Kind::Join(join.clone()), timeout).await? {
                Answer::Done(_) => return Ok(address),
                Answer::NotLeader(leader) if leader.raft_addr.is_empty() => return Err(Error::NoLeader),
                Answer::NotLeader(leader) => address = leader.raft_addr,
                other => return Err(unexpected(other)),
            }
        }
        Err(Error::Redirects)
    }

    /// Tells the node at `address` that this one waits for a cluster to be formed.
    pub async fn notify(
        &self,
        address: &str,
        credentials: Option<Credentials>,
        notify: Notify,
        timeout: Duration,
    ) -> Result<(), Error> {
        done(self.ask(address, credentials, Kind::Notify(notify), timeout).await?)
    }

    /// Has the leader at `address` remove the node `id`.
    pub async fn remove(
        &self,
        address: &str,
        credentials: Option<Credentials>,
        id: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        done(self.ask(address, credentials, Kind::Remove(Remove { id: id.into() }), timeout).await?)
    }

    /// Has the leader at `address` hand over to the node `to`, or to whom it likes.
    pub async fn step_down(
        &self,
        address: &str,
        credentials: Option<Credentials>,
        to: Option<&str>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let to = to.unwrap_or_default().into();
        done(self.ask(address, credentials, Kind::StepDown(StepDown { to }), timeout).await?)
    }

    async fn ask(
        &self,
        address: &str,
        credentials: Option<Credentials>,
        kind: Kind,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        let request = proto::Request { credentials, kind: Some(kind) }.encode_to_vec();
        let answer = self.peer.call(address, request.into(), timeout).await?;
        let answer = proto::Answer::decode(answer).ok().and_then(|answer| answer.kind);
        Ok(answer.ok_or(peer::Error::Protocol("the answer can't be decoded"))?)
    }
}

fn done(answer: Answer) -> Result<(), Error> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::NotLeader(_) => Err(Error::Failed("not leader".into())),
        other => Err(unexpected(other)),
    }
}

pub(super) fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Failed(failed) => Error::Failed(failed.text),
        Answer::Refused(refused) => Error::Refused(refused.text),
        _ => peer::Error::Protocol("an answer to something else").into(),
    }
}
