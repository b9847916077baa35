//! The internal lock under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, owner, together};
use procession_core::ilock::{self, WAITERS};
use procession_shm::OwnerId;
use procession_sys::clock::Deadline;
use procession_sys::futex;
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{Acquire, Relaxed};

struct Shared {
    word: AtomicU32,
    data: Guarded,
    /// How often repair ran; guarded by the lock.
    repairs: Guarded,
    live: Oracle,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(0),
            data: Guarded::new(),
            repairs: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn locked(&self, me: OwnerId) -> ilock::Held<'_> {
        ilock::acquire(&self.word, me, &self.live, || {
            self.repairs.change(|n| n + 1);
            // Half a change is finished; a whole one is not touched.
            self.data.change(|n| n + n % 2);
        })
    }

    /// One change in two steps: odd in between.
    fn change(&self, number: usize) {
        let _held = self.locked(owner(number));
        assert_eq!(self.data.read() % 2, 0, "half a change was seen");
        self.data.change(|n| n + 1);
        self.data.change(|n| n + 1);
    }

    /// Dies in the middle of a change.
    fn die_within(&self, number: usize) {
        let held = self.locked(owner(number));
        self.data.change(|n| n + 1);
        std::mem::forget(held);
        self.live.dies(owner(number));
    }

    /// Dies as soon as it has the lock, its repair done or not begun.
    fn die_holding(&self, number: usize) {
        let word = &self.word;
        let held = ilock::acquire(word, owner(number), &self.live, || ());
        std::mem::forget(held);
        self.live.dies(owner(number));
    }
}

fn finally(shared: &Shared, expected: u32) {
    let _held = shared.locked(owner(3));
    assert_eq!(shared.data.read(), expected);
}

#[test]
fn two_exclude_each_other_and_nobody_sleeps_for_ever() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![|s| s.change(0), |s| s.change(1)]);
        finally(&shared, 4);
        assert_eq!(shared.repairs.read(), 0, "nobody died");
    });
}

#[test]
fn three_exclude_each_other_and_nobody_sleeps_for_ever() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change(0), |s| s.change(1), |s| s.change(2)],
        );
        finally(&shared, 6);
        assert_eq!(shared.repairs.read(), 0, "nobody died");
    });
}

#[test]
fn a_dead_holder_is_taken_over_and_repaired_once() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![|s| s.die_within(0), |s| s.change(1)]);
        finally(&shared, 4);
        assert_eq!(shared.repairs.read(), 1);
    });
}

#[test]
fn of_two_heirs_one_repairs() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.die_within(0), |s| s.change(1), |s| s.change(2)],
        );
        finally(&shared, 6);
        assert_eq!(shared.repairs.read(), 1);
    });
}

#[test]
fn a_repairer_that_dies_before_it_repairs_is_repaired_as_well() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.die_within(0), |s| s.die_holding(1), |s| s.change(2)],
        );
        finally(&shared, 4);
    });
}

#[test]
fn a_woken_waiter_that_dies_takes_nobody_with_it() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change(0), |s| s.change(1), |s| {
                // What `acquire` does up to its sleep, and then no more.
                let seen = s.word.load(Relaxed);
                let asleep = seen | WAITERS;
                if seen != 0
                    && s.word
                        .compare_exchange(seen, asleep, Relaxed, Relaxed)
                        .is_ok()
                {
                    let _ = futex::wait(&s.word, asleep, Deadline::NEVER);
                }
                s.live.dies(owner(2));
            }],
        );
        finally(&shared, 4);
    });
}

#[test]
fn a_stranger_to_the_word_dies_and_nothing_changes() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change(0), |s| s.change(1), |s| s.live.dies(owner(2))],
        );
        finally(&shared, 4);
        assert_eq!(shared.repairs.read(), 0, "the holders lived");
        assert_eq!(shared.word.load(Acquire) & OwnerId::MASK, 0);
    });
}
