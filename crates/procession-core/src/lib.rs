//! The algorithms, in safe Rust: words are atomics, places are offsets.
//!
//! Each file holds one noun. Steps whose order carries the crash argument are numbered in
//! comments and named with `crash_point!`, so that a test can die at each of them.
#![forbid(unsafe_code)]

pub mod acks;
pub mod bank;
pub mod barrier;
pub mod bells;
pub mod blob;
pub mod carriers;
pub mod chunk;
pub mod claims;
pub mod condition;
pub mod container;
mod contents;
mod crash_points;
pub mod deliveries;
mod depth;
pub mod desk;
pub mod enclosures;
pub mod entries;
pub mod event;
pub mod eventcount;
pub mod fork;
pub mod fsck;
pub mod get;
pub mod ilock;
mod inheritance;
pub mod kinds;
pub mod leave;
pub mod ledger;
pub mod lock;
mod members;
pub mod message;
pub mod nested;
pub mod newest;
pub mod object;
pub mod passage;
pub mod payload;
pub mod permits;
pub mod put;
pub mod queue;
mod receive;
pub mod ring;
pub mod semaphore;
mod send;
pub mod side;
pub mod snapshot;
pub mod spin;
mod stream;
pub mod sweep;
pub mod table;
pub mod turn;
pub mod upkeep;
pub mod vector;
pub mod waiters;
pub mod waiting;

pub use crash_points::CRASH_POINTS;
pub use lock::SharedLock;
pub use object::{Object, ObjectKind};
