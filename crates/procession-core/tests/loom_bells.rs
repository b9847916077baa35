//! Doorbells under every interleaving that loom finds with few preemptions: who watches is rung for
//! every message that it has not seen.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{owner, together};
use procession_core::bells::{Bells, Ringing};
use procession_core::eventcount;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{AtomicU32, AtomicU64, fence};

struct Shared {
    armed: [AtomicU64; 2],
    wake: AtomicU32,
    /// Messages put, and taken. Relaxed: the protocol alone must not lose one.
    put: AtomicU32,
    taken: AtomicU32,
    /// Bytes in the watcher's socket.
    rung: AtomicU32,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            armed: [AtomicU64::new(0), AtomicU64::new(0)],
            wake: AtomicU32::new(0),
            put: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            rung: AtomicU32::new(0),
        })
    }

    fn bells(&self) -> Bells<'_> {
        Bells {
            armed: &self.armed,
            wake: &self.wake,
        }
    }

    fn has_item(&self) -> bool {
        self.put.load(Relaxed) != self.taken.load(Relaxed)
    }

    /// A put of one message, by who is killed before it has rung, or has said so.
    fn put_until(&self, rings: bool, tells: bool) {
        self.put.fetch_add(1, Relaxed);
        fence(SeqCst);
        if eventcount::has_sleepers(&self.wake) {
            let bells = self.bells().wake(1);
            if rings && !bells.is_empty() {
                self.ring(&bells);
            }
            if tells {
                self.bells().have_rung(&bells);
            }
        }
    }

    fn ring(&self, bells: &[Ringing]) {
        assert!(matches!(bells, [bell] if bell.owner() == owner(0)));
        self.rung.fetch_add(1, Release);
    }

    fn put(&self) {
        self.put_until(true, true);
    }

    /// As a queue's face does: takes what is there, reads the socket, arms again, looks once more.
    fn watch(&self) {
        while self.has_item() {
            self.taken.fetch_add(1, Relaxed);
        }
        if self.rung.swap(0, Acquire) != 0 {
            self.arm();
        }
    }

    fn arm(&self) {
        assert!(self.bells().arm(owner(0)));
        if self.has_item() {
            self.rung.fetch_add(1, Release);
        }
    }

    /// Killed before it has rung.
    fn put_and_be_killed(&self) {
        self.put_until(false, false);
    }

    /// What a sweep does after a death.
    fn ring_overdue(&self) {
        if self.has_item() {
            let bells = self.bells().to_ring();
            if !bells.is_empty() {
                self.ring(&bells);
                self.bells().have_rung(&bells);
            }
        }
    }

    fn must_be_told(&self) {
        let is_told = self.rung.load(Relaxed) != 0;
        assert!(
            is_told || !self.has_item(),
            "a message that nobody rang for"
        );
    }
}

fn explore(armed_before: bool, acts: &[fn(&Shared)]) {
    let acts = acts.to_vec();
    loom::model(move || {
        let shared = Shared::new();
        if armed_before {
            shared.arm();
        }
        together(&shared, acts.clone());
        shared.must_be_told();
    });
}

#[test]
fn arming_while_something_is_put() {
    explore(false, &[Shared::arm, Shared::put]);
    explore(false, &[Shared::arm, Shared::put, Shared::put]);
}

#[test]
fn watching_while_something_is_put() {
    explore(true, &[Shared::watch, Shared::put, Shared::put]);
}

#[test]
fn the_next_producer_makes_up_for_one_that_was_killed() {
    let killed_before_the_ring: fn(&Shared) = |shared| shared.put_until(false, false);
    let killed_after_the_ring: fn(&Shared) = |shared| shared.put_until(true, false);
    for victim in [killed_before_the_ring, killed_after_the_ring] {
        loom::model(move || {
            let shared = Shared::new();
            shared.arm();
            together(&shared, vec![victim, Shared::watch]);
            shared.put();
            shared.must_be_told();
        });
    }
}

#[test]
fn a_slow_ringer_takes_nothing_from_who_was_armed_again() {
    let makes_up: [fn(&Shared); 2] = [Shared::put, Shared::ring_overdue];
    for make_up in makes_up {
        loom::model(move || {
            let shared = Shared::new();
            shared.arm();
            together(
                &shared,
                vec![Shared::put, Shared::watch, Shared::put_and_be_killed],
            );
            make_up(&shared);
            shared.must_be_told();
        });
    }
}
