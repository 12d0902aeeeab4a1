//! What /status tells of the store. It never waits for the writer's lane: an operator looks when that is busy.
//!
//! Keys are the reference's; what it has and we don't, is left out. Source: server.md §3.1.

use std::path::Path;
use std::sync::atomic::Ordering;

use openraft::async_runtime::WatchReceiver;
use serde_json::{Map, Value, json};

use super::Store;
use super::members::Member;
use super::role::Role;
use crate::db::engine;
use crate::go;
use crate::go::bytes::friendly;
use crate::go::time::rfc3339;
use crate::raft::types::LogId;
use crate::world::{Disk, Lane};

/// Quirk: tools compare these with the reference's, so they are the reference's. Our connections never wait and never
/// checkpoint by themselves.
const PRAGMAS: [(&str, &str); 3] = [("busy_timeout", "5000"), ("journal_mode", "wal"), ("synchronous", "0")];

impl Store {
    /// The object under `store` in /status, but for what follows from the command line.
    pub async fn status(&self) -> Value {
        let observed = self.observed.lock().expect("no panic holds this lock").clone();
        let members = self.members();
        let leader = members.iter().find(|member| member.is_leader);
        let dir = self.options.data_dir.clone();
        let dir_size = self.size_of(&dir).await;
        json!({
            "open": {},
            "node_id": self.options.node_id,
            "addr": self.options.node.raft_addr,
            "ready": self.is_ready() && !self.is_recovering() && leader.is_some(),
            "leader": {
                "addr": leader.map_or("", |leader| &leader.node.raft_addr),
                "node_id": leader.map_or("", |leader| &leader.id),
            },
            "nodes": members.iter().map(node).collect::<Vec<_>>(),
            "cluster_id": observed.cluster_id,
            "dir": dir.display().to_string(),
            "dir_size": dir_size,
            "dir_size_friendly": friendly(dir_size),
            "db_applied_index": index(observed.last_change),
            "db_conf": {"fk_constraints": observed.foreign_keys},
            "fsm_index": index(observed.last_command),
            "fsm_term": term(observed.last_command),
            "fsm_update_time": rfc3339(observed.applied_at),
            "leader_appended_at_time": rfc3339(observed.proposed_at),
            "strong_read_term": self.strong_read_term.load(Ordering::Relaxed),
            "no_freelist_sync": false,
            "observer": {"dropped": 0, "observed": self.metrics.store.leader_changes_observed.get()},
            "cdc": {"enabled": false, "registered": false},
            "snapshot_cas": {"owner": null},
            "snapshot_store": self.snapshots(),
            "raft": self.raft_status(&members),
            "sqlite3": self.sqlite_status(observed.foreign_keys, &observed.engine).await,
            "checkpoints": {
                "done": self.counters.done.load(Ordering::Relaxed),
                "last_pause_us": self.counters.last_pause_us.load(Ordering::Relaxed),
            },
        })
    }

    /// Whether a reader can read the database.
    pub async fn can_read(&self) -> bool {
        !self.readers.pool().await.pages.is_empty()
    }

    fn raft_status(&self, members: &[Member]) -> Value {
        let metrics = self.raft_metrics.borrow_watched().clone();
        let log = self.log.stats();
        let role = self.role();
        let last_contact = match (role, self.last_contact()) {
            (Role::Leader, _) => json!(0),
            (_, None) => json!("never"),
            (_, Some(ago)) => json!(go::Duration::from_std(ago).to_string()),
        };
        let leader_commit_index = if role == Role::Leader { 0 } else { self.contact.commit_index() };
        let (committed, applied) = (index(metrics.local_committed), index(metrics.last_applied));
        let is_voter = |id: &str| members.iter().any(|member| member.is_voter && member.id == id);
        json!({
            "state": role.as_str(),
            "term": metrics.current_term,
            "voter": is_voter(&self.options.node_id),
            "num_peers": members.iter().filter(|member| member.is_voter && member.id != self.options.node_id).count(),
            "commit_index": committed,
            "applied_index": applied,
            "fsm_pending": committed.saturating_sub(applied),
            "last_log_index": log.last.unwrap_or(0),
            "last_log_term": term(self.log.last()),
            "last_snapshot_index": index(metrics.snapshot),
            "last_snapshot_term": term(metrics.snapshot),
            "last_contact": last_contact,
            "latest_configuration": configuration(members),
            "latest_configuration_index": 0,
            "log_size": log.bytes,
            "log_size_friendly": friendly(log.bytes),
            // The reference's own storage engine is called bolt; what it tells is free-form.
            "bolt": {"first": log.first.unwrap_or(0), "segments": log.segments},
            "protocol_version": 3,
            "protocol_version_min": 0,
            "protocol_version_max": 3,
            "snapshot_version_min": 0,
            "snapshot_version_max": 1,
            "transport": {
                "command_commit_index": leader_commit_index,
                "compress_snap": false,
                "leader_commit_index": leader_commit_index,
            },
        })
    }

    /// The checkpoint is the one snapshot there is.
    fn snapshots(&self) -> Value {
        let main = self.paths.main(self.current.generation());
        let clean = self.raft_metrics.borrow_watched().snapshot;
        let stat = self.world.disk.stat(&self.paths.state());
        let name = clean.map(|id| {
            let changed_ms = stat.map_or(0, |stat| stat.mtime_ns / 1_000_000);
            format!("{}-{}-{changed_ms}", id.leader_id.term, id.index)
        });
        json!({
            "dir": self.paths.directory().display().to_string(),
            "dir_size": size(&*self.world.disk, &main),
            "snapshots": Vec::from_iter(name),
        })
    }

    async fn sqlite_status(&self, foreign_keys: bool, engine: &str) -> Value {
        let generation = self.current.generation();
        let (main, wal) = (self.paths.main(generation), self.paths.wal(generation));
        let disk = &*self.world.disk;
        let modified = [&main, &wal].map(|path| disk.stat(path).map_or(0, |stat| stat.mtime_ns));
        let modified = modified.into_iter().max().and_then(|ns| u64::try_from(ns).ok());
        let pool = self.readers.pool().await;
        let pages: Map<String, Value> = pool.pages.iter().map(|(name, value)| ((*name).into(), json!(value))).collect();
        let page = |name: &str| pages.get(name).and_then(Value::as_u64).unwrap_or(0);
        let db_size = page("page_count") * page("page_size");
        let vfs = disk.sqlite_vfs();
        json!({
            "version": engine::sqlite_version(),
            "path": main.display().to_string(),
            "ro_dsn": format!("file:{}?mode=ro&vfs={vfs}", main.display()),
            "rw_dsn": format!("file:{}?mode=rwc&vfs={vfs}", main.display()),
            "db_size": db_size,
            "db_size_friendly": friendly(db_size),
            "size": size(disk, &main),
            "wal_size": size(disk, &wal),
            "last_modified": rfc3339(modified.map(std::time::Duration::from_nanos)),
            "generation": generation,
            "engine": engine,
            "extensions": [],
            "compile_options": engine::compile_options(),
            "mem_stats": pages,
            "pragmas": {"ro": pragmas(foreign_keys, "1000"), "rw": pragmas(foreign_keys, "0")},
            // A transaction ends with its request.
            "transaction": {"ro": false, "rw": false},
            "conn_pool_stats": {
                "ro": connections(pool.most, pool.in_use, pool.idle),
                "rw": connections(1, 0, 1),
            },
        })
    }

    /// Bytes of all files below `directory`.
    async fn size_of(&self, directory: &Path) -> u64 {
        fn below(disk: &dyn Disk, path: &Path) -> u64 {
            // A file that has just gone has no size.
            match disk.stat(path) {
                Ok(stat) if stat.is_dir => {
                    let names = disk.list(path).unwrap_or_default();
                    names.iter().map(|name| below(disk, &path.join(name))).sum()
                }
                Ok(stat) => stat.size,
                Err(_) => 0,
            }
        }
        let (disk, directory) = (self.world.disk.clone(), directory.to_path_buf());
        Lane::start(&*self.world.lanes, "status", ()).call(move |_| below(&*disk, &directory)).await
    }
}

fn index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index)
}

fn term(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.leader_id.term)
}

fn size(disk: &dyn Disk, path: &Path) -> u64 {
    disk.stat(path).map_or(0, |stat| stat.size)
}

fn node(member: &Member) -> Value {
    let suffrage = if member.is_voter { "voter" } else { "nonvoter" };
    json!({"id": member.id, "addr": member.node.raft_addr, "suffrage": suffrage})
}

/// As Go prints hashicorp's configuration.
fn configuration(members: &[Member]) -> String {
    let server = |member: &Member| {
        let suffrage = if member.is_voter { "Voter" } else { "Nonvoter" };
        format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", member.id, member.node.raft_addr)
    };
    format!("[{}]", members.iter().map(server).collect::<Vec<_>>().join(" "))
}

fn pragmas(foreign_keys: bool, wal_autocheckpoint: &str) -> Value {
    let mut pragmas: Map<String, Value> = PRAGMAS.iter().map(|(name, value)| ((*name).into(), json!(value))).collect();
    pragmas.insert("foreign_keys".into(), json!(if foreign_keys { "1" } else { "0" }));
    pragmas.insert("wal_autocheckpoint".into(), json!(wal_autocheckpoint));
    pragmas.into()
}

/// As Go's `sql.DBStats`. Nobody waits for a connection: a reader is there or refused.
fn connections(most: usize, in_use: usize, idle: usize) -> Value {
    json!({
        "max_open_connections": most,
        "open_connections": in_use + idle,
        "in_use": in_use,
        "idle": idle,
        "wait_count": 0,
        "wait_duration": 0,
        "max_idle_closed": 0,
        "max_idle_time_closed": 0,
        "max_lifetime_closed": 0,
    })
}
