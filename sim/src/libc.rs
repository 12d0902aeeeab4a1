//! The safety net for randomness and clocks that bypass the `World`.
//!
//! `HashMap`'s keys, `rand::rng()`, uuids and `Instant`s in log lines ask libc, not us. This module defines the libc
//! functions that they call; on a thread inside a simulation they answer from its seed and its time, elsewhere they
//! do the system call. The definitions win when the linker puts this crate into the binary.

use std::cell::Cell;
use std::time::Duration;

use crate::random::Random;
use crate::world::clock;

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread's randomness and clocks are the simulation's.
pub fn enter(seed: u64) {
    SEEDED.set(Some(seed));
}

/// This thread leaves the simulation: it sees the machine's clocks again.
pub fn leave() {
    SEEDED.set(None);
}

/// Fills `bytes` from the system, inside a simulation too.
pub fn unseeded(bytes: &mut [u8]) {
    // SAFETY: the pointer and the length are those of one slice.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    assert_eq!(got as usize, bytes.len(), "the system has no randomness");
}

/// The next number of the thread's stream, if it is in a simulation.
fn next() -> Option<u64> {
    // A thread that is ending has no thread-locals any more, and needs no seed.
    SEEDED
        .try_with(|seeded| {
            let mut random = Random::new(seeded.get()?);
            let drawn = random.next();
            seeded.set(Some(drawn));
            Some(drawn)
        })
        .ok()
        .flatten()
}

/// # Safety
/// As getrandom(2): `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if length == 0 || next().is_none() {
        // SAFETY: the system call with the caller's own arguments.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t };
    }
    // SAFETY: the caller promises `length` writable bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        let drawn = next().expect("it was just there").to_le_bytes();
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    }
    length as libc::ssize_t
}

/// # Safety
/// As getentropy(3): `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut libc::c_void, length: libc::size_t) -> libc::c_int {
    // SAFETY: the caller's promise is the one that is asked for.
    if unsafe { getrandom(buffer, length, 0) } < 0 { -1 } else { 0 }
}

/// # Safety
/// As clock_gettime(2): `out` is a place for the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(id: libc::clockid_t, out: *mut libc::timespec) -> libc::c_int {
    if !SEEDED.try_with(|seeded| seeded.get().is_some()).unwrap_or(false) {
        // SAFETY: the system call with the caller's own arguments.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, id, out) as libc::c_int };
    }
    // The time of the last step, not the host's: turmoil may be in the middle of something when this is called.
    let now = clock::published()
        + match id {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => clock::EPOCH,
            _ => Duration::from_secs(1_000_000),
        };
    // SAFETY: the caller passed a place for the answer.
    unsafe { *out = libc::timespec { tv_sec: now.as_secs() as _, tv_nsec: now.subsec_nanos() as _ } };
    0
}
