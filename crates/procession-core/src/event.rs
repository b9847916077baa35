//! An event is one word: a flag that many may wait for.
//!
//! ```text
//! 31..2  epoch    1  SLEEPERS    0  FLAG
//! set    1 FLAG, epoch + 1, no SLEEPERS (commit)   2 wake all, if there were sleepers
//! ```
//!
//! A setter killed between both steps costs the sleepers a slice. Every set is a new epoch, so a
//! waiter sees that the event was set while it slept even if it has been cleared again.

use crate::lock::{Waited, Waiting};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};

const FLAG: u32 = 1;
const SLEEPERS: u32 = 2;
const EPOCH: u32 = 4;

/// Whether the event is set.
#[inline]
#[must_use]
pub fn is_set(word: &AtomicU32) -> bool {
    word.load(Acquire) & FLAG != 0
}

/// Sets it and wakes all who wait.
#[inline]
pub fn set(word: &AtomicU32) {
    let mut seen = word.load(Relaxed);
    loop {
        let next = (seen.wrapping_add(EPOCH) | FLAG) & !SLEEPERS;
        // Release pairs with the Acquire of waiters: what was done before the set is visible.
        match word.compare_exchange(seen, next, AcqRel, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    crash_point!("event.set");
    if seen & SLEEPERS != 0 {
        futex::wake(word, u32::MAX >> 1);
    }
}

/// Clears it.
#[inline]
pub fn clear(word: &AtomicU32) {
    word.fetch_and(!FLAG, AcqRel);
}

/// The epoch in which a wait begins; remember it over all slices.
#[must_use]
pub fn epoch(word: &AtomicU32) -> u32 {
    word.load(Acquire) & !(FLAG | SLEEPERS)
}

/// How often it has been set, modulo 2 to the 30.
#[must_use]
pub fn sets(word: &AtomicU32) -> u32 {
    word.load(Relaxed) / EPOCH
}

/// Whether the event is set, or has been since `epoch`.
#[must_use]
pub fn has_happened(word: &AtomicU32, epoch: u32) -> bool {
    is_past(word.load(Acquire), epoch)
}

fn is_past(seen: u32, epoch: u32) -> bool {
    seen & FLAG != 0 || seen & !(FLAG | SLEEPERS) != epoch
}

/// Sleeps for one slice at most, or until the event has happened; None is "it has".
#[must_use]
pub fn wait(word: &AtomicU32, epoch: u32, waiting: &Waiting) -> Option<Waited> {
    let end = waiting.slice_end();
    loop {
        // One look for both: set and cleared between two, we would sleep in spite of it.
        let seen = word.load(Acquire);
        if is_past(seen, epoch) {
            return None;
        }
        let asleep = seen | SLEEPERS;
        if seen != asleep
            && word
                .compare_exchange(seen, asleep, Relaxed, Relaxed)
                .is_err()
        {
            continue;
        }
        crash_point!("event.waiting");
        match futex::wait(word, asleep, end) {
            Wait::Woken | Wait::Changed => {}
            Wait::TimedOut if waiting.is_over() => return Some(Waited::TimedOut),
            Wait::TimedOut | Wait::Interrupted => return Some(Waited::Slice),
        }
    }
}
