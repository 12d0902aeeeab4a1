//! What a file holds: its current bytes, the durable ones, and the writes between the two.
//!
//! Both are tables of shared 4 KiB pages, so a sync moves references and no bytes. A page that was never written is
//! absent (a hole); one that was allocated is the shared page of zeros, and counts as used space.

use std::sync::{Arc, LazyLock};

use crate::random::Random;

const PAGE: usize = 4096;
/// What a disk writes whole; a longer write can be torn between two.
pub const SECTOR: usize = 512;
/// A file with more unsynced bytes than this has its oldest writes written back, as a kernel does.
const UNSYNCED_MAX: usize = 16 << 20;

type Page = Arc<[u8; PAGE]>;

static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE]));

/// Bytes in pages.
#[derive(Clone, Default)]
pub struct Pages {
    pages: Vec<Option<Page>>,
    length: u64,
    present: u64,
}

impl Pages {
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Space taken, in bytes: whole pages, without the holes.
    pub fn used(&self) -> u64 {
        self.present * PAGE as u64
    }

    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let start = offset.min(self.length) as usize;
        let count = buffer.len().min(self.length as usize - start);
        let mut done = 0;
        while done < count {
            let at = start + done;
            let (page, within) = (at / PAGE, at % PAGE);
            let part = (PAGE - within).min(count - done);
            match &self.pages[page] {
                Some(bytes) => buffer[done..done + part].copy_from_slice(&bytes[within..within + part]),
                None => buffer[done..done + part].fill(0),
            }
            done += part;
        }
        count
    }

    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        self.extend(offset + bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset as usize + done;
            let (page, within) = (at / PAGE, at % PAGE);
            let part = (PAGE - within).min(bytes.len() - done);
            let slot = &mut self.pages[page];
            if slot.is_none() {
                self.present += 1;
            }
            let page = Arc::make_mut(slot.get_or_insert_with(|| ZEROS.clone()));
            page[within..within + part].copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
    }

    pub fn set_len(&mut self, length: u64) {
        if length >= self.length {
            return self.extend(length);
        }
        let count = (length as usize).div_ceil(PAGE);
        self.present -= self.pages[count..].iter().flatten().count() as u64;
        self.pages.truncate(count);
        // A later extension shows zeros behind the cut, not what was there.
        if let Some(Some(last)) = self.pages.last_mut()
            && !(length as usize).is_multiple_of(PAGE)
        {
            Arc::make_mut(last)[length as usize % PAGE..].fill(0);
        }
        self.length = length;
    }

    /// Fills the holes below `length`.
    pub fn allocate(&mut self, length: u64) {
        self.extend(length);
        for slot in &mut self.pages[..(length as usize).div_ceil(PAGE)] {
            if slot.is_none() {
                *slot = Some(ZEROS.clone());
                self.present += 1;
            }
        }
    }

    fn extend(&mut self, length: u64) {
        if length > self.length {
            self.pages.resize((length as usize).div_ceil(PAGE), None);
            self.length = length;
        }
    }

    /// Takes over the pages that hold `range` from `newer`.
    fn take(&mut self, newer: &Pages, offset: u64, length: usize) {
        let end = (offset as usize + length).div_ceil(PAGE).min(newer.pages.len());
        for page in offset as usize / PAGE..end {
            self.present -= u64::from(self.pages[page].is_some());
            self.pages[page].clone_from(&newer.pages[page]);
            self.present += u64::from(self.pages[page].is_some());
        }
    }
}

/// One change that no sync has covered yet.
#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Box<[u8]> },
    Length(u64),
    Allocate(u64),
}

/// A file's bytes now, and what is sure to be left of them after a power failure.
#[derive(Clone, Default)]
pub struct Content {
    pub now: Pages,
    durable: Pages,
    unsynced: Vec<Change>,
    unsynced_bytes: usize,
}

/// How much of the unsynced changes of a file a power failure or a failed sync leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    Nothing,
    /// The oldest, in order, the last of them torn.
    Prefix,
    /// Each sector by the toss of a coin: reordered and torn.
    Half,
    /// All but a sector here and there.
    Most,
    Everything,
}

impl Survivors {
    pub fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Nothing,
            1 => Self::Prefix,
            2 => Self::Half,
            3 => Self::Most,
            _ => Self::Everything,
        }
    }
}

impl Content {
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        self.now.write(bytes, offset);
        self.unsynced.push(Change::Write { offset, bytes: bytes.into() });
        self.unsynced_bytes += bytes.len();
        if self.unsynced_bytes > UNSYNCED_MAX {
            self.write_back();
        }
    }

    pub fn set_len(&mut self, length: u64) {
        self.now.set_len(length);
        self.unsynced.push(Change::Length(length));
    }

    pub fn allocate(&mut self, length: u64) {
        self.now.allocate(length);
        self.unsynced.push(Change::Allocate(length));
    }

    /// Makes every page that was changed since the last sync durable. A page whose change an earlier, failed sync
    /// forgot isn't among them, unless it was changed again: that is what the kernel does.
    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => {
                    self.durable.extend(offset + bytes.len() as u64);
                    self.durable.take(&self.now, offset, bytes.len());
                }
                Change::Length(length) => self.durable.set_len(length),
                Change::Allocate(length) => self.durable.allocate(length),
            }
        }
        self.unsynced_bytes = 0;
        self.durable.set_len(self.now.len());
    }

    /// A sync that failed: `survivors` of the unsynced changes became durable, the others are marked clean. They can
    /// still be read, and no later sync will write them.
    pub fn fail_sync(&mut self, survivors: Survivors, random: &mut Random) {
        self.keep(survivors, random);
    }

    /// The power failed: only what is durable, and `survivors` of the rest, is left.
    pub fn power_fail(&mut self, survivors: Survivors, random: &mut Random) {
        self.keep(survivors, random);
        self.now = self.durable.clone();
    }

    /// Flips one bit on the medium.
    pub fn flip(&mut self, bit: u64) {
        for pages in [&mut self.now, &mut self.durable] {
            let mut byte = [0];
            if pages.read(&mut byte, bit / 8) == 1 {
                pages.write(&[byte[0] ^ (1 << (bit % 8))], bit / 8);
            }
        }
    }

    fn keep(&mut self, survivors: Survivors, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        let cut = random.below(changes.len() as u64 + 1) as usize;
        for (number, change) in changes.iter().enumerate() {
            let mut survives = || match survivors {
                Survivors::Nothing => false,
                Survivors::Prefix => number < cut || (number == cut && random.chance(1, 2)),
                Survivors::Half => random.chance(1, 2),
                Survivors::Most => random.chance(15, 16),
                Survivors::Everything => true,
            };
            match change {
                Change::Write { offset, bytes } => {
                    for (at, sector) in sectors(*offset, bytes) {
                        if survives() {
                            self.durable.write(sector, at);
                        }
                    }
                }
                Change::Length(length) if survives() => self.durable.set_len(*length),
                Change::Allocate(length) if survives() => self.durable.allocate(*length),
                Change::Length(_) | Change::Allocate(_) => {}
            }
        }
    }

    fn write_back(&mut self) {
        let half = self.unsynced.len() / 2;
        for change in self.unsynced.drain(..half) {
            match change {
                Change::Write { offset, bytes } => {
                    self.durable.write(&bytes, offset);
                    self.unsynced_bytes -= bytes.len();
                }
                Change::Length(length) => self.durable.set_len(length),
                Change::Allocate(length) => self.durable.allocate(length),
            }
        }
    }
}

/// The parts of a write that reach the medium whole.
pub fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == bytes.len() {
            return None;
        }
        let at = offset + done as u64;
        let part = (SECTOR - at as usize % SECTOR).min(bytes.len() - done);
        let sector = &bytes[done..done + part];
        done += part;
        Some((at, sector))
    })
}
