//! The user's Semaphore and `BoundedSemaphore` over [`crate::permits`].

use crate::eventcount;
use crate::ledger;
use crate::lock::{Waited, Waiting};
use crate::object::Object;
use crate::permits;
use procession_shm::layout::SemaphoreLine;
use procession_shm::member::Member;
use procession_shm::{Liveness, OwnerId};
use procession_sys::futex::Wait;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;

/// A semaphore in the arena, as one of its holders sees it.
#[derive(Clone, Copy, Debug)]
pub struct Semaphore<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static SemaphoreLine,
}

impl Semaphore<'_> {
    fn entry(&self, member: Member) -> Option<&'static AtomicU64> {
        let me = member.local.owner;
        let is_mine = |entry: &&AtomicU64| ledger::owner_of(entry) == me;
        // The header's own entries first: the chained blocks are for crowds.
        let near = self.object.header.holders.iter().find(is_mine);
        near.or_else(|| ledger::entries(member.arena, self.object.header).find(is_mine))
    }

    /// Takes a permit if there is one.
    #[inline]
    #[must_use]
    pub fn try_acquire(&self, member: Member) -> bool {
        let _held = self.object.lock(member);
        self.entry(member)
            .is_some_and(|entry| permits::take(self.line, entry))
    }

    /// Gives a permit back; false when the value is at its maximum.
    #[must_use]
    pub fn release(&self, member: Member) -> bool {
        let held = self.object.lock(member);
        let given = self
            .entry(member)
            .is_some_and(|entry| permits::give(self.line, entry));
        // Whoever goes to sleep announces it, then looks for a permit under this lock: either it
        // found ours, or we see the announcement here.
        let must_wake = given && eventcount::has_sleepers(&self.line.wake);
        drop(held);
        if must_wake {
            eventcount::wake_sleepers(&self.line.wake, 1);
        }
        given
    }

    /// How many permits there are now.
    #[must_use]
    pub fn value(&self, member: Member) -> u32 {
        let lock = OwnerId::of_word(self.object.header.lock.load(Relaxed));
        if !lock.is_none() {
            // Somebody is at it, perhaps dead: the lock repairs.
            drop(self.object.lock(member));
        }
        self.line.value.load(Relaxed)
    }

    /// Gives back what dead processes had.
    pub fn recover_from_dead(&self, member: Member) {
        if !permits::have_owners(self.line) {
            return;
        }
        let _held = self.object.lock(member);
        for (index, entry) in ledger::entries(member.arena, self.object.header).enumerate() {
            let owner = ledger::owner_of(entry);
            if permits::units(entry) > 0 && member.arena.is_dead(owner) {
                let pid = member.arena.pid_of(owner);
                permits::settle(self.line, entry, index, Some(pid));
            }
        }
    }

    /// Takes a permit if there seems to be one: a try for who spins, and writes nothing in vain.
    #[must_use]
    pub fn try_spinning(&self, member: Member) -> bool {
        self.line.value.load(Relaxed) != 0 && self.try_acquire(member)
    }

    /// Sleeps for one slice at most; None is "a permit is ours".
    #[must_use]
    pub fn wait(&self, member: Member, waiting: &Waiting) -> Option<Waited> {
        let end = waiting.slice_end();
        loop {
            let token = eventcount::prepare(&self.line.wake);
            if self.try_acquire(member) {
                self.count_wait(waiting);
                return None;
            }
            match eventcount::sleep(&self.line.wake, token, end) {
                Wait::Woken | Wait::Changed => {}
                Wait::TimedOut if waiting.is_over() => return Some(Waited::TimedOut),
                Wait::TimedOut | Wait::Interrupted => return Some(Waited::Slice),
            }
        }
    }

    /// Notes that somebody had to wait (gauges: lost updates do not matter).
    pub fn count_wait(&self, waiting: &Waiting) {
        self.line.contended.fetch_add(1, Relaxed);
        self.line.waited_ns.fetch_add(waiting.ns(), Relaxed);
    }
}
