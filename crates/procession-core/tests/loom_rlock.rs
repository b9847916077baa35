//! The recursive lock under every interleaving that loom finds with few preemptions.
//!
//! After a fork the main threads of parent and child have the same `pthread_self`: process 0
//! and process 1 both have a thread TWIN here.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, acquire, party, together};
use procession_core::SharedLock;
use procession_core::lock::{Acquired, NotReleased, Party, flags};
use procession_shm::OwnerId;
use procession_shm::layout::LockLine;
use procession_sys::prim::Ordering::Relaxed;

const TWIN: u64 = 77;
const OTHER: u64 = 78;

struct Shared {
    line: LockLine,
    data: Guarded,
    live: Oracle,
}

impl Shared {
    fn new() -> Arc<Self> {
        let line = LockLine::detached();
        line.flags.store(flags::RECURSIVE, Relaxed);
        Arc::new(Self {
            line,
            data: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn lock(&self) -> SharedLock<'_> {
        SharedLock::new(&self.line)
    }

    fn change(&self, number: usize, thread: u64) {
        self.change_as(party(number, thread));
    }

    fn change_as(&self, me: Party) {
        if acquire(self.lock(), me, &self.live) != Acquired::Clean {
            self.data.change(|n| n + n % 2);
        }
        assert_eq!(self.line.depth.load(Relaxed), 1);
        assert_eq!(self.data.read() % 2, 0, "half a change was seen");
        self.data.change(|n| n + 1);
        self.data.change(|n| n + 1);
        assert_eq!(self.lock().release(me), Ok(()));
    }

    fn change_deeply(&self, number: usize, thread: u64) {
        let me = party(number, thread);
        let _ = acquire(self.lock(), me, &self.live);
        self.data.change(|n| n + 1);
        assert!(self.lock().try_acquire(me), "once more");
        assert_eq!(self.line.depth.load(Relaxed), 2);
        assert_eq!(self.lock().release(me), Ok(()));
        assert!(self.lock().is_mine(me), "one release of two");
        self.data.change(|n| n + 1);
        assert_eq!(self.lock().release(me), Ok(()));
    }

    fn die_within(&self, number: usize, thread: u64) {
        let me = party(number, thread);
        let _ = acquire(self.lock(), me, &self.live);
        self.data.change(|n| n + 1);
        self.live.dies(me.owner);
    }

    /// A thread that does not hold the lock may not release it.
    fn meddle(&self, number: usize, thread: u64) {
        let me = party(number, thread);
        assert_eq!(self.lock().release(me), Err(NotReleased::NotMine));
        assert!(!self.lock().is_mine(me));
    }
}

#[test]
fn a_deep_holder_excludes_others_until_its_last_release() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change_deeply(0, TWIN), |s| s.change(1, OTHER)],
        );
        assert_eq!(shared.data.read(), 4);
        assert!(shared.lock().owner().is_none());
    });
}

#[test]
fn threads_of_one_process_exclude_each_other() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change_deeply(0, TWIN), |s| s.change(0, OTHER)],
        );
        assert_eq!(shared.data.read(), 4);
    });
}

#[test]
fn a_thread_that_comes_again_is_not_the_holder_that_it_was() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    s.change(0, TWIN);
                    s.change(0, TWIN);
                },
                |s| s.change(0, OTHER),
            ],
        );
        assert_eq!(shared.data.read(), 6);
    });
}

#[test]
fn the_wrong_thread_or_process_may_not_release() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change(0, TWIN), |s| s.meddle(0, OTHER), |s| {
                s.meddle(1, TWIN);
            }],
        );
        assert_eq!(shared.data.read(), 2);
    });
}

#[test]
fn twins_in_two_processes_are_told_apart() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.change(0, TWIN), |s| s.change(1, TWIN), |s| {
                s.change(1, OTHER);
            }],
        );
        assert_eq!(shared.data.read(), 6);
    });
}

#[test]
fn a_dead_twin_is_not_mistaken_for_oneself() {
    loom::model(|| {
        let shared = Shared::new();
        let twin = party(0, TWIN);
        assert!(shared.lock().try_acquire(twin));
        shared.data.change(|n| n + 1);
        shared.live.dies(twin.owner);
        together(&shared, vec![|s| s.change(1, TWIN), |s| s.change(1, OTHER)]);
        assert_eq!(shared.data.read(), 6);
    });
}

#[test]
fn a_dead_twin_that_had_our_slot_is_not_mistaken_for_oneself() {
    loom::model(|| {
        let shared = Shared::new();
        let twin = party(1, TWIN);
        assert!(shared.lock().try_acquire(twin));
        shared.live.dies(twin.owner);
        together(
            &shared,
            vec![|s| s.change_as(successor(TWIN)), |s| {
                s.change_as(successor(OTHER));
            }],
        );
        assert_eq!(shared.data.read(), 4);
    });
}

#[test]
fn a_dead_deep_holder_is_inherited_at_depth_one() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| s.die_within(0, TWIN), |s| s.change(1, OTHER), |s| {
                s.change(2, TWIN);
            }],
        );
        is_inherited_and_free(&shared);
    });
}

/// A thread of the next process in slot 1.
fn successor(thread: u64) -> Party {
    Party {
        owner: OwnerId::new(1, 2),
        thread,
    }
}

fn is_inherited_and_free(shared: &Shared) {
    shared.change(3, OTHER);
    assert_eq!(shared.data.read(), 8);
    assert!(shared.lock().owner().is_none());
}

#[test]
fn a_lock_that_its_dead_holder_had_deeply_is_clean_again() {
    loom::model(|| {
        let shared = Shared::new();
        let dead = party(0, TWIN);
        assert!(shared.lock().try_acquire(dead) && shared.lock().try_acquire(dead));
        shared.live.dies(dead.owner);
        together(&shared, vec![|s| s.change(1, TWIN)]);
        assert!(shared.lock().owner().is_none());
        assert_eq!(shared.lock().depth_of(dead.owner), 0);
    });
}
