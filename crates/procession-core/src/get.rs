//! How messages leave a queue.
//!
//! ```text
//!                                                         killed right after it
//! 1  lock the consumers' side; anything there?            nothing happened
//! 2  read the message (END: go to the next chunk);        it still is there: the next consumer's
//!    copy its bytes
//! 3  its blocks: the journal, then CLAIM by me            repair: not committed, back to OWNED
//!    acknowledged queues: taken by me                     beyond the commit: overwritten
//! 4  write the idle record, with the chunk left behind    scratch
//! 5  COMMIT                                               it is mine, and dies with me (or is
//!                                                         outstanding: see `acks`)
//! 6  the chunk left behind: spare, or freed               repair does it again
//! 7  unlock; bounded: wake a producer                     slices
//! 8  the block is mine until I free it                    CLAIM by the dead: swept
//! ```

use crate::acks::{self, Acks};
use crate::chunk::{self, Head, Mark, Place, Store};
use crate::message::mode;
use crate::put::count_takeover;
use crate::side::Side;
use procession_shm::layout::QueueLine;
use procession_shm::{ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// A message that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Where it lies.
    pub place: Place,
    /// What it is.
    pub head: Head,
}

/// A get under the consumers' lock.
#[derive(Debug)]
pub struct Taking<'a, S> {
    line: &'a QueueLine,
    store: &'a S,
    me: OwnerId,
    mode: u32,
    words: u32,
    side: Side<'a>,
    place: Place,
    retired: u32,
    /// The chunk behind, where messages are acknowledged.
    behind: u32,
    count: u64,
    bytes: u64,
    claims: bool,
}

impl<'a, S: Store> Taking<'a, S> {
    /// Begins; the caller holds the lock.
    #[inline]
    pub fn begin(line: &'a QueueLine, store: &'a S, me: OwnerId) -> Self {
        let mode = line.terms.mode.load(Relaxed);
        let side = Side(&line.consumers);
        Self {
            line,
            store,
            me,
            mode,
            words: words_of(mode),
            side,
            place: side.place(),
            retired: 0,
            behind: 0,
            count: 0,
            bytes: 0,
            claims: false,
        }
    }

    /// Step 1.
    #[inline]
    pub fn has_more(&self) -> bool {
        let seq = (self.side.word() >> 1) + self.count;
        let known = &self.line.consumer_notes.other_seq;
        if seq < known.load(Relaxed) {
            return true;
        }
        known.store(Side(&self.line.producers).seq(), Relaxed);
        seq < known.load(Relaxed)
    }

    /// Steps 2 and 3: the next message, whose bytes are appended. There is one.
    #[inline]
    pub fn take(
        &mut self,
        into: &mut Vec<u8>,
        blocks: &mut Vec<u64>,
        gone: &mut Vec<u64>,
    ) -> Result<Taken, ArenaError> {
        let head = loop {
            if self.place.chunk == 0 {
                self.place = chunk::next_place(self.place, chunk::first(self.line));
                continue;
            }
            match chunk::mark(self.store, self.place)? {
                Mark::Message(head) => break head,
                Mark::End(next) => self.cross(next, gone),
            }
        };
        let place = self.place;
        if head.blocks != 0 {
            self.take_blocks(place, head, blocks)?;
        }
        let at = place.pos + head.bytes_at(self.words);
        self.store
            .append_to(place.chunk, at, head.length as usize, into)?;
        if self.words != 2 {
            let taken = acks::first_delivery(self.me, self.mode, head.blocks != 0);
            self.store
                .word(place.chunk, place.pos + 8)?
                .store(taken, Relaxed);
            let left = &self.store.header(place.chunk)?.left;
            left.store(left.load(Relaxed) + 1, Relaxed);
        }
        self.place.pos = place.pos + head.size(self.words);
        self.count += 1;
        self.bytes += u64::from(head.length);
        Ok(Taken { place, head })
    }

    fn cross(&mut self, next: u32, gone: &mut Vec<u64>) {
        // So that a commit leaves no more than one chunk behind.
        self.commit(gone);
        // An acknowledged queue's chunk stays until all of it is acknowledged.
        let behind = self.place.chunk;
        (self.retired, self.behind) = if self.words == 2 {
            (behind, 0)
        } else {
            (0, behind)
        };
        self.place = chunk::next_place(self.place, next);
    }

    /// Step 3.
    #[cold]
    fn take_blocks(
        &mut self,
        place: Place,
        head: Head,
        blocks: &mut Vec<u64>,
    ) -> Result<(), ArenaError> {
        if self.mode & mode::REDELIVERING != 0 {
            // They stay the queue's: the receiver copies them.
            blocks.extend(chunk::blocks(self.store, place, head, self.words));
            return Ok(());
        }
        let side = self.side.0;
        side.journal_own.store(self.me.bits(), Relaxed);
        side.journal_count.store(self.count as u32 + 1, Relaxed);
        // Release: who finds the journal finds its owner and the count.
        side.journal.store((self.side.word() >> 1) + 1, Release);
        self.claims = true;
        crash_point!("queue.get_journalled");
        for block in chunk::blocks(self.store, place, head, self.words) {
            if !self.store.claim(block, self.me) {
                return Err(chunk::torn());
            }
            crash_point!("queue.claimed");
            blocks.push(block);
        }
        Ok(())
    }

    /// All of the chunk behind may have been acknowledged already.
    #[cold]
    fn leave_behind(&mut self, gone: &mut Vec<u64>) {
        let behind = std::mem::take(&mut self.behind);
        let header = self.store.header(behind);
        if header.is_ok_and(|header| header.left.load(Relaxed) == 0) {
            let (line, store) = (self.line, self.store);
            Acks { line, store }.unlink_if_left(behind, self.me, gone);
        }
    }

    /// Steps 4 to 6; chunks that are the caller's to free after the lock go to `gone`.
    #[inline]
    pub fn commit(&mut self, gone: &mut Vec<u64>) {
        if self.count == 0 {
            return;
        }
        self.side.commit(self.count, self.place, self.retired);
        if self.retired != 0 {
            retire(self.line, self.store, self.me, gone);
            self.retired = 0;
        }
        if self.behind != 0 {
            self.leave_behind(gone);
        }
        if self.claims {
            self.side.0.journal.store(0, Release);
            self.claims = false;
        }
        let notes = &self.line.consumer_notes;
        let bytes = notes.bytes.load(Relaxed).wrapping_add(self.bytes);
        notes.bytes.store(bytes, Relaxed);
        self.count = 0;
        self.bytes = 0;
    }
}

/// Words of a message before its blocks.
#[inline]
#[must_use]
pub fn words_of(mode: u32) -> u32 {
    2 + (mode & mode::ACKNOWLEDGING)
}

/// Step 6, for the chunk that the record names. Its number tells whether it was done before.
#[cold]
fn retire(line: &QueueLine, store: &impl Store, me: OwnerId, gone: &mut Vec<u64>) {
    let side = Side(&line.consumers);
    let record = side.record();
    let chunk = record.retired.load(Relaxed);
    let number = record.chunk_seq.load(Relaxed).wrapping_sub(1);
    put_away(line, store, me, chunk, number, gone);
    crash_point!("queue.retired");
    record.retired.store(0, Relaxed);
}

/// Makes a chunk that nobody is in the spare one, or the caller's to free. Done before, by who
/// died over it: then the spare is this chunk, or the chunk has another number.
pub fn put_away(
    line: &QueueLine,
    store: &impl Store,
    me: OwnerId,
    chunk: u32,
    number: u32,
    gone: &mut Vec<u64>,
) {
    let spare = line.chain.spare.load(Acquire);
    if spare == chunk || !store.is_numbered(chunk, number) {
        return;
    }
    if spare == 0 {
        // Release pairs with the Acquire of `cross`: we have read all that was in it.
        line.chain.spare.store(chunk, Release);
        crash_point!("queue.spared");
    } else if store.retract(chunk, me) {
        crash_point!("queue.chunk_retracted");
        gone.push(chunk::offset(chunk));
    }
}

/// What a takeover of the consumers' lock runs: undoes claims that were not committed, finishes
/// step 6. Idempotent.
pub fn repair(line: &QueueLine, store: &impl Store, words: u32, me: OwnerId, gone: &mut Vec<u64>) {
    undo(line, store, words);
    let side = Side(&line.consumers);
    if side.record().retired.load(Relaxed) != 0 {
        retire(line, store, me, gone);
    }
    if words != 2 {
        Acks { line, store }.repair(me, gone);
    }
    count_takeover(side);
}

/// Puts back what was claimed and not committed.
pub fn undo(line: &QueueLine, store: &impl Store, words: u32) {
    let side = Side(&line.consumers);
    let journal = side.0.journal.load(Acquire);
    if journal > side.seq() {
        let own = OwnerId::of_word(side.0.journal_own.load(Relaxed));
        let count = side.0.journal_count.load(Relaxed) as usize;
        let until = Side(&line.producers).seq() - side.seq();
        let nowhere = Place {
            chunk: u32::MAX,
            ..Place::default()
        };
        let messages = chunk::walk(store, chunk::first(line), side.place(), nowhere, words);
        for (place, head) in messages.take(count.min(until as usize)) {
            for block in chunk::blocks(store, place, head, words) {
                store.unclaim(block, own);
                crash_point!("queue.unclaimed");
            }
        }
    }
    side.0.journal.store(0, Release);
}
