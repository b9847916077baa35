//! The permits of a semaphore: counted by who has them.
//!
//! ```text
//! value = total - sum of the units in the object's ledger          (`value` only caches it)
//! acquire   1 units of my entry + 1 (commit)   2 value - 1
//! release   1 units of my entry - 1 (commit)   2 value + 1
//!   of what another acquired: 1 SIGNALLING    2 total + 1 (commit)  3 value + 1
//! fold      1 fold_total = total - units  2 fold_entry = entry (commit)  3 total  4 entry  5 fold_entry = 0
//! ```
//!
//! All of it happens under the object's internal lock. Killed after a commit: the next holder of
//! the lock repairs, which rebuilds `value`, and finishes a fold. A process that dies with
//! permits: its entry is struck, and they are back. Once somebody released what he had not
//! acquired the semaphore is used for signalling: then permits have no owners, acquire and
//! release change `total`, and what a dead process had stays taken (a fold).

use crate::ledger;
use crate::lock::flags;
use procession_shm::layout::SemaphoreLine;
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Relaxed, Release};

/// The bit of a ledger entry that counts one unit.
const UNIT: u64 = 1 << 32;

/// Units of an entry.
#[must_use]
pub fn units(entry: &AtomicU64) -> u32 {
    // A container's content, or a message, holds the semaphore, and no permits.
    if ledger::carrier_of(entry).is_some() {
        return 0;
    }
    (entry.load(Relaxed) >> 32) as u32
}

fn change(word: &procession_sys::prim::AtomicU32, by: i32) {
    let value = word.load(Relaxed);
    word.store(value.wrapping_add_signed(by), Relaxed);
}

/// Whether permits belong to who acquired them.
#[must_use]
pub fn have_owners(line: &SemaphoreLine) -> bool {
    line.flags.load(Relaxed) & (flags::SIGNALLING | flags::IGNORE) == 0
}

/// Takes a permit for the holder of `entry`, if there is one.
#[must_use]
pub fn take(line: &SemaphoreLine, entry: &AtomicU64) -> bool {
    if line.value.load(Relaxed) == 0 {
        return false;
    }
    if have_owners(line) {
        entry.store(entry.load(Relaxed).wrapping_add(UNIT), Release);
    } else {
        change(&line.total, -1);
    }
    crash_point!("semaphore.taken");
    change(&line.value, -1);
    line.acquired
        .store(line.acquired.load(Relaxed).wrapping_add(1), Relaxed);
    true
}

/// Gives a permit back; false when the value is at its maximum.
#[must_use]
pub fn give(line: &SemaphoreLine, entry: &AtomicU64) -> bool {
    if line.value.load(Relaxed) >= line.maximum.load(Relaxed) {
        return false;
    }
    if units(entry) > 0 {
        entry.store(entry.load(Relaxed).wrapping_sub(UNIT), Release);
    } else {
        // `recover=True` is RAISE here: it never becomes a signal.
        if line.flags.load(Relaxed) & flags::RAISE == 0 {
            line.flags.fetch_or(flags::SIGNALLING, Relaxed);
        }
        crash_point!("semaphore.signalling");
        change(&line.total, 1);
    }
    crash_point!("semaphore.given");
    change(&line.value, 1);
    true
}

/// Empties an entry whose holder is gone: `died` gives its permits back if they had an owner,
/// a clean end leaves them taken. `index` is the entry's place in `entries`.
pub fn settle(line: &SemaphoreLine, entry: &AtomicU64, index: usize, died: Option<u32>) {
    let lent = units(entry);
    if lent == 0 {
        entry.store(0, Release);
        return;
    }
    if let Some(pid) = died.filter(|_| have_owners(line)) {
        line.last_dead_pid.store(pid, Relaxed);
        entry.store(0, Release);
        crash_point!("semaphore.returned");
        change(&line.value, lent as i32);
        change(&line.recovered, 1);
        return;
    }
    let total = line.total.load(Relaxed).wrapping_sub(lent);
    line.fold_total.store(total, Relaxed);
    // Release: who finds the entry's number finds the total.
    line.fold_entry.store(index as u32 + 1, Release);
    crash_point!("semaphore.folding");
    finish_fold(line, entry);
}

fn finish_fold(line: &SemaphoreLine, entry: &AtomicU64) {
    line.total.store(line.fold_total.load(Relaxed), Relaxed);
    crash_point!("semaphore.folded");
    entry.store(0, Release);
    line.fold_entry.store(0, Release);
}

/// Whether permits came back from the dead and nobody has been told yet.
#[inline]
#[must_use]
pub fn is_news(line: &SemaphoreLine) -> bool {
    line.recovered.load(Relaxed) != line.told.load(Relaxed)
}

/// Takes the news for the caller to tell: the pid of who died last. One caller gets them.
#[must_use]
pub fn take_news(line: &SemaphoreLine) -> Option<u32> {
    let (recovered, told) = (line.recovered.load(Relaxed), line.told.load(Relaxed));
    if recovered == told {
        return None;
    }
    let taken = line
        .told
        .compare_exchange(told, recovered, Relaxed, Relaxed);
    taken.ok().map(|_| line.last_dead_pid.load(Relaxed))
}

/// What a takeover of the object's lock runs: finishes a fold, rebuilds the value.
pub fn repair<'a>(line: &SemaphoreLine, entries: impl Iterator<Item = &'a AtomicU64> + Clone) {
    let folding = line.fold_entry.load(Relaxed) as usize;
    if folding != 0 {
        if let Some(entry) = entries.clone().nth(folding - 1) {
            finish_fold(line, entry);
        }
    }
    let lent: u32 = entries.map(units).fold(0, u32::wrapping_add);
    line.value
        .store(line.total.load(Relaxed).wrapping_sub(lent), Relaxed);
}
