//! Who waits for a condition or at a barrier: entries with owners, so that the dead are told.
//!
//! ```text
//! entry   word WAITING | ASLEEP | NOTIFIED | BROKEN | AWAY (a futex word)   owner   ticket
//! take    1 word, ticket   2 owner (commit)      free   1 owner = 0
//! sleep   1 CAS WAITING -> ASLEEP   2 sleep while ASLEEP
//! mark    1 swap NOTIFIED or BROKEN (commit)   2 wake, if it was ASLEEP
//! ```
//!
//! Entries are taken, marked and freed under the object's internal lock; each waiter sleeps on
//! the word of its own entry, and frees the entry itself. The entry of a dead waiter is freed by
//! whoever meets it, and what it had been given goes to the next. Who spins is not ASLEEP and
//! costs the marker no system call.

use crate::ilock::Held;
use crate::lock::{Waited, Waiting};
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::layout::{Waiter, WaiterBlock};
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The entry's owner waits, awake.
pub const WAITING: u32 = 1;
/// It has been notified (a condition), released (a barrier).
pub const NOTIFIED: u32 = 2;
/// The barrier broke under it.
pub const BROKEN: u32 = 3;
/// The entry's owner waits and may sleep: whoever marks the entry wakes it.
pub const ASLEEP: u32 = 4;
/// The entry's owner does not wait, but is expected again (a barrier's member).
pub const AWAY: u32 = 5;

/// Takes an entry, and a `ticket` for it; None when all are taken: [`extend`] and try again.
pub fn take(
    arena: &Arena,
    object: &Object,
    _locked: &Held<'_>,
    owner: OwnerId,
    ticket: impl FnOnce() -> u64,
) -> Option<&'static Waiter> {
    let entry = all(arena, object).find(|entry| entry.owner.load(Relaxed) == 0)?;
    entry.word.store(WAITING, Relaxed);
    entry.ticket.store(ticket(), Relaxed);
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

/// Whether nothing has been decided for the entry's owner.
#[must_use]
pub fn is_waiting(entry: &Waiter) -> bool {
    // Acquire pairs with the Release of `mark`: what the marker did before is visible.
    matches!(entry.word.load(Acquire), WAITING | ASLEEP)
}

/// Whether the entry is that of a wait of `owner`: a child forked in the middle of one is not.
#[must_use]
pub fn is_of(entry: &Waiter, owner: OwnerId) -> bool {
    entry.owner.load(Relaxed) == owner.bits()
}

/// Marks an entry; true when its owner may be asleep: [`wake`] it then.
#[must_use]
pub fn mark(entry: &Waiter, word: u32) -> bool {
    let before = entry.word.swap(word, AcqRel);
    crash_point!("waiters.marked");
    before == ASLEEP
}

/// Wakes who sleeps on an entry; how many there were. Killed before this, its owner wakes after
/// a slice.
pub fn wake(entry: &Waiter) -> usize {
    futex::wake(&entry.word, u32::MAX >> 1)
}

/// Sleeps for one slice at most; None is "it is decided". `look` for the dead after each slice.
#[must_use]
pub fn wait(entry: &Waiter, waiting: &Waiting, look: impl FnOnce()) -> Option<Waited> {
    let end = waiting.slice_end();
    loop {
        // Acquire as in `is_waiting`.
        match entry
            .word
            .compare_exchange(WAITING, ASLEEP, Relaxed, Acquire)
        {
            Ok(_) | Err(ASLEEP) => {}
            Err(_) => return None,
        }
        crash_point!("waiters.asleep");
        match futex::wait(&entry.word, ASLEEP, end) {
            Wait::Woken | Wait::Changed => {}
            Wait::TimedOut if waiting.is_over() => return Some(Waited::TimedOut),
            // Signals may come faster than any slice ends.
            Wait::TimedOut | Wait::Interrupted => {
                look();
                return Some(Waited::Slice);
            }
        }
    }
}

/// Gives an entry back.
pub fn free(entry: &Waiter) {
    entry.owner.store(0, Release);
    crash_point!("waiters.freed");
}
