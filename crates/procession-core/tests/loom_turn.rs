//! Turns under every interleaving that loom finds with few preemptions.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, owner, together};
use procession_core::turn::{Awaited, Turn};
use procession_core::waiting::Waiting;
use procession_shm::layout::TurnLine;
use procession_sys::clock::Deadline;

struct Shared {
    line: TurnLine,
    /// Bytes of the stream: only whose turn it is moves them.
    stream: Guarded,
    live: Oracle,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            line: TurnLine::detached(),
            stream: Guarded::new(),
            live: Oracle::new(),
        })
    }

    fn take(&self, slot: usize) -> Turn<'_> {
        let turn = Turn::new(&self.line);
        let waiting = Waiting::until(Deadline::NEVER);
        if !turn.try_take(owner(slot)) {
            while turn.wait(owner(slot), &self.live, &waiting) == Awaited::Slice {
                loom::thread::yield_now();
            }
        }
        turn
    }

    fn send(&self, slot: usize) {
        let turn = self.take(slot);
        turn.begin();
        self.stream.change(|sent| sent + 1);
        turn.give_back();
    }
}

#[test]
fn two_never_send_at_once() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|it: &Shared| it.send(1), |it: &Shared| it.send(2)],
        );
        assert_eq!(shared.stream.read(), 2);
        assert!(!Turn::new(&shared.line).is_known_torn());
    });
}

/// One dies after `act`; two others come for the turn.
fn after_a_death(act: fn(&Shared), is_torn: bool) {
    loom::model(move || {
        let shared = Shared::new();
        assert!(Turn::new(&shared.line).try_take(owner(3)));
        act(&shared);
        shared.live.dies(owner(3));
        together(
            &shared,
            vec![|it: &Shared| it.send(1), |it: &Shared| it.send(2)],
        );
        let turn = Turn::new(&shared.line);
        assert_eq!(turn.is_known_torn(), is_torn);
        assert_eq!(turn.torn_by(), if is_torn { 103 } else { 0 });
        assert_eq!(shared.stream.read(), 2);
        assert!(turn.owner().is_none());
    });
}

#[test]
fn a_death_between_messages_passes_the_turn_on() {
    after_a_death(|_| (), false);
}

#[test]
fn a_death_within_a_message_is_seen_by_who_comes_next() {
    after_a_death(|shared| Turn::new(&shared.line).begin(), true);
}

#[test]
fn who_takes_the_turn_of_the_dead_knows_that_it_is_torn() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(Turn::new(&shared.line).try_take(owner(3)));
        Turn::new(&shared.line).begin();
        shared.live.dies(owner(3));
        let come = |it: &Shared| {
            // Another looks, and perhaps settles it, while we come.
            let turn = it.take(1);
            assert!(turn.is_known_torn());
            turn.give_back();
        };
        let look = |it: &Shared| assert!(Turn::new(&it.line).is_torn(&it.live));
        together(&shared, vec![come, look]);
    });
}
