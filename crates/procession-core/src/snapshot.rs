//! What is in a container at one instant, copied.
//!
//! A copy without the lock is of one instant when no change began meanwhile: one that had begun
//! before is one store, and was seen or not.

use crate::bank::Bank;
use crate::blob::{self, Named, View};
use crate::container::Container;
use procession_shm::Arena;
use procession_shm::member::Member;
use procession_sys::prim::Ordering::Acquire;

/// Which parts of the members a snapshot has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// What the keys are made from again.
    Keys,
    /// Values.
    Values,
    /// Keys and values, one after the other.
    Both,
}

/// Parts of all members at one instant.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where each part ends.
    pub ends: Vec<usize>,
    /// The members' words, in their order.
    pub words: Vec<u64>,
    /// The objects that they refer to, each with the place of its member in `words`.
    pub named: Vec<(usize, Named)>,
}

/// None when a member was changed under our eyes.
fn copy_all(arena: &Arena, bank: &Bank, what: What) -> Option<Snapshot> {
    let mut copied = Snapshot::default();
    for (index, word) in bank.words() {
        let cell = bank.cell(index);
        let view = View::of(arena, cell, word)?;
        if what != What::Values {
            view.copy_spelling(&mut copied.bytes);
            copied.ends.push(copied.bytes.len());
        }
        if what != What::Keys {
            view.copy_value(&mut copied.bytes);
            copied.ends.push(copied.bytes.len());
        }
        if what != What::Keys && view.lengths.handles != 0 {
            let member = copied.words.len();
            copied
                .named
                .extend(view.handles().map(|named| (member, named)));
        }
        copied.words.push(word);
        if !blob::is_still(cell, word) {
            return None;
        }
    }
    Some(copied)
}

impl Container {
    /// Every member's key or value or both, copied at one instant: for each a range of bytes.
    ///
    /// Tries without the lock first; a container that changes meanwhile is locked.
    pub fn snapshot(&self, member: Member, what: What) -> Snapshot {
        const TRIES: usize = 2;
        for _ in 0..TRIES {
            let before = self.changes();
            let found = self.read(member.arena, |bank, _| copy_all(member.arena, bank, what));
            let empty = self.line.bank.load(Acquire) == 0;
            if blob::is_still(&self.line.changes, before) && (found.is_some() || empty) {
                return found.unwrap_or_default();
            }
        }
        let _held = self.object.lock(member);
        let copied = self
            .bank(member.arena)
            .and_then(|(_, bank)| copy_all(member.arena, &bank, what));
        copied.unwrap_or_default()
    }
}
