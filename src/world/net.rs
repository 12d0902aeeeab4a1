//! The network: TCP streams between named addresses.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future that borrows its edge; the traits here are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One end of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static> Stream for S {}

/// An open port.
pub trait Listener: Send + Sync {
    /// The next connection and the address it came from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
    /// The address that was bound: with port 0, the one the system chose.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// What a node sees of the network. Addresses are `host:port`.
pub trait Net: Send + Sync {
    /// Binds `address`.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
    /// Opens a connection to `address`. The caller sets the deadline.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
    /// The addresses behind `address` (`host:port`).
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
    /// Where the service `name` is (`_service._tcp.domain`), as its SRV records say: `host:port`.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>>;
}
