//! The network: turmoil's TCP.
//!
//! Fault model: latency from the seed for each segment; partitions and holds between machines, which lose or keep back
//! segments (there is no retransmission: a connection that lost one stays silent for ever); a machine that crashes
//! drops its connections. Not modelled: bandwidth.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rqlite::world::net::{BoxFuture, Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::{self, Trace};

/// The network as one machine sees it.
#[derive(Clone)]
pub struct SimNet {
    name: String,
    trace: Trace,
}

struct Port {
    listener: TcpListener,
    net: SimNet,
}

/// A connection whose bytes are hashed into the trace.
struct Traced {
    stream: TcpStream,
    net: SimNet,
    /// The two ports name the connection.
    ports: (u16, u16),
}

impl SimNet {
    /// The network of the machine `name`.
    pub fn new(name: &str, trace: Trace) -> Self {
        Self { name: name.into(), trace }
    }

    fn stream(&self, what: &str, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let ports = (stream.local_addr()?.port(), stream.peer_addr()?.port());
        self.trace.line(format_args!("{} net {what} {}-{}", self.name, ports.0, ports.1));
        Ok(Box::new(Traced { stream, net: self.clone(), ports }))
    }
}

impl Net for SimNet {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            self.trace.line(format_args!("{} net listen {address}", self.name));
            Ok(Box::new(Port { listener, net: self.clone() }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { self.stream("connect", TcpStream::connect(address).await?) })
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
            let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(vec![SocketAddr::new(turmoil::lookup(host), port)])
        })
    }
}

impl Listener for Port {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.listener.accept().await?;
            Ok((self.net.stream("accept", stream)?, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Traced {
    fn line(&self, what: &str, bytes: &[u8]) {
        let (ours, theirs) = self.ports;
        let hash = trace::fold(trace::HASH_START, bytes);
        self.net.trace.line(format_args!("{} net {what} {ours}-{theirs} {} {hash:016x}", self.net.name, bytes.len()));
    }
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.line("read", &buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.line("write", &bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.net.trace.line(format_args!("{} net close {}-{}", self.net.name, self.ports.0, self.ports.1));
    }
}
