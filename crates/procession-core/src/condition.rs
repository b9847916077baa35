//! A condition: who waits is written down, so that a notification never waits for the dead.
//!
//! ```text
//! wait     1 lock  2 take an entry (commit)  3 unlock  4 release the user's lock  5 sleep on the entry
//!          6 acquire the user's lock  7 lock  8 read the mark, free the entry (commit)  9 unlock
//! notify   1 lock  2 mark the n oldest waiting entries (commit)  3 unlock
//!          4 move each that sleeps to the user's lock, or wake it where that is none of ours
//! ```
//!
//! Woken at step 4 a waiter would run into the lock that its notifier holds; moved there, it is
//! woken by the lock's release, one waiter at a time. Compare glibc's old condition variables and
//! `parking_lot`'s, which requeue as well; ours may lose a mover at any step, since every sleep is
//! a slice.
//!
//! A waiter killed after it was notified passes the notification on: whoever looks next (another
//! waiter after its slice, the sweeper) frees the entry and marks the next one. The entry goes
//! only when the user's lock is held again, so that a notification that does not pass on died
//! with the lock, of which the next holder is told. Nobody asks whether somebody lives whom the
//! kernel has just found asleep.

use crate::ilock::Held;
use crate::lock::{SharedLock, Waited, Waiting};
use crate::object::Object;
use crate::waiters::{self, NOTIFIED};
use procession_shm::layout::{ConditionLine, Waiter};
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError, Liveness, OwnerId};
use procession_sys::prim::Ordering::{Acquire, Relaxed};

/// A condition in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static ConditionLine,
}

/// Notified under one hold of the internal lock.
const BATCH: usize = 8;

/// An entry, marked: whose it is, and whether that one may sleep.
#[derive(Clone, Copy)]
struct Marked {
    entry: &'static Waiter,
    owner: OwnerId,
    asleep: bool,
}

impl Condition<'_> {
    /// Becomes a waiter. The user's lock is held and given back afterwards.
    pub fn enter(&self, member: Member) -> Result<&'static Waiter, ArenaError> {
        let me = member.local.owner;
        // Counted before it is used: no entry, of whom ever, has a ticket that is still to come.
        let ticket = || self.line.tickets.fetch_add(1, Relaxed);
        loop {
            let held = self.object.lock(member);
            let taken = waiters::take(member.arena, self.object, &held, me, ticket);
            if let Some(entry) = taken {
                return Ok(entry);
            }
            drop(held);
            waiters::extend(member, self.object)?;
        }
    }

    /// Sleeps for one slice at most; None is "notified".
    #[must_use]
    pub fn wait(&self, member: Member, entry: &Waiter, waiting: &Waiting) -> Option<Waited> {
        waiters::wait(entry, waiting, || {
            let held = self.object.lock(member);
            self.pass_on(member.arena, &held, |owner| member.arena.is_dead(owner));
        })
    }

    /// Stops waiting; whether somebody notified us.
    pub fn leave(&self, member: Member, entry: &Waiter) -> bool {
        let _held = self.object.lock(member);
        let notified = entry.word.load(Acquire) == NOTIFIED;
        Self::free(member, entry);
        notified
    }

    /// Stops waiting because of an exception: what we were notified of goes to the next.
    pub fn abandon(&self, member: Member, entry: &Waiter) {
        let held = self.object.lock(member);
        if waiters::is_of(entry, member.local.owner) && entry.word.load(Acquire) == NOTIFIED {
            // As for the dead, the next one first.
            self.mark_next(member.arena, &held, |owner| member.arena.is_dead(owner));
        }
        Self::free(member, entry);
    }

    fn free(member: Member, entry: &Waiter) {
        // A child forked in the wait leaves its parent's entry alone.
        if waiters::is_of(entry, member.local.owner) {
            waiters::free(entry);
        }
    }

    /// Notifies the `count` waiters that have waited longest; how many there were. They go on when
    /// `lock`, which the caller holds, is released; without one, at once.
    pub fn notify(&self, member: Member, count: usize, lock: Option<SharedLock<'_>>) -> usize {
        // Who comes later waits for another notification.
        let until = self.line.tickets.load(Relaxed);
        let mut notified = 0;
        while notified < count {
            let held = self.object.lock(member);
            let marked = self.mark_oldest(member.arena, &held, count - notified, until);
            drop(held);
            if marked[0].is_none() {
                break;
            }
            for marked in marked.into_iter().flatten() {
                if Self::rouse(member, marked, lock) {
                    notified += 1;
                } else {
                    let _held = self.object.lock(member);
                    if waiters::is_of(marked.entry, marked.owner) {
                        waiters::free(marked.entry);
                    }
                }
            }
        }
        self.line.notified.fetch_add(notified as u64, Relaxed);
        notified
    }

    /// False when there was nobody to rouse: the waiter is dead.
    fn rouse(member: Member, marked: Marked, lock: Option<SharedLock<'_>>) -> bool {
        if !marked.asleep {
            return true;
        }
        let moved =
            lock.and_then(|lock| lock.requeue(member.local.owner, &marked.entry.word, NOTIFIED));
        let found = moved.unwrap_or_else(|| waiters::wake(marked.entry));
        found > 0 || !member.arena.is_dead(marked.owner)
    }

    /// Waiters that nobody has notified.
    #[must_use]
    pub fn sleeping(&self, member: Member) -> usize {
        self.waiting(member.arena).count()
    }

    fn waiting<'a>(
        &self,
        arena: &'a Arena,
    ) -> impl Iterator<Item = (&'static Waiter, OwnerId)> + use<'a> {
        waiters::taken(arena, self.object).filter(|(entry, _)| waiters::is_waiting(entry))
    }

    /// Marks at most `count` waiters, and one batch, of those who came before ticket `until`.
    fn mark_oldest(
        &self,
        arena: &Arena,
        _held: &Held<'_>,
        count: usize,
        until: u64,
    ) -> [Option<Marked>; BATCH] {
        let mut oldest: [Option<(u64, &'static Waiter, OwnerId)>; BATCH] = [None; BATCH];
        let room = &mut oldest[..count.min(BATCH)];
        for (entry, owner) in self.waiting(arena) {
            let ticket = entry.ticket.load(Relaxed);
            let place = room.partition_point(|other| other.is_some_and(|other| other.0 < ticket));
            if ticket < until && place < room.len() {
                room[place..].rotate_right(1);
                room[place] = Some((ticket, entry, owner));
            }
        }
        oldest.map(|found| {
            found.map(|(_, entry, owner)| Marked {
                entry,
                owner,
                asleep: waiters::mark(entry, NOTIFIED),
            })
        })
    }

    /// Marks and wakes the one that has waited longest of those who live.
    fn mark_next(&self, arena: &Arena, _held: &Held<'_>, is_dead: impl Fn(OwnerId) -> bool) {
        let next = self
            .waiting(arena)
            .filter(|(_, owner)| !is_dead(*owner))
            .min_by_key(|(entry, _)| entry.ticket.load(Relaxed));
        if let Some((entry, _)) = next {
            if waiters::mark(entry, NOTIFIED) {
                waiters::wake(entry);
            }
        }
    }

    /// Frees the entries of the dead; what they had been given goes to the next.
    pub fn pass_on(&self, arena: &Arena, held: &Held<'_>, is_dead: impl Fn(OwnerId) -> bool) {
        for (entry, owner) in waiters::taken(arena, self.object) {
            if !is_dead(owner) {
                continue;
            }
            if entry.word.load(Relaxed) == NOTIFIED {
                // The next one first: killed in between, one waiter wakes in vain.
                self.mark_next(arena, held, &is_dead);
            }
            waiters::free(entry);
        }
    }
}
