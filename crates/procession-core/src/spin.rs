//! Spin a little, then park: the budget is time, and it shrinks where spinning does not pay.

use procession_sys::clock::now_ns;
use procession_sys::cpu;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest spin without the GIL, in nanoseconds: as long as parking and waking costs, so that
/// spinning at worst doubles a wait (2-competitive).
pub const MOST_NS: u64 = 20_000;
/// Longest spin while the GIL is held, in nanoseconds: others of this process want to run.
pub const WITH_GIL_NS: u64 = 1_000;
const LEAST_NS: u64 = 500;

/// What recent spins were worth: nanoseconds that the next may take.
static BUDGET: AtomicU64 = AtomicU64::new(MOST_NS);

/// Tries again and again for at most `most_ns`; true as soon as one try succeeds.
pub fn until(most_ns: u64, mut attempt: impl FnMut() -> bool) -> bool {
    if cfg!(loom) || !cpu::can_spin() {
        return false;
    }
    let deadline = now_ns() + most_ns;
    loop {
        for _ in 0..4 {
            cpu::relax();
        }
        if attempt() {
            return true;
        }
        if now_ns() >= deadline {
            return false;
        }
    }
}

/// As [`until`], for as long as has paid lately.
pub fn adaptively(attempt: impl FnMut() -> bool) -> bool {
    let budget = BUDGET.load(Relaxed);
    let success = until(budget, attempt);
    // An average with a memory of eight; lost updates among threads do not matter.
    let next = if success {
        budget + (MOST_NS - budget) / 8
    } else {
        budget - budget / 8
    };
    BUDGET.store(next.clamp(LEAST_NS, MOST_NS), Relaxed);
    success
}
