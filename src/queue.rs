//! Queued writes: acknowledged before they are written, then written together, as one entry a batch.
//!
//! ```text
//!   push ─► channel (bounded) ─► batch: so many requests, or so long after its first ─┬► store.execute ──► waiters
//!                                                                                     └► cluster.write ─► the leader
//! ```
//!
//! A batch is tried again only if it was certainly not proposed; one whose outcome is unknown is never sent twice.
//!
//! Source: rqlite `queue/queue.go`, `http/service.go` `runQueue`; http-data.md §13.

use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cluster;
use crate::command::{Execute, Statement};
use crate::metrics::Metrics;
use crate::store::{self, Store};
use crate::world::spawn;

/// Between two tries of a batch.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes from which on a batch takes no more requests.
const BATCH_BYTES: usize = 4 << 20;

/// How long the leader may take for a batch.
///
/// Source: server.md §7.
const REMOTE: Duration = Duration::from_secs(30);

/// How long a node that stops waits for what is queued.
const DRAIN: Duration = Duration::from_secs(5);

/// The `-write-queue` flags.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Requests that wait.
    pub capacity: usize,
    /// Requests that are written together.
    pub batch_size: usize,
    /// The longest that the first of a batch waits for others.
    pub timeout: Duration,
    /// Each batch is one transaction.
    pub transaction: bool,
}

/// See the module. `H` is what a request holds while it waits.
pub struct Queue<H> {
    pub options: Options,
    intake: Mutex<Intake<H>>,
    written: Arc<AtomicI64>,
    metrics: Arc<Metrics>,
    runner: Mutex<Option<JoinHandle<()>>>,
}

/// Numbers are given in the order of the queue.
struct Intake<H> {
    /// `None`: closed.
    sender: Option<mpsc::Sender<Queued<H>>>,
    next: i64,
}

struct Queued<H> {
    statements: Vec<Statement>,
    sequence_number: i64,
    waiter: Option<oneshot::Sender<Outcome>>,
    held: H,
}

/// Why a batch wasn't written, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Here.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// By the leader.
    #[error(transparent)]
    Remote(#[from] cluster::client::Error),
}

impl Error {
    /// It certainly wasn't.
    fn is_refusal(&self) -> bool {
        use cluster::client::Error as Remote;
        match self {
            Self::Store(error) => error.is_refusal(),
            Self::Remote(error) => matches!(error, Remote::NotSent(_) | Remote::Moved(_) | Remote::Refused(_)),
        }
    }
}

/// Whether a batch was written.
pub type Outcome = Result<(), Arc<Error>>;

impl<H: Send + 'static> Queue<H> {
    /// Starts to write what is pushed, to `store` or through `client` to the node that leads; the first request gets the
    /// number `first`.
    pub fn start(store: Store, client: cluster::Client, options: Options, first: i64, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(options.capacity);
        let written = Arc::new(AtomicI64::new(0));
        let runner =
            Runner { store, client, options: options.clone(), written: written.clone(), metrics: metrics.clone() };
        let runner = spawn(runner.run(receiver));
        let intake = Mutex::new(Intake { sender: Some(sender), next: first });
        Self { options, intake, written, metrics, runner: Mutex::new(Some(runner)) }
    }

    /// Queues a request, as soon as there is room; returns its number. `None`: there was no room for so long.
    ///
    /// `waiter` is told when it is written; dropped if the queue ends first.
    pub async fn push(
        &self,
        statements: Vec<Statement>,
        held: H,
        waiter: Option<oneshot::Sender<Outcome>>,
        patience: Duration,
    ) -> Option<i64> {
        let sender = self.intake().sender.clone()?;
        let place = match sender.try_reserve() {
            Ok(place) => place,
            Err(_) => timeout(patience, sender.reserve()).await.ok()?.ok()?,
        };
        let mut intake = self.intake();
        let sequence_number = intake.next;
        intake.next += 1;
        self.metrics.queue.objects_rx.increment();
        place.send(Queued { statements, sequence_number, waiter, held });
        Some(sequence_number)
    }

    /// The number of the last request that was written; 0: none.
    pub fn written(&self) -> i64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Takes no more, and writes what is queued, within bounds.
    pub async fn close(&self) {
        self.intake().sender = None;
        let runner = self.runner.lock().expect("no panic holds this lock").take();
        if let Some(runner) = runner
            && timeout(DRAIN, runner).await.is_err()
        {
            tracing::warn!("queued writes were dropped: they could not be written in time");
        }
    }

    fn intake(&self) -> std::sync::MutexGuard<'_, Intake<H>> {
        self.intake.lock().expect("no panic holds this lock")
    }
}

/// Requests that are written together.
struct Batch<H> {
    statements: Vec<Statement>,
    waiters: Vec<oneshot::Sender<Outcome>>,
    requests: usize,
    last: i64,
    bytes: usize,
    _held: Vec<H>,
}

impl<H> Batch<H> {
    fn new() -> Self {
        Self { statements: Vec::new(), waiters: Vec::new(), requests: 0, last: 0, bytes: 0, _held: Vec::new() }
    }

    fn add(&mut self, queued: Queued<H>) {
        self.bytes += queued.statements.iter().map(Message::encoded_len).sum::<usize>();
        self.statements.extend(queued.statements);
        self.waiters.extend(queued.waiter);
        self.requests += 1;
        self.last = queued.sequence_number;
        self._held.push(queued.held);
    }

    fn is_full(&self, options: &Options) -> bool {
        self.requests >= options.batch_size || self.bytes >= BATCH_BYTES
    }
}

/// Writes batch after batch, until the queue is closed and empty.
struct Runner {
    store: Store,
    client: cluster::Client,
    options: Options,
    written: Arc<AtomicI64>,
    metrics: Arc<Metrics>,
}

impl Runner {
    async fn run<H>(self, mut queue: mpsc::Receiver<Queued<H>>) {
        while let Some(first) = queue.recv().await {
            let deadline = Instant::now() + self.options.timeout;
            let mut batch = Batch::new();
            batch.add(first);
            while !batch.is_full(&self.options) {
                // A timer only where one is needed.
                let next = match queue.recv().now_or_never() {
                    Some(next) => Ok(next),
                    None => timeout_at(deadline, queue.recv()).await,
                };
                match next {
                    Ok(Some(next)) => batch.add(next),
                    Ok(None) => break,
                    Err(_) => {
                        self.metrics.queue.num_timeout.increment();
                        break;
                    }
                }
            }
            self.metrics.queue.num_flush.increment();
            self.metrics.queue.objects_tx.add(batch.requests);
            let outcome = self.write(mem::take(&mut batch.statements)).await.map_err(Arc::new);
            if outcome.is_ok() {
                self.written.store(batch.last, Ordering::Relaxed);
            }
            for waiter in batch.waiters {
                // Unless the client is gone.
                let _ = waiter.send(outcome.clone());
            }
        }
    }

    /// Until it is written, or nobody knows whether it is.
    async fn write(&self, statements: Vec<Statement>) -> Result<(), Error> {
        // A request without statements only waits for those before it.
        if statements.is_empty() {
            return Ok(());
        }
        let counters = &self.metrics.http;
        counters.queued_executions_num_stmts_tx.add(statements.len());
        let request = Execute { statements, transaction: self.options.transaction };
        loop {
            let error = match self.send(&request).await {
                // Errors of statements are told to nobody, as in the reference.
                Ok(()) => {
                    counters.queued_executions_ok.increment();
                    return Ok(());
                }
                Err(error) => error,
            };
            counters.queued_executions_failed.increment();
            match error {
                Error::Store(store::Error::LeaderNotFound) => counters.queued_executions_no_leader.increment(),
                Error::Store(store::Error::LeadershipLost) => counters.queued_executions_leadership_lost.increment(),
                Error::Remote(cluster::client::Error::Moved(_)) => counters.queued_executions_not_leader.increment(),
                _ => counters.queued_executions_unknown_error.increment(),
            }
            if !error.is_refusal() {
                tracing::error!(%error, "the outcome of queued writes is unknown");
                return Err(error);
            }
            tracing::warn!(%error, "queued writes are tried again");
            sleep(RETRY).await;
        }
    }

    /// To whoever leads.
    async fn send(&self, request: &Execute) -> Result<(), Error> {
        let leader = match self.store.leader() {
            _ if self.store.is_leader() => None,
            Some(leader) if leader.id == self.store.id() => None,
            Some(leader) => Some(leader.node.raft_addr),
            None => return Err(store::Error::LeaderNotFound.into()),
        };
        match leader {
            None => self.store.execute(request.clone(), None).await.map(|_| ())?,
            Some(address) => self.client.write(&address, request.encode_to_vec().into(), REMOTE).await?,
        }
        Ok(())
    }
}
