//! The table of a container: its cells, and a dict's index over them.
//!
//! ```text
//! word   63..35 tag   34..30 log2 of the size   29..0 place in units of 64 bytes      0 = none
//! dict   header | (word, hash) x capacity | u32 x size      capacity = 2/3 of size; cell + 1, 0 = free
//! list   header | word x size                               capacity = size
//! ```
//!
//! A bank's size never changes: a container that needs another one fills a new bank and stores its
//! word, once. The geometry stands in that word, so that a reader believes nothing that it
//! finds in a bank that may be gone. As with blobs (`blob.rs`) the same word after a look means that
//! the bank was the container's all the time.

use crate::blob::{LINE, PLACE, PLACE_BITS};
use crate::object::Object;
use procession_shm::block::Block;
use procession_shm::contents::BankHeader;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU32, AtomicU64};

const LOG_SHIFT: u32 = PLACE_BITS;
const TAG_SHIFT: u32 = 35;
const HEADER: u64 = size_of::<BankHeader>() as u64;

/// What the cells are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Words with hashes in the order of insertion, and an index.
    Table,
    /// Words in their order.
    Vector,
}

impl Shape {
    /// The smallest bank.
    pub(crate) const SMALLEST: u32 = 3;
    /// The largest.
    const LARGEST: u32 = 31;

    const fn stride(self) -> u64 {
        match self {
            Self::Table => 2,
            Self::Vector => 1,
        }
    }

    pub(crate) const fn capacity(self, log: u32) -> u64 {
        match self {
            Self::Table => (2 << log) / 3,
            Self::Vector => 1 << log,
        }
    }

    const fn index_size(self, log: u32) -> u64 {
        match self {
            Self::Table => 1 << log,
            Self::Vector => 0,
        }
    }

    const fn bytes(self, log: u32) -> u64 {
        HEADER + self.capacity(log) * self.stride() * 8 + self.index_size(log) * 4
    }

    /// The size for so many members, with room to grow.
    pub(crate) fn log_for(self, members: u64) -> Result<u32, ArenaError> {
        let room = members + members / 8 + 1;
        (Self::SMALLEST..=Self::LARGEST)
            .find(|log| self.capacity(*log) >= room)
            .ok_or_else(|| ArenaError::NoMemory("no container holds as many items".into()))
    }
}

/// A bank as this process sees it.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    /// Where it lies.
    pub offset: u64,
    /// log2 of its size.
    pub log: u32,
    /// What it begins with.
    pub header: &'static BankHeader,
    pub(crate) index: &'static [AtomicU32],
    shape: Shape,
    cells: &'static [AtomicU64],
}

impl Bank {
    /// The bank of a word; None for no bank, and for a word that none can have.
    #[inline]
    #[must_use]
    pub fn of(arena: &Arena, shape: Shape, word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        let log = (word >> LOG_SHIFT) as u32 & 31;
        Self::at(arena, shape, (word & PLACE) * LINE, log).ok()
    }

    fn at(arena: &Arena, shape: Shape, offset: u64, log: u32) -> Result<Self, ArenaError> {
        let cells = shape.capacity(log) * shape.stride();
        Ok(Self {
            offset,
            log,
            header: arena.at(offset)?,
            index: arena.slice(offset + HEADER + cells * 8, shape.index_size(log))?,
            shape,
            cells: arena.slice(offset + HEADER, cells)?,
        })
    }

    /// A new empty bank of `object`, ALLOC by us.
    pub(crate) fn make(
        member: Member,
        object: &Object,
        shape: Shape,
        log: u32,
    ) -> Result<(Block, Self), ArenaError> {
        let block = member.allocate(shape.bytes(log), Purpose::Bank)?;
        let fill = || -> Result<Self, ArenaError> {
            member.arena.zero(block.offset, shape.bytes(log))?;
            let bank = Self::at(member.arena, shape, block.offset, log)?;
            bank.header.parent.store(object.offset, Relaxed);
            bank.header.parent_serial.store(object.serial, Relaxed);
            Ok(bank)
        };
        let bank = fill().inspect_err(|_| member.free(&block))?;
        Ok((block, bank))
    }

    /// Its word, with this tag.
    pub(crate) fn word(&self, tag: u64) -> u64 {
        (tag << TAG_SHIFT) | (u64::from(self.log) << LOG_SHIFT) | (self.offset / LINE)
    }

    /// Cells that there are.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.shape.capacity(self.log)
    }

    /// Cells that are or were used.
    #[inline]
    #[must_use]
    pub fn used(&self) -> u64 {
        // Acquire pairs with the Release of `set_used`: their words are there.
        self.header.used.load(Acquire).min(self.capacity())
    }

    pub(crate) fn set_used(&self, used: u64) {
        self.header.used.store(used, Release);
    }

    /// A cell's word.
    #[inline]
    #[must_use]
    pub fn cell(&self, index: u64) -> &'static AtomicU64 {
        &self.cells[(index * self.shape.stride()) as usize]
    }

    /// A dict's cell's hash.
    #[inline]
    pub(crate) fn hash(&self, index: u64) -> &'static AtomicU64 {
        &self.cells[index as usize * 2 + 1]
    }

    /// Cells that may hold words: a new key's word stands in its cell before that counts as used.
    pub(crate) fn reach(&self) -> u64 {
        match self.shape {
            Shape::Table => self.capacity().min(self.used() + 1),
            Shape::Vector => self.used(),
        }
    }

    /// From this cell on no dict's cell holds a word: only speed depends on it.
    pub(crate) fn tail(&self) -> u64 {
        self.header.tail.load(Relaxed).min(self.reach())
    }

    pub(crate) fn set_tail(&self, tail: u64) {
        self.header.tail.store(tail, Relaxed);
    }

    /// The words that stand for something, with their cells.
    pub(crate) fn words(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.reach())
            .map(move |index| (index, self.cell(index).load(Acquire)))
            .filter(|(_, word)| *word != 0)
    }

    /// The places of the index where a hash may be, in order.
    #[inline]
    pub(crate) fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.index.len().wrapping_sub(1);
        let first = (hash >> 32) as usize;
        (0..=mask).map(move |step| first.wrapping_add(step) & mask)
    }

    /// Enters a cell into the index; the place.
    pub(crate) fn enter(&self, hash: u64, cell: u64) -> Option<usize> {
        let free = |place: &usize| self.index[*place].load(Relaxed) == 0;
        let place = self.probe(hash).find(free)?;
        // Release: who meets the entry meets the hash.
        self.index[place].store(cell as u32 + 1, Release);
        Some(place)
    }
}

/// The published block of a bank of this very object; None when there is none (any more).
pub(crate) fn block_of(arena: &Arena, object: &Object, word: u64) -> Option<Block> {
    let block = arena.block_at((word & PLACE) * LINE).ok()?;
    let is_bank = block.state() == Some(BlockState::Owned(Purpose::Bank));
    (is_bank && is_of(arena, object, &block)).then_some(block)
}

fn is_of(arena: &Arena, object: &Object, block: &Block) -> bool {
    arena.at::<BankHeader>(block.offset).is_ok_and(|header| {
        header.parent.load(Relaxed) == object.offset
            && header.parent_serial.load(Relaxed) == object.serial
    })
}
