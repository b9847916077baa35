//! The members of a barrier: who came last time, and is expected to come again.
//!
//! A party that is killed at the barrier breaks it. One that is killed on its way there is known
//! only if it has been there before: its entry stays, AWAY, until it comes again, leaves cleanly,
//! or another comes in its place. While such a member is dead the barrier can be filled only by
//! somebody who has never waited at it, and the barrier breaks when there is nobody left who
//! could be that one:
//!
//! * no more processes use it than it has parties (else it is a CROWD, which needs none of them);
//! * every living holder of a handle is a member, or an ancestor of the waiter that asks: these
//!   have had their chance, but may start somebody in place of the dead; so
//! * that has been so for `GRACE_NS`.
//!
//! What is not known so does not break it: a barrier whose parties are well is never broken for a
//! process that is none of them.

use crate::barrier::Barrier;
use crate::ledger;
use crate::waiters::{self, AWAY, NOTIFIED};
use procession_shm::layout::Waiter;
use procession_shm::member::Member;
use procession_shm::{Arena, Liveness, OwnerId};
use procession_sys::clock::now_ns;
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Relaxed, Release};
use procession_sys::process;

/// How long, in nanoseconds, an ancestor has for starting somebody in place of a dead member.
const GRACE_NS: u64 = 1_000_000_000;

impl Barrier<'_> {
    fn is_crowd(&self) -> bool {
        self.line.crowd.load(Relaxed) != 0
    }

    /// Members that do not wait now, those on their way out of the last generation included.
    fn away<'a>(
        &self,
        arena: &'a Arena,
    ) -> impl Iterator<Item = (&'static Waiter, OwnerId)> + use<'a> {
        waiters::taken(arena, self.object)
            .filter(|(entry, _)| matches!(entry.word.load(Relaxed), AWAY | NOTIFIED))
    }

    /// The entry of a member that comes again.
    pub(crate) fn come_again(&self, member: Member, ticket: u64) -> Option<&'static Waiter> {
        let me = member.local.owner;
        let (entry, _) = self
            .away(member.arena)
            .find(|(entry, owner)| *owner == me && entry.word.load(Relaxed) == AWAY)?;
        entry.ticket.store(ticket, Relaxed);
        entry.word.store(waiters::WAITING, Release);
        crash_point!("barrier.come_again");
        Some(entry)
    }

    /// Somebody comes who is no member yet, `waiting` wait already: in place of a dead one, if
    /// there is one, else perhaps one too many.
    pub(crate) fn admit(&self, member: Member, waiting: u32) {
        let arena = member.arena;
        if self.is_crowd() {
            return;
        }
        if let Some((entry, _)) = self.away(arena).find(|(_, owner)| arena.is_dead(*owner)) {
            waiters::free(entry);
            self.line.missing_since.store(0, Relaxed);
        } else if self.away(arena).count() as u32 + waiting >= self.line.parties.load(Relaxed) {
            self.line.crowd.store(1, Relaxed);
            self.forget_members(arena, |_| true);
        }
    }

    /// Leaves a generation that was released: to come again.
    pub(crate) fn go_away(&self, entry: &Waiter) {
        if self.is_crowd() {
            waiters::free(entry);
        } else {
            entry.word.store(AWAY, Release);
            crash_point!("barrier.away");
        }
    }

    /// These are members no more: they have left, or others came in their place.
    pub(crate) fn forget_members(&self, arena: &Arena, who: impl Fn(OwnerId) -> bool) {
        for (entry, owner) in waiters::taken(arena, self.object) {
            if entry.word.load(Relaxed) == AWAY && who(owner) {
                waiters::free(entry);
            }
        }
    }

    /// Whether a member is dead and nobody is left who could come in its place.
    pub(crate) fn is_missing_a_member(&self, member: Member) -> bool {
        let arena = member.arena;
        let is_missing = !self.is_crowd()
            && self.away(arena).any(|(_, owner)| arena.is_dead(owner))
            && !self.may_be_joined(member);
        let since = self.line.missing_since.load(Relaxed);
        let now = now_ns();
        match (is_missing, since) {
            (false, 0) => false,
            (false, _) => {
                self.line.missing_since.store(0, Relaxed);
                false
            }
            (true, 0) => {
                self.line.missing_since.store(now, Relaxed);
                false
            }
            (true, _) => now.saturating_sub(since) >= GRACE_NS,
        }
    }

    /// Whether somebody who is no member may come.
    fn may_be_joined(&self, member: Member) -> bool {
        let arena = member.arena;
        if self.object.header.pins.load(Relaxed) != 0 {
            // A handle travels on its own, to whomever.
            return true;
        }
        let ancestors = process::ancestors();
        let here = process::pid_namespace();
        ledger::entries(arena, self.object.header)
            .map(ledger::owner_of)
            .filter(|owner| !owner.is_none() && !arena.is_dead(*owner))
            .any(|owner| {
                let is_ancestor = owner
                    .slot()
                    .map(|slot| arena.slot(slot))
                    .is_some_and(|slot| {
                        slot.namespace.load(Relaxed) == here
                            && ancestors.contains(&arena.pid_of(owner))
                    });
                let is_member = waiters::taken(arena, self.object).any(|(_, it)| it == owner);
                !is_ancestor && !is_member
            })
    }

    /// Clears the dead out: who waited breaks the barrier; who was away is missed, by nobody's name.
    pub fn bury(&self, arena: &Arena, is_dead: impl Fn(OwnerId) -> bool) {
        self.break_if_dead(arena, &is_dead);
        for (entry, owner) in waiters::taken(arena, self.object) {
            if !is_dead(owner) {
                continue;
            }
            let was_member = matches!(entry.word.load(Relaxed), AWAY | NOTIFIED);
            if was_member && !self.is_crowd() && !self.is_broken() {
                entry.word.store(AWAY, Release);
                entry.owner.store(OwnerId::DECEASED.bits(), Release);
            } else {
                waiters::free(entry);
            }
        }
    }
}
