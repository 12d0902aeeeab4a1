//! Recovery by `raft/peers.json`: an operator says who the members are, where too few are left of those that the log
//! knows, or all have moved. Done at start, on each survivor for itself, before Raft runs.
//!
//! ```text
//! peers.json ─► db.state: members, incarnation, "what the log says about members is void" ─► peers.info
//! ```
//!
//! The log stays as it is. The survivors' logs may differ at their ends, so which of them counts is left to Raft: the
//! first leader is elected by *all* members of the file together, and so has the longest log of all. It holds every
//! write that was ever acknowledged and that one of them has a record of. From then on a majority is enough
//! ([`super::members::promote`]). All find the same new incarnation, without asking each other; who hasn't got the file
//! is of the old one, and refused.
//!
//! Different from the reference, which makes a snapshot of its own of each log and takes whoever is elected first: an
//! acknowledged write can be lost there.
//!
//! Source: server.md §2.7; hashicorp/raft `ReadConfigJSON`; hazard H19.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::db::database::Fault;
use crate::go::split_host_port;
use crate::raft::applied::Applied;
use crate::raft::machine::Machine;
use crate::raft::types::{LogId, Membership, Node, NodeId, StoredMembership};
use crate::world::Disk;
use crate::world::disk::read_small;

/// Why a node isn't recovered, and doesn't start; nothing was changed. Texts are the reference's, as far as it has them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read peers file: {0}")]
    Read(String),
    #[error("failed to recover node: {0}")]
    Recover(String),
}

/// A row of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
struct Peer {
    id: String,
    address: String,
    non_voter: bool,
}

/// Recovers the node `id` if there is a file that says so; then true. `last` is the end of its log.
pub fn run(
    disk: &dyn Disk,
    raft: &Path,
    machine: &mut Machine,
    last: Option<LogId>,
    (id, node): &(String, Node),
) -> Result<bool, Error> {
    let path = raft.join("peers.json");
    let failed = |error: &dyn std::fmt::Display| Error::Recover(error.to_string());
    let fault = |fault: Fault| Error::Recover(fault.0);
    let Some(bytes) = read_small(disk, &path).map_err(|error| Error::Read(error.to_string()))? else {
        // The file was renamed, and that was all that was left to do.
        if !machine.applied().recovering.is_empty() {
            done(disk, raft, machine).map_err(fault)?;
        }
        return Ok(false);
    };
    tracing::info!("attempting node recovery using {}", path.display());
    let peers = parse(&bytes).map_err(Error::Read)?;
    check_addresses(&peers).map_err(Error::Recover)?;
    if !peers.iter().any(|peer| peer.id == *id) {
        return Err(Error::Recover(format!("this node ({id}) is not in {}", path.display())));
    }
    // The same file can come twice for two reasons: a crash on the way, or another recovery some day.
    let recovering = digest("", &peers);
    if machine.applied().recovering != recovering {
        let applied = recovered(machine.applied(), &peers, last, id, node);
        machine.restate(Applied { recovering, ..applied }).map_err(fault)?;
    }
    disk.rename(&path, &raft.join("peers.info")).map_err(|error| failed(&error))?;
    done(disk, raft, machine).map_err(fault)?;
    tracing::info!("node recovered successfully using {}", path.display());
    if peers.len() > 1 {
        let all: Vec<_> = peers.iter().map(|peer| format!("{} at {}", peer.id, peer.address)).collect();
        tracing::warn!("all recovered nodes elect their first leader together; it needs: {}", all.join(", "));
    }
    Ok(true)
}

/// From now on the file, should it come again, is another recovery.
fn done(disk: &dyn Disk, raft: &Path, machine: &mut Machine) -> Result<(), Fault> {
    disk.sync_dir(raft).map_err(|error| Fault(format!("{}: {error}", raft.display())))?;
    machine.restate(Applied { recovering: String::new(), ..machine.applied().clone() })
}

/// The state of a node whose members are `peers`, and whose log ends at `last`.
fn recovered(applied: &Applied, peers: &[Peer], last: Option<LogId>, id: &str, node: &Node) -> Applied {
    let http_addr = |peer: &Peer| match applied.membership.membership().get_node(&NodeId::from(peer.id.as_str())) {
        _ if peer.id == id => node.http_addr.clone(),
        // It tells itself, as soon as it is heard.
        known => known.map_or_else(String::new, |node| node.http_addr.clone()),
    };
    let nodes = peers.iter().map(|peer| {
        let (raft_addr, http_addr) = (peer.address.clone(), http_addr(peer));
        (NodeId::from(peer.id.as_str()), Node { raft_addr, http_addr, wants_vote: !peer.non_voter })
    });
    let nodes: BTreeMap<NodeId, Node> = nodes.collect();
    let voters: BTreeSet<NodeId> = nodes.iter().filter(|(_, node)| node.wants_vote).map(|(id, _)| id.clone()).collect();
    // A quorum of this is everybody. The voters come last: they are what is to be, and openraft goes from here to there
    // in one step.
    let mut configs: Vec<BTreeSet<NodeId>> = nodes.keys().map(|id| BTreeSet::from([id.clone()])).collect();
    configs.retain(|config| *config != voters);
    configs.push(voters);
    let membership = Membership::new(configs, nodes).expect("every voter is a node, and there is one");
    Applied {
        membership: StoredMembership::new(applied.last_applied, membership),
        incarnation: digest(&applied.incarnation, peers),
        recovered: last,
        ..applied.clone()
    }
}

/// A name for what `peers` make of the incarnation `parent`.
fn digest(parent: &str, peers: &[Peer]) -> String {
    let mut peers = peers.to_vec();
    peers.sort();
    let text = serde_json::to_vec(&(parent, peers)).expect("text is always JSON");
    Sha256::digest(text)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(bytes: &[u8]) -> Result<Vec<Peer>, String> {
    let peers: Vec<Peer> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for peer in &peers {
        if peer.id.is_empty() {
            return Err(format!("empty ID in configuration: {}", configuration(&peers)));
        }
        if peer.address.is_empty() {
            return Err(format!("empty address in configuration: {}", server(peer)));
        }
        if !ids.insert(&peer.id) {
            return Err(format!("found duplicate ID in configuration: {}", peer.id));
        }
        if !addresses.insert(&peer.address) {
            return Err(format!("found duplicate address in configuration: {}", peer.address));
        }
    }
    if peers.iter().all(|peer| peer.non_voter) {
        return Err(format!("need at least one voter in configuration: {}", configuration(&peers)));
    }
    Ok(peers)
}

fn check_addresses(peers: &[Peer]) -> Result<(), String> {
    for Peer { address, .. } in peers {
        if address.contains("://") {
            return Err(format!("protocol specified in address: {address}"));
        }
        if split_host_port(address).is_none() {
            return Err(format!("invalid address in configuration: {address}"));
        }
    }
    Ok(())
}

/// As Go prints it.
fn configuration(peers: &[Peer]) -> String {
    format!("{{[{}]}}", peers.iter().map(server).collect::<Vec<_>>().join(" "))
}

fn server(peer: &Peer) -> String {
    let suffrage = if peer.non_voter { "Nonvoter" } else { "Voter" };
    format!("{{{suffrage} {} {}}}", peer.id, peer.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::log_id;

    #[test]
    fn a_file_that_is_wrong_is_refused() {
        check(r#"[{"id":"1","address":"h:1","non_voter":false},{"id":"2","address":"h:2"}]"#, "");
        check("[]", "need at least one voter in configuration: {[]}");
        check(
            r#"[{"id":"1","address":"h:1","non_voter":true}]"#,
            "need at least one voter in configuration: {[{Nonvoter 1 h:1}]}",
        );
        check(
            r#"[{"id":"n1","address":"h:1"},{"id":"n1","address":"h:2"}]"#,
            "found duplicate ID in configuration: n1",
        );
        check(
            r#"[{"id":"1","address":"h:1"},{"id":"2","address":"h:1"}]"#,
            "found duplicate address in configuration: h:1",
        );
        check(r#"[{"address":"h:1"}]"#, "empty ID in configuration: {[{Voter  h:1}]}");
        check(r#"[{"id":"1"}]"#, "empty address in configuration: {Voter 1 }");
        check(r#"[{"id":"1","address":"127.0.0.1"}]"#, "invalid address in configuration: 127.0.0.1");
        check(r#"[{"id":"1","address":"http://h:1"}]"#, "protocol specified in address: http://h:1");
        check("", "EOF while parsing a value at line 1 column 0");
        check("[{]", "key must be a string at line 1 column 3");
        check(r#"{"id":"1"}"#, "invalid type: map, expected a sequence at line 1 column 0");

        #[track_caller]
        fn check(text: &str, want: &str) {
            let result = parse(text.as_bytes()).and_then(|peers| check_addresses(&peers));
            assert_eq!(result.err().unwrap_or_default(), want);
        }
    }

    #[test]
    fn all_find_the_same_incarnation_and_no_other_recovery_does() {
        let (a, b) = (peer("a", "h:1"), peer("b", "h:2"));
        let name = digest("", &[a.clone(), b.clone()]);
        assert_eq!(name, digest("", &[b.clone(), a.clone()]));
        assert_ne!(name, digest("1", &[a.clone(), b.clone()]));
        assert_ne!(name, digest("", std::slice::from_ref(&a)));
        assert_ne!(name, digest("", &[a, peer("b", "h:3")]));
    }

    #[test]
    fn everybody_elects_together() {
        let peers = [peer("a", "h:1"), peer("b", "h:2"), Peer { non_voter: true, ..peer("c", "h:3") }];
        let own = Node { http_addr: "own".into(), ..Node::default() };
        let applied = recovered(&Applied::default(), &peers, Some(log_id(3, 9)), "b", &own);
        let membership = applied.membership.membership();
        let configs: Vec<Vec<&str>> =
            membership.get_joint_config().iter().map(|config| config.iter().map(NodeId::as_str).collect()).collect();
        assert_eq!(configs, [vec!["a"], vec!["b"], vec!["c"], vec!["a", "b"]]);
        let nodes: Vec<_> =
            membership.nodes().map(|(_, node)| (&*node.raft_addr, &*node.http_addr, node.wants_vote)).collect();
        assert_eq!(nodes, [("h:1", "", true), ("h:2", "own", true), ("h:3", "", false)]);
        assert_eq!(applied.recovered, Some(log_id(3, 9)));

        // Alone it needs nobody.
        let alone = recovered(&Applied::default(), &peers[..1], None, "a", &own);
        assert_eq!(alone.membership.membership().get_joint_config().len(), 1);
    }

    fn peer(id: &str, address: &str) -> Peer {
        Peer { id: id.into(), address: address.into(), non_voter: false }
    }
}
