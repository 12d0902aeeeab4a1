//! TCP, without Nagle's delay. An idle connection whose other end is gone without a word ends after two and a half minutes,
//! as Go's do; others may be idle for ever. Names are looked up by the system; it has no call for SRV records.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};

use crate::world::net::{BoxFuture, Listener, Net, Stream};

/// Source: Go `net/tcpsock.go`: idle and interval 15 s, 9 probes.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15)).with_retries(9);

pub struct Tcp;

struct Port(TcpListener);

impl Net for Tcp {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(Port(TcpListener::bind(address).await?)) as Box<dyn Listener>) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(prepared(TcpStream::connect(address).await?)?) as Box<dyn Stream>) })
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host(address).await?.collect()) })
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move {
            // Anew each time: the system's settings may change.
            let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            services(&resolver.map_err(io::Error::other)?, name).await.map_err(io::Error::other)
        })
    }
}

impl Listener for Port {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(prepared(stream)?) as Box<dyn Stream>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

async fn services(resolver: &TokioResolver, name: &str) -> Result<Vec<String>, NetError> {
    let found = resolver.srv_lookup(name).await?;
    let service = |data: &RData| match data {
        RData::SRV(srv) => Some(format!("{}:{}", srv.target.to_utf8().trim_end_matches('.'), srv.port)),
        // An alias on the way.
        _ => None,
    };
    Ok(found.answers().iter().filter_map(|record| service(&record.data)).collect())
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn idle_connections_are_probed() {
        let port = Port(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = port.local_addr().unwrap().to_string();
        let (connected, accepted) = tokio::join!(TcpStream::connect(&address), port.0.accept());
        for stream in [prepared(connected.unwrap()).unwrap(), prepared(accepted.unwrap().0).unwrap()] {
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
        }
    }

    #[tokio::test]
    async fn a_service_is_found_by_its_records() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
                let asked = Message::from_vec(&bytes[..length]).unwrap();
                let query = asked.queries[0].clone();
                let mut answer = asked.into_response();
                match query.name().to_string().as_str() {
                    "_rqlite._tcp.there.test." => {
                        for (port, target) in [(4002, "one.test."), (5002, "two.test.")] {
                            let srv = SRV::new(0, 0, port, Name::from_ascii(target).unwrap());
                            answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::SRV(srv)));
                        }
                    }
                    _ => answer.metadata.response_code = ResponseCode::NXDomain,
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server_config = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server_config]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.build().unwrap();

        let mut found = services(&resolver, "_rqlite._tcp.there.test.").await.unwrap();
        found.sort();
        assert_eq!(found, ["one.test:4002", "two.test:5002"]);
        assert!(services(&resolver, "_rqlite._tcp.nowhere.test.").await.unwrap_err().is_no_records_found());
        server.abort();
    }
}
