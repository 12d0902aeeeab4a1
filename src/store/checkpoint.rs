//! When checkpoints happen, and what of the log goes with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::metrics::RaftMetrics;
use tokio::time::Instant;

use super::{Error, Store};
use crate::db::database::Fault;
use crate::db::readers::Closed;
use crate::raft::machine::Checkpoint;
use crate::raft::types::TypeConfig;
use crate::world::Lane;

/// From this much WAL on, the copy runs beside the writer. Otherwise a MiB takes 4 ms of pause (design §5) where its pages
/// lie together, and up to 25 where each lies elsewhere.
const BACKGROUND_FROM: u64 = 1 << 20;

/// SQLite's default page, which decides how many frames a number of bytes is.
const PAGE_SIZE: u64 = 4096;

/// How long readers of an older state may take to end by themselves.
const GRACE: Duration = Duration::from_millis(100);

/// How long openraft may take to note a checkpoint.
const NOTED: Duration = Duration::from_secs(10);

/// How long new reads wait for older ones to end, at most.
const GATE_MAX: Duration = Duration::from_secs(1);

/// How long to wait for another checkpoint before the next attempt.
const RETRY: Duration = Duration::from_millis(50);

/// Attempts of one round; the next round comes with the interval.
const ATTEMPTS: usize = 20;

/// The reference's flags.
#[derive(Clone, Debug)]
pub struct Options {
    /// `-raft-snap`: entries since the last checkpoint.
    pub entries: u64,
    /// `-raft-snap-wal-size`, bytes; 0: not looked at.
    pub wal_bytes: u64,
    /// `-raft-snap-int`: how often both are looked at, to twice that.
    pub interval: Duration,
}

/// What /status tells of checkpoints.
#[derive(Debug, Default)]
pub struct Counters {
    pub done: AtomicU64,
    /// How long the writer stood still in the last one, microseconds.
    pub last_pause_us: AtomicU64,
}

/// What of the log is purged after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// So many entries stay, for a client that says so.
    Keep(u64),
    /// A window stays, so that a follower that was away needs no snapshot.
    Window,
    /// Everything goes: it holds the chunks of a load.
    All,
}

/// Looks at the triggers for ever.
pub async fn watch(store: Store) {
    let interval = store.options.checkpoint.interval;
    loop {
        let jitter = store.world.entropy.next_u64() % (interval.as_millis() as u64).max(1);
        tokio::time::sleep(interval + Duration::from_millis(jitter)).await;
        match is_due(&store).await {
            Ok(true) => run(&store, Purge::Window).await,
            Ok(false) => {}
            Err(fault) => {
                store.stop(fault);
                return;
            }
        }
    }
}

/// Checkpoints, in the background if there is much to copy, and purges the log.
pub async fn run(store: &Store, purge: Purge) {
    let mut readers = ReadersInTheWay::default();
    for _ in 0..ATTEMPTS {
        match attempt(store).await {
            Ok(Checkpoint::Clean(Some(index))) => {
                store.metrics.store.num_snapshots.increment();
                store.metrics.store.num_snapshots_incremental.increment();
                return purge_log(store, index, purge).await;
            }
            Ok(Checkpoint::Clean(None) | Checkpoint::LoadOpen) => return,
            Ok(Checkpoint::Leased) => spool_leases(store).await,
            Ok(Checkpoint::Busy) if readers.make_way(store).await => {}
            Ok(Checkpoint::Busy) => break,
            Ok(Checkpoint::Running) => tokio::time::sleep(RETRY).await,
            Err(fault) => {
                store.stop(fault);
                return;
            }
        }
    }
    tracing::warn!("reads of an older state keep the checkpoint waiting");
}

/// How far it is with readers of an older state that keep a checkpoint from its end.
#[derive(Default)]
pub(super) enum ReadersInTheWay {
    #[default]
    Unknown,
    /// They had their time.
    Waited,
    /// Nobody reads, until this is dropped.
    Gone { _gate: Closed },
}

impl ReadersInTheWay {
    /// Waits a while; then, the next time, has them leave. False: they don't.
    pub(super) async fn make_way(&mut self, store: &Store) -> bool {
        match self {
            Self::Unknown => {
                tokio::time::sleep(GRACE).await;
                *self = Self::Waited;
                true
            }
            Self::Waited => {
                let gate = store.readers.close(GATE_MAX).await;
                let are_gone = gate.is_some();
                *self = gate.map_or(Self::Unknown, |gate| Self::Gone { _gate: gate });
                are_gone
            }
            Self::Gone { .. } => {
                *self = Self::Unknown;
                false
            }
        }
    }
}

/// Copies what backups have not read yet, so that no lease reads the main file.
pub async fn spool_leases(store: &Store) {
    let leases = store.machine.call(|machine| machine.leases().clone()).await;
    let (disk, directory) = (store.world.disk.clone(), store.paths.temporary());
    let lane = Lane::start(&*store.world.lanes, "spool", ());
    lane.call(move |_| leases.spool(&disk, &directory)).await;
}

impl Store {
    /// Stops the node: it can't go on.
    pub(super) fn stop(&self, fault: Fault) -> Error {
        self.fatal.send_if_modified(|reason| reason.replace(fault.0.clone()).is_none());
        Error::Stopped(fault.0)
    }
}

async fn is_due(store: &Store) -> Result<bool, Fault> {
    let options = &store.options.checkpoint;
    let (frames, applied, clean) = store
        .machine
        .call(|machine| {
            let index = |applied: &crate::raft::applied::Applied| applied.last_applied.map_or(0, |id| id.index);
            Ok((machine.wal_frames()?, index(machine.applied()), index(machine.clean())))
        })
        .await?;
    let wal_is_due = options.wal_bytes > 0 && frames * PAGE_SIZE >= options.wal_bytes;
    Ok(wal_is_due || applied - clean >= options.entries)
}

async fn attempt(store: &Store) -> Result<Checkpoint, Fault> {
    let frames = store.machine.call(|machine| machine.wal_frames()).await?;
    if frames * PAGE_SIZE < BACKGROUND_FROM && !store.world.chaos.here("checkpoint in the background") {
        let began = Instant::now();
        let outcome = store.machine.call(|machine| machine.checkpoint()).await?;
        paused(store, began.elapsed());
        return Ok(outcome);
    }
    let copier = Lane::start(&*store.world.lanes, "checkpoint", ());
    let wal = store.machine.call(|machine| machine.open_wal()).await?;
    let synced = copier.call(move |_| wal.sync()).await;
    synced.map_err(|error| Fault(format!("checkpoint: {error}")))?;
    let began = Instant::now();
    let begun = store.machine.call(|machine| machine.begin_background()).await?;
    let first = began.elapsed();
    let Some(background) = begun else {
        // Nothing to copy, or something in the way: the direct form tells.
        return store.machine.call(|machine| machine.checkpoint()).await;
    };
    let (background, copied) = copier
        .call(move |_| {
            let copied = background.copy();
            (background, copied)
        })
        .await;
    copied?;
    let began = Instant::now();
    let outcome = store.machine.call(move |machine| machine.end_background(background)).await?;
    paused(store, first.max(began.elapsed()));
    Ok(outcome)
}

fn paused(store: &Store, pause: Duration) {
    store.counters.done.fetch_add(1, Ordering::Relaxed);
    store.counters.last_pause_us.store(pause.as_micros() as u64, Ordering::Relaxed);
    store.metrics.db.checkpoints.increment();
    store.metrics.db.checkpoint_duration_ms.set(pause.as_millis() as i64);
}

async fn purge_log(store: &Store, index: u64, purge: Purge) {
    // openraft purges nothing that it hasn't seen a snapshot of, and sees it some time after it was asked to.
    let triggered = store.raft.trigger().snapshot().await;
    let is_noted = move |metrics: &RaftMetrics<TypeConfig>| metrics.snapshot.is_some_and(|id| id.index >= index);
    if let Err(error) = store.raft.wait(Some(NOTED)).metrics(is_noted, "the checkpoint is a snapshot").await {
        tracing::debug!(%error, "raft is slow: nothing is purged this time");
    }
    // As the reference: trailing logs are 1.25 times the trigger.
    let window = match purge {
        Purge::All => 0,
        Purge::Keep(entries) => entries,
        Purge::Window => store.options.checkpoint.entries + store.options.checkpoint.entries / 4,
    };
    let need = store.need(index, window);
    let upto = need.purge();
    if need.is_past_a_follower(upto) {
        store.world.chaos.reached("log purged past a follower");
    }
    let purged = match triggered {
        Ok(()) if upto > 0 => store.raft.trigger().purge_log(upto).await,
        other => other,
    };
    if let Err(error) = purged {
        tracing::debug!(%error, "raft is stopping: nothing was purged");
    }
}
