//! Events under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, owner, together};
use procession_core::event;
use procession_core::lock::{Waited, Waiting};
use procession_sys::clock::Deadline;
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{AcqRel, Relaxed};

struct Shared {
    word: AtomicU32,
    /// Written before the event is set, read after it.
    data: Guarded,
    live: Oracle,
}

/// The epoch of an event that nobody has set yet.
const FIRST: u32 = 0;

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(0),
            data: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn wait(&self) {
        let waiting = Waiting::until(Deadline::NEVER);
        loop {
            match event::wait(&self.word, FIRST, &waiting) {
                None => break,
                Some(Waited::Slice) => loom::thread::yield_now(),
                Some(other) => unreachable!("{other:?}"),
            }
        }
        assert_eq!(self.data.read(), 1, "woken before what it waited for");
    }

    fn set(&self) {
        self.data.change(|n| n + 1);
        event::set(&self.word);
    }
}

#[test]
fn a_waiter_is_woken_and_sees_what_was_done_before() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![Shared::wait, Shared::set]);
    });
}

#[test]
fn two_waiters_are_woken() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![Shared::wait, Shared::wait, Shared::set]);
    });
}

#[test]
fn a_waiter_hears_of_a_set_that_was_cleared_again() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![Shared::wait, |s| {
                s.set();
                event::clear(&s.word);
            }],
        );
        assert!(!event::is_set(&shared.word));
    });
}

#[test]
fn of_two_setters_none_takes_the_wake_from_the_waiter() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                |s| {
                    let waiting = Waiting::until(Deadline::NEVER);
                    assert_eq!(event::wait(&s.word, FIRST, &waiting), None);
                },
                |s| event::set(&s.word),
                |s| event::set(&s.word),
            ],
        );
        assert_eq!(event::sets(&shared.word), 2);
    });
}

#[test]
fn a_setter_that_dies_before_it_wakes_costs_a_slice() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![Shared::wait, Shared::wait, |s| {
                s.data.change(|n| n + 1);
                // What `set` does up to its commit, and then no more.
                let set = |seen| Some((seen + 4) & !2 | 1);
                s.word.fetch_update(AcqRel, Relaxed, set).unwrap();
                s.live.dies(owner(2));
            }],
        );
    });
}

#[test]
fn a_waiter_that_dies_takes_nobody_with_it() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![Shared::wait, Shared::set, |s| {
                // Announces itself, and sleeps no more.
                let _ = s.word.compare_exchange(FIRST, FIRST | 2, Relaxed, Relaxed);
                s.live.dies(owner(2));
            }],
        );
    });
}
