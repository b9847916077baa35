//! What lies in a container: a key and a value, written once and never changed.
//!
//! ```text
//! word     63..30 tag   29..0 place of the blob in units of 64 bytes         0 = nothing
//! label    63..30 tag   29..0 place of the container                        1st word of a blob
//! lengths  63..56 handles   55..36 bytes of the key   35 spelt   34..0 of the rest    2nd word
//! then the key, [u32 and as many bytes: the spelling,] the value, and for each handle an offset and a serial
//! ```
//!
//! Keys are found by bytes that all equals of a key share. Where a key cannot be made from those
//! again, the blob has its spelling, too: the key as it was first put in.
//!
//! A changed value is another blob under another word: the tag is the number of the change.
//! So a reader needs no lock: it loads the word, copies the blob, and loads the word again. The
//! same word means that the blob was in place all the time, because whoever frees a blob has
//! changed the word before:
//!
//! ```text
//! writer   word = other;  block OWNED -> ALLOC -> FREE (Release)
//! heap     CAS FREE -> ALLOC (Acquire);  fence(Release);  writes whatever it likes
//! reader   w = word (Acquire);  copies (Relaxed);  fence(Acquire);  word == w ?
//! ```
//!
//! If the copy met anything that a later owner of the memory wrote, the fences order the change
//! of the word before it, and the second load sees the change. That holds whatever became of the
//! memory: another blob, a block of another class, a run, a hole (which reads as zeros: the kernel
//! has taken the page from every map before). The memory is always mapped, lengths are looked at
//! before they are believed, and all accesses are of atomic words, so a copy that is in vain
//! is a wrong answer at worst, and thrown away. For the same word to come back a container would
//! have to change 2^34 times during one copy.

use procession_shm::block::Block;
use procession_shm::layout::SPAN;
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU64, fence};

/// Bits of a place.
pub(crate) const PLACE_BITS: u32 = 30;
pub(crate) const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// Units of places.
pub(crate) const LINE: u64 = 64;

/// Longest key, in bytes.
pub const LONGEST_KEY: usize = (1 << 20) - 1;
/// Longest value with its key's spelling, in bytes.
pub const LONGEST_VALUE: usize = (1 << 35) - 1;
/// Handles that one value may hold.
pub const MOST_HANDLES: usize = 255;

const HEADER_WORDS: u64 = 2;
const SPELT: u64 = 1 << 35;
/// Before a spelling stands its length.
const SPELLING_HEAD: u64 = 4;

/// An object that a value refers to: offset and serial.
pub type Named = (u64, u64);

/// The word, or the label, with this tag.
#[must_use]
pub const fn word_of(offset: u64, tag: u64) -> u64 {
    (tag << PLACE_BITS) | (offset / LINE)
}

/// Where a word's blob lies.
#[must_use]
pub const fn offset_of(word: u64) -> u64 {
    (word & PLACE) * LINE
}

/// The label that a word's blob has in the container at `parent`.
pub(crate) const fn label_of(word: u64, parent: u64) -> u64 {
    (word & !PLACE) | (parent / LINE)
}

/// How long the parts of a blob are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lengths {
    /// Bytes of the key.
    pub key: u64,
    /// Bytes of the value, and of the key's spelling before it.
    pub value: u64,
    /// Whether there is a spelling.
    pub is_spelt: bool,
    /// Handles.
    pub handles: u64,
}

impl Lengths {
    /// As they stand in a blob.
    #[must_use]
    pub const fn of(bits: u64) -> Self {
        Self {
            key: bits >> 36 & LONGEST_KEY as u64,
            value: bits & LONGEST_VALUE as u64,
            is_spelt: bits & SPELT != 0,
            handles: bits >> 56,
        }
    }

    /// As they stand in a blob.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let spelt = if self.is_spelt { SPELT } else { 0 };
        self.handles << 56 | self.key << 36 | spelt | self.value
    }

    /// The word where the handles begin.
    const fn handles_at(self) -> u64 {
        HEADER_WORDS + (self.key + self.value).div_ceil(8)
    }

    const fn words(self) -> u64 {
        self.handles_at() + self.handles * 2
    }
}

/// A blob that we have made and nobody else knows.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    /// Its block: ALLOC by us.
    pub block: Block,
    words: &'static [AtomicU64],
    lengths: Lengths,
}

impl Blob {
    /// Makes a blob; nothing is locked meanwhile.
    pub fn make(
        member: Member,
        key: &[u8],
        value: &[u8],
        handles: &[Named],
    ) -> Result<Self, ArenaError> {
        Self::make_of(member, key, false, value, handles)
    }

    /// Makes a blob whose key has a spelling: `rest` is what [`spell`] begins, and the value.
    pub fn make_spelt(
        member: Member,
        key: &[u8],
        rest: &[u8],
        handles: &[Named],
    ) -> Result<Self, ArenaError> {
        Self::make_of(member, key, true, rest, handles)
    }

    fn make_of(
        member: Member,
        key: &[u8],
        is_spelt: bool,
        value: &[u8],
        handles: &[Named],
    ) -> Result<Self, ArenaError> {
        if key.len() > LONGEST_KEY || value.len() > LONGEST_VALUE || handles.len() > MOST_HANDLES {
            return Err(ArenaError::NoMemory(
                "no item may be as large as this".into(),
            ));
        }
        let lengths = Lengths {
            key: key.len() as u64,
            value: value.len() as u64,
            is_spelt,
            handles: handles.len() as u64,
        };
        let block = member.allocate(lengths.words() * 8, Purpose::Blob)?;
        let words: &'static [AtomicU64] = member
            .arena
            .slice(block.offset, lengths.words())
            .inspect_err(|_| member.free(&block))?;
        words[0].store(0, Relaxed);
        words[1].store(lengths.bits(), Relaxed);
        write(&words[HEADER_WORDS as usize..], key, value);
        let rest = words[lengths.handles_at() as usize..].chunks_exact(2);
        for (pair, (offset, serial)) in rest.zip(handles) {
            pair[0].store(*offset, Relaxed);
            pair[1].store(*serial, Relaxed);
        }
        Ok(Self {
            block,
            words,
            lengths,
        })
    }

    /// Gives it its tag and its container; the word that will stand for it.
    pub(crate) fn name(&self, parent: u64, tag: u64) -> u64 {
        let word = word_of(self.block.offset, tag);
        self.words[0].store(label_of(word, parent), Relaxed);
        word
    }

    /// Whether the key of another blob, which equals this one's, is spelt as this one's.
    pub(crate) fn is_spelt_as(&self, other: &View<'_>) -> bool {
        let mine = self.view();
        if !mine.lengths.is_spelt && !other.lengths.is_spelt {
            return true;
        }
        let nbytes = mine.value_at();
        mine.lengths.is_spelt == other.lengths.is_spelt
            && nbytes == other.value_at()
            && mine.begins_as(other, nbytes)
    }

    fn view(&self) -> View<'static> {
        View {
            lengths: self.lengths,
            words: self.words,
        }
    }
}

/// Begins what stands behind the key of a blob with the key's spelling.
pub fn spell(spelling: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&(spelling.len() as u32).to_le_bytes());
    into.extend_from_slice(spelling);
}

fn word(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}

/// Writes key and value one behind the other.
fn write(into: &[AtomicU64], key: &[u8], value: &[u8]) {
    let whole = key.len() / 8;
    let rest = &key[whole * 8..];
    for (to, bytes) in into.iter().zip(key.chunks_exact(8)) {
        to.store(word(bytes), Relaxed);
    }
    // The word that the key ends in begins the value.
    let lead = if rest.is_empty() {
        0
    } else {
        value.len().min(8 - rest.len())
    };
    let mut next = whole;
    if !rest.is_empty() {
        let mut both = [0; 8];
        both[..rest.len()].copy_from_slice(rest);
        both[rest.len()..rest.len() + lead].copy_from_slice(&value[..lead]);
        into[next].store(u64::from_le_bytes(both), Relaxed);
        next += 1;
    }
    for (to, bytes) in into[next..].iter().zip(value[lead..].chunks(8)) {
        to.store(word(bytes), Relaxed);
    }
}

/// A blob that others may free at any moment: everything read of it is in doubt until the word
/// that led to it [`is_still`] there.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// How long its parts are.
    pub lengths: Lengths,
    words: &'a [AtomicU64],
}

/// Makes a blob, or nothing, what a cell stands for.
#[inline]
pub fn commit(cell: &AtomicU64, word: u64) {
    // Release pairs with the Acquire of who loads the word: the blob is complete.
    cell.store(word, Release);
}

/// Whether `cell` says what it said when `word` was loaded from it, for all that was read since.
#[inline]
#[must_use]
pub fn is_still(cell: &AtomicU64, word: u64) -> bool {
    // Pairs with the heap's fence, see above.
    fence(Acquire);
    cell.load(Relaxed) == word
}

impl<'a> View<'a> {
    /// The blob of the word that `cell` said; None when it is no longer there.
    #[inline]
    #[must_use]
    pub fn of(arena: &Arena, cell: &AtomicU64, word: u64) -> Option<View<'static>> {
        let offset = offset_of(word);
        let head: &[AtomicU64] = arena.slice(offset, HEADER_WORDS).ok()?;
        let lengths = Lengths::of(head[1].load(Relaxed));
        // Mapping a large one may cost address space: it must be true.
        if lengths.words() * 8 > SPAN && !is_still(cell, word) {
            return None;
        }
        let words = arena.slice(offset, lengths.words()).ok()?;
        Some(View { lengths, words })
    }

    /// A view of words that are nobody's but the test's.
    #[must_use]
    pub fn detached(lengths: Lengths, words: &'a [AtomicU64]) -> Self {
        Self { lengths, words }
    }

    /// Whether this is the key.
    #[inline]
    #[must_use]
    pub fn has_key(&self, key: &[u8]) -> bool {
        if self.lengths.key != key.len() as u64 {
            return false;
        }
        let words = self.words[HEADER_WORDS as usize..].iter();
        let mut chunks = key.chunks_exact(8);
        let same = words
            .clone()
            .zip(&mut chunks)
            .all(|(at, bytes)| at.load(Relaxed) == word(bytes));
        let rest = chunks.remainder();
        same && (rest.is_empty() || {
            let last = self.words[HEADER_WORDS as usize + key.len() / 8].load(Relaxed);
            (last ^ word(rest)) << (64 - 8 * rest.len()) == 0
        })
    }

    /// Whether this is the first byte of the key.
    pub(crate) fn begins_with(&self, first: u8) -> bool {
        self.lengths.key != 0 && self.half_word(0).to_le_bytes()[0] == first
    }

    /// Copies bytes `from..from + length` of key and value to the end of `into`.
    fn copy(&self, from: u64, length: u64, into: &mut Vec<u8>) {
        let first = (HEADER_WORDS + from / 8) as usize;
        let end = (HEADER_WORDS + (from + length).div_ceil(8)) as usize;
        let skip = (from % 8) as usize;
        let start = into.len();
        into.reserve((end - first) * 8);
        for at in &self.words[first..end] {
            into.extend_from_slice(&at.load(Relaxed).to_le_bytes());
        }
        if skip != 0 {
            into.copy_within(start + skip.., start);
        }
        into.truncate(start + length as usize);
    }

    /// Where the value begins: not beyond its end, whatever the bytes say.
    #[inline]
    fn value_at(&self) -> u64 {
        if !self.lengths.is_spelt {
            return self.lengths.key;
        }
        let end = self.lengths.key + self.lengths.value;
        let length = u64::from(self.half_word(self.lengths.key));
        end.min(self.lengths.key + SPELLING_HEAD + length)
    }

    /// The four bytes from there on; what is beyond the end is 0.
    fn half_word(&self, at: u64) -> u32 {
        let word = |index: u64| match self.words.get((HEADER_WORDS + index) as usize) {
            Some(word) => u128::from(word.load(Relaxed)),
            None => 0,
        };
        let both = word(at / 8) | word(at / 8 + 1) << 64;
        (both >> (at % 8 * 8)) as u32
    }

    /// Whether so many bytes of key and value are the same as another's.
    fn begins_as(&self, other: &View<'_>, nbytes: u64) -> bool {
        let whole = (nbytes / 8) as usize;
        let pairs = self.words[HEADER_WORDS as usize..]
            .iter()
            .zip(&other.words[HEADER_WORDS as usize..]);
        let mut differences = pairs.map(|(one, two)| one.load(Relaxed) ^ two.load(Relaxed));
        differences.by_ref().take(whole).all(|bits| bits == 0)
            && (nbytes % 8 == 0
                || differences
                    .next()
                    .is_some_and(|bits| bits << (64 - 8 * (nbytes % 8)) == 0))
    }

    /// Copies the value to the end of `into`.
    #[inline]
    pub fn copy_value(&self, into: &mut Vec<u8>) {
        let at = self.value_at();
        self.copy(at, self.lengths.key + self.lengths.value - at, into);
    }

    /// Copies the key that it is found by to the end of `into`.
    pub fn copy_key(&self, into: &mut Vec<u8>) {
        self.copy(0, self.lengths.key, into);
    }

    /// Copies what the key is made from again to the end of `into`: its spelling, if it has one.
    #[inline]
    pub fn copy_spelling(&self, into: &mut Vec<u8>) {
        if self.lengths.is_spelt {
            let at = self.lengths.key + SPELLING_HEAD;
            self.copy(at, self.value_at().saturating_sub(at), into);
        } else {
            self.copy_key(into);
        }
    }

    /// The objects that the value refers to.
    pub fn handles(&self) -> impl Iterator<Item = Named> + use<'a> {
        let pairs = self.words[self.lengths.handles_at() as usize..].chunks_exact(2);
        pairs.map(|pair| (pair[0].load(Relaxed), pair[1].load(Relaxed)))
    }
}

/// The published block of a word in the container at `parent`; None when it is another's (by now).
pub(crate) fn block_of(arena: &Arena, word: u64, parent: u64) -> Option<Block> {
    let block = arena.block_at(offset_of(word)).ok()?;
    if block.state() != Some(BlockState::Owned(Purpose::Blob)) {
        return None;
    }
    is_labelled(arena, &block, label_of(word, parent)).then_some(block)
}

pub(crate) fn is_labelled(arena: &Arena, block: &Block, label: u64) -> bool {
    arena
        .at::<AtomicU64>(block.offset)
        .is_ok_and(|found| found.load(Relaxed) == label)
}

/// What a whole blob that nobody frees says of itself: its label, and a view.
pub(crate) fn settled(arena: &Arena, block: &Block) -> Option<(u64, View<'static>)> {
    let words: &[AtomicU64] = arena.slice(block.offset, HEADER_WORDS).ok()?;
    let lengths = Lengths::of(words[1].load(Relaxed));
    if lengths.words() * 8 > block.size {
        return None;
    }
    let words: &[AtomicU64] = arena.slice(block.offset, lengths.words()).ok()?;
    Some((words[0].load(Relaxed), View { lengths, words }))
}

/// The hash of an encoded key, the same in every process of the arena and another in each arena.
#[must_use]
pub fn hash_of(arena: &Arena, key: &[u8]) -> u64 {
    let nonce = arena.nonce();
    let (low, high) = nonce.split_at(8);
    let mut state = word(low) ^ key.len() as u64;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let secret = word(high) | 1;
    for bytes in key.chunks(8) {
        state = fold(state ^ word(bytes), secret ^ 0x9E37_79B9_7F4A_7C15);
    }
    fold(state, 0xA076_1D64_78BD_642F ^ secret)
}
