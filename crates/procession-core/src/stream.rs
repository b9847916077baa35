//! The end of a stream: by decision, or when its last producer has left or died.
//!
//! ```text
//! shut       1 lock the producers' side   2 SHUT (commit)   3 unlock   4 wake everybody
//! come       1 lock the object   2 take an entry with the next ticket (commit)   3 come = ticket
//! leave      1 lock the object   2 free the entry (commit)   3 unlock   4 nobody left: shut
//! ```
//!
//! Producers have entries of waiters ([`crate::waiters`]): those of the dead are freed by whoever
//! waits and looks, or sweeps. When as many as were expected have come, and none is left, the
//! stream ends.

use crate::bells::Ringing;
use crate::eventcount;
use crate::get::Taking;
use crate::message::state;
use crate::queue::{Queue, free_all};
use crate::receive::received;
use crate::waiters;
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError, Liveness};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Relaxed, Release};

impl Queue<'_> {
    /// Ends the stream: puts say Shut from now on, gets when nothing is left; `immediately`: at
    /// once, and what is left is dropped. Returns whose doorbells to ring.
    ///
    /// Killed before the word: nothing happened. After it: waiters find it after a slice, and who
    /// comes next drops what is left.
    pub fn shutdown(&self, member: Member, immediately: bool) -> Vec<Ringing> {
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

    /// Drops what is left, where whoever shut the queue at once was killed over it.
    pub(crate) fn finish_dropping(&self, member: Member) {
        if self.state() & state::IMMEDIATELY != 0 && !self.is_empty() {
            self.drop_all(member);
        }
    }

    /// Takes what is left and frees it.
    fn drop_all(&self, member: Member) {
        const AT_ONCE: usize = 64;
        let chunks = self.chunks(member.arena);
        loop {
            let (mut bytes, mut claimed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
            let held = self.lock_consumers(member, &mut gone);
            let mut taking = Taking::begin(self.line, &chunks, member.local.owner);
            let mut count = 0;
            while count < AT_ONCE
                && taking.has_more()
                && taking.take(&mut bytes, &mut claimed, &mut gone).is_ok()
            {
                count += 1;
            }
            taking.commit(&mut gone);
            self.acknowledge_dropped(member, count, &mut gone);
            drop(held);
            free_all(member, &mut gone);
            if self.redelivers() {
                claimed.clear();
            }
            for block in received(member, &claimed).unwrap_or_default() {
                block.free(member);
            }
            if count == 0 {
                return;
            }
        }
    }

    // ---- producers ----------------------------------------------------------------------

    /// Announces a producer: the stream does not end before it has left or died.
    pub fn add_producer(&self, member: Member) -> Result<(), ArenaError> {
        let come = &self.line.terms.come;
        loop {
            let held = self.object.lock(member);
            let ticket = come.load(Relaxed) + 1;
            let me = member.local.owner;
            let taken = waiters::take(member.arena, self.object, &held, me, || u64::from(ticket));
            if taken.is_some() {
                come.store(ticket, Relaxed);
                crash_point!("queue.producer_came");
                return Ok(());
            }
            drop(held);
            waiters::extend(member, self.object)?;
        }
    }

    /// A producer of this process leaves; the last one of all ends the stream. Returns whose
    /// doorbells to ring.
    pub fn remove_producer(&self, member: Member) -> Vec<Ringing> {
        let held = self.object.lock(member);
        let me = member.local.owner;
        let mine = waiters::taken(member.arena, self.object).find(|(_, owner)| *owner == me);
        if let Some((entry, _)) = mine {
            waiters::free(entry);
        }
        drop(held);
        self.end_if_over(member)
    }

    /// How many producers have been announced and have neither left nor died.
    #[must_use]
    pub fn producers(&self, arena: &Arena) -> usize {
        waiters::taken(arena, self.object).count()
    }

    fn is_over(&self, member: Member) -> bool {
        let terms = &self.line.terms;
        let expected = terms.expected.load(Relaxed);
        if expected == 0 || self.is_shut() {
            return false;
        }
        let _held = self.object.lock(member);
        terms.come.load(Relaxed) >= expected && self.producers(member.arena) == 0
    }

    /// Ends the stream if its last producer is gone.
    pub(crate) fn end_if_over(&self, member: Member) -> Vec<Ringing> {
        if self.is_over(member) {
            self.shutdown(member, false)
        } else {
            Vec::new()
        }
    }

    /// What who waits does after each slice: looks for the dead among producers and consumers,
    /// takes their places and their messages back. Returns whose doorbells to ring.
    pub fn look(&self, member: Member) -> Vec<Ringing> {
        let arena = member.arena;
        let mut bells = Vec::new();
        if self.line.terms.expected.load(Relaxed) != 0 && !self.is_shut() {
            let held = self.object.lock(member);
            for (entry, owner) in waiters::taken(arena, self.object) {
                if arena.is_dead(owner) {
                    waiters::free(entry);
                }
            }
            drop(held);
            bells = self.end_if_over(member);
        }
        if self.redelivers() {
            let count = self.take_back_from_dead(member);
            if count != 0 {
                bells.extend(self.wake_consumers(count as usize));
            }
        }
        bells
    }

    /// What a takeover of the object's lock runs: whoever has an entry has come.
    pub(crate) fn count_producers(&self, arena: &Arena) {
        let tickets =
            waiters::taken(arena, self.object).map(|(entry, _)| entry.ticket.load(Relaxed));
        let latest = tickets.max().unwrap_or(0) as u32;
        self.line.terms.come.fetch_max(latest, Relaxed);
    }
}
