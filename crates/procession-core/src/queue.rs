//! A queue between processes: first in, first out, for any number of producers and consumers.
//!
//! ```text
//!   producers' lock                                       consumers' lock
//!        |     chunk            chunk            chunk          |
//!   put -+->  [m m m m END] -> [m m m m END] -> [m m m . . ] <--+- get
//!              ^ consumers' record                    ^ producers' record
//!                                |
//!                                +-> block (large payloads: copied outside every lock)
//! ```
//!
//! Messages come in by `send.rs` and leave by `receive.rs`; the steps under the locks are in
//! [`crate::put`] and [`crate::get`], what becomes of messages that were taken in
//! [`crate::acks`]. Producers and consumers meet only in each other's commit word, and that they
//! read only when what they know of it does not suffice.

use crate::chunk::Chunks;
use crate::enclosures;
use crate::get;
use crate::ilock::{self, Held};
pub use crate::message::{Got, Item, Message, Put, Terms, mode, state};
use crate::object::{Object, ObjectKind};
use crate::put;
use procession_shm::block::Block;
use procession_shm::layout::QueueLine;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError};
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// A queue in the arena, as one of its holders sees it.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static QueueLine,
}

impl Queue<'_> {
    /// Makes a queue and one handle, ours.
    pub fn create(member: Member, maxsize: u64, acknowledging: bool) -> Result<Object, ArenaError> {
        let mode = if acknowledging {
            mode::ACKNOWLEDGING
        } else {
            0
        };
        Self::create_with(
            member,
            Terms {
                maxsize,
                mode,
                ..Terms::default()
            },
        )
    }

    /// The same, on more terms.
    pub fn create_with(member: Member, terms: Terms) -> Result<Object, ArenaError> {
        let nbytes = size_of::<QueueLine>() as u64;
        Object::create(member, ObjectKind::Queue, nbytes, |object| {
            let line: &QueueLine = object.body(member.arena)?;
            line.terms.maxsize.store(terms.maxsize, Relaxed);
            line.terms.mode.store(terms.mode, Relaxed);
            line.terms.expected.store(terms.producers, Relaxed);
            line.terms
                .max_deliveries
                .store(terms.max_deliveries, Relaxed);
            Ok(())
        })
    }

    /// Its memory.
    pub(crate) fn chunks(&self, arena: &'static Arena) -> Chunks {
        Chunks {
            arena,
            parent: self.object.offset,
            parent_serial: self.object.serial,
        }
    }

    pub(crate) fn mode(&self) -> u32 {
        self.line.terms.mode.load(Relaxed)
    }

    /// Words of a message before its blocks.
    #[inline]
    pub(crate) fn words(&self) -> u32 {
        get::words_of(self.mode())
    }

    /// Shut bits.
    #[inline]
    pub(crate) fn state(&self) -> u32 {
        // Acquire pairs with the Release of `shutdown`: the last message is visible.
        self.line.terms.state.load(Acquire)
    }

    #[inline]
    pub(crate) fn lock_producers(&self, member: Member) -> Held<'static> {
        let word = &self.line.producers.lock;
        ilock::acquire(word, member.local.owner, member.arena, || {
            put::repair(self.line, &self.chunks(member.arena), self.words());
        })
    }

    /// Chunks that a repair left to be freed go to `gone`.
    #[inline]
    pub(crate) fn lock_consumers(&self, member: Member, gone: &mut Vec<u64>) -> Held<'static> {
        let (word, me) = (&self.line.consumers.lock, member.local.owner);
        ilock::acquire(word, me, member.arena, || {
            let chunks = self.chunks(member.arena);
            get::repair(self.line, &chunks, self.words(), me, gone);
        })
    }
}

/// Frees chunks and blocks that are ours, and what only they kept alive, outside all locks.
#[inline]
pub(crate) fn free_all(member: Member, gone: &mut Vec<u64>) {
    for block in gone.drain(..) {
        if let Ok(block) = member.arena.block_at(block) {
            free_one(member, &block);
        }
    }
}

#[cold]
fn free_one(member: Member, block: &Block) {
    match block.state() {
        Some(BlockState::Alloc(Purpose::Payload, _)) => enclosures::free(member, block),
        _ => member.release(block),
    }
}

/// The same for who has the object's lock, and perhaps others: what was enclosed with a message that
/// a dead consumer had acknowledged is left to the sweep that its death brings.
pub(crate) fn release_all(member: Member, gone: &mut Vec<u64>) {
    for block in gone.drain(..) {
        if let Ok(block) = member.arena.block_at(block) {
            member.release(&block);
        }
    }
}
