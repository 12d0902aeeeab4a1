//! How the kernel schedules this process.

use std::io;

/// Lets whoever runs go on when one of this process's threads wakes up (`SCHED_BATCH`), for all threads started from now on.
///
/// A write passes through four threads, each of which does for all that wait what it does for one: where they interrupt
/// each other on a busy machine, a sync covers two writes instead of six. On an idle core nothing changes. A policy that
/// the operator has chosen stays.
///
/// Source: sched(7).
pub fn in_batches() -> io::Result<()> {
    // SAFETY: calls without pointers, but for one to a struct that lives throughout.
    let done = unsafe {
        match libc::sched_getscheduler(0) {
            libc::SCHED_OTHER => {
                libc::sched_setscheduler(0, libc::SCHED_BATCH, &libc::sched_param { sched_priority: 0 })
            }
            policy => policy,
        }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
