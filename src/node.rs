//! One node, from its configuration to its end.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::cluster;
use crate::cluster::service::{ClusterService, TURNS};
use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::db::readers::Bounds;
use crate::http::memory::{self, Memory};
use crate::http::routes::{Api, forwarded};
use crate::http::serve::serve;
use crate::peer::server::{Server, Service};
use crate::peer::{self, Purpose};
use crate::queue::Queue;
use crate::raft::types::Node as RaftNode;
use crate::store::{self, Store, checkpoint, leader, maintenance, members, reap};
use crate::world::{World, spawn};

/// Of results that clients are slow to take, on disk.
const SPOOL_BYTES_MAX: u64 = 1 << 30;
/// Of a read that keeps checkpoints waiting.
const READ_AGE_MAX: Duration = Duration::from_secs(300);

/// Why a node could not start, or had to stop: one line each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {address}: listen tcp {address}: {error}")]
    ListenRaft { address: String, error: io::Error },
    #[error("failed to start HTTP server: listen tcp {address}: {error}")]
    Listen { address: String, error: io::Error },
    #[error("failed to open store: {0}")]
    DataDir(#[from] data_dir::Error),
    #[error("failed to open store: {0}")]
    Store(#[from] store::Error),
    #[error("clustering failure: {0}")]
    Clustering(String),
    #[error(transparent)]
    Leave(#[from] cluster::leave::Failed),
    /// The node was asked to stop before it was part of a cluster.
    #[error("clustering failure: {0}")]
    Canceled(&'static str),
    /// A failed sync, a disk error while an entry was applied, or a stopped Raft: going on could lose data.
    #[error("node stopped: {0}")]
    Fatal(String),
}

/// Runs a node until `stop` says so, or until it can't go on. `announce` is told when its API is there.
///
/// Start: lock the directory, answer HTTP, open log and database, replay, lead. End: stop answering, a last
/// checkpoint, stop Raft.
pub async fn run(
    world: World,
    config: Config,
    stop: watch::Receiver<bool>,
    announce: impl FnOnce(&str) + Send,
) -> Result<(), Error> {
    let data_dir = DataDir::open(&world, &config.data_dir, &config.node_id)?;
    let peers = world.net.listen(&config.raft_addr).await;
    let peers = peers.map_err(|error| Error::ListenRaft { address: config.raft_addr.clone(), error })?;
    let listener = world.net.listen(&config.http_addr).await;
    let listener = listener.map_err(|error| Error::Listen { address: config.http_addr.clone(), error })?;
    let api = Arc::new(Api {
        world: world.clone(),
        config: config.clone(),
        started: world.clock.unix_now(),
        bound: listener.local_addr().map_or_else(|_| config.http_addr.clone(), |address| address.to_string()),
        metrics: Arc::default(),
        last_backup: Mutex::default(),
        memory: Memory::new(memory::BYTES_MAX),
        store: OnceLock::new(),
        queue: OnceLock::new(),
        cluster: OnceLock::new(),
        discovery: OnceLock::new(),
    });
    let discovery = cluster::form::discovery(&world, &config.cluster).map_err(Error::Clustering)?;
    let discovery = discovery.map(|found| api.discovery.get_or_init(|| found));
    let serving = spawn(serve(listener, api.clone(), asked(stop.clone())));

    let store = tokio::select! {
        biased;
        store = open(&world, &config, &api, &data_dir) => store?,
        // Nothing was answered yet: what a start leaves behind, the next one ends.
        () = asked(stop.clone()) => return Ok(()),
    };
    let client = api.cluster.get().expect("it comes with the store").clone();
    spawn(peer::server::serve(peers, server(&store, &config, &api)));
    let formed = tokio::select! {
        biased;
        formed = cluster::form::form(&world, &store, &client, &config.cluster, discovery, None) => formed.map_err(|e| e.to_string()),
        why = store.failed() => return Err(Error::Fatal(why)),
        () = asked(stop.clone()) => {
            store.close().await;
            return Err(Error::Canceled(cluster::form::canceled(&config.cluster)));
        }
    };
    if let Err(why) = formed {
        store.close().await;
        return Err(Error::Clustering(why));
    }
    announce(&config.http_adv);
    let why = tokio::select! {
        biased;
        why = store.failed() => Some(why),
        () = asked(stop) => None,
    };
    if let Some(why) = why {
        return Err(Error::Fatal(why));
    }
    tracing::info!("closing HTTP service on {}", api.bound);
    // It ends in bounded time; a panic in it has ended the process.
    let _ = serving.await;
    if let Some(queue) = api.queue.get() {
        queue.close().await;
    }
    cluster::leave::leave(&store, &client, config.leave, None).await?;
    store.close().await;
    drop(data_dir);
    Ok(())
}

/// Waits until the node is asked to stop.
async fn asked(mut stop: watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        // A sender that is gone can't ask any more.
        if stop.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What other nodes can ask of this one.
fn server(store: &Store, config: &Config, api: &Arc<Api>) -> Server {
    let waiting = Arc::new(cluster::Waiting::new(config.cluster.expect));
    let (api, metrics) = (api.clone(), api.metrics.clone());
    let answer: cluster::forward::Api = Arc::new(move |request| Box::pin(forwarded(api.clone(), request)));
    let cluster = ClusterService { store: store.clone(), waiting, api: answer, metrics, turns: Semaphore::new(TURNS) };
    let services =
        [(Purpose::Raft, Arc::new(store.raft_service()) as Arc<dyn Service>), (Purpose::Cluster, Arc::new(cluster))];
    let (identity, peers) = (store.identity().clone(), store.peers().1.clone());
    Server { identity, peers, services: services.into_iter().collect() }
}

async fn open(world: &World, config: &Config, api: &Api, data_dir: &DataDir) -> Result<Store, Error> {
    let what = if data_dir.is_preexisting { "preexisting" } else { "no preexisting" };
    tracing::info!("{what} node state detected in {}", config.data_dir.display());
    let options = store::Options {
        data_dir: config.data_dir.clone(),
        node_id: config.node_id.clone(),
        node: RaftNode {
            raft_addr: config.raft_adv.clone(),
            http_addr: config.http_adv.clone(),
            wants_vote: config.cluster.voter,
        },
        foreign_keys: config.foreign_keys,
        readers: Bounds {
            readers: config.readers_max.unwrap_or(tokio::sync::Semaphore::MAX_PERMITS),
            spool_bytes: SPOOL_BYTES_MAX,
            age: READ_AGE_MAX,
        },
        checkpoint: checkpoint::Options {
            entries: config.snapshot.entries,
            wal_bytes: config.snapshot.wal_bytes.unwrap_or(0),
            interval: config.snapshot.interval,
        },
        maintenance: maintenance::Options { optimize: config.optimize_interval, vacuum: config.vacuum_interval },
        leader_lease: config.raft.leader_lease_timeout,
        connect_timeout: config.connect_timeout,
        reap: config.reap.clone(),
        skip_entry: config.skip_entry.unwrap_or(0),
        metrics: api.metrics.clone(),
    };
    let store = Store::open(world, options).await?;
    spawn(leader::watch(store.clone()));
    spawn(members::promote(store.clone()));
    spawn(reap::watch(store.clone()));
    spawn(checkpoint::watch(store.clone()));
    spawn(maintenance::watch(store.clone()));
    let client = cluster::Client::new(store.peers().0.clone());
    let (options, first) = (config.write_queue.clone(), api.started.as_nanos() as i64);
    let queue = Queue::start(store.clone(), client.clone(), options, first, api.metrics.clone());
    assert!(api.cluster.set(client).is_ok(), "the store is opened once");
    assert!(api.queue.set(queue).is_ok(), "the store is opened once");
    assert!(api.store.set(store.clone()).is_ok(), "the store is opened once");
    Ok(store)
}
