//! The wake word under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Oracle, owner, together};
use procession_core::eventcount;
use procession_sys::clock::Deadline;
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::Relaxed;

struct Shared {
    wake: AtomicU32,
    /// What is waited for. Relaxed throughout: the wake word alone must not lose a change.
    tokens: AtomicU32,
    live: Oracle,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            wake: AtomicU32::new(0),
            tokens: AtomicU32::new(0),
            live: Oracle::new(),
        })
    }

    fn try_take(&self) -> bool {
        let one_less = |tokens: u32| tokens.checked_sub(1);
        self.tokens.fetch_update(Relaxed, Relaxed, one_less).is_ok()
    }

    fn take(&self) {
        loop {
            let token = eventcount::prepare(&self.wake);
            if self.try_take() {
                return;
            }
            let _ = eventcount::sleep(&self.wake, token, Deadline::NEVER);
        }
    }

    fn give(&self) {
        self.tokens.fetch_add(1, Relaxed);
        eventcount::wake(&self.wake, 1);
    }
}

#[test]
fn a_sleeper_is_woken() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![Shared::take, Shared::give]);
        assert_eq!(shared.tokens.load(Relaxed), 0);
    });
}

#[test]
fn two_sleepers_are_woken_by_one_giver_each_time() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![Shared::take, Shared::take, |s| {
                s.give();
                s.give();
            }],
        );
    });
}

#[test]
fn of_two_givers_none_clears_the_bit_of_a_newcomer() {
    loom::model(|| {
        let shared = Shared::new();
        // Of a sleeper that is dead: the first giver finds nobody, and takes the bit away.
        let _ = eventcount::prepare(&shared.wake);
        together(
            &shared,
            vec![Shared::give, Shared::give, |s| {
                s.take();
                s.take();
            }],
        );
    });
}

#[test]
fn a_waker_that_dies_before_it_wakes_costs_a_slice() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![Shared::take, Shared::take, |s| {
                s.give();
                s.tokens.fetch_add(1, Relaxed);
                s.live.dies(owner(2));
            }],
        );
    });
}

#[test]
fn a_woken_sleeper_that_dies_takes_nobody_with_it() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![
                Shared::take,
                |s| {
                    s.give();
                    s.give();
                },
                |s| {
                    let token = eventcount::prepare(&s.wake);
                    if s.tokens.load(Relaxed) == 0 {
                        let _ = eventcount::sleep(&s.wake, token, Deadline::NEVER);
                    }
                    s.live.dies(owner(2));
                },
            ],
        );
    });
}
