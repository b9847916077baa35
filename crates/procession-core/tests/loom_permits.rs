//! Permits over the internal lock under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Oracle, owner, together};
use procession_core::ilock::{self, Held};
use procession_core::permits;
use procession_shm::Liveness;
use procession_shm::layout::SemaphoreLine;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU32, AtomicU64};

struct Shared {
    lock: AtomicU32,
    line: SemaphoreLine,
    /// One for each process.
    entries: [AtomicU64; 3],
    live: Oracle,
}

const UNIT: u64 = 1 << 32;

impl Shared {
    fn new(permits: u32) -> Arc<Self> {
        let entry = |number| AtomicU64::new(u64::from(owner(number).bits()));
        Arc::new(Self {
            lock: AtomicU32::new(0),
            line: SemaphoreLine::detached(permits),
            entries: [entry(0), entry(1), entry(2)],
            live: Oracle::new(),
        })
    }

    fn locked(&self, number: usize) -> Held<'_> {
        ilock::acquire(&self.lock, owner(number), &self.live, || {
            permits::repair(&self.line, self.entries.iter());
        })
    }

    fn take(&self, number: usize) -> bool {
        let _held = self.locked(number);
        permits::take(&self.line, &self.entries[number])
    }

    fn give(&self, number: usize) {
        let _held = self.locked(number);
        assert!(permits::give(&self.line, &self.entries[number]));
    }

    fn take_and_give(&self, number: usize) {
        if self.take(number) {
            self.give(number);
        }
    }

    /// Commits a change of `number`'s units and dies with the lock.
    fn die_after(&self, number: usize, change: impl FnOnce(u64) -> u64) {
        let held = self.locked(number);
        let entry = &self.entries[number];
        entry.store(change(entry.load(Relaxed)), Relaxed);
        std::mem::forget(held);
        self.live.dies(owner(number));
    }

    /// What a survivor finds: free and lent permits make up the total, and the dead give theirs back.
    fn finally(&self, expected: u32) {
        let _held = self.locked(1);
        for (index, entry) in self.entries.iter().enumerate() {
            if self.live.is_dead(owner(index)) {
                permits::settle(&self.line, entry, index, Some(7));
            }
        }
        let lent: u32 = self.entries.iter().map(permits::units).sum();
        let total = self.line.total.load(Relaxed);
        assert_eq!(self.line.value.load(Relaxed) + lent, total);
        assert_eq!(total, expected);
    }
}

#[test]
fn of_two_acquirers_one_gets_the_only_permit() {
    loom::model(|| {
        let shared = Shared::new(1);
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.take(0);
                },
                |s| {
                    let _ = s.take(1);
                },
            ],
        );
        assert_eq!(shared.line.value.load(Relaxed), 0);
        shared.finally(1);
    });
}

#[test]
fn two_acquirers_and_a_releaser_keep_the_total() {
    loom::model(|| {
        let shared = Shared::new(1);
        assert!(shared.take(2));
        together(
            &shared,
            vec![|s| s.take_and_give(0), |s| s.take_and_give(1), |s| {
                s.give(2)
            }],
        );
        assert_eq!(shared.line.value.load(Relaxed), 1);
        shared.finally(1);
    });
}

#[test]
fn a_signal_adds_one() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.take(0);
                },
                |s| s.give(2),
            ],
        );
        let left = shared.line.value.load(Relaxed);
        // What was taken after the signal has no owner.
        shared.finally(left);
    });
}

#[test]
fn who_dies_with_a_permit_gives_it_back() {
    loom::model(|| {
        let shared = Shared::new(2);
        together(
            &shared,
            vec![|s| s.take_and_give(1), |s| {
                s.die_after(2, |entry| entry + UNIT)
            }],
        );
        shared.finally(2);
        assert_eq!(shared.line.value.load(Relaxed), 2);
    });
}

#[test]
fn who_dies_giving_a_permit_has_given_it() {
    loom::model(|| {
        let shared = Shared::new(1);
        assert!(shared.take(2));
        together(
            &shared,
            vec![|s| s.take_and_give(0), |s| s.take_and_give(1), |s| {
                s.die_after(2, |entry| entry - UNIT)
            }],
        );
        shared.finally(1);
        assert_eq!(shared.line.value.load(Relaxed), 1);
    });
}
