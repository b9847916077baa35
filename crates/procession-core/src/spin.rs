//! Spin a little, then park.
//!
//! Between two looks a spinner pauses, and after a few microseconds gives way: whoever it waits
//! for may need this very processor, and does when there is only one. A spin costs time that a
//! sleeper would leave to others, so [`Backoff`] lets it be long only where that paid lately.

use procession_sys::clock::now_ns;
use procession_sys::cpu;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Longest spin without the GIL, in nanoseconds: about what parking and being woken on an idle
/// processor cost, so that spinning at worst doubles a wait (2-competitive).
pub const MOST_NS: u64 = 50_000;
/// Longest spin while the GIL is held, in nanoseconds: others of this process want to run.
pub const WITH_GIL_NS: u64 = 1_000;
/// A spin where spinning has not paid lately, in nanoseconds.
const LEAST_NS: u64 = 500;
/// After this long, in nanoseconds, the one we wait for is not running: let it.
const PAUSING_NS: u64 = 2_000;

/// Where a process spins: whether others run meanwhile. Asked once for each wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// Several processors: who is waited for may run beside us.
    Shared,
    /// One processor: nothing changes unless we give way.
    Alone,
}

impl Ground {
    /// What our affinity says now.
    #[must_use]
    pub fn look() -> Self {
        if cpu::has_company() {
            Self::Shared
        } else {
            Self::Alone
        }
    }

    /// Tries again and again for at most `most_ns`; true as soon as one try succeeds.
    pub fn spin(self, most_ns: u64, mut attempt: impl FnMut() -> bool) -> bool {
        if cfg!(loom) {
            return false;
        }
        let started = now_ns();
        let mut spun = 0;
        while spun < most_ns {
            if self == Self::Alone || spun >= PAUSING_NS {
                cpu::give_way();
            } else {
                for _ in 0..4 {
                    cpu::relax();
                }
            }
            if attempt() {
                return true;
            }
            spun = now_ns() - started;
        }
        false
    }

    /// Tries for a moment in which nobody else of this process can run: the GIL is held.
    pub fn spin_with_gil(self, attempt: impl FnMut() -> bool) -> bool {
        // To give way would give it to whoever wants the GIL.
        self == Self::Shared && self.spin(WITH_GIL_NS, attempt)
    }
}

/// What this process has learnt of the waits for one object: spin long if the last wait was
/// short, else only now and then, ever more seldom, to find out whether that has changed.
///
/// ```text
/// 31..16  rests: short spins between two long ones      15..0  left: short spins until the next long one
/// ```
///
/// Two who answer each other, both asleep, take longer than any spin because each must be
/// woken; one long spin of either shows both that the other is quick. Lost updates among threads do not matter.
#[derive(Debug, Default)]
pub struct Backoff(AtomicU32);

impl Backoff {
    const LEFT: u32 = 0xFFFF;
    const MOST_RESTS: u32 = 63;

    /// Knows nothing yet: the first spin is a long one.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Tries for as long as experience advises.
    pub fn spin(&self, ground: Ground, attempt: impl FnMut() -> bool) -> bool {
        let seen = self.0.load(Relaxed);
        if seen & Self::LEFT != 0 {
            self.0.store(seen - 1, Relaxed);
            return ground.spin(LEAST_NS, attempt);
        }
        let success = ground.spin(MOST_NS, attempt);
        let rests = if success {
            0
        } else {
            ((seen >> 16) * 2 + 1).min(Self::MOST_RESTS)
        };
        self.0.store(rests << 16 | rests, Relaxed);
        success
    }

    /// A wait, slept through in part, took so long: it tells what a spin would have been worth.
    pub fn learn(&self, waited_ns: u64) {
        if waited_ns <= MOST_NS {
            self.0.store(0, Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn is_long(backoff: &Backoff) -> bool {
        backoff.0.load(Relaxed) & Backoff::LEFT == 0
    }

    #[test]
    fn spins_that_fail_become_rare_and_a_short_wait_brings_them_back() {
        let backoff = Backoff::new();
        let mut long = Vec::new();
        for wait in 0..200 {
            if is_long(&backoff) {
                long.push(wait);
            }
            assert!(!backoff.spin(Ground::Shared, || false));
        }
        assert_eq!(long, [0, 2, 6, 14, 30, 62, 126, 190]);
        backoff.learn(MOST_NS + 1);
        assert!(!is_long(&backoff));
        backoff.learn(MOST_NS);
        assert!(is_long(&backoff));
        assert!(backoff.spin(Ground::Alone, || true));
        assert!(is_long(&backoff), "one that paid is followed by another");
    }

    #[test]
    fn nobody_gives_way_with_the_gil_held() {
        assert!(!Ground::Alone.spin_with_gil(|| panic!("tried")));
    }
}
