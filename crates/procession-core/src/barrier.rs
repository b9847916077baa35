//! A barrier: parties arrive with their names, so that a dead one breaks it.
//!
//! ```text
//! state   31..2 generation | 1..0  FILLING, RELEASING, RESETTING, BROKEN
//! wait    1 lock  2 take an entry of this generation (commit)  3 unlock  4 sleep on the entry
//! last    1 (the action runs)  2 lock  3 all entries' owners live?  4 RELEASING (commit)
//!         5 mark all, wake  6 FILLING, next generation  7 unlock
//! break   1 lock  2 BROKEN (commit)  3 mark all, wake  4 unlock
//! reset   1 lock  2 RESETTING (commit)  3 mark all, wake  4 FILLING, next generation  5 unlock
//! ```
//!
//! How many have arrived is counted from the entries. A takeover of the lock finishes what the
//! state says. A waiter asks after each slice whether everybody who has arrived still lives, and
//! everybody who came last time (`members.rs`).

use crate::lock::{Waited, Waiting};
use crate::object::Object;
use crate::waiters::{self, BROKEN as MARK_BROKEN, NOTIFIED};
use procession_shm::layout::{BarrierLine, Waiter};
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError, Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

const FILLING: u32 = 0;
const RELEASING: u32 = 1;
const RESETTING: u32 = 2;
const BROKEN: u32 = 3;
const STATE: u32 = 3;
const GENERATION: u32 = 4;

/// A barrier in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Barrier<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its body.
    pub line: &'static BarrierLine,
}

/// What an arrival found.
#[derive(Clone, Copy, Debug)]
pub enum Arrived {
    /// A place to wait at, and the number of those who came before.
    Waits(&'static Waiter, u32),
    /// The last one: run the action, then release.
    Last(&'static Waiter, u32),
    /// The generation is full and about to be released: wait for the next.
    Full(u32),
    /// The barrier is broken.
    Broken,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everybody came.
    Released,
    /// The barrier broke or was reset.
    Broken,
}

impl Barrier<'_> {
    /// Arrives.
    pub fn arrive(&self, member: Member) -> Result<Arrived, ArenaError> {
        loop {
            let held = self.object.lock(member);
            let state = self.line.state.load(Relaxed);
            if state & STATE == BROKEN {
                return Ok(Arrived::Broken);
            }
            let before = self.count(member.arena, state);
            let parties = self.line.parties.load(Relaxed);
            if before >= parties {
                return Ok(Arrived::Full(state));
            }
            let ticket = u64::from(state & !STATE) << 32 | u64::from(before);
            let taken = self.come_again(member, ticket).or_else(|| {
                self.admit(member, before);
                waiters::take(member.arena, self.object, &held, member.local.owner, || {
                    ticket
                })
            });
            match taken {
                Some(entry) if before + 1 == parties => return Ok(Arrived::Last(entry, before)),
                Some(entry) => return Ok(Arrived::Waits(entry, before)),
                None => {}
            }
            drop(held);
            waiters::extend(member, self.object)?;
        }
    }

    /// Arrived and neither released nor broken.
    fn parties<'a>(
        &self,
        arena: &'a Arena,
        state: u32,
    ) -> impl Iterator<Item = (&'static Waiter, OwnerId)> + use<'a> {
        let generation = u64::from(state & !STATE);
        waiters::taken(arena, self.object).filter(move |(entry, _)| {
            entry.ticket.load(Relaxed) >> 32 == generation && waiters::is_waiting(entry)
        })
    }

    fn count(&self, arena: &Arena, state: u32) -> u32 {
        self.parties(arena, state).count() as u32
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self, member: Member) -> u32 {
        let state = self.line.state.load(Acquire);
        if state & STATE == FILLING {
            self.count(member.arena, state)
        } else {
            0
        }
    }

    /// Whether the barrier is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.line.state.load(Acquire) & STATE == BROKEN
    }

    /// The number of the generation that fills now.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.line.state.load(Relaxed) / GENERATION
    }

    /// The last one lets all go, itself included; Broken if one of them has died.
    pub fn release(&self, member: Member, entry: &Waiter) -> Outcome {
        let _held = self.object.lock(member);
        let state = self.line.state.load(Relaxed);
        if !waiters::is_waiting(entry) || state & STATE == BROKEN {
            waiters::free(entry);
            return Outcome::Broken;
        }
        let all_live = self
            .parties(member.arena, state)
            .all(|(_, owner)| !member.arena.is_dead(owner));
        if !all_live {
            self.break_all(member.arena, state);
            waiters::free(entry);
            return Outcome::Broken;
        }
        self.line.state.store(state & !STATE | RELEASING, Release);
        crash_point!("barrier.releasing");
        self.finish(member.arena);
        self.go_away(entry);
        Outcome::Released
    }

    /// Breaks the barrier for all who wait and come.
    pub fn abort(&self, member: Member) {
        let _held = self.object.lock(member);
        self.break_all(member.arena, self.line.state.load(Relaxed));
    }

    fn break_all(&self, arena: &Arena, state: u32) {
        self.line.state.store(state & !STATE | BROKEN, Release);
        crash_point!("barrier.broken");
        self.mark_all(arena, state, MARK_BROKEN);
        futex::wake(&self.line.state, u32::MAX >> 1);
    }

    fn mark_all(&self, arena: &Arena, state: u32, word: u32) {
        for (entry, _) in self.parties(arena, state) {
            if waiters::mark(entry, word) {
                waiters::wake(entry);
            }
        }
    }

    /// Empties the barrier: who waits gets Broken, who comes finds it whole.
    pub fn reset(&self, member: Member) {
        let _held = self.object.lock(member);
        let state = self.line.state.load(Relaxed);
        self.line.state.store(state & !STATE | RESETTING, Release);
        crash_point!("barrier.resetting");
        self.finish(member.arena);
    }

    /// Carries out what the state says. Idempotent: a takeover of the lock runs it as well.
    pub fn finish(&self, arena: &Arena) {
        let state = self.line.state.load(Relaxed);
        match state & STATE {
            RELEASING => {
                // Others have come in the place of who is still away.
                self.forget_members(arena, |_| true);
                self.mark_all(arena, state, NOTIFIED);
            }
            RESETTING => {
                self.forget_members(arena, |_| true);
                self.line.crowd.store(0, Relaxed);
                self.mark_all(arena, state, MARK_BROKEN);
            }
            BROKEN => return self.mark_all(arena, state, MARK_BROKEN),
            _ => return,
        }
        crash_point!("barrier.marked");
        self.line.missing_since.store(0, Relaxed);
        let next = (state & !STATE).wrapping_add(GENERATION) | FILLING;
        self.line.state.store(next, Release);
        futex::wake(&self.line.state, u32::MAX >> 1);
    }

    /// Breaks the barrier if somebody who has arrived is dead.
    pub fn break_if_dead(&self, arena: &Arena, is_dead: impl Fn(OwnerId) -> bool) {
        let state = self.line.state.load(Relaxed);
        if state & STATE == FILLING && self.parties(arena, state).any(|(_, owner)| is_dead(owner)) {
            self.break_all(arena, state);
        }
    }

    /// Sleeps for one slice at most; None is "it is decided".
    #[must_use]
    pub fn wait(&self, member: Member, entry: &Waiter, waiting: &Waiting) -> Option<Waited> {
        waiters::wait(entry, waiting, || self.look_for_the_dead(member))
    }

    fn look_for_the_dead(&self, member: Member) {
        let _held = self.object.lock(member);
        self.break_if_dead(member.arena, |owner| member.arena.is_dead(owner));
        let state = self.line.state.load(Relaxed);
        if state & STATE == FILLING && self.is_missing_a_member(member) {
            self.break_all(member.arena, state);
        }
    }

    /// Stops waiting. Who gives up before the decision breaks the barrier for all, unless
    /// `quietly` (an exception in the wait): then it just has not arrived.
    pub fn leave(&self, member: Member, entry: &Waiter, quietly: bool) -> Outcome {
        let _held = self.object.lock(member);
        if !waiters::is_of(entry, member.local.owner) {
            // A child forked in its parent's wait: not a party.
            return Outcome::Broken;
        }
        if waiters::is_waiting(entry) && !quietly {
            self.break_all(member.arena, self.line.state.load(Relaxed));
        }
        if entry.word.load(Acquire) == NOTIFIED {
            self.go_away(entry);
            Outcome::Released
        } else {
            waiters::free(entry);
            Outcome::Broken
        }
    }

    /// Sleeps for one slice at most until the full generation is gone; None is "it is".
    #[must_use]
    pub fn wait_for_next(&self, member: Member, full: u32, waiting: &Waiting) -> Option<Waited> {
        match futex::wait(&self.line.state, full, waiting.slice_end()) {
            Wait::Woken | Wait::Changed => None,
            Wait::TimedOut if waiting.is_over() => Some(Waited::TimedOut),
            Wait::TimedOut | Wait::Interrupted => {
                self.look_for_the_dead(member);
                Some(Waited::Slice)
            }
        }
    }
}
