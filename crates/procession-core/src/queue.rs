//! A queue between processes: first in, first out, for any number of producers and consumers.
//!
//! ```text
//!   producers' lock                                       consumers' lock
//!        |     chunk            chunk            chunk          |
//!   put -+->  [m m m m END] -> [m m m m END] -> [m m m . . ] <--+- get
//!              ^ consumers' record                    ^ producers' record
//!                                |
//!                                +-> block (large payloads: copied outside every lock)
//! ```
//!
//! The steps are in [`crate::put`] and [`crate::get`], what becomes of messages that were taken in
//! [`crate::acks`]. Producers and consumers meet only in each other's commit word, and that they
//! read only when what they know of it does not suffice.

use crate::acks::{Acks, Ticket};
use crate::chunk::{self, BLOCKS_MOST, Chunks, INLINE_MOST, Store};
use crate::enclosures;
use crate::eventcount;
use crate::get::{self, Taken, Taking};
use crate::ilock::{self, Held};
pub use crate::message::{Got, Item, Message, Put, Terms, mode, state};
use crate::object::{Object, ObjectKind};
use crate::payload::{ClaimedBlock, PreparedBlock};
use crate::put::{self, Putting};
use procession_shm::block::Block;
use procession_shm::layout::{QueueLine, SPAN};
use procession_shm::member::Member;
use procession_shm::span::{BlockState, Purpose};
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::clock::coarse_ms;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, SeqCst};
use procession_sys::prim::fence;

/// A queue in the arena, as one of its holders sees it.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static QueueLine,
}

/// Why a put stops under the lock.
enum Stop {
    Done,
    Full,
    NoChunk,
}

/// What a message that was taken is.
pub(crate) struct Found {
    pub(crate) flags: u32,
    pub(crate) deliveries: u32,
    pub(crate) ticket: Ticket,
}

impl Queue<'_> {
    /// Makes a queue and one handle, ours.
    pub fn create(member: Member, maxsize: u64, acknowledging: bool) -> Result<Object, ArenaError> {
        let mode = if acknowledging {
            mode::ACKNOWLEDGING
        } else {
            0
        };
        Self::create_with(
            member,
            Terms {
                maxsize,
                mode,
                ..Terms::default()
            },
        )
    }

    /// The same, on more terms.
    pub fn create_with(member: Member, terms: Terms) -> Result<Object, ArenaError> {
        let nbytes = size_of::<QueueLine>() as u64;
        Object::create(member, ObjectKind::Queue, nbytes, |object| {
            let line: &QueueLine = object.body(member.arena)?;
            line.terms.maxsize.store(terms.maxsize, Relaxed);
            line.terms.mode.store(terms.mode, Relaxed);
            line.terms.expected.store(terms.producers, Relaxed);
            line.terms
                .max_deliveries
                .store(terms.max_deliveries, Relaxed);
            Ok(())
        })
    }

    /// Its memory.
    pub(crate) fn chunks(&self, arena: &'static Arena) -> Chunks {
        Chunks {
            arena,
            parent: self.object.offset,
            parent_serial: self.object.serial,
        }
    }

    pub(crate) fn mode(&self) -> u32 {
        self.line.terms.mode.load(Relaxed)
    }

    /// Words of a message before its blocks.
    #[inline]
    pub(crate) fn words(&self) -> u32 {
        get::words_of(self.mode())
    }

    /// Shut bits.
    #[inline]
    pub(crate) fn state(&self) -> u32 {
        // Acquire pairs with the Release of `shutdown`: the last message is visible.
        self.line.terms.state.load(Acquire)
    }

    #[inline]
    pub(crate) fn lock_producers(&self, member: Member) -> Held<'static> {
        let word = &self.line.producers.lock;
        ilock::acquire(word, member.local.owner, member.arena, || {
            put::repair(self.line, &self.chunks(member.arena), self.words());
        })
    }

    /// Chunks that a repair left to be freed go to `gone`.
    #[inline]
    pub(crate) fn lock_consumers(&self, member: Member, gone: &mut Vec<u64>) -> Held<'static> {
        let (word, me) = (&self.line.consumers.lock, member.local.owner);
        ilock::acquire(word, me, member.arena, || {
            let chunks = self.chunks(member.arena);
            get::repair(self.line, &chunks, self.words(), me, gone);
        })
    }

    // ---- put ----------------------------------------------------------------------------

    /// Puts a message, if there is room. `NoMemory`: the arena has none for another chunk.
    #[inline]
    pub fn try_put(&self, member: Member, message: Message<'_>) -> Result<Put, ArenaError> {
        let (_, put) = self.try_put_many(member, &[message])?;
        Ok(put)
    }

    /// Puts as many of the messages as there is room for, in their order, nothing in between;
    /// how many, and what ended it. `Rings` may be of a part: ring, then go on with the rest.
    pub fn try_put_many(
        &self,
        member: Member,
        messages: &[Message<'_>],
    ) -> Result<(usize, Put), ArenaError> {
        for message in messages {
            self.address(member, message)?;
        }
        let chunks = self.chunks(member.arena);
        let stamp = coarse_ms();
        let mut fresh = None;
        let mut done = 0;
        let outcome = loop {
            let held = self.lock_producers(member);
            crash_point!("queue.put_locked");
            if self.state() & state::SHUT != 0 {
                break Ok(Put::Shut);
            }
            let me = member.local.owner;
            let mut putting = Putting::begin(self.line, &chunks, me, self.words(), stamp);
            let stop = fill(&mut putting, messages, &mut done, &mut fresh);
            drop(held);
            match stop {
                Ok(Stop::Done) => break Ok(Put::Done),
                Ok(Stop::Full) => break Ok(Put::Full),
                Ok(Stop::NoChunk) => {}
                Err(error) => break Err(error),
            }
            match chunk::allocate(member, &chunks) {
                Ok(block) => fresh = Some(block),
                // What has been put has been put; the next call says what is the matter.
                Err(_) if done > 0 => break Ok(Put::Full),
                Err(error) => break Err(error),
            }
        };
        if let Some(unused) = fresh {
            member.free(&unused);
        }
        let outcome = outcome?;
        if done == 0 {
            return Ok((0, outcome));
        }
        let sent = messages[..done].iter().map(|message| message.blocks.len());
        PreparedBlock::is_sent(member, sent.sum());
        let bells = self.wake_consumers(done);
        if bells.is_empty() {
            Ok((done, outcome))
        } else {
            Ok((done, Put::Rings(bells)))
        }
    }

    fn address(&self, member: Member, message: &Message<'_>) -> Result<(), ArenaError> {
        if message.inline.len() > INLINE_MOST || message.blocks.len() > BLOCKS_MOST {
            return Err(ArenaError::NoMemory(format!(
                "a message of {} bytes and {} blocks: prepare a block for the bytes",
                message.inline.len(),
                message.blocks.len()
            )));
        }
        for block in message.blocks {
            block.address_to(member, self.object.offset, self.object.serial)?;
        }
        Ok(())
    }

    /// Step 9 of a put.
    #[inline]
    pub(crate) fn wake_consumers(&self, count: usize) -> Vec<OwnerId> {
        fence(SeqCst);
        if eventcount::has_sleepers(&self.line.items.word) {
            self.wake_consumers_asleep(count)
        } else {
            Vec::new()
        }
    }

    #[cold]
    fn wake_consumers_asleep(&self, count: usize) -> Vec<OwnerId> {
        let bells = self.bells_to_ring();
        if bells.is_empty() {
            eventcount::wake_sleepers(&self.line.items.word, count as u32);
        } else {
            // Until they have been rung the bit shows them to others.
            eventcount::wake_and_stay(&self.line.items.word, count as u32);
        }
        bells
    }

    // ---- get ----------------------------------------------------------------------------

    /// Takes the next message; its bytes replace what is in `into`.
    pub fn try_get(&self, member: Member, into: &mut Vec<u8>) -> Result<Got, ArenaError> {
        into.clear();
        let (mut gone, mut blocks) = (Vec::new(), Vec::new());
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        // Before the producers' word: what was put before the end is visible.
        let shut = self.state();
        let found = self.next(member, shut, into, &mut blocks, &mut gone);
        drop(held);
        free_all(member, &mut gone);
        let Some(Found {
            flags,
            deliveries,
            ticket,
        }) = found?
        else {
            return Ok(self.nothing(member, shut));
        };
        self.wake_producers(1);
        Ok(Got::Message {
            flags,
            blocks: self.receive(member, ticket, &blocks)?,
            deliveries,
            ticket,
        })
    }

    /// Under the consumers' lock: what came back, or the next message.
    #[inline]
    fn next(
        &self,
        member: Member,
        shut: u32,
        into: &mut Vec<u8>,
        blocks: &mut Vec<u64>,
        gone: &mut Vec<u64>,
    ) -> Result<Option<Found>, ArenaError> {
        let (line, me) = (self.line, member.local.owner);
        let store = &self.chunks(member.arena);
        if self.redelivers() {
            if let Some(found) = self.take_returned(&Acks { line, store }, me, into, blocks) {
                return Ok(Some(found));
            }
        }
        let mut taking = Taking::begin(line, store, me);
        if shut & state::IMMEDIATELY != 0 || !taking.has_more() {
            return Ok(None);
        }
        match taking.take(into, blocks, gone) {
            Ok(taken) => {
                taking.commit(gone);
                Ok(Some(self.found(taken)))
            }
            Err(error) => {
                get::undo(line, store, self.words());
                Err(error)
            }
        }
    }

    fn found(&self, taken: Taken) -> Found {
        Found {
            flags: taken.head.flags,
            deliveries: u32::from(self.acknowledges()),
            ticket: Ticket::of(taken.place),
        }
    }

    /// Takes up to `most` messages; their bytes are appended to `into`, they to `items`. Some is
    /// `Empty` or `Shut`: there was none.
    pub fn try_get_many(
        &self,
        member: Member,
        most: usize,
        into: &mut Vec<u8>,
        items: &mut Vec<Item>,
    ) -> Result<Option<Got>, ArenaError> {
        let (mut gone, mut blocks) = (Vec::new(), Vec::new());
        // What each is, where its bytes begin, and where its blocks.
        let mut all: Vec<(Found, usize, usize)> = Vec::with_capacity(most.min(1024));
        let (line, me) = (self.line, member.local.owner);
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        let shut = self.state();
        let store = &self.chunks(member.arena);
        if self.redelivers() {
            let acks = Acks { line, store };
            while all.len() < most {
                let from = (into.len(), blocks.len());
                match self.take_returned(&acks, me, into, &mut blocks) {
                    Some(found) => all.push((found, from.0, from.1)),
                    None => break,
                }
            }
        }
        let mut outcome = Ok(());
        if shut & state::IMMEDIATELY == 0 {
            let mut taking = Taking::begin(line, store, me);
            while all.len() < most && taking.has_more() {
                let from = (into.len(), blocks.len());
                match taking.take(into, &mut blocks, &mut gone) {
                    Ok(taken) => all.push((self.found(taken), from.0, from.1)),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            if outcome.is_ok() {
                taking.commit(&mut gone);
            } else {
                get::undo(line, store, self.words());
            }
        }
        drop(held);
        free_all(member, &mut gone);
        outcome?;
        if all.is_empty() {
            return Ok(Some(self.nothing(member, shut)));
        }
        self.wake_producers(all.len());
        let mut ends = (into.len(), blocks.len());
        let first = items.len();
        for (found, bytes, of_blocks) in all.into_iter().rev() {
            let received = self.receive(member, found.ticket, &blocks[of_blocks..ends.1])?;
            items.push(Item {
                flags: found.flags,
                bytes: bytes..ends.0,
                blocks: received,
                deliveries: found.deliveries,
                ticket: found.ticket,
            });
            ends = (bytes, of_blocks);
        }
        items[first..].reverse();
        Ok(None)
    }

    /// Why there is no message.
    fn nothing(&self, member: Member, shut: u32) -> Got {
        // What others have may come back, and who is waiting then must be here.
        let must_stay = |queue: &Self| {
            queue.redelivers() && shut & state::IMMEDIATELY == 0 && queue.waits_for_others(member)
        };
        self.finish_dropping(member);
        if shut & state::SHUT == 0 || must_stay(self) {
            Got::Empty
        } else {
            Got::Shut
        }
    }

    /// Makes the blocks of a message that was taken the caller's.
    #[inline]
    fn receive(
        &self,
        member: Member,
        ticket: Ticket,
        blocks: &[u64],
    ) -> Result<Vec<ClaimedBlock>, ArenaError> {
        if blocks.is_empty() {
            Ok(Vec::new())
        } else if self.redelivers() {
            self.copies(member, ticket, blocks)
        } else {
            received(member, blocks)
        }
    }

    /// Step 7 of a get.
    #[inline]
    pub(crate) fn wake_producers(&self, count: usize) {
        if self.line.terms.maxsize.load(Relaxed) != 0 {
            eventcount::wake(&self.line.room.word, count as u32);
        }
    }
}

fn fill<S: Store>(
    putting: &mut Putting<'_, S>,
    messages: &[Message<'_>],
    done: &mut usize,
    fresh: &mut Option<Block>,
) -> Result<Stop, ArenaError> {
    let mut stop = Stop::Done;
    for message in &messages[*done..] {
        if !putting.has_room() {
            stop = Stop::Full;
            break;
        }
        let head = message.head();
        if !putting.fits(head) {
            match putting.cross(fresh.map(|block| (block.offset / SPAN) as u32))? {
                put::Crossed::No => {
                    stop = Stop::NoChunk;
                    break;
                }
                put::Crossed::IntoSpare => {}
                put::Crossed::IntoFresh => *fresh = None,
            }
        }
        let blocks = message.blocks.iter().map(PreparedBlock::reference);
        putting.write(head, message.inline, blocks)?;
        *done += 1;
    }
    putting.commit();
    Ok(stop)
}

pub(crate) fn received(member: Member, claimed: &[u64]) -> Result<Vec<ClaimedBlock>, ArenaError> {
    claimed
        .iter()
        .map(|block| ClaimedBlock::taken(member, *block))
        .collect()
}

/// Frees chunks and blocks that are ours, and what only they kept alive, outside all locks.
#[inline]
pub(crate) fn free_all(member: Member, gone: &mut Vec<u64>) {
    for block in gone.drain(..) {
        if let Ok(block) = member.arena.block_at(block) {
            free_one(member, &block);
        }
    }
}

#[cold]
fn free_one(member: Member, block: &Block) {
    match block.state() {
        Some(BlockState::Alloc(Purpose::Payload, _)) => enclosures::free(member, block),
        _ => member.release(block),
    }
}

/// The same for who has the object's lock, and perhaps others: what was enclosed with a message that
/// a dead consumer had acknowledged is left to the sweep that its death brings.
pub(crate) fn release_all(member: Member, gone: &mut Vec<u64>) {
    for block in gone.drain(..) {
        if let Ok(block) = member.arena.block_at(block) {
            member.release(&block);
        }
    }
}
