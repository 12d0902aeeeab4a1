//! The network: turmoil's TCP.
//!
//! Fault model: latency from the seed for each segment; partitions and holds between machines, which lose or keep back
//! segments (there is no retransmission: a connection that lost one stays silent for ever); a machine that crashes
//! drops its connections. A connection takes a window of bytes that its reader has not read yet, so that a slow reader
//! holds up its writer (turmoil's own has none). Not modelled: bandwidth.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rqlite::world::net::{BoxFuture, Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::machine::RAFT_PORTS;
use crate::trace::{self, Trace};
use crate::world::clock;

/// Bytes under way on a connection, in each direction.
const WINDOW: usize = 16 << 10;

/// What all machines share.
#[derive(Clone, Default)]
pub struct Cables {
    windows: Arc<Mutex<BTreeMap<Direction, Window>>>,
    heard: Arc<Mutex<BTreeMap<String, Duration>>>,
}

/// Of a connection: from, to.
type Direction = (SocketAddr, SocketAddr);

#[derive(Default)]
struct Window {
    under_way: usize,
    /// Nobody reads any more: what is written is lost, and the writer learns it from the network.
    is_closed: bool,
    writer: Option<Waker>,
}

/// The network as one machine sees it.
#[derive(Clone)]
pub struct SimNet {
    name: String,
    cables: Cables,
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
    ours: SocketAddr,
    theirs: SocketAddr,
    /// One of both ends is the port for other nodes.
    is_of_a_node: bool,
}

impl SimNet {
    /// The network of the machine `name`.
    pub fn new(name: &str, cables: &Cables, trace: Trace) -> Self {
        Self { name: name.into(), cables: cables.clone(), trace }
    }

    fn stream(&self, what: &str, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let (ours, theirs) = (stream.local_addr()?, stream.peer_addr()?);
        self.trace.line(format_args!("{} net {what} {}-{}", self.name, ours.port(), theirs.port()));
        self.cables.open((ours, theirs));
        let is_of_a_node = [ours, theirs].iter().any(|end| RAFT_PORTS.contains(&end.port()));
        Ok(Box::new(Traced { stream, net: self.clone(), ours, theirs, is_of_a_node }))
    }
}

impl Cables {
    /// When another node last told the machine `name` anything.
    pub fn heard(&self, name: &str) -> Option<Duration> {
        self.heard.lock().expect("no cable panics").get(name).copied()
    }

    fn with<R>(&self, direction: Direction, work: impl FnOnce(&mut Window) -> R) -> R {
        work(self.windows.lock().expect("no cable panics").entry(direction).or_default())
    }

    /// Ports are used again: a new connection owes nothing.
    fn open(&self, direction: Direction) {
        self.with(direction, |window| *window = Window::default());
    }

    /// How many of `length` bytes can be written; the task is woken when there is room.
    fn room(&self, direction: Direction, length: usize, cx: &Context<'_>) -> Poll<usize> {
        self.with(direction, |window| match WINDOW.saturating_sub(window.under_way) {
            _ if window.is_closed => Poll::Ready(length),
            0 => {
                window.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(length.min(room)),
        })
    }

    /// So many bytes are under way, more or less than before.
    fn moved(&self, direction: Direction, written: usize, read: usize) {
        let writer = self.with(direction, |window| {
            window.under_way = (window.under_way + written).saturating_sub(read);
            if read > 0 { window.writer.take() } else { None }
        });
        writer.into_iter().for_each(Waker::wake);
    }

    fn close(&self, direction: Direction) {
        let writer = self.with(direction, |window| {
            window.is_closed = true;
            window.writer.take()
        });
        writer.into_iter().for_each(Waker::wake);
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

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
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
        let (ours, theirs) = (self.ours.port(), self.theirs.port());
        let hash = trace::fold(trace::HASH_START, bytes);
        self.net.trace.line(format_args!("{} net {what} {ours}-{theirs} {} {hash:016x}", self.net.name, bytes.len()));
    }
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        self.line("read", read);
        if self.is_of_a_node && !read.is_empty() {
            let now = clock::elapsed();
            self.net.cables.heard.lock().expect("no cable panics").insert(self.net.name.clone(), now);
        }
        self.net.cables.moved((self.theirs, self.ours), 0, read.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let direction = (self.ours, self.theirs);
        let room = ready!(self.net.cables.room(direction, bytes.len(), cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..room]))?;
        self.net.cables.moved(direction, written, 0);
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
        self.net.trace.line(format_args!("{} net close {}-{}", self.net.name, self.ours.port(), self.theirs.port()));
        // Who still writes to us writes into nothing.
        self.net.cables.close((self.theirs, self.ours));
    }
}
