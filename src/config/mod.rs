//! The command line, checked: what a node is told before it starts.
//!
//! Pure: arguments in, a [`Config`] or what to print out. Whether files exist shows later, where they are opened.

pub mod flags;
pub mod go_flag;
pub mod help;

mod check;

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use flags::{FLAGS, Support};
use go_flag::{Parsed, Value};

use tokio::sync::Semaphore;

use crate::cluster::discovery;
use crate::store::reap;
use crate::{cluster, go, queue, version};

/// What a node is told. Everything in it was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Absolute.
    pub data_dir: PathBuf,
    /// Where we listen.
    pub http_addr: String,
    /// Where others are told to find us.
    pub http_adv: String,
    pub raft_addr: String,
    pub raft_adv: String,
    pub node_id: String,

    pub cluster_connect_timeout: Duration,
    /// `Access-Control-Allow-Origin` of every answer.
    pub http_allow_origin: Option<String>,

    /// The cluster's default for foreign key enforcement.
    pub foreign_keys: bool,
    /// `None`: no limit.
    pub readers_max: Option<usize>,

    pub write_queue: queue::Options,
    pub snapshot: Snapshot,
    /// Between two `PRAGMA optimize`; zero: never.
    pub optimize_interval: Duration,
    /// Between two VACUUMs; zero: never.
    pub vacuum_interval: Duration,
    pub raft: RaftTiming,
    pub cluster: cluster::form::Options,
    pub reap: reap::Options,
    pub leave: cluster::leave::Options,
    /// Longest wait for a connection to another node.
    pub connect_timeout: Duration,
    /// As given; unknown levels are fine.
    pub raft_log_level: String,
    /// A log entry to pass over.
    pub skip_entry: Option<u64>,
}

/// When a snapshot is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Log entries since the last one.
    pub entries: u64,
    /// `None`: the WAL's size doesn't matter.
    pub wal_bytes: Option<u64>,
    /// How often both are looked at.
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RaftTiming {
    pub heartbeat_timeout: Duration,
    pub election_timeout: Duration,
    pub leader_lease_timeout: Duration,
    pub commit_timeout: Duration,
    /// Longest wait for a place in the log.
    pub apply_timeout: Duration,
}

/// What the process does with its command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Run(Box<Config>),
    /// Prints and ends. Texts end with a line break.
    Exit {
        code: u8,
        stdout: String,
        stderr: String,
    },
}

/// Reads the arguments behind the program's name; relative paths start at `cwd`.
///
/// Source: server.md §1.1 to §1.4; rqlite `cmd/rqlited/flags.go` `Config.Validate`; v10, df4edc42.
pub fn parse(arguments: &[String], cwd: &Path) -> Outcome {
    if arguments.is_empty() {
        return exit(1, "failed to parse command-line flags: missing required argument: DataPath\n");
    }

    let defined = FLAGS.map(|flag| (flag.name, flag.default));
    let given = match go_flag::parse(&defined, arguments) {
        Ok(parsed) => Given(parsed),
        Err(go_flag::Error::Help) => return exit(0, help::usage()),
        Err(error) => return exit(2, format!("{error}\n{}", help::usage())),
    };
    if given.flag("version") {
        return exit(0, version::line() + "\n");
    }

    match config(&given, cwd) {
        Ok(config) => Outcome::Run(Box::new(config)),
        Err(error) => exit(1, format!("{error}\n")),
    }
}

/// Each ends the process with status 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Error {
    #[error("fatal: {0}")]
    Fatal(String),
    #[error("fatal: not supported yet: -{0}")]
    NotSupported(&'static str),
    #[error("arguments after data directory ({0}) are not accepted ([{1}])")]
    Surplus(String, String),
    /// Told by the reference when it opens the store; we know earlier.
    #[error("failed to open store: creating the raft system failed: {0}")]
    Raft(String),
}

fn exit(code: u8, stderr: impl Into<String>) -> Outcome {
    Outcome::Exit { code, stdout: String::new(), stderr: stderr.into() }
}

fn config(given: &Given, cwd: &Path) -> Result<Config, Error> {
    check::reaping(given)?;
    if let [first, surplus @ ..] = given.0.positionals.as_slice()
        && !surplus.is_empty()
    {
        return Err(Error::Surplus(first.clone(), surplus.join(" ")));
    }
    let data_dir = given.0.positionals.first().map_or("", |path| path.trim());
    if data_dir.is_empty() {
        return Err(Error::Fatal("data directory path is required".to_string()));
    }

    check::certificates(given)?;
    let addresses = check::addresses(given)?;
    check::clustering(given, &addresses)?;
    check::telemetry(given)?;
    check::discovery(given)?;
    check::support(given)?;
    let raft = check::raft_timing(given)?;

    let cluster = cluster::form::Options {
        join: non_empty(given.text("join")).map_or_else(Vec::new, |join| join.split(',').map(str::to_string).collect()),
        join_attempts: u64::try_from(given.int("join-attempts")).unwrap_or(0),
        join_interval: given.duration("join-interval").to_std(),
        expect: usize::try_from(given.int("bootstrap-expect")).unwrap_or(0),
        expect_timeout: given.duration("bootstrap-expect-timeout").to_std(),
        voter: !given.flag("raft-non-voter"),
        discovery: discovery(given, &addresses, cwd),
    };
    let check::Addresses { http_addr, http_adv, raft_addr, raft_adv } = addresses;
    let node_id = non_empty(given.text("node-id")).unwrap_or(&raft_adv).to_string();
    Ok(Config {
        data_dir: absolute(cwd, data_dir),
        http_addr,
        http_adv,
        raft_addr,
        raft_adv,
        node_id,
        cluster_connect_timeout: given.duration("cluster-connect-timeout").to_std(),
        http_allow_origin: non_empty(given.text("http-allow-origin")).map(String::from),
        foreign_keys: given.flag("fk"),
        readers_max: usize::try_from(given.int("db-max-ro-conns")).ok().filter(|max| *max > 0),
        write_queue: queue::Options {
            capacity: at_least_one(given.int("write-queue-capacity")).min(Semaphore::MAX_PERMITS),
            batch_size: at_least_one(given.int("write-queue-batch-size")),
            timeout: given.duration("write-queue-timeout").to_std(),
            transaction: given.flag("write-queue-tx"),
        },
        snapshot: Snapshot {
            entries: Some(given.uint("raft-snap")).filter(|entries| *entries > 0).unwrap_or(8192),
            wal_bytes: Some(given.uint("raft-snap-wal-size")).filter(|bytes| *bytes > 0),
            interval: given.duration("raft-snap-int").to_std(),
        },
        optimize_interval: given.duration("auto-optimize-int").to_std(),
        vacuum_interval: given.duration("auto-vacuum-int").to_std(),
        raft,
        cluster,
        reap: reap::Options {
            voters: given.duration("raft-reap-node-timeout").to_std(),
            others: given.duration("raft-reap-read-only-node-timeout").to_std(),
        },
        leave: cluster::leave::Options {
            remove: given.flag("raft-cluster-remove-shutdown"),
            step_down: given.flag("raft-shutdown-stepdown"),
        },
        connect_timeout: given.duration("cluster-connect-timeout").to_std(),
        raft_log_level: given.text("raft-log-level").to_string(),
        skip_entry: Some(given.uint("skip-entry")).filter(|index| *index > 0),
    })
}

fn discovery(given: &Given, addresses: &check::Addresses, cwd: &Path) -> Option<discovery::Options> {
    let mode = match given.text("disco-mode") {
        "dns" => discovery::Mode::Dns,
        "dns-srv" => discovery::Mode::DnsSrv,
        _ => return None,
    };
    let config = given.text("disco-config").to_string();
    let file = absolute(cwd, &config);
    let port = go::split_host_port(&addresses.raft_addr).and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    Some(discovery::Options { mode, config, file, port })
}

/// The path from the root, without `.` and `..`: by its text alone, as Go's `filepath.Abs` does it.
fn absolute(cwd: &Path, path: &str) -> PathBuf {
    let mut absolute = PathBuf::new();
    for component in cwd.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(absolute.pop()),
            other => absolute.push(other),
        }
    }
    absolute
}

fn at_least_one(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0).max(1)
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Values by the names of flags: what was given, else the default.
struct Given(Parsed);

impl Given {
    fn value(&self, name: &str) -> Value {
        let flag = FLAGS.iter().find(|flag| flag.name == name).unwrap_or_else(|| panic!("no flag is called -{name}"));
        self.0.given(name).cloned().unwrap_or_else(|| flag.default.value())
    }

    fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(bool) => bool,
            other => panic!("-{name} is {other:?}"),
        }
    }

    fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(int) => int,
            other => panic!("-{name} is {other:?}"),
        }
    }

    fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint64(uint) => uint,
            other => panic!("-{name} is {other:?}"),
        }
    }

    fn duration(&self, name: &str) -> go::Duration {
        match self.value(name) {
            Value::Duration(duration) => duration,
            other => panic!("-{name} is {other:?}"),
        }
    }

    /// A text that was given, or is the default.
    fn text(&self, name: &str) -> &str {
        match self.0.given(name) {
            Some(Value::Text(text)) => text,
            Some(other) => panic!("-{name} is {other:?}"),
            None => match FLAGS.iter().find(|flag| flag.name == name).map(|flag| flag.default) {
                Some(go_flag::Default::Text(text)) => text,
                other => panic!("-{name} is {other:?}"),
            },
        }
    }

    fn has(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{Config, Outcome, RaftTiming, Snapshot, discovery, parse};

    #[test]
    fn a_bare_directory_gets_the_defaults() {
        let want = Config {
            data_dir: "/home/user/node.1".into(),
            http_addr: "localhost:4001".into(),
            http_adv: "localhost:4001".into(),
            raft_addr: "localhost:4002".into(),
            raft_adv: "localhost:4002".into(),
            node_id: "localhost:4002".into(),
            cluster_connect_timeout: Duration::from_secs(30),
            http_allow_origin: None,
            foreign_keys: false,
            readers_max: Some(256),
            write_queue: crate::queue::Options {
                capacity: 1024,
                batch_size: 128,
                timeout: Duration::from_millis(50),
                transaction: false,
            },
            snapshot: Snapshot { entries: 8192, wal_bytes: Some(4_194_304), interval: Duration::from_secs(10) },
            optimize_interval: Duration::from_secs(24 * 3600),
            vacuum_interval: Duration::ZERO,
            raft: RaftTiming {
                heartbeat_timeout: Duration::from_secs(1),
                election_timeout: Duration::from_secs(1),
                leader_lease_timeout: Duration::from_millis(500),
                commit_timeout: Duration::from_millis(50),
                apply_timeout: Duration::from_secs(10),
            },
            cluster: crate::cluster::form::Options {
                join: Vec::new(),
                join_attempts: 5,
                join_interval: Duration::from_secs(3),
                expect: 0,
                expect_timeout: Duration::from_secs(120),
                voter: true,
                discovery: None,
            },
            reap: Default::default(),
            leave: crate::cluster::leave::Options { remove: false, step_down: true },
            connect_timeout: Duration::from_secs(30),
            raft_log_level: "WARN".into(),
            skip_entry: None,
        };
        assert_eq!(config("node.1"), want);
    }

    #[test]
    fn the_line_that_tools_start_nodes_with_is_taken() {
        let config = config(
            "-node-id 1 -http-addr 0.0.0.0:5001 -bootstrap-expect 0 -raft-addr 0.0.0.0:5002 -raft-adv-addr localhost:5002 \
             -raft-snap 100 -raft-snap-int 100ms -raft-cluster-remove-shutdown=false -raft-non-voter=false \
             -http-adv-addr localhost:5001 -join-interval 1s -raft-log-level INFO /data",
        );
        assert_eq!((config.http_addr.as_str(), config.http_adv.as_str()), ("0.0.0.0:5001", "localhost:5001"));
        assert_eq!((config.raft_addr.as_str(), config.raft_adv.as_str()), ("0.0.0.0:5002", "localhost:5002"));
        assert_eq!((config.node_id.as_str(), config.raft_log_level.as_str()), ("1", "INFO"));
        assert_eq!(config.snapshot.entries, 100);
        assert_eq!(config.snapshot.interval, Duration::from_millis(100));
        assert_eq!(config.data_dir, Path::new("/data"));
    }

    #[test]
    fn discovery_is_by_name_or_by_service() {
        let found = |line: &str| config(line).cluster.discovery.unwrap();
        let options = found("-disco-mode dns -bootstrap-expect 3 -raft-addr h:4 d");
        assert_eq!((options.mode, options.port, options.config.as_str()), (discovery::Mode::Dns, 4, ""));
        let options = found("-disco-mode=dns-srv -raft-non-voter -disco-config f.json d");
        assert_eq!((options.mode, options.file.as_path()), (discovery::Mode::DnsSrv, Path::new("/home/user/f.json")));
    }

    #[test]
    fn zero_means_the_default_or_no_limit() {
        let config =
            config("-raft-snap 0 -raft-snap-wal-size=0 -db-max-ro-conns 0 -skip-entry 7 -fk -raft-adv-addr h:1 d");
        assert_eq!(config.snapshot.entries, 8192);
        assert_eq!(config.snapshot.wal_bytes, None);
        assert_eq!(config.readers_max, None);
        assert_eq!(config.skip_entry, Some(7));
        assert_eq!(config.node_id, "h:1");
        assert!(config.foreign_keys);
    }

    #[test]
    fn the_directory_is_made_absolute() {
        check("/data", "/data");
        check("data/", "/home/user/data");
        check("./a/../../b//c", "/home/b/c");
        check("../../../..", "/");

        #[track_caller]
        fn check(path: &str, want: &str) {
            assert_eq!(config(path).data_dir, Path::new(want));
        }

        let Outcome::Run(config) = parse(&[" /blank ".to_string()], Path::new("/")) else { panic!("not run") };
        assert_eq!(config.data_dir, Path::new("/blank"));
    }

    #[test]
    fn syntax_errors_print_the_usage_and_exit_with_2() {
        let Outcome::Exit { code: 2, stderr, .. } = outcome("-nosuch DIR") else { panic!("not refused") };
        assert!(stderr.starts_with("flag provided but not defined: -nosuch\nrqlite is"), "{stderr}");
        assert!(stderr.contains("\nUsage: rqlited [flags] <data directory>\n  -auth string\n"), "{stderr}");
    }

    #[test]
    fn help_and_version_exit_with_0() {
        let Outcome::Exit { code: 0, stderr, stdout } = outcome("--help -nosuch") else { panic!("not helped") };
        assert!(stderr.starts_with("rqlite is") && stdout.is_empty());

        let Outcome::Exit { code: 0, stderr, stdout } = outcome("-http-cert=x -version a b") else {
            panic!("no version")
        };
        assert!(stdout.is_empty());
        let stderr = stderr.replace(rusqlite::version(), "SQLITE").replace(env!("RQLITE_RUSTC_VERSION"), "RUST");
        let stderr = stderr.replace(crate::version::arch(), "ARCH").replace(crate::version::os(), "OS");
        assert_eq!(stderr, "rqlited 10 OS ARCH rustRUST sqliteSQLITE (commit unknown, compiler rustc)\n");
    }

    #[test]
    fn what_is_refused() {
        check("", "failed to parse command-line flags: missing required argument: DataPath");
        check("-fk", "fatal: data directory path is required");
        check("-raft-reap-node-timeout 0s", "fatal: -raft-reap-node-timeout must be greater than 0");
        check(
            "-raft-reap-read-only-node-timeout=-1s d",
            "fatal: -raft-reap-read-only-node-timeout must be greater than 0",
        );
        check("d -fk e", "arguments after data directory (d) are not accepted ([-fk e])");
        check("-fk false d", "arguments after data directory (false) are not accepted ([d])");

        check("-http-cert x d", "fatal: either both -http-cert and -http-key must be set, or neither");
        check("-node-key x d", "fatal: either both -node-cert and -node-key must be set, or neither");
        check("-http-verify-common-name x d", "fatal: -http-verify-common-name requires -http-verify-client");
        check("-node-verify-common-name x d", "fatal: -node-verify-common-name requires -node-verify-client");

        check("-http-addr a:1 -raft-addr a:1 d", "fatal: HTTP and Raft addresses must differ");
        let scheme = "fatal: HTTP options should not include protocol (http:// or https://)";
        check("-http-addr http://a:1 d", scheme);
        check("-http-adv-addr HTTPS://a:1 d", scheme);
        check("-http-addr httpd:1 d", scheme);
        check("-http-addr a d", "fatal: HTTP bind address not valid");
        check("-http-adv-addr a d", "fatal: HTTP advertised HTTP address not valid");
        let via = "specify it via -http-addr or -http-adv-addr";
        check("-http-addr 0.0.0.0:1 d", &format!("fatal: advertised HTTP address is not routable (0.0.0.0), {via}"));
        check("-http-addr [::]:1 d", &format!("fatal: advertised HTTP address is not routable (::), {via}"));
        check("-raft-addr a d", "fatal: raft bind address not valid");
        check("-raft-addr a:b d", "fatal: raft bind port not valid");
        check("-raft-adv-addr a d", "fatal: raft advertised address not valid");
        check(
            "-raft-adv-addr 0.0.0.0:b d",
            "fatal: advertised Raft address is not routable (0.0.0.0), specify it via -raft-addr or -raft-adv-addr",
        );
        check("-raft-adv-addr a:b d", "fatal: raft advertised port is not valid");
        check("-http-adv-addr a:1 -raft-adv-addr a:1 d", "fatal: advertised HTTP and Raft addresses must differ");

        check("-bootstrap-expect 1 -raft-non-voter d", "fatal: bootstrapping only applicable to voting nodes");
        check("-join a:1,b d", "fatal: b is an invalid join address");
        check("-join localhost:4002 d", "fatal: node cannot join with itself unless bootstrapping");
        check("-join a:1 -auto-restore x d", "fatal: auto-restoring cannot be used when joining a cluster");
        check("-join a:1 -disco-mode x d", "fatal: disco mode cannot be used when also explicitly joining a cluster");
        check("-cdc-config x -raft-non-voter d", "fatal: CDC cannot be enabled on non-voting nodes");

        check("-otlp-key x d", "fatal: either both -otlp-cert and -otlp-key must be set, or neither");
        check("-otlp-insecure d", "fatal: OTLP options require -otlp-endpoint");
        check("-otlp-endpoint grpc://a:1 d", "fatal: -otlp-endpoint must not include a protocol scheme");
        check("-otlp-endpoint a d", "fatal: -otlp-endpoint is not a valid address");
        check("-otlp-endpoint a:1 -otlp-interval 0 d", "fatal: -otlp-interval must be greater than zero");
        check(
            "-otlp-endpoint a:1 -otlp-insecure -otlp-no-verify d",
            "fatal: -otlp-insecure cannot be used with other OTLP TLS options",
        );
        check("-disco-mode etcd-kv -bootstrap-expect 3 d", "fatal: bootstrapping not applicable when using etcd-kv");
        check("-disco-mode dns d", "fatal: bootstrap-expect value required when using dns with a voting node");
        check("-disco-mode x d", "fatal: disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv");

        let raft = "failed to open store: creating the raft system failed:";
        check("-raft-heartbeat-timeout 4ms d", &format!("{raft} HeartbeatTimeout is too low"));
        check("-raft-election-timeout=-1s d", &format!("{raft} ElectionTimeout is too low"));
        check("-raft-commit-timeout 0 d", &format!("{raft} CommitTimeout is too low"));
        check("-raft-snap-int 1ms d", &format!("{raft} SnapshotInterval is too low"));
        check("-raft-leader-lease-timeout 1ns d", &format!("{raft} LeaderLeaseTimeout is too low"));
        check(
            "-raft-heartbeat-timeout 200ms d",
            &format!("{raft} LeaderLeaseTimeout (500ms) cannot be larger than heartbeat timeout (200ms)"),
        );
        check(
            "-raft-election-timeout 500ms d",
            &format!("{raft} ElectionTimeout (500ms) must be equal or greater than Heartbeat Timeout (1s)"),
        );
    }

    #[test]
    fn flags_without_their_feature_are_refused_unless_they_say_the_default() {
        check("-disco-mode consul-kv d", "fatal: not supported yet: -disco-mode");
        check("-auth x d", "fatal: not supported yet: -auth");
        check("-raft-remove-shutdown=true d", "fatal: not supported yet: -raft-remove-shutdown");
        config("-join http://nonsense -raft-cluster-remove-shutdown=true -raft-reap-node-timeout 1h d");
        check("-write-queue-tx -cpu-profile x d", "fatal: not supported yet: -cpu-profile");
        config("-auth= -write-queue-capacity 0x400 -auto-optimize-int 10m -raft-shutdown-stepdown=false d");
        config("-http-addr :4001 -raft-addr :4002 d");
    }

    #[track_caller]
    fn check(line: &str, want: &str) {
        let want = Outcome::Exit { code: 1, stdout: String::new(), stderr: format!("{want}\n") };
        assert_eq!(outcome(line), want, "{line}");
    }

    #[track_caller]
    fn config(line: &str) -> Config {
        match outcome(line) {
            Outcome::Run(config) => *config,
            Outcome::Exit { stderr, .. } => panic!("{line}: {stderr}"),
        }
    }

    fn outcome(line: &str) -> Outcome {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        parse(&arguments, Path::new("/home/user"))
    }
}
