//! `cargo bench --bench speed`: rqlited beside the floor ([`floor`]), in turn, in the same run. Ratios; machines are noisy.
//! Beside the rates, the server's CPU time for an answer, which is less so.
//!
//! Client and server share the machine's cores, for both alike.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod client;
mod cluster;
mod distance;
mod floor;
mod server;

use std::path::Path;
use std::time::Duration;

use client::Ask;
use server::Server;

/// As the reference that the floor was measured with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const MANY: usize = 64;

/// What is compared: ours and the floor's, over so many connections, and how much of the floor's is aimed at.
struct Comparison {
    name: &'static str,
    ours: Ask,
    floors: Ask,
    connections: usize,
    aim: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, directory] = arguments.as_slice()
        && flag == "--floor"
    {
        return floor::serve(Path::new(directory));
    }
    let chosen: Vec<_> = comparisons()
        .into_iter()
        .filter(|c| arguments.is_empty() || arguments.iter().any(|a| c.name.contains(a.as_str())))
        .collect();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(cluster::run(directory.path(), &arguments));
    if chosen.is_empty() {
        return;
    }
    runtime.block_on(async {
        let floor = Server::floor(&directory.path().join("floor"));
        let ours = Server::node(&directory.path().join("node"), "1", &[]);
        ours.ready().await;
        let create = "[\"CREATE TABLE foo(id INTEGER NOT NULL PRIMARY KEY, name TEXT)\"]";
        client::rate(&ours.address, 1, &Ask::post("/db/execute", create.into()), Duration::from_nanos(1)).await;
        for server in [&floor, &ours] {
            let insert = Ask::post("/db/execute", inserts(100));
            client::rate(&server.address, 1, &insert, Duration::from_nanos(1)).await;
        }
        for comparison in chosen {
            comparison.run(&ours, &floor).await;
        }
    });
}

fn comparisons() -> Vec<Comparison> {
    let hello = Ask::get("/hello");
    let write = Ask::post("/db/execute", inserts(1));
    let batch = Ask::post("/db/execute", inserts(100));
    let read = |level: &str| Ask::get(&format!("/db/query?level={level}&q=SELECT%20*%20FROM%20foo%20WHERE%20id=1"));
    let compare = |name, ours: &Ask, floors: &Ask, connections, aim| Comparison {
        name,
        ours: ours.clone(),
        floors: floors.clone(),
        connections,
        aim,
    };
    vec![
        compare("write, 1 connection", &write, &write, 1, 0.60),
        compare("write, 64 connections", &write, &write, MANY, 0.55),
        compare("batches of 100", &batch, &batch, MANY, 0.60),
        compare("read none", &read("none"), &read("none"), MANY, 0.70),
        compare("read weak", &read("weak"), &read("none"), MANY, 0.70),
        compare("read linearizable", &read("linearizable"), &read("none"), MANY, 0.50),
        compare("read strong / write", &read("strong"), &write, MANY, 0.60),
        compare("queued write / empty", &Ask::post("/db/execute?queue", inserts(1)), &hello, MANY, 0.80),
    ]
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "ok" } else { "MISSED" }
}

fn inserts(count: usize) -> String {
    serde_json::to_string(&vec!["INSERT INTO foo(name) VALUES('fiona')"; count]).unwrap()
}

impl Comparison {
    async fn run(&self, ours: &Server, floor: &Server) {
        let mut rounds = Vec::new();
        let mut cpu = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let floors = floor.measure(self.connections, &self.floors, &mut cpu[1]).await;
            let ours = ours.measure(self.connections, &self.ours, &mut cpu[0]).await;
            rounds.push((ours / floors, ours, floors));
        }
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, ours, floors) = rounds[ROUNDS / 2];
        let [our_cpu, floors_cpu] = cpu.map(|mut cpu| {
            cpu.sort_by(f64::total_cmp);
            cpu[ROUNDS / 2]
        });
        println!(
            "{:<24} {ours:>8.0}/s {our_cpu:>5.0} us   floor {floors:>8.0}/s {floors_cpu:>5.0} us   ratio {ratio:.2} ({:.2}..{:.2}), \
             at least {:.2}  {}",
            self.name,
            rounds[0].0,
            rounds[ROUNDS - 1].0,
            self.aim,
            verdict(ratio >= self.aim),
        );
    }
}
