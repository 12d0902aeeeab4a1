//! An operator: hands leadership over, removes nodes, and has removed ones join again.

use std::sync::Arc;
use std::time::Duration;

use rqlite::cluster::Client;
use rqlite::peer::{self, Cluster, Hello, Identity};

use crate::machine::{Machine, RAFT_PORT};
use crate::random::Random;
use crate::workload::{Phase, Shared};
use crate::world::net::SimNet;

/// How long one of its calls may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Works through the chaos on the cluster of `machines`, which it can also restart.
pub async fn work(mut random: Random, machines: Vec<Machine>, gap_ms: (u64, u64), shared: Shared) {
    let net = SimNet::new("operator", &shared.cables, shared.trace.clone());
    let hello = Hello { node_id: "operator".into(), ..Hello::default() };
    let identity = Arc::new(Identity::new(hello, Arc::new(Cluster::default())));
    let client = Client::new(peer::Client::new(Arc::new(net), identity, Arc::default(), PATIENCE));
    while shared.phase() < Phase::Draining {
        tokio::time::sleep(Duration::from_millis(random.between(gap_ms.0, gap_ms.1))).await;
        if shared.phase() != Phase::Chaos {
            continue;
        }
        let asked = &machines[random.below(machines.len() as u64) as usize];
        let leader = match client.describe(&address(asked), PATIENCE).await {
            Ok(description) if !description.leader_raft_addr.is_empty() => description.leader_raft_addr,
            _ => continue,
        };
        let chosen = &machines[random.below(machines.len() as u64) as usize];
        // Two always stay: a node that is left alone may not join others, and if it is booted, nobody who was removed
        // may join it with what it had (seed 161).
        let are_two = machines.iter().any(|machine| machine.name() == "n2");
        let may_go = are_two && !["n1", "n2"].contains(&chosen.name());
        let told = match random.below(4) {
            0 if may_go => {
                let removed = client.remove(&leader, None, chosen.name(), PATIENCE).await;
                // It is started once more, and joins.
                chosen.ask_to_stop();
                shared.trace.line(format_args!("operator removes {}", chosen.name()));
                removed
            }
            1 => client.step_down(&leader, None, Some(chosen.name()), PATIENCE).await,
            _ => client.step_down(&leader, None, None, PATIENCE).await,
        };
        match told {
            Ok(()) => shared.history().reached.note("operations: done"),
            Err(error) => shared.trace.line(format_args!("operator: {error}")),
        }
    }
}

fn address(machine: &Machine) -> String {
    format!("{}:{RAFT_PORT}", machine.name())
}
