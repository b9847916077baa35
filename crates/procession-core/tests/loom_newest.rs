//! Two who put equal keys in that only they can compare, and one who takes such a key out, under every
//! interleaving that loom finds with few preemptions: there is never more than one.
//!
//! The memory is a model: two banks of few cells, each with a word that says which key stands there. Reading
//! on, the comparison of what was seen and the commit of a cell are the core's own.
#![cfg(loom)]
#![allow(missing_docs)]

mod models;

use loom::sync::Arc;
use models::{Oracle, owner, together};
use procession_core::blob;
use procession_core::ilock::{self, Held};
use procession_core::newest::Newest;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU32, AtomicU64};
use std::sync::atomic::AtomicUsize as Met;

const CELLS: u64 = 3;
/// Keys that are equal have the same class, and words of their own.
const CLASS: u64 = 100;

struct Bank {
    used: AtomicU64,
    cells: [AtomicU64; CELLS as usize],
}

impl Bank {
    fn new() -> Self {
        Self {
            used: AtomicU64::new(0),
            cells: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn used(&self) -> u64 {
        self.used.load(Acquire)
    }

    fn words(&self) -> Vec<u64> {
        let cells = self.cells.iter().map(|cell| cell.load(Acquire));
        cells.filter(|word| *word != 0).collect()
    }
}

struct Shared {
    lock: AtomicU32,
    /// Which bank it is, from 1.
    bank: AtomicU64,
    banks: [Bank; 2],
    live: Oracle,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: AtomicU32::new(0),
            bank: AtomicU64::new(1),
            banks: [Bank::new(), Bank::new()],
            live: Oracle::new(),
        })
    }

    fn lock(&self, me: usize) -> Held<'_> {
        ilock::acquire(&self.lock, owner(me), &self.live, || ())
    }

    fn bank(&self, word: u64) -> &Bank {
        &self.banks[word as usize - 1]
    }

    /// Reads on, as readers do: what is there of the class, if it is, and up to where that is so.
    fn look(&self, seen: Newest, known: &mut Vec<u64>) -> Newest {
        loop {
            let word = self.bank.load(Acquire);
            let bank = self.bank(word);
            let mut met = Vec::new();
            let look = |cell: u64| met.push(bank.cells[cell as usize].load(Acquire));
            let reach = || CELLS.min(bank.used() + 1);
            let (newest, is_all) = seen.read_on(word, || bank.used(), reach, look);
            if blob::is_still(&self.bank, word) {
                if is_all {
                    known.clear();
                }
                known.extend(met.into_iter().filter(|word| *word != 0));
                return newest;
            }
        }
    }

    /// Puts a key in if nobody put one in since; true if that was so.
    fn put(&self, me: usize, word: u64, seen: Newest) -> bool {
        let _held = self.lock(me);
        let at = self.bank.load(Relaxed);
        let bank = self.bank(at);
        let used = bank.used();
        if seen != Newest::of(at, used) {
            return false;
        }
        blob::commit(&bank.cells[used as usize], word);
        bank.used.store(used + 1, Release);
        true
    }

    /// Puts one in unless there is one; whether there was.
    fn put_unless_there(&self, me: usize) -> bool {
        let (mut seen, mut known) = (Newest::default(), Vec::new());
        for number in 0..3 {
            seen = self.look(seen, &mut known);
            let bank = self.bank(self.bank.load(Acquire));
            let there = bank.words();
            if known
                .iter()
                .any(|word| word / CLASS == 1 && there.contains(word))
            {
                return true;
            }
            if self.put(me, CLASS + 10 * me as u64 + number, seen) {
                return false;
            }
        }
        panic!("there are two writers");
    }

    fn take_out(&self, me: usize) {
        let _held = self.lock(me);
        let bank = self.bank(self.bank.load(Relaxed));
        for cell in &bank.cells {
            if cell.load(Relaxed) / CLASS == 1 {
                blob::commit(cell, 0);
            }
        }
    }

    /// Fills the other bank with what is there.
    fn flip(&self, me: usize) {
        let _held = self.lock(me);
        let words = self.bank(1).words();
        let next = self.bank(2);
        for (cell, word) in next.cells.iter().zip(&words) {
            cell.store(*word, Relaxed);
        }
        next.used.store(words.len() as u64, Release);
        self.bank.store(2, Release);
    }

    fn equal_ones(&self) -> usize {
        let words = self.bank(self.bank.load(Relaxed)).words();
        words.iter().filter(|word| *word / CLASS == 1).count()
    }
}

static REFUSED: Met = Met::new(0);

fn put_one(shared: &Shared, me: usize) {
    REFUSED.fetch_add(usize::from(shared.put_unless_there(me)), Relaxed);
}

#[test]
fn of_two_equal_keys_one_is_put_in() {
    loom::model(|| {
        let shared = Shared::new();
        together(&shared, vec![|s| put_one(s, 0), |s| put_one(s, 1)]);
        assert_eq!(shared.equal_ones(), 1);
    });
    assert!(REFUSED.load(Relaxed) > 0, "nobody found the other's");
}

#[test]
fn a_key_that_is_taken_out_meanwhile_leaves_room_for_one() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(!shared.put_unless_there(2));
        together(
            &shared,
            vec![|s| put_one(s, 0), |s| {
                s.take_out(1);
                put_one(s, 1);
            }],
        );
        assert_eq!(shared.equal_ones(), 1);
    });
}

#[test]
fn another_bank_is_read_anew() {
    loom::model(|| {
        let shared = Shared::new();
        together(
            &shared,
            vec![|s| put_one(s, 0), |s| {
                s.flip(1);
                put_one(s, 1);
            }],
        );
        assert_eq!(shared.equal_ones(), 1);
    });
}
