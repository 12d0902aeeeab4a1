//! One record of a segment: the bytes of an entry or of a saved commit index.
//!
//! ```text
//!   0 mark u32 │ 4 crc u32 │ 8 prev u32 │ 12 length u32 │ 16 index u64 │ 24 term u64 │ 32 floor u64 │ 40 kind u32 │ 44 zero │ 48 payload │ zeros up to 8 bytes
//! ```
//!
//! Little-endian. `crc` is the CRC32C of everything after it, seeded with the segment's header (which holds a random
//! salt) and the record's offset. So a record can be verified alone, wherever the ones before it are damaged, but a
//! copy of its bytes elsewhere (a blob that holds a piece of a log file, a misdirected write) is never taken for one.
//! `prev` is the CRC of the record before: what makes the records one chain, and a stale one behind a newer one
//! visible even if it was written at the same place.

/// Bytes before the payload.
pub const HEAD: usize = 48;

/// Records start at multiples of this, so that a search for them has fewer places to look at.
pub const ALIGN: usize = 8;

/// The largest payload. Offsets in a segment are kept as `u32`, so a segment stays below 4 GiB.
pub const PAYLOAD_MAX: usize = 1 << 30;

const MARK: u32 = u32::from_le_bytes(*b"rqRL");

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blank = 1,
    /// The payload is the command's bytes as they were proposed.
    Normal = 2,
    /// The payload is a protobuf `Membership`.
    Membership = 3,
    /// No entry: index and term are the saved commit index. No payload.
    Committed = 4,
}

/// Everything of a record but its payload and its own CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub index: u64,
    pub term: u64,
    /// The index after the last entry that was durable when this record's batch was written. It proves afterwards
    /// that the entries below it were once on the disk.
    pub floor_next: u64,
    /// CRC of the record before, or of the segment's header.
    pub prev: u32,
    /// Payload bytes.
    pub length: u32,
}

/// A record found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub head: Head,
    pub crc: u32,
}

impl Found {
    /// Bytes that the record takes in the segment.
    pub fn size(&self) -> usize {
        size(self.head.length as usize)
    }
}

/// Bytes that a record with `payload` bytes takes.
pub fn size(payload: usize) -> usize {
    (HEAD + payload).next_multiple_of(ALIGN)
}

/// The bytes before the payload, and the record's CRC. `seed` is the segment's, `offset` the record's place in it.
pub fn encode(head: &Head, payload: &[u8], seed: u32, offset: u64) -> ([u8; HEAD], u32) {
    let mut bytes = [0; HEAD];
    bytes[0..4].copy_from_slice(&MARK.to_le_bytes());
    bytes[8..12].copy_from_slice(&head.prev.to_le_bytes());
    bytes[12..16].copy_from_slice(&head.length.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.index.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.term.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.floor_next.to_le_bytes());
    bytes[40..44].copy_from_slice(&(head.kind as u32).to_le_bytes());
    let crc = crc(&bytes, payload, seed, offset);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// The record that starts at `bytes`, which lies at `offset`; `None` if there is no whole and valid one.
pub fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<Found> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    if u32_at(head, 0) != MARK || u32_at(head, 44) != 0 {
        return None;
    }
    let kind = match u32_at(head, 40) {
        1 => Kind::Blank,
        2 => Kind::Normal,
        3 => Kind::Membership,
        4 => Kind::Committed,
        _ => return None,
    };
    let length = u32_at(head, 12);
    let payload = rest.get(..length as usize)?;
    let crc = crc(head, payload, seed, offset);
    if crc != u32_at(head, 4) {
        return None;
    }
    let (index, term, floor_next) = (u64_at(head, 16), u64_at(head, 24), u64_at(head, 32));
    Some(Found { head: Head { kind, index, term, floor_next, prev: u32_at(head, 8), length }, crc })
}

/// The bytes of `found`'s payload within the record's.
pub fn payload(found: &Found) -> std::ops::Range<usize> {
    HEAD..HEAD + found.head.length as usize
}

fn crc(head: &[u8; HEAD], payload: &[u8], seed: u32, offset: u64) -> u32 {
    let crc = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &head[8..]);
    crc32c::crc32c_append(crc, payload)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD_7: Head = Head { kind: Kind::Normal, index: 7, term: 2, floor_next: 5, prev: 0xABCD, length: 3 };

    fn whole(head: &Head, payload: &[u8], seed: u32, offset: u64) -> Vec<u8> {
        let mut bytes = encode(head, payload, seed, offset).0.to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn the_format_stays() {
        let hex: String = whole(&HEAD_7, b"abc", 1, 64).iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(hex, @"7271524c2a28ce4ccdab0000030000000700000000000000020000000000000005000000000000000200000000000000616263");
    }

    #[test]
    fn what_is_a_record() {
        let good = whole(&HEAD_7, b"abc", 1, 64);
        check("whole", &good, 1, 64, true);
        check("more behind", &[good.clone(), vec![9; 9]].concat(), 1, 64, true);
        check("cut", &good[..good.len() - 1], 1, 64, false);
        check("elsewhere", &good, 1, 72, false);
        check("another segment", &good, 2, 64, false);
        check("zeros", &[0; 64], 1, 64, false);
        check("nothing", &[], 1, 64, false);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            check("a bit", &bad, 1, 64, false);
        }

        #[track_caller]
        fn check(what: &str, bytes: &[u8], seed: u32, offset: u64, valid: bool) {
            assert_eq!(decode(bytes, seed, offset).is_some(), valid, "{what}");
        }
    }

    #[test]
    fn sizes() {
        for (payload, want) in [(0, 48), (1, 56), (8, 56), (9, 64)] {
            assert_eq!(size(payload), want);
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back(
            payload in prop::collection::vec(any::<u8>(), 0..200), index: u64, term: u64, floor_next: u64, prev: u32,
            seed: u32, offset: u64, kind in prop::sample::select(vec![Kind::Blank, Kind::Normal, Kind::Membership, Kind::Committed]),
        ) {
            let head = Head { kind, index, term, floor_next, prev, length: payload.len() as u32 };
            let bytes = whole(&head, &payload, seed, offset);
            let found = decode(&bytes, seed, offset).expect("valid");
            prop_assert_eq!(found.head, head);
            prop_assert_eq!(&bytes[super::payload(&found)], &payload[..]);
        }
    }
}
