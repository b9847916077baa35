//! The dict: a compact table in the order of insertion. Read without a lock, written under one.
//!
//! Compare `CPython`'s dict since 3.6: an index of places over an array of entries. Ours finds its
//! members by the bytes of their encoded keys, and never uses a cell again within one bank: a reader
//! that meets a cell meets one key, or none any more.

use crate::bank::Bank;
use crate::blob::{self, Blob, Named, View};
use crate::container::{Container, Dropped, Locked, Refused, Writer};
use crate::newest::Newest;
use procession_shm::Arena;
use procession_shm::block::Block;
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// An encoded key.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    /// Its bytes.
    pub bytes: &'k [u8],
    hash: u64,
}

impl<'k> Key<'k> {
    /// The key of these bytes.
    #[inline]
    #[must_use]
    pub fn new(arena: &Arena, bytes: &'k [u8]) -> Self {
        let hash = blob::hash_of(arena, bytes);
        Self { bytes, hash }
    }
}

/// What must stand under the key for a change to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// This very word.
    Word(u64),
    /// Nothing, and in the table no key that was put in since it was like this.
    Newest(Newest),
}

impl Expect {
    pub(crate) fn allows(self, word: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Absent | Self::Newest(_) => word == 0,
            Self::Present => word != 0,
            Self::Word(expected) => word == expected,
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Changed {
    /// It was made; the word that stands there now (0: none).
    Done(u64),
    /// Something else stands there: this word (0: none).
    Unexpected(u64),
    /// The key stands there in another spelling, which it keeps: in this word.
    SpeltOtherwise(u64),
}

/// Where a member was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its cell.
    pub cell: u64,
    /// Its word.
    pub word: u64,
}

/// A value, copied.
#[derive(Default, Debug)]
pub struct Copied {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it refers to.
    pub named: Vec<Named>,
}

impl Copied {
    /// Takes a value in the place of what was copied from `start` on.
    pub(crate) fn take(&mut self, view: &View, start: usize) {
        self.bytes.truncate(start);
        view.copy_value(&mut self.bytes);
        self.named.clear();
        if view.lengths.handles != 0 {
            self.named.extend(view.handles());
        }
    }
}

/// A dict.
#[derive(Clone, Copy, Debug)]
pub struct Table(pub Container);

enum Found {
    At(u64, u64),
    Nothing,
}

/// The key's cell and what it says. With the lock it is true; without it true if the bank is still
/// the table's.
#[inline]
fn find(arena: &Arena, bank: &Bank, key: Key<'_>, mut seen: impl FnMut(&View<'_>)) -> Found {
    for place in bank.probe(key.hash) {
        // Acquire pairs with the Release of `enter`: the cell's hash is there.
        let entry = bank.index[place].load(Acquire);
        if entry == 0 {
            break;
        }
        let cell = u64::from(entry) - 1;
        if cell >= bank.capacity() {
            break;
        }
        let at = bank.cell(cell);
        loop {
            let word = at.load(Acquire);
            if word == 0 || bank.hash(cell).load(Relaxed) != key.hash {
                break;
            }
            let view = View::of(arena, at, word);
            if let Some(view) = view.filter(|view| view.has_key(key.bytes)) {
                seen(&view);
                if blob::is_still(at, word) {
                    return Found::At(cell, word);
                }
            } else if blob::is_still(at, word) {
                break;
            }
        }
    }
    Found::Nothing
}

impl Table {
    /// Copies the key's value to the end of `into`, and says where it was. Waits for nobody.
    #[inline]
    pub fn get(&self, arena: &Arena, key: Key<'_>, into: &mut Copied) -> Option<Place> {
        let start = into.bytes.len();
        self.0.read(arena, |bank, _| {
            let copy = |view: &View<'_>| into.take(view, start);
            match find(arena, bank, key, copy) {
                Found::At(cell, word) => Some(Place { cell, word }),
                Found::Nothing => None,
            }
        })
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains(&self, arena: &Arena, key: Key<'_>) -> bool {
        let look = |bank: &Bank, _| match find(arena, bank, key, |_| ()) {
            Found::At(_, word) => Some(word),
            Found::Nothing => None,
        };
        self.0.read(arena, look).is_some()
    }

    /// What the key that stands there is made from again, added to `into`; whether there is one.
    pub fn spelling(&self, arena: &Arena, key: Key<'_>, into: &mut Vec<u8>) -> bool {
        let start = into.len();
        let look = |bank: &Bank, _| {
            let copy = |view: &View<'_>| {
                into.truncate(start);
                view.copy_spelling(into);
            };
            match find(arena, bank, key, copy) {
                Found::At(_, word) => Some(word),
                Found::Nothing => None,
            }
        };
        self.0.read(arena, look).is_some()
    }

    /// Puts a blob under its key, if what stands there is as expected. Otherwise, and when it is
    /// refused, the blob stays the caller's to free.
    pub fn put(
        &self,
        writer: Writer,
        key: Key<'_>,
        blob: &Blob,
        expect: Expect,
    ) -> Result<Changed, Refused> {
        let member = writer.member;
        let mut spare: Option<(Block, Bank)> = None;
        let mut dropped = Dropped::default();
        let outcome = loop {
            let locked = match self.0.lock(writer) {
                Ok(locked) => locked,
                Err(excluded) => break Err(excluded.into()),
            };
            let put = self.put_locked(&locked, key, blob, expect, &mut spare, &mut dropped);
            if let Some(changed) = put {
                break Ok(changed);
            }
            let members = self.0.length() + 1;
            drop(locked);
            if let Some((block, _)) = spare.take() {
                member.free(&block);
            }
            match self.0.make_bank(member, members) {
                Ok(made) => spare = Some(made),
                Err(error) => break Err(error.into()),
            }
        };
        if let Some((block, _)) = spare {
            member.free(&block);
        }
        dropped.free(member);
        outcome
    }

    /// None when a bank is needed.
    fn put_locked(
        &self,
        locked: &Locked,
        key: Key<'_>,
        blob: &Blob,
        expect: Expect,
        spare: &mut Option<(Block, Bank)>,
        dropped: &mut Dropped,
    ) -> Option<Changed> {
        let arena = locked.member.arena;
        let mut bank = locked.bank();
        if matches!(expect, Expect::Newest(seen) if seen != self.newest(bank.as_ref())) {
            return Some(Changed::Unexpected(0));
        }
        let mut is_spelt_so = true;
        let compare = |view: &View<'_>| is_spelt_so = blob.is_spelt_as(view);
        let found = bank.as_ref().map(|bank| find(arena, bank, key, compare));
        if let (Some(bank), Some(Found::At(cell, word))) = (&bank, found) {
            if !expect.allows(word) {
                return Some(Changed::Unexpected(word));
            }
            if !is_spelt_so {
                return Some(Changed::SpeltOtherwise(word));
            }
            return Some(Changed::Done(locked.put(bank, cell, None, blob, dropped)?));
        }
        if !expect.allows(0) {
            return Some(Changed::Unexpected(0));
        }
        if bank.is_none_or(|bank| bank.used() == bank.capacity()) {
            let (block, fresh) = spare.take_if(|(_, fresh)| fresh.capacity() > self.0.length())?;
            rebuild(locked, bank.as_ref(), &block, &fresh, dropped);
            bank = Some(fresh);
        }
        let bank = bank?;
        let word = locked.put(&bank, bank.used(), Some(key.hash), blob, dropped)?;
        Some(Changed::Done(word))
    }

    /// Takes a key out, if what stands there is as expected.
    pub fn delete(&self, writer: Writer, key: Key<'_>, expect: Expect) -> Result<Changed, Refused> {
        let mut dropped = Dropped::default();
        let changed = {
            let locked = self.0.lock(writer)?;
            let bank = locked.bank();
            let found = bank.as_ref().map_or(Found::Nothing, |bank| {
                find(writer.member.arena, bank, key, |_| ())
            });
            match (&bank, found) {
                (Some(bank), Found::At(cell, word)) if expect.allows(word) => {
                    locked.delete(bank, cell, &mut dropped);
                    Changed::Done(0)
                }
                (_, Found::At(_, word)) => Changed::Unexpected(word),
                _ => Changed::Unexpected(0),
            }
        };
        dropped.free(writer.member);
        if changed == Changed::Done(0) {
            self.shrink(writer);
        }
        Ok(changed)
    }

    /// The member that was put in last, its key, and what that is made from again.
    #[must_use]
    pub fn last(
        &self,
        arena: &Arena,
        key: &mut Vec<u8>,
        spelling: &mut Vec<u8>,
        into: &mut Copied,
    ) -> Option<Place> {
        let start = into.bytes.len();
        self.0.read(arena, |bank, _| {
            for index in (0..bank.tail()).rev() {
                let cell = bank.cell(index);
                loop {
                    let word = cell.load(Acquire);
                    if word == 0 {
                        break;
                    }
                    let Some(view) = View::of(arena, cell, word) else {
                        continue;
                    };
                    key.clear();
                    view.copy_key(key);
                    spelling.clear();
                    view.copy_spelling(spelling);
                    into.take(&view, start);
                    if blob::is_still(cell, word) {
                        return Some(Place { cell: index, word });
                    }
                }
            }
            None
        })
    }

    /// Gives a bank that is far too large for what is left in it back, and cells whose members are
    /// gone when they are many. Nothing but memory depends on it.
    fn shrink(&self, writer: Writer) {
        let Some((_, bank)) = self.0.bank(writer.member.arena) else {
            return;
        };
        let (capacity, used, length) = (bank.capacity(), bank.used(), self.0.length());
        if capacity < 64 || used <= length.saturating_mul(8) {
            return;
        }
        // Refused for want of memory it stays as it is.
        let Ok((block, fresh)) = self.0.make_bank(writer.member, length) else {
            return;
        };
        let mut dropped = Dropped::default();
        let mut spare = Some(block);
        if let Ok(locked) = self.0.lock(writer) {
            if fresh.capacity() >= self.0.length() {
                let old = locked.bank();
                rebuild(&locked, old.as_ref(), &block, &fresh, &mut dropped);
                spare = None;
            }
        }
        if let Some(block) = spare {
            writer.member.free(&block);
        }
        dropped.free(writer.member);
    }
}

/// Fills a fresh bank with the living members, and flips to it.
fn rebuild(
    locked: &Locked,
    old: Option<&Bank>,
    block: &Block,
    fresh: &Bank,
    dropped: &mut Dropped,
) {
    let mut count = 0;
    for (index, word) in old.into_iter().flat_map(|bank| bank.words()) {
        let hash = old.map_or(0, |bank| bank.hash(index).load(Relaxed));
        fresh.cell(count).store(word, Relaxed);
        fresh.hash(count).store(hash, Relaxed);
        let _ = fresh.enter(hash, count);
        count += 1;
    }
    fresh.set_used(count);
    locked.flip(block, fresh, count, &[], dropped);
}
