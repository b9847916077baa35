//! An object that is enclosed with a message, under every interleaving that loom finds with few preemptions: it is
//! there for whoever opens the message, and destroyed once, by the last who has it.
//!
//! The memory is a model: one object, one block with the list of it, one place in a queue. Entries, lists, the
//! lock and the rule of stale entries are the core's own.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Guarded, Oracle, owner, together};
use procession_core::carriers;
use procession_core::enclosures::{read_list, write_list};
use procession_core::entries::{self, Added, carrier_of, enter, of_carrier};
use procession_core::ilock::{self, Held};
use procession_shm::Liveness;
use procession_shm::span::{BlockState, Purpose};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU32, AtomicU64};

/// Where the block with the list lies.
const LIST: u64 = 64;
/// Where the object lies, and its number.
const OBJECT: (u64, u64) = (128, 7);

struct Shared {
    lock: AtomicU32,
    pins: AtomicU32,
    entries: [AtomicU64; 4],
    /// The object's block word.
    object: AtomicU64,
    /// What the object is: read by who has it, written by who destroys it.
    body: Guarded,
    destroyed: AtomicU32,
    /// The block word of the list.
    list: AtomicU64,
    enclosed: AtomicU64,
    words: [AtomicU64; 2],
    /// A message in a queue.
    message: AtomicU64,
    live: Oracle,
}

fn turn(word: &AtomicU64, from: BlockState, to: BlockState) -> bool {
    let (from, to) = (from.word(), to.word());
    word.compare_exchange(from, to, AcqRel, Acquire).is_ok()
}

impl Shared {
    /// The object is held by these.
    fn new(holders: &[usize]) -> Arc<Self> {
        let shared = Self {
            lock: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
            object: AtomicU64::new(BlockState::Owned(Purpose::Object).word()),
            body: Guarded::new(),
            destroyed: AtomicU32::new(0),
            list: AtomicU64::new(BlockState::Free.word()),
            enclosed: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            message: AtomicU64::new(0),
            live: Oracle::new(),
        };
        for holder in holders {
            assert_eq!(shared.enter(*holder), Added::Held);
        }
        Arc::new(shared)
    }

    fn lock(&self, me: usize) -> Held<'_> {
        ilock::acquire(&self.lock, owner(me), &self.live, || ())
    }

    fn is_current(&self) -> bool {
        self.object.load(Acquire) == BlockState::Owned(Purpose::Object).word()
    }

    fn enter(&self, me: usize) -> Added {
        enter(self.entries.iter(), u64::from(owner(me).bits()))
    }

    /// The rest of each removal, with the lock.
    fn retract_if_unheld(&self, me: usize) -> bool {
        let (from, to) = (
            BlockState::Owned(Purpose::Object),
            BlockState::Alloc(Purpose::Object, owner(me)),
        );
        entries::are_free(self.entries.iter(), &self.pins) && turn(&self.object, from, to)
    }

    fn destroy_if(&self, is_ours: bool) {
        if is_ours {
            self.body.change(|_| 99);
            self.destroyed.fetch_add(1, Relaxed);
        }
    }

    fn drop_handle(&self, me: usize) {
        let last = {
            let _held = self.lock(me);
            let bits = u64::from(owner(me).bits());
            let mut all = self.entries.iter();
            let entry = all.find(|entry| entry.load(Relaxed) == bits).unwrap();
            entry.store(0, Release);
            self.retract_if_unheld(me)
        };
        self.destroy_if(last);
    }

    fn prepare(&self, me: usize) {
        let mine = BlockState::Alloc(Purpose::Payload, owner(me));
        assert!(turn(&self.list, BlockState::Free, mine));
        write_list(&self.words, &self.enclosed, &[OBJECT]);
        let _held = self.lock(me);
        assert!(self.is_current(), "freed under its holder's feet");
        let entered = entries::enter_carrier(self.entries.iter(), &self.pins, of_carrier(LIST));
        assert_eq!(entered, Added::Held);
    }

    fn put(&self, me: usize) {
        self.message.store(LIST, Release);
        let (from, to) = (
            BlockState::Alloc(Purpose::Payload, owner(me)),
            BlockState::Owned(Purpose::Payload),
        );
        // Whoever gets the message may be ahead of the hand-over.
        let _ = turn(&self.list, from, to);
    }

    /// Takes the message, if it is there.
    fn get(&self, me: usize) -> bool {
        // The queue's lock has but one who takes.
        if self.message.load(Acquire) == 0 {
            return false;
        }
        self.message.store(0, Relaxed);
        loop {
            let state = BlockState::of(self.list.load(Acquire)).unwrap();
            if turn(
                &self.list,
                state,
                BlockState::Claim(Purpose::Payload, owner(me)),
            ) {
                return true;
            }
        }
    }

    /// Opens what the list names.
    fn open(&self, me: usize) {
        assert_eq!(read_list(&self.words), [OBJECT]);
        let _held = self.lock(me);
        assert!(self.is_current(), "gone, though it is enclosed");
        assert_eq!(self.enter(me), Added::Held);
    }

    fn use_it(&self) {
        assert_eq!(self.body.read(), 0, "used after its end");
    }

    /// The end of a list that is ours.
    fn free_list(&self, me: usize) {
        let state = BlockState::of(self.list.load(Acquire)).unwrap();
        assert!(turn(
            &self.list,
            state,
            BlockState::Alloc(Purpose::Payload, owner(me))
        ));
        let last = {
            let _held = self.lock(me);
            if self.is_current() {
                entries::strike_carrier(self.entries.iter(), of_carrier(LIST));
                self.retract_if_unheld(me)
            } else {
                false
            }
        };
        self.destroy_if(last);
        self.list.store(BlockState::Free.word(), Release);
    }

    /// Strikes what the dead had, as a sweep does: first the object's ledger, then the blocks.
    fn sweep(&self, me: usize) {
        let last = {
            let _held = self.lock(me);
            if !self.is_current() {
                return;
            }
            for entry in &self.entries {
                if carrier_of(entry).is_some() {
                    let state = BlockState::of(self.list.load(Acquire));
                    let is_dead = |owner| self.live.is_dead(owner);
                    let keeps = carriers::keeps(state, is_dead, || false);
                    if keeps.is_none() || read_list(&self.words) != [OBJECT] {
                        entry.store(0, Release);
                    }
                } else if self.live.is_dead(procession_core::ledger::owner_of(entry)) {
                    entry.store(0, Release);
                }
            }
            self.retract_if_unheld(me)
        };
        self.destroy_if(last);
    }

    /// What a receiver does, if there is a message.
    fn receive(&self, me: usize) {
        if self.get(me) {
            self.open(me);
            self.free_list(me);
            self.use_it();
            self.drop_handle(me);
        }
    }

    fn check_gone(&self) {
        assert_eq!(self.destroyed.load(Relaxed), 1, "once, and in the end");
        assert!(self.entries.iter().all(|entry| entry.load(Relaxed) == 0));
    }
}

#[test]
fn it_is_there_for_who_opens_the_message_and_goes_with_the_last() {
    loom::model(|| {
        let shared = Shared::new(&[0]);
        together(
            &shared,
            vec![
                |s| {
                    s.prepare(0);
                    s.put(0);
                    s.drop_handle(0);
                },
                |s| s.receive(1),
            ],
        );
        shared.receive(1);
        shared.check_gone();
        assert_eq!(shared.list.load(Relaxed), BlockState::Free.word());
    });
}

#[test]
fn a_sweep_strikes_nothing_of_the_living() {
    loom::model(|| {
        let shared = Shared::new(&[0]);
        shared.prepare(0);
        together(
            &shared,
            vec![
                |s| {
                    s.put(0);
                    s.drop_handle(0);
                },
                |s| s.receive(1),
                |s| s.sweep(2),
            ],
        );
        shared.receive(1);
        shared.check_gone();
    });
}

#[test]
fn what_the_dead_did_not_send_is_struck_and_the_object_goes_once() {
    loom::model(|| {
        let shared = Shared::new(&[0, 1]);
        together(
            &shared,
            vec![
                |s| {
                    s.prepare(0);
                    s.live.dies(owner(0));
                },
                |s| {
                    s.use_it();
                    s.drop_handle(1);
                },
                |s| s.sweep(2),
            ],
        );
        // The sweep that the death brings.
        shared.sweep(2);
        shared.check_gone();
    });
}

#[test]
fn what_the_dead_had_received_is_struck() {
    loom::model(|| {
        let shared = Shared::new(&[0]);
        shared.prepare(0);
        together(
            &shared,
            vec![
                |s| {
                    s.put(0);
                    s.drop_handle(0);
                },
                |s| {
                    if s.get(1) {
                        s.open(1);
                    }
                    s.live.dies(owner(1));
                },
                |s| s.sweep(2),
            ],
        );
        // A message that nobody took is dropped with its queue.
        if shared.get(2) {
            shared.free_list(2);
        }
        shared.sweep(2);
        shared.check_gone();
    });
}
