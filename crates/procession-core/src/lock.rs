//! The user's Lock and `RLock`: one word, an owner, and what to do when the owner dies.
//!
//! ```text
//! word   31 WAITERS | 30 TAKING | 29..0 owner           0 = free
//! ```
//!
//! A plain lock may be released by anybody, as the standard library allows. The first release
//! by another process shows that it is used for signalling, and then a dead owner means
//! nothing: the lock is a binary semaphore from there on. `thread` and `depth` are written by
//! the holder only. Compare Rust's futex mutex (std) and `parking_lot`'s raw mutex; ours adds
//! the owner, and sleeps in slices, because whoever is to wake us may be killed first.
//!
//! ```text
//! acquire   1 CAS 0 -> me (commit)   2 thread, depth          killed after 1: owner dead, taken over
//! release   1 thread = 0 (recursive)   2 swap 0 (commit)   3 wake   killed after 2: a waiter's slice
//! ```
//!
//! `thread` names a thread across processes: `pthread_self` alone is the same in the main threads
//! of a parent and its forked child. TAKING says that `thread` and `depth` are still the dead
//! holder's, who may have had the very slot that is now ours.

use crate::ilock::WAITERS;
pub use crate::waiting::Waiting;
use procession_shm::layout::LockLine;
use procession_shm::{Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::futex::{self, Wait};
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicU32, AtomicU64};

/// The owner has just inherited the lock; `thread` and `depth` are not yet its own.
pub(crate) const TAKING: u32 = 1 << 30;

/// Where the slot begins in `thread`: addresses end below.
const STAMP_SHIFT: u32 = 52;

/// Bits of [`LockLine::flags`].
pub mod flags {
    /// May be acquired again by the thread that holds it.
    pub const RECURSIVE: u32 = 1;
    /// Somebody released what another process had acquired: a binary semaphore.
    pub const SIGNALLING: u32 = 1 << 1;
    /// The owner died and the policy is to raise: refused until recovered.
    pub const POISONED: u32 = 1 << 2;
    /// `on_owner_death="raise"`.
    pub const RAISE: u32 = 1 << 3;
    /// `on_owner_death="ignore"`: a dead owner keeps the lock, as in the standard library.
    pub const IGNORE: u32 = 1 << 4;
}

/// Who asks: a process and one of its threads.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// The process.
    pub owner: OwnerId,
    /// `pthread_self` of the thread.
    pub thread: u64,
}

impl Party {
    /// The thread, told apart from those of every other living process: an address and a slot.
    #[inline]
    fn stamp(self) -> u64 {
        self.thread | u64::from(self.owner.bits()) << STAMP_SHIFT
    }
}

/// How a lock came to be ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "what an inherited lock guards may be half-written"]
pub enum Acquired {
    /// From nobody.
    Clean,
    /// From a dead owner, whose pid was this (0: unknown).
    Inherited(u32),
}

/// What one slice of waiting brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Waited {
    /// The lock.
    Acquired(Acquired),
    /// Nothing yet: look at signals and come again.
    Slice,
    /// The deadline.
    TimedOut,
}

/// Why a release was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReleased {
    /// Nobody holds the lock.
    Free,
    /// A recursive lock of another thread or process.
    NotMine,
}

/// A lock in the arena.
#[derive(Clone, Copy, Debug)]
pub struct SharedLock<'a> {
    pub(crate) line: &'a LockLine,
}

impl<'a> SharedLock<'a> {
    /// The lock that lies there.
    #[inline]
    #[must_use]
    pub fn new(line: &'a LockLine) -> Self {
        Self { line }
    }

    /// Takes the lock if it is free, or ours already and recursive. Clean is the only answer:
    /// a dead owner is [`Self::take_over`]'s.
    #[inline]
    #[must_use]
    pub fn try_acquire(self, me: Party) -> bool {
        // Acquire pairs with the Release in `release`: what the last holder wrote is visible.
        // Also on failure: the word may name our process, and then `is_of` must not meet the
        // `thread` of a holder before that.
        let free = self
            .line
            .word
            .compare_exchange(0, me.owner.bits(), Acquire, Acquire);
        match free {
            Ok(_) => {
                self.begin(me);
                true
            }
            Err(word) => self.enter_again(word, me),
        }
    }

    #[inline]
    fn enter_again(self, word: u32, me: Party) -> bool {
        if !self.is_recursive() || !self.is_of(word, me) {
            return false;
        }
        let depth = self.line.depth.load(Relaxed);
        let Some(deeper) = depth.checked_add(1) else {
            return false;
        };
        self.line.depth.store(deeper, Relaxed);
        true
    }

    #[inline]
    pub(crate) fn begin(self, me: Party) {
        crash_point!("lock.acquired");
        self.line.thread.store(me.stamp(), Relaxed);
        self.line.depth.store(1, Relaxed);
        bump(&self.line.acquired, 1);
    }

    #[inline]
    fn is_of(self, word: u32, me: Party) -> bool {
        // Another living process never stores our stamp, and we follow it by 0. What a dead
        // one of our slot left is no answer: `word` was loaded with Acquire, so `thread` is no
        // older than the last release's 0 or, without TAKING, than what the heir stored.
        word & !WAITERS == me.owner.bits() && self.line.thread.load(Relaxed) == me.stamp()
    }

    /// Takes the lock if it seems free: a try for who spins, and writes nothing in vain.
    #[must_use]
    pub fn try_spinning(self, me: Party) -> bool {
        self.line.word.load(Relaxed) == 0 && self.try_acquire(me)
    }

    /// Takes the lock if it is free, for who has slept on its word: others may sleep there, too,
    /// so the bit is kept for them.
    #[must_use]
    pub fn try_acquire_woken(self, me: Party) -> bool {
        let taken = me.owner.bits() | WAITERS;
        let free = self.line.word.load(Relaxed) == 0
            && self
                .line
                .word
                .compare_exchange(0, taken, Acquire, Relaxed)
                .is_ok();
        if free {
            self.begin(me);
        }
        free
    }

    /// Moves those who sleep on `word` while it holds `expected` to the lock's own: its release
    /// wakes one after the other. None when the lock is not `owner`'s, who then must wake them;
    /// else how many they were.
    ///
    /// Killed before the move: they sleep on where they were, for a slice at most. Killed after
    /// it: the lock is a dead owner's, and they ask for it after a slice as all its waiters do.
    pub fn requeue(self, owner: OwnerId, word: &AtomicU32, expected: u32) -> Option<usize> {
        // The bit first: a release in between wakes nobody, and then the word is no longer ours.
        loop {
            let seen = self.line.word.load(Relaxed);
            if OwnerId::of_word(seen) != owner {
                return None;
            }
            let awaited = seen | WAITERS;
            if seen == awaited
                || self
                    .line
                    .word
                    .compare_exchange(seen, awaited, Relaxed, Relaxed)
                    .is_ok()
            {
                break;
            }
        }
        crash_point!("lock.awaited");
        let moved = futex::requeue(word, expected, &self.line.word);
        let now = self.line.word.load(Relaxed);
        if OwnerId::of_word(now) != owner || now & WAITERS == 0 {
            // Somebody has released our lock under us, too early for those whom we have moved.
            futex::wake(&self.line.word, 1);
        }
        Some(moved)
    }

    /// Makes the holder's depth `depth`. Only the holder may.
    pub fn set_depth(self, depth: u32) {
        self.line.depth.store(depth, Relaxed);
    }

    /// Sleeps for one slice at most, or until the lock is ours.
    pub fn wait(self, me: Party, live: &impl Liveness, waiting: &Waiting) -> Waited {
        if let Some(inherited) = self.take_over(me, live) {
            return self.waited(inherited, waiting);
        }
        let end = waiting.slice_end();
        loop {
            let seen = self.line.word.load(Relaxed);
            if seen == 0 {
                if self.try_acquire_woken(me) {
                    return self.waited(Acquired::Clean, waiting);
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
            crash_point!("lock.waiting");
            match futex::wait(&self.line.word, asleep, end) {
                Wait::Woken | Wait::Changed => {}
                Wait::TimedOut if waiting.is_over() => return Waited::TimedOut,
                Wait::TimedOut | Wait::Interrupted => return Waited::Slice,
            }
        }
    }

    fn waited(self, how: Acquired, waiting: &Waiting) -> Waited {
        self.count_wait(waiting);
        Waited::Acquired(how)
    }

    /// Notes that the holder had to wait for the lock. Only the holder calls this.
    pub fn count_wait(self, waiting: &Waiting) {
        let waits = self.line.contended.load(Relaxed);
        self.line.contended.store(waits.wrapping_add(1), Relaxed);
        bump(&self.line.waited_ns, waiting.ns());
    }

    /// Gives the lock back.
    #[inline]
    pub fn release(self, me: Party) -> Result<(), NotReleased> {
        // Acquire: for `is_of`.
        let word = self.line.word.load(Acquire);
        let flags = self.line.flags.load(Relaxed);
        if flags & flags::RECURSIVE != 0 {
            if !self.is_of(word, me) {
                return Err(NotReleased::NotMine);
            }
            let depth = self.line.depth.load(Relaxed);
            if depth > 1 {
                self.line.depth.store(depth - 1, Relaxed);
                return Ok(());
            }
            // Before the commit: a thread that finds its own number there, and its process as
            // the next owner, would think that it holds the lock.
            self.line.thread.store(0, Relaxed);
        } else if OwnerId::of_word(word) != me.owner {
            if OwnerId::of_word(word).is_none() {
                return Err(NotReleased::Free);
            }
            self.line.flags.fetch_or(flags::SIGNALLING, Relaxed);
        }
        crash_point!("lock.releasing");
        self.free()
    }

    #[inline]
    fn free(self) -> Result<(), NotReleased> {
        // Release pairs with the Acquire of the next holder.
        let word = self.line.word.swap(0, Release);
        crash_point!("lock.released");
        if word & WAITERS != 0 {
            futex::wake(&self.line.word, 1);
        }
        // Two releases at once: the second one finds nothing to release.
        if OwnerId::of_word(word).is_none() {
            Err(NotReleased::Free)
        } else {
            Ok(())
        }
    }

    /// Whether the thread that holds the lock may acquire it again.
    #[inline]
    #[must_use]
    pub fn is_recursive(self) -> bool {
        self.line.flags.load(Relaxed) & flags::RECURSIVE != 0
    }

    /// Who holds the lock; NONE when it is free.
    #[must_use]
    pub fn owner(self) -> OwnerId {
        OwnerId::of_word(self.line.word.load(Relaxed))
    }

    /// Whether the very thread that asks holds the lock.
    #[must_use]
    pub fn is_mine(self, me: Party) -> bool {
        self.is_of(self.line.word.load(Acquire), me)
    }

    /// `pthread_self` of the holder, in the holder's process; 0 when nobody has it.
    #[must_use]
    pub fn thread(self) -> u64 {
        self.line.thread.load(Relaxed) & ((1 << STAMP_SHIFT) - 1)
    }

    /// How deep `owner` has it; 0 when another process, or nobody, holds it.
    #[must_use]
    pub fn depth_of(self, owner: OwnerId) -> u32 {
        if self.owner() == owner {
            self.line.depth.load(Relaxed).max(1)
        } else {
            0
        }
    }

    /// The words behind it, for statistics.
    #[must_use]
    pub fn line(self) -> &'a LockLine {
        self.line
    }
}

/// Adds to a gauge that only the holder writes: no atomic addition is needed.
#[inline]
fn bump(gauge: &AtomicU64, by: u64) {
    gauge.store(gauge.load(Relaxed).wrapping_add(by), Relaxed);
}
