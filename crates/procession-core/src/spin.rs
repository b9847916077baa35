//! Spin a little, then park.
//!
//! Between two looks a spinner pauses, and after a few microseconds gives way (`sched_yield`):
//! whoever it waits for may need this very processor, and does where there is only one; that is
//! the quickest way to it. But to a third process with work to do it is the gift of a time slice,
//! a thousand times what it saves. So a process has a purse: each wait puts a little into it, a
//! displacement takes out what it cost, and who has nothing left does not give way. The purse
//! begins full: who waits for a process that still begins is displaced once, by the right one.
//! A spin also costs time that a sleeper would leave to others, so [`Backoff`] lets it be long
//! only where that paid lately.

use procession_sys::clock::now_ns;
use procession_sys::cpu;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

/// Longest spin without the GIL, in nanoseconds: about what parking and being woken on an idle
/// processor cost, so that spinning at worst doubles a wait (2-competitive).
pub const MOST_NS: u64 = 50_000;
/// Longest spin while the GIL is held, in nanoseconds: others of this process want to run.
pub const WITH_GIL_NS: u64 = 1_000;
/// A spin where spinning has not paid lately, in nanoseconds.
const LEAST_NS: u64 = 500;
/// After this long, in nanoseconds, the one we wait for is not running: let it.
const PAUSING_NS: u64 = 2_000;
/// Whoever runs longer than this, in nanoseconds, when we give way, is not the one who answers us.
const DISPLACED_NS: u64 = 20_000;
/// What displacements may cost a wait in the long run, in nanoseconds: 4,000 waits pay for a slice
/// of 3 ms.
const COST_PER_WAIT_NS: u64 = 750;
/// What a purse holds, in waits: one slice and a part of the next.
const FULL: i32 = (4_000_000 / COST_PER_WAIT_NS) as i32;

/// What this process may still be displaced for, in waits; nothing is left from 0 down.
static PURSE: AtomicI32 = AtomicI32::new(FULL);

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

    /// Tries again and again for at most `most_ns`, never giving way; true as soon as one try
    /// succeeds.
    pub fn spin(self, most_ns: u64, attempt: impl FnMut() -> bool) -> bool {
        self == Self::Shared && pause(most_ns, attempt)
    }

    /// The same, and gives way when pausing did not help, if that is allowed.
    fn spin_giving_way(self, most_ns: u64, mut attempt: impl FnMut() -> bool) -> bool {
        if self.spin(most_ns.min(PAUSING_NS), &mut attempt) {
            return true;
        }
        // Threads that lose an update to each other lose a wait's worth.
        let left = PURSE.load(Relaxed);
        PURSE.store((left + 1).min(FULL), Relaxed);
        if left > 0 {
            return give_way(most_ns, attempt);
        }
        self.spin(most_ns.saturating_sub(PAUSING_NS), attempt)
    }
}

fn pause(most_ns: u64, mut attempt: impl FnMut() -> bool) -> bool {
    if cfg!(loom) {
        return false;
    }
    let started = now_ns();
    loop {
        for _ in 0..4 {
            cpu::relax();
        }
        if attempt() {
            return true;
        }
        if now_ns() - started >= most_ns {
            return false;
        }
    }
}

fn give_way(most_ns: u64, mut attempt: impl FnMut() -> bool) -> bool {
    if cfg!(loom) {
        return false;
    }
    let started = now_ns();
    let mut before = started;
    loop {
        cpu::give_way();
        let success = attempt();
        let now = now_ns();
        let away = now - before;
        if away > DISPLACED_NS {
            let cost = i32::try_from(away / COST_PER_WAIT_NS).unwrap_or(i32::MAX);
            PURSE.store(PURSE.load(Relaxed).saturating_sub(cost), Relaxed);
            return success;
        }
        if success || now - started >= most_ns {
            return success;
        }
        before = now;
    }
}

/// What this process has learnt of the waits for one object: spin long if that paid the last
/// time, else only now and then, ever more seldom, to find out whether it would.
///
/// ```text
/// 31..16  rests: short spins between two long ones      15..0  left: short spins until the next long one
/// ```
///
/// Two who answer each other, both asleep on idle processors, take longer than any spin because
/// each must be woken; one long spin of either shows both that the other is quick. Lost updates
/// among threads do not matter.
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
        let (rests, left) = (seen >> 16, seen & Self::LEFT);
        let is_long = left == 0;
        let most = if is_long { MOST_NS } else { LEAST_NS };
        let success = ground.spin_giving_way(most, attempt);
        let (rests, left) = match (is_long, success) {
            (true, true) => (0, 0),
            (true, false) => {
                let rests = (rests * 2 + 1).min(Self::MOST_RESTS);
                (rests, rests)
            }
            (false, true) => (rests / 2, (left - 1).min(rests / 2)),
            (false, false) => (rests, left - 1),
        };
        self.0.store(rests << 16 | left, Relaxed);
        success
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One test at a time: the purse is the process's.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_long(backoff: &Backoff) -> bool {
        backoff.0.load(Relaxed) & Backoff::LEFT == 0
    }

    #[test]
    fn spins_that_fail_become_rare_and_success_brings_them_back() {
        let _alone = alone();
        let backoff = Backoff::new();
        let mut long = Vec::new();
        for wait in 0..200 {
            if is_long(&backoff) {
                long.push(wait);
            }
            assert!(!backoff.spin(Ground::Shared, || false));
        }
        assert_eq!(long, [0, 2, 6, 14, 30, 62, 126, 190]);
        let mut waits = 0;
        while !is_long(&backoff) {
            assert!(backoff.spin(Ground::Shared, || true));
            waits += 1;
        }
        assert!(
            waits < 7,
            "short spins that succeed bring the next long one near"
        );
        assert!(backoff.spin(Ground::Shared, || true));
        assert!(is_long(&backoff), "one that paid is followed by another");
    }

    #[test]
    fn nobody_spins_alone_without_giving_way() {
        assert!(!Ground::Alone.spin(MOST_NS, || panic!("tried")));
    }

    #[test]
    fn who_has_paid_for_displacements_stays() {
        let _alone = alone();
        PURSE.store(FULL, Relaxed);
        let displaced = || {
            let until = now_ns() + u64::from(FULL as u32) * COST_PER_WAIT_NS * 2 / 3;
            while now_ns() < until {}
            true
        };
        assert!(
            Ground::Alone.spin_giving_way(MOST_NS, displaced),
            "the purse is full"
        );
        assert!(
            Ground::Alone.spin_giving_way(MOST_NS, displaced),
            "a third is left"
        );
        assert!(PURSE.load(Relaxed) < -FULL / 4, "and more was taken");
        for _ in 0..FULL / 4 {
            assert!(!Ground::Alone.spin_giving_way(MOST_NS, || panic!("tried")));
        }
        let mut waits = 0;
        while !Ground::Alone.spin_giving_way(MOST_NS, || true) {
            waits += 1;
            assert!(waits < 100_000_000, "for ever");
        }
        PURSE.store(FULL, Relaxed);
    }
}
