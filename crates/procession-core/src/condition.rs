//! A condition: who waits is written down, so that a notification never waits for the dead.
//!
//! ```text
//! wait     1 lock  2 take an entry (commit)  3 unlock  4 release the user's lock  5 sleep on the entry
//!          6 acquire the user's lock  7 lock  8 read the mark, free the entry (commit)  9 unlock
//! notify   1 lock  2 the n oldest waiting entries whose owners live: mark (commit), wake  3 unlock
//! ```
//!
//! A waiter killed after it was notified passes the notification on: whoever looks next (another
//! waiter after its slice, a notifier, the sweeper) frees the entry and marks the next one. The
//! entry goes only when the user's lock is held again, so that a notification that does not pass
//! on died with the lock, of which the next holder is told.

use crate::ilock::Held;
use crate::lock::{Waited, Waiting};
use crate::object::Object;
use crate::spin;
use crate::waiters::{self, NOTIFIED, WAITING};
use procession_shm::layout::{ConditionLine, Waiter};
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError, Liveness, OwnerId};
use procession_sys::futex::{self, Wait};
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// A condition in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static ConditionLine,
}

impl Condition<'_> {
    /// Becomes a waiter. The user's lock is held and given back afterwards.
    pub fn enter(&self, member: Member) -> Result<&'static Waiter, ArenaError> {
        loop {
            let held = self.object.lock(member);
            let ticket = self.line.tickets.load(Relaxed);
            let taken = waiters::take(member.arena, self.object, &held, member.local.owner, ticket);
            if let Some(entry) = taken {
                self.line.tickets.store(ticket + 1, Relaxed);
                return Ok(entry);
            }
            drop(held);
            waiters::extend(member, self.object)?;
        }
    }

    /// Tries for a while without sleeping.
    #[must_use]
    pub fn spin(entry: &Waiter) -> bool {
        spin::adaptively(|| entry.word.load(Acquire) != WAITING)
    }

    /// Sleeps for one slice at most; None is "notified".
    #[must_use]
    pub fn wait(&self, member: Member, entry: &Waiter, waiting: &Waiting) -> Option<Waited> {
        let end = waiting.slice_end();
        loop {
            if entry.word.load(Acquire) != WAITING {
                return None;
            }
            match futex::wait(&entry.word, WAITING, end) {
                Wait::Woken | Wait::Changed => {}
                Wait::TimedOut if waiting.is_over() => return Some(Waited::TimedOut),
                // Signals may come faster than any slice ends.
                Wait::TimedOut | Wait::Interrupted => {
                    let held = self.object.lock(member);
                    self.pass_on(member.arena, &held, |owner| member.arena.is_dead(owner));
                    return Some(Waited::Slice);
                }
            }
        }
    }

    /// Stops waiting; whether somebody notified us.
    pub fn leave(&self, member: Member, entry: &Waiter) -> bool {
        let _held = self.object.lock(member);
        let notified = entry.word.load(Acquire) == NOTIFIED;
        waiters::free(entry);
        notified
    }

    /// Stops waiting because of an exception: what we were notified of goes to the next.
    pub fn abandon(&self, member: Member, entry: &Waiter) {
        let held = self.object.lock(member);
        if entry.word.load(Acquire) == NOTIFIED {
            // As for the dead, the next one first.
            let is_dead = |owner| member.arena.is_dead(owner);
            for next in self.mark_oldest(member.arena, &held, 1, is_dead) {
                waiters::wake(next);
            }
        }
        waiters::free(entry);
    }

    /// Wakes the `count` waiters that have waited longest; how many there were.
    pub fn notify(&self, member: Member, count: usize) -> usize {
        let held = self.object.lock(member);
        let is_dead = |owner| member.arena.is_dead(owner);
        self.pass_on(member.arena, &held, is_dead);
        let marked = self.mark_oldest(member.arena, &held, count, is_dead);
        // Woken under our lock they would run into it.
        drop(held);
        for entry in &marked {
            waiters::wake(entry);
        }
        marked.len()
    }

    /// Waiters that nobody has notified.
    #[must_use]
    pub fn sleeping(&self, member: Member) -> usize {
        let waits = |entry: &Waiter| entry.word.load(Relaxed) == WAITING;
        waiters::taken(member.arena, self.object)
            .filter(|(entry, _)| waits(entry))
            .count()
    }

    fn mark_oldest(
        &self,
        arena: &Arena,
        _held: &Held<'_>,
        count: usize,
        is_dead: impl Fn(OwnerId) -> bool,
    ) -> Vec<&'static Waiter> {
        let mut waiting: Vec<_> = waiters::taken(arena, self.object)
            .filter(|(entry, _)| entry.word.load(Relaxed) == WAITING)
            .collect();
        waiting.sort_unstable_by_key(|(entry, _)| entry.ticket.load(Relaxed));
        let mut marked = Vec::new();
        for (entry, owner) in waiting {
            if marked.len() == count {
                break;
            }
            if is_dead(owner) {
                waiters::free(entry);
            } else {
                waiters::mark(entry, NOTIFIED);
                marked.push(entry);
            }
        }
        self.line.notified.fetch_add(marked.len() as u64, Relaxed);
        marked
    }

    /// Frees the entries of the dead; what they had been given goes to the next.
    pub fn pass_on(&self, arena: &Arena, held: &Held<'_>, is_dead: impl Fn(OwnerId) -> bool) {
        let mut to_pass = 0;
        for (entry, owner) in waiters::taken(arena, self.object) {
            if !is_dead(owner) {
                continue;
            }
            to_pass += usize::from(entry.word.load(Relaxed) == NOTIFIED);
            // The next one first: killed in between, one waiter wakes in vain.
            if to_pass > 0 {
                for next in self.mark_oldest(arena, held, to_pass, &is_dead) {
                    waiters::wake(next);
                }
                to_pass = 0;
            }
            waiters::free(entry);
        }
    }
}
