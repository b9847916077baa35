//! What the arena looks like, and who is in it.
//!
//! ```text
//! offset 0         header: magic, layout version, nonce, hints, the sweeper's lock
//!        8 KiB     slots: one 64-byte line a process
//!        1 MiB     extents: one bit per 256 KiB that really has memory
//!        2 MiB     span words: one u64 per 64 KiB span, the whole truth about it
//!       16 MiB     spans: size classes, runs, queue chunks
//! ```
//!
//! An arena is one sparse file that every process of a family maps. Everything shared is made
//! of atomic words, so that another process can at worst surprise us and never make us
//! undefined. Nothing is ever unmapped, hence the `'static` references.

pub mod arena;
pub mod block;
pub mod contents;
pub mod error;
pub mod give_back;
pub mod heap;
pub mod layout;
pub mod local;
pub mod member;
pub mod owner;
pub mod queue_layout;
pub mod size;
pub mod span;
pub mod view;
pub mod warden;

pub use arena::Arena;
pub use error::ArenaError;
pub use owner::{Liveness, OwnerId};
