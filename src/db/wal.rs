//! The write-ahead log as a file: how far it is valid.
//!
//! SQLite stops silently at the first bad frame, so a lost or damaged WAL looks like one that was truncated. Where
//! the WAL must hold F frames we count them ourselves, before SQLite opens it (hazards H1, H2).
//!
//! Source: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io;

use crate::world::File;

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// A position in a WAL, as `db.state` records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub frames: u64,
    /// Of the header: they name this generation of the WAL.
    pub salts: (u32, u32),
    /// Cumulative, of the last frame.
    pub checksum: (u32, u32),
    /// Pages of the database after the last frame, which ends a transaction.
    pub pages: u32,
}

/// Why a WAL can't be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(pub String);

struct Header {
    page_size: u64,
    salts: (u32, u32),
    checksum: (u32, u32),
    big_endian: bool,
}

/// Bytes of a WAL of `frames` frames with pages of `page_size` bytes.
pub fn length(frames: u64, page_size: u64) -> u64 {
    if frames == 0 { 0 } else { HEADER + frames * (FRAME_HEADER + page_size) }
}

/// The position after frame `frames`, taken from the frame itself: the caller has written and synced it.
pub fn position(wal: &dyn File, frames: u64) -> io::Result<Position> {
    let header = read_header(wal)?.map_err(|damage| io::Error::new(io::ErrorKind::InvalidData, damage.0))?;
    let mut frame = [0; FRAME_HEADER as usize];
    read_exact(wal, &mut frame, length(frames, header.page_size) - header.page_size - FRAME_HEADER)?;
    Ok(Position { frames, salts: header.salts, checksum: (be(&frame[16..]), be(&frame[20..])), pages: be(&frame[4..]) })
}

/// Checks that the first `expected.frames` frames are exactly those that `expected` was taken from. Returns the
/// length of the file up to there.
pub fn verify(wal: &dyn File, expected: &Position) -> io::Result<Result<u64, Damage>> {
    let header = match read_header(wal)? {
        Ok(header) => header,
        Err(damage) => return Ok(Err(damage)),
    };
    if header.salts != expected.salts {
        return Ok(Err(Damage("its salts are another generation's".into())));
    }
    let mut checksum = header.checksum;
    let mut frame = vec![0; (FRAME_HEADER + header.page_size) as usize];
    for n in 0..expected.frames {
        let offset = HEADER + n * frame.len() as u64;
        if wal.read_at(&mut frame, offset)? < frame.len() {
            return Ok(Err(Damage(format!("it ends within frame {} of {}", n + 1, expected.frames))));
        }
        checksum = update(checksum, &frame[..8], header.big_endian);
        checksum = update(checksum, &frame[FRAME_HEADER as usize..], header.big_endian);
        let salts = (be(&frame[8..]), be(&frame[12..]));
        if salts != header.salts || checksum != (be(&frame[16..]), be(&frame[20..])) {
            return Ok(Err(Damage(format!("frame {} of {} is damaged", n + 1, expected.frames))));
        }
    }
    if checksum != expected.checksum {
        return Ok(Err(Damage(format!("frame {} is not the one recorded", expected.frames))));
    }
    Ok(Ok(length(expected.frames, header.page_size)))
}

fn read_header(wal: &dyn File) -> io::Result<Result<Header, Damage>> {
    let mut bytes = [0; HEADER as usize];
    if wal.read_at(&mut bytes, 0)? < bytes.len() {
        return Ok(Err(Damage("it has no header".into())));
    }
    let magic = be(&bytes);
    if magic & !1 != 0x377f_0682 {
        return Ok(Err(Damage("its header has no magic number".into())));
    }
    let big_endian = magic & 1 == 1;
    let checksum = update((0, 0), &bytes[..24], big_endian);
    if checksum != (be(&bytes[24..]), be(&bytes[28..])) {
        return Ok(Err(Damage("its header is damaged".into())));
    }
    let page_size = be(&bytes[8..]) as u64;
    Ok(Ok(Header { page_size, salts: (be(&bytes[16..]), be(&bytes[20..])), checksum, big_endian }))
}

/// SQLite's `walChecksumBytes`; `bytes` is a multiple of 8 long.
fn update((mut s0, mut s1): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().expect("four bytes");
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        s0 = s0.wrapping_add(word(&pair[..4])).wrapping_add(s1);
        s1 = s1.wrapping_add(word(&pair[4..])).wrapping_add(s0);
    }
    (s0, s1)
}

fn be(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn read_exact(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(buffer, offset)? < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
