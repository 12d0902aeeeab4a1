//! openraft's view of the [`Machine`]: a handle on the writer's lane.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use tokio::time::timeout;

use super::applied::Applied;
use super::log::{Log, weight};
use super::machine::Machine;
use super::snapshot::{SnapshotData, Staged};
use super::types::{LogId, StoredMembership, TypeConfig};
use crate::db::database::Fault;
use crate::world::Lane;

/// The log is held for so long, at most, while entries are applied.
const HOLD: Duration = Duration::from_millis(2);

/// Entries that are applied in one job of the writer's lane, at most.
const BATCH: usize = 64;

/// Called with the reason, once, if this node can't go on.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct StateMachine {
    pub machine: Lane<Machine>,
    pub log: Log,
    pub on_fatal: OnFatal,
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.machine.call(|machine| machine.applied().clone()).await;
        Ok((applied.last_applied, applied.membership))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let applied = self.apply_all(entries).await;
        self.log.release();
        applied
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Received(staged) = snapshot else {
            unreachable!("only what was received is installed");
        };
        let Staged { file, applied } = *staged;
        assert_eq!(applied.last_applied, meta.last_log_id, "a snapshot is of one state");
        let installed = self.machine.call(move |machine| machine.install(file.path(), applied)).await;
        installed.map_err(|fault| {
            (self.on_fatal)(fault.0.clone());
            io::Error::other(fault.0)
        })
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        let clean = self.machine.call(|machine| machine.clean().clone()).await;
        Ok(clean.last_applied.is_some().then(|| snapshot(clean)))
    }
}

impl StateMachine {
    async fn apply_all<S>(&self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH);
        loop {
            let batch = match batches.next().now_or_never() {
                Some(batch) => batch,
                // It has to be read from the disk.
                None => {
                    self.log.release();
                    batches.next().await
                }
            };
            let Some(batch) = batch else { return Ok(()) };
            let batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            let bytes = batch.iter().map(|(entry, _)| weight(entry)).sum();
            let mut applying = pin!(self.machine.call(move |machine| apply(machine, batch)));
            let applied = loop {
                self.log.hold(bytes);
                match timeout(HOLD, applying.as_mut()).await {
                    Ok(applied) => break applied,
                    Err(_) => self.log.release(),
                }
            };
            if let Err(fault) = applied {
                (self.on_fatal)(fault.0.clone());
                return Err(io::Error::other(fault.0));
            }
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    /// Reports the last checkpoint; `store::checkpoint` made it, and asks openraft to take note by this.
    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        Ok(snapshot(self.machine.call(|machine| machine.clean().clone()).await))
    }
}

fn snapshot(clean: Applied) -> SnapshotOf<TypeConfig, SnapshotData> {
    let meta = SnapshotMetaOf::<TypeConfig> { last_log_id: clean.last_applied, last_membership: clean.membership };
    SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot: SnapshotData::Own }
}

/// Applies entries in order; their answers leave together, a short batch at a time: each wakes a task.
fn apply(machine: &mut Machine, batch: Vec<EntryResponder<TypeConfig>>) -> Result<(), Fault> {
    let (entries, responders): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|(entry, responder)| ((entry, responder.is_some()), responder)).unzip();
    let (mut rest, mut responders) = (&entries[..], responders.into_iter());
    while !rest.is_empty() {
        let responses = machine.apply_some(rest)?;
        rest = &rest[responses.len()..];
        for (response, responder) in responses.into_iter().zip(responders.by_ref()) {
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
    }
    Ok(())
}
