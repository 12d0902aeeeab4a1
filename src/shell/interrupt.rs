//! Signals that end a command, or the shell: what was begun is cleaned up first.
//!
//! At a prompt the editor reads Ctrl-C as a key, so a signal means the command that runs. Without a terminal there is
//! no other way to say stop, so the shell ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::error::Error;

#[derive(Default)]
pub struct Interrupts {
    /// The exit code that the last signal asks for; 0 for none.
    code: AtomicU8,
    came: Notify,
}

impl Interrupts {
    /// Whether there was a signal since [`Interrupts::clear`].
    pub fn is_set(&self) -> bool {
        self.code.load(Ordering::SeqCst) != 0
    }

    pub fn clear(&self) {
        self.code.store(0, Ordering::SeqCst);
    }

    /// Waits for a signal; answers the exit code that it asks for.
    pub async fn wait(&self) -> u8 {
        loop {
            let came = self.came.notified();
            match self.code.load(Ordering::SeqCst) {
                0 => came.await,
                code => return code,
            }
        }
    }
}

/// Takes signals from the system's default, which would leave temporary files behind.
pub fn listen(interrupts: &Arc<Interrupts>, is_typed: bool) -> Result<(), Error> {
    let kinds: &[SignalKind] = if is_typed {
        &[SignalKind::interrupt()]
    } else {
        &[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
    };
    for &kind in kinds {
        let mut signals = signal(kind)?;
        let interrupts = interrupts.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                interrupts.code.store(128 + kind.as_raw_value() as u8, Ordering::SeqCst);
                interrupts.came.notify_waiters();
            }
        });
    }
    Ok(())
}
