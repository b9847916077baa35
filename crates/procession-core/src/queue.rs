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

use crate::chunk::{self, BLOCKS_MOST, Chunks, Head, INLINE_MOST, Place, Store};
use crate::eventcount;
use crate::get::{self, Taking};
use crate::ilock::{self, Held};
use crate::lock::{Waited, Waiting};
use crate::object::{Object, ObjectKind};
use crate::payload::{ClaimedBlock, PreparedBlock};
use crate::put::{self, Putting};
use crate::side::Side;
use procession_shm::block::Block;
use procession_shm::layout::{QueueLine, QueueWake, SPAN};
use procession_shm::member::Member;
use procession_shm::span::Purpose;
use procession_shm::{Arena, ArenaError, OwnerId};
use procession_sys::clock::coarse_ms;
use procession_sys::crash_point;
use procession_sys::futex::Wait;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use std::ops::Range;

/// Bits of the terms' `mode`.
pub mod mode {
    /// Messages are outstanding until they are acknowledged.
    pub const ACKNOWLEDGING: u32 = 1;
    /// What a dead or leaving consumer did not acknowledge is delivered again.
    pub const REDELIVERING: u32 = 2;
}

/// Bits of the terms' `state`.
pub mod state {
    /// No more messages come.
    pub const SHUT: u32 = 1;
    /// None are given out any more, either.
    pub const IMMEDIATELY: u32 = 2;
}

/// A queue in the arena, as one of its holders sees it.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static QueueLine,
}

/// What is put.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The codec's own.
    pub flags: u32,
    /// Up to [`INLINE_MOST`] bytes that are copied.
    pub inline: &'a [u8],
    /// Up to [`BLOCKS_MOST`] blocks that are handed over.
    pub blocks: &'a [PreparedBlock],
}

impl<'a> Message<'a> {
    /// A message of bytes alone.
    #[must_use]
    pub fn of(flags: u32, inline: &'a [u8]) -> Self {
        Self {
            flags,
            inline,
            blocks: &[],
        }
    }

    fn head(&self) -> Head {
        Head {
            length: self.inline.len() as u32,
            blocks: self.blocks.len() as u32,
            flags: self.flags,
        }
    }
}

/// How a put ended. The blocks of a message that was not put still are the caller's.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a full queue has not taken the message"]
pub enum Put {
    /// It is in the queue.
    Done,
    /// It is in the queue, and these processes want their doorbell rung.
    Rings(Vec<OwnerId>),
    /// There is no room.
    Full,
    /// The queue has been shut.
    Shut,
}

/// How a get ended.
#[derive(Debug)]
#[must_use = "blocks want to be freed"]
pub enum Got {
    /// A message, whose bytes are where the caller wanted them.
    Message {
        /// The codec's own.
        flags: u32,
        /// Now the caller's.
        blocks: Vec<ClaimedBlock>,
    },
    /// There is nothing.
    Empty,
    /// There is nothing, and nothing will come.
    Shut,
}

/// One of several messages.
#[derive(Debug)]
pub struct Item {
    /// The codec's own.
    pub flags: u32,
    /// Where its bytes are.
    pub bytes: Range<usize>,
    /// Now the caller's.
    pub blocks: Vec<ClaimedBlock>,
}

/// What a queue is made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Most messages in it; 0 = any number.
    pub maxsize: u64,
    /// [`mode`].
    pub mode: u32,
    /// Producers after whose end the stream ends; 0 = it does not.
    pub producers: u32,
    /// Deliveries after which a message is a dead letter; 0 = never.
    pub max_deliveries: u32,
}

/// Why a put stops under the lock.
enum Stop {
    Done,
    Full,
    NoChunk,
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

    fn mode(&self) -> u32 {
        self.line.terms.mode.load(Relaxed)
    }

    /// Words of a message before its blocks.
    #[inline]
    pub(crate) fn words(&self) -> u32 {
        2 + (self.mode() & mode::ACKNOWLEDGING)
    }

    /// Shut bits.
    #[inline]
    fn state(&self) -> u32 {
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
    pub(crate) fn lock_consumers(&self, member: Member, gone: &mut Vec<u32>) -> Held<'static> {
        let (word, me) = (&self.line.consumers.lock, member.local.owner);
        ilock::acquire(word, me, member.arena, || {
            let chunks = self.chunks(member.arena);
            get::repair(self.line, &chunks, self.words(), me, gone);
        })
    }

    /// Frees chunks that are ours, outside the locks.
    pub(crate) fn free_chunks(&self, member: Member, gone: &mut Vec<u32>) {
        for chunk in gone.drain(..) {
            if let Ok(block) = self.chunks(member.arena).block(chunk) {
                member.free(&block);
            }
        }
    }

    // ---- put ----------------------------------------------------------------------------

    /// Puts a message, if there is room. `NoMemory`: the arena has none for another chunk.
    #[inline]
    pub fn try_put(&self, member: Member, message: Message<'_>) -> Result<Put, ArenaError> {
        let (_, put) = self.try_put_many(member, &[message])?;
        Ok(put)
    }

    /// Puts as many of the messages as there is room for, in their order, nothing in between;
    /// how many, and what ended it.
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
        match outcome {
            Put::Done if !bells.is_empty() => Ok((done, Put::Rings(bells))),
            outcome => Ok((done, outcome)),
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
    fn wake_consumers(&self, count: usize) -> Vec<OwnerId> {
        procession_sys::prim::fence(procession_sys::prim::Ordering::SeqCst);
        if eventcount::has_sleepers(&self.line.items.word) {
            self.wake_consumers_asleep(count)
        } else {
            Vec::new()
        }
    }

    #[cold]
    fn wake_consumers_asleep(&self, count: usize) -> Vec<OwnerId> {
        // Disarmed before the bit may go: who arms meanwhile takes a new epoch, and the bit stays.
        let bells = self.take_bells();
        eventcount::wake_sleepers(&self.line.items.word, count as u32);
        bells
    }

    // ---- get ----------------------------------------------------------------------------

    /// Takes the next message; its bytes replace what is in `into`.
    pub fn try_get(&self, member: Member, into: &mut Vec<u8>) -> Result<Got, ArenaError> {
        into.clear();
        let (mut gone, mut claimed) = (Vec::new(), Vec::new());
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        let chunks = self.chunks(member.arena);
        let shut = self.state();
        let mut taking = Taking::begin(self.line, &chunks, member.local.owner, self.words());
        let taken = if shut & state::IMMEDIATELY == 0 && taking.has_more() {
            let taken = taking.take(into, &mut claimed, &mut gone);
            if taken.is_ok() {
                taking.commit(&mut gone);
            } else {
                get::undo(self.line, &chunks, self.words());
            }
            Some(taken)
        } else {
            None
        };
        drop(held);
        self.free_chunks(member, &mut gone);
        let Some(taken) = taken else {
            return Ok(if shut & state::SHUT == 0 {
                Got::Empty
            } else {
                Got::Shut
            });
        };
        let flags = taken?.head.flags;
        self.wake_producers(1);
        Ok(Got::Message {
            flags,
            blocks: received(member, &claimed)?,
        })
    }

    /// Takes up to `most` messages; their bytes are appended to `into`, they to `items`. `Empty`
    /// and `Shut` when there was none.
    pub fn try_get_many(
        &self,
        member: Member,
        most: usize,
        into: &mut Vec<u8>,
        items: &mut Vec<Item>,
    ) -> Result<Option<Got>, ArenaError> {
        let (mut gone, mut claimed) = (Vec::new(), Vec::new());
        let mut heads: Vec<(Head, usize, usize)> = Vec::with_capacity(most.min(1024));
        let held = self.lock_consumers(member, &mut gone);
        crash_point!("queue.get_locked");
        let chunks = self.chunks(member.arena);
        let shut = self.state();
        let mut taking = Taking::begin(self.line, &chunks, member.local.owner, self.words());
        let mut outcome = Ok(());
        if shut & state::IMMEDIATELY == 0 {
            while heads.len() < most && taking.has_more() {
                match taking.take(into, &mut claimed, &mut gone) {
                    Ok(taken) => heads.push((taken.head, into.len(), claimed.len())),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            if outcome.is_ok() {
                taking.commit(&mut gone);
            } else {
                get::undo(self.line, &chunks, self.words());
            }
        }
        drop(held);
        self.free_chunks(member, &mut gone);
        outcome?;
        if heads.is_empty() {
            let nothing = if shut & state::SHUT == 0 {
                Got::Empty
            } else {
                Got::Shut
            };
            return Ok(Some(nothing));
        }
        self.wake_producers(heads.len());
        let mut first_block = 0;
        for (head, end, blocks) in heads {
            items.push(Item {
                flags: head.flags,
                bytes: end - head.length as usize..end,
                blocks: received(member, &claimed[first_block..blocks])?,
            });
            first_block = blocks;
        }
        Ok(None)
    }

    /// Step 7 of a get.
    #[inline]
    pub(crate) fn wake_producers(&self, count: usize) {
        if self.line.terms.maxsize.load(Relaxed) != 0 {
            eventcount::wake(&self.line.room.word, count as u32);
        }
    }

    // ---- waiting ------------------------------------------------------------------------

    /// Whether a get would bring a message, or say that none comes. Takes no lock, writes nothing.
    #[inline]
    #[must_use]
    pub fn has_item(&self) -> bool {
        let taken = Side(&self.line.consumers).seq();
        Side(&self.line.producers).seq() != taken || self.state() & state::SHUT != 0
    }

    /// Whether a put would not find the queue full. Takes no lock, writes nothing.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_full() || self.state() & state::SHUT != 0
    }

    /// Sleeps for one slice at most; None is "try again now".
    #[must_use]
    pub fn wait_item(&self, member: Member, waiting: &Waiting) -> Option<Waited> {
        let _ = member;
        wait(&self.line.items, waiting, || self.has_item())
    }

    /// Sleeps for one slice at most; None is "try again now".
    #[must_use]
    pub fn wait_room(&self, member: Member, waiting: &Waiting) -> Option<Waited> {
        let _ = member;
        wait(&self.line.room, waiting, || self.has_room())
    }

    // ---- what there is ------------------------------------------------------------------

    /// Messages put so far.
    #[must_use]
    pub fn put_seq(&self) -> u64 {
        Side(&self.line.producers).seq()
    }

    /// Messages taken so far.
    #[must_use]
    pub fn get_seq(&self) -> u64 {
        Side(&self.line.consumers).seq()
    }

    /// How many messages there were at one instant of this call.
    #[must_use]
    pub fn len(&self) -> u64 {
        let mut taken = self.get_seq();
        loop {
            let put = self.put_seq();
            let now = self.get_seq();
            if now == taken {
                return put - taken + u64::from(self.line.acks.returned.load(Relaxed));
            }
            taken = now;
        }
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there were as many as there may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let maxsize = self.line.terms.maxsize.load(Relaxed);
        maxsize != 0 && self.len() >= maxsize
    }

    /// Bytes put so far in chunks (a gauge).
    #[must_use]
    pub fn put_bytes(&self) -> u64 {
        self.line.producer_notes.bytes.load(Relaxed)
    }

    /// Bytes taken so far from chunks (a gauge).
    #[must_use]
    pub fn got_bytes(&self) -> u64 {
        self.line.consumer_notes.bytes.load(Relaxed)
    }

    /// How many wait for a message (a gauge).
    #[must_use]
    pub fn waiting_consumers(&self) -> u32 {
        asleep(&self.line.items)
    }

    /// How many wait for room (a gauge).
    #[must_use]
    pub fn waiting_producers(&self) -> u32 {
        asleep(&self.line.room)
    }

    /// Milliseconds since the next message was put; None when there is none.
    #[must_use]
    pub fn oldest_ms(&self, member: Member) -> Option<u32> {
        let mut gone = Vec::new();
        let held = self.lock_consumers(member, &mut gone);
        let chunks = self.chunks(member.arena);
        let from = Side(&self.line.consumers).place();
        let age = (self.put_seq() != self.get_seq())
            .then(|| {
                let first = chunk::first(self.line);
                let (place, _) =
                    chunk::walk(&chunks, first, from, Place::default(), self.words()).next()?;
                let at = place.pos + (self.words() - 1) * 8;
                let stamp = chunks.word(place.chunk, at).ok()?.load(Relaxed) >> 32;
                Some(coarse_ms().wrapping_sub(stamp as u32))
            })
            .flatten();
        drop(held);
        self.free_chunks(member, &mut gone);
        age
    }

    // ---- the end ------------------------------------------------------------------------

    /// Ends the stream: puts say Shut from now on, gets when nothing is left; `immediately`: at
    /// once, and what is left is dropped. Returns whose doorbells to ring.
    ///
    /// Killed before the word: nothing happened. After it: waiters find it after a slice.
    pub fn shutdown(&self, member: Member, immediately: bool) -> Vec<OwnerId> {
        let bits = if immediately {
            state::SHUT | state::IMMEDIATELY
        } else {
            state::SHUT
        };
        // Under the lock: a put comes wholly before the word or sees it.
        let held = self.lock_producers(member);
        self.line.terms.state.fetch_or(bits, Release);
        crash_point!("queue.shut");
        drop(held);
        if immediately {
            self.drop_all(member);
        }
        eventcount::wake(&self.line.room.word, u32::MAX >> 1);
        let bells = self.wake_consumers(i32::MAX as usize);
        eventcount::wake(&self.line.acks.wake, u32::MAX >> 1);
        bells
    }

    /// Whether it has been shut.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.state() & state::SHUT != 0
    }

    /// Takes what is left and frees it.
    fn drop_all(&self, member: Member) {
        const AT_ONCE: usize = 64;
        let chunks = self.chunks(member.arena);
        loop {
            let (mut bytes, mut claimed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
            let held = self.lock_consumers(member, &mut gone);
            let mut taking = Taking::begin(self.line, &chunks, member.local.owner, self.words());
            let mut count = 0;
            while count < AT_ONCE
                && taking.has_more()
                && taking.take(&mut bytes, &mut claimed, &mut gone).is_ok()
            {
                count += 1;
            }
            taking.commit(&mut gone);
            drop(held);
            self.free_chunks(member, &mut gone);
            for block in received(member, &claimed).unwrap_or_default() {
                block.free(member);
            }
            if count == 0 {
                return;
            }
        }
    }

    /// Finishes what the dead began on either side: after that what is theirs is garbage.
    pub(crate) fn bury(&self, member: Member, is_dead: impl Fn(OwnerId) -> bool) {
        let mut gone = Vec::new();
        drop(self.lock_producers(member));
        drop(self.lock_consumers(member, &mut gone));
        self.free_chunks(member, &mut gone);
        for entry in &self.line.bells.armed {
            let armed = entry.load(Relaxed);
            if armed != 0 && is_dead(OwnerId::of_word(armed)) {
                let _ = entry.compare_exchange(armed, 0, Relaxed, Relaxed);
            }
        }
    }

    /// Frees all memory of a queue whose object is ours to free.
    pub(crate) fn unmake(&self, member: Member) {
        let mut gone = Vec::new();
        drop(self.lock_producers(member));
        drop(self.lock_consumers(member, &mut gone));
        self.free_chunks(member, &mut gone);
        let (chunks, blocks) = self.contents(member.arena);
        let me = member.local.owner;
        let free = |block: Result<Block, ArenaError>, purpose| {
            if let Some(block) = block.ok().filter(|block| block.retract(purpose, me)) {
                crash_point!("queue.unmaking");
                member.free(&block);
            }
        };
        for block in blocks {
            free(member.arena.block_at(block), Purpose::Payload);
        }
        for chunk in chunks {
            free(
                member.arena.block_at(u64::from(chunk) * SPAN),
                Purpose::Chunk,
            );
        }
    }

    /// All chunks and blocks that the queue has. Exact only while nobody uses it.
    pub(crate) fn contents(&self, arena: &'static Arena) -> (Vec<u32>, Vec<u64>) {
        let store = self.chunks(arena);
        let words = self.words();
        let first = chunk::first(self.line);
        let (consumers, producers) = (Side(&self.line.consumers), Side(&self.line.producers));
        let start = if words == 2 {
            consumers.place()
        } else {
            Place::default()
        };
        let mut chunks = chunk::chunks(&store, first, start, producers.place(), words);
        let spare = self.line.chain.spare.load(Acquire);
        if spare != 0 {
            chunks.push(spare);
        }
        let unread = chunk::walk(&store, first, consumers.place(), producers.place(), words);
        let blocks = unread
            .flat_map(|(place, head)| chunk::blocks(&store, place, head, words))
            .collect();
        (chunks, blocks)
    }

    /// Takes every armed doorbell.
    fn take_bells(&self) -> Vec<OwnerId> {
        let armed = self.line.bells.armed.iter();
        armed
            .filter(|entry| entry.load(Relaxed) != 0)
            .map(|entry| OwnerId::of_word(entry.swap(0, Relaxed)))
            .filter(|owner| !owner.is_none())
            .collect()
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

fn received(member: Member, claimed: &[u64]) -> Result<Vec<ClaimedBlock>, ArenaError> {
    claimed
        .iter()
        .map(|block| ClaimedBlock::taken(member, *block))
        .collect()
}

fn asleep(wake: &QueueWake) -> u32 {
    if eventcount::has_sleepers(&wake.word) {
        wake.asleep.load(Relaxed)
    } else {
        0
    }
}

fn wait(wake: &QueueWake, waiting: &Waiting, is_ready: impl Fn() -> bool) -> Option<Waited> {
    let end = waiting.slice_end();
    if !eventcount::has_sleepers(&wake.word) {
        // Those who were killed asleep are gone.
        wake.asleep.store(0, Relaxed);
    }
    let token = eventcount::prepare(&wake.word);
    if is_ready() {
        return None;
    }
    wake.asleep.fetch_add(1, Relaxed);
    let woken = eventcount::sleep(&wake.word, token, end);
    let count = wake.asleep.load(Relaxed);
    wake.asleep.store(count.saturating_sub(1), Relaxed);
    match woken {
        Wait::Woken | Wait::Changed => None,
        Wait::TimedOut if waiting.is_over() => Some(Waited::TimedOut),
        Wait::TimedOut | Wait::Interrupted => Some(Waited::Slice),
    }
}
