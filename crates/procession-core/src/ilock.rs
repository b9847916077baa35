//! The internal lock: one owner-tagged word, taken over from the dead.
//!
//! ```text
//! 31     WAITERS   somebody sleeps here: the release must wake one
//! 30     spare
//! 29..0  owner     0 = free
//! ```
//!
//! Held for tens of nanoseconds and never while anything of Python happens. Every sleep is a
//! slice of 1 to 16 ms followed by a look at the owner: who was woken may be killed before it
//! acts, and then the next waiter only loses a slice. Taking over runs `repair` before the new
//! holder sees anything; repair must be idempotent and must not ask who died, because who
//! repairs may die as well. Compare Rust's futex mutex (std) and, for dead owners, the
//! kernel's robust-futex ABI, whose list we do without: the owner stands in the word.

use crate::spin::Ground;
use procession_shm::{Liveness, OwnerId};
use procession_sys::clock::{Deadline, now_ns};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Somebody sleeps on the word.
pub const WAITERS: u32 = 1 << 31;

const FIRST_SLICE_NS: u64 = 1_000_000;
const LAST_SLICE_NS: u64 = 16_000_000;
const LONG_WAIT_NS: u64 = 1_000_000_000;
const SPIN_NS: u64 = 2_000;

/// An internal lock, held.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub struct Held<'a> {
    word: &'a AtomicU32,
}

/// Acquires the lock at `word` for `me`; from the dead only after `repair`.
#[inline]
pub fn acquire<'a>(
    word: &'a AtomicU32,
    me: OwnerId,
    live: &impl Liveness,
    repair: impl FnOnce(),
) -> Held<'a> {
    // Acquire pairs with the Release in `drop`: what the last holder wrote is visible.
    let free = word.compare_exchange(0, me.bits(), Acquire, Relaxed);
    let from_the_dead = free.is_err() && acquire_contended(word, me, live);
    // Before the repair: should that panic, the lock is given back.
    let held = Held { word };
    if from_the_dead {
        crash_point!("ilock.taken_over");
        repair();
        crash_point!("ilock.repaired");
    }
    held
}

/// Acquires the lock if it is free.
pub fn try_acquire(word: &AtomicU32, me: OwnerId) -> Option<Held<'_>> {
    // Acquire as in `acquire`.
    word.compare_exchange(0, me.bits(), Acquire, Relaxed).ok()?;
    Some(Held { word })
}

/// Takes the lock from the very dead owner that `seen` names, after `repair`; None when it
/// has changed hands since. Then what it guards may be gone: the word was not touched.
pub fn take_over(
    word: &AtomicU32,
    seen: u32,
    me: OwnerId,
    repair: impl FnOnce(),
) -> Option<Held<'_>> {
    // Acquire: the dead holder's stores that are visible at all are visible to repair.
    word.compare_exchange(seen, me.bits() | WAITERS, Acquire, Relaxed)
        .ok()?;
    let held = Held { word };
    crash_point!("ilock.taken_over");
    repair();
    crash_point!("ilock.repaired");
    Some(held)
}

/// True when the lock came from the dead.
#[cold]
fn acquire_contended(word: &AtomicU32, me: OwnerId, live: &impl Liveness) -> bool {
    let free = || {
        word.compare_exchange(0, me.bits(), Acquire, Relaxed)
            .is_ok()
    };
    if Ground::look().spin(SPIN_NS, free) {
        return false;
    }
    let started = now_ns();
    let mut slice = FIRST_SLICE_NS;
    let mut end = Deadline::after_ns(slice);
    loop {
        let seen = word.load(Relaxed);
        if seen == 0 {
            // Others may sleep here, too: keep the bit for them.
            if word
                .compare_exchange(0, me.bits() | WAITERS, Acquire, Relaxed)
                .is_ok()
            {
                return false;
            }
            continue;
        }
        let asleep = seen | WAITERS;
        if seen != asleep
            && word
                .compare_exchange(seen, asleep, Relaxed, Relaxed)
                .is_err()
        {
            continue;
        }
        match futex::wait(word, asleep, end) {
            Wait::TimedOut => {}
            // Signals may come faster than any slice ends.
            Wait::Interrupted if end.is_past() => {}
            _ => continue,
        }
        slice = (slice * 2).min(LAST_SLICE_NS);
        end = Deadline::after_ns(slice);
        let owner = OwnerId::of_word(asleep);
        let dead = if now_ns() - started < LONG_WAIT_NS {
            live.is_dead(owner)
        } else {
            live.is_dead_after_long_wait(owner)
        };
        // Acquire: the dead holder's stores that are visible at all are visible to repair.
        if dead
            && word
                .compare_exchange(asleep, me.bits() | WAITERS, Acquire, Relaxed)
                .is_ok()
        {
            return true;
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release pairs with the Acquire in `acquire`.
        if self.word.swap(0, Release) & WAITERS != 0 {
            futex::wake(self.word, 1);
        }
    }
}
