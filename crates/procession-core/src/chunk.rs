//! Messages in chunks, and the memory that they lie in.
//!
//! A chunk is a span: a header line, messages one after the other, and in the place of a message
//! that did not fit an END mark with the next chunk. It is written once from front to back, so
//! producers never ask where the consumers are.
//!
//! ```text
//! word 0  15..0 bytes | 31..16 blocks | 63..32 flags      END: 31..0 all ones | 63..32 next chunk
//! word 1  63..32 stamp                                    acknowledged queues: 31..0 who took it
//!                                                         63..32 deliveries; word 2: stamp
//! then    a word for each block, the bytes, padding to 8
//! ```

use procession_shm::block::Block;
use procession_shm::layout::{ChunkHeader, SPAN};
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// Where a chunk's first message lies.
pub const FIRST: u32 = size_of::<ChunkHeader>() as u32;
/// Most bytes of one message that lie in the chunk.
pub const INLINE_MOST: usize = 32 << 10;
/// Most blocks of one message.
pub const BLOCKS_MOST: usize = 2048;

const END: u64 = u32::MAX as u64;
const WORD: u32 = 8;

/// A place in the chain of chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The chunk's span; 0 before the first one.
    pub chunk: u32,
    /// Where in the chunk.
    pub pos: u32,
    /// The chunk's number.
    pub seq: u32,
}

/// The memory of chunks and blocks: an arena, or a model of one.
pub trait Store {
    /// No more chunks than this: a chain that is longer bites its tail.
    fn most(&self) -> usize;
    /// A word of a chunk.
    fn word(&self, chunk: u32, at: u32) -> Result<&AtomicU64, ArenaError>;
    /// Copies bytes into a chunk.
    fn write(&self, chunk: u32, at: u32, bytes: &[u8]) -> Result<(), ArenaError>;
    /// Appends bytes of a chunk.
    fn append_to(
        &self,
        chunk: u32,
        at: u32,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), ArenaError>;
    /// A chunk's first line.
    fn header(&self, chunk: u32) -> Result<&ChunkHeader, ArenaError>;
    /// Whether the queue has that chunk, of that number.
    fn is_numbered(&self, chunk: u32, seq: u32) -> bool;
    /// The same, or its producer has not finished its hand-over.
    fn is_numbered_or_new(&self, chunk: u32, seq: u32) -> bool;
    /// ALLOC becomes OWNED: a chunk that was committed.
    fn publish(&self, chunk: u32);
    /// OWNED becomes ALLOC by `me`; true when the chunk is the caller's to free.
    fn retract(&self, chunk: u32, me: OwnerId) -> bool;
    /// A message's block, OWNED, becomes ALLOC by `me`; true when it is the caller's to free.
    fn retract_block(&self, block: u64, me: OwnerId) -> bool;
    /// ALLOC by `own` becomes OWNED: a block of a message that was committed.
    fn hand_over(&self, block: u64, own: OwnerId);
    /// A message's block becomes CLAIM by `me`.
    fn claim(&self, block: u64, me: OwnerId) -> bool;
    /// CLAIM by `own` becomes OWNED again.
    fn unclaim(&self, block: u64, own: OwnerId);
}

/// A queue's memory in an arena.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// The arena.
    pub arena: &'static Arena,
    /// Offset of the queue.
    pub parent: u64,
    /// Its serial.
    pub parent_serial: u64,
}

/// Offset of a chunk.
#[must_use]
pub fn offset(chunk: u32) -> u64 {
    u64::from(chunk) * SPAN
}

impl Chunks {
    fn has(&self, chunk: u32, seq: u32, may_be: impl Fn(BlockState) -> bool) -> bool {
        // The state first: a header that is published is complete.
        let state = self.block(chunk).ok().and_then(|block| block.state());
        state.is_some_and(may_be)
            && self
                .arena
                .at::<ChunkHeader>(offset(chunk))
                .is_ok_and(|header| {
                    header.parent.load(Relaxed) == self.parent
                        && header.parent_serial.load(Relaxed) == self.parent_serial
                        && header.seq.load(Relaxed) == seq
                })
    }

    /// A chunk's block.
    pub fn block(&self, chunk: u32) -> Result<Block, ArenaError> {
        self.arena.block_at(offset(chunk))
    }
}

fn within(chunk: u32, at: u32, length: u64) -> Result<u64, ArenaError> {
    if u64::from(at) + length <= SPAN {
        Ok(offset(chunk) + u64::from(at))
    } else {
        Err(torn())
    }
}

/// A word that no step writes: somebody else wrote there.
#[cold]
pub fn torn() -> ArenaError {
    ArenaError::Stale("the queue's memory was overwritten".into())
}

impl Store for Chunks {
    fn most(&self) -> usize {
        self.arena.header().spans_used.load(Relaxed) as usize
    }

    #[inline]
    fn word(&self, chunk: u32, at: u32) -> Result<&AtomicU64, ArenaError> {
        self.arena.at(within(chunk, at, 8)?)
    }

    #[inline]
    fn write(&self, chunk: u32, at: u32, bytes: &[u8]) -> Result<(), ArenaError> {
        self.arena
            .write(within(chunk, at, bytes.len() as u64)?, bytes)
    }

    #[inline]
    fn append_to(
        &self,
        chunk: u32,
        at: u32,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), ArenaError> {
        self.arena
            .append_to(within(chunk, at, length as u64)?, length, into)
    }

    fn header(&self, chunk: u32) -> Result<&ChunkHeader, ArenaError> {
        self.arena.at(within(chunk, 0, u64::from(FIRST))?)
    }

    fn is_numbered(&self, chunk: u32, seq: u32) -> bool {
        self.has(chunk, seq, |state| {
            state == BlockState::Owned(Purpose::Chunk)
        })
    }

    fn is_numbered_or_new(&self, chunk: u32, seq: u32) -> bool {
        self.has(chunk, seq, |state| {
            matches!(
                state,
                BlockState::Owned(Purpose::Chunk) | BlockState::Alloc(Purpose::Chunk, _)
            )
        })
    }

    fn publish(&self, chunk: u32) {
        if let Ok(block) = self.block(chunk) {
            if let Some(BlockState::Alloc(Purpose::Chunk, owner)) = block.state() {
                let _ = block.publish(Purpose::Chunk, owner);
            }
        }
    }

    fn retract(&self, chunk: u32, me: OwnerId) -> bool {
        self.block(chunk)
            .is_ok_and(|block| block.retract(Purpose::Chunk, me))
    }

    fn retract_block(&self, block: u64, me: OwnerId) -> bool {
        self.arena
            .block_at(block)
            .is_ok_and(|block| block.retract(Purpose::Payload, me))
    }

    fn hand_over(&self, block: u64, own: OwnerId) {
        if let Ok(block) = self.arena.block_at(block) {
            let _ = block.publish(Purpose::Payload, own);
        }
    }

    fn claim(&self, block: u64, me: OwnerId) -> bool {
        self.arena
            .block_at(block)
            .is_ok_and(|block| block.claim(Purpose::Payload, me))
    }

    fn unclaim(&self, block: u64, own: OwnerId) {
        if let Ok(block) = self.arena.block_at(block) {
            let _ = block.unclaim(Purpose::Payload, own);
        }
    }
}

/// A message's first word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Bytes in the chunk.
    pub length: u32,
    /// Blocks.
    pub blocks: u32,
    /// The codec's flags.
    pub flags: u32,
}

/// What lies at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A message.
    Message(Head),
    /// The chunk ends; the next one.
    End(u32),
}

impl Head {
    /// As it stands in the chunk.
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.length) | u64::from(self.blocks) << 16 | u64::from(self.flags) << 32
    }

    /// Bytes of the whole message, with so many words before its blocks.
    pub fn size(self, words: u32) -> u32 {
        (words + self.blocks) * WORD + self.length.next_multiple_of(WORD)
    }

    /// Where the bytes begin, from the message on.
    pub fn bytes_at(self, words: u32) -> u32 {
        (words + self.blocks) * WORD
    }
}

/// An END mark's word.
pub fn end(next: u32) -> u64 {
    END | u64::from(next) << 32
}

/// Whether a message of `size` bytes fits here, and an END mark after it.
#[inline]
pub fn fits(place: Place, size: u32) -> bool {
    place.chunk != 0 && u64::from(place.pos) + u64::from(size) + u64::from(WORD) <= SPAN
}

/// Reads what lies at `place`.
#[inline]
pub fn mark(store: &impl Store, place: Place) -> Result<Mark, ArenaError> {
    let word = store.word(place.chunk, place.pos)?.load(Relaxed);
    let flags = (word >> 32) as u32;
    if word & END == END {
        return Ok(Mark::End(flags));
    }
    let head = Head {
        length: (word & 0xFFFF) as u32,
        blocks: (word >> 16 & 0xFFFF) as u32,
        flags,
    };
    Ok(Mark::Message(head))
}

/// The blocks of the message at `place`.
pub fn blocks<S: Store>(
    store: &S,
    place: Place,
    head: Head,
    words: u32,
) -> impl Iterator<Item = u64> + use<'_, S> {
    (0..head.blocks).filter_map(move |index| {
        let at = place.pos + (words + index) * WORD;
        let block = store.word(place.chunk, at).ok()?.load(Relaxed);
        // Those of an acknowledged message are gone.
        (block != 0).then_some(block)
    })
}

/// The messages from `from` on up to `until`, with their places. What cannot be read ends it.
pub fn walk<S: Store>(
    store: &S,
    first: u32,
    from: Place,
    until: Place,
    words: u32,
) -> impl Iterator<Item = (Place, Head)> + use<'_, S> {
    let mut place = from;
    let mut crossed = 0;
    std::iter::from_fn(move || {
        while crossed <= store.most() {
            if (place.chunk, place.pos) == (until.chunk, until.pos) {
                return None;
            }
            if place.chunk == 0 {
                if first == 0 {
                    return None;
                }
                place = next_place(place, first);
                continue;
            }
            match mark(store, place).ok()? {
                Mark::End(next) => {
                    crossed += 1;
                    place = next_place(place, next);
                }
                Mark::Message(head) => {
                    let found = (place, head);
                    place.pos += head.size(words);
                    return Some(found);
                }
            }
        }
        None
    })
}

/// The chunks from `from` on up to `until`, both included.
pub fn chunks(store: &impl Store, first: u32, from: Place, until: Place, words: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut place = from;
    if until.chunk == 0 {
        return found;
    }
    loop {
        if place.chunk == 0 {
            place = next_place(place, first);
        }
        found.push(place.chunk);
        if place.chunk == until.chunk || place.chunk == 0 || found.len() > store.most() {
            return found;
        }
        loop {
            match mark(store, place) {
                Ok(Mark::Message(head)) => place.pos += head.size(words),
                Ok(Mark::End(next)) => break place = next_place(place, next),
                Err(_) => return found,
            }
        }
    }
}

/// The beginning of the next chunk.
pub fn next_place(place: Place, next: u32) -> Place {
    Place {
        chunk: next,
        pos: FIRST,
        seq: place.seq.wrapping_add(1),
    }
}

/// Takes a chunk for the queue, ALLOC by us: outside every lock, because the kernel may be asked.
pub fn allocate(
    member: procession_shm::member::Member,
    chunks: &Chunks,
) -> Result<Block, ArenaError> {
    let block = member.allocate(SPAN, Purpose::Chunk)?;
    let header: &ChunkHeader = member.arena.at(block.offset)?;
    header.parent.store(chunks.parent, Relaxed);
    header.parent_serial.store(chunks.parent_serial, Relaxed);
    header.left.store(0, Relaxed);
    Ok(block)
}

/// The first chunk of all.
pub fn first(line: &procession_shm::layout::QueueLine) -> u32 {
    line.chain.first.load(Acquire)
}
