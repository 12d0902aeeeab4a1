//! Before a load is committed its leader asks the others whether they could take it: what is committed can't fail any
//! more, except by this node's own trouble, which stops it (design §7, hazard H13).

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use prost::Message;

use super::network::open;
use super::rpc::{Answer, Request};
use super::types::{NodeId, proto};
use crate::peer::connection::Received;
use crate::peer::{self, Client, Connection};

/// The longest that a node is not heard of while it stages a load.
const IDLE: Duration = Duration::from_secs(5);

/// What the other voters say of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// So many could take it.
    pub ready: usize,
    /// Why one of them couldn't.
    pub refusal: Option<String>,
}

/// Asks `voters`, who are somebody else, whether the load `load_id`, of which everything is in the log up to `index`,
/// can be committed. Who can't be asked is left out.
pub async fn ask(client: &Client, voters: Vec<(NodeId, String)>, load_id: u64, index: u64) -> Staged {
    let answers = join_all(voters.iter().map(|(id, address)| one(client, id, address, load_id, index))).await;
    let mut staged = Staged::default();
    for ((id, _), answer) in voters.iter().zip(answers) {
        match answer {
            Ok(refusal) if refusal.is_empty() => staged.ready += 1,
            Ok(refusal) => staged.refusal = Some(format!("node {id}: {refusal}")),
            Err(error) => tracing::warn!("node {id} can't be asked whether it can take the load: {error}"),
        }
    }
    staged
}

async fn one(client: &Client, id: &NodeId, address: &str, load_id: u64, index: u64) -> Result<String, peer::Error> {
    let mut connection = open(client, id, address, IDLE).await?;
    let request = Request::Stage(proto::StageLoad { load_id, index });
    connection.request(proto::Request { kind: Some(request) }.encode_to_vec().into()).await?;
    answered(&mut connection).await
}

async fn answered(connection: &mut Connection) -> Result<String, peer::Error> {
    let Received::Message(bytes) = connection.answer(IDLE).await? else {
        return Err(peer::Error::Protocol("a stream where an answer should be"));
    };
    match proto::Answer::decode(bytes).ok().and_then(|answer| answer.kind) {
        Some(Answer::Stage(answer)) => Ok(answer.refusal),
        _ => Err(peer::Error::Protocol("an answer to something else")),
    }
}

/// An answer; empty: the load can be committed.
pub fn message(refusal: String) -> Bytes {
    proto::Answer { kind: Some(Answer::Stage(proto::StageAnswer { refusal })) }.encode_to_vec().into()
}
