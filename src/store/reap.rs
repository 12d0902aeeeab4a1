//! Dead nodes are removed: by the leader, each after it has not answered for so long.
//!
//! Source: server.md §2.9.

use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::WatchReceiver;

use super::Store;
use crate::raft::types::NodeId;

/// Zero: never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `-raft-reap-node-timeout`
    pub voters: Duration,
    /// `-raft-reap-read-only-node-timeout`
    pub others: Duration,
}

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(5);

/// Looks for dead nodes, for ever.
pub async fn watch(store: Store) {
    let options = store.options.reap.clone();
    if options == Options::default() {
        return;
    }
    // Nobody can be silent for longer than this node has led.
    let mut led_since = None;
    loop {
        tokio::time::sleep(LOOK).await;
        if !store.is_leader() {
            led_since = None;
            continue;
        }
        let since = *led_since.get_or_insert_with(tokio::time::Instant::now);
        for (node, kind) in store.dead(&options, since.elapsed()) {
            match store.remove(node.as_str(), REMOVAL).await {
                Ok(()) => {
                    tracing::info!("successfully reaped {kind} node {node}");
                    store.metrics.store.nodes_reaped_ok.increment();
                }
                Err(error) => {
                    store.metrics.store.nodes_reaped_failed.increment();
                    tracing::warn!("failed to reap {kind} node {node}: {error}");
                }
            }
        }
    }
}

impl Store {
    /// Members that have not answered for too long, to a leader that has led for `led`.
    fn dead(&self, options: &Options, led: Duration) -> Vec<(NodeId, &'static str)> {
        let metrics = self.raft_metrics.borrow_watched();
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let mut dead = Vec::new();
        for (node, heard) in metrics.heartbeat.iter().flatten() {
            let is_voter = voters.contains(node);
            let limit = if is_voter { options.voters } else { options.others };
            let silent = heard.map_or(led, |heard| heard.elapsed().min(led));
            if node.as_str() != self.options.node_id && !limit.is_zero() && silent > limit {
                dead.push((node.clone(), if is_voter { "voting" } else { "non-voting" }));
            }
        }
        dead
    }
}
