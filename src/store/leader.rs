//! What a node does when it takes office: settings that the cluster has not agreed on yet, and loads that the leader
//! before left open.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::{Error, Store};
use crate::command::{Kind, Limits, LoadAbort, Settings};

/// How long taking office may take, before it is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

/// Takes office in every term that this node leads, for ever.
pub async fn watch(store: Store) {
    let mut metrics = store.raft.server_metrics();
    let mut term = None;
    loop {
        let (is_leader, current) = {
            let metrics = metrics.borrow_watched();
            (metrics.state == ServerState::Leader, metrics.vote.leader_id.term)
        };
        if is_leader && term != Some(current) {
            store.world.chaos.leads(current);
            match take_office(&store, current).await {
                Ok(()) => {
                    term = Some(current);
                    store.metrics.store.leader_changes_observed.increment();
                }
                Err(error) => {
                    tracing::debug!(%error, "office was not taken");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn take_office(store: &Store, term: u64) -> Result<(), Error> {
    // Settings are compared with the state that this term begins with: a leader commits all that is in its log, also
    // what it had not committed before it was restarted.
    store.read_index(TIMEOUT).await?;
    let begins_with = store.log.last().map(|id| id.index);
    let applied = store.raft.wait(Some(TIMEOUT)).applied_index_at_least(begins_with, "a new leader's log").await;
    applied.map_err(|error| Error::Raft(error.to_string()))?;
    store.office.take(term);
    let (applied, foreign_load) =
        store.machine.call(|machine| (machine.applied().clone(), machine.foreign_load())).await;
    tracing::info!("this node (ID={}) is now Leader", store.options.node_id);
    let mut settings = Settings::default();
    if applied.cluster_id.is_empty() {
        settings.cluster_id = Some(store.draw_id());
    }
    let ours = store.identity.engine();
    if applied.engine != ours {
        store.may_move_to(ours, &applied.engine).await?;
        settings.engine = Some(ours.to_string());
    }
    if applied.foreign_keys_default != store.options.foreign_keys {
        settings.foreign_keys_default = Some(store.options.foreign_keys);
    }
    if settings != Settings::default() {
        store.propose(Kind::Settings(settings), Limits::default()).await?;
    }
    // The term doesn't tell whose it is: a leader that is restarted leads on in its term.
    if let Some(load_id) = foreign_load {
        let reason = "its leader is gone".into();
        store.propose(Kind::LoadAbort(LoadAbort { load_id, reason }), Limits::default()).await?;
    }
    Ok(())
}

/// What a leader does whose engine isn't the one that the cluster has agreed on.
#[derive(Debug, PartialEq, Eq)]
enum Engine {
    /// All have its engine, or none was agreed on.
    Move,
    /// This voter has the one that was agreed on.
    HandOver(String),
    /// Until more is known of the others.
    Wait,
}

/// `voters`: the others, and the engines that they last said they have.
fn decide(ours: &str, agreed: &str, voters: &[(String, Option<String>)]) -> Engine {
    let has = |(_, theirs): &(String, Option<String>), engine: &str| theirs.as_deref() == Some(engine);
    if agreed.is_empty() || voters.iter().all(|voter| has(voter, ours)) {
        return Engine::Move;
    }
    let agreeing = voters.iter().find(|voter| has(voter, agreed));
    agreeing.map_or(Engine::Wait, |(id, _)| Engine::HandOver(id.clone()))
}

impl Store {
    /// Errors unless this leader may move the cluster from the engine `agreed` to `ours`: all voters have it, and so
    /// nobody is left who would compute something else (hazard H16).
    async fn may_move_to(&self, ours: &str, agreed: &str) -> Result<(), Error> {
        let others = self.members().into_iter().filter(|member| member.is_voter && member.id != self.options.node_id);
        let said = |id: &str| self.peers.get(id).map(|hello| hello.engine);
        let voters: Vec<_> = others.map(|member| (member.id.clone(), said(&member.id))).collect();
        match decide(ours, agreed, &voters) {
            Engine::Move => {
                tracing::info!("the cluster's engine is {ours} from now on");
                return Ok(());
            }
            Engine::HandOver(to) => {
                tracing::warn!("node {to} is to lead: it has the cluster's SQLite, this one has another");
                if let Err(error) = self.step_down(Some(&to), TIMEOUT).await {
                    tracing::warn!("node {to} didn't take over: {error}");
                }
            }
            Engine::Wait => {}
        }
        Err(Error::Raft("not all voters have this node's SQLite".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_changes_when_all_voters_have_it() {
        check("", &[], Engine::Move);
        check("", &[("2", Some("old")), ("3", None)], Engine::Move);
        check("old", &[], Engine::Move);
        check("old", &[("2", Some("new")), ("3", Some("new"))], Engine::Move);
        check("old", &[("2", Some("new")), ("3", Some("old"))], Engine::HandOver("3".into()));
        check("old", &[("2", Some("new")), ("3", None)], Engine::Wait);
        check("old", &[("2", Some("newer")), ("3", Some("new"))], Engine::Wait);

        #[track_caller]
        fn check(agreed: &str, voters: &[(&str, Option<&str>)], want: Engine) {
            let voters: Vec<_> = voters.iter().map(|(id, said)| (id.to_string(), said.map(str::to_string))).collect();
            assert_eq!(decide("new", agreed, &voters), want);
        }
    }
}
