//! The file `vote`: replaced whole, by temp and rename, so that what it says changes in one step.
//!
//! Beside the vote it holds what the segments cannot say while they are being changed: what is void (a purge or a
//! truncation that was begun is ended at the next start), and up to where the log was durable, which at start proves
//! that a shorter log has lost entries.

use std::path::Path;

use prost::Message;

use super::error::{Context, Error};
use super::record::u32_at;
use crate::raft::types::{LogId, Vote, proto};
use crate::world::Disk;
use crate::world::disk::{read_small, replace_small};

const MAGIC: [u8; 8] = *b"rqlitvot";
const VERSION: u32 = 1;
const HEAD: usize = 16;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoteFile {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    /// The index after the last entry that was durable when the file was written.
    pub durable_next: u64,
    /// Everything up to here is void, whatever segments are still there.
    pub purged: Option<LogId>,
    /// A truncation under way: everything from this index on is void.
    pub cut: Option<u64>,
}

impl VoteFile {
    /// Reads it; `None` if it does not exist.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, Error> {
        match read_small(disk, path).context("read", path)? {
            Some(bytes) => Self::decode(&bytes, path).map(Some),
            None => Ok(None),
        }
    }

    /// Replaces it. Durable when this returns; a crash on the way leaves the old one.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), Error> {
        replace_small(disk, path, &self.encode()).context("replace", path)
    }

    fn encode(&self) -> Vec<u8> {
        let body = proto::VoteFile {
            vote: self.vote.as_ref().map(Into::into),
            committed: self.committed.as_ref().map(Into::into),
            durable_next: self.durable_next,
            purged: self.purged.as_ref().map(Into::into),
            cut: self.cut,
        };
        let mut bytes = Vec::with_capacity(HEAD + body.encoded_len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        body.encode(&mut bytes).expect("a vector has room");
        let crc = crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let damaged = |reason: String| Error::VoteDamaged { path: path.to_owned(), reason };
        if bytes.len() < HEAD || bytes[..8] != MAGIC {
            return Err(damaged("no header".into()));
        }
        if crc(bytes) != u32_at(bytes, 12) {
            return Err(damaged("checksum".into()));
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(Error::Newer { path: path.to_owned(), version, known: VERSION });
        }
        let body = proto::VoteFile::decode(&bytes[HEAD..]).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            vote: body.vote.as_ref().map(Into::into),
            committed: body.committed.as_ref().map(Into::into),
            durable_next: body.durable_next,
            purged: body.purged.as_ref().map(Into::into),
            cut: body.cut,
        })
    }
}

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[HEAD..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::log_id;

    #[test]
    fn a_vote_file_comes_back_or_is_refused() {
        let file = VoteFile {
            vote: Some(Vote::new_committed(7, "node-1".into())),
            committed: Some(log_id(6, 40)),
            durable_next: 42,
            purged: Some(log_id(2, 9)),
            cut: Some(41),
        };
        for file in [file, VoteFile::default()] {
            let bytes = file.encode();
            assert_eq!(VoteFile::decode(&bytes, Path::new("vote")).unwrap(), file);
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(VoteFile::decode(&bad, Path::new("vote")).is_err(), "bit {bit}");
            }
            assert!(VoteFile::decode(&bytes[..bytes.len() - 1], Path::new("vote")).is_err());
            assert!(VoteFile::decode(&[], Path::new("vote")).is_err());
        }
    }
}
