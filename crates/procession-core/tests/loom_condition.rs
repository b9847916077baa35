//! Notifications into a held lock under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, acquire, owner, party, together};
use procession_core::SharedLock;
use procession_core::lock::{Acquired, Waited, Waiting};
use procession_core::waiters::{self, NOTIFIED, WAITING};
use procession_shm::layout::{LockLine, Waiter};
use procession_sys::clock::Deadline;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU32, AtomicU64};

struct Shared {
    line: LockLine,
    /// Two who wait, processes 0 and 1.
    entries: [Waiter; 2],
    /// Changed by all with the lock held.
    data: Guarded,
    live: Oracle,
}

const NOTIFIER: usize = 2;

impl Shared {
    fn new() -> Arc<Self> {
        let entry = |number| Waiter {
            word: AtomicU32::new(WAITING),
            owner: AtomicU32::new(owner(number).bits()),
            ticket: AtomicU64::new(number as u64),
        };
        Arc::new(Self {
            line: LockLine::detached(),
            entries: [entry(0), entry(1)],
            data: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn lock(&self) -> SharedLock<'_> {
        SharedLock::new(&self.line)
    }

    fn change(&self) {
        self.data.change(|n| n + 1);
    }

    /// What `wait` does between its two steps with the lock; whether that took a sleep.
    fn sleep(&self, number: usize) -> bool {
        let entry = &self.entries[number];
        let waiting = Waiting::until(Deadline::NEVER);
        let spun = !waiters::is_waiting(entry);
        while !spun {
            match waiters::wait(entry, &waiting, || ()) {
                None => break,
                Some(Waited::Slice) => loom::thread::yield_now(),
                Some(other) => unreachable!("{other:?}"),
            }
        }
        !spun
    }

    fn wait(&self, number: usize) -> Acquired {
        let me = party(number, 10 + number as u64);
        let slept = self.sleep(number);
        let taken = slept && self.lock().try_acquire_woken(me);
        let how = if taken {
            Acquired::Clean
        } else if slept {
            let waiting = Waiting::until(Deadline::NEVER);
            loop {
                match self.lock().wait(me, &self.live, &waiting) {
                    Waited::Acquired(how) => break how,
                    _ => loom::thread::yield_now(),
                }
            }
        } else {
            acquire(self.lock(), me, &self.live)
        };
        self.change();
        assert_eq!(self.lock().release(me), Ok(()));
        how
    }

    fn rouse(&self, number: usize) {
        let entry = &self.entries[number];
        if waiters::mark(entry, NOTIFIED) {
            let moved = self.lock().requeue(owner(NOTIFIER), &entry.word, NOTIFIED);
            moved.expect("it holds the lock");
        }
    }

    fn notify(&self, numbers: &[usize]) {
        let me = party(NOTIFIER, 12);
        let _ = acquire(self.lock(), me, &self.live);
        self.change();
        for number in numbers {
            self.rouse(*number);
        }
        assert_eq!(self.lock().release(me), Ok(()));
    }
}

#[test]
fn who_is_notified_gets_the_lock() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.wait(0);
                },
                |s| s.notify(&[0]),
            ],
        );
        assert_eq!(shared.data.read(), 2);
    });
}

#[test]
fn two_who_are_notified_both_get_the_lock() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.wait(0);
                },
                |s| {
                    let _ = s.wait(1);
                },
                |s| s.notify(&[0, 1]),
            ],
        );
        assert_eq!(shared.data.read(), 3);
    });
}

#[test]
fn a_rival_for_the_lock_takes_nobodys_wake() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.wait(0);
                },
                |s| {
                    let me = party(3, 13);
                    let _ = acquire(s.lock(), me, &s.live);
                    s.change();
                    assert_eq!(s.lock().release(me), Ok(()));
                },
                |s| s.notify(&[0]),
            ],
        );
        assert_eq!(shared.data.read(), 3);
    });
}

#[test]
fn a_notifier_whose_lock_another_releases_leaves_nobody_asleep() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.lock().try_acquire(party(NOTIFIER, 12)));
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.sleep(0);
                },
                |s| {
                    if waiters::mark(&s.entries[0], NOTIFIED) {
                        let word = &s.entries[0].word;
                        let moved = s.lock().requeue(owner(NOTIFIER), word, NOTIFIED);
                        if moved.is_none() {
                            waiters::wake(&s.entries[0]);
                        }
                    }
                },
                |s| assert_eq!(s.lock().release(party(3, 13)), Ok(())),
            ],
        );
        assert!(shared.lock().try_acquire(party(3, 13)), "it is free");
    });
}

#[test]
fn a_notifier_that_dies_before_the_move_costs_a_slice() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.wait(0);
                },
                |s| {
                    let _ = acquire(s.lock(), party(NOTIFIER, 12), &s.live);
                    let _ = waiters::mark(&s.entries[0], NOTIFIED);
                    s.live.dies(owner(NOTIFIER));
                },
            ],
        );
        assert_eq!(shared.line.recovered.load(Relaxed), 1);
    });
}

#[test]
fn a_notifier_that_dies_after_the_move_is_inherited_from() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.wait(0);
                },
                |s| {
                    let _ = s.wait(1);
                },
                |s| {
                    let _ = acquire(s.lock(), party(NOTIFIER, 12), &s.live);
                    s.rouse(0);
                    s.rouse(1);
                    s.live.dies(owner(NOTIFIER));
                },
            ],
        );
        assert_eq!(shared.data.read(), 2);
        assert_eq!(shared.line.recovered.load(Relaxed), 1);
    });
}

#[test]
fn a_waiter_that_dies_of_its_wake_takes_nobody_with_it() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.sleep(0);
                    s.live.dies(owner(0));
                },
                |s| {
                    let _ = s.wait(1);
                },
                |s| s.notify(&[0, 1]),
            ],
        );
        assert_eq!(shared.data.read(), 2);
    });
}
