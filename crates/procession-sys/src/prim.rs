//! The std|loom switch: atomics that the algorithms use, real or modelled.
//!
//! Built with `--cfg loom` the same algorithms run under loom's scheduler and memory model.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What a word says to the only one who ever changes it.
///
/// loom's search compares a store with the latest access before it alone. Were that the writer's own
/// load, it would hide everybody else's before, and the order in which they come after the store would
/// never be tried. So loom is told that this is no load to reorder, and checks that nobody else stores.
#[inline]
#[must_use]
pub fn own(word: &AtomicU64) -> u64 {
    #[cfg(loom)]
    // SAFETY: loom keeps the value apart from the memory, and reports a store of somebody else.
    return unsafe { word.unsync_load() };
    #[cfg(not(loom))]
    word.load(Ordering::Relaxed)
}
