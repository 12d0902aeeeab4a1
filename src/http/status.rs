//! GET /status: a first form of the reference's tree.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use super::response;
use super::routes::Call;
use crate::version;

pub async fn handle(call: Call) -> Response {
    let api = &call.api;
    let store = match api.store.get() {
        Some(store) => store.status().await,
        None => json!({"open": false}),
    };
    let now = api.world.clock.unix_now();
    let tree = json!({
        "build": {
            "build_time": "unknown",
            "commit": version::COMMIT,
            "compiler_command": "unknown",
            "compiler_toolchain": "rustc",
            "version": version::RQLITE_VERSION,
        },
        "http": {
            "auth": "disabled",
            "bind_addr": api.config.http_addr,
            "tls": {"enabled": "false"},
        },
        "node": {
            "current_time": rfc3339(now),
            "start_time": rfc3339(api.started),
            "uptime": format!("{}s", now.saturating_sub(api.started).as_secs_f64()),
        },
        "runtime": {
            "GOARCH": version::arch(),
            "GOOS": version::os(),
            "version": concat!("rust", env!("RQLITE_RUSTC_VERSION")),
        },
        "store": store,
    });
    let body = if call.params.pretty { pretty(&tree) } else { tree.to_string() };
    response::ok(response::JSON, body)
}

fn rfc3339(since_1970: Duration) -> String {
    chrono::DateTime::from_timestamp(since_1970.as_secs() as i64, since_1970.subsec_nanos())
        .map_or_else(String::new, |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

fn pretty(tree: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(tree, &mut serializer).expect("a tree of ours is valid JSON");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}
