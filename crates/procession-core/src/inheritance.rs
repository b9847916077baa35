//! What becomes of a lock whose owner is gone: the next one inherits it, or it stays held.
//!
//! ```text
//! takeover   1 CAS dead|W -> me|W|TAKING (commit)   2 thread, depth, recovered   3 clear TAKING
//!                                                   killed after 1 or 2: once more
//! burial     1 CAS dead -> DECEASED, or DETACHED where a death means nothing (commit)
//! clean exit 1 CAS me -> DETACHED (commit)
//! ```

use crate::ilock::WAITERS;
use crate::lock::{Acquired, Party, SharedLock, TAKING, flags};
use procession_shm::{Liveness, OwnerId};
use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};

impl SharedLock<'_> {
    /// Takes the lock from its owner if that is dead and the lock is of the kind that recovers.
    #[must_use]
    pub fn take_over(self, me: Party, live: &impl Liveness) -> Option<Acquired> {
        let word = self.line.word.load(Relaxed);
        let owner = OwnerId::of_word(word);
        if owner.is_none() || !self.recovers() || !live.is_dead(owner) {
            return None;
        }
        let pid = live.pid_of(owner);
        // Acquire: what the dead holder wrote last is visible to who repairs it.
        let taken = me.owner.bits() | WAITERS | TAKING;
        self.line
            .word
            .compare_exchange(word, taken, Acquire, Relaxed)
            .ok()?;
        crash_point!("lock.taken_over");
        Some(self.inherit(me, pid))
    }

    fn inherit(self, me: Party, pid: u32) -> Acquired {
        // A sweeper that met the dead owner first has left its pid here.
        let pid = if pid == 0 {
            self.line.last_dead_pid.load(Relaxed)
        } else {
            pid
        };
        self.line.last_dead_pid.store(pid, Relaxed);
        if self.line.flags.load(Relaxed) & flags::RAISE != 0 {
            self.line.flags.fetch_or(flags::POISONED, Relaxed);
        }
        self.line.recovered.fetch_add(1, Relaxed);
        self.begin(me);
        // Release pairs with the Acquire loads that `is_of` gets its word from.
        self.line.word.fetch_and(!TAKING, Release);
        Acquired::Inherited(pid)
    }

    /// A clean exit with the lock held: it stays held, by nobody who could die.
    #[must_use]
    pub fn detach(self, owner: OwnerId) -> bool {
        self.replace_owner(owner, OwnerId::DETACHED)
    }

    /// The sweeper met a dead owner: its slot may be used again, so the word must not name it.
    #[must_use]
    pub fn bury(self, owner: OwnerId, pid: u32) -> bool {
        if !self.recovers() {
            return self.replace_owner(owner, OwnerId::DETACHED);
        }
        self.line.last_dead_pid.store(pid, Relaxed);
        self.replace_owner(owner, OwnerId::DECEASED)
    }

    fn replace_owner(self, from: OwnerId, to: OwnerId) -> bool {
        loop {
            let word = self.line.word.load(Relaxed);
            if from.is_none() || OwnerId::of_word(word) != from {
                return false;
            }
            // A waiter may set its bit in between: keep it.
            let next = to.bits() | (word & WAITERS);
            if self
                .line
                .word
                .compare_exchange(word, next, Release, Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Whether a dead owner loses the lock.
    #[must_use]
    pub fn recovers(self) -> bool {
        self.line.flags.load(Relaxed) & (flags::SIGNALLING | flags::IGNORE) == 0
    }

    /// Whether the lock is refused until somebody recovers it.
    #[inline]
    #[must_use]
    pub fn is_poisoned(self) -> bool {
        self.line.flags.load(Relaxed) & flags::POISONED != 0
    }

    /// Sets or lifts the poison. Only the holder may.
    pub fn set_poisoned(self, poisoned: bool) {
        if poisoned {
            self.line.flags.fetch_or(flags::POISONED, Relaxed);
        } else {
            self.line.flags.fetch_and(!flags::POISONED, Relaxed);
        }
    }
}
