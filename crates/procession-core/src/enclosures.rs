//! What is enclosed with a message: the objects that it refers to live as long as it does.
//!
//! ```text
//! enclose  1 a block ALLOC by me lists them   2 the block into their ledgers   3 the put's COMMIT
//! receive  1 the block CLAIM by me            2 the message opened: handles of our own
//!          3 the block out of the ledgers     4 freed
//! ```
//!
//! The list is a block of the message like any other, so the queue's own steps keep it, hand it over,
//! drop it and copy it for who gets the message again. Killed after any step: a list that is ALLOC or
//! CLAIM by the dead keeps nothing, and a sweep strikes and frees it (`carriers.rs`). A queue that
//! is enclosed with a message of its own, and that nobody holds, stays as long as the arena.

use crate::blob::Named;
use crate::carriers;
use crate::payload::{self, PreparedBlock};
use procession_shm::block::Block;
use procession_shm::layout::PayloadHeader;
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

const HEADER: u64 = size_of::<PayloadHeader>() as u64;
const NAMED: u64 = size_of::<Named>() as u64;

/// A block that lists these objects and is in their ledgers, all of which the caller holds.
pub fn enclose(member: Member, named: &[Named]) -> Result<PreparedBlock, ArenaError> {
    let list = payload::prepare(member, named.len() as u64 * NAMED)?;
    let filled = fill(member, &list, named);
    filled.inspect_err(|_| list.discard(member))?;
    Ok(list)
}

fn fill(member: Member, list: &PreparedBlock, named: &[Named]) -> Result<(), ArenaError> {
    write(member, list, named)?;
    carriers::enter(member, list.block(), named, || {
        crash_point!("enclosure.entered");
    })
}

fn write(member: Member, list: &PreparedBlock, named: &[Named]) -> Result<(), ArenaError> {
    let words: &[AtomicU64] = member.arena.slice(list.offset(), named.len() as u64 * 2)?;
    let header: &PayloadHeader = member.arena.at(list.block().offset)?;
    write_list(words, &header.enclosed, named);
    crash_point!("enclosure.listed");
    Ok(())
}

/// Writes a list, and then that there is one.
pub fn write_list(words: &[AtomicU64], enclosed: &AtomicU64, named: &[Named]) {
    for (pair, (offset, serial)) in words.chunks_exact(2).zip(named) {
        pair[0].store(*offset, Relaxed);
        pair[1].store(*serial, Relaxed);
    }
    // Release pairs with the Acquire in `listed`: the list is complete.
    enclosed.store(named.len() as u64, Release);
}

/// What a complete list names.
#[must_use]
pub fn read_list(words: &[AtomicU64]) -> Vec<Named> {
    let pairs = words.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].load(Relaxed), pair[1].load(Relaxed)))
        .collect()
}

/// Makes the copy of a list one: whoever gets a message again gets it with all that is enclosed. The
/// original keeps that alive meanwhile.
pub(crate) fn copy_list(
    member: Member,
    original: u64,
    copy: &PreparedBlock,
) -> Result<(), ArenaError> {
    let original = member.arena.block_at(original)?;
    if !is_list(member.arena, &original) {
        return Ok(());
    }
    let named = listed(member.arena, &original);
    fill(member, copy, &named)
}

/// Whether a block lists anything.
#[inline]
pub(crate) fn is_list(arena: &Arena, block: &Block) -> bool {
    arena
        .at::<PayloadHeader>(block.offset)
        .is_ok_and(|header| header.enclosed.load(Acquire) != 0)
}

/// The objects that a message's block lists.
pub(crate) fn listed(arena: &Arena, block: &Block) -> Vec<Named> {
    let Ok(header) = arena.at::<PayloadHeader>(block.offset) else {
        return Vec::new();
    };
    let count = header.enclosed.load(Acquire);
    if count > (block.size - HEADER) / NAMED {
        return Vec::new();
    }
    read_list(
        arena
            .slice(block.offset + HEADER, count * 2)
            .unwrap_or_default(),
    )
}

/// Frees a block of ours, and what only it kept alive: for who holds no object's lock.
#[inline]
pub(crate) fn free(member: Member, block: &Block) {
    if is_list(member.arena, block) {
        carriers::free(member, block);
    } else {
        member.free(block);
    }
}
