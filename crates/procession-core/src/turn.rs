//! Turns: who may send, or receive, at one end of a connection, and what is left of a message
//! when it dies.
//!
//! A connection carries bytes. A message that is written by two processes at once, or read by
//! two, is no message; and after half a message nothing that follows can be told from it. So each
//! direction has a turn at either end, and a turn remembers a death in the middle:
//!
//! ```text
//! word   31 WAITERS | 30 STREAMING | 29..0 owner        0 = nobody's turn
//!
//! take       1 CAS 0 -> me (commit)
//! begin      2 set STREAMING: from here on a death tears the message
//! give back  3 swap 0 (commit)   4 wake
//! settle     1 torn_by = pid, if STREAMING   2 CAS dead -> 0 (commit)   3 wake
//!                                            killed after 1: once more
//! ```
//!
//! A message that the kernel takes or gives whole needs no STREAMING, and a death around it tears
//! nothing. `torn_by` is never lifted: both ends look at it, so that senders stop sending and
//! receivers, once they have read what is whole, stop waiting.

use crate::ilock::WAITERS;
use crate::waiting::Waiting;
use procession_shm::layout::{ConnectionLine, TurnLine};
use procession_shm::{Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A message is under way: if its owner dies now, it is torn.
const STREAMING: u32 = 1 << 30;
/// Some process left a message half-done, nobody knows which.
const UNKNOWN: u32 = u32::MAX;

/// What one slice of waiting for a turn brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Awaited {
    /// The turn.
    Taken,
    /// Nothing yet: look at signals and come again.
    Slice,
}

/// The turn to send or to receive at one end.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    line: &'a TurnLine,
}

impl<'a> Turn<'a> {
    /// The turn that lies there.
    #[must_use]
    pub fn new(line: &'a TurnLine) -> Self {
        Self { line }
    }

    /// Takes the turn if it is nobody's.
    #[inline]
    #[must_use]
    pub fn try_take(self, me: OwnerId) -> bool {
        // Acquire pairs with the Release in `give_back` and `settle`: `torn_by` is visible.
        let free = self
            .line
            .word
            .compare_exchange(0, me.bits(), Acquire, Relaxed);
        crash_point!("turn.taken");
        free.is_ok()
    }

    /// Sleeps for one slice at most, or until the turn is ours; first from the dead.
    pub fn wait(self, me: OwnerId, live: &impl Liveness, waiting: &Waiting) -> Awaited {
        self.settle(|owner| live.is_dead(owner), |owner| live.pid_of(owner));
        let end = waiting.slice_end();
        loop {
            let seen = self.line.word.load(Relaxed);
            if seen == 0 {
                // Others may sleep here, too: keep the bit for them.
                let taken = me.bits() | WAITERS;
                if self
                    .line
                    .word
                    .compare_exchange(0, taken, Acquire, Relaxed)
                    .is_ok()
                {
                    crash_point!("turn.taken");
                    return Awaited::Taken;
                }
                continue;
            }
            let asleep = seen | WAITERS;
            if seen != asleep
                && self
                    .line
                    .word
                    .compare_exchange(seen, asleep, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            crash_point!("turn.waiting");
            match futex::wait(&self.line.word, asleep, end) {
                Wait::Woken | Wait::Changed => {}
                Wait::TimedOut | Wait::Interrupted => return Awaited::Slice,
            }
        }
    }

    /// A message that is not taken or given at one stroke begins. Only the owner may.
    pub fn begin(self) {
        // Nothing is published: it is read by who finds us dead, after all our stores.
        self.line.word.fetch_or(STREAMING, Relaxed);
        crash_point!("turn.begun");
    }

    /// The message's first byte did not move: a death would tear nothing.
    pub fn begin_later(self) {
        self.line.word.fetch_and(!STREAMING, Relaxed);
    }

    /// The owner stops in the middle of its message: nothing can follow.
    pub fn tear(self, pid: u32) {
        self.line.torn_by.store(pid, Relaxed);
        crash_point!("turn.tearing");
    }

    /// Between two messages again: the next one's turn.
    #[inline]
    pub fn give_back(self) {
        // Release pairs with the Acquire of the next owner.
        let word = self.line.word.swap(0, Release);
        crash_point!("turn.given_back");
        if word & WAITERS != 0 {
            futex::wake(&self.line.word, 1);
        }
    }

    /// Takes the turn from its owner if that is dead, and notes what it left half-done.
    fn settle(self, is_dead: impl Fn(OwnerId) -> bool, pid_of: impl Fn(OwnerId) -> u32) {
        let seen = self.line.word.load(Acquire);
        let owner = OwnerId::of_word(seen);
        if owner.is_none() || !is_dead(owner) {
            return;
        }
        if seen & STREAMING != 0 {
            let pid = pid_of(owner);
            let known = if pid == 0 { UNKNOWN } else { pid };
            self.line.torn_by.store(known, Relaxed);
            crash_point!("turn.tearing");
        }
        // A waiter may set its bit in between: then somebody else settles it, or we do next time.
        // AcqRel: `torn_by` is visible to whoever takes the turn.
        let freed = self.line.word.compare_exchange(seen, 0, AcqRel, Relaxed);
        if freed.is_ok() && seen & WAITERS != 0 {
            futex::wake(&self.line.word, 1);
        }
    }

    /// Whether a message was left half-done here; asks whether the owner is dead, if there is one.
    #[must_use]
    pub fn is_torn(self, live: &impl Liveness) -> bool {
        self.settle(|owner| live.is_dead(owner), |owner| live.pid_of(owner));
        self.is_known_torn()
    }

    /// Whether somebody has found a message half-done here.
    #[inline]
    #[must_use]
    pub fn is_known_torn(self) -> bool {
        self.line.torn_by.load(Relaxed) != 0
    }

    /// Who left a message half-done; 0 when it is not known.
    #[must_use]
    pub fn torn_by(self) -> u32 {
        match self.line.torn_by.load(Relaxed) {
            UNKNOWN => 0,
            pid => pid,
        }
    }

    /// Whose turn it is.
    #[inline]
    #[must_use]
    pub fn owner(self) -> OwnerId {
        OwnerId::of_word(self.line.word.load(Relaxed))
    }
}

/// Ends the turns of owners that are gone.
pub fn settle(
    line: &ConnectionLine,
    is_gone: impl Fn(OwnerId) -> bool,
    pid_of: impl Fn(OwnerId) -> u32,
) {
    for end in &line.ends {
        for turn in [&end.sending, &end.receiving] {
            Turn::new(turn).settle(&is_gone, &pid_of);
        }
    }
}
