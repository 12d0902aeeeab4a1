//! What `-h` prints.

use super::{
    flags::FLAGS,
    go_flag::Default::{self, Bool, Duration, Int, Text, Uint64},
};
use crate::go;

const BANNER: &str = "\
rqlite is a lightweight, distributed relational database, which uses SQLite as its
storage engine. This is rqlited, its server, in Rust.

Usage: rqlited [flags] <data directory>
";

/// Banner, and the flags in the order of their names.
///
/// Source: Go `flag.PrintDefaults`.
pub fn usage() -> String {
    let mut flags: Vec<_> = FLAGS.iter().collect();
    flags.sort_by_key(|flag| flag.name);

    let mut text = BANNER.to_string();
    for flag in flags {
        let (kind, default) = describe(&flag.default);
        text.push_str(&format!("  -{}{kind}\n    \t{}{default}\n", flag.name, flag.help));
    }
    text
}

/// The word for what it takes, and the default unless that says nothing.
fn describe(default: &Default) -> (&'static str, String) {
    match default {
        Bool(false) => ("", String::new()),
        Bool(true) => ("", " (default true)".to_string()),
        Int(0) => (" int", String::new()),
        Int(int) => (" int", format!(" (default {int})")),
        Uint64(0) => (" uint", String::new()),
        Uint64(uint) => (" uint", format!(" (default {uint})")),
        Duration(go::Duration::ZERO) => (" duration", String::new()),
        Duration(duration) => (" duration", format!(" (default {duration})")),
        Text("") => (" string", String::new()),
        Text(text) => (" string", format!(" (default {})", go::quote(text))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn usage() {
        insta::assert_snapshot!(super::usage(), @r#"
        rqlite is a lightweight, distributed relational database, which uses SQLite as its
        storage engine. This is rqlited, its server, in Rust.

        Usage: rqlited [flags] <data directory>
          -auth string
            	Path to authentication and authorization file. If not set, not enabled
          -auto-backup string
            	Path to automatic backup configuration file. If not set, not enabled
          -auto-optimize-int duration
            	Period between automatic 'PRAGMA optimize' (default 24h0m0s)
          -auto-restore string
            	Path to automatic restore configuration file. If not set, not enabled
          -auto-vacuum-int duration
            	Period between automatic VACUUMs. If not set, not enabled
          -bootstrap-expect int
            	Minimum number of nodes required for a bootstrap
          -bootstrap-expect-timeout duration
            	Maximum time for bootstrap process (default 2m0s)
          -cdc-config string
            	Set CDC HTTP endpoint, "stdout", or path to CDC config file
          -cluster-connect-timeout duration
            	Timeout for initial connection to other nodes (default 30s)
          -compress-snap-transport
            	Compress snapshots sent between nodes
          -cpu-profile string
            	Path to file for CPU profiling information
          -db-max-ro-conns int
            	Maximum number of concurrent read-only connections, 0 for no limit (default 256)
          -disco-config string
            	Set discovery config, or path to cluster discovery config file
          -disco-key string
            	Key prefix for cluster discovery service (default "rqlite")
          -disco-mode string
            	Choose clustering discovery mode (consul-kv, etcd-kv, dns, dns-srv)
          -extensions-path string
            	Comma-delimited list of paths to directories, zipfiles, or tar.gz files containing SQLite extensions
          -fk
            	Enable SQLite foreign key constraints
          -http-addr string
            	HTTP server bind address. To enable HTTPS, set X.509 certificate and key (default "localhost:4001")
          -http-adv-addr string
            	Advertised HTTP address. If not set, same as HTTP server bind address
          -http-allow-origin string
            	Value to set for Access-Control-Allow-Origin HTTP header
          -http-ca-cert string
            	Path to X.509 CA certificate for HTTPS
          -http-cert string
            	Path to HTTPS X.509 certificate
          -http-key string
            	Path to HTTPS X.509 private key
          -http-verify-client
            	Enable mutual TLS for HTTPS
          -http-verify-common-name string
            	Required common name of HTTPS client certificates
          -join string
            	Comma-delimited list of nodes, in host:port form, through which a cluster can be joined
          -join-as string
            	Username in authentication file to join as. If not set, joins anonymously
          -join-attempts int
            	Number of join attempts to make (default 5)
          -join-interval duration
            	Period between join attempts (default 3s)
          -mem-profile string
            	Path to file for memory profiling information
          -node-ca-cert string
            	Path to X.509 CA certificate for node-to-node encryption
          -node-cert string
            	Path to X.509 certificate for node-to-node mutual authentication and encryption
          -node-id string
            	Unique ID for node. If not set, set to advertised Raft address
          -node-key string
            	Path to X.509 private key for node-to-node mutual authentication and encryption
          -node-no-verify
            	Skip verification of any node-node certificate
          -node-verify-client
            	Enable mutual TLS for node-to-node communication
          -node-verify-common-name string
            	Required common name of node-to-node client certificates
          -node-verify-server-name string
            	Hostname to verify on certificate returned by a node
          -otlp-ca-cert string
            	Path to X.509 CA certificate for the OTLP collector
          -otlp-cert string
            	Path to X.509 client certificate for the OTLP collector
          -otlp-endpoint string
            	OTLP/gRPC collector address, host:port. Metrics export is off if not set
          -otlp-insecure
            	Connect to the OTLP collector without TLS
          -otlp-interval duration
            	Time between metrics exports (default 30s)
          -otlp-key string
            	Path to X.509 client key for the OTLP collector
          -otlp-no-verify
            	Skip verification of the OTLP collector's certificate
          -raft-addr string
            	Raft communication bind address (default "localhost:4002")
          -raft-adv-addr string
            	Advertised Raft communication address. If not set, same as Raft bind address
          -raft-apply-timeout duration
            	Raft apply timeout (default 10s)
          -raft-cluster-remove-shutdown
            	Node removes itself from cluster on graceful shutdown
          -raft-commit-timeout duration
            	Raft commit timeout (default 50ms)
          -raft-election-timeout duration
            	Raft election timeout (default 1s)
          -raft-heartbeat-timeout duration
            	Raft heartbeat timeout (default 1s)
          -raft-leader-lease-timeout duration
            	Raft leader lease timeout, 0s for the default of 500ms
          -raft-log-level string
            	Minimum log level for Raft module (default "WARN")
          -raft-non-voter
            	Configure as non-voting node
          -raft-reap-node-timeout duration
            	Time after which a non-reachable voting node will be reaped. If not set, no reaping takes place
          -raft-reap-read-only-node-timeout duration
            	Time after which a non-reachable non-voting node will be reaped. If not set, no reaping takes place
          -raft-remove-shutdown
            	Shutdown Raft if node removed from cluster
          -raft-shutdown-stepdown
            	If leader, stepdown before shutting down (default true)
          -raft-snap uint
            	Number of outstanding log entries which triggers Raft snapshot (default 8192)
          -raft-snap-int duration
            	Snapshot threshold check interval (default 10s)
          -raft-snap-wal-size uint
            	SQLite WAL file size in bytes which triggers Raft snapshot, 0 to disable (default 4194304)
          -skip-entry uint
            	Index of a log entry to pass over without applying it. Set it on all nodes. Not in rqlite
          -trace-profile string
            	Path to file for trace profiling information
          -version
            	Show version information and exit
          -write-queue-batch-size int
            	QueuedWrites queue batch size (default 128)
          -write-queue-capacity int
            	QueuedWrites queue capacity (default 1024)
          -write-queue-timeout duration
            	QueuedWrites queue timeout (default 50ms)
          -write-queue-tx
            	Use a transaction when processing a queued write
        "#);
    }
}
