//! Span words and block words: the whole truth about a piece of memory, in one u64.
//!
//! ```text
//! 63..62  kind    0 FREE   1 ALLOC: being made, or private, by the owner below   2 OWNED: published
//!                 3 CLAIM: taken out of a queue by the owner below
//! 61..60  role    of spans: 0 claimed, 1 size class, 2 run's head, 3 run's tail
//! 59..30  value   class | purpose<<20 + spans of a run | head span of a tail | purpose of a block
//! 29..0   owner   who made it (ALLOC) or took it (CLAIM); 0 in OWNED words and in classes left by a clean exit
//! ```
//!
//! An ALLOC word is written by the very CAS that takes the memory, so no memory is ever taken
//! and ownerless. Whatever is ALLOC by a dead owner is garbage (a class: up for adoption).

use crate::owner::OwnerId;

const KIND: u64 = 3 << 62;
const ALLOC: u64 = 1 << 62;
const OWNED: u64 = 2 << 62;
const CLAIM: u64 = 3 << 62;
const ROLE_SHIFT: u32 = 60;
const VALUE_SHIFT: u32 = 30;
const VALUE: u64 = (1 << 30) - 1;
const RUN_SPANS: u64 = (1 << 20) - 1;

/// The word of free memory.
pub const FREE: u64 = 0;

/// What a block is for: tells the sweeper who may refer to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// An object with a header, kept by its ledger of holders.
    Object = 1,
    /// More ledger entries, kept by the object that its first words name.
    Ledger = 2,
    /// Messages, kept by the queue that its first words name.
    Chunk = 3,
    /// Bytes that are sent: of who prepares or has received them; in between kept by a queue.
    Payload = 4,
    /// The table of a container, kept by the container that its first words name.
    Bank = 8,
    /// A key and a value, or a value alone, kept by the container that its first word names.
    Blob = 9,
}

impl Purpose {
    fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::Object),
            2 => Some(Self::Ledger),
            3 => Some(Self::Chunk),
            4 => Some(Self::Payload),
            8 => Some(Self::Bank),
            9 => Some(Self::Blob),
            _ => None,
        }
    }
}

/// A block's word, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// Nobody's.
    Free,
    /// Being made or unmade by the owner.
    Alloc(Purpose, OwnerId),
    /// Published.
    Owned(Purpose),
    /// Received by the owner, whose alone it is.
    Claim(Purpose, OwnerId),
}

/// A span's word, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanState {
    /// Nobody's.
    Free,
    /// Taken by the owner, not yet formed.
    Claimed(OwnerId),
    /// Blocks of one size; only the owner allocates in it, anyone frees. Without owner it was
    /// left by a clean exit.
    Class(usize, OwnerId),
    /// First span of a block of its own, so many spans long.
    Run(u32, BlockState),
    /// A further span of the run that begins at this one.
    Tail(u32),
}

const fn pack(kind: u64, role: u64, value: u64, owner: OwnerId) -> u64 {
    kind | role << ROLE_SHIFT | value << VALUE_SHIFT | owner.bits() as u64
}

fn owner_of(word: u64) -> OwnerId {
    OwnerId::of_word(word as u32)
}

impl BlockState {
    /// Reads a block's word; None for a word that no step writes.
    #[must_use]
    pub fn of(word: u64) -> Option<Self> {
        if word == FREE {
            return Some(Self::Free);
        }
        let purpose = Purpose::from_bits(word >> VALUE_SHIFT & VALUE)?;
        match word & KIND {
            ALLOC => Some(Self::Alloc(purpose, owner_of(word))),
            OWNED => Some(Self::Owned(purpose)),
            CLAIM => Some(Self::Claim(purpose, owner_of(word))),
            _ => None,
        }
    }

    /// The word of a block in a class span.
    #[must_use]
    pub fn word(self) -> u64 {
        match self {
            Self::Free => FREE,
            Self::Alloc(purpose, owner) => pack(ALLOC, 0, purpose as u64, owner),
            Self::Owned(purpose) => pack(OWNED, 0, purpose as u64, OwnerId::NONE),
            Self::Claim(purpose, owner) => pack(CLAIM, 0, purpose as u64, owner),
        }
    }
}

impl SpanState {
    /// Reads a span's word; None for a word that no step writes.
    #[must_use]
    pub fn of(word: u64) -> Option<Self> {
        if word == FREE {
            return Some(Self::Free);
        }
        let value = word >> VALUE_SHIFT & VALUE;
        match (word & KIND, word >> ROLE_SHIFT & 3) {
            (ALLOC, 0) => Some(Self::Claimed(owner_of(word))),
            (ALLOC, 1) => Some(Self::Class(value as usize, owner_of(word))),
            (kind, 2) => {
                let purpose = Purpose::from_bits(value >> 20)?;
                let state = match kind {
                    ALLOC => BlockState::Alloc(purpose, owner_of(word)),
                    OWNED => BlockState::Owned(purpose),
                    CLAIM => BlockState::Claim(purpose, owner_of(word)),
                    _ => return None,
                };
                Some(Self::Run((value & RUN_SPANS) as u32, state))
            }
            (OWNED, 3) => Some(Self::Tail(value as u32)),
            _ => None,
        }
    }

    /// The word that says this.
    #[must_use]
    pub fn word(self) -> u64 {
        match self {
            Self::Free | Self::Run(_, BlockState::Free) => FREE,
            Self::Claimed(owner) => pack(ALLOC, 0, 0, owner),
            Self::Class(class, owner) => pack(ALLOC, 1, class as u64, owner),
            Self::Run(spans, BlockState::Alloc(purpose, owner)) => {
                pack(ALLOC, 2, (purpose as u64) << 20 | u64::from(spans), owner)
            }
            Self::Run(spans, BlockState::Claim(purpose, owner)) => {
                pack(CLAIM, 2, (purpose as u64) << 20 | u64::from(spans), owner)
            }
            Self::Run(spans, BlockState::Owned(purpose)) => {
                let value = (purpose as u64) << 20 | u64::from(spans);
                pack(OWNED, 2, value, OwnerId::NONE)
            }
            Self::Tail(head) => pack(OWNED, 3, u64::from(head), OwnerId::NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_word() {
        let me = OwnerId::new(4093, 0x3_FFFF);
        let blocks = [
            BlockState::Free,
            BlockState::Alloc(Purpose::Object, me),
            BlockState::Alloc(Purpose::Ledger, OwnerId::new(0, 1)),
            BlockState::Owned(Purpose::Object),
            BlockState::Owned(Purpose::Chunk),
            BlockState::Claim(Purpose::Payload, me),
        ];
        for state in blocks {
            assert_eq!(BlockState::of(state.word()), Some(state));
        }
        let spans = [
            SpanState::Free,
            SpanState::Claimed(me),
            SpanState::Class(9, me),
            SpanState::Class(0, OwnerId::NONE),
            SpanState::Run(1, BlockState::Alloc(Purpose::Object, me)),
            SpanState::Run((1 << 20) - 1, BlockState::Owned(Purpose::Object)),
            SpanState::Run(16, BlockState::Claim(Purpose::Payload, me)),
            SpanState::Tail((1 << 20) - 1),
        ];
        for state in spans {
            assert_eq!(SpanState::of(state.word()), Some(state));
        }
    }

    #[test]
    fn impossible_words_are_told() {
        for word in [3 << 62, KIND, 1, OWNED, OWNED | 1 << 60] {
            assert_eq!(SpanState::of(word), None, "{word:#x}");
        }
    }
}
