//! GET /status: the reference's tree, as far as its parts are built.
//!
//! Source: server.md §3.1.

use std::collections::BTreeMap;

use axum_core::response::Response;
use serde_json::{Map, Value, json};

use super::json::Json;
use super::response;
use super::routes::{Api, Call};
use crate::cluster::discovery::Discovery;
use crate::go;
use crate::go::time::rfc3339;
use crate::peer::client::IDLE_MAX;
use crate::store::Store;
use crate::version;
use crate::world::host::Interface;

/// Keys whose objects keep the order they are made in; all others are sorted.
const ORDERED: &[&str] = &["interfaces", "nodes", "config", "bolt", "conn_pool_stats"];

pub async fn handle(call: Call) -> Response {
    let tree = tree(&call.api).await;
    let (tree, pretty) = match &call.params.key {
        None => (tree, call.params.pretty),
        // Quirk: a part is never pretty, and always sorted; kept from the reference.
        Some(key) => (sorted(part(tree, key), &[]), false),
    };
    let mut json = Json::new(pretty);
    json.value(&tree);
    response::ok(response::JSON, json.take())
}

async fn tree(api: &Api) -> Value {
    let facts = api.world.host.facts();
    let config = &api.config;
    let now = api.world.clock.unix_now();
    let mut tree = json!({
        "build": {
            "build_time": "unknown",
            "commit": version::COMMIT,
            "compiler_command": "unknown",
            "compiler_toolchain": "rustc",
            "version": version::RQLITE_VERSION,
        },
        "http": {
            "auth": "disabled",
            "bind_addr": api.bound,
            "cluster": {"local_node_addr": config.raft_adv, "timeout": duration(config.cluster_connect_timeout)},
            "queue": {"_default": {
                "batch_size": config.write_queue.batch_size,
                "max_size": config.write_queue.capacity,
                "sequence_number": api.queue.get().map_or(0, |queue| queue.written()),
                "timeout": duration(config.write_queue.timeout),
            }},
            "tls": {"enabled": "false"},
        },
        "node": {
            "current_time": rfc3339(Some(now)),
            "start_time": rfc3339(Some(api.started)),
            "uptime": duration(now.saturating_sub(api.started)),
        },
        "os": {
            "executable": facts.executable,
            "hostname": facts.hostname,
            "page_size": facts.page_size,
            "pid": facts.pid,
            "ppid": facts.parent_pid,
        },
        "runtime": {
            "GOARCH": version::arch(),
            "GOMAXPROCS": facts.cpus,
            "GOOS": version::os(),
            "kubernetes_hint": facts.in_kubernetes,
            "num_cpu": facts.cpus,
            "num_goroutine": facts.threads,
            "version": concat!("rust", env!("RQLITE_RUSTC_VERSION")),
        },
        "store": {"open": false},
    });
    if let Some(origin) = &config.http_allow_origin {
        tree["http"]["allow_origin"] = json!(origin);
    }
    let pools: Map<String, Value> = api.cluster.get().map(|client| pools(&client.idle())).unwrap_or_default();
    if !pools.is_empty() {
        tree["http"]["cluster"]["conn_pool_stats"] = pools.into();
    }
    if let Some(discovery) = api.discovery.get().and_then(Discovery::status) {
        tree["disco"] = discovery;
    }
    if let Some(at) = *api.last_backup.lock().expect("no panic holds this lock") {
        tree["last_backup_time"] = json!(rfc3339(Some(at)));
    }
    if let Some(store) = api.store.get() {
        tree["cluster"] = json!({"addr": config.raft_adv, "api_addr": config.http_adv, "https": "false"});
        tree["extensions"] = json!({"dir": config.data_dir.join("extensions").display().to_string(), "names": []});
        // Both purposes of a connection: its first byte.
        tree["mux"] = json!({"addr": config.raft_adv, "handlers": "\u{1}\u{2}", "timeout": "30s", "tls": "disabled"});
        tree["network"] = json!({"interfaces": interfaces(&facts.interfaces)});
        tree["store"] = of_store(api, store).await;
    }
    sorted(tree, ORDERED)
}

/// The store's own part, and what follows from the command line.
async fn of_store(api: &Api, store: &Store) -> Value {
    let config = &api.config;
    let mut tree = store.status().await;
    for (key, timeout) in [
        ("apply_timeout", config.raft.apply_timeout),
        ("commit_timeout", config.raft.commit_timeout),
        ("election_timeout", config.raft.election_timeout),
        ("heartbeat_timeout", config.raft.heartbeat_timeout),
        ("snapshot_interval", config.snapshot.interval),
        ("reap_timeout", config.reap.voters),
        ("reap_read_only_timeout", config.reap.others),
    ] {
        tree[key] = json!(duration(timeout));
    }
    tree["snapshot_threshold"] = json!(config.snapshot.entries);
    tree["trailing_logs"] = json!(config.snapshot.entries + config.snapshot.entries / 4);
    let nanos = |duration: std::time::Duration| json!(go::Duration::from_std(duration).as_nanos());
    tree["raft"]["config"] = json!({
        "LocalID": config.node_id,
        "HeartbeatTimeout": nanos(config.raft.heartbeat_timeout),
        "ElectionTimeout": nanos(config.raft.election_timeout),
        "LeaderLeaseTimeout": nanos(config.raft.leader_lease_timeout),
        "CommitTimeout": nanos(config.raft.commit_timeout),
        "SnapshotInterval": nanos(config.snapshot.interval),
        "SnapshotThreshold": config.snapshot.entries,
        "MaxAppendEntries": store.append_entries_max(),
        "ShutdownOnRemove": false,
        "LogLevel": config.raft_log_level,
        // The main file is the snapshot.
        "NoSnapshotRestoreOnStart": true,
    });
    tree
}

/// Connections to other nodes that wait for the next request; those in use aren't counted.
fn pools(idle: &BTreeMap<String, usize>) -> Map<String, Value> {
    let pool = |(address, idle): (&String, &usize)| {
        (address.clone(), json!({"idle": idle, "max_open_connections": IDLE_MAX, "open_connections": idle}))
    };
    idle.iter().map(pool).collect()
}

fn interfaces(interfaces: &[Interface]) -> Map<String, Value> {
    let addresses = |interface: &Interface| -> Value {
        let addresses: Vec<_> = interface.addresses.iter().map(|address| json!({"address": address})).collect();
        if addresses.is_empty() { Value::Null } else { addresses.into() }
    };
    let interface = |interface: &Interface| {
        let shown = json!({
            "flags": interface.flags,
            "hardware_address": interface.hardware_address,
            "addresses": addresses(interface),
        });
        (interface.name.clone(), shown)
    };
    interfaces.iter().map(interface).collect()
}

fn duration(duration: std::time::Duration) -> String {
    go::Duration::from_std(duration).to_string()
}

/// What is at `a.b.c`: a key that isn't there is an empty object, and what is no object ends the path.
fn part(tree: Value, key: &str) -> Value {
    key.split('.').fold(tree, |tree, key| match tree {
        Value::Object(mut fields) => fields.remove(key).unwrap_or_else(|| json!({})),
        other => other,
    })
}

/// The same, with the keys of all objects in order but for those below `ordered`.
fn sorted(tree: Value, ordered: &[&str]) -> Value {
    match tree {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            let field = |(key, value): (String, Value)| match ordered.contains(&key.as_str()) {
                true => (key, value),
                false => (key, sorted(value, ordered)),
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| sorted(item, ordered)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{part, sorted};

    #[test]
    fn a_part_of_the_tree() {
        check("a.b", json!({"c": "x"}));
        check("a.b.c", json!("x"));
        check("a.b.c.d", json!("x"));
        check("a.nosuch.c", json!({}));
        check("", json!({}));

        #[track_caller]
        fn check(key: &str, want: Value) {
            assert_eq!(part(json!({"a": {"b": {"c": "x"}}}), key), want);
        }
    }

    #[test]
    fn keys_are_in_order_but_for_some() {
        let tree = json!({"b": {"z": 1, "a": 2}, "a": [{"d": 0, "c": 0}], "config": {"z": 1, "a": 2}});
        let want = r#"{"a":[{"c":0,"d":0}],"b":{"a":2,"z":1},"config":{"z":1,"a":2}}"#;
        assert_eq!(sorted(tree, &["config"]).to_string(), want);
    }
}
