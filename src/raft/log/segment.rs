//! A segment file: its name and header.
//!
//! ```text
//!   0 magic 8 bytes │ 8 version u32 │ 12 crc u32 │ 16 first u64 │ 24 has_before u32 │ 28 chain u32 │ 32 term u64 │ 40 index u64 │ 48 salt u64 │ 56 zeros │ 64 records
//! ```
//!
//! The file is as long as it will ever be, zeros behind the last record. It is created, filled with zeros, given its
//! header and synced, and its name is synced, before the first record is written: so a header that is not valid has
//! nothing behind it, and a segment that exists proves that the one before it is durable to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Context, Error};
use super::record::{u32_at, u64_at};
use crate::raft::convert::log_id;
use crate::raft::types::LogId;
use crate::world::{Disk, File, Open};

/// Bytes of the header: where the first record starts.
pub const HEADER: usize = 64;

/// Format version that this program writes.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"rqlitlog";

/// What a segment knows of the log before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Index of the first entry.
    pub first: u64,
    /// The entry before the first, which may be purged; `None` at the start of the log.
    pub before: Option<LogId>,
    /// CRC of the last record of the segment before; 0 if there is none.
    pub chain: u32,
    /// Random: makes the CRCs of this segment its own.
    pub salt: u64,
}

/// A header as it was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub header: Header,
    /// Where the chain of the segment's records starts.
    pub crc: u32,
    /// Seeds the CRCs of the segment's records.
    pub seed: u32,
}

impl Header {
    /// The bytes on the disk.
    pub fn encode(&self) -> ([u8; HEADER], Sealed) {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..28].copy_from_slice(&u32::from(self.before.is_some()).to_le_bytes());
        bytes[28..32].copy_from_slice(&self.chain.to_le_bytes());
        if let Some(before) = &self.before {
            bytes[32..40].copy_from_slice(&before.leader_id.term.to_le_bytes());
            bytes[40..48].copy_from_slice(&before.index.to_le_bytes());
        }
        bytes[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        (bytes, Sealed { header: self.clone(), crc, seed: crc32c::crc32c(&bytes) })
    }
}

/// The header at the start of `bytes`; `None` if it is not valid.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Option<Sealed>, Error> {
    let Some(bytes) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    if bytes[0..8] != MAGIC || crc(bytes) != u32_at(bytes, 12) {
        return Ok(None);
    }
    let version = u32_at(bytes, 8);
    if version > VERSION {
        return Err(Error::Newer { path: path.to_owned(), version, known: VERSION });
    }
    let before = (u32_at(bytes, 24) == 1).then(|| log_id(u64_at(bytes, 32), u64_at(bytes, 40)));
    let header = Header { first: u64_at(bytes, 16), before, chain: u32_at(bytes, 28), salt: u64_at(bytes, 48) };
    Ok(Some(Sealed { header, crc: u32_at(bytes, 12), seed: crc32c::crc32c(bytes) }))
}

fn crc(bytes: &[u8; HEADER]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// Twenty digits hold every index, so that names sort as numbers.
pub fn name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first index in a segment's file name; `None` for any other file.
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Creates a segment of `bytes` bytes, durable with its name when this returns.
pub fn create(disk: &dyn Disk, directory: &Path, header: &Header, bytes: u64) -> Result<Segment, Error> {
    let path = directory.join(name(header.first));
    let file = disk.open(&path, Open::CreateNew).context("create", &path)?;
    file.allocate(bytes).context("allocate", &path)?;
    let (encoded, sealed) = header.encode();
    file.write_at(&encoded, 0).context("write", &path)?;
    file.sync().context("sync", &path)?;
    disk.sync_dir(directory).context("sync directory", directory)?;
    Ok(Segment {
        path,
        file: file.into(),
        first: header.first,
        seed: sealed.seed,
        head_crc: sealed.crc,
        offsets: Vec::new(),
        end: HEADER as u64,
        bytes,
    })
}

/// A segment in memory: where its entries are, four bytes each, and never the entries. The file stays open, so that a
/// reader can finish when the segment is purged under it.
#[derive(Clone)]
pub struct Segment {
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    pub first: u64,
    /// Seeds the records' CRCs.
    pub seed: u32,
    /// The header's CRC, where the records' chain starts.
    pub head_crc: u32,
    /// Offset of each entry's record.
    pub offsets: Vec<u32>,
    /// Offset behind the last record.
    pub end: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl Segment {
    /// The index after its last entry.
    pub fn next(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_numbers() {
        for first in [0, 9, 10, 12_345, u64::MAX] {
            assert_eq!(parse_name(&name(first)), Some(first));
        }
        assert!(name(9) < name(10));
        for other in
            ["5.seg", "vote", "0000000000000000000x.seg", "99999999999999999999.seg", "00000000000000000005.seg.tmp"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_comes_back() {
        for before in [None, Some(log_id(3, 41))] {
            let header = Header { first: 42, before, chain: 7, salt: 9 };
            let (bytes, sealed) = header.encode();
            assert_eq!(decode(&bytes, Path::new("x")).unwrap(), Some(sealed));
            for bit in 0..HEADER * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(&bad, Path::new("x")).unwrap(), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let (mut bytes, _) = Header { first: 0, before: None, chain: 0, salt: 0 }.encode();
        bytes[8] = 2;
        let crc = super::crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let error = decode(&bytes, Path::new("/data/raft/log/00000000000000000000.seg")).unwrap_err();
        insta::assert_snapshot!(
            error,
            @"/data/raft/log/00000000000000000000.seg has format version 2, this program knows up to 1: start a newer one"
        );
    }
}
