//! THE table of flags: name, default, whether it does something yet, help.

use super::go_flag::Default::{self, Bool, Duration, Int, Text, Uint64};
use crate::go;

pub struct Flag {
    pub name: &'static str,
    pub default: Default,
    pub support: Support,
    pub help: &'static str,
}

/// Whether the feature behind a flag is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Yes,
    /// Refused unless the value is the default.
    NotYet,
    /// Taken, whatever it says: it matters only beside another flag, which is refused.
    Idle,
}
use Support::{Idle, NotYet, Yes};

#[rustfmt::skip]
pub const FLAGS: [Flag; 69] = [
    flag("version", Bool(false), Yes, "Show version information and exit"),
    flag("extensions-path", Text(""), NotYet, "Comma-delimited list of paths to directories, zipfiles, or tar.gz files containing SQLite extensions"),
    flag("cdc-config", Text(""), NotYet, "Set CDC HTTP endpoint, \"stdout\", or path to CDC config file"),
    flag("otlp-endpoint", Text(""), NotYet, "OTLP/gRPC collector address, host:port. Metrics export is off if not set"),
    flag("otlp-interval", Duration(secs(30)), Idle, "Time between metrics exports"),
    flag("otlp-insecure", Bool(false), NotYet, "Connect to the OTLP collector without TLS"),
    flag("otlp-no-verify", Bool(false), NotYet, "Skip verification of the OTLP collector's certificate"),
    flag("otlp-ca-cert", Text(""), NotYet, "Path to X.509 CA certificate for the OTLP collector"),
    flag("otlp-cert", Text(""), NotYet, "Path to X.509 client certificate for the OTLP collector"),
    flag("otlp-key", Text(""), NotYet, "Path to X.509 client key for the OTLP collector"),
    flag("http-addr", Text("localhost:4001"), Yes, "HTTP server bind address. To enable HTTPS, set X.509 certificate and key"),
    flag("http-adv-addr", Text(""), Yes, "Advertised HTTP address. If not set, same as HTTP server bind address"),
    flag("http-allow-origin", Text(""), Yes, "Value to set for Access-Control-Allow-Origin HTTP header"),
    flag("auth", Text(""), NotYet, "Path to authentication and authorization file. If not set, not enabled"),
    flag("auto-backup", Text(""), NotYet, "Path to automatic backup configuration file. If not set, not enabled"),
    flag("auto-restore", Text(""), NotYet, "Path to automatic restore configuration file. If not set, not enabled"),
    flag("http-ca-cert", Text(""), NotYet, "Path to X.509 CA certificate for HTTPS"),
    flag("http-cert", Text(""), NotYet, "Path to HTTPS X.509 certificate"),
    flag("http-key", Text(""), NotYet, "Path to HTTPS X.509 private key"),
    flag("http-verify-client", Bool(false), NotYet, "Enable mutual TLS for HTTPS"),
    flag("http-verify-common-name", Text(""), NotYet, "Required common name of HTTPS client certificates"),
    flag("node-ca-cert", Text(""), NotYet, "Path to X.509 CA certificate for node-to-node encryption"),
    flag("node-cert", Text(""), NotYet, "Path to X.509 certificate for node-to-node mutual authentication and encryption"),
    flag("node-key", Text(""), NotYet, "Path to X.509 private key for node-to-node mutual authentication and encryption"),
    flag("node-no-verify", Bool(false), NotYet, "Skip verification of any node-node certificate"),
    flag("node-verify-client", Bool(false), NotYet, "Enable mutual TLS for node-to-node communication"),
    flag("node-verify-server-name", Text(""), NotYet, "Hostname to verify on certificate returned by a node"),
    flag("node-verify-common-name", Text(""), NotYet, "Required common name of node-to-node client certificates"),
    flag("node-id", Text(""), Yes, "Unique ID for node. If not set, set to advertised Raft address"),
    flag("compress-snap-transport", Bool(false), NotYet, "Compress snapshots sent between nodes"),
    flag("raft-addr", Text("localhost:4002"), Yes, "Raft communication bind address"),
    flag("raft-adv-addr", Text(""), Yes, "Advertised Raft communication address. If not set, same as Raft bind address"),
    flag("join", Text(""), Yes, "Comma-delimited list of nodes, in host:port form, through which a cluster can be joined"),
    flag("join-attempts", Int(5), Yes, "Number of join attempts to make"),
    flag("join-interval", Duration(secs(3)), Yes, "Period between join attempts"),
    flag("join-as", Text(""), Idle, "Username in authentication file to join as. If not set, joins anonymously"),
    flag("bootstrap-expect", Int(0), Yes, "Minimum number of nodes required for a bootstrap"),
    flag("bootstrap-expect-timeout", Duration(secs(120)), Yes, "Maximum time for bootstrap process"),
    flag("disco-mode", Text(""), Yes, "Choose clustering discovery mode (consul-kv, etcd-kv, dns, dns-srv)"),
    flag("disco-key", Text("rqlite"), Idle, "Key prefix for cluster discovery service"),
    flag("disco-config", Text(""), Yes, "Set discovery config, or path to cluster discovery config file"),
    flag("fk", Bool(false), Yes, "Enable SQLite foreign key constraints"),
    flag("db-max-ro-conns", Int(256), Yes, "Maximum number of concurrent read-only connections, 0 for no limit"),
    flag("auto-vacuum-int", Duration(secs(0)), Yes, "Period between automatic VACUUMs. If not set, not enabled"),
    flag("auto-optimize-int", Duration(secs(24 * 3600)), Yes, "Period between automatic 'PRAGMA optimize'"),
    flag("raft-log-level", Text("WARN"), Yes, "Minimum log level for Raft module"),
    flag("raft-non-voter", Bool(false), Yes, "Configure as non-voting node"),
    flag("raft-snap", Uint64(8192), Yes, "Number of outstanding log entries which triggers Raft snapshot"),
    flag("raft-snap-wal-size", Uint64(4 << 20), Yes, "SQLite WAL file size in bytes which triggers Raft snapshot, 0 to disable"),
    flag("raft-snap-int", Duration(secs(10)), Yes, "Snapshot threshold check interval"),
    flag("raft-leader-lease-timeout", Duration(secs(0)), Yes, "Raft leader lease timeout, 0s for the default of 500ms"),
    flag("raft-heartbeat-timeout", Duration(secs(1)), Yes, "Raft heartbeat timeout"),
    flag("raft-election-timeout", Duration(secs(1)), Yes, "Raft election timeout"),
    flag("raft-commit-timeout", Duration(go::Duration::from_millis(50)), Yes, "Raft commit timeout"),
    flag("raft-apply-timeout", Duration(secs(10)), Yes, "Raft apply timeout"),
    flag("raft-remove-shutdown", Bool(false), NotYet, "Shutdown Raft if node removed from cluster"),
    flag("raft-cluster-remove-shutdown", Bool(false), Yes, "Node removes itself from cluster on graceful shutdown"),
    flag("raft-shutdown-stepdown", Bool(true), Yes, "If leader, stepdown before shutting down"),
    flag("raft-reap-node-timeout", Duration(secs(0)), Yes, "Time after which a non-reachable voting node will be reaped. If not set, no reaping takes place"),
    flag("raft-reap-read-only-node-timeout", Duration(secs(0)), Yes, "Time after which a non-reachable non-voting node will be reaped. If not set, no reaping takes place"),
    flag("cluster-connect-timeout", Duration(secs(30)), Yes, "Timeout for initial connection to other nodes"),
    flag("write-queue-capacity", Int(1024), Yes, "QueuedWrites queue capacity"),
    flag("write-queue-batch-size", Int(128), Yes, "QueuedWrites queue batch size"),
    flag("write-queue-timeout", Duration(go::Duration::from_millis(50)), Yes, "QueuedWrites queue timeout"),
    flag("write-queue-tx", Bool(false), Yes, "Use a transaction when processing a queued write"),
    flag("cpu-profile", Text(""), NotYet, "Path to file for CPU profiling information"),
    flag("mem-profile", Text(""), NotYet, "Path to file for memory profiling information"),
    flag("trace-profile", Text(""), NotYet, "Path to file for trace profiling information"),
    flag("skip-entry", Uint64(0), Yes, "Index of a log entry to pass over without applying it. Set it on all nodes. Not in rqlite"),
];

const fn flag(name: &'static str, default: Default, support: Support, help: &'static str) -> Flag {
    Flag { name, default, support, help }
}

const fn secs(secs: i64) -> go::Duration {
    go::Duration::from_secs(secs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FLAGS;

    #[test]
    fn names_are_unique() {
        assert_eq!(FLAGS.iter().map(|flag| flag.name).collect::<BTreeSet<_>>().len(), FLAGS.len());
    }
}
