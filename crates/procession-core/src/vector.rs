//! The list: a vector of words. Read without a lock, written under one.
//!
//! Setting an item is one store of its word, appending and popping one of the length. Everything
//! else copies the words into a new bank: inserting costs eight bytes for each item that there is.

use crate::bank::Bank;
use crate::blob::{self, Blob, View};
use crate::container::{Container, Dropped, Locked, Refused, Writer, change};
use crate::table::{Copied, Expect, Place};
use procession_shm::Arena;
use procession_shm::block::Block;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct Vector(pub Container);

/// What a list becomes: some of its present items, and new ones, in order.
#[derive(Debug)]
pub enum Item {
    /// The item at this place now.
    Old(u64),
    /// A new one: this of the blobs that are given.
    New(usize),
}

/// What came of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Edited {
    /// It was made.
    Done,
    /// There is no such item.
    Missing,
    /// The list is not what it was expected to be.
    Unexpected,
}

impl Vector {
    /// How many items there are.
    #[must_use]
    pub fn length(&self, arena: &Arena) -> u64 {
        self.0.read(arena, |bank, _| Some(bank.used())).unwrap_or(0)
    }

    /// Copies an item to the end of `into`, and says where it was. Negative places count from
    /// the end. Waits for nobody.
    #[must_use]
    pub fn get(&self, arena: &Arena, place: i64, into: &mut Copied) -> Option<Place> {
        let start = into.bytes.len();
        self.0.read(arena, |bank, bank_word| {
            loop {
                let index = index_of(place, bank.used())?;
                let cell = bank.cell(index);
                let word = cell.load(Acquire);
                // Popped since we looked at the length, or not a bank any more.
                if word == 0 {
                    if blob::is_still(&self.0.line.bank, bank_word) {
                        continue;
                    }
                    return None;
                }
                if let Some(view) = View::of(arena, cell, word) {
                    into.take(&view, start);
                }
                if blob::is_still(cell, word) {
                    return Some(Place { cell: index, word });
                }
            }
        })
    }

    /// Puts a blob in the place of an item. Unless it is Done the blob stays the caller's.
    pub fn set(
        &self,
        writer: Writer,
        place: i64,
        blob: &Blob,
        expect: Expect,
    ) -> Result<Edited, Refused> {
        let mut dropped = Dropped::default();
        let edited = {
            let locked = self.0.lock(writer)?;
            let found = locked
                .bank()
                .and_then(|bank| Some((bank, index_of(place, bank.used())?)));
            match found {
                None => Edited::Missing,
                Some((bank, index)) if expect.allows(bank.cell(index).load(Relaxed)) => {
                    let _ = locked.put(&bank, index, None, blob, &mut dropped);
                    Edited::Done
                }
                Some(_) => Edited::Unexpected,
            }
        };
        dropped.free(writer.member);
        Ok(edited)
    }

    /// Puts blobs behind the last item, all at once. Refused, they stay the caller's.
    pub fn append(&self, writer: Writer, blobs: &[Blob]) -> Result<(), Refused> {
        let mut spare: Option<(Block, Bank)> = None;
        let mut dropped = Dropped::default();
        let more = blobs.len() as u64;
        let outcome = loop {
            let locked = match self.0.lock(writer) {
                Ok(locked) => locked,
                Err(excluded) => break Err(excluded.into()),
            };
            let bank = locked.bank();
            let used = bank.map_or(0, |bank| bank.used());
            if let Some(bank) = bank.filter(|bank| used + more <= bank.capacity()) {
                locked.append(&bank, used, blobs);
                break Ok(());
            }
            if let Some((block, fresh)) =
                spare.take_if(|(_, fresh)| used + more <= fresh.capacity())
            {
                let items: Vec<_> = (0..used).map(Item::Old).collect();
                locked.rebuild(bank.as_ref(), &block, &fresh, &items, &[], &mut dropped);
                locked.append(&fresh, used, blobs);
                break Ok(());
            }
            drop(locked);
            if let Some((block, _)) = spare.take() {
                writer.member.free(&block);
            }
            match self.0.make_bank(writer.member, used + more) {
                Ok(made) => spare = Some(made),
                Err(error) => break Err(error.into()),
            }
        };
        if let Some((block, _)) = spare {
            writer.member.free(&block);
        }
        dropped.free(writer.member);
        outcome
    }

    /// Takes the last item out, if it is this one.
    pub fn pop_last(&self, writer: Writer, word: u64) -> Result<Edited, Refused> {
        let mut dropped = Dropped::default();
        let edited = {
            let locked = self.0.lock(writer)?;
            match locked.bank().filter(|bank| bank.used() > 0) {
                None => Edited::Missing,
                Some(bank) if bank.cell(bank.used() - 1).load(Relaxed) == word => {
                    locked.pop(&bank, &mut dropped);
                    Edited::Done
                }
                Some(_) => Edited::Unexpected,
            }
        };
        dropped.free(writer.member);
        Ok(edited)
    }

    /// Makes the list what `plan` makes of the words of its items now, in one step. Unless it is Done
    /// the blobs stay the caller's.
    ///
    /// `plan` runs under the internal lock and may run again; None: the list is not as expected.
    pub fn edit(
        &self,
        writer: Writer,
        blobs: &[Blob],
        mut plan: impl FnMut(&[u64]) -> Option<Vec<Item>>,
    ) -> Result<Edited, Refused> {
        let mut spare: Option<(Block, Bank)> = None;
        let mut dropped = Dropped::default();
        let outcome = loop {
            let locked = match self.0.lock(writer) {
                Ok(locked) => locked,
                Err(excluded) => break Err(excluded.into()),
            };
            let bank = locked.bank();
            let words: Vec<u64> = bank
                .map(|bank| bank.words().map(|(_, word)| word).collect())
                .unwrap_or_default();
            let Some(items) = plan(&words) else {
                break Ok(Edited::Unexpected);
            };
            let length = items.len() as u64;
            if let Some((block, fresh)) = spare.take_if(|(_, fresh)| length <= fresh.capacity()) {
                locked.rebuild(bank.as_ref(), &block, &fresh, &items, blobs, &mut dropped);
                break Ok(Edited::Done);
            }
            drop(locked);
            if let Some((block, _)) = spare.take() {
                writer.member.free(&block);
            }
            match self.0.make_bank(writer.member, length) {
                Ok(made) => spare = Some(made),
                Err(error) => break Err(error.into()),
            }
        };
        if let Some((block, _)) = spare {
            writer.member.free(&block);
        }
        dropped.free(writer.member);
        outcome
    }
}

fn index_of(place: i64, length: u64) -> Option<u64> {
    let index = if place < 0 {
        place.checked_add_unsigned(length)?
    } else {
        place
    };
    u64::try_from(index).ok().filter(|index| *index < length)
}

impl Locked {
    fn append(&self, bank: &Bank, used: u64, blobs: &[Blob]) {
        let end = used + blobs.len() as u64;
        let tag = self.tag();
        self.begin(change::APPEND, used, end, 0);
        for (index, blob) in (used..).zip(blobs) {
            // One change makes them all: their places tell them apart.
            let word = blob.name(self.container.object.offset, tag);
            bank.cell(index).store(word, Release);
        }
        crash_point!("container.written");
        bank.set_used(end);
        crash_point!("container.committed");
        for blob in blobs {
            self.publish(blob);
        }
        self.set_length(end);
        self.end();
    }

    fn pop(&self, bank: &Bank, dropped: &mut Dropped) {
        let at = bank.used() - 1;
        let cell = bank.cell(at);
        let old = cell.load(Relaxed);
        let _ = self.tag();
        self.begin(change::POP, at, 0, old);
        bank.set_used(at);
        crash_point!("container.committed");
        cell.store(0, Release);
        crash_point!("container.cleared");
        self.set_length(at);
        self.drop_blob(old, dropped);
        self.end();
    }

    fn rebuild(
        &self,
        old: Option<&Bank>,
        block: &Block,
        fresh: &Bank,
        items: &[Item],
        blobs: &[Blob],
        dropped: &mut Dropped,
    ) {
        let tag = self.tag();
        for (index, item) in (0..).zip(items) {
            let word = match (item, old) {
                (Item::Old(from), Some(old)) => old.cell(*from).load(Relaxed),
                (Item::New(which), _) => blobs[*which].name(self.container.object.offset, tag),
                (Item::Old(_), None) => 0,
            };
            fresh.cell(index).store(word, Relaxed);
        }
        fresh.set_used(items.len() as u64);
        self.flip(block, fresh, items.len() as u64, blobs, dropped);
    }
}
