//! openraft's own suite for log stores, on the real file system.

use std::io;
use std::sync::{Arc, Mutex};

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, StorageError};

use super::{Home, run};
use crate::raft::log::{Log, Options};
use crate::raft::machine::Response;
use crate::raft::types::{LogId, StoredMembership, TypeConfig};

type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, ()>;

/// The least that openraft takes for a state machine.
#[derive(Clone, Default)]
struct Machine {
    last: Option<LogId>,
    membership: StoredMembership,
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(RaftSnapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.last = Some(entry.log_id());
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(self.last, membership);
            }
            if let Some(responder) = responder {
                responder.send(Response::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        (self.last, self.membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.lock().unwrap().clone().map(|meta| RaftSnapshot { meta, snapshot: () }))
    }
}

struct Builder(Options);

impl StoreBuilder<TypeConfig, Log, Machine, Home> for Builder {
    async fn build(&self) -> Result<(Home, Log, Machine), StorageError<TypeConfig>> {
        let home = Home { options: self.0.clone(), ..Home::new() };
        let log = home.opened();
        Ok((home, log, Machine::default()))
    }
}

#[test]
fn openrafts_suite_passes() {
    run(async { Suite::test_all(Builder(Options::default())).await.expect("the suite passes") });
}

/// Every entry fills a segment, and nothing that is durable stays in memory.
#[test]
fn openrafts_suite_passes_with_tiny_segments() {
    let options = Options { segment_bytes: 128, cache_bytes: 0, chunk_bytes: 1 };
    run(async { Suite::test_all(Builder(options)).await.expect("the suite passes") });
}
