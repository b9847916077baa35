//! The keys of a dict that somebody has not seen yet.
//!
//! Keys that only their own code can compare are known to each process by a list of its own, which it
//! reads on before it looks one up. A new key is put in by who has seen all that there are.

use crate::bank::Bank;
use crate::blob::{self, View};
use crate::table::Table;
use procession_shm::Arena;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// Up to where somebody has seen the keys of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Newest {
    /// The bank's word.
    bank: u64,
    /// Its cells from here on were not seen.
    used: u64,
}

impl Newest {
    /// The table as it is, for who has its lock.
    #[must_use]
    pub fn of(bank: u64, used: u64) -> Self {
        Self { bank, used }
    }

    /// Looks at the cells of the bank with this word that were not seen; up to where all have been seen
    /// then, and whether these were all that there are.
    pub fn read_on(
        self,
        bank: u64,
        used: impl Fn() -> u64,
        reach: impl Fn() -> u64,
        look: impl FnMut(u64),
    ) -> (Self, bool) {
        let is_all = self.bank != bank;
        // Before the cells: what comes meanwhile may be looked at twice, and is never passed over.
        let seen = Self::of(bank, used());
        let from = if is_all { 0 } else { self.used };
        (from..reach()).for_each(look);
        (seen, is_all)
    }
}

/// A key that somebody had not seen.
#[derive(Debug)]
pub struct Newcomer {
    /// Its cell: of equal keys that were put in and taken out, the last has the highest.
    pub cell: u64,
    /// The key.
    pub key: Vec<u8>,
    /// What it is made from again.
    pub spelling: Vec<u8>,
}

/// Keys that somebody had not seen.
#[derive(Debug)]
pub struct Newcomers {
    /// In the order of their cells.
    pub keys: Vec<Newcomer>,
    /// Up to where all have been seen now.
    pub newest: Newest,
    /// There is another bank: these are all that there are, and what else was seen is gone.
    pub is_all: bool,
}

/// The key of a cell, and its spelling, if it begins so and is there.
fn newcomer(arena: &Arena, cell: &AtomicU64, first: u8) -> Option<(Vec<u8>, Vec<u8>)> {
    loop {
        let word = cell.load(Acquire);
        if word == 0 {
            return None;
        }
        let found = View::of(arena, cell, word).and_then(|view| {
            let (mut key, mut spelling) = (Vec::new(), Vec::new());
            if view.begins_with(first) {
                view.copy_key(&mut key);
                view.copy_spelling(&mut spelling);
            }
            (!key.is_empty()).then_some((key, spelling))
        });
        if blob::is_still(cell, word) {
            return found;
        }
    }
}

impl Table {
    pub(crate) fn newest(&self, bank: Option<&Bank>) -> Newest {
        Newest::of(self.0.line.bank.load(Relaxed), bank.map_or(0, Bank::used))
    }

    /// The keys with this first byte that were put in since `seen`.
    #[must_use]
    pub fn newcomers(&self, arena: &Arena, seen: Newest, first: u8) -> Newcomers {
        let found = self.0.read(arena, |bank, word| {
            let mut keys = Vec::new();
            let look = |cell| {
                let there = newcomer(arena, bank.cell(cell), first);
                keys.extend(there.map(|(key, spelling)| Newcomer {
                    cell,
                    key,
                    spelling,
                }));
            };
            let (newest, is_all) = seen.read_on(word, || bank.used(), || bank.reach(), look);
            Some(Newcomers {
                keys,
                newest,
                is_all,
            })
        });
        found.unwrap_or(Newcomers {
            keys: Vec::new(),
            newest: Newest::default(),
            is_all: true,
        })
    }
}
