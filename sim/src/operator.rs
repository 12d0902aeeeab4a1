//! An operator: hands leadership over, removes nodes, has removed ones join again, and gives nodes other addresses.

use std::sync::Arc;
use std::time::Duration;

use rqlite::cluster::Client;
use rqlite::peer::{self, Cluster, Hello, Identity};

use crate::machine::Machine;
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
        let leader = match client.describe(&asked.raft_addr(), PATIENCE).await {
            Ok(description) if !description.leader_raft_addr.is_empty() => description.leader_raft_addr,
            _ => continue,
        };
        let mut chosen = &machines[random.below(machines.len() as u64) as usize];
        if random.chance(1, 4) {
            let leads = machines.iter().find(|machine| machine.raft_addr() == leader);
            chosen = leads.unwrap_or(chosen);
        }
        // One always stays where it is, so that the others find the cluster. And two always stay in it: a node that is
        // left alone may not join others.
        let stays = chosen.name() == "n1";
        let may_go = !stays && (chosen.name() != "n2" || machines.len() > 3);
        let told = match random.below(6) {
            0 | 1 if may_go => {
                let removed = client.remove(&leader, None, chosen.name(), PATIENCE).await;
                // It is started once more, and joins, with what it has or without.
                if removed.is_ok() && random.chance(1, 3) {
                    chosen.wipe();
                }
                chosen.ask_to_stop();
                shared.trace.line(format_args!("operator removes {}", chosen.name()));
                removed
            }
            2 if !stays => {
                chosen.move_away();
                chosen.ask_to_stop();
                shared.trace.line(format_args!("operator moves {} to {}", chosen.name(), chosen.raft_addr()));
                Ok(())
            }
            3 => client.step_down(&leader, None, Some(chosen.name()), PATIENCE).await,
            _ => client.step_down(&leader, None, None, PATIENCE).await,
        };
        match told {
            Ok(()) => shared.history().reached.note("operations: done"),
            Err(error) => shared.trace.line(format_args!("operator: {error}")),
        }
    }
}
