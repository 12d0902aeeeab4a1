//! Distance: a TCP proxy on loopback that hands on each byte a while after it came, in order.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Connections to the address that is answered go to `address`, which is so far away, one way.
pub async fn to(address: &str, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, address) = (listener.local_addr().unwrap().to_string(), address.to_owned());
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            // Whoever connects finds out that there is nobody by the end of it.
            if let Ok(to) = TcpStream::connect(&address).await {
                from.set_nodelay(true).unwrap();
                to.set_nodelay(true).unwrap();
                let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                tokio::spawn(carry(from_read, to_write, delay));
                tokio::spawn(carry(to_read, from_write, delay));
            }
        }
    });
    near
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1000);
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if sender.send((Instant::now() + delay, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}
