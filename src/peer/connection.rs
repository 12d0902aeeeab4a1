//! One connection between two nodes, in frames.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{FutureExt, SinkExt, StreamExt};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::io::AsyncWriteExt;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Error;
use super::proto::frame::Kind;
use super::proto::{Frame, Hello, Signal};
use crate::world::Stream;

/// Largest hello.
const HELLO_MAX: usize = 64 << 10;

/// Largest frame: the largest entry of the log (`raft::log`), and what goes with it.
const FRAME_MAX: usize = (1 << 30) + (16 << 20);

/// How often it is shown that something is worked on.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// A chunk of at least this size is written from where it is.
const LARGE: usize = 64 << 10;

/// Of `chunk` in peer.proto.
const CHUNK_TAG: u32 = 3;

/// A connection on which both sides know who is there.
pub struct Connection {
    framed: Framed<Box<dyn Stream>, LengthDelimitedCodec>,
    /// The other side.
    pub peer: Hello,
    /// Of the last request.
    id: u64,
}

/// What came next.
#[derive(Debug)]
pub enum Received {
    Message(Bytes),
    Chunk(Bytes),
    /// CRC32C of all chunks.
    End(u32),
}

/// A connection on which nobody has said who is there.
pub(super) struct Unknown(Framed<Box<dyn Stream>, LengthDelimitedCodec>);

impl Unknown {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(HELLO_MAX).new_codec();
        Self(Framed::new(stream, codec))
    }

    pub async fn send(&mut self, hello: &Hello) -> Result<(), Error> {
        Ok(self.0.send(Bytes::from(hello.encode_to_vec())).await?)
    }

    pub async fn receive(&mut self) -> Result<Hello, Error> {
        let bytes = self.0.next().await.ok_or(closed())??;
        Hello::decode(bytes).map_err(|_| Error::Protocol("the hello can't be decoded"))
    }

    pub fn known(mut self, peer: Hello) -> Connection {
        self.0.codec_mut().set_max_frame_length(FRAME_MAX);
        Connection { framed: self.0, peer, id: 0 }
    }
}

impl Connection {
    /// Sends a request and waits for its answer, but no longer than `idle` for a sign of life. After an error the
    /// connection is of no use.
    pub async fn call(&mut self, message: Bytes, timeout: Duration, idle: Duration) -> Result<Bytes, Error> {
        let exchange = async {
            self.request(message).await?;
            self.answer(idle).await
        };
        match tokio::time::timeout(timeout, exchange).await.map_err(|_| Error::Timeout)?? {
            Received::Message(answer) => Ok(answer),
            Received::Chunk(_) | Received::End(_) => Err(Error::Protocol("a stream where an answer should be")),
        }
    }

    /// Begins a request that is followed by a stream; it goes out with what follows, or by [`Connection::flush`].
    pub async fn begin(&mut self, message: Bytes) -> Result<(), Error> {
        self.id += 1;
        self.feed(Kind::Message(message)).await
    }

    /// Sends a request whose answer, or the rest of which, comes in parts.
    pub async fn request(&mut self, message: Bytes) -> Result<(), Error> {
        self.begin(message).await?;
        self.flush().await
    }

    /// The next part of the answer to the last request. The other side may take long, but shows that it is there at
    /// least every `idle`.
    pub async fn answer(&mut self, idle: Duration) -> Result<Received, Error> {
        loop {
            let frame = tokio::time::timeout(idle, self.frame()).await.map_err(|_| Error::Timeout)??;
            let frame = frame.ok_or(closed())?;
            if frame.id != self.id {
                return Err(Error::Protocol("an answer to another request"));
            }
            match frame.kind {
                Some(Kind::Signal(signal)) if signal == Signal::Working as i32 => {}
                Some(Kind::Error(text)) => return Err(Error::Remote(text)),
                kind => return received(kind),
            }
        }
    }

    /// Whether the other side has neither closed nor said anything since its last answer.
    pub fn is_quiet(&mut self) -> bool {
        self.framed.next().now_or_never().is_none()
    }

    /// Shows that the other side is there.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.id += 1;
        self.send(Kind::Signal(Signal::Ping.into())).await?;
        match self.frame().await?.ok_or(closed())? {
            Frame { id, kind: Some(Kind::Signal(signal)) } if id == self.id && signal == Signal::Pong as i32 => Ok(()),
            _ => Err(Error::Protocol("something else where a pong should be")),
        }
    }

    /// The serving side: the next request; pings are answered here. `None`: the other side has closed.
    pub async fn next_request(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(frame) = self.frame().await? else { return Ok(None) };
            self.id = frame.id;
            match frame.kind {
                Some(Kind::Signal(signal)) if signal == Signal::Ping as i32 => {
                    self.send(Kind::Signal(Signal::Pong.into())).await?;
                }
                Some(Kind::Message(message)) => return Ok(Some(message)),
                _ => return Err(Error::Protocol("no request where one should be")),
            }
        }
    }

    /// The serving side: the next part of the request that is being read, whenever it comes.
    pub async fn next_part(&mut self) -> Result<Received, Error> {
        loop {
            let frame = self.frame().await?.ok_or(closed())?;
            if frame.id != self.id {
                return Err(Error::Protocol("a part of another request"));
            }
            match frame.kind {
                Some(Kind::Signal(signal)) if signal == Signal::Working as i32 => {}
                kind => return received(kind),
            }
        }
    }

    /// The serving side: the answer to the last request.
    pub async fn reply(&mut self, answer: Result<Bytes, String>) -> Result<(), Error> {
        self.send(answer.map_or_else(Kind::Error, Kind::Message)).await
    }

    /// Shows that the answer to the last request will come, or the rest of what is being sent.
    pub async fn working(&mut self) -> Result<(), Error> {
        self.send(Kind::Signal(Signal::Working.into())).await
    }

    /// Does `work`, and shows the other side again and again that it is done. An error: nobody waits for it any more.
    pub async fn while_working<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout(SIGN_OF_LIFE, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.working().await?,
            }
        }
    }

    /// The serving side: an answer that is followed by a stream; it goes out with what follows, or by
    /// [`Connection::flush`].
    pub async fn begin_reply(&mut self, answer: Bytes) -> Result<(), Error> {
        self.feed(Kind::Message(answer)).await
    }

    /// A piece of a stream; it goes out with what follows, or by [`Connection::flush`]. A large one does at once, from
    /// where it is: in a frame and then in the buffer it would be copied twice.
    pub async fn chunk(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() < LARGE {
            return self.feed(Kind::Chunk(bytes)).await;
        }
        self.flush().await?;
        let head = chunk_head(self.id, bytes.len());
        Ok(self.framed.get_mut().write_all_buf(&mut head.chain(bytes)).await?)
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), Error> {
        Ok(SinkExt::<Bytes>::flush(&mut self.framed).await?)
    }

    /// The end of a stream whose chunks have this CRC32C.
    pub async fn end(&mut self, crc32c: u32) -> Result<(), Error> {
        self.send(Kind::End(crc32c)).await
    }

    async fn send(&mut self, kind: Kind) -> Result<(), Error> {
        self.feed(kind).await?;
        self.flush().await
    }

    async fn feed(&mut self, kind: Kind) -> Result<(), Error> {
        let frame = Frame { id: self.id, kind: Some(kind) };
        let mut bytes = BytesMut::with_capacity(frame.encoded_len());
        frame.encode(&mut bytes).expect("the buffer grows");
        Ok(self.framed.feed(bytes.freeze()).await?)
    }

    async fn frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(bytes) = self.framed.next().await else { return Ok(None) };
        Frame::decode(bytes?).map(Some).map_err(|_| Error::Protocol("a frame can't be decoded"))
    }
}

/// What a frame with a chunk of `length` bytes begins with, its own length first.
fn chunk_head(id: u64, length: usize) -> Bytes {
    let mut frame = BytesMut::new();
    Frame { id, kind: None }.encode(&mut frame).expect("the buffer grows");
    encode_key(CHUNK_TAG, WireType::LengthDelimited, &mut frame);
    encode_varint(length as u64, &mut frame);
    let mut head = BytesMut::new();
    head.put_u32((frame.len() + length) as u32);
    head.unsplit(frame);
    head.freeze()
}

fn received(kind: Option<Kind>) -> Result<Received, Error> {
    match kind {
        Some(Kind::Message(bytes)) => Ok(Received::Message(bytes)),
        Some(Kind::Chunk(bytes)) => Ok(Received::Chunk(bytes)),
        Some(Kind::End(crc32c)) => Ok(Received::End(crc32c)),
        // A newer version's, or nonsense.
        Some(Kind::Error(_) | Kind::Signal(_)) | None => Err(Error::Protocol("a frame of an unknown kind")),
    }
}

fn closed() -> std::io::Error {
    std::io::ErrorKind::UnexpectedEof.into()
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::Encoder;

    use super::*;

    #[test]
    fn a_large_chunk_is_the_same_on_the_wire() {
        for (id, length) in [(0, 1), (1, 127), (300, 128), (u64::MAX, 1 << 20)] {
            let chunk = Bytes::from(vec![7; length]);
            let frame = Frame { id, kind: Some(Kind::Chunk(chunk.clone())) }.encode_to_vec();
            let mut want = BytesMut::new();
            LengthDelimitedCodec::new().encode(Bytes::from(frame), &mut want).unwrap();
            let got = [chunk_head(id, length), chunk].concat();
            assert!(got == want, "{id} {length}");
        }
    }
}
