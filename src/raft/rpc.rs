//! openraft's requests and answers to and from their protobuf forms (`rpc.proto`).

use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};

use super::convert::Error;
use super::types::{Entry, LogId, NodeId, Payload, TypeConfig, Vote, proto};

pub use proto::answer::Kind as Answer;
pub use proto::request::Kind as Request;

fn log_id(id: &Option<proto::LogId>) -> Option<LogId> {
    id.as_ref().map(Into::into)
}

fn proto_id(id: &Option<LogId>) -> Option<proto::LogId> {
    id.as_ref().map(Into::into)
}

fn vote(vote: &Option<proto::Vote>) -> Result<Vote, Error> {
    vote.as_ref().map(Into::into).ok_or(Error::Missing("vote"))
}

impl From<Entry> for proto::Entry {
    fn from(entry: Entry) -> Self {
        let payload = match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(Payload(bytes)) => Some(proto::entry::Payload::Command(bytes)),
            EntryPayload::Membership(membership) => Some(proto::entry::Payload::Membership((&membership).into())),
        };
        Self { id: Some((&entry.log_id).into()), payload }
    }
}

fn entry(entry: proto::Entry) -> Result<Entry, Error> {
    let log_id = log_id(&entry.id).ok_or(Error::Missing("log id"))?;
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(proto::entry::Payload::Command(bytes)) => EntryPayload::Normal(Payload(bytes)),
        Some(proto::entry::Payload::Membership(membership)) => EntryPayload::Membership(membership.try_into()?),
    };
    Ok(Entry { log_id, payload })
}

impl From<AppendEntriesRequest<TypeConfig>> for proto::AppendEntries {
    fn from(request: AppendEntriesRequest<TypeConfig>) -> Self {
        Self {
            vote: Some((&request.vote).into()),
            previous: proto_id(&request.prev_log_id),
            committed: proto_id(&request.leader_commit),
            entries: request.entries.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::AppendEntries> for AppendEntriesRequest<TypeConfig> {
    type Error = Error;

    fn try_from(request: proto::AppendEntries) -> Result<Self, Error> {
        Ok(Self {
            vote: vote(&request.vote)?,
            prev_log_id: log_id(&request.previous),
            leader_commit: log_id(&request.committed),
            entries: request.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

impl From<AppendEntriesResponse<TypeConfig>> for proto::AppendAnswer {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Self {
        use proto::append_answer::Refusal;
        let refusal = match response {
            AppendEntriesResponse::Success => None,
            AppendEntriesResponse::PartialSuccess(_) => unreachable!("a node takes a request whole"),
            AppendEntriesResponse::Conflict => Some(Refusal::Conflict(true)),
            AppendEntriesResponse::HigherVote(vote) => Some(Refusal::HigherVote((&vote).into())),
        };
        Self { refusal }
    }
}

impl From<proto::AppendAnswer> for AppendEntriesResponse<TypeConfig> {
    fn from(answer: proto::AppendAnswer) -> Self {
        use proto::append_answer::Refusal;
        match answer.refusal {
            None => Self::Success,
            Some(Refusal::Conflict(_)) => Self::Conflict,
            Some(Refusal::HigherVote(vote)) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<&VoteRequest<TypeConfig>> for proto::RequestVote {
    fn from(request: &VoteRequest<TypeConfig>) -> Self {
        Self {
            vote: Some((&request.vote).into()),
            last: proto_id(&request.last_log_id),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

impl TryFrom<proto::RequestVote> for VoteRequest<TypeConfig> {
    type Error = Error;

    fn try_from(request: proto::RequestVote) -> Result<Self, Error> {
        let mut converted = VoteRequest::new(vote(&request.vote)?, log_id(&request.last));
        converted.leadership_transfer = request.leadership_transfer;
        Ok(converted)
    }
}

impl From<&VoteResponse<TypeConfig>> for proto::VoteAnswer {
    fn from(response: &VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: Some((&response.vote).into()),
            last: proto_id(&response.last_log_id),
            granted: response.vote_granted,
        }
    }
}

impl TryFrom<proto::VoteAnswer> for VoteResponse<TypeConfig> {
    type Error = Error;

    fn try_from(answer: proto::VoteAnswer) -> Result<Self, Error> {
        Ok(VoteResponse::new(vote(&answer.vote)?, log_id(&answer.last), answer.granted))
    }
}

impl From<&TransferLeaderRequest<TypeConfig>> for proto::TransferLeader {
    fn from(request: &TransferLeaderRequest<TypeConfig>) -> Self {
        Self {
            from: Some(request.from_leader().into()),
            to: request.to_node_id().to_string(),
            last: request.last_log_id().map(Into::into),
        }
    }
}

impl TryFrom<proto::TransferLeader> for TransferLeaderRequest<TypeConfig> {
    type Error = Error;

    fn try_from(request: proto::TransferLeader) -> Result<Self, Error> {
        Ok(Self::new(vote(&request.from)?, NodeId::from(request.to.as_str()), log_id(&request.last)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Debug;

    use bytes::Bytes;
    use prost::Message;

    use super::*;
    use crate::raft::convert;
    use crate::raft::types::{Membership, Node};

    fn id(term: u64, index: u64) -> Option<LogId> {
        Some(convert::log_id(term, index))
    }

    /// Through the wire.
    fn sent<M: Message + Default>(message: M) -> M {
        M::decode(Bytes::from(message.encode_to_vec())).expect("it was just encoded")
    }

    #[test]
    fn appends_survive() {
        let node = Node { raft_addr: "a:1".into(), http_addr: "a:2".into(), wants_vote: true };
        let names = BTreeSet::from([NodeId::from("a")]);
        let membership =
            Membership::new(vec![names], BTreeMap::from([(NodeId::from("a"), node)])).expect("a has its node");
        let at = |index, payload| Entry { log_id: convert::log_id(3, index), payload };
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(3, NodeId::from("a")),
            prev_log_id: id(2, 6),
            leader_commit: id(2, 5),
            entries: vec![
                at(7, EntryPayload::Blank),
                at(8, EntryPayload::Normal(Payload(Bytes::from_static(b"command")))),
                // Empty isn't blank.
                at(9, EntryPayload::Normal(Payload(Bytes::new()))),
                at(10, EntryPayload::Membership(membership)),
            ],
        };
        let again = AppendEntriesRequest::try_from(sent(proto::AppendEntries::from(request.clone()))).unwrap();
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }

    #[test]
    fn answers_survive() {
        let vote = Vote::new(4, NodeId::from("b"));
        check(AppendEntriesResponse::Success);
        check(AppendEntriesResponse::Conflict);
        check(AppendEntriesResponse::HigherVote(vote.clone()));

        #[track_caller]
        fn check(response: AppendEntriesResponse<TypeConfig>) {
            assert_eq!(AppendEntriesResponse::from(sent(proto::AppendAnswer::from(response.clone()))), response);
        }

        for (last, granted) in [(None, true), (id(3, 9), false)] {
            let response = VoteResponse::<TypeConfig>::new(&vote, last, granted);
            same(VoteResponse::try_from(sent(proto::VoteAnswer::from(&response))), response);
        }
        for leadership_transfer in [true, false] {
            let request = VoteRequest::<TypeConfig> { vote: vote.clone(), last_log_id: id(1, 2), leadership_transfer };
            same(VoteRequest::try_from(sent(proto::RequestVote::from(&request))), request);
        }
        let request = TransferLeaderRequest::<TypeConfig>::new(vote, NodeId::from("c"), id(4, 4));
        same(TransferLeaderRequest::try_from(sent(proto::TransferLeader::from(&request))), request);

        #[track_caller]
        fn same<T: PartialEq + Debug>(again: Result<T, Error>, value: T) {
            assert_eq!(again.expect("nothing is missing"), value);
        }
    }

    #[test]
    fn what_lacks_its_vote_is_refused() {
        assert!(AppendEntriesRequest::try_from(proto::AppendEntries::default()).is_err());
        assert!(VoteRequest::try_from(proto::RequestVote::default()).is_err());
        assert!(VoteResponse::try_from(proto::VoteAnswer::default()).is_err());
        assert!(TransferLeaderRequest::try_from(proto::TransferLeader::default()).is_err());
        assert!(entry(proto::Entry::default()).is_err());
    }
}
