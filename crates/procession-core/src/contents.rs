//! All that a queue has: counted by the verifier, freed with the queue, cleared of the dead.

use crate::carriers;
use crate::chunk::{self, Place};
use crate::object::Object;
use crate::queue::{Queue, release_all};
use crate::side::Side;
use crate::waiters;
use procession_shm::block::Block;
use procession_shm::layout::SPAN;
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError, Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::Acquire;

impl Queue<'_> {
    /// Finishes what the dead began on either side: after that what is theirs is garbage. Rings where they
    /// put and did not ring, and for what has come back from them.
    pub(crate) fn bury(&self, member: Member, is_dead: impl Fn(OwnerId) -> bool + Copy) {
        let mut gone = Vec::new();
        self.take_over(member, &mut gone);
        release_all(member, &mut gone);
        self.disarm_bells(is_dead);
        self.bury_takers(member, is_dead, |owner| member.arena.pid_of(owner));
        self.ring_overdue(member.arena);
    }

    /// A holder has dropped its last handle, alive or at a clean end: it produces no more, and what
    /// it did not acknowledge it will not. Under the object's lock.
    pub(crate) fn settle(&self, member: Member, owner: OwnerId) {
        for (entry, of) in waiters::taken(member.arena, self.object) {
            if of == owner {
                waiters::free(entry);
            }
        }
        self.disarm_bells(|armed| armed == owner);
        let pid = |owner| member.arena.pid_of(owner);
        self.bury_takers(member, |taker| taker == owner, pid);
        self.ring_overdue(member.arena);
    }

    /// Nothing that the dead committed is half-done after this, nor anything that they did not.
    pub(crate) fn take_over(&self, member: Member, gone: &mut Vec<u64>) {
        drop(self.lock_producers(member));
        drop(self.lock_consumers(member, gone));
    }

    /// Frees all memory of a queue whose object is ours to free. What only its messages kept alive is
    /// added to `objects`, for the caller to destroy.
    pub(crate) fn unmake(&self, member: Member, objects: &mut Vec<Object>) {
        let mut gone = Vec::new();
        self.take_over(member, &mut gone);
        for block in gone.drain(..) {
            if let Ok(block) = member.arena.block_at(block) {
                free_with(member, &block, objects);
            }
        }
        let (chunks, blocks) = self.contents(member.arena);
        let me = member.local.owner;
        let mut free = |block: Result<Block, ArenaError>, purpose| {
            if let Some(block) = block.ok().filter(|block| block.retract(purpose, me)) {
                crash_point!("queue.unmaking");
                free_with(member, &block, objects);
            }
        };
        for block in blocks {
            free(member.arena.block_at(block), Purpose::Payload);
        }
        for chunk in chunks {
            free(
                member.arena.block_at(u64::from(chunk) * SPAN),
                Purpose::Chunk,
            );
        }
    }

    /// All chunks and blocks that the queue has: for verifiers, exact while nobody uses it.
    #[must_use]
    pub fn contents(&self, arena: &'static Arena) -> (Vec<u32>, Vec<u64>) {
        let store = self.chunks(arena);
        let words = self.words();
        let first = chunk::first(self.line);
        let (consumers, producers) = (Side(&self.line.consumers), Side(&self.line.producers));
        let start = if words == 2 {
            consumers.place()
        } else {
            Place::default()
        };
        let mut chunks = chunk::chunks(&store, first, start, producers.place(), words);
        let spare = self.line.chain.spare.load(Acquire);
        if spare != 0 {
            chunks.push(spare);
        }
        // A block of a message that was taken is its receiver's, unless it may come back.
        let from = if self.redelivers() {
            Place::default()
        } else {
            consumers.place()
        };
        let blocks = chunk::walk(&store, first, from, producers.place(), words)
            .flat_map(|(place, head)| chunk::blocks(&store, place, head, words))
            .collect();
        (chunks, blocks)
    }
}

/// Frees a block of ours; what only it kept alive is added to `objects`.
fn free_with(member: Member, block: &Block, objects: &mut Vec<Object>) {
    carriers::let_go_of(member, block, objects);
    member.free(block);
}
