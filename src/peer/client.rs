//! Calling other nodes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::connection::Unknown;
use super::{Connection, Error, Identity, Peers, Purpose, identity};
use crate::world::Net;

/// A connection that was not used for so long is not used again; the other side closes it at [`super::server::IDLE`].
const IDLE: Duration = Duration::from_secs(25);

/// Idle connections to one node.
///
/// Source: server.md §7.
pub const IDLE_MAX: usize = 64;

/// Who works on a request of the cluster service shows it more often than this.
pub const SILENCE: Duration = Duration::from_secs(5);

/// A connection that was used within this time isn't asked whether it works, only looked at: a node that is gone without a
/// word would have had to go since, which no question can rule out either.
const FRESH: Duration = Duration::from_secs(1);

/// How long a reused connection may take to show that it still works.
const PING: Duration = Duration::from_secs(1);

/// Calls from one node to others. Cloning is cheap.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    net: Arc<dyn Net>,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    /// Longest wait for a connection.
    dial: Duration,
    idle: Mutex<BTreeMap<String, Vec<(Instant, Connection)>>>,
    /// Connections opened because a reused one did not work any more.
    forced: AtomicU64,
}

impl Client {
    /// Introduces this node as `identity`, and notes in `peers` who is there.
    pub fn new(net: Arc<dyn Net>, identity: Arc<Identity>, peers: Arc<Peers>, dial: Duration) -> Self {
        let shared = Shared { net, identity, peers, dial, idle: Mutex::default(), forced: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a connection of its own.
    pub async fn open(&self, purpose: Purpose, address: &str, timeout: Duration) -> Result<Connection, Error> {
        let timeout = timeout.min(self.shared.dial);
        match tokio::time::timeout(timeout, self.introduce(purpose, address)).await {
            Ok(opened) => opened,
            Err(_) => Err(dial(address, io::ErrorKind::TimedOut.into())),
        }
    }

    /// One request to the cluster service at `address`.
    pub async fn call(&self, address: &str, message: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        let deadline = Instant::now() + timeout;
        let mut connection = self.acquire(address, timeout).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answered = connection.call(message, left, SILENCE).await;
        // An error in the answer is a complete answer.
        if matches!(answered, Ok(_) | Err(Error::Remote(_))) {
            self.release(address, connection);
        }
        answered
    }

    /// A connection to the cluster service at `address` that works: one that was used a while ago shows it first, so that
    /// a stale one costs time but no request (design §8).
    pub async fn acquire(&self, address: &str, timeout: Duration) -> Result<Connection, Error> {
        match self.reuse(address, timeout / 2).await {
            Some(connection) => Ok(connection),
            None => self.open(Purpose::Cluster, address, timeout).await,
        }
    }

    /// Gives back a connection on which every request was answered completely.
    pub fn release(&self, address: &str, connection: Connection) {
        let mut idle = self.shared.idle.lock().expect("no panic holds this lock");
        let idle = idle.entry(address.to_string()).or_default();
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), connection));
        }
    }

    /// See the field.
    pub fn forced(&self) -> u64 {
        self.shared.forced.load(Ordering::Relaxed)
    }

    /// Idle connections by address.
    pub fn idle(&self) -> BTreeMap<String, usize> {
        let idle = self.shared.idle.lock().expect("no panic holds this lock");
        idle.iter().map(|(address, connections)| (address.clone(), connections.len())).collect()
    }

    /// What other nodes said of themselves.
    pub fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    async fn introduce(&self, purpose: Purpose, address: &str) -> Result<Connection, Error> {
        let mut stream = self.shared.net.connect(address).await.map_err(|source| dial(address, source))?;
        stream.write_all(&[purpose as u8]).await.map_err(|source| dial(address, source))?;
        let mut unknown = Unknown::new(stream);
        let ours = self.shared.identity.hello();
        let exchanged = async {
            unknown.send(&ours).await?;
            unknown.receive().await
        };
        let theirs = exchanged.await.map_err(|error| match error {
            Error::Broken(source) => dial(address, source),
            other => Error::Refused { address: address.into(), reason: other.to_string() },
        })?;
        let refusal = Some(theirs.refusal.clone()).filter(|refusal| !refusal.is_empty());
        match refusal.map_or_else(|| identity::check(&ours, &theirs), Err) {
            Ok(()) => {
                self.shared.peers.heard(&theirs);
                Ok(unknown.known(theirs))
            }
            Err(reason) => Err(Error::Refused { address: address.into(), reason }),
        }
    }

    /// An idle connection that has just answered; the others are closed once one has not.
    async fn reuse(&self, address: &str, timeout: Duration) -> Option<Connection> {
        let (used, mut connection) = {
            let mut idle = self.shared.idle.lock().expect("no panic holds this lock");
            idle.get_mut(address)?.pop()?
        };
        let works = match used.elapsed() {
            unused if unused < FRESH => connection.is_quiet(),
            unused if unused < IDLE => {
                matches!(tokio::time::timeout(timeout.min(PING), connection.ping()).await, Ok(Ok(())))
            }
            _ => false,
        };
        if works {
            return Some(connection);
        }
        // The others were used even longer ago.
        self.shared.idle.lock().expect("no panic holds this lock").remove(address);
        self.shared.forced.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn dial(address: &str, source: io::Error) -> Error {
    Error::Dial { address: address.into(), source }
}
