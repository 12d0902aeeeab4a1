//! Who a node is, and whether two nodes may talk to each other.
//!
//! A node with the wrong data directory, of another cluster, or from before a recovery is refused where it connects:
//! none of its votes, entries or snapshots is ever looked at (hazards H12, H19; faults.md F30).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::proto::Hello;

/// Which cluster this node's data is of. It is replicated state, and follows it.
#[derive(Debug, Default)]
pub struct Cluster(Mutex<(String, String)>);

impl Cluster {
    /// The data is of `incarnation` of cluster `id`.
    pub fn set(&self, id: &str, incarnation: &str) {
        *self.0.lock().expect("no panic holds this lock") = (id.to_string(), incarnation.to_string());
    }

    fn get(&self) -> (String, String) {
        self.0.lock().expect("no panic holds this lock").clone()
    }
}

/// This node, as it introduces itself.
#[derive(Debug)]
pub struct Identity {
    node: Hello,
    cluster: Arc<Cluster>,
}

impl Identity {
    /// A node with the fixed part `node`, whose data is of `cluster`.
    pub fn new(node: Hello, cluster: Arc<Cluster>) -> Self {
        Self { node, cluster }
    }

    /// The fingerprint of this node's engine.
    pub fn engine(&self) -> &str {
        &self.node.engine
    }

    /// What this node says of itself now.
    pub fn hello(&self) -> Hello {
        let (cluster_id, incarnation) = self.cluster.get();
        Hello { cluster_id, incarnation, ..self.node.clone() }
    }
}

/// What other nodes last said of themselves, by their ids.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<String, Hello>>);

impl Peers {
    /// What the node `id` said of itself, if it was ever heard.
    pub fn get(&self, id: &str) -> Option<Hello> {
        self.0.lock().expect("no panic holds this lock").get(id).cloned()
    }

    pub(super) fn heard(&self, hello: &Hello) {
        self.0.lock().expect("no panic holds this lock").insert(hello.node_id.clone(), hello.clone());
    }
}

/// Whether `ours` may talk to `theirs`; else why not, as the log says it.
///
/// A node whose data is of no cluster yet may talk to anybody. Two of the same cluster must be of the same incarnation:
/// it changes where the log began anew or its members are others, so the other's log is the history of something else.
pub fn check(ours: &Hello, theirs: &Hello) -> Result<(), String> {
    let is_new = |hello: &Hello| hello.cluster_id.is_empty() && hello.incarnation.is_empty();
    if is_new(ours) || is_new(theirs) {
        return Ok(());
    }
    let (node, cluster) = (&theirs.node_id, &theirs.cluster_id);
    // After a recovery a node may know its incarnation before it has heard again what the cluster is called.
    let are_named = !ours.cluster_id.is_empty() && !cluster.is_empty();
    if are_named && ours.cluster_id != *cluster {
        return Err(format!(
            "node {node} belongs to another cluster ({cluster}, not {}): is its data directory the right one?",
            ours.cluster_id
        ));
    }
    if ours.incarnation != theirs.incarnation {
        return Err(format!(
            "nodes {} and {node} have data from before and after a recovery or boot: remove the older one's data \
             directory and let it join anew",
            ours.node_id
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(cluster_id: &str, incarnation: &str) -> Hello {
        Hello {
            node_id: "n2".into(),
            cluster_id: cluster_id.into(),
            incarnation: incarnation.into(),
            ..Hello::default()
        }
    }

    #[test]
    fn only_nodes_of_one_history_talk() {
        check_pair(("", ""), ("", ""), true);
        check_pair(("a", ""), ("", ""), true);
        check_pair(("", ""), ("a", "1"), true);
        check_pair(("a", ""), ("a", ""), true);
        check_pair(("a", "1"), ("a", "1"), true);
        check_pair(("a", ""), ("b", ""), false);
        check_pair(("a", "1"), ("b", "1"), false);
        check_pair(("a", ""), ("a", "1"), false);
        check_pair(("a", "1"), ("a", "2"), false);
        check_pair(("", "1"), ("a", "1"), true);
        check_pair(("", "1"), ("a", ""), false);
        check_pair(("", "1"), ("", "2"), false);

        #[track_caller]
        fn check_pair(ours: (&str, &str), theirs: (&str, &str), want: bool) {
            let (ours, theirs) = (hello(ours.0, ours.1), hello(theirs.0, theirs.1));
            assert_eq!(check(&ours, &theirs).is_ok(), want);
            assert_eq!(check(&theirs, &ours).is_ok(), want);
        }
    }

    #[test]
    fn a_refusal_names_the_node_and_the_cluster() {
        let refusal = check(&hello("a", ""), &hello("b", "")).unwrap_err();
        insta::assert_snapshot!(refusal, @"node n2 belongs to another cluster (b, not a): is its data directory the right one?");
    }
}
