//! What a queue says of itself, and waiting for it to say otherwise.

use crate::acks::{Acks, RETURNED};
use crate::chunk::{self, Chunks, Place, Store};
use crate::eventcount;
use crate::lock::{Waited, Waiting};
use crate::message::state;
use crate::queue::{Queue, free_all};
use crate::side::Side;
use procession_shm::layout::QueueWake;
use procession_shm::member::Member;
use procession_sys::clock::coarse_ms;
use procession_sys::futex::Wait;
use procession_sys::prim::Ordering::Relaxed;

impl Queue<'_> {
    // ---- waiting ------------------------------------------------------------------------

    /// Whether a get would bring a message, or say that none comes. Takes no lock, writes nothing.
    #[inline]
    #[must_use]
    pub fn has_item(&self) -> bool {
        if self.state() & state::SHUT != 0 {
            // The last word is `try_get`'s: where messages may come back it may be "not yet".
            return true;
        }
        let taken = Side(&self.line.consumers).seq();
        Side(&self.line.producers).seq() != taken || self.line.acks.returned.load(Relaxed) != 0
    }

    /// Whether a put would not find the queue full. Takes no lock, writes nothing.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_full() || self.state() & state::SHUT != 0
    }

    /// Sleeps for one slice at most; None is "try again now". [`Queue::look`] after a slice.
    #[must_use]
    pub fn wait_item(&self, member: Member, waiting: &Waiting) -> Option<Waited> {
        let is_ready = || {
            let must_stay = self.is_shut()
                && self.redelivers()
                && self.is_empty()
                && self.waits_for_others(member);
            self.has_item() && !must_stay
        };
        wait(&self.line.items, waiting, is_ready)
    }

    /// Sleeps for one slice at most; None is "try again now".
    #[must_use]
    pub fn wait_room(&self, _member: Member, waiting: &Waiting) -> Option<Waited> {
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

    /// Milliseconds since the next message was put, one that came back included; None when there is none.
    #[must_use]
    pub fn oldest_ms(&self, member: Member) -> Option<u32> {
        let mut gone = Vec::new();
        let held = self.lock_consumers(member, &mut gone);
        let age = self
            .oldest_stamp(&self.chunks(member.arena))
            .map(|stamp| coarse_ms().wrapping_sub(stamp));
        drop(held);
        free_all(member, &mut gone);
        age
    }

    /// Under the consumers' lock.
    fn oldest_stamp(&self, store: &Chunks) -> Option<u32> {
        let line = self.line;
        let returned = self
            .redelivers()
            .then(|| Acks { line, store }.first_that_is(RETURNED))
            .flatten();
        let place = match returned {
            Some(entry) => entry.place,
            None if self.put_seq() == self.get_seq() => return None,
            None => {
                // Where producers are is for who has their lock to know; the next message is there.
                let nowhere = Place {
                    chunk: u32::MAX,
                    ..Place::default()
                };
                let from = Side(&line.consumers).place();
                let first = chunk::first(line);
                chunk::walk(store, first, from, nowhere, self.words())
                    .next()?
                    .0
            }
        };
        let at = place.pos + (self.words() - 1) * 8;
        let word = store.word(place.chunk, at).ok()?;
        Some((word.load(Relaxed) >> 32) as u32)
    }
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
