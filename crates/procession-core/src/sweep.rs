//! What the dead left is garbage, and this frees it.
//!
//! ```text
//! 1  lock the sweep (a sweeper that dies is taken over; sweeping again changes nothing)
//! 2  D = the slots whose process is dead and which nobody has swept
//! 3  objects: take over their internal locks (which repairs), strike D from the ledgers,
//!    bury D's user locks, free what nobody holds
//! 4  blocks ALLOC by D, and ledger blocks whose object is gone: free
//! 5  spans CLAIMED by D: free; classes of D: adopt; runs ALLOC by D: free
//! 6  swept = generation for each slot of D: it may be claimed again
//! ```
//!
//! After step 3 no live structure refers to anything that is ALLOC by the dead (law 4 of the
//! design: hand-overs finish inside the lock), so step 4 needs no other knowledge.

use crate::ilock::{self, Held};
use crate::kinds;
use crate::ledger;
use crate::lock::SharedLock;
use crate::object::Object;
use procession_shm::layout::LedgerBlock;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose, SpanState};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// The dead of one sweep.
struct Dead {
    arena: &'static Arena,
    owners: Vec<OwnerId>,
}

impl Dead {
    fn find(arena: &'static Arena) -> Result<Self, ArenaError> {
        let mut owners = Vec::new();
        for index in 0..arena.header().slots_used.load(Acquire) as usize {
            let slot = arena.slot(index);
            let owner = slot.owner(index).filter(|_| !slot.is_clean());
            if let Some(owner) = owner {
                if arena.try_is_dead(owner)? {
                    owners.push(owner);
                }
            }
        }
        Ok(Self { arena, owners })
    }

    /// Dead when this sweep began, or of an earlier generation than its slot's present one.
    fn has(&self, owner: OwnerId) -> bool {
        self.owners.contains(&owner)
            || owner.slot().is_some_and(|index| {
                !owner.is_generation(self.arena.slot(index).generation.load(Acquire))
            })
    }
}

/// Frees what the dead left in the arena; the number of things freed.
pub fn sweep(member: Member) -> Result<usize, ArenaError> {
    let arena = member.arena;
    let _sweeping = lock(member);
    let dead = Dead::find(arena)?;
    if dead.owners.is_empty() {
        return Ok(0);
    }
    let freed = sweep_objects(member, &dead) + sweep_blocks(member, &dead);
    crash_point!("sweep.blocks_done");
    let freed = freed + sweep_spans(member, &dead);
    for owner in &dead.owners {
        if let Some(slot) = owner.slot().map(|index| arena.slot(index)) {
            let generation = slot.generation.load(Relaxed);
            if owner.is_generation(generation) {
                slot.swept.store(generation, Release);
                crash_point!("sweep.slot_cleaned");
            }
        }
    }
    arena.header().swept.fetch_add(freed as u64, Relaxed);
    Ok(freed)
}

fn lock(member: Member) -> Held<'static> {
    // Nothing to repair: each step finds out anew what is left to do.
    let word = &member.arena.header().sweep_lock;
    ilock::acquire(word, member.local.owner, member.arena, || ())
}

fn sweep_objects(member: Member, dead: &Dead) -> usize {
    let objects = member
        .arena
        .blocks()
        .filter(|(_, state)| *state == BlockState::Owned(Purpose::Object))
        .filter_map(|(block, _)| Object::at(member.arena, block.offset).ok().flatten());
    let mut freed = 0;
    for object in objects {
        if !names_dead(member.arena, &object, dead) {
            continue;
        }
        if ledger::remove_dead(member, &object, |owner| dead.has(owner)) {
            object.destroy(member);
            freed += 1;
        }
        crash_point!("sweep.object_done");
    }
    freed
}

fn names_dead(arena: &Arena, object: &Object, dead: &Dead) -> bool {
    let is_dead = |owner: OwnerId| !owner.is_none() && dead.has(owner);
    let user_lock = match object.kind() {
        Some(kind) if kind.has_lock() => object.lock_line(arena).ok(),
        _ => None,
    };
    is_dead(OwnerId::of_word(object.header.lock.load(Acquire)))
        || user_lock.is_some_and(|line| is_dead(SharedLock::new(line).owner()))
        || ledger::entries(arena, object.header).any(|entry| is_dead(ledger::owner_of(entry)))
}

fn sweep_blocks(member: Member, dead: &Dead) -> usize {
    let me = member.local.owner;
    let mut freed = 0;
    for (block, state) in member.arena.blocks() {
        let mine_to_free = match state {
            BlockState::Alloc(_, owner) => dead.has(owner),
            BlockState::Owned(Purpose::Ledger) => {
                // The object's own destroyer may be at it: whoever retracts it frees it.
                is_orphan(member.arena, block.offset) && block.retract(Purpose::Ledger, me)
            }
            _ => false,
        };
        if mine_to_free {
            member.free(&block);
            freed += 1;
        }
    }
    freed
}

/// Whether the object that a ledger block names is gone, or does not name it back. The chain
/// is not changed while we look: who links a block does so before publishing it.
#[must_use]
pub fn is_orphan(arena: &Arena, offset: u64) -> bool {
    let Ok(ledger) = arena.at::<LedgerBlock>(offset) else {
        return false;
    };
    let (parent, serial) = (
        ledger.parent.load(Relaxed),
        ledger.parent_serial.load(Relaxed),
    );
    match Object::find(arena, parent, serial) {
        Ok(object) => kinds::chained(arena, &object).all(|block| block.offset != offset),
        Err(_) => true,
    }
}

fn sweep_spans(member: Member, dead: &Dead) -> usize {
    let arena = member.arena;
    let of_dead: Vec<(u32, SpanState)> = arena
        .spans()
        .filter(|(_, state)| match state {
            SpanState::Claimed(owner)
            | SpanState::Class(_, owner)
            | SpanState::Run(_, BlockState::Alloc(_, owner)) => dead.has(*owner),
            _ => false,
        })
        .collect();
    // A run that died while it was tailed: its head does not know its length yet.
    let tails: Vec<u32> = arena
        .spans()
        .filter_map(|(span, state)| match state {
            SpanState::Tail(head) => of_dead
                .iter()
                .any(|(of, state)| *of == head && matches!(state, SpanState::Claimed(_)))
                .then_some(span),
            _ => None,
        })
        .collect();
    for span in &tails {
        arena.free_span(*span);
    }
    crash_point!("sweep.tails_done");
    for (span, state) in &of_dead {
        match state {
            SpanState::Run(spans, _) => arena.free_run(*span, *spans),
            SpanState::Class(..) => member.inherit(*span, *state),
            _ => arena.free_span(*span),
        }
    }
    tails.len() + of_dead.len()
}

/// A child of ours has ended: sweeps unless it left cleanly.
pub fn reaped(member: Member) -> Result<usize, ArenaError> {
    let children = std::mem::take(&mut member.local.private().children);
    let mut unclean = false;
    let mut living = Vec::new();
    for owner in children {
        let Some(slot) = owner.slot().map(|index| member.arena.slot(index)) else {
            continue;
        };
        // Whose slot has moved on, or is clean, left nothing.
        if !owner.is_generation(slot.generation.load(Acquire)) || slot.is_clean() {
            continue;
        }
        if member.arena.try_is_dead(owner)? {
            unclean = true;
        } else {
            living.push(owner);
        }
    }
    member.local.private().children.extend(living);
    member.give_back_if_idle();
    if unclean { sweep(member) } else { Ok(0) }
}
