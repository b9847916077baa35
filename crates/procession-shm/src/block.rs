//! A piece of memory with a word of its own.

use crate::arena::Arena;
use crate::error::ArenaError;
use crate::heap::{CLASSES, block_offset, blocks_of};
use crate::layout::SPAN;
use crate::owner::OwnerId;
use crate::span::{BlockState, Purpose, SpanState};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};

/// Which block of which span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The span.
    pub span: u32,
    /// Which of its blocks.
    pub index: u64,
}

/// A block: of a size class, or a run of spans. A view, not an owner: freeing is explicit.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where its content begins.
    pub offset: u64,
    /// Bytes that it has room for.
    pub size: u64,
    /// Its word.
    pub word: &'static AtomicU64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Class(usize, Place),
    Run(u32, u32),
}

impl Block {
    pub(crate) fn new(arena: &Arena, class: usize, place: Place) -> Result<Self, ArenaError> {
        Ok(Self {
            offset: u64::from(place.span) * SPAN + block_offset(class, place.index),
            size: CLASSES[class],
            word: arena.block_word(place.span, place.index)?,
            kind: Kind::Class(class, place),
        })
    }

    pub(crate) fn run(arena: &Arena, head: u32, spans: u32) -> Result<Self, ArenaError> {
        let (offset, size) = (u64::from(head) * SPAN, u64::from(spans) * SPAN);
        arena.bytes(offset, size)?;
        Ok(Self {
            offset,
            size,
            word: arena.span_word(head),
            kind: Kind::Run(head, spans),
        })
    }

    pub(crate) fn spans(&self) -> Option<(u32, u32)> {
        match self.kind {
            Kind::Run(head, spans) => Some((head, spans)),
            Kind::Class(..) => None,
        }
    }

    pub(crate) fn place(&self) -> Option<(usize, Place)> {
        match self.kind {
            Kind::Class(class, place) => Some((class, place)),
            Kind::Run(..) => None,
        }
    }

    fn encode(&self, state: BlockState) -> u64 {
        match self.kind {
            Kind::Class(..) => state.word(),
            Kind::Run(_, spans) => SpanState::Run(spans, state).word(),
        }
    }

    /// What the block's word says; None for an impossible word.
    #[must_use]
    pub fn state(&self) -> Option<BlockState> {
        // Acquire pairs with the AcqRel of `change`: a published block's content is visible.
        let word = self.word.load(Acquire);
        match self.kind {
            Kind::Class(..) => BlockState::of(word),
            Kind::Run(..) => match SpanState::of(word)? {
                SpanState::Run(_, state) => Some(state),
                SpanState::Free => Some(BlockState::Free),
                _ => None,
            },
        }
    }

    fn change(&self, from: BlockState, to: BlockState) -> bool {
        let (from, to) = (self.encode(from), self.encode(to));
        self.word
            .compare_exchange(from, to, AcqRel, Relaxed)
            .is_ok()
    }

    /// ALLOC by `owner` becomes OWNED: from here on who refers to it keeps it.
    #[must_use]
    pub fn publish(&self, purpose: Purpose, owner: OwnerId) -> bool {
        self.change(
            BlockState::Alloc(purpose, owner),
            BlockState::Owned(purpose),
        )
    }

    /// ALLOC or CLAIM by the dead, as `state` says, becomes ALLOC by `owner`, who will free it, or
    /// whose death will.
    #[must_use]
    pub fn inherit(&self, state: BlockState, owner: OwnerId) -> bool {
        match state {
            BlockState::Alloc(purpose, _) | BlockState::Claim(purpose, _) => {
                self.change(state, BlockState::Alloc(purpose, owner))
            }
            _ => false,
        }
    }

    /// OWNED by a queue, or about to be, becomes CLAIM by `owner`, who receives it.
    #[must_use]
    pub fn claim(&self, purpose: Purpose, owner: OwnerId) -> bool {
        loop {
            let state = self.state();
            // ALLOC: the message is committed, and its producer has not finished the hand-over.
            let is_sent = matches!(
                state,
                Some(BlockState::Owned(of) | BlockState::Alloc(of, _)) if of == purpose
            );
            let Some(state) = state.filter(|_| is_sent) else {
                return false;
            };
            if self.change(state, BlockState::Claim(purpose, owner)) {
                return true;
            }
        }
    }

    /// ALLOC by `owner` becomes CLAIM by the same: filled for itself.
    #[must_use]
    pub fn receive(&self, purpose: Purpose, owner: OwnerId) -> bool {
        self.change(
            BlockState::Alloc(purpose, owner),
            BlockState::Claim(purpose, owner),
        )
    }

    /// CLAIM by `owner` goes back into the queue.
    #[must_use]
    pub fn unclaim(&self, purpose: Purpose, owner: OwnerId) -> bool {
        self.change(
            BlockState::Claim(purpose, owner),
            BlockState::Owned(purpose),
        )
    }

    /// CLAIM by `owner` becomes ALLOC by the same: to be freed, or to be sent on.
    #[must_use]
    pub fn keep(&self, purpose: Purpose, owner: OwnerId) -> bool {
        self.change(
            BlockState::Claim(purpose, owner),
            BlockState::Alloc(purpose, owner),
        )
    }

    /// OWNED becomes ALLOC by `owner`, who will free it, or whose death will.
    #[must_use]
    pub fn retract(&self, purpose: Purpose, owner: OwnerId) -> bool {
        self.change(
            BlockState::Owned(purpose),
            BlockState::Alloc(purpose, owner),
        )
    }
}

impl Arena {
    /// The block that begins at `offset`, whatever its state; Stale when none begins there.
    pub fn block_at(&self, offset: u64) -> Result<Block, ArenaError> {
        let span = (offset / SPAN) as u32;
        let nothing = || ArenaError::Stale(format!("nothing lies at {offset:#x} of the arena"));
        if offset >= self.size() || !self.is_committed(span) {
            return Err(nothing());
        }
        match SpanState::of(self.span_word(span).load(Acquire)) {
            Some(SpanState::Class(class, _)) if class < CLASSES.len() => {
                let within = (offset % SPAN).checked_sub(block_offset(class, 0));
                let index = within
                    .filter(|within| within % CLASSES[class] == 0)
                    .map(|within| within / CLASSES[class])
                    .filter(|index| *index < blocks_of(class))
                    .ok_or_else(nothing)?;
                Block::new(self, class, Place { span, index })
            }
            Some(SpanState::Run(spans, _)) if offset % SPAN == 0 => Block::run(self, span, spans),
            _ => Err(nothing()),
        }
    }

    /// The block that the byte at `offset` lies in, whatever its state; Stale when it lies in none.
    pub fn block_around(&self, offset: u64) -> Result<Block, ArenaError> {
        let span = (offset / SPAN) as u32;
        let nothing = || ArenaError::Stale(format!("nothing lies at {offset:#x} of the arena"));
        if offset >= self.size() || !self.is_committed(span) {
            return Err(nothing());
        }
        let begin = match SpanState::of(self.span_word(span).load(Acquire)) {
            Some(SpanState::Class(class, _)) if class < CLASSES.len() => {
                let within = (offset % SPAN).checked_sub(block_offset(class, 0));
                let index = within.ok_or_else(nothing)? / CLASSES[class];
                u64::from(span) * SPAN + block_offset(class, index)
            }
            Some(SpanState::Run(..)) => u64::from(span) * SPAN,
            Some(SpanState::Tail(head)) => u64::from(head) * SPAN,
            _ => return Err(nothing()),
        };
        self.block_at(begin)
    }

    /// Every block of every formed span, free ones left out.
    pub fn blocks(&self) -> impl Iterator<Item = (Block, BlockState)> {
        self.spans()
            .flat_map(move |(span, state)| self.blocks_in(span, state))
            .filter_map(|block| Some((block, block.state()?)))
            .filter(|(_, state)| *state != BlockState::Free)
    }

    fn blocks_in(&self, span: u32, state: SpanState) -> Box<dyn Iterator<Item = Block> + '_> {
        match state {
            SpanState::Class(class, _) if class < CLASSES.len() => {
                let places = (0..blocks_of(class)).map(move |index| Place { span, index });
                Box::new(places.filter_map(move |place| Block::new(self, class, place).ok()))
            }
            SpanState::Run(spans, _) => Box::new(Block::run(self, span, spans).ok().into_iter()),
            _ => Box::new(std::iter::empty()),
        }
    }
}
