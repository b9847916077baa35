//! Allocation: blocks of size classes, and runs of spans for what is larger.
//!
//! A class span belongs to one process, and only that process allocates in it; anyone frees,
//! with one store of the block's word. So who owns a span sees its free blocks only grow in
//! number, and may give an empty span back without asking anybody. The span of a dead owner is
//! adopted by one CAS.
//!
//! ```text
//! span:  header line (unused, 64 bytes) | one u64 word a block | blocks of the class's size
//! ```

use crate::arena::Arena;
use crate::block::{Block, Place};
use crate::error::ArenaError;
use crate::layout::{FIRST_SPAN, SPAN};
use crate::member::Member;
use crate::owner::OwnerId;
use crate::span::{BlockState, FREE, Purpose, SpanState};
use procession_sys::clock::now_ns;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU64, fence};
use std::collections::HashMap;

/// Bytes of the blocks of each class; the last ones are what fits into a span evenly.
pub const CLASSES: [u64; 11] = [64, 128, 192, 256, 512, 1024, 2048, 4096, 8128, 16320, 32704];

const SPAN_HEADER: u64 = 64;

/// Blocks in a span of a class.
#[must_use]
pub const fn blocks_of(class: usize) -> u64 {
    let size = CLASSES[class];
    // The words round up to a line, so that blocks are line-aligned.
    let mut count = (SPAN - SPAN_HEADER) / (size + 8);
    while first_block(count) + count * size > SPAN {
        count -= 1;
    }
    count
}

const fn first_block(count: u64) -> u64 {
    SPAN_HEADER + (count * 8).div_ceil(64) * 64
}

/// Offset of a block within its span.
#[must_use]
pub const fn block_offset(class: usize, index: u64) -> u64 {
    first_block(blocks_of(class)) + index * CLASSES[class]
}

/// Offset of a block's word within its span.
#[must_use]
pub const fn word_offset(index: u64) -> u64 {
    SPAN_HEADER + index * 8
}

fn class_for(size: u64) -> Option<usize> {
    CLASSES.iter().position(|block| *block >= size)
}

/// Takes a free block: its word becomes `taken`.
#[must_use]
pub fn take_free(word: &AtomicU64, taken: u64) -> bool {
    // Acquire pairs with the Release of `free`: the last owner's stores are done.
    let is_ours = word.compare_exchange(FREE, taken, AcqRel, Relaxed).is_ok();
    // Release pairs with the Acquire of who still copies what lay here: if he meets what we
    // write, he also meets what made the block free.
    fence(Release);
    is_ours
}

/// This process's spans of each class, and the free blocks that it knows of. All of it is
/// hints: the words in the arena are the truth.
#[derive(Debug, Default)]
pub struct Heap {
    classes: [ClassHeap; CLASSES.len()],
}

#[derive(Debug, Default)]
struct ClassHeap {
    spans: Vec<u32>,
    free: Vec<Place>,
    /// Spans that there must be before all words are read anew: a rescan that found little is
    /// not repeated until there is more to find.
    rescan_from: usize,
}

impl Member {
    /// Takes a block of at least `size` bytes, ALLOC by us. Its content is undefined.
    pub fn allocate(&self, size: u64, purpose: Purpose) -> Result<Block, ArenaError> {
        if size > self.arena.size() {
            return Err(ArenaError::NoMemory(format!(
                "{size} bytes of an arena of {} (PROCESSION_ARENA sets its size)",
                self.arena.size()
            )));
        }
        match class_for(size) {
            Some(class) => self.allocate_block(class, purpose),
            None => self.allocate_run(size, purpose),
        }
    }

    fn allocate_block(&self, class: usize, purpose: Purpose) -> Result<Block, ArenaError> {
        let taken = BlockState::Alloc(purpose, self.local.owner).word();
        let mut private = self.local.private();
        let heap = &mut private.heap.classes[class];
        loop {
            while let Some(place) = heap.free.pop() {
                let block = Block::new(self.arena, class, place)?;
                if take_free(block.word, taken) {
                    crash_point!("heap.taken");
                    return Ok(block);
                }
            }
            self.refill(class, heap)?;
        }
    }

    /// Finds free blocks: in our spans, in one that a clean exit left, in a new one.
    fn refill(&self, class: usize, heap: &mut ClassHeap) -> Result<(), ArenaError> {
        if heap.spans.len() >= heap.rescan_from {
            heap.rescan(self.arena, class);
            // Few free blocks would mean a rescan every few allocations: take a new span then.
            if heap.free.len() as u64 * 8 >= blocks_of(class) * heap.spans.len() as u64
                && !heap.free.is_empty()
            {
                return Ok(());
            }
            heap.rescan_from = heap.spans.len() + heap.spans.len() / 8;
        }
        let span = match self.adopt_left(class) {
            Some(span) => span,
            None => match self.form(class) {
                Ok(span) => span,
                // The last resort: what others have freed since the last look.
                Err(error) => {
                    heap.rescan(self.arena, class);
                    let found = !heap.free.is_empty();
                    return if found { Ok(()) } else { Err(error) };
                }
            },
        };
        heap.spans.push(span);
        heap.find_free(self.arena, class, span);
        Ok(())
    }

    /// Makes a new span of a class. Killed before the last store: CLAIMED by the dead, swept.
    fn form(&self, class: usize) -> Result<u32, ArenaError> {
        let span = self.claim_spans(1)?;
        crash_point!("heap.span_claimed");
        // Its window may not fit into our address space.
        let words = self.arena.block_words(span, class);
        for word in words.inspect_err(|_| self.arena.free_span(span))? {
            word.store(FREE, Relaxed);
        }
        let word = SpanState::Class(class, self.local.owner).word();
        // Release: who reads the class finds its words cleared.
        self.arena.span_word(span).store(word, Release);
        crash_point!("heap.span_formed");
        Ok(span)
    }

    fn adopt_left(&self, class: usize) -> Option<u32> {
        let left = SpanState::Class(class, OwnerId::NONE);
        let span = self.arena.spans().find(|(_, state)| *state == left)?.0;
        self.adopt(span, left).then_some(span)
    }

    /// Makes the class span of a dead or departed owner ours.
    fn adopt(&self, span: u32, from: SpanState) -> bool {
        let SpanState::Class(class, _) = from else {
            return false;
        };
        let ours = SpanState::Class(class, self.local.owner).word();
        let word = self.arena.span_word(span);
        word.compare_exchange(from.word(), ours, AcqRel, Relaxed)
            .is_ok()
    }

    /// Adopts a dead owner's span and gives it back when it is empty.
    pub fn inherit(&self, span: u32, from: SpanState) {
        let SpanState::Class(class, _) = from else {
            return;
        };
        let mut private = self.local.private();
        // A class that there is not: the word is spoilt, and fsck says so.
        let Some(heap) = private.heap.classes.get_mut(class) else {
            return;
        };
        if self.adopt(span, from) {
            heap.spans.push(span);
            heap.rescan(self.arena, class);
            heap.trim(self.arena, class);
        }
    }

    fn allocate_run(&self, size: u64, purpose: Purpose) -> Result<Block, ArenaError> {
        let spans = size.div_ceil(SPAN) as u32;
        let head = self.claim_spans(spans)?;
        crash_point!("heap.run_claimed");
        for tail in head + 1..head + spans {
            let word = SpanState::Tail(head).word();
            self.arena.span_word(tail).store(word, Release);
            crash_point!("heap.run_tailing");
        }
        crash_point!("heap.run_tailed");
        let state = BlockState::Alloc(purpose, self.local.owner);
        let word = SpanState::Run(spans, state).word();
        self.arena.span_word(head).store(word, Release);
        Block::run(self.arena, head, spans).inspect_err(|_| self.arena.free_run(head, spans))
    }

    /// Takes `count` neighbouring spans, lowest first, each CLAIMED by us in its own CAS.
    fn claim_spans(&self, count: u32) -> Result<u32, ArenaError> {
        let arena = self.arena;
        let header = arena.header();
        let claimed = SpanState::Claimed(self.local.owner).word();
        let mut first = header.span_hint.load(Relaxed).max(FIRST_SPAN);
        loop {
            if first + count > arena.span_limit() {
                return Err(ArenaError::NoMemory(format!(
                    "no {count} free spans of 64 KiB in a row in an arena of {} bytes \
                     (PROCESSION_ARENA sets its size)",
                    arena.size()
                )));
            }
            arena.commit_words(first, count)?;
            // Before the claim: a sweeper looks no further than this, and we may die any time.
            header.spans_used.fetch_max(first + count, Relaxed);
            let busy = (first..first + count).find(|span| {
                let word = arena.span_word(*span);
                let taken = word.compare_exchange(FREE, claimed, AcqRel, Relaxed);
                crash_point!("heap.claiming");
                taken.is_err()
            });
            let Some(busy) = busy else {
                break;
            };
            for span in first..busy {
                arena.span_word(span).store(FREE, Release);
            }
            first = busy + 1;
        }
        // As in `take_free`.
        fence(Release);
        header.busy_at.store(now_ns(), Relaxed);
        // Under the claim: see `commit`.
        arena.commit(first, count).inspect_err(|_| {
            for span in first..first + count {
                arena.span_word(span).store(FREE, Release);
            }
        })?;
        if count == 1 {
            let _ = header
                .span_hint
                .compare_exchange(first, first + 1, Relaxed, Relaxed);
        }
        Ok(first)
    }

    /// Gives a block back: one store of its word (for a run: its tails first, its head last).
    pub fn free(&self, block: &Block) {
        if let Some((head, spans)) = block.spans() {
            self.arena.free_run(head, spans);
        } else {
            block.word.store(FREE, Release);
            crash_point!("heap.freed");
            self.remember_free(block);
        }
    }

    /// The same, without remembering where it was: for who has the private part locked.
    pub fn release(&self, block: &Block) {
        if let Some((head, spans)) = block.spans() {
            self.arena.free_run(head, spans);
        } else {
            block.word.store(FREE, Release);
            crash_point!("heap.released");
        }
    }

    fn remember_free(&self, block: &Block) {
        let Some((class, place)) = block.place() else {
            return;
        };
        let mine = SpanState::Class(class, self.local.owner).word();
        // Under the mutex: another thread must not give the span back after our look.
        let mut private = self.local.private();
        if self.arena.span_word(place.span).load(Relaxed) == mine {
            private.heap.classes[class].free.push(place);
        }
    }

    /// Gives empty spans back to the arena.
    pub fn trim(&self) {
        let mut private = self.local.private();
        for (class, heap) in private.heap.classes.iter_mut().enumerate() {
            heap.rescan(self.arena, class);
            heap.trim(self.arena, class);
        }
    }

    /// Leaves our class spans to whoever needs them next; empty ones go back to the arena.
    pub fn leave_spans(&self) {
        let mut private = self.local.private();
        for (class, heap) in private.heap.classes.iter_mut().enumerate() {
            heap.rescan(self.arena, class);
            heap.trim(self.arena, class);
            let left = SpanState::Class(class, OwnerId::NONE).word();
            for span in heap.spans.drain(..) {
                self.arena.span_word(span).store(left, Release);
            }
            heap.free.clear();
        }
    }
}

impl ClassHeap {
    /// Reads all our words anew: others have freed blocks meanwhile. Lowest places come out first.
    fn rescan(&mut self, arena: &'static Arena, class: usize) {
        self.free.clear();
        self.spans.sort_unstable_by(|a, b| b.cmp(a));
        for index in 0..self.spans.len() {
            self.find_free(arena, class, self.spans[index]);
        }
    }

    /// Adds the free blocks of one span.
    fn find_free(&mut self, arena: &'static Arena, class: usize, span: u32) {
        let words = arena.block_words(span, class).unwrap_or_default();
        for (index, word) in words.iter().enumerate().rev() {
            if word.load(Acquire) == FREE {
                let index = index as u64;
                self.free.push(Place { span, index });
            }
        }
    }

    /// Gives wholly free spans back. Only we allocate in them, so free they stay.
    fn trim(&mut self, arena: &'static Arena, class: usize) {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for place in &self.free {
            *counts.entry(place.span).or_default() += 1;
        }
        counts.retain(|_, count| *count == blocks_of(class));
        self.free.retain(|place| !counts.contains_key(&place.span));
        self.spans.retain(|span| !counts.contains_key(span));
        self.rescan_from = 0;
        for span in counts.into_keys() {
            arena.free_span(span);
        }
    }
}

impl Arena {
    /// The words of all blocks of a class span.
    pub(crate) fn block_words(
        &self,
        span: u32,
        class: usize,
    ) -> Result<&'static [AtomicU64], ArenaError> {
        let offset = u64::from(span) * SPAN + word_offset(0);
        self.words(offset, blocks_of(class))
    }

    /// A block's word in a class span.
    pub fn block_word(&self, span: u32, index: u64) -> Result<&'static AtomicU64, ArenaError> {
        self.at(u64::from(span) * SPAN + word_offset(index))
    }

    /// Every span that was ever used, with its state; impossible words are left out. Also
    /// those whose memory went back to the kernel: who gave it may have died over it.
    pub fn spans(&self) -> impl Iterator<Item = (u32, SpanState)> {
        let used = self
            .header()
            .spans_used
            .load(Acquire)
            .min(self.span_limit());
        (FIRST_SPAN..used)
            .filter_map(|span| Some((span, SpanState::of(self.span_word(span).load(Acquire))?)))
    }

    /// Frees one span.
    pub fn free_span(&self, span: u32) {
        self.span_word(span).store(FREE, Release);
        self.header().span_hint.fetch_min(span, Relaxed);
    }

    /// Gives a block back without telling any process's heap, which will find it.
    pub fn free_block(&self, block: &Block) {
        match block.spans() {
            Some((head, spans)) => self.free_run(head, spans),
            None => block.word.store(FREE, Release),
        }
    }

    /// Frees a run: tails that still are its own first, the head last, so that a survivor of a
    /// killed freer finds the length and begins anew.
    pub fn free_run(&self, head: u32, spans: u32) {
        let tail = SpanState::Tail(head).word();
        for span in head + 1..head + spans {
            let _ = self
                .span_word(span)
                .compare_exchange(tail, FREE, AcqRel, Relaxed);
        }
        crash_point!("heap.tails_freed");
        self.free_span(head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_fit_their_spans_and_keep_lines() {
        for (class, size) in CLASSES.into_iter().enumerate() {
            let last = blocks_of(class) - 1;
            assert_eq!(block_offset(class, 0) % 64, 0);
            assert!(block_offset(class, last) + size <= SPAN);
            assert!(word_offset(last) + 8 <= block_offset(class, 0));
            let wasted = SPAN - block_offset(class, last) - size;
            assert!(wasted < size + 8, "class {class} wastes {wasted}");
        }
        assert_eq!(blocks_of(CLASSES.len() - 1), 2);
    }
}
