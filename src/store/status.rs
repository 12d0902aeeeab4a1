//! What /status tells of the store.

use std::sync::atomic::Ordering;

use openraft::async_runtime::WatchReceiver;
use serde_json::{Value, json};

use super::Store;

impl Store {
    /// The object under `store` in /status.
    pub async fn status(&self) -> Value {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let log = self.log.stats();
        let (applied, generation, frames) = self
            .machine
            .call(|machine| {
                let frames = machine.wal_frames().unwrap_or(0);
                (machine.applied().clone(), machine.current().generation(), frames)
            })
            .await;
        let index = |id: &Option<crate::raft::types::LogId>| id.map_or(0, |id| id.index);
        let main = self.paths.main(generation);
        let size = |path: &std::path::Path| self.world.disk.stat(path).map_or(0, |stat| stat.size);
        let leader = self.leader().map(|leader| json!({"node_id": leader.node_id, "addr": leader.raft_addr}));
        json!({
            "open": true,
            "node_id": self.options.node_id,
            "ready": self.is_ready(),
            "leader": leader.unwrap_or_else(|| json!({"node_id": "", "addr": ""})),
            "raft": {
                "state": self.role().as_str(),
                "term": metrics.current_term,
                "commit_index": index(&metrics.local_committed),
                "applied_index": index(&metrics.last_applied),
                "last_log_index": log.last.unwrap_or(0),
                "last_snapshot_index": index(&metrics.snapshot),
                "log_size": log.bytes,
                "log_segments": log.segments,
            },
            "fsm_index": index(&applied.last_applied),
            "db_applied_index": index(&applied.last_change),
            "cluster_id": applied.cluster_id,
            "dir": self.options.data_dir.display().to_string(),
            "sqlite3": {
                "version": crate::db::engine::sqlite_version(),
                "path": main.display().to_string(),
                "db_size": size(&main),
                "wal_size": size(&self.paths.wal(generation)),
                "wal_frames": frames,
                "generation": generation,
                "foreign_keys": applied.foreign_keys,
                "engine": applied.engine,
            },
            "checkpoints": {
                "done": self.counters.done.load(Ordering::Relaxed),
                "last_pause_us": self.counters.last_pause_us.load(Ordering::Relaxed),
            },
        })
    }
}
