//! GET /debug/vars: all counters, in the form of Go's expvar.

use std::fmt::Write;

use axum_core::response::Response;
use serde_json::json;

use super::response;
use super::routes::Call;

pub async fn handle(call: Call) -> Response {
    if let Some(client) = call.api.cluster.get() {
        call.api.metrics.cluster.num_client_force_new_conn.set(client.forced() as i64);
    }
    let mut vars: Vec<(&str, String)> = vec![
        ("cmdline", json!(call.api.world.host.facts().arguments).to_string()),
        // Go's memory manager has no counterpart.
        ("memstats", "{}".into()),
    ];
    vars.extend(call.api.metrics.tree().iter().map(|(key, counters)| {
        let counters: Vec<_> = counters.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        (*key, format!("{{{}}}", counters.join(", ")))
    }));
    vars.sort();
    vars.retain(|(key, _)| call.params.key.as_deref().is_none_or(|wanted| wanted == *key));

    let mut text = String::from("{\n");
    for (n, (key, value)) in vars.iter().enumerate() {
        let comma = if n == 0 { "" } else { ",\n" };
        // Writing to a string can't fail.
        let _ = write!(text, "{comma}\"{key}\": {value}");
    }
    text.push_str("\n}\n");
    response::ok(response::JSON, text)
}
