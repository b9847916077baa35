//! The user's plain lock under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, acquire, owner, party, together};
use procession_core::SharedLock;
use procession_core::ilock::WAITERS;
use procession_core::lock::{Acquired, NotReleased, flags};
use procession_shm::OwnerId;
use procession_shm::layout::LockLine;
use procession_sys::clock::Deadline;
use procession_sys::futex;
use procession_sys::prim::Ordering::Relaxed;

struct Shared {
    line: LockLine,
    data: Guarded,
    /// Who was told of a death; guarded by the lock.
    inherited: Guarded,
    live: Oracle,
}

impl Shared {
    fn new(flags: u32) -> Arc<Self> {
        let line = LockLine::detached();
        line.flags.store(flags, Relaxed);
        Arc::new(Self {
            line,
            data: Guarded::new(),
            inherited: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn lock(&self) -> SharedLock<'_> {
        SharedLock::new(&self.line)
    }

    /// Acquires, changes, releases. Whoever inherits finishes what the dead began.
    fn change(&self, number: usize) {
        let me = party(number, 10 + number as u64);
        if let Acquired::Inherited(pid) = acquire(self.lock(), me, &self.live) {
            assert!(pid >= 100, "the dead owner's pid was known");
            self.inherited.change(|n| n + 1);
            self.data.change(|n| n + n % 2);
        }
        assert_eq!(self.data.read() % 2, 0, "half a change was seen");
        self.data.change(|n| n + 1);
        self.data.change(|n| n + 1);
        assert_eq!(self.lock().release(me), Ok(()));
    }

    fn die_within(&self, number: usize) {
        let me = party(number, 10 + number as u64);
        if acquire(self.lock(), me, &self.live) != Acquired::Clean {
            self.data.change(|n| n + n % 2);
        }
        self.data.change(|n| n + 1);
        self.live.dies(me.owner);
    }

    /// Dies as soon as it has the lock, whoever had it before.
    fn die_holding(&self, number: usize) {
        let me = party(number, 10 + number as u64);
        let _ = acquire(self.lock(), me, &self.live);
        self.live.dies(me.owner);
    }
}

fn finally(shared: &Shared, expected: u32) -> u32 {
    shared.change(3);
    assert_eq!(shared.data.read(), expected + 2);
    shared.inherited.read()
}

#[test]
fn two_exclude_each_other_and_nobody_sleeps_for_ever() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(&shared, vec![|s| s.change(0), |s| s.change(1)]);
        assert_eq!(finally(&shared, 4), 0);
        assert_eq!(shared.line.acquired.load(Relaxed), 3);
    });
}

#[test]
fn three_exclude_each_other_and_nobody_sleeps_for_ever() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![|s| s.change(0), |s| s.change(1), |s| s.change(2)],
        );
        assert_eq!(finally(&shared, 6), 0);
    });
}

#[test]
fn a_dead_holder_is_inherited_once() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![|s| s.die_within(0), |s| s.change(1), |s| s.change(2)],
        );
        assert_eq!(finally(&shared, 6), 1);
        assert_eq!(shared.line.recovered.load(Relaxed), 1);
        assert_eq!(shared.line.last_dead_pid.load(Relaxed), 100);
    });
}

#[test]
fn an_heir_that_dies_is_inherited_from_as_well() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![|s| s.die_within(0), |s| s.die_holding(1), |s| s.change(2)],
        );
        assert!(finally(&shared, 4) >= 1);
    });
}

#[test]
fn the_policy_to_raise_poisons_before_the_heir_goes_on() {
    loom::model(|| {
        let shared = Shared::new(flags::RAISE);
        together(
            &shared,
            vec![|s| s.die_within(0), |s| {
                let me = party(1, 11);
                let how = acquire(s.lock(), me, &s.live);
                assert_eq!(s.lock().is_poisoned(), how != Acquired::Clean);
                assert_eq!(s.lock().release(me), Ok(()));
            }],
        );
    });
}

#[test]
fn a_woken_waiter_that_dies_takes_nobody_with_it() {
    loom::model(|| {
        let shared = Shared::new(0);
        together(
            &shared,
            vec![|s| s.change(0), |s| s.change(1), |s| {
                // What `wait` does up to its sleep, and then no more.
                let seen = s.line.word.load(Relaxed);
                let asleep = seen | WAITERS;
                if seen != 0
                    && s.line
                        .word
                        .compare_exchange(seen, asleep, Relaxed, Relaxed)
                        .is_ok()
                {
                    let _ = futex::wait(&s.line.word, asleep, Deadline::NEVER);
                }
                s.live.dies(owner(2));
            }],
        );
        assert_eq!(finally(&shared, 4), 0);
    });
}

#[test]
fn a_stranger_may_release_and_then_it_is_a_semaphore() {
    loom::model(|| {
        let shared = Shared::new(0);
        // Process 0 acquires twice; what it writes first is handed over by process 1's release.
        together(
            &shared,
            vec![
                |s| {
                    let me = party(0, 10);
                    let _ = acquire(s.lock(), me, &s.live);
                    let _ = acquire(s.lock(), me, &s.live);
                    assert_eq!(s.data.read(), 7, "the release carries what was written");
                },
                |s| {
                    while s.lock().owner().is_none() {
                        loom::thread::yield_now();
                    }
                    s.data.change(|_| 7);
                    assert_eq!(s.lock().release(party(1, 11)), Ok(()));
                },
            ],
        );
        assert!(!shared.lock().recovers());
        shared.live.dies(owner(0));
        assert!(
            shared
                .lock()
                .take_over(party(3, 13), &shared.live)
                .is_none()
        );
    });
}

#[test]
fn of_two_releases_at_once_one_is_too_many() {
    loom::model(|| {
        let shared = Shared::new(0);
        assert!(shared.lock().try_acquire(party(3, 13)));
        together(
            &shared,
            vec![
                |s| match s.lock().release(party(0, 10)) {
                    Ok(()) => s.inherited.change(|n| n + 1),
                    Err(why) => assert_eq!(why, NotReleased::Free),
                },
                |s| {
                    if s.lock().release(party(3, 14)).is_ok() {
                        s.inherited.change(|n| n + 1);
                    }
                },
            ],
        );
        assert_eq!(shared.inherited.read(), 1);
    });
}

#[test]
fn a_detached_lock_keeps_its_waiter_waiting_until_somebody_releases_it() {
    loom::model(|| {
        let shared = Shared::new(0);
        assert!(shared.lock().try_acquire(party(0, 10)));
        together(
            &shared,
            vec![|s| s.change(1), |s| {
                assert!(s.lock().detach(owner(0)));
                s.live.dies(owner(0));
                assert!(s.lock().take_over(party(2, 12), &s.live).is_none());
                assert_eq!(s.lock().owner(), OwnerId::DETACHED);
                s.lock().release(party(2, 12)).unwrap();
            }],
        );
        assert_eq!(shared.data.read(), 2);
        assert_eq!(shared.inherited.read(), 0, "a clean exit is no death");
    });
}

#[test]
fn who_waits_for_a_detached_lock_is_woken_by_its_release() {
    loom::model(|| {
        let shared = Shared::new(0);
        assert!(shared.lock().try_acquire(party(0, 10)));
        // Nobody dies here, so a lost wake-up is for ever.
        together(
            &shared,
            vec![|s| s.change(1), |s| {
                assert!(s.lock().detach(owner(0)));
                s.lock().release(party(2, 12)).unwrap();
            }],
        );
        assert_eq!(shared.data.read(), 2);
    });
}

#[test]
fn a_buried_holder_is_inherited_from_once_all_the_same() {
    loom::model(|| {
        let shared = Shared::new(0);
        assert!(shared.lock().try_acquire(party(0, 10)));
        shared.data.change(|n| n + 1);
        shared.live.dies(owner(0));
        together(
            &shared,
            vec![|s| s.change(1), |s| s.change(2), |s| {
                let _ = s.lock().bury(owner(0), 100);
            }],
        );
        assert_eq!(finally(&shared, 6), 1);
        assert_eq!(shared.line.last_dead_pid.load(Relaxed), 100);
    });
}

#[test]
fn an_ignored_death_keeps_the_lock() {
    loom::model(|| {
        let shared = Shared::new(flags::IGNORE);
        assert!(shared.lock().try_acquire(party(0, 10)));
        shared.live.dies(owner(0));
        together(
            &shared,
            vec![
                |s| {
                    let _ = s.lock().bury(owner(0), 100);
                },
                |s| assert!(s.lock().take_over(party(1, 11), &s.live).is_none()),
            ],
        );
        assert_eq!(shared.lock().owner(), OwnerId::DETACHED);
    });
}
