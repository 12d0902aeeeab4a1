//! How often a request crosses the network, and whether on a new connection: where every segment takes the same time, the
//! clock counts the ways. (Other work takes a moment now and then: of many calls the shortest had none of that.) In a
//! process of its own, as every run.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::Duration;

use hyper::Method;
use sim::client::{Client, Manner};
use sim::machine::{self, HTTP_PORT, Machine};
use sim::swarm::{Cluster, Options};
use sim::trace::Trace;
use sim::workload::Shared;
use sim::world::clock;
use tokio::time::Instant;

const WAY: Duration = Duration::from_millis(10);
const READ: &str = "/db/query?level=weak&q=SELECT%20*%20FROM%20t";

#[test]
fn a_forwarded_request_takes_one_round_trip_more_and_connections_stay() {
    let cluster = Cluster { voters: 1, non_voters: 1, late_ms: 100, ..Cluster::default() };
    let options = Options { cluster, lane_longest_ms: 0, ..Options::draw(1) };
    sim::libc::enter(options.seed);
    rqlite::db::engine::initialize(Path::new("/nowhere"));
    let shared = Shared::new(Trace::start(None).unwrap(), 1);
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(200))
        .min_message_latency(WAY)
        .max_message_latency(WAY)
        .rng_seed(options.seed)
        .build();
    for name in options.cluster.names() {
        let machine = Machine::new(&name, &options, &shared, true);
        machine::prepare(&machine);
        sim.host(name, move || {
            let machine = machine.clone();
            async move {
                machine.run_node().await;
                Ok(())
            }
        });
    }
    sim.client("client", async move {
        let client = |server: &str| {
            Client::new("client", &[format!("{server}:{HTTP_PORT}")], &shared.cables, shared.trace.clone())
        };
        let (mut leader, mut follower) = (client("n1"), client("r1"));
        let measured = async {
            until(&mut leader, Method::POST, "/db/execute", r#"["CREATE TABLE IF NOT EXISTS t(id)"]"#).await;
            until(&mut follower, Method::GET, READ, "").await;
            for (method, path, body) in [
                (Method::GET, READ, ""),
                (Method::GET, "/db/query?level=linearizable&q=SELECT%20*%20FROM%20t", ""),
                (Method::POST, "/db/execute", r#"["INSERT INTO t VALUES(1)"]"#),
            ] {
                let direct = shortest(&mut leader, &method, path, body).await;
                let forwarded = shortest(&mut follower, &method, path, body).await;
                assert_eq!((direct, forwarded - direct), (2 * WAY, 2 * WAY), "{method} {path}");
            }
            // Clients keep connections for as long as they like.
            tokio::time::sleep(Duration::from_secs(120)).await;
            let began = Instant::now();
            until(&mut leader, Method::GET, READ, "").await;
            assert!(began.elapsed() < 4 * WAY, "on the connection that was idle");
        };
        rqlite::world::runtime::scope(1, measured).await;
        Ok(())
    });
    loop {
        let is_over = sim.step().unwrap();
        clock::publish(sim.elapsed());
        if is_over {
            break;
        }
    }
}

/// Calls until the answer is a good one.
async fn until(client: &mut Client, method: Method, path: &str, body: &'static str) {
    loop {
        let answer = client.call(method.clone(), path, body.into(), Manner::quick(Duration::from_secs(5))).await;
        if answer.is_ok_and(|answer| answer.status == 200 && !answer.body.windows(7).any(|word| word == b"\"error\"")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a request takes, on a connection that is open.
async fn shortest(client: &mut Client, method: &Method, path: &str, body: &'static str) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        let answer = client.call(method.clone(), path, body.into(), Manner::quick(Duration::from_secs(5))).await;
        assert_eq!(answer.expect("an answer").status, 200);
        shortest = shortest.min(began.elapsed());
    }
    shortest
}
