//! Being called by other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::Unknown;
use super::{Connection, Error, Identity, Peers, Purpose, identity};
use crate::world::net::BoxFuture;
use crate::world::{Listener, Stream, spawn};

/// How long a caller may take to say what it wants and who it is.
///
/// Source: server.md §7.
const INTRODUCTION: Duration = Duration::from_secs(30);

/// A connection on which nothing is asked for so long is closed by the service.
pub const IDLE: Duration = Duration::from_secs(30);

/// Connections for one purpose at once; more are closed.
const CONNECTIONS_MAX: usize = 512;

/// What is done on connections of one purpose.
pub trait Service: Send + Sync + 'static {
    /// Answers requests on `connection` until it ends.
    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, Result<(), Error>>;
}

/// What this node offers to others.
pub struct Server {
    pub identity: Arc<Identity>,
    pub peers: Arc<Peers>,
    pub services: BTreeMap<Purpose, Arc<dyn Service>>,
}

/// Serves for ever.
pub async fn serve(mut listener: Box<dyn Listener>, server: Server) {
    let server = Arc::new(server);
    let permits = server.services.keys().map(|purpose| (*purpose, Semaphore::new(CONNECTIONS_MAX)));
    let permits: Arc<BTreeMap<Purpose, Semaphore>> = Arc::new(permits.collect());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (server, permits) = (server.clone(), permits.clone());
                spawn(async move {
                    if let Err(error) = converse(stream, &server, &permits).await {
                        tracing::debug!(%from, %error, "a connection from another node has ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection from another node");
                // Out of descriptors, most likely: the next one would fail as well.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(
    mut stream: Box<dyn Stream>,
    server: &Server,
    permits: &BTreeMap<Purpose, Semaphore>,
) -> Result<(), Error> {
    let late = |_| Error::Timeout;
    let byte = timeout(INTRODUCTION, stream.read_u8()).await.map_err(late)??;
    let purpose = Purpose::of(byte).ok_or(Error::Protocol("the first byte names no purpose"))?;
    let Some(service) = server.services.get(&purpose) else {
        return Err(Error::Protocol("nothing is offered for this purpose"));
    };
    let Ok(_permit) = permits[&purpose].try_acquire() else {
        return Err(Error::Protocol("too many connections"));
    };
    let mut unknown = Unknown::new(stream);
    let theirs = timeout(INTRODUCTION, unknown.receive()).await.map_err(late)??;
    let mut ours = server.identity.hello();
    if let Err(reason) = identity::check(&ours, &theirs) {
        tracing::warn!("node {} was refused: {reason}", theirs.node_id);
        ours.refusal = format!("refused: {reason}");
        timeout(INTRODUCTION, unknown.send(&ours)).await.map_err(late)??;
        return Ok(());
    }
    timeout(INTRODUCTION, unknown.send(&ours)).await.map_err(late)??;
    server.peers.heard(&theirs);
    service.clone().serve(unknown.known(theirs)).await
}
