//! The algorithms, in safe Rust: words are atomics, places are offsets.
//!
//! Each file holds one noun. Steps whose order carries the crash argument are numbered in
//! comments and named with `crash_point!`, so that a test can die at each of them.
#![forbid(unsafe_code)]

mod crash_points;
pub mod fork;
pub mod fsck;
pub mod ilock;
pub mod leave;
pub mod ledger;
pub mod lock;
pub mod object;
pub mod spin;
pub mod sweep;

pub use crash_points::CRASH_POINTS;
pub use lock::SharedLock;
pub use object::{Object, ObjectKind};
