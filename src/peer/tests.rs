//! Client and server over connections in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::server::{Server, Service, serve};
use super::*;
use crate::world::net::BoxFuture;
use crate::world::{Listener, Net, Stream, runtime, spawn};

const ADDRESS: &str = "n2:4002";
const SECOND: Duration = Duration::from_secs(1);

/// Connects everybody to whoever listens at the address.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>>);

struct Port(mpsc::UnboundedReceiver<DuplexStream>);

impl Net for Wires {
    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        unimplemented!("nobody asks for services here")
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap().insert(address.into(), sender);
        Box::pin(async { Ok(Box::new(Port(receiver)) as Box<dyn Listener>) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let (ours, theirs) = duplex(1 << 10);
            let sent = self.0.lock().unwrap().get(address).map(|port| port.send(theirs));
            match sent {
                Some(Ok(())) => Ok(Box::new(ours) as Box<dyn Stream>),
                _ => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        unreachable!("nothing is resolved")
    }
}

impl Listener for Port {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async {
            let stream = self.0.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((Box::new(stream) as Box<dyn Stream>, SocketAddr::from(([127, 0, 0, 1], 1))))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        unreachable!("nobody asks")
    }
}

/// Answers with what it was sent, except to some; counts requests.
#[derive(Default)]
struct Echo(AtomicU64);

impl Service for Echo {
    fn serve(self: Arc<Self>, mut connection: Connection) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            while let Some(request) = connection.next_request().await? {
                self.0.fetch_add(1, Ordering::Relaxed);
                match &request[..] {
                    b"silence" => std::future::pending().await,
                    b"bye" => return connection.reply(Ok(request)).await,
                    b"error" => connection.reply(Err("it failed".into())).await?,
                    b"slow" => {
                        for _ in 0..5 {
                            tokio::time::sleep(SECOND).await;
                            connection.working().await?;
                        }
                        connection.reply(Ok(request)).await?;
                    }
                    _ => connection.reply(Ok(request)).await?,
                }
            }
            Ok(())
        })
    }
}

struct Fixture {
    wires: Wires,
    echo: Arc<Echo>,
    client: Client,
}

fn identity(node_id: &str, cluster_id: &str) -> Arc<Identity> {
    let cluster = Arc::new(Cluster::default());
    cluster.set(cluster_id, "");
    let http_addr = format!("{node_id}:4001");
    Arc::new(Identity::new(Hello { node_id: node_id.into(), http_addr, ..Hello::default() }, cluster))
}

impl Fixture {
    /// Node n2 of `theirs` listens, n1 of cluster "a" calls.
    async fn new(theirs: &str) -> Self {
        let (wires, echo) = (Wires::default(), Arc::new(Echo::default()));
        let listener = wires.listen(ADDRESS).await.unwrap();
        let services = BTreeMap::from([(Purpose::Cluster, echo.clone() as Arc<dyn Service>)]);
        spawn(serve(listener, Server { identity: identity("n2", theirs), peers: Arc::default(), services }));
        let client = Client::new(Arc::new(wires.clone()), identity("n1", "a"), Arc::default(), 5 * SECOND);
        Self { wires, echo, client }
    }

    async fn call(&self, request: &'static [u8]) -> Result<Bytes, Error> {
        self.client.call(ADDRESS, Bytes::from_static(request), 2 * SECOND).await
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(runtime::scope(1, test));
}

#[test]
fn a_call_is_answered_and_its_connection_used_again() {
    run(async {
        let fixture = Fixture::new("a").await;
        for _ in 0..3 {
            assert_eq!(fixture.call(b"hello").await.unwrap(), "hello");
        }
        assert!(matches!(fixture.call(b"error").await, Err(Error::Remote(text)) if text == "it failed"));
        assert_eq!(fixture.client.idle(), BTreeMap::from([(ADDRESS.to_string(), 1)]));
        assert_eq!(fixture.client.peers().get("n2").unwrap().http_addr, "n2:4001");
        assert_eq!(fixture.client.forced(), 0);
    });
}

/// Server.md §7: a request over a connection whose other end is gone is sent once, over a new one.
#[test]
fn a_stale_connection_is_never_seen() {
    run(async {
        for unused in [Duration::from_millis(1), 2 * SECOND, 60 * SECOND] {
            let fixture = Fixture::new("a").await;
            assert_eq!(fixture.call(b"bye").await.unwrap(), "bye");
            tokio::time::sleep(unused).await;
            assert_eq!(fixture.call(b"two").await.unwrap(), "two");
            assert_eq!(fixture.echo.0.load(Ordering::Relaxed), 2);
            assert_eq!(fixture.client.forced(), 1);
        }
    });
}

#[test]
fn a_connection_that_timed_out_is_not_used_again() {
    run(async {
        let fixture = Fixture::new("a").await;
        assert!(matches!(fixture.call(b"silence").await, Err(Error::Timeout)));
        assert_eq!(fixture.client.idle(), BTreeMap::new());
        assert_eq!(fixture.call(b"hello").await.unwrap(), "hello");
    });
}

#[test]
fn who_works_may_take_long() {
    run(async {
        let fixture = Fixture::new("a").await;
        let mut connection = fixture.client.open(Purpose::Cluster, ADDRESS, SECOND).await.unwrap();
        connection.request(Bytes::from_static(b"slow")).await.unwrap();
        assert!(connection.answer(2 * SECOND).await.is_ok());
        connection.request(Bytes::from_static(b"silence")).await.unwrap();
        assert!(matches!(connection.answer(2 * SECOND).await, Err(Error::Timeout)));
    });
}

#[test]
fn nobody_is_there() {
    run(async {
        let fixture = Fixture::new("a").await;
        let error = fixture.client.call("n3:4002", Bytes::new(), SECOND).await.unwrap_err();
        assert!(error.is_unsent());
        assert_eq!(error.to_string(), "dial tcp n3:4002: connect: connection refused");
    });
}

#[test]
fn another_cluster_is_refused() {
    run(async {
        let fixture = Fixture::new("b").await;
        let error = fixture.call(b"hello").await.unwrap_err();
        assert!(error.is_unsent());
        assert!(error.to_string().contains("node n1 belongs to another cluster (a, not b)"), "{error}");
        assert_eq!(fixture.echo.0.load(Ordering::Relaxed), 0);
        assert!(fixture.client.peers().get("n2").is_none());
    });
}

#[test]
fn what_makes_no_sense_is_closed() {
    run(async {
        let fixture = Fixture::new("a").await;
        // An HTTP client, an unknown purpose, one that isn't offered, a hello that is too long.
        check(&fixture, b"GET / HTTP/1.1\r\n\r\n").await;
        check(&fixture, &[3]).await;
        check(&fixture, &[Purpose::Raft as u8]).await;
        check(&fixture, &[Purpose::Cluster as u8, 0x7f, 0xff, 0xff, 0xff]).await;

        async fn check(fixture: &Fixture, bytes: &[u8]) {
            let mut stream = fixture.wires.connect(ADDRESS).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            let read = tokio::time::timeout(SECOND, stream.read_to_end(&mut answer)).await;
            assert!(matches!(read, Ok(Ok(0))), "{read:?} {answer:?}");
        }
    });
}
