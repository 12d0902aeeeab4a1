//! An operator: hands leadership over, removes nodes, has removed ones join again, and gives nodes other addresses.

use std::sync::Arc;
use std::time::Duration;

use rqlite::cluster::Client;
use rqlite::cluster::client::Error;
use rqlite::cluster::proto::Join;
use rqlite::peer::{self, Cluster, Hello, Identity};

use crate::machine::Machine;
use crate::random::Random;
use crate::workload::{Phase, Shared};
use crate::world::net::SimNet;

/// How long one of its calls may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a scenario has it do.
#[derive(Clone, Debug)]
pub enum Order {
    Remove(String),
    /// To that node.
    StepDown(Option<String>),
    /// Have a node join whose engine is another.
    Stranger,
}

/// Does what `shared` is told, each until it is done.
pub async fn obey(machines: Vec<Machine>, shared: Shared) {
    let client = client(&shared);
    while shared.phase() < Phase::Draining {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Some(order) = shared.orders.lock().expect("no order panics").front().cloned() else { continue };
        for machine in &machines {
            let Ok(description) = client.describe(&machine.raft_addr(), PATIENCE).await else { continue };
            let leader = description.leader_raft_addr;
            if leader.is_empty() {
                continue;
            }
            let done = match &order {
                Order::Remove(name) => client.remove(&leader, None, name, PATIENCE).await,
                Order::Stranger => match client.join(&leader, None, stranger(), PATIENCE).await {
                    Err(Error::Failed(why)) if why.contains("use the same version") => {
                        shared.history().reached.note("members: refused");
                        Ok(())
                    }
                    other => other.map(|_| ()),
                },
                Order::StepDown(to) => client.step_down(&leader, None, to.as_deref(), PATIENCE).await,
            };
            shared.trace.line(format_args!("operator {order:?}: {done:?}"));
            if done.is_ok() {
                shared.history().reached.note("operations: done");
                shared.orders.lock().expect("no order panics").pop_front();
                break;
            }
        }
    }
}

fn stranger() -> Join {
    Join { id: "n9".into(), raft_addr: "n1:9".into(), voter: true, engine: "another".into(), ..Join::default() }
}

fn client(shared: &Shared) -> Client {
    let net = SimNet::new("operator", &shared.cables, shared.trace.clone());
    let hello = Hello { node_id: "operator".into(), ..Hello::default() };
    let identity = Arc::new(Identity::new(hello, Arc::new(Cluster::default())));
    Client::new(peer::Client::new(Arc::new(net), identity, Arc::default(), PATIENCE))
}

/// Works through the chaos on the cluster of `machines`, which it can also restart.
pub async fn work(mut random: Random, machines: Vec<Machine>, gap_ms: (u64, u64), shared: Shared) {
    let client = client(&shared);
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
        // Two always stay: a node that is left alone may not join others.
        let may_go = chosen.name() != "n1" && (chosen.name() != "n2" || machines.len() > 3);
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
            2 => {
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
