//! What a node does when it takes office: settings that the cluster has not agreed on yet, and loads that the leader
//! before left open.

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::{Error, Store};
use crate::command::{Kind, Limits, LoadAbort, Settings};
use crate::db::engine;
use crate::raft::types::NodeId;

/// Forms the cluster of this one node, if it was never part of any. A sole voter campaigns at once.
pub async fn bootstrap(store: &Store) -> Result<(), Error> {
    let raft = |error: String| Error::Raft(error);
    if !store.raft.is_initialized().await.map_err(|error| raft(error.to_string()))? {
        tracing::info!("bootstrapping single new node");
        let id = NodeId::from(store.options.node_id.as_str());
        let members = std::collections::BTreeMap::from([(id, store.options.node.clone())]);
        store.raft.initialize(members).await.map_err(|error| raft(error.to_string()))?;
    }
    let voters: Vec<_> = store.raft.voter_ids().collect();
    if voters.len() == 1 && voters[0].as_str() == store.options.node_id {
        store.raft.trigger().elect(false).await.map_err(|error| raft(error.to_string()))?;
    }
    Ok(())
}

/// Takes office in every term that this node leads, for ever.
pub async fn watch(store: Store) {
    let mut metrics = store.raft.server_metrics();
    let mut term = None;
    loop {
        let (is_leader, current) = {
            let metrics = metrics.borrow_watched();
            (metrics.state == ServerState::Leader, metrics.vote.leader_id.term)
        };
        if is_leader && term != Some(current) {
            match take_office(&store, current).await {
                Ok(()) => term = Some(current),
                Err(error) => tracing::debug!(%error, "lost office at once"),
            }
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn take_office(store: &Store, term: u64) -> Result<(), Error> {
    // Settings are compared with the state that this term begins with.
    store.read_index(std::time::Duration::from_secs(10)).await?;
    let (applied, open_load) = store.machine.call(|machine| (machine.applied().clone(), machine.open_load())).await;
    // One of this term is being sent: its leader is this node.
    let open_load = open_load.filter(|begun| begun.leader_id.term < term).map(|begun| begun.index);
    tracing::info!("this node (ID={}) is now Leader", store.options.node_id);
    let mut settings = Settings::default();
    if applied.cluster_id.is_empty() {
        settings.cluster_id =
            Some(format!("{:016x}{:016x}", store.world.entropy.next_u64(), store.world.entropy.next_u64()));
    }
    let fingerprint = engine::fingerprint();
    if applied.engine != fingerprint {
        settings.engine = Some(fingerprint);
    }
    if applied.foreign_keys_default != store.options.foreign_keys {
        settings.foreign_keys_default = Some(store.options.foreign_keys);
    }
    if settings != Settings::default() {
        store.propose(Kind::Settings(settings), Limits::default()).await?;
    }
    if let Some(load_id) = open_load {
        let reason = "its leader is gone".into();
        store.propose(Kind::LoadAbort(LoadAbort { load_id, reason }), Limits::default()).await?;
    }
    Ok(())
}
