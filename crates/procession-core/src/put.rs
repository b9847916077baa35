//! How messages come into a queue.
//!
//! ```text
//!                                                         killed right after it
//! 0  blocks ALLOC by me, filled, outside the lock         garbage: ALLOC by the dead
//! 1  lock the producers' side                             next taker repairs: nothing committed
//! 2  room? else unlock and wait                           nothing happened
//! 3  no room in the chunk: number the spare or a fresh    END lies beyond the commit: overwritten;
//!    one (ALLOC by me), END mark at the old place         a fresh chunk is garbage
//! 4  write the messages; with blocks: the journal         beyond the commit, or of no commit
//! 5  write the idle record                                scratch
//! 6  COMMIT                                               they ARE in the queue; repair does 7
//! 7  chunk and blocks OWNED, spare forgotten, no journal  only the lock is left
//! 8  unlock                                               sleepers on the lock: a slice
//! 9  sleepers? wake                                       their slice
//! ```
//!
//! One commit may bring many messages, all in one chunk: the chunk that the dead producer wrote
//! stays in its place while its lock does, so repair can read there which blocks to hand over.

use crate::chunk::{self, FIRST, Head, Place, Store};
use crate::side::Side;
use procession_shm::layout::QueueLine;
use procession_shm::{ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Where a new chunk came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum New {
    No,
    Spare,
    Fresh(u32),
}

/// Whether a put has come into another chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Crossed {
    /// There is none.
    No,
    /// It was the spare one.
    IntoSpare,
    /// It was the fresh one, which now is the queue's.
    IntoFresh,
}

/// A put under the producers' lock.
#[derive(Debug)]
pub struct Putting<'a, S> {
    line: &'a QueueLine,
    store: &'a S,
    me: OwnerId,
    words: u32,
    side: Side<'a>,
    place: Place,
    count: u64,
    bytes: u64,
    new: New,
    has_blocks: bool,
    /// Messages that the queue holds more than the consumers had taken when we looked last.
    most: u64,
    stamp: u64,
}

impl<'a, S: Store> Putting<'a, S> {
    /// Begins; the caller holds the lock.
    #[inline]
    pub fn begin(line: &'a QueueLine, store: &'a S, me: OwnerId, words: u32, stamp: u32) -> Self {
        let side = Side(&line.producers);
        let maxsize = line.terms.maxsize.load(Relaxed);
        Self {
            line,
            store,
            me,
            words,
            side,
            place: side.place(),
            count: 0,
            bytes: 0,
            new: New::No,
            has_blocks: false,
            most: if maxsize == 0 { u64::MAX } else { maxsize },
            stamp: u64::from(stamp),
        }
    }

    /// Step 2.
    #[inline]
    pub fn has_room(&self) -> bool {
        if self.most == u64::MAX {
            return true;
        }
        let returned = if self.words == 2 {
            0
        } else {
            u64::from(self.line.acks.returned.load(Relaxed))
        };
        let seq = (self.side.word() >> 1) + self.count + returned;
        let known = &self.line.producer_notes.other_seq;
        if seq - known.load(Relaxed) < self.most {
            return true;
        }
        known.store(Side(&self.line.consumers).seq(), Relaxed);
        seq - known.load(Relaxed) < self.most
    }

    /// Whether a message fits into the chunk.
    #[inline]
    pub fn fits(&self, head: Head) -> bool {
        chunk::fits(self.place, head.size(self.words))
    }

    /// Step 3: into the next chunk. What has been written so far is
    /// committed, so that a commit never spans two chunks.
    pub fn cross(&mut self, fresh: Option<u32>) -> Result<Crossed, ArenaError> {
        self.commit();
        // Acquire pairs with the Release of the consumers who retired it: they have left.
        let spare = self.line.chain.spare.load(Acquire);
        let (next, new, crossed) = match (spare, fresh) {
            (0, None) => return Ok(Crossed::No),
            (0, Some(fresh)) => (fresh, New::Fresh(fresh), Crossed::IntoFresh),
            (spare, _) => (spare, New::Spare, Crossed::IntoSpare),
        };
        let old = self.place;
        let place = chunk::next_place(old, next);
        self.store.header(next)?.seq.store(place.seq, Relaxed);
        if old.chunk == 0 {
            self.line.chain.first.store(next, Release);
        } else {
            let word = self.store.word(old.chunk, old.pos)?;
            word.store(chunk::end(next), Relaxed);
            self.store.header(old.chunk)?.end.store(old.pos, Relaxed);
        }
        crash_point!("queue.crossed");
        self.place = place;
        self.new = new;
        Ok(crossed)
    }

    /// Step 4: one message. It fits.
    #[inline]
    pub fn write(
        &mut self,
        head: Head,
        bytes: &[u8],
        blocks: impl Iterator<Item = u64>,
    ) -> Result<(), ArenaError> {
        let Place { chunk, pos, .. } = self.place;
        self.store.word(chunk, pos)?.store(head.word(), Relaxed);
        let stamp = if self.words == 2 {
            self.store.word(chunk, pos + 8)?
        } else {
            // Nobody has taken it; it was never delivered.
            self.store.word(chunk, pos + 8)?.store(0, Relaxed);
            self.store.word(chunk, pos + 16)?
        };
        stamp.store(self.stamp << 32, Relaxed);
        for (index, block) in blocks.enumerate() {
            let at = pos + (self.words + index as u32) * 8;
            self.store.word(chunk, at)?.store(block, Relaxed);
            self.has_blocks = true;
        }
        let at = pos + head.bytes_at(self.words);
        self.store.write(chunk, at, bytes)?;
        self.place.pos = pos + head.size(self.words);
        self.count += 1;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Steps 5 to 7.
    #[inline]
    pub fn commit(&mut self) {
        if self.count == 0 {
            return;
        }
        if self.has_blocks {
            let side = self.side.0;
            side.journal_own.store(self.me.bits(), Relaxed);
            let seq = (self.side.word() >> 1) + self.count;
            // Release: who finds the journal finds its owner.
            side.journal.store(seq, Release);
            crash_point!("queue.put_journalled");
        }
        self.side.commit(self.count, self.place, 0);
        if self.has_blocks || self.new != New::No {
            self.hand_over();
        }
        let notes = &self.line.producer_notes;
        let bytes = notes.bytes.load(Relaxed).wrapping_add(self.bytes);
        notes.bytes.store(bytes, Relaxed);
        self.count = 0;
        self.bytes = 0;
    }

    /// Step 7.
    #[cold]
    fn hand_over(&mut self) {
        match self.new {
            New::No => {}
            // Release: who sees that it is no spare any more sees its new number.
            New::Spare => self.line.chain.spare.store(0, Release),
            New::Fresh(chunk) => self.store.publish(chunk),
        }
        self.new = New::No;
        crash_point!("queue.chunk_handed_over");
        if self.has_blocks {
            hand_over_blocks(self.side, self.store, self.words, self.me);
            self.side.0.journal.store(0, Release);
        }
        self.has_blocks = false;
    }
}

/// Hands the blocks of the last commit's messages over to the queue.
fn hand_over_blocks(side: Side<'_>, store: &impl Store, words: u32, own: OwnerId) {
    let (before, now) = (side.before(), side.place());
    let from = if before.chunk == now.chunk {
        before
    } else {
        Place { pos: FIRST, ..now }
    };
    for (place, head) in chunk::walk(store, 0, from, now, words) {
        for block in chunk::blocks(store, place, head, words) {
            store.hand_over(block, own);
            crash_point!("queue.block_handed_over");
        }
    }
}

/// What a takeover of the producers' lock runs: finishes step 7, of whoever died. Idempotent.
pub fn repair(line: &QueueLine, store: &impl Store, words: u32) {
    let side = Side(&line.producers);
    let now = side.place();
    if now.chunk != 0 {
        store.publish(now.chunk);
        if line.chain.spare.load(Acquire) == now.chunk {
            line.chain.spare.store(0, Release);
        }
    }
    let journal = side.0.journal.load(Acquire);
    if journal != 0 && journal == side.seq() {
        let own = OwnerId::of_word(side.0.journal_own.load(Relaxed));
        hand_over_blocks(side, store, words, own);
    }
    side.0.journal.store(0, Release);
    count_takeover(side);
}

/// Notes that the lock came from the dead.
pub fn count_takeover(side: Side<'_>) {
    let recovered = side.0.recovered.load(Relaxed).wrapping_add(1);
    side.0.recovered.store(recovered, Relaxed);
}
