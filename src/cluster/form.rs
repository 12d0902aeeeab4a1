//! How a node that has started becomes part of a cluster: by what it has been told, and what it was part of before.
//!
//! Source: server.md §2.1.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::bootstrap::{self, TimedOut};
use super::client::Client;
use super::discovery::{self, Discovery};
use super::join::{self, Joining};
use super::proto::{Credentials, Join};
use crate::db::engine;
use crate::raft::types::Node;
use crate::store::{Store, members};
use crate::world::World;

/// How long a join address may take to show that it serves HTTP.
const PROBE: Duration = Duration::from_secs(2);

/// What a node is told about the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `-join`
    pub join: Vec<String>,
    pub join_attempts: u64,
    pub join_interval: Duration,
    /// `-bootstrap-expect`; 0: none.
    pub expect: usize,
    pub expect_timeout: Duration,
    /// Not `-raft-non-voter`.
    pub voter: bool,
    /// `-disco-mode`
    pub discovery: Option<discovery::Options>,
}

/// Why the node is part of no cluster; the process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("join address {0} appears to be serving HTTP when it should be Raft")]
    ServesHttp(String),
    #[error("cannot create a new non-voting node without joining it to an existing cluster")]
    LonelyNonVoter,
    #[error("node is the only node in a single-node cluster, joining other clusters not supported")]
    OnlyNode,
    #[error("failed to join cluster: {0}")]
    Join(#[from] join::Failed),
    #[error(transparent)]
    Boot(#[from] TimedOut),
    #[error(transparent)]
    Members(#[from] members::Error),
}

/// How the nodes find each other that form a cluster together, if they do. The error is a text.
pub fn discovery(world: &World, options: &Options) -> Result<Option<Discovery>, String> {
    match &options.discovery {
        Some(discovery) => Discovery::new(world, discovery).map(Some),
        None if options.expect > 0 && !options.join.is_empty() => Ok(Some(Discovery::fixed(options.join.clone()))),
        None => Ok(None),
    }
}

/// What is said of a node that was stopped on the way.
pub fn canceled(options: &Options) -> &'static str {
    if options.expect > 0 || options.discovery.is_some() {
        "boot canceled"
    } else {
        "failed to join cluster: join operation canceled"
    }
}

/// Makes the node part of a cluster, or leaves it in the one that it is in.
pub async fn form(
    world: &World,
    store: &Store,
    client: &Client,
    options: &Options,
    discovery: Option<&Discovery>,
    credentials: Option<Credentials>,
) -> Result<(), Error> {
    if !options.join.is_empty() {
        tracing::info!("checking that supplied join addresses don't serve HTTP(S)");
        for address in &options.join {
            if serves_http(world, address).await {
                return Err(Error::ServesHttp(address.clone()));
            }
        }
    }
    let has_peers = store.has_peers().await?;
    let joining = joining(store, options, credentials, has_peers);
    if has_peers {
        store.campaign_if_alone().await?;
    }
    if let Some(discovery) = discovery {
        return Ok(bootstrap::run(world, store, client, discovery, &joining, options.expect_timeout).await?);
    }
    if !options.join.is_empty() {
        if store.is_alone().await? {
            return Err(Error::OnlyNode);
        }
        return Ok(joining.run(client, &options.join).await?);
    }
    if has_peers {
        return Ok(());
    }
    if !options.voter {
        return Err(Error::LonelyNonVoter);
    }
    tracing::info!("bootstrapping single new node");
    let node = store.node();
    Ok(store.bootstrap(BTreeMap::from([(node.0, node.1)])).await?)
}

fn joining(store: &Store, options: &Options, credentials: Option<Credentials>, has_peers: bool) -> Joining {
    let (id, Node { raft_addr, http_addr, .. }) = store.node();
    let (voter, engine) = (options.voter, engine::fingerprint());
    let join = Join { id, raft_addr, http_addr, voter, engine, is_empty: !has_peers };
    Joining { join, credentials, attempts: options.join_attempts, interval: options.join_interval }
}

/// Whether somebody answers HTTP at `address`; a server that wants TLS does, too.
async fn serves_http(world: &World, address: &str) -> bool {
    let probe = async {
        let mut stream = world.net.connect(address).await.ok()?;
        let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        Some(&start == b"HTTP/")
    };
    timeout(PROBE, probe).await.ok().flatten().unwrap_or(false)
}
