//! The wake word: sleep until something may have changed, without losing a wake-up.
//!
//! ```text
//! 31..1  epoch      0  SLEEPERS: somebody may sleep here
//! ```
//!
//! A waiter takes a token (a new epoch with the bit), looks once more at what it waits for, and
//! sleeps only while the word still is the token. A waker first makes its change, then looks at
//! the bit: without sleepers it costs a fence and a load. The bit is sticky, so a killed sleeper
//! costs one spurious wake. The epoch must be long: with a short one the word comes round to the
//! token while the waiter is on its way to sleep.

use procession_sys::clock::Deadline;
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{Acquire, Relaxed, SeqCst};
use procession_sys::prim::fence;

const SLEEPERS: u32 = 1;
const EPOCH: u32 = 2;

/// Announces a sleeper. Look at what you wait for after this, then [`sleep`].
pub fn prepare(word: &AtomicU32) -> u32 {
    loop {
        let seen = word.load(Relaxed);
        let token = seen.wrapping_add(EPOCH) | SLEEPERS;
        // SeqCst pairs with the fence in `wake`: either the waker sees the bit, or we, looking
        // after this, see its change.
        if word.compare_exchange(seen, token, SeqCst, Relaxed).is_ok() {
            fence(SeqCst);
            crash_point!("eventcount.prepared");
            return token;
        }
    }
}

/// Sleeps until somebody wakes, or `until`.
pub fn sleep(word: &AtomicU32, token: u32, until: Deadline) -> Wait {
    futex::wait(word, token, until)
}

/// Wakes up to `count` sleepers, after a change that they wait for.
#[inline]
pub fn wake(word: &AtomicU32, count: u32) {
    fence(SeqCst);
    if has_sleepers(word) {
        wake_sleepers(word, count);
    }
}

/// Whether somebody may sleep here. Exact for who looks under a lock that every sleeper takes
/// between [`prepare`] and [`sleep`]; others need the fence in [`wake`].
#[inline]
#[must_use]
pub fn has_sleepers(word: &AtomicU32) -> bool {
    word.load(Relaxed) & SLEEPERS != 0
}

/// The word as it is, for [`wake_sleepers_since`]. Whatever was announced before shows after this.
#[must_use]
pub fn look(word: &AtomicU32) -> u32 {
    // Acquire pairs with the SeqCst of `prepare`.
    word.load(Acquire)
}

/// Wakes up to `count` sleepers; the bit stays if somebody has come since the word was `seen`, which
/// may be one that does not sleep and is woken otherwise.
#[cold]
pub fn wake_sleepers_since(word: &AtomicU32, seen: u32, count: u32) {
    let (now, woken) = wake_in_new_epoch(word, count);
    if woken == 0 && now == seen.wrapping_add(EPOCH) {
        let _ = word.compare_exchange(now, now & !SLEEPERS, Relaxed, Relaxed);
    }
}

/// Wakes up to `count` sleepers, and leaves the bit for others to see.
#[cold]
pub fn wake_and_stay(word: &AtomicU32, count: u32) {
    let _ = wake_in_new_epoch(word, count);
}

fn wake_in_new_epoch(word: &AtomicU32, count: u32) -> (u32, usize) {
    let now = word.fetch_add(EPOCH, SeqCst).wrapping_add(EPOCH);
    crash_point!("eventcount.waking");
    (now, futex::wake(word, count))
}

/// Wakes up to `count` sleepers.
#[cold]
pub fn wake_sleepers(word: &AtomicU32, count: u32) {
    let (now, woken) = wake_in_new_epoch(word, count);
    if woken == 0 {
        // Nobody there: unless somebody came meanwhile, nobody will be missed.
        let _ = word.compare_exchange(now, now & !SLEEPERS, Relaxed, Relaxed);
    }
}
