//! How many processors may spin, and what to do between two looks.

use crate::clock::now_ns;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Tells the processor that this is a spin loop (`pause`, `yield`; about 25 ns on x86-64).
#[inline]
pub fn relax() {
    std::hint::spin_loop();
}

/// Lets whoever else wants this processor run first; returns at once when nobody does.
pub fn give_way() {
    std::thread::yield_now();
}

/// How long an answer of [`has_company`] holds, in nanoseconds: asking costs as much as a
/// tenth of the waits that it is asked for.
const ANSWER_HOLDS_NS: u64 = 10_000_000;

/// Whether somebody else can run while we spin: more than one processor in our affinity mask,
/// which may change at any time.
#[must_use]
pub fn has_company() -> bool {
    // When it was asked last, with the answer in the lowest bit.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    let now = now_ns();
    let answer = ANSWER.load(Relaxed);
    if answer != 0 && now.wrapping_sub(answer) < ANSWER_HOLDS_NS {
        return answer & 1 != 0;
    }
    let several = allowed() > 1;
    ANSWER.store(now & !1 | u64::from(several), Relaxed);
    several
}

/// How many processors this thread may run on; 2 when the system does not say.
fn allowed() -> i32 {
    // SAFETY: a cpu_set_t is plain bits, for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `allowed` is a live set of the size that is given.
    let asked = unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
    if asked == 0 {
        // SAFETY: reads a live set.
        unsafe { libc::CPU_COUNT(&allowed) }
    } else {
        // Refused, or more processors than the set has bits.
        2
    }
}
