//! What the dead left is garbage, and this frees it.
//!
//! ```text
//! 1  lock the sweep (a sweeper that dies is taken over; sweeping again changes nothing)
//! 2  D = the slots whose process is dead and which nobody has swept
//! 3  queues of D: take over both sides, so that it is certain which messages' blocks are D's
//!    objects: take over their internal locks (which repairs), strike D from the ledgers,
//!    bury D's user locks, free what nobody holds
//! 4  blocks ALLOC by D, and ledger blocks whose object is gone: free
//! 5  spans CLAIMED by D: free; classes of D: adopt; runs ALLOC by D: free
//! 6  swept = generation for each slot of D: it may be claimed again
//! ```
//!
//! After step 3 no live structure refers to anything that is ALLOC by the dead (law 4 of the
//! design: hand-overs finish inside the lock), but for one: who has just taken a dead holder's
//! lock over may not have repaired yet. So step 4 asks the object, which knows its chain.
//!
//! The living change the arena meanwhile. What they may free under our feet is taken by a
//! compare-and-swap from the word that was judged, never by a store.

use crate::carriers;
use crate::ilock::{self, Held};
use crate::kinds;
use crate::ledger;
use crate::lock::SharedLock;
use crate::object::{Object, ObjectKind};
use crate::queue::{Queue, free_all};
use crate::upkeep;
use procession_shm::block::Block;
use procession_shm::layout::{LedgerBlock, ObjectHeader, QueueLine};
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
        for index in 0..arena.slots_used() {
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
    take_over_queues(member, &dead);
    let mut freed = sweep_objects(member, &dead) + sweep_blocks(member, &dead);
    // What went may have carried objects that were looked at before.
    loop {
        let more = sweep_objects(member, &dead);
        freed += more;
        if more == 0 {
            break;
        }
    }
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

fn objects(arena: &'static Arena) -> impl Iterator<Item = Object> {
    arena
        .blocks()
        .filter(|(_, state)| *state == BlockState::Owned(Purpose::Object))
        .filter_map(|(block, _)| Object::at(arena, block.offset).ok().flatten())
}

/// Whether a message's blocks are the queue's or those of the dead is certain after this. A queue
/// that the dead hold is freed by nobody else.
fn take_over_queues(member: Member, dead: &Dead) {
    for object in objects(member.arena) {
        let line = match object.kind() {
            Some(ObjectKind::Queue) => object.body::<QueueLine>(member.arena).ok(),
            _ => None,
        };
        if let Some(line) = line.filter(|_| is_held_by(member.arena, &object, dead)) {
            let mut gone = Vec::new();
            let queue = Queue {
                object: &object,
                line,
            };
            queue.take_over(member, &mut gone);
            free_all(member, &mut gone);
        }
    }
}

fn is_held_by(arena: &Arena, object: &Object, dead: &Dead) -> bool {
    ledger::entries(arena, object.header)
        .map(ledger::owner_of)
        .any(|owner| !owner.is_none() && dead.has(owner))
}

fn sweep_objects(member: Member, dead: &Dead) -> usize {
    let mut freed = 0;
    for object in objects(member.arena) {
        let word = object.header.lock.load(Acquire);
        let seen = if names_dead(member.arena, &object, dead) {
            None
        } else if dead.has(OwnerId::of_word(word)) {
            Some(word)
        } else {
            continue;
        };
        if ledger::remove_dead(member, &object, seen, |owner| dead.has(owner)) {
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
    let stale = |entry| carriers::is_stale(arena, object, entry, |owner| dead.has(owner));
    user_lock.is_some_and(|line| is_dead(SharedLock::new(line).owner()))
        || ledger::entries(arena, object.header).any(stale)
        || is_held_by(arena, object, dead)
}

fn sweep_blocks(member: Member, dead: &Dead) -> usize {
    let me = member.local.owner;
    let mut freed = 0;
    for (block, state) in member.arena.blocks() {
        let mine_to_free = match state {
            BlockState::Alloc(purpose, owner) | BlockState::Claim(purpose, owner)
                if dead.has(owner) =>
            {
                if purpose == Purpose::Ledger
                    && parent_of(member.arena, &block, purpose) == Parent::Linked
                    || upkeep::is_linked(member.arena, &block, purpose)
                {
                    // What repair does; whoever took the lock over may do it as well.
                    let _ = block.publish(purpose, owner);
                    false
                } else {
                    block.inherit(state, me) && {
                        if purpose == Purpose::Object {
                            finish_destroying(member, &block);
                        }
                        true
                    }
                }
            }
            BlockState::Owned(Purpose::Object | Purpose::Bank | Purpose::Blob) => false,
            BlockState::Owned(purpose) => take_orphan(member, &block, purpose, dead),
            _ => false,
        };
        if mine_to_free {
            carriers::free(member, &block);
            freed += 1;
        }
    }
    freed
}

/// Whoever died over an object's making or end may have left contents. Those of a container that
/// was being made are none: a bank names its container's number.
fn finish_destroying(member: Member, block: &Block) {
    let Ok(header) = member.arena.at::<ObjectHeader>(block.offset) else {
        return;
    };
    let object = Object {
        offset: block.offset,
        serial: header.serial.load(Acquire),
        header,
        block: *block,
    };
    let mut gone = Vec::new();
    upkeep::destroy(member, &object, &mut gone);
    carriers::destroy(member, gone);
}

/// Makes a block whose object is gone ours to free.
fn take_orphan(member: Member, block: &Block, purpose: Purpose, dead: &Dead) -> bool {
    let me = member.local.owner;
    let is_orphan = || match parent_of(member.arena, block, purpose) {
        Parent::Linked => false,
        Parent::Unmade(by) => dead.has(by),
        Parent::None => true,
    };
    if !is_orphan() || !block.retract(purpose, me) {
        return false;
    }
    // Between the look and the retraction it may have been freed and linked elsewhere; now
    // that it is ours to judge, look again.
    let certain = is_orphan();
    if !certain {
        let _ = block.publish(purpose, me);
    }
    certain
}

/// What the object that a block names is to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Parent {
    /// The block is in its chain, or is a queue's.
    Linked,
    /// The object is being freed, chain and all, by this owner.
    Unmade(OwnerId),
    /// There is no such object, or the block is not in its chain.
    None,
}

/// Finds the object that a block names. A ledger's chain only grows at the front, and who links
/// a block does so before publishing it. What a queue has is published as long as it has it.
pub fn parent_of(arena: &Arena, block: &Block, purpose: Purpose) -> Parent {
    let Ok(ledger) = arena.at::<LedgerBlock>(block.offset) else {
        return Parent::None;
    };
    let (at, serial) = (
        ledger.parent.load(Relaxed),
        ledger.parent_serial.load(Relaxed),
    );
    let Ok((parent, header)) = arena
        .block_at(at)
        .and_then(|parent| Ok((parent, arena.at::<ObjectHeader>(at)?)))
    else {
        return Parent::None;
    };
    let state = parent.state();
    // After the state: the serial tells of whom it was the state.
    let object = Object {
        offset: at,
        serial,
        header,
        block: parent,
    };
    if header.serial.load(Acquire) != serial
        || purpose == Purpose::Ledger
            && kinds::chained(arena, &object).all(|linked| linked.offset != block.offset)
    {
        return Parent::None;
    }
    match state {
        Some(BlockState::Owned(Purpose::Object)) => Parent::Linked,
        Some(BlockState::Alloc(Purpose::Object, by)) => Parent::Unmade(by),
        _ => Parent::None,
    }
}

fn sweep_spans(member: Member, dead: &Dead) -> usize {
    let arena = member.arena;
    let of_dead: Vec<(u32, SpanState)> = arena
        .spans()
        .filter(|(_, state)| match state {
            SpanState::Claimed(owner)
            | SpanState::Class(_, owner)
            | SpanState::Run(_, BlockState::Alloc(_, owner) | BlockState::Claim(_, owner)) => {
                dead.has(*owner)
            }
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

/// A child of ours has ended: sweeps unless it left cleanly. Who cannot be asked about, or swept, is looked at again.
pub fn reaped(member: Member) -> Result<usize, ArenaError> {
    let children = std::mem::take(&mut member.local.private().children);
    let (mut dead, mut living) = (Vec::new(), Vec::new());
    let mut refused = Ok(());
    for owner in children {
        let Some(slot) = owner.slot().map(|index| member.arena.slot(index)) else {
            continue;
        };
        // Whose slot has moved on, or is clean, left nothing.
        if !owner.is_generation(slot.generation.load(Acquire)) || slot.is_clean() {
            continue;
        }
        match member.arena.try_is_dead(owner) {
            Ok(true) => dead.push(owner),
            Ok(false) => living.push(owner),
            Err(error) => {
                living.push(owner);
                refused = Err(error);
            }
        }
    }
    member.local.private().children.extend(living);
    let swept = refused.and_then(|()| {
        member.give_back_if_idle();
        if dead.is_empty() {
            Ok(0)
        } else {
            sweep(member)
        }
    });
    if swept.is_err() {
        member.local.private().children.extend(dead);
    }
    swept
}
