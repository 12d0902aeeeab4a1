//! THE table of counters of one node, named as the reference's /debug/vars. No statics: many nodes share a process.
//!
//! What counts features that aren't there yet stays 0, which is its true value.
//!
//! Source: server.md §3.4.

use std::sync::atomic::{AtomicI64, Ordering};

/// A number that goes up, or the last of its kind.
#[derive(Debug, Default)]
pub struct Counter(AtomicI64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as i64, Ordering::Relaxed);
    }

    /// The last value of a gauge.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// As of now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The maps by name, each with its counters by name; all are sorted.
pub type Tree = Vec<(&'static str, Vec<(&'static str, i64)>)>;

macro_rules! maps {
    ($($field:ident: $map:ident = $key:literal { $($name:ident,)* })*) => {
        /// All counters of a node.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(pub $field: $map,)*
        }

        $(
            #[doc = concat!("`", $key, "`")]
            #[derive(Debug, Default)]
            pub struct $map {
                $(pub $name: Counter,)*
            }
        )*

        impl Metrics {
            /// All of them, as of now.
            pub fn tree(&self) -> Tree {
                vec![$(($key, vec![$((stringify!($name), self.$field.$name.get()),)*]),)*]
            }
        }
    };
}

maps! {
    cdc_service: CdcService = "cdc.service" {
        batcher_events_write, batcher_reads, batcher_write_ignored, batcher_writes, dropped_failed_to_send,
        fifo_enqueue_ignored, fifo_size, hwm_ignored, num_bytes_tx, num_events_tx_failed, num_events_tx_ok, retries,
        snapshot_sync,
    }
    cluster: Cluster = "cluster" {
        num_backup_req, num_broadcast_hwm_req, num_client_execute_retries, num_client_force_new_conn,
        num_client_load_retries, num_client_query_retries, num_client_read_timeouts, num_client_request_retries,
        num_client_retries, num_client_write_timeouts, num_conn_rejected, num_execute_req, num_get_node_api_req,
        num_get_node_api_req_local, num_get_node_api_req_retries, num_get_node_api_resp, num_hwm_update_dropped,
        num_join_req, num_load_req, num_notify_req, num_query_req, num_remove_node_req, num_request_req,
        num_stepdown_req,
    }
    db: Db = "db" {
        backup_sleeps, backup_step_dones, backup_step_errors, checkpoint_busy_errors, checkpoint_duration_ms,
        checkpoint_errors, checkpoint_invariant_errors, checkpoint_partial, checkpoint_total,
        checkpoint_wal_truncated, checkpointed_moves, checkpoints, commit_hooks, compacted_wal_size,
        create_compacted_wal_duration_ms, dropped_cdc_events, execute_transactions, execution_errors, executions,
        executions_force_queries, open_duration_ms, precompact_wal_size, preupdates, preupdates_callback_errors,
        preupdates_errors, queries, query_errors, query_transactions, request_transactions, requests, update_hooks,
        update_hooks_callback_errors, update_hooks_errors,
    }
    db_wal: DbWal = "db.wal" {
        compact_frames_input, compact_frames_output, compact_frames_ratio, compact_scan_duration_ms,
        compact_scan_errors, compact_write_duration_ms,
    }
    downloader: Downloader = "downloader" {
        download_bytes, num_downloads_fail, num_downloads_ok,
    }
    http: Http = "http" {
        auth_fail, auth_ok, backups, boot, execute_stmts_rx, executions, leader_not_found, loads, num_readyz,
        num_status, queries, query_stmts_rx, queued_executions, queued_executions_failed,
        queued_executions_leadership_lost, queued_executions_no_leader, queued_executions_not_leader,
        queued_executions_num_stmts_rx, queued_executions_num_stmts_tx, queued_executions_ok,
        queued_executions_unknown_error, queued_executions_wait, queued_executions_wait_timeout, request_stmts_rx,
        requests, sql_analyze, tls_cert_fetched, ui, user_reaps, user_snapshots,
    }
    mux: Mux = "mux" {
        num_connections_handled, num_tls_cert_fetched, num_unregistered_handlers,
    }
    proto: Proto = "proto" {
        num_compressed_bytes, num_compressed_requests, num_compression_misses, num_precompressed_bytes,
        num_requests, num_uncompressed_bytes, num_uncompressed_requests,
    }
    proxy: Proxy = "proxy" {
        remote_backups, remote_executions, remote_executions_failed, remote_loads, remote_queries,
        remote_queries_failed, remote_remove_node, remote_requests, remote_requests_failed, remote_stepdowns,
    }
    queue: Queue = "queue" {
        num_flush, num_timeout, objects_rx, objects_tx,
    }
    snapshot: Snapshot = "snapshot" {
        auto_reap_duration_ms, persist_duration_ms, persist_size, read_timeout_total, reap_errors,
        reap_execute_duration_ms, reap_plan_recovered, reap_snapshots, reap_total, reap_wals, sink_errors,
        sink_full_crc32_duration_ms, sink_full_total, sink_incremental_total, upgrade_fail, upgrade_ok,
    }
    snapshot_plan: SnapshotPlan = "snapshot.plan" {
        calc_crc32_duration_ms, checkpoint_duration_ms,
    }
    sql_processor: SqlProcessor = "sql.processor" {
        num_parser_panics, num_rewritten_stmts,
    }
    store: Store = "store" {
        auto_optimize_duration, auto_vacuum_duration, failed_heartbeat_observed, fsm_apply_duration_us,
        leader_changes_dropped, leader_changes_observed, nodes_reaped_failed, nodes_reaped_ok, num_auto_optimizes,
        num_auto_optimizes_failed, num_auto_restores, num_auto_restores_failed, num_auto_restores_skipped,
        num_auto_vacuums, num_auto_vacuums_failed, num_backups, num_boots, num_compressed_commands,
        num_db_stats_errors, num_ignored_joins, num_joins, num_loads, num_provider_checks, num_provider_provides,
        num_provider_provides_fail, num_recoveries, num_removed_before_joins, num_restores, num_restores_failed,
        num_restores_start, num_restores_start_skipped, num_snapshot_persists, num_snapshot_persists_failed,
        num_snapshots, num_snapshots_failed, num_snapshots_full, num_snapshots_incremental,
        num_uncompressed_commands, num_user_snapshots, num_user_snapshots_failed, num_verify_leader,
        num_verify_leader_failed, num_wal_snapshots, num_wal_snapshots_failed, snapshot_crc32_create_duration,
        snapshot_create_duration, snapshot_persist_duration, snapshot_sync_duration, verify_leader_duration,
    }
    uploader: Uploader = "uploader" {
        last_upload_bytes, num_sum_get_fail, num_uploads_fail, num_uploads_ok, num_uploads_skipped,
        num_uploads_skipped_id, total_upload_bytes,
    }
}
