//! A desk's two sides under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use procession_core::claims;
use procession_core::desk::{self, Watch, Wish};
use procession_core::eventcount;
use procession_core::lock::{Waited, Waiting};
use procession_core::ring::Ring;
use procession_sys::clock::Deadline;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::prim::{AtomicU32, AtomicU64};
use std::sync::atomic::AtomicUsize as Met;

struct Shared {
    tail: AtomicU64,
    head: AtomicU64,
    claims: AtomicU64,
    watch: AtomicU32,
    /// Where whoever waits for the ring sleeps.
    heard: AtomicU32,
    /// How often the bell was rung.
    rings: AtomicU32,
    /// What the ring's bytes are: loom reports a read beside a write.
    cells: [UnsafeCell<u32>; 2],
}

// SAFETY: loom checks each access.
unsafe impl Sync for Shared {}
// SAFETY: numbers may move.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            watch: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            rings: AtomicU32::new(0),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring {
            tail: &self.tail,
            head: &self.head,
            size: 2,
        }
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            watch: &self.watch,
            heard: &self.heard,
            claims: &self.claims,
            results: self.ring(),
        }
    }

    /// A worker that runs this task and puts its result down.
    fn answer(&self, task: u32) {
        assert!(claims::begin(&self.claims, task));
        assert!(self.try_put(task));
        if self.wish().must_ring() {
            self.rings.fetch_add(1, SeqCst);
        }
    }

    fn try_put(&self, value: u32) -> bool {
        let ring = self.ring();
        if ring.room() == 0 {
            return false;
        }
        // SAFETY: loom checks that nobody else is there.
        self.cells[ring.put_at() as usize % 2].with_mut(|cell| unsafe { *cell = value });
        ring.commit(1);
        true
    }

    fn try_take(&self) -> Option<u32> {
        let ring = self.ring();
        if ring.filled() == 0 {
            return None;
        }
        // SAFETY: loom checks that nobody writes.
        let value = self.cells[ring.take_at() as usize % 2].with(|cell| unsafe { *cell });
        ring.free(1);
        Some(value)
    }
}

#[test]
fn what_was_put_is_taken_in_order_and_whole() {
    // In all executions together: how often something was taken before its writer was done, and room used again.
    static EARLY: Met = Met::new(0);
    static AGAIN: Met = Met::new(0);
    loom::model(|| {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || (1..=3).take_while(|value| shared.try_put(*value)).count())
        };
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.extend(shared.try_take());
        }
        EARLY.fetch_add(taken.len(), Relaxed);
        let put = writer.join().unwrap();
        AGAIN.fetch_add(usize::from(put == 3), Relaxed);
        while let Some(value) = shared.try_take() {
            taken.push(value);
        }
        assert_eq!(taken, (1..=put as u32).collect::<Vec<_>>());
    });
    assert!(EARLY.load(Relaxed) > 0, "nobody took while the other put");
    assert!(AGAIN.load(Relaxed) > 0, "no room was used again");
}

#[test]
fn a_task_is_begun_or_given_to_somebody_else() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(claims::grant(&shared.claims, 0, 3));
        let worker = {
            let shared = shared.clone();
            thread::spawn(move || {
                (0..3)
                    .take_while(|task| claims::begin(&shared.claims, *task))
                    .count() as u32
            })
        };
        let (before, limit) = claims::revoke(&shared.claims, 2);
        // Numbers of tasks that were revoked are passed over, and those after them are begun.
        let granted = claims::grant(&shared.claims, 3, 1);
        let begun = worker.join().unwrap();
        assert_eq!(before, 3);
        assert_eq!(begun, limit, "begun and taken back, or neither");
        if granted {
            let next = if limit == 3 { begun } else { 3 };
            assert!(limit < 3 || begun >= 3 || claims::begin(&shared.claims, next));
        }
        assert!(shared.claims.load(Relaxed) >> 32 >= u64::from(begun));
    });
}

/// A worker answers two tasks while its parent goes to sleep: whether that slept, and how often the bell was rung.
fn two_answers_beside(what: Watch, check: fn(&Shared, bool, u32)) {
    loom::model(move || {
        let shared = Shared::new();
        assert!(claims::grant(&shared.claims, 0, 2));
        let worker = {
            let shared = shared.clone();
            thread::spawn(move || (0..2).for_each(|task| shared.answer(task)))
        };
        let sleeps = shared.wish().make(what);
        let seen = shared.ring().filled();
        assert!(sleeps || seen > 0, "awake for nothing");
        worker.join().unwrap();
        check(&shared, sleeps, shared.rings.load(SeqCst));
    });
}

#[test]
fn a_parent_that_sleeps_is_rung_for_once() {
    two_answers_beside(Watch::Any, |_, sleeps, rings| {
        assert!(rings <= 1, "rung twice for one wish");
        assert!(!sleeps || rings == 1, "it sleeps for ever");
    });
}

#[test]
fn a_parent_that_sleeps_until_its_worker_is_idle_is_rung_for_then() {
    two_answers_beside(Watch::Idle, |shared, sleeps, rings| {
        assert!(rings <= 1, "rung twice for one wish");
        assert!(!sleeps || rings == 1, "it sleeps for ever");
        assert_eq!(shared.ring().filled(), 2);
    });
    loom::model(|| {
        let shared = Shared::new();
        assert!(claims::grant(&shared.claims, 0, 2) && shared.wish().make(Watch::Idle));
        shared.answer(0);
        assert_eq!(shared.rings.load(SeqCst), 0, "rung while there is work");
        shared.answer(1);
        assert_eq!(shared.rings.load(SeqCst), 1);
    });
}

#[test]
fn a_parent_that_is_awake_is_left_alone() {
    two_answers_beside(Watch::Awake, |_, _, rings| assert_eq!(rings, 0));
}

#[test]
fn a_caller_is_woken_where_it_sleeps_and_by_no_bell() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(claims::grant(&shared.claims, 0, 1));
        let worker = {
            let shared = shared.clone();
            thread::spawn(move || shared.answer(0))
        };
        let _ = shared.wish().make(Watch::Caller);
        loop {
            let token = eventcount::prepare(&shared.heard);
            if shared.ring().filled() > 0 {
                break;
            }
            // Not woken, it sleeps for ever: loom says so.
            let _ = eventcount::sleep(&shared.heard, token, Deadline::NEVER);
        }
        assert_eq!(shared.try_take(), Some(0));
        worker.join().unwrap();
        assert_eq!(shared.rings.load(SeqCst), 0);
    });
}

#[test]
fn a_worker_that_sleeps_without_a_task_is_woken() {
    loom::model(|| {
        let shared = Shared::new();
        let parent = {
            let shared = shared.clone();
            thread::spawn(move || {
                assert!(shared.try_put(7));
                eventcount::wake(&shared.heard, 1);
            })
        };
        let waiting = Waiting::until(Deadline::NEVER);
        let is_there = || shared.ring().filled() > 0;
        while let Some(waited) = desk::sleep(&shared.heard, is_there, &waiting) {
            assert!(matches!(waited, Waited::Slice));
            thread::yield_now();
        }
        assert_eq!(shared.try_take(), Some(7));
        parent.join().unwrap();
    });
}

#[test]
fn what_was_taken_back_is_not_begun_and_its_number_not_given_again() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        assert!(claims::grant(&word, 0, 2));
        let worker = {
            let word = word.clone();
            thread::spawn(move || (0..2).filter(|task| claims::begin(&word, *task)).count() as u32)
        };
        let (before, limit) = claims::revoke(&word, 9);
        let begun_by_then = claims::look(&word).begun;
        let granted = claims::grant(&word, 2, 1);
        let begun = worker.join().unwrap();
        assert_eq!(before, 2);
        assert!(
            begun_by_then <= limit,
            "what has been begun is never taken back"
        );
        assert_eq!(begun, limit, "each task is begun or taken back");
        assert!(granted, "nothing was left to be come by");
        assert!(claims::begin(&word, 2) && !claims::begin(&word, 3));
    });
}
