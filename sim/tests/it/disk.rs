//! The simulated disk keeps what was synced, and only that.

use std::path::Path;

use rqlite::world::disk::{Disk, Open, read_small, replace_small};
use sim::world::disk::{Counted, Error, Failure, PowerFailure, SimDisk};

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn read(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    read_small(disk, path(name)).unwrap()
}

/// A disk with a durable directory `/d`.
fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir(path("/d")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    disk
}

/// Creates `/d/f` with `content`, durable.
fn file(disk: &SimDisk, content: &[u8]) {
    let file = disk.open(path("/d/f"), Open::CreateNew).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/d")).unwrap();
}

#[test]
fn a_power_failure_drops_what_was_not_synced() {
    let disk = disk(1);
    file(&disk, b"old");
    let open = disk.open(path("/d/f"), Open::Write).unwrap();
    open.write_at(b"new and longer", 0).unwrap();
    assert_eq!(read(&disk, "/d/f").unwrap(), b"new and longer");
    disk.power_fail(PowerFailure::DropAll);
    assert_eq!(read(&disk, "/d/f").unwrap(), b"old");
}

#[test]
fn a_kill_drops_nothing_but_handles_and_locks() {
    let disk = disk(1);
    file(&disk, b"old");
    let open = disk.open(path("/d/f"), Open::Write).unwrap();
    let lock = disk.lock(path("/d/LOCK")).unwrap();
    assert_eq!(disk.lock(path("/d/LOCK")).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    open.write_at(b"new", 0).unwrap();
    disk.kill();
    assert_eq!(read(&disk, "/d/f").unwrap(), b"new");
    assert!(open.write_at(b"late", 0).is_err());
    let taken_again = disk.lock(path("/d/LOCK")).unwrap();
    drop(lock);
    assert!(disk.lock(path("/d/LOCK")).is_err(), "a dead process's lock released a living one's");
    drop(taken_again);
    disk.lock(path("/d/LOCK")).unwrap();
}

#[test]
fn a_name_is_durable_after_a_sync_of_its_directory() {
    let disk = disk(1);
    let open = disk.open(path("/d/f"), Open::CreateNew).unwrap();
    open.write_at(b"x", 0).unwrap();
    open.sync().unwrap();
    disk.power_fail(PowerFailure::DropAll);
    assert_eq!(read(&disk, "/d/f"), None);

    disk.create_dir(path("/d/e")).unwrap();
    disk.sync_dir(path("/d/e")).unwrap();
    disk.power_fail(PowerFailure::DropAll);
    assert!(!disk.exists(path("/d/e")).unwrap(), "the sync of a directory made its own name durable");
}

#[test]
fn a_rename_without_a_directory_sync_is_undone() {
    let disk = disk(1);
    file(&disk, b"old");
    let temporary = disk.open(path("/d/t"), Open::CreateNew).unwrap();
    temporary.write_at(b"new", 0).unwrap();
    temporary.sync().unwrap();
    disk.rename(path("/d/t"), path("/d/f")).unwrap();
    assert_eq!(read(&disk, "/d/f").unwrap(), b"new");
    disk.power_fail(PowerFailure::DropAll);
    assert_eq!(read(&disk, "/d/f").unwrap(), b"old");

    replace_small(&disk, path("/d/f"), b"newer").unwrap();
    disk.power_fail(PowerFailure::DropAll);
    assert_eq!(read(&disk, "/d/f").unwrap(), b"newer");
}

#[test]
fn replacing_a_small_file_is_all_or_nothing_at_every_operation() {
    let mut outcomes = [0, 0];
    for seed in 0..50 {
        for after in 0..8 {
            let disk = disk(seed);
            file(&disk, b"old");
            let failure = Failure { counted: Counted::Changes, path: String::new(), after, error: Error::PowerCut };
            disk.arm(failure);
            let done = replace_small(&disk, path("/d/f"), b"new").is_ok();
            disk.power_fail(PowerFailure::Random);
            let content = read(&disk, "/d/f").unwrap();
            assert!(content == b"new" || (content == b"old" && !done), "{content:?} after {done}");
            outcomes[usize::from(content == b"new")] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn a_random_power_failure_tears_a_write_by_sectors() {
    let mut seen = [0, 0, 0];
    for seed in 0..200 {
        let disk = disk(seed);
        file(&disk, &[0; 5000]);
        let open = disk.open(path("/d/f"), Open::Write).unwrap();
        open.write_at(&[1; 4000], 700).unwrap();
        disk.power_fail(PowerFailure::Random);
        let content = read(&disk, "/d/f").unwrap();
        let ones = content.iter().filter(|byte| **byte == 1).count();
        seen[if ones == 0 {
            0
        } else if ones == 4000 {
            2
        } else {
            1
        }] += 1;
        for sector in content[..4608].chunks(512).skip(2) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector was torn");
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[test]
fn what_a_failed_sync_forgot_is_not_written_by_the_next_one() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = disk(seed);
        file(&disk, &[0; 8192]);
        let open = disk.open(path("/d/f"), Open::Write).unwrap();
        open.write_at(&[1; 4096], 0).unwrap();
        let failure = Failure { counted: Counted::Syncs, path: "/f".into(), after: 0, error: Error::Io };
        disk.arm(failure);
        assert_eq!(open.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
        open.write_at(&[2; 4096], 4096).unwrap();
        open.sync().unwrap();
        assert_eq!(read(&disk, "/d/f").unwrap()[0], 1, "it can still be read");
        disk.power_fail(PowerFailure::DropAll);
        let content = read(&disk, "/d/f").unwrap();
        assert_eq!(content[4096..], [2; 4096]);
        lost += u32::from(content[..4096] != [1; 4096]);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_full_disk_takes_nothing_new_and_has_room_again_after_a_remove() {
    let disk = disk(1);
    disk.set_capacity(Some(64 << 10));
    file(&disk, &[1; 40 << 10]);
    let open = disk.open(path("/d/g"), Open::Create).unwrap();
    assert_eq!(open.allocate(40 << 10).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(open.write_at(&[2; 40 << 10], 0).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    disk.remove(path("/d/f")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    open.allocate(60 << 10).unwrap();
    open.write_at(&[2; 60 << 10], 0).unwrap();
    assert_eq!(disk.free_space(path("/d")).unwrap(), 4 << 10);
}

#[test]
fn without_power_nothing_works_and_nothing_changes() {
    let disk = disk(1);
    file(&disk, b"old");
    let open = disk.open(path("/d/f"), Open::Write).unwrap();
    disk.cut();
    assert!(open.write_at(b"new", 0).is_err());
    assert!(open.read_at(&mut [0], 0).is_err());
    assert!(disk.stat(path("/d/f")).is_err());
    assert!(disk.remove(path("/d/f")).is_err());
    disk.kill();
    assert_eq!(read(&disk, "/d/f").unwrap(), b"old");
}

#[test]
fn a_flipped_bit_survives_everything() {
    let disk = disk(1);
    file(&disk, b"a");
    assert!(disk.flip_bit(path("/d/f"), 1));
    assert!(!disk.flip_bit(path("/d/f"), 8));
    assert_eq!(read(&disk, "/d/f").unwrap(), b"c");
    disk.power_fail(PowerFailure::DropAll);
    assert_eq!(read(&disk, "/d/f").unwrap(), b"c");
}

/// The model: a plain vector, with the pages of the implementation between the operations.
#[test]
fn contents_are_those_of_a_vector() {
    let mut random = sim::random::Random::new(7);
    for seed in 0..30 {
        let disk = disk(seed);
        file(&disk, b"");
        let open = disk.open(path("/d/f"), Open::Write).unwrap();
        let (mut model, mut durable) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            match random.below(10) {
                0..=5 => {
                    let (offset, length) = (random.below(20_000) as usize, random.below(6_000) as usize + 1);
                    let bytes = vec![random.next() as u8; length];
                    model.resize(model.len().max(offset + length), 0);
                    model[offset..offset + length].copy_from_slice(&bytes);
                    open.write_at(&bytes, offset as u64).unwrap();
                }
                6 | 7 => {
                    let length = random.below(25_000);
                    model.resize(length as usize, 0);
                    open.set_len(length).unwrap();
                }
                8 => {
                    let length = random.below(25_000);
                    model.resize(model.len().max(length as usize), 0);
                    open.allocate(length).unwrap();
                }
                _ => {
                    open.sync().unwrap();
                    durable.clone_from(&model);
                }
            }
            assert_eq!(read(&disk, "/d/f").unwrap(), model);
        }
        disk.power_fail(PowerFailure::DropAll);
        assert_eq!(read(&disk, "/d/f").unwrap(), durable);
    }
}
