//! What dicts and lists have in common: one writer at a time, a journal, a bank that is replaced whole.
//!
//! ```text
//! put     0 blob ALLOC|me, written              1 lock
//!         2 tag, label, journal, change = PUT   3 (new key) its hash, its place in the index
//!         4 cell = new word (commit)            5 blob OWNED
//!         6 (new key) used, length              7 old blob ALLOC|me
//!         8 change = 0                          9 unlock   10 free the old blob
//! delete  the same without a blob: 4 cell = 0
//! append  2 journal, change = APPEND   3 the words beyond the end   4 used (commit)   5 blobs OWNED ...
//! pop     2 journal, change = POP      4 used (commit)   6 cell = 0   7 old blob ALLOC|me ...
//! flip    0 bank ALLOC|me   1 lock, fill it   2 journal, change = FLIP   4 line's word (commit)
//!         5 new blobs OWNED, bank OWNED   7 blobs that are in the old bank only, old bank: ALLOC|me   8 ...
//! ```
//!
//! Killed before 4: nothing has happened; what was made is ALLOC by the dead (repair takes a place
//! in the index back). Killed after it: repair does the rest, and frees at once what the doer
//! would have freed after unlocking. It asks each block who it is (blob.rs, bank.rs), so that doing it
//! again, or when the dead had freed a block that is another's by now, changes nothing. A reader
//! never sees anything but words, and each of them is changed by one store.
//!
//! Between lock and unlock nothing is allocated: who needs a bank unlocks, makes one, and looks again.

use crate::bank::{self, Bank, Shape};
use crate::blob::{self, Blob};
use crate::carriers;
use crate::ilock::Held;
use crate::lock::{Party, SharedLock};
use crate::object::{BODY, Object, ObjectKind};
use crate::upkeep;
use procession_shm::block::Block;
use procession_shm::contents::ContainerLine;
use procession_shm::layout::LockLine;
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Bytes of a container's body.
pub const CONTAINER_BYTES: u64 = (size_of::<LockLine>() + size_of::<ContainerLine>()) as u64;

/// What is being done, as the journal says it.
pub(crate) mod change {
    pub(crate) const PUT: u64 = 1;
    pub(crate) const APPEND: u64 = 2;
    pub(crate) const POP: u64 = 3;
    pub(crate) const FLIP: u64 = 4;
}

/// A dict or a list, as one of its holders sees it.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    /// The object.
    pub object: Object,
    pub(crate) line: &'static ContainerLine,
    pub(crate) shape: Shape,
    user_lock: &'static LockLine,
}

/// Somebody else has the container's lock for a compound change: take the lock first, then try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Excluded;

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// Somebody else has the container's lock.
    Excluded,
    /// The arena.
    Arena(ArenaError),
}

impl From<Excluded> for Refused {
    fn from(_: Excluded) -> Self {
        Self::Excluded
    }
}

impl From<ArenaError> for Refused {
    fn from(error: ArenaError) -> Self {
        Self::Arena(error)
    }
}

/// Who changes a container: a process, and one of its threads.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The process.
    pub member: Member,
    /// `pthread_self` of the thread.
    pub thread: u64,
}

impl Writer {
    fn party(self) -> Party {
        Party {
            owner: self.member.local.owner,
            thread: self.thread,
        }
    }
}

/// What a change took out: ALLOC by us, freed when the lock is free.
#[derive(Default, Debug)]
pub(crate) struct Dropped {
    first: Option<Block>,
    more: Vec<Block>,
}

impl Dropped {
    pub(crate) fn push(&mut self, block: Block) {
        if self.first.is_none() {
            self.first = Some(block);
        } else {
            self.more.push(block);
        }
    }

    /// Frees it all, and lets go of what it refers to.
    pub(crate) fn free(self, member: Member) {
        let Some(first) = self.first else {
            return;
        };
        let mut gone = Vec::new();
        for block in std::iter::once(first).chain(self.more) {
            carriers::let_go_of(member, &block, &mut gone);
            member.free(&block);
            crash_point!("container.freed");
        }
        carriers::destroy(member, gone);
    }
}

/// A container, locked against other writers.
pub(crate) struct Locked {
    pub(crate) container: Container,
    pub(crate) member: Member,
    _held: Held<'static>,
}

impl Container {
    /// The dict or list that an object is.
    pub fn of(arena: &Arena, object: &Object) -> Result<Self, ArenaError> {
        let shape = match object.kind() {
            Some(ObjectKind::Dict) => Shape::Table,
            Some(ObjectKind::List) => Shape::Vector,
            _ => return Err(ArenaError::Stale("the object is no container".into())),
        };
        Ok(Self {
            object: *object,
            line: arena.at(object.offset + BODY + size_of::<LockLine>() as u64)?,
            shape,
            user_lock: object.lock_line(arena)?,
        })
    }

    /// How many members it has.
    #[inline]
    #[must_use]
    pub fn length(&self) -> u64 {
        self.line.length.load(Acquire)
    }

    /// Changes begun so far: when it is the same before and after, nothing was changed in between.
    #[inline]
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.line.changes.load(Acquire)
    }

    #[inline]
    pub(crate) fn bank(&self, arena: &Arena) -> Option<(u64, Bank)> {
        let word = self.line.bank.load(Acquire);
        Some((word, Bank::of(arena, self.shape, word)?))
    }

    /// Runs `look` on the bank, with its word, until it was the container's all the time; None without a bank.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        arena: &Arena,
        mut look: impl FnMut(&Bank, u64) -> Option<R>,
    ) -> Option<R> {
        loop {
            let word = self.line.bank.load(Acquire);
            if word == 0 {
                return None;
            }
            // No bank can have a word that was spoilt.
            let found = Bank::of(arena, self.shape, word).and_then(|bank| look(&bank, word));
            if blob::is_still(&self.line.bank, word) {
                return found;
            }
            std::hint::spin_loop();
        }
    }

    /// Locks it against other writers, and looks whether someone else has it for a compound change.
    #[inline]
    pub(crate) fn lock(&self, writer: Writer) -> Result<Locked, Excluded> {
        let held = self.object.lock(writer.member);
        // Who takes the user's lock passes the internal lock once (`settle`) before relying on it.
        if self.user_lock.word.load(Acquire) != 0
            && !SharedLock::new(self.user_lock).is_mine(writer.party())
        {
            return Err(Excluded);
        }
        Ok(Locked {
            container: *self,
            member: writer.member,
            _held: held,
        })
    }

    /// Waits until no writer is under way that does not know yet that we hold the user's lock.
    pub fn settle(&self, member: Member) {
        drop(self.object.lock(member));
    }

    /// A fresh bank for so many members.
    pub(crate) fn make_bank(
        &self,
        member: Member,
        members: u64,
    ) -> Result<(Block, Bank), ArenaError> {
        let log = self.shape.log_for(members)?;
        Bank::make(member, &self.object, self.shape, log)
    }

    /// Takes everything out.
    pub fn clear(&self, writer: Writer) -> Result<(), Refused> {
        if self.line.bank.load(Acquire) == 0 {
            return Ok(());
        }
        let (block, bank) = self.make_bank(writer.member, 0)?;
        let mut dropped = Dropped::default();
        match self.lock(writer) {
            Ok(locked) => locked.flip(&block, &bank, 0, &[], &mut dropped),
            Err(excluded) => {
                writer.member.free(&block);
                return Err(excluded.into());
            }
        }
        dropped.free(writer.member);
        Ok(())
    }

    /// Whether a word that was found in that cell is still in the container. With the lock it is
    /// true.
    #[must_use]
    pub fn has(&self, arena: &Arena, cell: u64, word: u64) -> bool {
        self.bank(arena).is_some_and(|(_, bank)| {
            let there = cell < bank.capacity() && bank.cell(cell).load(Acquire) == word;
            there || bank.words().any(|(_, other)| other == word)
        })
    }
}

impl Locked {
    /// The next tag.
    pub(crate) fn tag(&self) -> u64 {
        let changes = &self.container.line.changes;
        let tag = changes.load(Relaxed).wrapping_add(1);
        changes.store(tag, Release);
        tag
    }

    pub(crate) fn bank(&self) -> Option<Bank> {
        Some(self.container.bank(self.member.arena)?.1)
    }

    /// Step 2.
    pub(crate) fn begin(&self, what: u64, at: u64, new: u64, old: u64) {
        let line = self.container.line;
        line.at.store(at, Relaxed);
        line.new.store(new, Relaxed);
        line.old.store(old, Relaxed);
        // Release: who finds a change finds the rest of the journal.
        line.change.store(what, Release);
        crash_point!("container.journaled");
    }

    /// Step 8.
    pub(crate) fn end(&self) {
        crash_point!("container.dropped");
        self.container.line.change.store(0, Release);
        crash_point!("container.done");
    }

    pub(crate) fn set_length(&self, length: u64) {
        self.container.line.length.store(length, Release);
    }

    /// Step 5.
    pub(crate) fn publish(&self, blob: &Blob) {
        let _ = blob.block.publish(Purpose::Blob, self.member.local.owner);
        crash_point!("container.published");
    }

    /// Step 7.
    pub(crate) fn drop_blob(&self, word: u64, dropped: &mut Dropped) {
        if let Ok(block) = self.member.arena.block_at(blob::offset_of(word)) {
            if block.retract(Purpose::Blob, self.member.local.owner) {
                dropped.push(block);
            }
        }
    }

    /// Puts one word in the place of another; `index_place` for a new key.
    pub(crate) fn put(
        &self,
        bank: &Bank,
        cell: u64,
        new_key: Option<u64>,
        blob: &Blob,
        dropped: &mut Dropped,
    ) -> Option<u64> {
        let word = blob.name(self.container.object.offset, self.tag());
        let at = bank.cell(cell);
        let old = at.load(Relaxed);
        self.begin(change::PUT, cell, word, old);
        if let Some(hash) = new_key {
            bank.hash(cell).store(hash, Relaxed);
            bank.enter(hash, cell)?;
            crash_point!("container.indexed");
        }
        blob::commit(at, word);
        crash_point!("container.committed");
        self.publish(blob);
        if new_key.is_some() {
            bank.set_tail(cell + 1);
            bank.set_used(cell + 1);
            self.set_length(self.container.length() + 1);
        }
        if old != 0 {
            self.drop_blob(old, dropped);
        }
        self.end();
        Some(word)
    }

    /// Takes a dict's member out.
    pub(crate) fn delete(&self, bank: &Bank, cell: u64, dropped: &mut Dropped) {
        let at = bank.cell(cell);
        let old = at.load(Relaxed);
        let _ = self.tag();
        self.begin(change::PUT, cell, 0, old);
        blob::commit(at, 0);
        crash_point!("container.committed");
        self.set_length(self.container.length() - 1);
        if cell + 1 >= bank.tail() {
            let last = (0..cell)
                .rev()
                .find(|cell| bank.cell(*cell).load(Relaxed) != 0);
            bank.set_tail(last.map_or(0, |cell| cell + 1));
        }
        self.drop_blob(old, dropped);
        self.end();
    }

    /// Puts a filled bank in the place of the present one. `made` are the blobs that are new in it.
    pub(crate) fn flip(
        &self,
        block: &Block,
        bank: &Bank,
        length: u64,
        made: &[Blob],
        dropped: &mut Dropped,
    ) {
        let (line, me) = (self.container.line, self.member.local.owner);
        let old_word = line.bank.load(Relaxed);
        let word = bank.word(self.tag());
        self.begin(change::FLIP, 0, word, old_word);
        // Release pairs with the Acquire in `bank`: the new one is complete.
        line.bank.store(word, Release);
        crash_point!("container.flipped");
        for blob in made {
            self.publish(blob);
        }
        let _ = block.publish(Purpose::Bank, me);
        crash_point!("container.bank_published");
        self.set_length(length);
        if let Some(old) = Bank::of(self.member.arena, self.container.shape, old_word) {
            upkeep::for_each_gone(&old, bank, |gone| self.drop_blob(gone, dropped));
            if let Some(block) = bank::block_of(self.member.arena, &self.container.object, old_word)
            {
                if block.retract(Purpose::Bank, me) {
                    dropped.push(block);
                }
            }
        }
        self.end();
    }
}

/// The cell that the journal names.
pub(crate) fn journaled(bank: &Bank, at: u64) -> Option<&'static AtomicU64> {
    (at < bank.capacity()).then(|| bank.cell(at))
}
