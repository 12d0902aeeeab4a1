//! What a node that ends in order does for those that stay.
//!
//! Source: server.md §1.9.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Client;
use super::proto::Credentials;
use crate::store::Store;

/// How long the cluster may take to have a leader, and this node to hear that it is out.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the leader is asked, and in what distance.
const TRIES: usize = 5;
const RETRY: Duration = Duration::from_millis(250);

/// How long another node may take to take over.
const STEP_DOWN: Duration = Duration::from_secs(5);

/// What the flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `-raft-cluster-remove-shutdown`
    pub remove: bool,
    /// `-raft-shutdown-stepdown`
    pub step_down: bool,
}

/// The node is still in the cluster.
#[derive(Debug, thiserror::Error)]
#[error("failed to remove this node from cluster before shutdown: {0}")]
pub struct Failed(String);

/// Leaves the cluster, or hands over, as `options` say.
pub async fn leave(
    store: &Store,
    client: &Client,
    options: Options,
    credentials: Option<Credentials>,
) -> Result<(), Failed> {
    if options.remove {
        remove(store, client, credentials).await.map_err(Failed)?;
    }
    let is_alone = store.members().len() <= 1;
    if options.step_down && store.is_leader() && !is_alone {
        tracing::info!("stepping down as Leader before shutdown");
        if let Err(error) = store.step_down(None, STEP_DOWN).await {
            tracing::warn!("nobody took over: {error}");
        }
    }
    Ok(())
}

async fn remove(store: &Store, client: &Client, credentials: Option<Credentials>) -> Result<(), String> {
    let (id, _) = store.node();
    let deadline = Instant::now() + PATIENCE;
    let mut told = "leader not found".to_string();
    let mut is_removed = false;
    for _ in 0..TRIES {
        let Some(leader) = leader(store, deadline).await else { break };
        match client.remove(&leader, credentials.clone(), &id, PATIENCE).await {
            Ok(()) => {
                is_removed = true;
                break;
            }
            Err(error) => told = error.to_string(),
        }
        sleep(RETRY).await;
    }
    if !is_removed {
        return Err(told);
    }
    // It needn't hear of it: who is out is told nothing more.
    let deadline = Instant::now() + PATIENCE;
    while store.members().iter().any(|member| member.id == id) && Instant::now() < deadline {
        sleep(RETRY).await;
    }
    Ok(())
}

async fn leader(store: &Store, deadline: Instant) -> Option<String> {
    loop {
        if let Some(leader) = store.leader() {
            return Some(leader.node.raft_addr);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(RETRY).await;
    }
}
