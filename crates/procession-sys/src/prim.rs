//! The std|loom switch: atomics that the algorithms use, real or modelled.
//!
//! Built with `--cfg loom` the same algorithms run under loom's scheduler and memory model.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
