//! Who waits for a condition or at a barrier: entries with owners, so that the dead are told.
//!
//! ```text
//! entry   word WAITING | NOTIFIED | BROKEN (a futex word)   owner   ticket
//! take    1 word, ticket   2 owner (commit)      free   1 owner = 0
//! ```
//!
//! Entries are taken, marked and freed under the object's internal lock; each waiter sleeps on
//! the word of its own entry, and frees the entry itself. The entry of a dead waiter is freed by
//! whoever meets it, and what it had been given goes to the next.

use crate::ilock::Held;
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::layout::{Waiter, WaiterBlock};
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::futex;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// The entry's owner waits.
pub const WAITING: u32 = 1;
/// It has been notified (a condition), released (a barrier).
pub const NOTIFIED: u32 = 2;
/// The barrier broke under it.
pub const BROKEN: u32 = 3;

/// Takes an entry; None when all are taken: [`extend`] and try again.
pub fn take(
    arena: &Arena,
    object: &Object,
    _locked: &Held<'_>,
    owner: OwnerId,
    ticket: u64,
) -> Option<&'static Waiter> {
    let entry = all(arena, object).find(|entry| entry.owner.load(Relaxed) == 0)?;
    entry.word.store(WAITING, Relaxed);
    entry.ticket.store(ticket, Relaxed);
    // Release pairs with the Acquire in `taken`: an entry with an owner is complete.
    entry.owner.store(owner.bits(), Release);
    crash_point!("waiters.taken");
    Some(entry)
}

/// Chains one more block of entries.
pub fn extend(member: Member, object: &Object) -> Result<(), ArenaError> {
    let block = member.allocate(size_of::<WaiterBlock>() as u64, Purpose::Ledger)?;
    let waiters: &WaiterBlock = member.arena.at(block.offset)?;
    for entry in &waiters.waiters {
        entry.owner.store(0, Relaxed);
        entry.word.store(0, Relaxed);
    }
    waiters.parent.store(object.offset, Relaxed);
    waiters.parent_serial.store(object.serial, Relaxed);
    crash_point!("waiters.block_made");
    let held = object.lock(member);
    if !object.is_current() {
        // The private mutex comes before internal locks.
        drop(held);
        member.free(&block);
        return Err(object.gone());
    }
    waiters.next.store(first(object), Relaxed);
    // Release pairs with the Acquire in `blocks`: a linked block is complete.
    object
        .header
        .waiters
        .store((block.offset / 64) as u32, Release);
    crash_point!("waiters.linked");
    let _ = block.publish(Purpose::Ledger, member.local.owner);
    Ok(())
}

fn first(object: &Object) -> u64 {
    u64::from(object.header.waiters.load(Acquire)) * 64
}

/// The chained blocks of entries.
pub fn blocks<'a>(
    arena: &'a Arena,
    object: &Object,
) -> impl Iterator<Item = (Block, &'static WaiterBlock)> + use<'a> {
    let mut next = first(object);
    let mut left = procession_shm::layout::SLOTS * 16;
    std::iter::from_fn(move || {
        if next == 0 || left == 0 {
            return None;
        }
        left -= 1;
        let block = arena.block_at(next).ok()?;
        let waiters: &WaiterBlock = arena.at(next).ok()?;
        next = waiters.next.load(Acquire);
        Some((block, waiters))
    })
}

/// Every entry, free ones included.
pub fn all<'a>(
    arena: &'a Arena,
    object: &Object,
) -> impl Iterator<Item = &'static Waiter> + use<'a> {
    blocks(arena, object).flat_map(|(_, block)| block.waiters.iter())
}

/// Every entry that somebody has, with its owner.
pub fn taken<'a>(
    arena: &'a Arena,
    object: &Object,
) -> impl Iterator<Item = (&'static Waiter, OwnerId)> + use<'a> {
    all(arena, object)
        .map(|entry| (entry, OwnerId::of_word(entry.owner.load(Acquire))))
        .filter(|(_, owner)| !owner.is_none())
}

/// Marks an entry; [`wake`] its owner then.
pub fn mark(entry: &Waiter, word: u32) {
    // Release pairs with the Acquire of the waiter: what the marker did before is visible.
    entry.word.store(word, Release);
    crash_point!("waiters.marked");
}

/// Wakes who sleeps on an entry. Killed before this, its owner wakes after a slice.
pub fn wake(entry: &Waiter) {
    futex::wake(&entry.word, u32::MAX >> 1);
}

/// Gives an entry back.
pub fn free(entry: &Waiter) {
    entry.owner.store(0, Release);
    crash_point!("waiters.freed");
}
