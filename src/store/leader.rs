//! What a node does when it takes office: settings that the cluster has not agreed on yet, and loads that the leader
//! before left open.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::{Error, Store};
use crate::command::{Kind, Limits, LoadAbort, Settings};
use crate::db::engine;

/// How long taking office may take, before it is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

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
            store.world.chaos.leads(current);
            match take_office(&store, current).await {
                Ok(()) => {
                    term = Some(current);
                    store.metrics.store.leader_changes_observed.increment();
                }
                Err(error) => {
                    tracing::debug!(%error, "office was not taken");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn take_office(store: &Store, term: u64) -> Result<(), Error> {
    // Settings are compared with the state that this term begins with: a leader commits all that is in its log, also
    // what it had not committed before it was restarted.
    store.read_index(TIMEOUT).await?;
    let begins_with = store.log.last().map(|id| id.index);
    let applied = store.raft.wait(Some(TIMEOUT)).applied_index_at_least(begins_with, "a new leader's log").await;
    applied.map_err(|error| Error::Raft(error.to_string()))?;
    store.office.take(term);
    let (applied, foreign_load) =
        store.machine.call(|machine| (machine.applied().clone(), machine.foreign_load())).await;
    tracing::info!("this node (ID={}) is now Leader", store.options.node_id);
    let mut settings = Settings::default();
    if applied.cluster_id.is_empty() {
        settings.cluster_id = Some(store.draw_id());
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
    // The term doesn't tell whose it is: a leader that is restarted leads on in its term.
    if let Some(load_id) = foreign_load {
        let reason = "its leader is gone".into();
        store.propose(Kind::LoadAbort(LoadAbort { load_id, reason }), Limits::default()).await?;
    }
    Ok(())
}
