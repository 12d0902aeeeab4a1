//! Failed calls below SQLite, on this thread.
//!
//! SQLite's error codes don't tell whether a statement failed because of its content or because of this node: FULL is
//! also the end of an AUTOINCREMENT, CORRUPT also a damaged FTS5 shadow table. So the VFS and the allocator record
//! each call that failed, and an apply error counts as a fault of the node only if one was recorded (hazard H5).

use std::cell::RefCell;

thread_local! {
    static RECORDED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Records a failed call; the first one since [`clear`] is kept.
pub fn record(what: impl FnOnce() -> String) {
    RECORDED.with(|recorded| {
        recorded.borrow_mut().get_or_insert_with(what);
    });
}

/// Forgets what was recorded on this thread.
pub fn clear() {
    RECORDED.with(|recorded| *recorded.borrow_mut() = None);
}

/// What was recorded since [`clear`].
pub fn take() -> Option<String> {
    RECORDED.with(|recorded| recorded.borrow_mut().take())
}
