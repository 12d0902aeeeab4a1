//! Forming a new cluster of nodes that find each other: each tells all others that it waits, and whoever has heard of
//! enough of them forms the cluster, of all that it has heard of. Several may do so at once, of the same nodes.
//!
//! Source: server.md §2.3.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Client;
use super::discovery::Discovery;
use super::join::Joining;
use super::proto::Notify;
use crate::raft::types::Node;
use crate::store::{Store, members};
use crate::world::World;

/// The first round comes soon; the others come every so often, to twice that.
const FIRST: Duration = Duration::from_millis(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// How often a node looks whether somebody leads.
const LOOK: Duration = Duration::from_millis(50);

/// How long a node may take to note that this one waits.
const NOTIFY: Duration = Duration::from_secs(5);

/// The nodes that wait for a cluster, as this node has heard.
pub struct Waiting {
    /// So many form one; 0: none is formed.
    expect: usize,
    /// `None`: it was formed.
    nodes: Mutex<Option<BTreeMap<String, Node>>>,
}

/// The time was over before there was a cluster.
#[derive(Debug, thiserror::Error)]
#[error("boot timeout")]
pub struct TimedOut;

impl Waiting {
    /// For so many nodes.
    pub fn new(expect: usize) -> Self {
        Self { expect, nodes: Mutex::new(Some(BTreeMap::new())) }
    }

    /// A node says that it waits. The last of those that are expected forms the cluster.
    pub async fn notified(&self, store: &Store, notify: Notify) -> Result<(), members::Error> {
        if self.expect == 0 || store.leader().is_some() || store.has_peers().await? {
            return Ok(());
        }
        if let Err(error) = store.resolve(&notify.raft_addr).await {
            return Err(members::Error::Raft(format!("failed to resolve {}: {error}", notify.raft_addr)));
        }
        let Some(nodes) = self.note(notify) else { return Ok(()) };
        tracing::info!("reached expected bootstrap count of {}, starting cluster bootstrap", nodes.len());
        if let Err(error) = store.bootstrap(nodes).await {
            tracing::error!(%error, "the cluster was not formed");
        }
        Ok(())
    }

    /// All of them, once there are enough.
    fn note(&self, notify: Notify) -> Option<BTreeMap<String, Node>> {
        let mut waiting = self.nodes.lock().expect("no panic holds this lock");
        let nodes = waiting.as_mut()?;
        let Notify { id, raft_addr, http_addr } = notify;
        nodes.insert(id, Node { raft_addr, http_addr, wants_vote: true });
        if nodes.len() < self.expect { None } else { waiting.take() }
    }
}

/// Goes on until this node is part of a cluster, new or old, or `limit` is over.
pub async fn run(
    world: &World,
    store: &Store,
    client: &Client,
    discovery: &Discovery,
    joining: &Joining,
    limit: Duration,
) -> Result<(), TimedOut> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST;
    loop {
        if wait_for_leader(store, pause).await {
            tracing::info!("boot operation marked done");
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(TimedOut);
        }
        let jitter = Duration::from_millis(store.random() % INTERVAL.as_millis() as u64);
        pause = (INTERVAL + jitter).min(deadline.saturating_duration_since(Instant::now()));
        let targets = match discovery.look_up(world).await {
            Ok(targets) if !targets.is_empty() => targets,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!("failed to look up addresses: {error}");
                continue;
            }
        };
        if joining.round(client, &targets).await {
            return Ok(());
        }
        if joining.join.voter {
            notify_all(client, joining, &targets).await;
        }
    }
}

/// Whether there is a leader, within `pause`.
async fn wait_for_leader(store: &Store, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if store.leader().is_some() || left.is_zero() {
            return store.leader().is_some();
        }
        sleep(left.min(LOOK)).await;
    }
}

async fn notify_all(client: &Client, joining: &Joining, targets: &[String]) {
    let join = &joining.join;
    let notify = Notify { id: join.id.clone(), raft_addr: join.raft_addr.clone(), http_addr: join.http_addr.clone() };
    for target in targets {
        if let Err(error) = client.notify(target, joining.credentials.clone(), notify.clone(), NOTIFY).await {
            tracing::warn!("failed to notify all targets: {targets:?} ({error}, will retry)");
            return;
        }
    }
    tracing::info!("succeeded notifying all targets: {targets:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_expected_forms_the_cluster_once() {
        let notify = |id: &str| Notify { id: id.into(), raft_addr: format!("{id}:1"), http_addr: String::new() };
        let waiting = Waiting::new(2);
        assert_eq!(waiting.note(notify("a")), None);
        assert_eq!(waiting.note(notify("a")), None);
        let formed = waiting.note(notify("b")).unwrap();
        assert_eq!(formed.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(waiting.note(notify("c")), None);
    }
}
