//! What becomes of messages that were taken from a queue with acknowledgements.
//!
//! Such a queue keeps its chunks until everything in them is acknowledged: so a chunk is the
//! ledger of who took what, in order, and a message that comes back still is in its place.
//!
//! ```text
//! who took it   0 nobody | owner [| DELIVERING] | DONE | RETURNED | LETTER          one store each
//!
//! take        1 copy   2 owner, 1st delivery   3 the get's COMMIT                   see `get`
//! take again  1 copy   2 owner, delivery + 1 (commit)   3 returned - 1
//! done        1 DONE (commit)   2 done + 1, chunk's left - 1   3 its blocks ALLOC by me, word 0
//! give back   1 RETURNED, or LETTER after too many deliveries (commit)   2 returned + 1
//! unlink      1 unlinking = chunk   2 the chunk before (or `first`) leads to the next (commit)
//!             3 spare, or freed   4 unlinking = 0
//! ```
//!
//! All of it happens under the consumers' lock. Counts and the cursor are caches: a takeover
//! rebuilds them from the words. A message whose taker is dead is given back or, where nothing is
//! delivered again, stays outstanding with a DECEASED taker. A redelivered message's blocks stay
//! the queue's: each receiver gets copies, so that what is delivered again is what was put.

use crate::chunk::{self, Head, Mark, Place, Store};
use crate::get;
use crate::message::mode;
use crate::side::Side;
use procession_shm::layout::QueueLine;
use procession_shm::{ArenaError, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

/// Acknowledged.
pub const DONE: u32 = 1 << 31;
/// Given back: the next consumer's.
pub const RETURNED: u32 = DONE | 1;
/// Delivered too often: for the dead-letter queue.
pub const LETTER: u32 = DONE | 2;
/// Its taker still copies its blocks: nobody else may acknowledge it.
pub const DELIVERING: u32 = 1 << 30;

/// Which message of a queue: its place, and the number of the chunk there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticket {
    chunk: u32,
    number: u32,
    pos: u32,
}

impl Ticket {
    pub(crate) fn of(place: Place) -> Self {
        Self {
            chunk: place.chunk,
            number: place.seq,
            pos: place.pos,
        }
    }
}

/// A message that was taken, with the word that says by whom.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where it lies; its number is read when it is needed.
    pub place: Place,
    /// What it is.
    pub head: Head,
    /// `[63..32 deliveries | 31..0 who took it]`.
    pub word: &'a AtomicU64,
}

impl Entry<'_> {
    /// Who took it, or what became of it.
    #[must_use]
    pub fn taker(&self) -> u32 {
        self.word.load(Relaxed) as u32
    }

    /// How often it has been delivered.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        (self.word.load(Relaxed) >> 32) as u32
    }

    /// The process that has it.
    #[must_use]
    pub fn owner(&self) -> Option<OwnerId> {
        let taker = self.taker();
        (taker & DONE == 0).then(|| OwnerId::of_word(taker))
    }

    fn is_done(&self) -> bool {
        self.taker() == DONE
    }

    fn is_delivering(&self) -> bool {
        self.taker() & (DONE | DELIVERING) == DELIVERING
    }

    fn become_(&self, taker: u32, deliveries: u32) {
        let word = u64::from(deliveries) << 32 | u64::from(taker);
        // Release: who takes it next sees what its last taker did.
        self.word.store(word, Release);
    }
}

/// The word of a message that `owner` takes for the first time.
#[must_use]
pub fn first_delivery(owner: OwnerId, mode: u32, has_blocks: bool) -> u64 {
    1 << 32 | u64::from(taker_of(owner, mode, has_blocks))
}

fn taker_of(owner: OwnerId, mode: u32, has_blocks: bool) -> u32 {
    if mode & mode::REDELIVERING != 0 && has_blocks {
        owner.bits() | DELIVERING
    } else {
        owner.bits()
    }
}

/// The acknowledgements of a queue whose consumers' lock the caller holds.
#[derive(Clone, Copy, Debug)]
pub struct Acks<'a, S> {
    /// The queue.
    pub line: &'a QueueLine,
    /// Its memory.
    pub store: &'a S,
}

const WORDS: u32 = 3;

fn change(word: &procession_sys::prim::AtomicU32, by: i32) {
    word.store(word.load(Relaxed).wrapping_add_signed(by), Relaxed);
}

impl<'a, S: Store> Acks<'a, S> {
    fn mode(&self) -> u32 {
        self.line.terms.mode.load(Relaxed)
    }

    fn redelivers(&self) -> bool {
        self.mode() & mode::REDELIVERING != 0
    }

    fn entries_from(&self, from: Place) -> impl Iterator<Item = Entry<'a>> + use<'a, S> {
        let (line, store) = (self.line, self.store);
        let until = Side(&line.consumers).place();
        chunk::walk(store, chunk::first(line), from, until, WORDS).filter_map(
            move |(place, head)| {
                let word = store.word(place.chunk, place.pos + 8).ok()?;
                Some(Entry { place, head, word })
            },
        )
    }

    /// Everything taken and not acknowledged, oldest first.
    pub fn outstanding(&self) -> impl Iterator<Item = Entry<'a>> + use<'a, S> {
        let from = Place {
            chunk: self.line.acks.cursor_chunk.load(Relaxed),
            pos: self.line.acks.cursor_pos.load(Relaxed),
            seq: 0,
        };
        self.entries_from(from).filter(|entry| !entry.is_done())
    }

    /// What `owner` took first and did not acknowledge.
    #[must_use]
    pub fn oldest_of(&self, owner: OwnerId) -> Option<Entry<'a>> {
        self.outstanding()
            .find(|entry| entry.owner() == Some(owner) && !entry.is_delivering())
    }

    /// What was taken first by anybody and not acknowledged.
    #[must_use]
    pub fn oldest(&self) -> Option<Entry<'a>> {
        self.outstanding()
            .find(|entry| entry.owner().is_some() && !entry.is_delivering())
    }

    /// The message of a ticket, while `owner` has it.
    #[must_use]
    pub fn find(&self, ticket: Ticket, owner: OwnerId) -> Option<Entry<'a>> {
        let Ticket { chunk, number, pos } = ticket;
        // Only a message that was put is taken, and its word says by whom.
        if chunk == 0 || !self.store.is_numbered_or_new(chunk, number) {
            return None;
        }
        let place = Place {
            chunk,
            pos,
            seq: number,
        };
        let Ok(Mark::Message(head)) = chunk::mark(self.store, place) else {
            return None;
        };
        let word = self.store.word(chunk, pos + 8).ok()?;
        let entry = Entry { place, head, word };
        (entry.owner() == Some(owner)).then_some(entry)
    }

    /// A returned message becomes `owner`'s; it has copied it.
    pub fn take_again(&self, entry: &Entry<'_>, owner: OwnerId) {
        let taker = taker_of(owner, self.mode(), entry.head.blocks != 0);
        entry.become_(taker, entry.deliveries().saturating_add(1));
        crash_point!("queue.taken_again");
        change(&self.line.acks.returned, -1);
    }

    /// A dead letter becomes `owner`'s, who moves it.
    pub fn take_letter(&self, entry: &Entry<'_>, owner: OwnerId) {
        entry.become_(owner.bits() | DELIVERING, entry.deliveries());
        crash_point!("queue.letter_taken");
        change(&self.line.acks.letters, -1);
    }

    /// The first message in that state.
    #[must_use]
    pub fn first_that_is(&self, taker: u32) -> Option<Entry<'a>> {
        self.outstanding().find(|entry| entry.taker() == taker)
    }

    /// Gives a message back to the queue.
    pub fn give_back(&self, entry: &Entry<'_>) {
        let most = self.line.terms.max_deliveries.load(Relaxed);
        let deliveries = entry.deliveries();
        let (taker, count) = if most != 0 && deliveries >= most {
            (LETTER, &self.line.acks.letters)
        } else {
            (RETURNED, &self.line.acks.returned)
        };
        entry.become_(taker, deliveries);
        crash_point!("queue.given_back");
        change(count, 1);
    }

    /// Takes what it has from every owner that `is_gone`; how many messages came back. Where
    /// nothing is delivered again they stay outstanding, and nobody's.
    pub fn bury(&self, is_gone: impl Fn(OwnerId) -> bool, pid_of: impl Fn(OwnerId) -> u32) -> u32 {
        let mut returned = 0;
        let mut known: Option<(OwnerId, bool)> = None;
        for entry in self.outstanding() {
            let Some(owner) = entry.owner().filter(|owner| *owner != OwnerId::DECEASED) else {
                continue;
            };
            // Runs of the same owner are asked about once.
            let gone = match known {
                Some((asked, answer)) if asked == owner => answer,
                _ => is_gone(owner),
            };
            known = Some((owner, gone));
            if !gone {
                continue;
            }
            if self.redelivers() {
                self.give_back(&entry);
                returned += 1;
            } else {
                self.line.acks.last_dead_pid.store(pid_of(owner), Relaxed);
                entry.become_(OwnerId::DECEASED.bits(), entry.deliveries());
                crash_point!("queue.taker_buried");
            }
        }
        returned
    }

    /// Acknowledges a message. Chunks and blocks that are the caller's to free go to `gone`.
    pub fn finish(&self, entry: &Entry<'_>, me: OwnerId, gone: &mut Vec<u64>) {
        match entry.taker() {
            RETURNED => change(&self.line.acks.returned, -1),
            LETTER => change(&self.line.acks.letters, -1),
            _ => {}
        }
        entry.become_(DONE, entry.deliveries());
        crash_point!("queue.acknowledged");
        let done = &self.line.acks.done;
        done.store(done.load(Relaxed) + 1, Release);
        self.release_blocks(entry, me, gone);
        self.advance();
        if let Ok(header) = self.store.header(entry.place.chunk) {
            change(&header.left, -1);
            if header.left.load(Relaxed) == 0 {
                self.unlink_if_left(entry.place.chunk, me, gone);
            }
        }
    }

    /// The blocks of an acknowledged message go with it. Each word is zeroed after its block was
    /// retracted: a block that it names and that is OWNED is the message's.
    fn release_blocks(&self, entry: &Entry<'_>, me: OwnerId, gone: &mut Vec<u64>) {
        if !self.redelivers() {
            return;
        }
        for index in 0..entry.head.blocks {
            let at = entry.place.pos + (WORDS + index) * 8;
            let Ok(word) = self.store.word(entry.place.chunk, at) else {
                return;
            };
            let block = word.load(Relaxed);
            if block != 0 && self.store.retract_block(block, me) {
                crash_point!("queue.block_retracted");
                gone.push(block);
            }
            word.store(0, Relaxed);
        }
    }

    /// Moves the cursor over what has been acknowledged.
    fn advance(&self) {
        let next = self.outstanding().next();
        let place = next.map_or_else(|| Side(&self.line.consumers).place(), |entry| entry.place);
        self.line.acks.cursor_chunk.store(place.chunk, Relaxed);
        self.line.acks.cursor_pos.store(place.pos, Relaxed);
    }

    fn next_of(&self, chunk: u32) -> Result<u32, ArenaError> {
        let at = self.store.header(chunk)?.end.load(Relaxed);
        let word = self.store.word(chunk, at)?.load(Relaxed);
        Ok((word >> 32) as u32)
    }

    /// The chunks that consumers have left, from the first on.
    fn left_chunks(&self) -> Vec<u32> {
        let last = Side(&self.line.consumers).place().chunk;
        let mut chunks = Vec::new();
        let mut next = chunk::first(self.line);
        while last != 0 && next != last && next != 0 && chunks.len() <= self.store.most() {
            chunks.push(next);
            next = self.next_of(next).unwrap_or(0);
        }
        chunks
    }

    /// Takes a chunk out of the chain, if consumers have left it: all of it is acknowledged.
    pub fn unlink_if_left(&self, chunk: u32, me: OwnerId, gone: &mut Vec<u64>) {
        let left = self.left_chunks();
        let Some(index) = left.iter().position(|of| *of == chunk) else {
            return;
        };
        let (Ok(next), Ok(header)) = (self.next_of(chunk), self.store.header(chunk)) else {
            return;
        };
        let acks = &self.line.acks;
        acks.unlinking_seq.store(header.seq.load(Relaxed), Relaxed);
        // Release: who finds the chunk finds its number.
        acks.unlinking.store(chunk, Release);
        crash_point!("queue.unlinking");
        if acks.cursor_chunk.load(Relaxed) == chunk {
            acks.cursor_chunk.store(0, Relaxed);
            acks.cursor_pos.store(0, Relaxed);
        }
        match index.checked_sub(1).map(|before| left[before]) {
            None => self.line.chain.first.store(next, Release),
            Some(before) => {
                if let Ok(word) = self
                    .store
                    .header(before)
                    .and_then(|header| self.store.word(before, header.end.load(Relaxed)))
                {
                    word.store(chunk::end(next), Relaxed);
                }
            }
        }
        crash_point!("queue.unlinked");
        self.finish_unlink(me, gone);
    }

    fn finish_unlink(&self, me: OwnerId, gone: &mut Vec<u64>) {
        let acks = &self.line.acks;
        let (chunk, number) = (
            acks.unlinking.load(Acquire),
            acks.unlinking_seq.load(Relaxed),
        );
        get::put_away(self.line, self.store, me, chunk, number, gone);
        acks.unlinking.store(0, Relaxed);
    }

    /// What a takeover of the consumers' lock runs: finishes an unlinking, counts anew.
    pub fn repair(&self, me: OwnerId, gone: &mut Vec<u64>) {
        let acks = &self.line.acks;
        let unlinking = acks.unlinking.load(Acquire);
        if unlinking != 0 && !self.left_chunks().contains(&unlinking) {
            self.finish_unlink(me, gone);
        }
        acks.unlinking.store(0, Relaxed);
        acks.cursor_chunk.store(0, Relaxed);
        acks.cursor_pos.store(0, Relaxed);
        let side = Side(&self.line.consumers);
        let mut chunks = self.left_chunks();
        chunks.extend(Some(side.place().chunk).filter(|chunk| *chunk != 0));
        let headers = || chunks.iter().filter_map(|of| self.store.header(*of).ok());
        headers().for_each(|header| header.left.store(0, Relaxed));
        let (mut open, mut returned, mut letters) = (0, 0, 0);
        for entry in self.entries_from(Place::default()) {
            match entry.taker() {
                DONE => {
                    self.release_blocks(&entry, me, gone);
                    continue;
                }
                RETURNED => returned += 1,
                LETTER => letters += 1,
                _ => {}
            }
            open += 1;
            if let Ok(header) = self.store.header(entry.place.chunk) {
                change(&header.left, 1);
            }
        }
        acks.returned.store(returned, Relaxed);
        acks.letters.store(letters, Relaxed);
        acks.done.store(side.seq() - open, Release);
        self.advance();
        for chunk in self.left_chunks() {
            let header = self.store.header(chunk);
            if header.is_ok_and(|header| header.left.load(Relaxed) == 0) {
                self.unlink_if_left(chunk, me, gone);
            }
        }
    }
}
